//! What `cross_entropy` and `nll_loss` have in common: a class dim, weights, and positions to ignore.

use crate::autograd::grad_mode::is_grad_enabled;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::kernels::compensated::Sum;
use crate::kernels::rows::targets::{ClassTargets, Smoothing};
use crate::tensor::index::Indices;
use crate::tensor::mask::Mask;
use crate::tensor::model::Tensor;
use crate::tensor::shape::{Shape, Split};

/// The class dim of an input: the one that was chosen, or 1 as in PyTorch, where (C) is one sample.
pub(super) fn class_dim(op: &'static str, shape: &Shape, chosen: Option<isize>) -> Result<usize> {
    if shape.is_empty() {
        let (what, expected) = ("the input", "at least 1: (C), (N, C) or (N, C, d1, ..)");
        return Err(Error::Shape { op, what, expected: expected.into(), actual: vec![] });
    }
    shape.dim_of(op, chosen.unwrap_or(if shape.len() == 1 { 0 } else { 1 }))
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
            Err(Error::Shape { op, what: "the weight", expected: expected.into(), actual })
        }
        _ => Ok(()),
    }
}

/// Class targets that fit their input, as a rule saves them. Kernels get them as [`ClassTargets`], which borrow.
#[derive(Clone)]
pub(super) struct SavedTargets<T: Float> {
    /// The class of every position, in the order of the input without its class dim.
    pub target: Indices,
    pub ignore_index: Option<i64>,
    /// One a class; a constant.
    pub weight: Option<Tensor<T>>,
}

impl<T: Float> SavedTargets<T> {
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
            return Err(Error::Shape { op, what: "the target", expected: expected.into(), actual });
        }
        check_weight(op, weight, shape[dim])?;
        if weight.is_some_and(Tensor::is_tracked) && is_grad_enabled() {
            return Err(Error::NotDifferentiable { op, what: "the weight when targets are classes" });
        }
        target.check_range(op, ("target", "a class"), shape[dim], ignore_index)?;
        let target = if is_single { target.reshape(positions)? } else { target };
        Ok(SavedTargets { target, ignore_index, weight: weight.cloned() })
    }

    /// The class of a position; none if the position is ignored.
    pub fn class(&self, position: usize) -> Option<usize> {
        let class = self.target.as_slice()[position];
        (Some(class) != self.ignore_index).then_some(class as usize)
    }

    pub fn weight_of(&self, class: usize) -> T {
        self.weight.as_ref().map_or(T::one(), |weight| weight.as_slice()[class])
    }

    /// The view of a kernel.
    pub fn targets(&self, smoothing: Smoothing) -> ClassTargets<'_, T> {
        let (classes, weight) = (self.target.as_slice(), self.weight.as_ref().map(Tensor::as_slice));
        // No class is negative: the least of all numbers ignores nothing.
        ClassTargets { classes, ignored: self.ignore_index.unwrap_or(i64::MIN), weight, smoothing }
    }

    /// What the mean divides by: the sum of `weight[target]` over the positions that are not ignored. If all are
    /// ignored, it is 0 and the mean is nan.
    pub fn denominator(&self) -> f64 {
        let kept = self.target.as_slice().iter().filter(|&&class| Some(class) != self.ignore_index);
        match self.weight {
            None => kept.count() as f64,
            Some(_) => kept.map(|&class| self.weight_of(class as usize).to_f64()).collect::<Sum>().total(),
        }
    }

    /// Where the target is ignored, in the shape of the positions.
    pub fn ignored(&self) -> Mask {
        let ignored = (0..self.target.len()).map(|position| self.class(position).is_none());
        Mask::from_parts(self.target.shape().clone(), ignored.collect())
    }
}

/// The place in the input of a position's first class, and the step to the next class.
pub(super) fn class_zero(split: Split, position: usize) -> (usize, usize) {
    ((position / split.inner) * split.size * split.inner + position % split.inner, split.inner)
}
