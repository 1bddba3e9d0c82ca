//! Finding where a computation stops being finite.

use crate::autograd::backward::{GradOptions, Request, play, roots};
use crate::autograd::observe::hook::{Computed, StepPart, Watcher, watching};
use crate::error::Result;
use crate::float::Float;
use crate::tensor::model::{AnyTensor, Tensor};
use crate::tensor::shape::Shape;
use std::fmt;

/// The first step whose value or gradient is not finite; see [`find_non_finite`].
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// The step's name.
    pub step: &'static str,
    /// Whether it is the step's value or a gradient.
    pub part: StepPart,
    /// The shape of the value or gradient.
    pub shape: Shape,
    /// Where in it the first entry that is not finite stands.
    pub position: Vec<usize>,
    /// That entry: nan or an infinity.
    pub value: f64,
}

/// One line, such as `Log: the value, of shape [2], is -inf at [1]`.
impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NonFinite { step, part, shape, position, value } = self;
        match part {
            StepPart::Value => write!(f, "{step}: the value")?,
            StepPart::Gradient { input } => write!(f, "{step}Backward: the gradient of input {input}")?,
        }
        write!(f, ", of shape {shape}, is {value} at {position:?}")
    }
}

/// Runs a computation and its backward pass, and names the first step whose value, or else whose
/// gradient, is nan or infinite. None if everything is finite.
///
/// The closure computes the loss; its gradients are computed but not added to any leaf. Only steps
/// have names: a parameter that holds a nan shows in the first step that uses it.
///
/// ```
/// # use tapegrad::{find_non_finite, Tensor};
/// let x = Tensor::new([1.0, 0.0]).requires_grad();
/// let found = find_non_finite(|| x.sqrt()?.sum(..))?.unwrap();
/// assert_eq!(found.to_string(), "SqrtBackward: the gradient of input 0, of shape [2], is inf at [1]");
/// let found = find_non_finite(|| x.log()?.sum(..))?.unwrap();
/// assert_eq!(found.to_string(), "Log: the value, of shape [2], is -inf at [1]");
/// # Ok::<(), tapegrad::Error>(())
/// ```
///
/// # Errors
/// What the closure returns, and as [`Tensor::backward`].
pub fn find_non_finite<T: Float>(
    computation: impl FnOnce() -> Result<Tensor<T>>,
) -> Result<Option<NonFinite>> {
    let op = "find_non_finite";
    let (loss, found) = watching(First::of(Pass::Forward), computation);
    if let Some(found) = found.take().found {
        return Ok(Some(found));
    }
    let loss = loss?;
    let roots = roots(op, &[&loss], &GradOptions::new())?;
    let request = Request { op, roots, wanted: None, retain: false, recording: false };
    let (played, found) = watching(First::of(Pass::Backward), || play(request));
    played.map(|_| found.take().found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Pass {
    #[default]
    Forward,
    Backward,
}

/// Watches one pass for the first entry that is not finite. In the backward pass, the operations inside a rule
/// are not steps of the computation: only the gradients that it returns count.
#[derive(Default)]
struct First {
    pass: Pass,
    found: Option<NonFinite>,
}

impl First {
    fn of(pass: Pass) -> Self {
        First { pass, found: None }
    }

    fn look_at<T: Float>(&mut self, step: &'static str, part: StepPart, tensor: &Tensor<T>) {
        let Some(at) = tensor.as_slice().iter().position(|value| !value.is_finite()) else { return };
        self.found = Some(NonFinite {
            step,
            part,
            shape: tensor.shape().clone(),
            position: tensor.shape().coordinates(at),
            value: tensor.as_slice()[at].to_f64(),
        });
    }
}

impl Watcher for First {
    fn see(&mut self, computed: &Computed<'_>) {
        let &Computed { step, part, tensor, .. } = computed;
        let is_of_pass = (self.pass == Pass::Forward) == (part == StepPart::Value);
        if self.found.is_some() || !is_of_pass {
            return;
        }
        match tensor {
            AnyTensor::F32(tensor) => self.look_at(step, part, tensor),
            AnyTensor::F64(tensor) => self.look_at(step, part, tensor),
        }
    }
}
