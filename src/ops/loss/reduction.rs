//! How the losses of single positions become the result.

use crate::error::Result;
use crate::float::Float;
use crate::kernels::elementwise::map;
use crate::kernels::reduce::sum_of_wide;
use crate::kernels::rows::targets::Upstream;
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;

/// How the losses of single samples become the result.
///
/// PyTorch's `reduction="none"` is called `Unreduced`, after the word of its documentation: a variant `None`
/// would hide `Option::None` wherever the variants are imported by `*`. PyTorch's deprecated flags map to it:
/// `reduce=False` is `Unreduced`, `size_average=False` is `Sum`, and both true is `Mean`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reduction {
    /// One loss for each sample.
    Unreduced,
    /// The mean. What it divides by is part of each loss's definition.
    #[default]
    Mean,
    /// The sum.
    Sum,
}

impl Reduction {
    /// Reduces losses by a further recorded step. The mean divides by their number.
    pub(super) fn record<T: Float>(self, losses: Tensor<T>) -> Result<Tensor<T>> {
        match self {
            Reduction::Unreduced => Ok(losses),
            Reduction::Mean => losses.mean(..),
            Reduction::Sum => losses.sum(..),
        }
    }
}

/// The reduction inside a step that also computes the losses, which are still in f64 then and are rounded once.
/// Its rule keeps this for the way back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reduced {
    pub reduction: Reduction,
    /// What the mean divides by.
    pub denominator: f64,
}

impl Reduced {
    /// The result from the losses of all positions.
    pub fn value<T: Float>(self, losses: Vec<f64>, positions: &Shape) -> Result<Tensor<T>> {
        let sum_over =
            |divisor| Tensor::compute(Shape::scalar(), |out| out.fill(sum_of_wide(&losses, divisor)));
        match self.reduction {
            Reduction::Sum => sum_over(1.0),
            Reduction::Mean => sum_over(self.denominator),
            Reduction::Unreduced => Tensor::compute(positions.clone(), |out| map(&losses, out, T::from_f64)),
        }
    }

    /// The gradient of every position's loss, from that of the result, by recorded operations: a single value for
    /// all positions, or one for each in their shape.
    pub fn upstream<T: Float>(self, grad: &Tensor<T>) -> Result<Tensor<T>> {
        match self.reduction {
            Reduction::Unreduced | Reduction::Sum => Ok(grad.clone()),
            Reduction::Mean => grad.div(self.denominator),
        }
    }

    /// The same for a kernel: a factor that all positions have in common, in f64, and one for each of them only if they
    /// were not reduced.
    pub fn upstream_in_f64<T: Float>(self, grad: &Tensor<T>) -> Upstream<'_, T> {
        match (self.reduction, grad.as_slice()) {
            (Reduction::Mean, &[grad]) => {
                Upstream { factor: grad.to_f64() / self.denominator, of_rows: None }
            }
            (Reduction::Sum, &[grad]) => Upstream { factor: grad.to_f64(), of_rows: None },
            (_, of_rows) => Upstream { factor: 1.0, of_rows: Some(of_rows) },
        }
    }
}
