//! Cross entropy of logits: `log_softmax`, `gather` and the reduction in one step.
//!
//! For logits x with p = softmax(x) along the class dim, every position i has the loss
//!
//! ```text
//! l[i] = sum over c of a[i, c] (-ln p[i, c])
//! ```
//!
//! and only the coefficients a depend on the kind of target. With weights w, smoothing e and C classes,
//!
//! ```text
//! classes t          a[i, c] = w[c] ((1 - e) [c = t[i]] + e / C),  and 0 where t[i] is ignored
//! probabilities q    a[i, c] = w[c] ((1 - e) q[i, c]    + e / C)
//! ```
//!
//! The gradient is dx[i, c] = g[i] (p[i, c] A[i] - a[i, c]) with A the sum of a over the classes. Written
//! like that it loses all digits for a confident and right prediction, where p A and a agree; since the
//! p sum to 1, it is also
//!
//! ```text
//! dx[i, c] = g[i] (p[i, c] (A[i] - a[i, c]) - a[i, c] (1 - p[i, c]))
//! ```
//!
//! where A - a is the sum of the other coefficients and 1 - p that of the other probabilities, both
//! without cancellation. Backward keeps the logits' buffer and two numbers a position.

use super::classes::{Classes, check_weight, class_dim, reduce, upstream_of_positions};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::index::Indices;
use crate::kernels::cross_entropy::{self as kernels, Smoothing};
use crate::kernels::softmax::Line;
use crate::ops::loss::{Reduction, Target, ToTarget};
use crate::shape::{Shape, keepdim};
use crate::step::{Backward, Gradients, Step, StepContext};
use crate::tensor::Tensor;

impl<T: Float> Tensor<T> {
    /// The mean cross entropy of logits and targets in nats: [`CrossEntropyLoss`] with its defaults.
    ///
    /// ```
    /// # use tapegrad::Tensor;
    /// let logits = Tensor::new([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]);
    /// let loss = logits.cross_entropy([0, 1])?;
    /// assert!((loss.item()? - 0.2512).abs() < 1e-4);
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`CrossEntropyLoss::forward`].
    pub fn cross_entropy(&self, target: impl ToTarget<T>) -> Result<Self> {
        CrossEntropyLoss::new().forward(self, target)
    }
}

/// The cross entropy of logits and targets (PyTorch's `CrossEntropyLoss`): a builder whose
/// [`forward`](CrossEntropyLoss::forward) computes it. A sample's loss is in nats.
///
/// ```
/// # use tapegrad::{CrossEntropyLoss, Reduction, Tensor};
/// let logits = Tensor::new([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]]);
/// let loss = CrossEntropyLoss::new()
///     .weight(&Tensor::new([1.0, 2.0, 1.0]))
///     .label_smoothing(0.1)
///     .reduction(Reduction::Sum)
///     .forward(&logits, [0, 1, -100])?; // the third row is ignored
/// assert!((loss.item()? - 0.9380).abs() < 1e-4);
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CrossEntropyLoss<T: Float = f32> {
    weight: Option<Tensor<T>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Reduction,
    dim: Option<isize>,
}

impl<T: Float> Default for CrossEntropyLoss<T> {
    fn default() -> Self {
        CrossEntropyLoss {
            weight: None,
            ignore_index: Some(-100),
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
            dim: None,
        }
    }
}

impl<T: Float> CrossEntropyLoss<T> {
    /// PyTorch's defaults: no weight, targets of -100 ignored, no smoothing, the mean.
    pub fn new() -> Self {
        CrossEntropyLoss::default()
    }

    /// One weight a class, shape (C).
    pub fn weight(mut self, weight: &Tensor<T>) -> Self {
        self.weight = Some(weight.clone());
        self
    }

