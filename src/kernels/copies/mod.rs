//! Copies in another order: strided views, broadcasts, transposed matrices.

pub(crate) mod strided;
pub(crate) mod transpose;
