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
//! where A - a is the sum of the coefficients of the other classes and 1 - p that of their probabilities, both
//! without cancellation. The step saves the logits, and either the maximum of each row and the sum of its other
//! exponentials, or the finished gradient (`factor_known_before`).

use super::classes::{SavedTargets, check_weight, class_dim, class_zero};
use super::reduction::{Reduced, Reduction};
use crate::autograd::grad_mode::is_grad_enabled;
use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::compensated::two_sum;
use crate::kernels::rows::cross_entropy as kernels;
use crate::kernels::rows::targets::{ProbabilityTargets, Smoothing, Upstream};
use crate::kernels::rows::{Rows, Summary};
use crate::kernels::scratch::{try_filled, zeros};
use crate::ops::loss::{Target, ToTarget};
use crate::ops::softmax::{nll_gradient, rows_along};
use crate::tensor::index::Indices;
use crate::tensor::mask::Mask;
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;

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
    /// [`Reduction::Unreduced`] has the shape of the logits without the class dim.
    ///
    /// Probabilities are used as they are: they need not sum to 1. They get a gradient too, and with
    /// them so does the weight.
    ///
    /// # Errors
    /// [`Error::Shape`] for a single value as input, and for a target or weight that does not fit;
    /// [`Error::OutOfRange`] for a target that is no class; [`Error::Argument`] for a label
    /// smoothing outside [0, 1] or nan, and for an `ignore_index` with probabilities;
    /// [`Error::NotDifferentiable`] for a weight that requires a gradient with classes;
    /// [`Error::Dim`], [`Error::OutOfMemory`].
    pub fn forward(&self, logits: &Tensor<T>, target: impl ToTarget<T>) -> Result<Tensor<T>> {
        let op = "cross_entropy";
        let dim = class_dim(op, logits.shape(), self.dim)?;
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            let value = self.label_smoothing.to_string();
            return Err(Error::Argument { op, name: "label_smoothing", value, allowed: "in [0, 1]" });
        }
        match target.to_target().map_err(|error| error.of_call(op))? {
            Target::Classes(target) => self.forward_classes(op, logits, dim, target),
            Target::Probabilities(target) => self.forward_probabilities(op, logits, dim, target),
        }
    }
}

compiled! { impl CrossEntropyLoss<T>:
    fn forward_classes(
        &self,
        op: &'static str,
        logits: &Tensor<T>,
        dim: usize,
        target: Indices,
    ) -> Result<Tensor<T>> {
        let shape = logits.shape();
        let classes = SavedTargets::new(op, shape, dim, target, self.weight.as_ref(), self.ignore_index)?;
        let size = shape[dim];
        let smoothing = smoothing(self.label_smoothing, size, self.weight.as_ref());
        let mut losses = zeros(classes.target.len());
        let mut denominator = classes.denominator();
        if denominator == 0.0 && self.label_smoothing > 0.0 {
            // PyTorch divides the two parts of a smoothed loss separately. Where the targets have no weight, the
            // target's part is 0/0, and the loss is nan whatever the other part is.
            denominator = f64::NAN;
        }
        let (rows, last) = rows_along(shape, dim);
        let in_place = logits.detach().with_dims_last(&[last])?;
        let (x, targets) = (in_place.as_slice(), classes.targets(smoothing));
        let (mut summaries, mut gradient) = (Vec::new(), None);
        match self.factor_known_before(logits, denominator) {
            Some(factor) => {
                let upstream = Upstream { factor, of_rows: None };
                let gradients = Tensor::compute(in_place.shape().clone(), |out| {
                    kernels::class_losses_and_gradients(x, rows, targets, upstream, &mut losses, out);
                })?;
                gradient = Some(gradients.with_dims_back(&[last])?);
            }
            None => {
                summaries.resize(losses.len(), Summary::default());
                kernels::class_losses(x, rows, targets, &mut summaries, &mut losses);
            }
        }
        let reduced = Reduced { reduction: self.reduction, denominator };
        let value = reduced.value(losses, classes.target.shape())?;
        let rule = CrossEntropy { classes, smoothing, summaries, reduced, dim };
        Ok(Step::new(rule).saved_input(logits).saving_prepared(gradient).record(value))
    }

    /// Whether forward also computes the gradient of the logits, and then the upstream gradient of each position if
    /// that of the result is 1: 1/denominator for a mean, 1 for a sum.
    ///
    /// Computed with the losses, they take one exponential an element instead of two. But they are then kept in
    /// memory of their own until backward, which could otherwise overwrite the logits with them. So it is done
    /// for a leaf, which keeps its logits anyway, and for small inputs.
    fn factor_known_before(&self, logits: &Tensor<T>, denominator: f64) -> Option<f64> {
        const LITTLE: usize = 1 << 16;
        let pays = is_grad_enabled() && logits.is_tracked() && (logits.is_leaf() || logits.len() <= LITTLE);
        match self.reduction {
            _ if !pays || self.label_smoothing > 0.0 => None,
            Reduction::Mean => Some(1.0 / denominator),
            Reduction::Sum => Some(1.0),
            Reduction::Unreduced => None,
        }
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
            return Err(Error::Shape {
                op,
                what: "the target (probabilities)",
                expected: expected.into(),
                actual,
            });
        }
        check_weight(op, self.weight.as_ref(), shape[dim])?;
        if let Some(ignore_index) = self.ignore_index.filter(|&index| index >= 0) {
            let (value, allowed) =
                (ignore_index.to_string(), "None or negative when targets are probabilities");
            return Err(Error::Argument { op, name: "ignore_index", value, allowed });
        }
        let size = shape[dim];
        let weight = match &self.weight {
            Some(weight) => weight.clone(),
            None => Tensor::ones(size)?,
        };
        let smoothing = smoothing(self.label_smoothing, size, Some(&weight));
        let positions = shape.without(dim);
        // A tensor without classes has no elements, but may have more positions than memory holds.
        let count = positions.elements();
        let out_of_memory = |_| Error::OutOfMemory { bytes: count.saturating_mul(size_of::<Summary<T>>()) };
        let mut summaries = try_filled(Summary::default(), count).map_err(out_of_memory)?;
        let mut losses = try_filled(0.0, count).map_err(out_of_memory)?;
        let (rows, last) = rows_along(shape, dim);
        let x = logits.detach().with_dims_last(&[last])?;
        let probabilities = target.detach().with_dims_last(&[last])?;
        let targets = probability_targets(&probabilities, &weight, smoothing);
        kernels::probability_losses(x.as_slice(), rows, targets, &mut summaries, &mut losses);
        let reduced = Reduced { reduction: self.reduction, denominator: losses.len() as f64 };
        let value = reduced.value(losses, &positions)?;
        let rule = SoftCrossEntropy { smoothing, summaries, reduced, dim };
        let step = Step::new(rule).saved_input(logits).saved_input(&target).saved_input(&weight);
        Ok(step.record(value))
    }
}