    /// Positions with this class as target have the loss 0 and the gradient 0, and do not count in the
    /// mean. It may lie inside or outside the classes; `None` ignores nothing. It must be negative or
    /// `None` when targets are probabilities, and then has no effect.
    pub fn ignore_index(mut self, ignore_index: impl Into<Option<i64>>) -> Self {
        self.ignore_index = ignore_index.into();
        self
    }

    /// The share, in [0, 1], of each target that is spread evenly over all classes.
    pub fn label_smoothing(mut self, label_smoothing: f64) -> Self {
        self.label_smoothing = label_smoothing;
        self
    }

    /// What becomes of the positions' losses. The mean of class targets is weighted: it divides by the
    /// sum of `weight[target]` over the positions that are not ignored. That of probability targets
    /// divides by the number of positions, whatever the weights.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The class dim; by default dim 1, or dim 0 of an input of shape (C).
    pub fn dim(mut self, dim: isize) -> Self {
        self.dim = Some(dim);
        self
    }

    /// The loss of logits of shape (C), (N, C) or (N, C, d1, ..). Targets are classes, in that shape
    /// without the class dim, or probabilities, in that shape. The result is a single value, or for
    /// [`Reduction::None`] has the shape of the logits without the class dim.
    ///
    /// Probabilities are used as they are: they need not sum to 1. They get a gradient too, and with
    /// them so does the weight.
    ///
    /// # Errors
    /// [`Error::Rank`] for a single value as input; [`Error::Shape`] for a target or weight that does
    /// not fit; [`Error::OutOfRange`] for a target that is no class; [`Error::Argument`] for a label
    /// smoothing outside [0, 1] or nan, and for an `ignore_index` with probabilities;
    /// [`Error::NotDifferentiable`] for a weight that requires a gradient with classes;
    /// [`Error::DimOutOfRange`], [`Error::OutOfMemory`].
    pub fn forward(&self, logits: &Tensor<T>, target: impl ToTarget<T>) -> Result<Tensor<T>> {
        let op = "cross_entropy";
        let dim = class_dim(op, logits.shape(), self.dim)?;
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            let value = self.label_smoothing.to_string();
            return Err(Error::Argument { op, name: "label_smoothing", value, allowed: "in [0, 1]" });
        }
        match target.to_target(op)? {
            Target::Classes(target) => self.forward_classes(op, logits, dim, target),
            Target::Probabilities(target) => self.forward_probabilities(op, logits, dim, target),
        }
    }

    fn forward_classes(
        &self,
        op: &'static str,
        logits: &Tensor<T>,
        dim: usize,
        target: Indices,
    ) -> Result<Tensor<T>> {
        let shape = logits.shape();
        let classes = Classes::new(op, shape, dim, target, self.weight.as_ref(), self.ignore_index)?;
        let split = shape.split_at_dim(dim);
        let smoothing = Smoothing::new(self.label_smoothing, split.size, self.weight.as_ref());
        let mut lines = vec![Line::default(); classes.target.len()];
        let losses = Tensor::compute(classes.target.shape().clone(), |out| {
            kernels::class_losses(
                (logits.as_slice(), split.size, split.inner),
                |position| classes.class(position),
                self.weight.as_ref().map(Tensor::as_slice),
                &smoothing,
                &mut lines,
                out,
            );
        })?;
        let mut denominator = classes.denominator();
        if denominator == T::zero() && self.label_smoothing > 0.0 {
            // PyTorch divides the target's part of a smoothed loss by itself, which gives 0/0 where the
            // targets have no weight, however large the other part is.
            denominator = T::nan();
        }
        let value = reduce(losses, self.reduction, || denominator)?;
        let rule = CrossEntropy { classes, smoothing, lines, denominator, reduction: self.reduction, dim };
        Ok(Step::new(rule).saved_input(logits).record(value))
    }

    fn forward_probabilities(
        &self,
        op: &'static str,
        logits: &Tensor<T>,
        dim: usize,
        target: Tensor<T>,
    ) -> Result<Tensor<T>> {
        let shape = logits.shape();
        if target.shape() != shape {
            let (expected, actual) = (shape.to_vec(), target.shape().to_vec());
            return Err(Error::Shape { op, what: "the target (probabilities)", expected, actual });
        }
        check_weight(op, self.weight.as_ref(), shape[dim])?;
        if let Some(ignore_index) = self.ignore_index.filter(|&index| index >= 0) {
            let (value, allowed) =
                (ignore_index.to_string(), "None or negative when targets are probabilities");
            return Err(Error::Argument { op, name: "ignore_index", value, allowed });
        }
        let split = shape.split_at_dim(dim);
        let weight = match &self.weight {
            Some(weight) => weight.clone(),
            None => Tensor::ones(split.size)?,
        };
        let smoothing = Smoothing::new(self.label_smoothing, split.size, Some(&weight));
        let positions = shape.without(dim);
        let mut lines = vec![Line::default(); positions.elements()];
        let losses = Tensor::compute(positions, |out| {
            kernels::probability_losses(
                (logits.as_slice(), split.size, split.inner),
                target.as_slice(),
                weight.as_slice(),
                &smoothing,
                &mut lines,
                out,
            );
        })?;
        let denominator = T::from_f64(losses.len() as f64);
        let value = reduce(losses, self.reduction, || denominator)?;
        let rule = SoftCrossEntropy { smoothing, lines, denominator, reduction: self.reduction, dim };
        let step = Step::new(rule).saved_input(logits).saved_input(&target).saved_input(&weight);
        Ok(step.record(value))
    }
}

