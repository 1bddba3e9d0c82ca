//! Elementwise functions of one tensor.
//!
//! Each function y = f(x) is followed by its rule: the gradient of x is f'(x) times the gradient of
//! y, written with recorded operations so that it can be differentiated again.

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::elementwise::map;
use crate::kernels::functions::gelu;
use crate::kernels::functions::{self, SOFTPLUS_THRESHOLD};
use crate::kernels::parallel::{for_each_chunk_beside, for_each_range};
use crate::ops::binary::zipped;
use crate::ops::compare::mask_of;
use crate::tensor::model::Tensor;

/// A new constant, element by element.
pub(crate) fn mapped<T: Float>(x: &Tensor<T>, f: impl Fn(T) -> T + Copy + Sync) -> Result<Tensor<T>> {
    Tensor::compute(x.shape().clone(), |out| map(x.as_slice(), out, f))
}

/// A new constant, by a kernel over the elements.
fn by_kernel<T: Float>(x: &Tensor<T>, kernel: fn(&[T], &mut [T])) -> Result<Tensor<T>> {
    Tensor::compute(x.shape().clone(), |out| for_each_chunk_beside(x.as_slice(), out, kernel))
}

/// The same of two tensors of one shape.
pub(super) fn by_kernel_of_two<T: Float>(
    a: &Tensor<T>,
    b: &Tensor<T>,
    kernel: fn(&[T], &[T], &mut [T]),
) -> Result<Tensor<T>> {
    Tensor::compute(a.shape().clone(), |out| {
        for_each_range(out, |range, out| kernel(&a.as_slice()[range.clone()], &b.as_slice()[range], out));
    })
}

/// Rules as a table: the name of the operation, its formula, and the gradient of its input.
macro_rules! rules {
    ($($name:ident, $formula:literal: |$step:ident, $grad:ident| $gradient:expr;)*) => {$(
        struct $name;
        impl<T: Float> Backward<T> for $name {
            fn name(&self) -> &'static str {
                stringify!($name)
            }
            fn formula(&self) -> &'static str {
                $formula
            }
            fn backward(&self, $step: StepContext<T>, $grad: Tensor<T>) -> Result<Gradients> {
                Ok($gradient.into())
            }
        }
    )*};
}

rules! {
    Neg, "y = −x": |_step, grad| grad.neg()?;
    Exp, "y = e^x": |step, grad| grad.mul(step.output()?)?;
    Expm1, "y = e^x − 1": |step, grad| grad.mul(&step.output()?.add(1.0)?)?;
    Log, "y = ln x": |step, grad| grad.div(step.input(0)?)?;
    Log1p, "y = ln(1 + x)": |step, grad| grad.div(&step.input(0)?.add(1.0)?)?;
    Sqrt, "y = √x": |step, grad| grad.div(&step.output()?.mul(2.0)?)?;
    Square, "y = x²": |step, grad| grad.mul(&step.input(0)?.mul(2.0)?)?;
    Reciprocal, "y = 1/x": |step, grad| grad.neg()?.mul(&step.output()?.square()?)?;
    Abs, "y = |x|": |step, grad| grad.mul(&sign(step.input(0)?)?)?;
    Relu, "y = max(x, 0)": |step, grad| grad.masked_fill(&step.input(0)?.le(0.0)?, 0.0)?;
    Tanh, "y = tanh x": |step, grad| {
        let y = step.output()?;
        if step.is_recording() {
            grad.mul(&y.square()?.neg()?.add(1.0)?)?
        } else {
            zipped("tanh", &grad, y, |grad, y| grad * (T::one() - y * y))?
        }
    };
    Sigmoid, "y = 1/(1 + e⁻ˣ)": |step, grad| {
        let y = step.output()?;
        if step.is_recording() {
            grad.mul(&y.neg()?.add(1.0)?)?.mul(y)?
        } else {
            zipped("sigmoid", &grad, y, |grad, y| grad * (T::one() - y) * y)?
        }
    };
    Softplus, "y = ln(1 + e^x)": |step, grad| {
        let x = step.input(0)?;
        grad.where_cond(&x.gt(SOFTPLUS_THRESHOLD)?, &grad.mul(&x.sigmoid()?)?)?
    };
    NormalCdf, "y = Φ(x)": |step, grad| grad.mul(&normal_density(step.input(0)?)?)?;
    Gelu, "y = x Φ(x)": |step, grad| {
        let x = step.input(0)?;
        if step.is_recording() {
            grad.mul(&normal_cdf(x)?.add(&x.mul(&normal_density(x)?)?)?)?
        } else {
            by_kernel_of_two(x, &grad, gelu::gelu_gradient_slice)?
        }
    };
}

