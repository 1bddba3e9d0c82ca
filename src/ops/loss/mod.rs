//! Losses.
//!
//! Classification losses take scores or log-probabilities with a class dim, and for every other
//! position a target: a class, or a probability for each class. They agree with PyTorch in all that
//! weights, ignored positions, smoothing and reductions do together.

mod classes;
mod cross_entropy;
mod nll;
mod pointwise;

pub use cross_entropy::CrossEntropyLoss;
pub use nll::NllLoss;

use crate::error::Result;
use crate::float::Float;
use crate::tensor::index::{Indices, ToIndices};
use crate::tensor::model::Tensor;

/// How the losses of single samples become the result.
///
/// PyTorch's deprecated flags map to it: `reduce=False` is `None`, `size_average=False` is `Sum`, and
/// both true is `Mean`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reduction {
    /// One loss for each sample.
    None,
    /// The mean. What it divides by is part of each loss's definition.
    #[default]
    Mean,
    /// The sum.
    Sum,
}

impl Reduction {
    /// The losses of single elements reduced, where the mean divides by their number.
    fn apply<T: Float>(self, losses: Tensor<T>) -> Result<Tensor<T>> {
        match self {
            Reduction::None => Ok(losses),
            Reduction::Mean => losses.mean(..),
            Reduction::Sum => losses.sum(..),
        }
    }
}

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
    fn to_target(self, op: &'static str) -> Result<Target<T>>;
}

impl<T: Float, I: ToIndices> ToTarget<T> for I {
    fn to_target(self, op: &'static str) -> Result<Target<T>> {
        self.to_indices(op).map(Target::Classes)
    }
}

impl<T: Float> ToTarget<T> for Tensor<T> {
    fn to_target(self, _op: &'static str) -> Result<Target<T>> {
        Ok(Target::Probabilities(self))
    }
}

impl<T: Float> ToTarget<T> for &Tensor<T> {
    fn to_target(self, _op: &'static str) -> Result<Target<T>> {
        Ok(Target::Probabilities(self.clone()))
    }
}

impl<T: Float> ToTarget<T> for Target<T> {
    fn to_target(self, _op: &'static str) -> Result<Target<T>> {
        Ok(self)
    }
}
