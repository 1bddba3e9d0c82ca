//! Comparisons, which give a [`Mask`], and choosing by a mask.

use super::binary::Operand;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::kernels::elementwise::zip_strided;
use crate::mask::{Mask, all_false};
use crate::step::{Backward, Gradients, Step, StepContext};
use crate::tensor::Tensor;

/// Comparisons as a table: the method and its operator.
macro_rules! comparisons {
    ($($name:ident $operator:tt $text:literal;)*) => {
        impl<T: Float> Tensor<T> {
            $(
                #[doc = concat!("Where a ", $text, " b, element by element; the shapes broadcast. No gradient.")]
                ///
                /// # Errors
                /// [`Error::Broadcast`], [`Error::TooLarge`].
                pub fn $name(&self, other: impl Operand<T>) -> Result<Mask> {
                    compare(stringify!($name), self, &other.operand(), |a, b| a $operator b)
                }
            )*
        }
    };
}

comparisons! {
    eq == "equals";
    ne != "differs from";
    lt < "is less than";
    le <= "is at most";
    gt > "is greater than";
    ge >= "is at least";
}

fn compare<T: Float>(
    op: &'static str,
    a: &Tensor<T>,
    b: &Tensor<T>,
    holds: impl Fn(T, T) -> bool + Copy + Sync,
) -> Result<Mask> {
    let shape = a.shape().broadcast(op, b.shape())?;
    let elements = shape.checked_elements(op)?;
    let (a_strides, b_strides) = (a.shape().broadcast_strides(&shape), b.shape().broadcast_strides(&shape));
    let mut values = all_false(elements)?;
    zip_strided((a.as_slice(), &a_strides), (b.as_slice(), &b_strides), &shape, &mut values, holds);
    Ok(Mask::from_parts(shape, values))
}

impl<T: Float> Tensor<T> {
    /// This tensor's elements where the condition holds, the other's elsewhere; all three shapes
    /// broadcast (PyTorch's `torch.where(condition, self, other)`).
    ///
    /// The gradient goes to the operand that was chosen; the other gets 0, whatever arrives.
    ///
    /// # Errors
    /// [`Error::Broadcast`], [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn where_cond(&self, condition: &Mask, other: impl Operand<T>) -> Result<Self> {
        let op = "where_cond";
        let other = other.operand();
        let shape = self.shape().broadcast(op, other.shape())?.broadcast(op, condition.shape())?;
        shape.checked_elements(op)?;
        let condition = condition.broadcast_to(&shape)?;
        let (a, b) = (self.detach().broadcast_to(&shape)?, other.detach().broadcast_to(&shape)?);
        let value = Tensor::compute(shape, |out| {
            let choices = condition.as_slice().iter().zip(a.as_slice().iter().zip(b.as_slice()));
            for (out, (&condition, (&a, &b))) in out.iter_mut().zip(choices) {
                *out = if condition { a } else { b };
            }
        })?;
        Ok(Step::new(Where { condition }).input(self).input(&other).record(value))
    }

    /// The elements, with `value` where the mask holds; the mask broadcasts to this tensor's shape.
    ///
    /// The gradient is 0 where the mask holds, whatever arrives.
    ///
    /// # Errors
    /// [`Error::Broadcast`] if the shapes do not broadcast, [`Error::Shape`] if the mask is larger
    /// than the tensor.
    pub fn masked_fill(&self, mask: &Mask, value: f64) -> Result<Self> {
        let op = "masked_fill";
        if &self.shape().broadcast(op, mask.shape())? != self.shape() {
            let (expected, actual) = (self.shape().to_vec(), mask.shape().to_vec());
            return Err(Error::Shape { op, what: "the mask", expected, actual });
        }
        let mask = mask.broadcast_to(self.shape())?;
        let filled = Tensor::compute(self.shape().clone(), |out| {
            for ((out, &x), &masked) in out.iter_mut().zip(self.as_slice()).zip(mask.as_slice()) {
                *out = if masked { T::from_f64(value) } else { x };
            }
        })?;
        Ok(Step::new(MaskedFill { mask }).input(self).record(filled))
    }
}

struct Where {
    condition: Mask,
}

impl<T: Float> Backward<T> for Where {
    fn name(&self) -> &'static str {
        "Where"
    }
    fn formula(&self) -> &'static str {
        "y = a where the mask holds, else b"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        step.gradients()
            .input(0, || grad.masked_fill(&self.condition.not(), 0.0))?
            .input(1, || grad.masked_fill(&self.condition, 0.0))
    }
}

struct MaskedFill {
    mask: Mask,
}

impl<T: Float> Backward<T> for MaskedFill {
    fn name(&self) -> &'static str {
        "MaskedFill"
    }
    fn formula(&self) -> &'static str {
        "y = a number where the mask holds, else x"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.masked_fill(&self.mask, 0.0)?.into())
    }
}
