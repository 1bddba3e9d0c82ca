//! Finding where a computation stops being finite.

use crate::float::Float;
use crate::shape::Shape;
use crate::tensor::{AnyTensor, Tensor};
use std::cell::{Cell, RefCell};
use std::fmt;

/// The first step whose value or gradient is not finite; see
/// [`find_non_finite`](crate::find_non_finite).
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// The step's name.
    pub step: &'static str,
    /// Whether it is the step's value, computed forward, or the gradient of its output, computed
    /// backward.
    pub kind: NonFiniteKind,
    /// The shape of the value or gradient.
    pub shape: Shape,
    /// Where in it the first offender stands.
    pub position: Vec<usize>,
    /// The offender: nan or an infinity.
    pub value: f64,
}

/// What of a step is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFiniteKind {
    /// The value that the step computed.
    Value,
    /// The gradient of the loss with respect to that value.
    Gradient,
}

/// One sentence, such as `the value of Log, of shape [2], is -inf at [0]`.
impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NonFinite { step, shape, position, value, .. } = self;
        let kind = match self.kind {
            NonFiniteKind::Value => "value",
            NonFiniteKind::Gradient => "gradient",
        };
        write!(f, "the {kind} of {step}, of shape {shape}, is {value} at {position:?}")
    }
}

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static FOUND: RefCell<Option<NonFinite>> = const { RefCell::new(None) };
}

/// Runs a closure with the watch on; returns its result and the first thing found.
pub(crate) fn watching<R>(closure: impl FnOnce() -> R) -> (R, Option<NonFinite>) {
    struct Restore(bool, Option<NonFinite>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WATCHING.set(self.0);
            FOUND.set(self.1.take());
        }
    }
    let _restore = Restore(WATCHING.replace(true), FOUND.take());
    let result = closure();
    (result, FOUND.take())
}

/// Called with the value of every step, recorded or not.
pub(crate) fn watch_value<T: Float>(step: &'static str, value: &Tensor<T>) {
    if WATCHING.get() {
        watch(step, NonFiniteKind::Value, value);
    }
}

/// Called with the gradient of every step's output.
pub(crate) fn watch_gradient(step: &'static str, gradient: &AnyTensor) {
    if WATCHING.get() {
        match gradient {
            AnyTensor::F32(gradient) => watch(step, NonFiniteKind::Gradient, gradient),
            AnyTensor::F64(gradient) => watch(step, NonFiniteKind::Gradient, gradient),
        }
    }
}

fn watch<T: Float>(step: &'static str, kind: NonFiniteKind, tensor: &Tensor<T>) {
    let Some(at) = tensor.as_slice().iter().position(|value| !value.is_finite()) else {
        return;
    };
    FOUND.with_borrow_mut(|found| {
        found.get_or_insert_with(|| NonFinite {
            step,
            kind,
            shape: tensor.shape().clone(),
            position: tensor.shape().coordinates(at),
            value: tensor.as_slice()[at].to_f64(),
        });
    });
}
