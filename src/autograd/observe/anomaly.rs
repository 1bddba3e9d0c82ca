//! Finding where a computation stops being finite.

use crate::float::Float;
use crate::tensor::model::{AnyTensor, Tensor};
use crate::tensor::shape::Shape;
use std::cell::{Cell, RefCell};
use std::fmt;

/// The first step whose value or gradient is not finite; see
/// [`find_non_finite`](crate::find_non_finite).
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// The step's name.
    pub step: &'static str,
    /// What of the step it is.
    pub part: StepPart,
    /// The shape of the value or gradient.
    pub shape: Shape,
    /// Where in it the first offender stands.
    pub position: Vec<usize>,
    /// The offender: nan or an infinity.
    pub value: f64,
}

/// What a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepPart {
    /// Its value, forward.
    Value,
    /// The gradient of one of its inputs, backward.
    Gradient {
        /// Which input.
        input: usize,
    },
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

/// Which of the two passes is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    Forward,
    Backward,
}

thread_local! {
    static WATCHED: Cell<Option<Watched>> = const { Cell::new(None) };
    static FOUND: RefCell<Option<NonFinite>> = const { RefCell::new(None) };
}

/// Runs a closure and watches one pass; returns its result and the first thing found.
pub(crate) fn watching<R>(pass: Watched, closure: impl FnOnce() -> R) -> (R, Option<NonFinite>) {
    struct Restore(Option<Watched>, Option<NonFinite>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WATCHED.set(self.0);
            FOUND.set(self.1.take());
        }
    }
    let _restore = Restore(WATCHED.replace(Some(pass)), FOUND.take());
    let result = closure();
    (result, FOUND.take())
}

/// Called with the value of every step, recorded or not. The operations inside a rule are not steps
/// of the computation, and are not watched.
#[inline]
pub(crate) fn watch_value<T: Float>(step: &'static str, value: &Tensor<T>) {
    if WATCHED.get() == Some(Watched::Forward) {
        watch(step, StepPart::Value, value);
    }
}

/// Called with every gradient that a rule returns.
#[inline]
pub(crate) fn watch_gradient(step: &'static str, input: usize, gradient: &AnyTensor) {
    if WATCHED.get() == Some(Watched::Backward) {
        let part = StepPart::Gradient { input };
        match gradient {
            AnyTensor::F32(gradient) => watch(step, part, gradient),
            AnyTensor::F64(gradient) => watch(step, part, gradient),
        }
    }
}

fn watch<T: Float>(step: &'static str, part: StepPart, tensor: &Tensor<T>) {
    let Some(at) = tensor.as_slice().iter().position(|value| !value.is_finite()) else {
        return;
    };
    FOUND.with_borrow_mut(|found| {
        found.get_or_insert_with(|| NonFinite {
            step,
            part,
            shape: tensor.shape().clone(),
            position: tensor.shape().coordinates(at),
            value: tensor.as_slice()[at].to_f64(),
        });
    });
}