impl<T: Float> Smoothing<T> {
    fn new(label_smoothing: f64, classes: usize, weight: Option<&Tensor<T>>) -> Self {
        let total_weight = match weight {
            Some(weight) => crate::kernels::reduce::sum(weight.as_slice()),
            None => T::from_f64(classes as f64),
        };
        Smoothing {
            target: T::from_f64(1.0 - label_smoothing),
            every: T::from_f64(label_smoothing / classes.max(1) as f64),
            total_weight,
        }
    }
}

/// The rule for class targets.
struct CrossEntropy<T: Float> {
    classes: Classes<T>,
    smoothing: Smoothing<T>,
    lines: Vec<Line<T>>,
    denominator: T,
    reduction: Reduction,
    dim: usize,
}

impl<T: Float> Backward<T> for CrossEntropy<T> {
    fn name(&self) -> &'static str {
        "CrossEntropy"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let logits = step.input(0)?;
        let upstream = upstream_of_positions(&grad, self.reduction, self.denominator)?;
        if step.is_recording() {
            let coefficients = self.coefficients(logits.shape())?;
            let ignored = self.classes.ignored();
            if !ignored.any() {
                return Ok(plain_gradient(logits, &coefficients, &upstream, self.dim)?.into());
            }
            // Neither a nan among the logits of an ignored position nor the upstream gradient of a mean
            // over nothing kept may enter the recorded steps: their own derivatives would be nan too.
            let upstream = upstream.broadcast_to(ignored.shape())?.masked_fill(&ignored, 0.0)?;
            let ignored = crate::mask::Mask::from_vec(ignored.to_vec(), kept(logits.shape(), self.dim))?;
            let logits = logits.masked_fill(&ignored, 0.0)?;
            return Ok(plain_gradient(&logits, &coefficients, &upstream, self.dim)?.into());
        }
        let split = logits.shape().split_at_dim(self.dim);
        let gradient = Tensor::compute(logits.shape().clone(), |out| {
            kernels::class_gradients(
                (logits.as_slice(), split.size, split.inner),
                |position| self.classes.class(position),
                self.classes.weight.as_ref().map(Tensor::as_slice),
                &self.smoothing,
                &self.lines,
                upstream.as_slice(),
                out,
            );
        })?;
        Ok(gradient.into())
    }
}

