//! Negative log-likelihood of the right classes.
//!
//! For log-probabilities x, classes t and weights w, position i has the loss
//!
//! ```text
//! l[i] = -w[t[i]] x[i, t[i]]          dx[i, t[i]] = -w[t[i]] g[i], 0 elsewhere
//! ```

use super::classes::{SavedTargets, class_dim, class_zero};
use super::reduction::{Reduced, Reduction};
use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::Result;
use crate::float::{Float, compiled};
use crate::tensor::index::{Indices, ToIndices, indices};
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;

impl<T: Float> Tensor<T> {
    /// The mean negative log-likelihood of the right classes in nats, for log-probabilities such as
    /// those of [`log_softmax`](Tensor::log_softmax): [`NllLoss`] with its defaults.
    ///
    /// # Errors
    /// As [`NllLoss::forward`].
    pub fn nll_loss(&self, target: impl ToIndices) -> Result<Self> {
        NllLoss::new().forward(self, target)
    }
}

/// The negative log-likelihood of the right classes (PyTorch's `NLLLoss`): a builder whose
/// [`forward`](NllLoss::forward) computes it.
///
/// ```
/// # use tapegrad::{NllLoss, Reduction, Tensor};
/// let log_p = Tensor::new([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]).log()?;
/// let loss = NllLoss::new().reduction(Reduction::Unreduced).forward(&log_p, [0, 2])?;
/// assert!((loss.get([1])? - 0.5108).abs() < 1e-4); // -ln 0.6
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NllLoss<T: Float = f32> {
    weight: Option<Tensor<T>>,
    ignore_index: Option<i64>,
    reduction: Reduction,
    dim: Option<isize>,
}

impl<T: Float> Default for NllLoss<T> {
    fn default() -> Self {
        NllLoss { weight: None, ignore_index: Some(-100), reduction: Reduction::Mean, dim: None }
    }
}

impl<T: Float> NllLoss<T> {
    /// PyTorch's defaults: no weight, targets of -100 ignored, the mean.
    pub fn new() -> Self {
        NllLoss::default()
    }

    /// One weight a class, shape (C).
    pub fn weight(mut self, weight: &Tensor<T>) -> Self {
        self.weight = Some(weight.clone());
        self
    }

    /// Positions with this target have the loss 0 and the gradient 0, and do not count in the mean.
    /// It may lie inside or outside the classes; `None` ignores nothing.
    pub fn ignore_index(mut self, ignore_index: impl Into<Option<i64>>) -> Self {
        self.ignore_index = ignore_index.into();
        self
    }

    /// What becomes of the positions' losses. The mean is weighted: it divides by the sum of
    /// `weight[target]` over the positions that are not ignored.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The class dim; by default dim 1, or dim 0 of an input of shape (C).
    pub fn dim(mut self, dim: isize) -> Self {
        self.dim = Some(dim);
        self
    }

    /// The loss of log-probabilities of shape (C), (N, C) or (N, C, d1, ..), and classes of that shape
    /// without the class dim. The result is a single value, or has the targets' shape for
    /// [`Reduction::Unreduced`].
    ///
    /// # Errors
    /// [`Error::Shape`] for a single value as input, and for a target or weight that does not fit;
    /// [`Error::OutOfRange`] for a target that is no class, [`Error::NotDifferentiable`] for a
    /// weight that requires a gradient, [`Error::Dim`], [`Error::OutOfMemory`].
    ///
    /// [`Error::Shape`]: crate::Error::Shape
    /// [`Error::OutOfRange`]: crate::Error::OutOfRange
    /// [`Error::NotDifferentiable`]: crate::Error::NotDifferentiable
    /// [`Error::Dim`]: crate::Error::Dim
    /// [`Error::OutOfMemory`]: crate::Error::OutOfMemory
    pub fn forward(&self, log_probabilities: &Tensor<T>, target: impl ToIndices) -> Result<Tensor<T>> {
        let op = "nll_loss";
        let dim = class_dim(op, log_probabilities.shape(), self.dim)?;
        self.forward_classes(op, log_probabilities, dim, indices(op, target)?)
    }
}

compiled! { impl NllLoss<T>:
    fn forward_classes(
        &self,
        op: &'static str,
        x: &Tensor<T>,
        dim: usize,
        target: Indices,
    ) -> Result<Tensor<T>> {
        let classes = SavedTargets::new(op, x.shape(), dim, target, self.weight.as_ref(), self.ignore_index)?;
        let split = x.shape().split_at_dim(dim);
        let loss = |position: usize| {
            classes.class(position).map_or(0.0, |class| {
                let (start, step) = class_zero(split, position);
                -classes.weight_of(class).to_f64() * x.as_slice()[start + class * step].to_f64()
            })
        };
        let reduced = Reduced { reduction: self.reduction, denominator: classes.denominator() };
        let losses = (0..classes.target.len()).map(loss).collect();
        let value = reduced.value(losses, classes.target.shape())?;
        let rule = Nll { classes, reduced, shape: x.shape().clone(), dim };
        Ok(Step::new(rule).input(x).record(value))
    }
}

struct Nll<T: Float> {
    classes: SavedTargets<T>,
    reduced: Reduced,
    shape: Shape,
    dim: usize,
}

impl<T: Float> Backward<T> for Nll<T> {
    fn name(&self) -> &'static str {
        "NllLoss"
    }
    fn formula(&self) -> &'static str {
        match self.reduced.reduction {
            Reduction::Unreduced => "yᵢ = −xᵢ[target]",
            Reduction::Sum => "y = Σᵢ −xᵢ[target]",
            Reduction::Mean => "y = mean of −xᵢ[target]",
        }
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let classes = &self.classes;
        let upstream = self.reduced.upstream(&grad)?;
        // An ignored position needs a class that exists: 0, with the factor 0.
        let class = |position: usize| classes.class(position);
        let positions = || 0..classes.target.len();
        let factors =
            positions().map(|i| class(i).map_or(T::zero(), |class| -classes.weight_of(class))).collect();
        let factors = Tensor::from_parts(classes.target.shape().clone(), factors);
        let places = positions().map(|i| class(i).unwrap_or(0) as i64).collect();
        let places = Indices::from_parts(classes.target.shape().clone(), places);
        let each = upstream.mul(&factors)?.masked_fill(&classes.ignored(), 0.0)?;
        let dim = self.dim as isize;
        if self.shape[self.dim] == 0 {
            return Ok(Tensor::<T>::zeros(&self.shape)?.into()); // no place for an ignored target
        }
        Ok(each.unsqueeze(dim)?.scatter(&self.shape, self.dim, &places.unsqueeze(dim)?)?.into())
    }
}
