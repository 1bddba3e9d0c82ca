//! What `cross_entropy` and `nll_loss` have in common: a class dim, weights, and positions to ignore.

use crate::autograd::grad_mode::is_grad_enabled;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::kernels::compensated::Sum;
use crate::kernels::elementwise::map;
use crate::kernels::reduce::sum_of_wide;
use crate::kernels::rows::cross_entropy::{ClassTargets, Smoothing};
use crate::ops::loss::Reduction;
use crate::tensor::index::Indices;
use crate::tensor::model::Tensor;
use crate::tensor::shape::{Shape, Split};

/// The class dim of an input: the one that was chosen, or 1 as in PyTorch, where (C) is one sample.
pub(super) fn class_dim(op: &'static str, shape: &Shape, chosen: Option<isize>) -> Result<usize> {
    if shape.is_empty() {
        let (what, expected) = ("the input", "at least 1: (C), (N, C) or (N, C, d1, ..)");
        return Err(Error::Rank { op, what, expected, shape: vec![] });
    }
    shape.dim(op, chosen.unwrap_or(if shape.len() == 1 { 0 } else { 1 }))
}

/// Checks that a weight has one entry for each class.
pub(super) fn check_weight<T: Float>(
    op: &'static str,
    weight: Option<&Tensor<T>>,
    classes: usize,
) -> Result<()> {
    match weight {
        Some(weight) if weight.shape() != &[classes] => {
            let (expected, actual) = (vec![classes], weight.shape().to_vec());
            Err(Error::Shape { op, what: "the weight", expected, actual })
        }
        _ => Ok(()),
    }
}

/// Class targets that fit their input.
#[derive(Clone)]
pub(super) struct Classes<T: Float> {
    /// The class of every position, in the order of the input without its class dim.
    pub target: Indices,
    pub ignore_index: Option<i64>,
    /// One a class; a constant.
    pub weight: Option<Tensor<T>>,
}

impl<T: Float> Classes<T> {
    /// Checks shapes, ranges and weights.
    pub fn new(
        op: &'static str,
        shape: &Shape,
        dim: usize,
        target: Indices,
        weight: Option<&Tensor<T>>,
        ignore_index: Option<i64>,
    ) -> Result<Self> {
        let positions = shape.without(dim);
        // A single sample of shape (C) may come with a target of shape (1), as in PyTorch.
        let is_single = positions.is_empty() && target.shape() == &[1];
        if target.shape() != &positions && !is_single {
            let (expected, actual) = (positions.to_vec(), target.shape().to_vec());
            return Err(Error::Shape { op, what: "the target", expected, actual });
        }
        check_weight(op, weight, shape[dim])?;
        if weight.is_some_and(Tensor::is_tracked) && is_grad_enabled() {
            return Err(Error::NotDifferentiable { op, what: "the weight when targets are classes" });
        }
        target.check_range(op, ("target", "a class"), shape[dim], ignore_index)?;
        let target = if is_single { target.reshape(positions)? } else { target };
        Ok(Classes { target, ignore_index, weight: weight.cloned() })
    }

    /// The class of a position; none if it is ignored.
    pub fn class(&self, position: usize) -> Option<usize> {
        let class = self.target.as_slice()[position];
        (Some(class) != self.ignore_index).then_some(class as usize)
    }

    pub fn weight_of(&self, class: usize) -> T {
        self.weight.as_ref().map_or(T::one(), |weight| weight.as_slice()[class])
    }

    /// The same for a kernel.
    pub fn targets(&self, smoothing: Smoothing) -> ClassTargets<'_, T> {
        let (classes, weight) = (self.target.as_slice(), self.weight.as_ref().map(Tensor::as_slice));
        // No class is negative: the least of all numbers ignores nothing.
        ClassTargets { classes, ignored: self.ignore_index.unwrap_or(i64::MIN), weight, smoothing }
    }

    /// What the mean divides by: the sum of the weights of the classes of all positions that are not
    /// ignored; nothing kept gives 0 and so a mean of nan.
    pub fn denominator(&self) -> f64 {
        let kept = self.target.as_slice().iter().filter(|&&class| Some(class) != self.ignore_index);
        match self.weight {
            None => kept.count() as f64,
            Some(_) => kept.map(|&class| self.weight_of(class as usize).to_f64()).collect::<Sum>().total(),
        }
    }

    /// Where the target is ignored, in the shape of the positions.
    pub fn ignored(&self) -> crate::tensor::mask::Mask {
        let ignored = (0..self.target.len()).map(|position| self.class(position).is_none());
        crate::tensor::mask::Mask::from_parts(self.target.shape().clone(), ignored.collect())
    }
}

/// The losses of all positions, reduced and rounded; `denominator` is what the mean divides by.
pub(super) fn reduce<T: Float>(
    losses: Vec<f64>,
    positions: &Shape,
    reduction: Reduction,
    denominator: f64,
) -> Result<Tensor<T>> {
    let sum_over = |divisor| Tensor::compute(Shape::scalar(), |out| out.fill(sum_of_wide(&losses, divisor)));
    match reduction {
        Reduction::Sum => sum_over(1.0),
        Reduction::Mean => sum_over(denominator),
        Reduction::None => Tensor::compute(positions.clone(), |out| map(&losses, out, T::from_f64)),
    }
}

/// The gradient of every position's loss, from the gradient of the reduced loss; in the shape of the
/// positions, or a single value for all of them.
pub(super) fn upstream_of_positions<T: Float>(
    grad: &Tensor<T>,
    reduction: Reduction,
    denominator: f64,
) -> Result<Tensor<T>> {
    match reduction {
        Reduction::None | Reduction::Sum => Ok(grad.clone()),
        Reduction::Mean => grad.div(denominator),
    }
}

/// The place in the input of a position's first class, and the step to the next class.
pub(super) fn class_zero(split: Split, position: usize) -> (usize, usize) {
    ((position / split.inner) * split.size * split.inner + position % split.inner, split.inner)
}
