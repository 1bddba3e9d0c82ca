//! Models: what they are made of, what an optimizer sees of them, and how they start.
//!
//! A model is an ordinary struct. [`parameters!`](crate::parameters) names the fields that are trained,
//! and an ordinary method runs it:
//!
//! ```
//! use tapegrad::nn::{Module, Parameters};
//! use tapegrad::{Result, Tensor, parameters};
//!
//! struct Line {
//!     slope: Tensor,
//!     intercept: Tensor,
//! }
//! parameters!(Line { slope, intercept });
//!
//! impl Module for Line {
//!     fn forward(&self, x: &Tensor) -> Result<Tensor> {
//!         x.mul(&self.slope)?.add(&self.intercept)
//!     }
//! }
//!
//! let line = Line {
//!     slope: Tensor::new([2.0]).requires_grad(),
//!     intercept: Tensor::new([1.0]).requires_grad(),
//! };
//! assert_eq!(line.forward(&Tensor::new([3.0]))?.to_vec(), [7.0]);
//! let names: Vec<String> = line.named_parameters().into_iter().map(|(name, _)| name).collect();
//! assert_eq!(names, ["slope", "intercept"]);
//! # Ok::<(), tapegrad::Error>(())
//! ```
//!
//! A model may have other models as fields, lists of them, or plain tensors: all of them are
//! [`Parameters`], and their names are paths such as `layers.0.weight`. What can only be called on one
//! tensor and return another is a [`Module`] too, and can stand in a list of layers. Nothing obliges a
//! model to be one: a method `forward` that takes two inputs is as good.

mod activation;
mod conv;
mod dropout;
pub mod init;
mod linear;
mod name;
mod parameters;
mod sequential;

pub use crate::parameters;
pub use activation::{Flatten, Gelu, Relu, Sigmoid, Softplus, Tanh};
pub use conv::{Conv2d, MaxPool2d};
pub use dropout::Dropout;
pub use linear::{Embedding, Linear};
pub use name::Name;
pub use parameters::{Module, Parameters};
/// The generator that [`Dropout`] owns: the same numbers in every version, and a state that can be read and
/// set. There is no `clone`, so that no two parts of a program draw the same numbers by accident;
/// `ChaCha8Rng::deserialize_state(&rng.serialize_state())` is a copy.
pub use rand::rngs::ChaCha8Rng;
pub use sequential::Sequential;