/// What a smoothing of e gives to the target and to every class.
fn smoothing<T: Float>(label_smoothing: f64, classes: usize, weight: Option<&Tensor<T>>) -> Smoothing {
    let total = |weight: &Tensor<T>| weight.as_slice().iter().map(|&weight| weight.to_f64()).collect();
    let (target, target_low) = two_sum(1.0, -label_smoothing);
    Smoothing {
        target,
        target_low,
        every: label_smoothing / classes.max(1) as f64,
        total_weight: weight.map_or_else(|| [classes as f64].into_iter().collect(), total),
    }
}

fn probability_targets<'a, T: Float>(
    probabilities: &'a Tensor<T>,
    weight: &'a Tensor<T>,
    smoothing: Smoothing,
) -> ProbabilityTargets<'a, T> {
    ProbabilityTargets { probabilities: probabilities.as_slice(), weight: weight.as_slice(), smoothing }
}

/// The gradient of the logits by a kernel that visits the rows along a dim. It overwrites their buffer if nobody else
/// holds it.
fn gradient_over<T: Float>(
    logits: Tensor<T>,
    dim: usize,
    kernel: impl FnOnce(Option<&[T]>, Rows, &mut [T]),
) -> Result<Tensor<T>> {
    let (rows, last) = rows_along(logits.shape(), dim);
    let mut x = logits.with_dims_last(&[last])?;
    drop(logits);
    let gradient = match x.unique_mut() {
        Some(values) => {
            kernel(None, rows, values);
            x
        }
        None => Tensor::compute(x.shape().clone(), |out| kernel(Some(x.as_slice()), rows, out))?,
    };
    gradient.with_dims_back(&[last])
}

/// The rule for class targets.
struct CrossEntropy<T: Float> {
    classes: SavedTargets<T>,
    smoothing: Smoothing,
    summaries: Vec<Summary<T>>,
    reduced: Reduced,
    dim: usize,
}

impl<T: Float> Backward<T> for CrossEntropy<T> {
    fn name(&self) -> &'static str {
        "CrossEntropy"
    }
    fn formula(&self) -> &'static str {
        match self.reduced.reduction {
            Reduction::Unreduced => "yᵢ = −ln softmax(xᵢ)[target]",
            Reduction::Sum => "y = Σᵢ −ln softmax(xᵢ)[target]",
            Reduction::Mean => "y = mean of −ln softmax(xᵢ)[target]",
        }
    }
    fn backward(&self, mut step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let logits = step.take_input(0)?;
        if step.is_recording() {
            return Ok(self.recorded_gradient(&logits, &grad)?.into());
        }
        if let Some(gradient) = step.take_prepared() {
            return Ok(self.scaled(gradient, grad.item()?)?.into());
        }
        let upstream = self.reduced.upstream_in_f64(&grad);
        let targets = self.classes.targets(self.smoothing);
        let gradient = gradient_over(logits, self.dim, |x, rows, out| {
            kernels::class_gradients(x, rows, targets, &self.summaries, upstream, out);
        })?;
        Ok(gradient.into())
    }
}

