//! The data model: what holds numbers, and what says how they were computed.
//!
//! `Tensor` and `Node` are one model and stand in one file, [`model`]: a tensor points to the node that computed
//! it, a node to those of its inputs and to the tensors that its rule saved. Everything else here is about numbers
//! alone: the memory that holds them ([`buffer`]), what shape they have ([`shape`]), integers and booleans beside them ([`index`],
//! [`mask`]), how they are made, printed, compared and converted.

pub(crate) mod approximate;
pub(crate) mod buffer;
#[cfg(any(feature = "ndarray", feature = "serde"))]
mod conversions;
pub(crate) mod create;
mod format;
pub(crate) mod index;
pub(crate) mod mask;
pub(crate) mod model;
pub(crate) mod nested;
pub(crate) mod shape;