compiled! { impl Tensor<T>:
    /// -x; the derivative is -1.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    #[allow(clippy::should_implement_trait)] // `-x` is there too; this form returns the error
    pub fn neg(&self) -> Result<Self> {
        Ok(Step::new(Neg).input(self).record(mapped(self, |x| -x)?))
    }

    /// e^x; the derivative is e^x.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn exp(&self) -> Result<Self> {
        Ok(Step::new(Exp).input(self).saving_output().record(by_kernel(self, functions::exp_slice)?))
    }

    /// e^x - 1 without the cancellation near 0; the derivative is e^x.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn expm1(&self) -> Result<Self> {
        Ok(Step::new(Expm1).input(self).saving_output().record(by_kernel(self, functions::expm1_slice)?))
    }

    /// The natural logarithm ln x: -inf at 0, nan below; the derivative is 1/x.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn log(&self) -> Result<Self> {
        Ok(Step::new(Log).saved_input(self).record(by_kernel(self, functions::log_slice)?))
    }

    /// ln(1 + x), accurate near 0; the derivative is 1/(1 + x).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn log1p(&self) -> Result<Self> {
        Ok(Step::new(Log1p).saved_input(self).record(by_kernel(self, functions::log1p_slice)?))
    }

    /// The square root, nan below 0; the derivative is 1/(2 sqrt x).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn sqrt(&self) -> Result<Self> {
        Ok(Step::new(Sqrt).input(self).saving_output().record(mapped(self, T::sqrt)?))
    }

    /// x^2; the derivative is 2x.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn square(&self) -> Result<Self> {
        Ok(Step::new(Square).saved_input(self).record(mapped(self, |x| x * x)?))
    }

    /// 1/x; the derivative is -1/x^2.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reciprocal(&self) -> Result<Self> {
        Ok(Step::new(Reciprocal).input(self).saving_output().record(mapped(self, T::recip)?))
    }

    /// |x|; the derivative is the sign of x, and 0 at 0.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn abs(&self) -> Result<Self> {
        Ok(Step::new(Abs).saved_input(self).record(mapped(self, T::abs)?))
    }

    /// max(x, 0), nan for nan; the derivative is 1 for x > 0 and 0 for x <= 0.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn relu(&self) -> Result<Self> {
        let value = mapped(self, |x| if x <= T::zero() { T::zero() } else { x })?;
        Ok(Step::new(Relu).saved_input(self).record(value))
    }

    /// The hyperbolic tangent; the derivative is 1 - tanh^2 x.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn tanh(&self) -> Result<Self> {
        Ok(Step::new(Tanh).input(self).saving_output().record(by_kernel(self, functions::tanh_slice)?))
    }

    /// s = 1/(1 + e^-x); the derivative is (1 - s) s.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn sigmoid(&self) -> Result<Self> {
        Ok(Step::new(Sigmoid).input(self).saving_output().record(by_kernel(self, functions::sigmoid_slice)?))
    }

    /// ln(1 + e^x), and x itself where x > 20, as in PyTorch; the derivative is sigmoid(x), and 1
    /// where x > 20.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn softplus(&self) -> Result<Self> {
        Ok(Step::new(Softplus).saved_input(self).record(by_kernel(self, functions::softplus_slice)?))
    }

    /// x Φ(x), where Φ(x) = (1 + erf(x/sqrt 2))/2 is the distribution function of the standard normal;
    /// the derivative is Φ(x) + x φ(x). This is PyTorch's `gelu(approximate="none")`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn gelu(&self) -> Result<Self> {
        Ok(Step::new(Gelu).saved_input(self).record(by_kernel(self, gelu::gelu_slice)?))
    }

    fn clamped(&self, rule: Clamp<T>) -> Result<Self> {
        let Clamp { minimum, maximum } = rule;
        if minimum.is_none() && maximum.is_none() {
            let (name, value, allowed) =
                ("bounds", "None, None".to_string(), "a number on at least one side");
            return Err(Error::Argument { op: "clamp", name, value, allowed });
        }
        let value = mapped(self, move |x| {
            let x = minimum.map_or(x, |minimum| if x < minimum || minimum.is_nan() { minimum } else { x });
            maximum.map_or(x, |maximum| if x > maximum || maximum.is_nan() { maximum } else { x })
        })?;
        Ok(Step::new(rule).saved_input(self).record(value))
    }
}

impl<T: Float> Tensor<T> {
    /// min(max(x, minimum), maximum); `None` leaves a side open. If the bounds cross, the result is
    /// the maximum; a nan bound makes everything nan.
    ///
    /// The derivative is 1 strictly between the bounds and 0 elsewhere, on the bounds too (as in
    /// PyTorch since 2.14). For bounds that are tensors use [`maximum`](Tensor::maximum) and
    /// [`minimum`](Tensor::minimum).
    ///
    /// # Errors
    /// [`Error::Argument`] if both sides are open; [`Error::OutOfMemory`].
    pub fn clamp(&self, minimum: impl Into<Option<T>>, maximum: impl Into<Option<T>>) -> Result<Self> {
        self.clamped(Clamp { minimum: minimum.into(), maximum: maximum.into() })
    }
}

struct Clamp<T> {
    minimum: Option<T>,
    maximum: Option<T>,
}

impl<T: Float> Backward<T> for Clamp<T> {
    fn name(&self) -> &'static str {
        "Clamp"
    }
    fn formula(&self) -> &'static str {
        "y = min(max(x, minimum), maximum)"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let x = step.input(0)?;
        let Clamp { minimum, maximum } = *self;
        // Negated, so that a nan counts as outside.
        let outside = mask_of(x, move |x| {
            x.is_nan()
                | minimum.is_some_and(|minimum| !(x > minimum))
                | maximum.is_some_and(|maximum| !(x < maximum))
        })?;
        Ok(grad.masked_fill(&outside, 0.0)?.into())
    }
}

/// The sign of x: -1, 0 or 1, and 0 for nan, as in PyTorch. It is a constant, because its derivative is 0.
fn sign<T: Float>(x: &Tensor<T>) -> Result<Tensor<T>> {
    mapped(x, |x| if x == T::zero() || x.is_nan() { T::zero() } else { x.signum() })
}

/// Φ(x), whose derivative is φ(x).
fn normal_cdf<T: Float>(x: &Tensor<T>) -> Result<Tensor<T>> {
    Ok(Step::new(NormalCdf).saved_input(x).record(by_kernel(x, gelu::normal_cdf_slice)?))
}

/// φ(x) = exp(-x^2/2)/sqrt(2 pi).
fn normal_density<T: Float>(x: &Tensor<T>) -> Result<Tensor<T>> {
    x.square()?.mul(-0.5)?.exp()?.mul(1.0 / (2.0 * std::f64::consts::PI).sqrt())
}
