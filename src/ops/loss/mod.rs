//! Losses.
//!
//! Every loss is a method of [`Tensor`] that gives the mean, `x.mse_loss(&y)`, and a builder with the options, named
//! after PyTorch's class: `MseLoss::new().reduction(Reduction::Sum).forward(&x, &y)`.
//!
//! Classification losses take scores or log-probabilities with a class dim, and for every other
//! position a target: a class, or a probability for each class. Weights, ignored positions, smoothing and
//! reductions mean what they mean in PyTorch, together too.

mod classes;
mod cross_entropy;
mod nll;
mod pointwise;
mod reduction;

pub use cross_entropy::CrossEntropyLoss;
pub use nll::NllLoss;
pub use pointwise::{BceWithLogitsLoss, KlDivLoss, MseLoss};
pub use reduction::Reduction;

use crate::error::Result;
use crate::float::Float;
use crate::tensor::index::{Indices, ToIndices};
use crate::tensor::model::Tensor;

/// What a classification loss compares with.
#[derive(Debug, Clone)]
pub enum Target<T: Float> {
    /// The right class of every position.
    Classes(Indices),
    /// A probability for every class at every position, in the shape of the input.
    Probabilities(Tensor<T>),
}

/// What can be given as a target: integers in any form that [`ToIndices`] takes are classes, a tensor
/// holds probabilities.
pub trait ToTarget<T: Float> {
    /// The target.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for an integer that `i64` cannot hold.
    fn to_target(self) -> Result<Target<T>>;
}

impl<T: Float, I: ToIndices> ToTarget<T> for I {
    fn to_target(self) -> Result<Target<T>> {
        self.to_indices().map(Target::Classes)
    }
}

impl<T: Float> ToTarget<T> for Tensor<T> {
    fn to_target(self) -> Result<Target<T>> {
        Ok(Target::Probabilities(self))
    }
}

impl<T: Float> ToTarget<T> for &Tensor<T> {
    fn to_target(self) -> Result<Target<T>> {
        Ok(Target::Probabilities(self.clone()))
    }
}

impl<T: Float> ToTarget<T> for Target<T> {
    fn to_target(self) -> Result<Target<T>> {
        Ok(self)
    }
}
