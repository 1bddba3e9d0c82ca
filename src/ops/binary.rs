//! Elementwise functions of two tensors, with broadcasting.
//!
//! The gradients that the rules return have the shape of the result; the engine sums them over the
//! dims along which an operand was repeated.

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::Result;
use crate::float::{Float, compiled};
use crate::kernels::elementwise::zip_strided;
use crate::tensor::mask::Mask;
use crate::tensor::model::Tensor;
use std::borrow::Cow;

/// The right-hand side of a binary operation: a tensor, a reference to one, or a number. A number is
/// given as `f64` or as the element type and rounded to the element type.
pub trait Operand<T: Float> {
    /// The operand as a tensor; a number becomes a constant of shape [].
    fn operand(&self) -> Cow<'_, Tensor<T>>;
}

impl<T: Float> Operand<T> for Tensor<T> {
    fn operand(&self) -> Cow<'_, Tensor<T>> {
        Cow::Borrowed(self)
    }
}

impl<T: Float> Operand<T> for &Tensor<T> {
    fn operand(&self) -> Cow<'_, Tensor<T>> {
        Cow::Borrowed(self)
    }
}

impl<T: Float> Operand<T> for f64 {
    fn operand(&self) -> Cow<'_, Tensor<T>> {
        Cow::Owned(scalar(T::from_f64(*self)))
    }
}

impl Operand<f32> for f32 {
    fn operand(&self) -> Cow<'_, Tensor<f32>> {
        Cow::Owned(scalar(*self))
    }
}

fn scalar<T: Float>(value: T) -> Tensor<T> {
    Tensor::from_parts(().into(), vec![value])
}

/// A new constant of the common shape, element by element.
pub(super) fn zipped<T: Float>(
    op: &'static str,
    a: &Tensor<T>,
    b: &Tensor<T>,
    f: impl Fn(T, T) -> T + Copy + Sync,
) -> Result<Tensor<T>> {
    let shape = a.shape().broadcast_of(op, b.shape())?;
    shape.checked_elements(op)?;
    let (a_strides, b_strides) = (a.shape().broadcast_strides(&shape), b.shape().broadcast_strides(&shape));
    Tensor::compute(shape.clone(), |out| {
        zip_strided((a.as_slice(), &a_strides), (b.as_slice(), &b_strides), &shape, out, f)
    })
}

impl<T: Float> Tensor<T> {
    /// a + b; both derivatives are 1. The shapes broadcast.
    ///
    /// # Errors
    /// [`Broadcast`](crate::Error::Broadcast), [`TooLarge`](crate::Error::TooLarge), [`OutOfMemory`](crate::Error::OutOfMemory).
    #[allow(clippy::should_implement_trait)] // the operators are there too; named methods return the error
    pub fn add(&self, other: impl Operand<T>) -> Result<Self> {
        add(self, &other.operand())
    }

    /// a - b; the derivatives are 1 and -1. The shapes broadcast.
    ///
    /// # Errors
    /// [`Broadcast`](crate::Error::Broadcast), [`TooLarge`](crate::Error::TooLarge), [`OutOfMemory`](crate::Error::OutOfMemory).
    #[allow(clippy::should_implement_trait)]
    pub fn sub(&self, other: impl Operand<T>) -> Result<Self> {
        sub(self, &other.operand())
    }

    /// a b, element by element; the derivatives are b and a. The shapes broadcast.
    ///
    /// # Errors
    /// [`Broadcast`](crate::Error::Broadcast), [`TooLarge`](crate::Error::TooLarge), [`OutOfMemory`](crate::Error::OutOfMemory).
    #[allow(clippy::should_implement_trait)]
    pub fn mul(&self, other: impl Operand<T>) -> Result<Self> {
        mul(self, &other.operand())
    }

    /// a / b; the derivatives are 1/b and -a/b^2. The shapes broadcast.
    ///
    /// # Errors
    /// [`Broadcast`](crate::Error::Broadcast), [`TooLarge`](crate::Error::TooLarge), [`OutOfMemory`](crate::Error::OutOfMemory).
    #[allow(clippy::should_implement_trait)]
    pub fn div(&self, other: impl Operand<T>) -> Result<Self> {
        div(self, &other.operand())
    }

    /// a^b; the derivatives are b a^(b-1) and a^b ln a. The shapes broadcast.
    ///
    /// As in PyTorch, the derivative by a is 0 where b = 0, and the one by b is 0 where a = 0 and
    /// b >= 0.
    ///
    /// # Errors
    /// [`Broadcast`](crate::Error::Broadcast), [`TooLarge`](crate::Error::TooLarge), [`OutOfMemory`](crate::Error::OutOfMemory).
    pub fn pow(&self, exponent: impl Operand<T>) -> Result<Self> {
        pow(self, &exponent.operand())
    }

    /// The greater of a and b, nan if either is; the derivatives are 1 for the greater, 0 for the
    /// other, and 1/2 for both where they are equal. The shapes broadcast.
    ///
    /// # Errors
    /// [`Broadcast`](crate::Error::Broadcast), [`TooLarge`](crate::Error::TooLarge), [`OutOfMemory`](crate::Error::OutOfMemory).
    pub fn maximum(&self, other: impl Operand<T>) -> Result<Self> {
        maximum(self, &other.operand())
    }

    /// The lesser of a and b, nan if either is; derivatives as for [`maximum`](Tensor::maximum).
    ///
    /// # Errors
    /// [`Broadcast`](crate::Error::Broadcast), [`TooLarge`](crate::Error::TooLarge), [`OutOfMemory`](crate::Error::OutOfMemory).
    pub fn minimum(&self, other: impl Operand<T>) -> Result<Self> {
        minimum(self, &other.operand())
    }
}