impl<T: Float> CrossEntropy<T> {
    /// The coefficients a[i, c], as a constant of the logits' shape.
    fn coefficients(&self, shape: &Shape) -> Result<Tensor<T>> {
        let split = shape.split_at_dim(self.dim);
        Tensor::compute(shape.clone(), |out| {
            for (position, class) in (0..self.classes.target.len()).map(|i| (i, self.classes.class(i))) {
                let Some(class) = class else { continue };
                let (start, step) = super::classes::class_zero(split, position);
                for c in 0..split.size {
                    let share = if c == class { self.smoothing.target } else { T::zero() };
                    out[start + c * step] = self.classes.weight_of(c) * (share + self.smoothing.every);
                }
            }
        })
    }
}

/// The rule for probability targets; the inputs are logits, target and weight.
struct SoftCrossEntropy<T: Float> {
    smoothing: Smoothing<T>,
    lines: Vec<Line<T>>,
    denominator: T,
    reduction: Reduction,
    dim: usize,
}

impl<T: Float> Backward<T> for SoftCrossEntropy<T> {
    fn name(&self) -> &'static str {
        "CrossEntropy"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let (logits, target, weight) = (step.input(0)?, step.input(1)?, step.input(2)?);
        let shape = logits.shape();
        let upstream = upstream_of_positions(&grad, self.reduction, self.denominator)?;
        let weights = weight.reshape(class_shape(shape, self.dim))?;
        let upstreams = || over_classes(&upstream, shape, self.dim);
        // d l / d a, in the logits' shape: -ln p.
        let losses = || logits.log_softmax(self.dim as isize)?.neg();
        let smoothed = || target.mul(self.smoothing.target.to_f64())?.add(self.smoothing.every.to_f64());
        step.gradients()
            .input(0, || {
                if step.is_recording() {
                    return plain_gradient(logits, &smoothed()?.mul(&weights)?, &upstream, self.dim);
                }
                let split = shape.split_at_dim(self.dim);
                Tensor::compute(shape.clone(), |out| {
                    kernels::probability_gradients(
                        (logits.as_slice(), split.size, split.inner),
                        target.as_slice(),
                        weight.as_slice(),
                        &self.smoothing,
                        &self.lines,
                        upstream.as_slice(),
                        out,
                    );
                })
            })?
            .input(1, || losses()?.mul(&weights)?.mul(self.smoothing.target.to_f64())?.mul(&upstreams()?))?
            .input(2, || {
                let each = losses()?.mul(&smoothed()?)?.mul(&upstreams()?)?;
                each.sum_to(&class_shape(shape, self.dim))?.reshape(weight.shape())
            })
    }
}

/// The gradient by the logits with recorded operations: u (p A - a).
fn plain_gradient<T: Float>(
    logits: &Tensor<T>,
    coefficients: &Tensor<T>,
    upstream: &Tensor<T>,
    dim: usize,
) -> Result<Tensor<T>> {
    let total = coefficients.sum(keepdim(dim as isize))?;
    let upstream = over_classes(upstream, logits.shape(), dim)?;
    logits.softmax(dim as isize)?.mul(&total)?.sub(coefficients)?.mul(&upstream)
}

/// The positions' upstream gradients, ready to be broadcast over the classes.
fn over_classes<T: Float>(upstream: &Tensor<T>, shape: &Shape, dim: usize) -> Result<Tensor<T>> {
    if upstream.len() == 1 { upstream.reshape(Shape::scalar()) } else { upstream.reshape(kept(shape, dim)) }
}

/// The logits' shape with one class.
fn kept(shape: &Shape, dim: usize) -> Shape {
    shape.with_size(dim, 1)
}

/// The shape in which one value a class broadcasts against the logits: (C, 1, ..).
fn class_shape(shape: &Shape, dim: usize) -> Shape {
    std::iter::once(shape[dim]).chain(shape[dim + 1..].iter().map(|_| 1)).collect()
}