impl<T: Float> CrossEntropy<T> {
    /// A gradient that was computed for an upstream gradient of 1, for one of `factor`.
    fn scaled(&self, mut gradient: Tensor<T>, factor: T) -> Result<Tensor<T>> {
        if factor == T::one() {
            return Ok(gradient);
        }
        for value in gradient.as_mut_slice()? {
            *value *= factor;
        }
        // Ignored positions have the gradient 0, even times infinity.
        let ignored = self.classes.ignored();
        if factor.is_finite() || !ignored.any() {
            return Ok(gradient);
        }
        let ignored = Mask::from_vec(ignored.to_vec(), kept(gradient.shape(), self.dim))?;
        gradient.masked_fill(&ignored, 0.0)
    }

    /// The same in recorded operations.
    fn recorded_gradient(&self, logits: &Tensor<T>, grad: &Tensor<T>) -> Result<Tensor<T>> {
        let upstream = self.reduced.upstream(grad)?;
        let coefficients = self.coefficients(logits.shape())?;
        let ignored = self.classes.ignored();
        if !ignored.any() {
            return plain_gradient(logits, &coefficients, &upstream, self.dim);
        }
        // An ignored position may hold a nan, and the upstream gradient of a mean over no position is nan. Neither
        // may enter the recorded steps, because their derivatives would be nan too.
        let upstream = upstream.broadcast_to(ignored.shape())?.masked_fill(&ignored, 0.0)?;
        let ignored = Mask::from_vec(ignored.to_vec(), kept(logits.shape(), self.dim))?;
        let logits = logits.masked_fill(&ignored, 0.0)?;
        plain_gradient(&logits, &coefficients, &upstream, self.dim)
    }

    /// The coefficients a[i, c], as a constant of the logits' shape.
    fn coefficients(&self, shape: &Shape) -> Result<Tensor<T>> {
        let split = shape.split_at_dim(self.dim);
        Tensor::compute_on_zeros(shape.clone(), |out| {
            for (position, class) in (0..self.classes.target.len()).map(|i| (i, self.classes.class(i))) {
                let Some(class) = class else { continue };
                let (start, step) = class_zero(split, position);
                for c in 0..split.size {
                    let share = if c == class { self.smoothing.target } else { 0.0 };
                    let coefficient = self.classes.weight_of(c).to_f64() * (share + self.smoothing.every);
                    out[start + c * step] = T::from_f64(coefficient);
                }
            }
        })
    }
}

/// The rule for probability targets; the inputs are logits, target and weight.
struct SoftCrossEntropy<T: Float> {
    smoothing: Smoothing,
    summaries: Vec<Summary<T>>,
    reduced: Reduced,
    dim: usize,
}

impl<T: Float> Backward<T> for SoftCrossEntropy<T> {
    fn name(&self) -> &'static str {
        "CrossEntropy"
    }
    fn formula(&self) -> &'static str {
        match self.reduced.reduction {
            Reduction::Unreduced => "yᵢ = −Σ target · ln softmax(xᵢ)",
            Reduction::Sum => "y = Σᵢ −Σ target · ln softmax(xᵢ)",
            Reduction::Mean => "y = mean of −Σ target · ln softmax(xᵢ)",
        }
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let (logits, target, weight) = (step.input(0)?, step.input(1)?, step.input(2)?);
        let shape = logits.shape();
        let upstream = self.reduced.upstream(&grad)?;
        let weights = weight.reshape(class_shape(shape, self.dim))?;
        let upstreams = || over_classes(&upstream, shape, self.dim);
        // d l / d a, in the logits' shape: -ln p.
        let losses = || logits.log_softmax(self.dim as isize)?.neg();
        let smoothed = || target.mul(self.smoothing.target)?.add(self.smoothing.every);
        step.gradients()
            .input(0, || {
                if step.is_recording() {
                    return plain_gradient(logits, &smoothed()?.mul(&weights)?, &upstream, self.dim);
                }
                let (_, last) = rows_along(shape, self.dim);
                let probabilities = target.with_dims_last(&[last])?;
                let targets = probability_targets(&probabilities, weight, self.smoothing);
                let upstream = self.reduced.upstream_in_f64(&grad);
                gradient_over(logits.clone(), self.dim, |x, rows, out| {
                    kernels::probability_gradients(x, rows, targets, &self.summaries, upstream, out);
                })
            })?
            .input(1, || losses()?.mul(&weights.mul(self.smoothing.target)?)?.mul(&upstreams()?))?
            .input(2, || {
                let each = losses()?.mul(&smoothed()?)?.mul(&upstreams()?)?;
                each.sum_to(&class_shape(shape, self.dim))?.reshape(weight.shape())
            })
    }
}

/// The gradient of the logits in recorded operations: u (p A - a), without cancellation too.
fn plain_gradient<T: Float>(
    logits: &Tensor<T>,
    coefficients: &Tensor<T>,
    upstream: &Tensor<T>,
    dim: usize,
) -> Result<Tensor<T>> {
    nll_gradient(logits, coefficients, dim)?.mul(&over_classes(upstream, logits.shape(), dim)?)
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
