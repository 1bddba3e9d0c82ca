//! Comparisons, which give a [`Mask`], and choosing by a mask.

use super::binary::Operand;
use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::elementwise::{map, zip_strided};
use crate::kernels::parallel::for_each_range;
use crate::tensor::mask::{Mask, all_false};
use crate::tensor::model::Tensor;

/// Comparisons as a table: the method and its operator.
macro_rules! comparisons {
    ($($name:ident $operator:tt $text:literal;)*) => {
        impl<T: Float> Tensor<T> {$(
            #[doc = concat!("Where a ", $text, " b, element by element; the shapes broadcast. No gradient.")]
            ///
            /// # Errors
            /// [`Error::Broadcast`], [`Error::TooLarge`].
            pub fn $name(&self, other: impl Operand<T>) -> Result<Mask> {
                $name(self, &other.operand())
            }
        )*}
        compiled! {$(
            fn $name<T>(a: &Tensor<T>, b: &Tensor<T>) -> Result<Mask> {
                compare(stringify!($name), a, b, |a, b| a $operator b)
            }
        )*}
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
    let shape = a.shape().broadcast_of(op, b.shape())?;
    let elements = shape.checked_elements(op)?;
    let (a_strides, b_strides) = (a.shape().broadcast_strides(&shape), b.shape().broadcast_strides(&shape));
    let mut values = all_false(elements)?;
    zip_strided((a.as_slice(), &a_strides), (b.as_slice(), &b_strides), &shape, &mut values, holds);
    Ok(Mask::from_parts(shape, values))
}

/// The mask of the places at which `holds` returns true.
pub(super) fn mask_of<T: Float>(x: &Tensor<T>, holds: impl Fn(T) -> bool + Copy + Sync) -> Result<Mask> {
    let mut values = all_false(x.len())?;
    map(x.as_slice(), &mut values, holds);
    Ok(Mask::from_parts(x.shape().clone(), values))
}

impl<T: Float> Tensor<T> {
    /// This tensor's elements where the condition holds, the other's elsewhere; all three shapes
    /// broadcast (PyTorch's `torch.where(condition, self, other)`).
    ///
    /// The gradient goes to the operand that was chosen. The other gets 0, even where the gradient is infinite or nan.
    ///
    /// # Errors
    /// [`Error::Broadcast`], [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn where_cond(&self, condition: &Mask, other: impl Operand<T>) -> Result<Self> {
        self.chosen(condition, &other.operand())
    }
}

compiled! { impl Tensor<T>:
    fn chosen(&self, condition: &Mask, other: &Tensor<T>) -> Result<Self> {
        let op = "where_cond";
        let shape = self.shape().broadcast_of(op, other.shape())?.broadcast_of(op, condition.shape())?;
        shape.checked_elements(op)?;
        let condition = condition.broadcast_to(&shape)?;
        let (a, b) = (self.detach().broadcast_to(&shape)?, other.detach().broadcast_to(&shape)?);
        let value = Tensor::compute(shape, |out| {
            for_each_range(out, |range, out| {
                let choices = a.as_slice()[range.clone()].iter().zip(&b.as_slice()[range.clone()]);
                for (out, (&holds, (&a, &b))) in
                    out.iter_mut().zip(condition.as_slice()[range].iter().zip(choices))
                {
                    *out = if holds { a } else { b };
                }
            });
        })?;
        Ok(Step::new(Where { condition }).input(self).input(other).record(value))
    }

    /// The elements, with `value` where the mask holds; the mask broadcasts to this tensor's shape.
    ///
    /// The gradient is 0 where the mask holds, even if an infinity or a nan arrives there.
    ///
    /// # Errors
    /// [`Error::Broadcast`] if the shapes do not broadcast, [`Error::Shape`] if the mask is larger
    /// than the tensor.
    pub fn masked_fill(&self, mask: &Mask, value: f64) -> Result<Self> {
        let op = "masked_fill";
        if &self.shape().broadcast_of(op, mask.shape())? != self.shape() {
            let (expected, actual) = (self.shape().to_vec(), mask.shape().to_vec());
            return Err(Error::Shape { op, what: "the mask", expected: expected.into(), actual });
        }
        let (strides, mask_strides) = (self.shape().strides(), mask.shape().broadcast_strides(self.shape()));
        let value = T::from_f64(value);
        let filled = Tensor::compute(self.shape().clone(), |out| {
            let (x, mask) = ((self.as_slice(), &strides[..]), (mask.as_slice(), &mask_strides[..]));
            zip_strided(x, mask, self.shape(), out, |x, masked| if masked { value } else { x });
        })?;
        Ok(Step::new(MaskedFill { mask: mask.clone() }).input(self).record(filled))
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