compiled! {
    fn add<T>(a: &Tensor<T>, b: &Tensor<T>) -> Result<Tensor<T>> {
        Ok(Step::new(Add).input(a).input(b).record(zipped("add", a, b, |a, b| a + b)?))
    }

    fn sub<T>(a: &Tensor<T>, b: &Tensor<T>) -> Result<Tensor<T>> {
        Ok(Step::new(Sub).input(a).input(b).record(zipped("sub", a, b, |a, b| a - b)?))
    }

    fn mul<T>(a: &Tensor<T>, b: &Tensor<T>) -> Result<Tensor<T>> {
        let step = Step::new(Mul).input_saved_if(b.is_tracked(), a).input_saved_if(a.is_tracked(), b);
        Ok(step.record(zipped("mul", a, b, |a, b| a * b)?))
    }

    fn div<T>(a: &Tensor<T>, b: &Tensor<T>) -> Result<Tensor<T>> {
        let step = Step::new(Div).input_saved_if(b.is_tracked(), a).saved_input(b);
        Ok(step.record(zipped("div", a, b, |a, b| a / b)?))
    }

    fn pow<T>(a: &Tensor<T>, b: &Tensor<T>) -> Result<Tensor<T>> {
        let value = zipped("pow", a, b, |a, b| a.powf(b))?;
        let step = Step::new(Pow).saved_input(a).saved_input(b);
        Ok(if b.is_tracked() { step.saving_output() } else { step }.record(value))
    }

    fn maximum<T>(a: &Tensor<T>, b: &Tensor<T>) -> Result<Tensor<T>> {
        let value = zipped("maximum", a, b, |a, b| if a >= b || a.is_nan() { a } else { b })?;
        Ok(Step::new(Maximum).saved_input(a).saved_input(b).record(value))
    }

    fn minimum<T>(a: &Tensor<T>, b: &Tensor<T>) -> Result<Tensor<T>> {
        let value = zipped("minimum", a, b, |a, b| if a <= b || a.is_nan() { a } else { b })?;
        Ok(Step::new(Minimum).saved_input(a).saved_input(b).record(value))
    }
}

/// Rules as a table: the operation, its formula, and the gradients of its two operands.
macro_rules! rules {
    ($($name:ident, $formula:literal: |$step:ident, $grad:ident| $left:expr, $right:expr;)*) => {$(
        struct $name;
        impl<T: Float> Backward<T> for $name {
            fn name(&self) -> &'static str {
                stringify!($name)
            }
            fn formula(&self) -> &'static str {
                $formula
            }
            fn backward(&self, $step: StepContext<T>, $grad: Tensor<T>) -> Result<Gradients> {
                $step.gradients().input(0, || $left)?.input(1, || $right)
            }
        }
    )*};
}

rules! {
    Add, "y = a + b": |step, grad| Ok(grad.clone()), Ok(grad.clone());
    Sub, "y = a − b": |step, grad| Ok(grad.clone()), grad.neg();
    Mul, "y = a b": |step, grad| grad.mul(step.input(1)?), grad.mul(step.input(0)?);
    Div, "y = a / b": |step, grad| {
        grad.div(step.input(1)?)
    }, {
        // a/b/b rather than a/b^2, whose denominator overflows or underflows early
        let (a, b) = (step.input(0)?, step.input(1)?);
        grad.neg()?.mul(&a.div(b)?.div(b)?)
    };
    Pow, "y = aᵇ": |step, grad| {
        let (a, b) = (step.input(0)?, step.input(1)?);
        // b a^(b-1); it is 0 for b = 0, even if a is 0 or nan
        let irrelevant = b.eq(0.0)?.and(&a.abs()?.gt(0.0)?.not())?;
        let base = without(&irrelevant, a)?;
        grad.mul(&b.mul(&base.pow(&b.sub(1.0)?)?)?)
    }, {
        let (a, b) = (step.input(0)?, step.input(1)?);
        // a^b ln a; it is 0 for a^b = 0, even if ln a is -inf
        let irrelevant = a.eq(0.0)?.and(&b.ge(0.0)?)?;
        let slope = step.output()?.mul(&without(&irrelevant, a)?.log()?)?;
        grad.mul(&slope)
    };
    Maximum, "y = max(a, b)": |step, grad| {
        share(&grad, step.input(0)?, step.input(1)?)
    }, {
        share(&grad, step.input(1)?, step.input(0)?)
    };
    Minimum, "y = min(a, b)": |step, grad| {
        share(&grad, &step.input(0)?.neg()?, &step.input(1)?.neg()?)
    }, {
        share(&grad, &step.input(1)?.neg()?, &step.input(0)?.neg()?)
    };
}

/// x, but 1 where the mask holds. To mask the derivative afterwards would give the same value, but not the same second
/// derivative: there the masked part has the gradient 0, and 0 times an infinite slope is nan.
fn without<T: Float>(mask: &Mask, x: &Tensor<T>) -> Result<Tensor<T>> {
    if mask.any() { Tensor::from_parts(().into(), vec![T::one()]).where_cond(mask, x) } else { Ok(x.clone()) }
}

/// The part of the gradient of max(own, other) that belongs to `own`: all, half, or nothing.
fn share<T: Float>(grad: &Tensor<T>, own: &Tensor<T>, other: &Tensor<T>) -> Result<Tensor<T>> {
    let halved = grad.mul(0.5)?.where_cond(&own.eq(other)?, grad)?;
    halved.masked_fill(&own.lt(other)?, 0.0)
}
