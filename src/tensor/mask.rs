//! Boolean tensors: what comparisons return.

use crate::error::{Error, Result};
use crate::kernels::copies::strided::broadcast_copy;
use crate::tensor::nested::{Nested, flatten};
use crate::tensor::shape::Shape;
use std::ops::{BitAnd, BitOr, BitXor, Not};
use std::sync::Arc;

/// A tensor of booleans, made by a comparison such as [`Tensor::gt`](crate::Tensor::gt) and used by
/// [`Tensor::where_cond`](crate::Tensor::where_cond) and
/// [`Tensor::masked_fill`](crate::Tensor::masked_fill).
///
/// Masks combine with [`and`](Mask::and), [`or`](Mask::or), [`xor`](Mask::xor) and
/// [`not`](Mask::not), which broadcast, or with the operators `& | ^ !`.
///
/// ```
/// # use tapegrad::{Mask, Tensor};
/// let x = Tensor::new([-1.0, 0.5, 3.0]);
/// let inside = x.gt(0.0)? & x.lt(1.0)?;
/// assert_eq!(inside, Mask::new([false, true, false]));
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    shape: Shape,
    values: Arc<Vec<bool>>,
}

impl Mask {
    /// From a nested array of booleans.
    pub fn new(values: impl Nested<Element = bool>) -> Self {
        let (shape, values) = flatten(values);
        Mask::from_parts(shape, values)
    }

    /// From values in row-major order.
    ///
    /// # Errors
    /// [`Error::Length`] if they do not fill the shape.
    pub fn from_vec(values: Vec<bool>, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        shape.expect_elements("Mask::from_vec", values.len())?;
        Ok(Mask::from_parts(shape, values))
    }

    /// For values that are known to fill the shape.
    pub(crate) fn from_parts(shape: Shape, values: Vec<bool>) -> Self {
        debug_assert_eq!(shape.elements(), values.len());
        Mask { shape, values: Arc::new(values) }
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The booleans in row-major order.
    pub fn as_slice(&self) -> &[bool] {
        &self.values
    }

    /// The booleans in row-major order, copied.
    pub fn to_vec(&self) -> Vec<bool> {
        self.values.to_vec()
    }

    /// How many are true.
    pub fn count(&self) -> usize {
        self.values.iter().filter(|&&value| value).count()
    }

    /// Whether at least one is true.
    pub fn any(&self) -> bool {
        self.values.contains(&true)
    }

    /// Whether all are true (so they are if there are none).
    pub fn all(&self) -> bool {
        !self.values.contains(&false)
    }

    /// True where both are; the shapes broadcast.
    ///
    /// # Errors
    /// [`Error::Broadcast`], [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn and(&self, other: &Mask) -> Result<Mask> {
        self.zip("and", other, |a, b| a & b)
    }

    /// True where at least one is; the shapes broadcast.
    ///
    /// # Errors
    /// [`Error::Broadcast`], [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn or(&self, other: &Mask) -> Result<Mask> {
        self.zip("or", other, |a, b| a | b)
    }

    /// True where exactly one is; the shapes broadcast.
    ///
    /// # Errors
    /// [`Error::Broadcast`], [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn xor(&self, other: &Mask) -> Result<Mask> {
        self.zip("xor", other, |a, b| a ^ b)
    }

    /// True where this one is false.
    #[allow(clippy::should_implement_trait)] // `!mask` is there too; this is the method's name in PyTorch
    pub fn not(&self) -> Mask {
        Mask::from_parts(self.shape.clone(), self.values.iter().map(|&value| !value).collect())
    }

    /// The mask repeated to fill a shape that it broadcasts to.
    pub(crate) fn broadcast_to(&self, shape: &Shape) -> Result<Mask> {
        if &self.shape == shape {
            return Ok(self.clone());
        }
        let mut values = all_false(shape.checked_elements("broadcast_to")?)?;
        broadcast_copy(&self.values, &self.shape.broadcast_strides(shape), shape, &mut values);
        Ok(Mask::from_parts(shape.clone(), values))
    }

    fn zip(&self, op: &'static str, other: &Mask, combine: fn(bool, bool) -> bool) -> Result<Mask> {
        let shape = self.shape.broadcast_of(op, &other.shape)?;
        let (left, right) = (self.broadcast_to(&shape)?, other.broadcast_to(&shape)?);
        let values = left.values.iter().zip(right.values.iter()).map(|(&a, &b)| combine(a, b)).collect();
        Ok(Mask::from_parts(shape, values))
    }
}

/// As many booleans, from an allocator that may refuse.
pub(crate) fn all_false(count: usize) -> Result<Vec<bool>> {
    bytemuck::allocation::try_zeroed_vec(count).map_err(|()| Error::OutOfMemory { bytes: count })
}

macro_rules! operator {
    ($($trait:ident $method:ident $named:ident;)*) => {$(
        /// # Panics
        /// If the shapes do not broadcast; the named method returns the error instead.
        impl $trait for Mask {
            type Output = Mask;
            #[track_caller]
            fn $method(self, other: Mask) -> Mask {
                match self.$named(&other) {
                    Ok(mask) => mask,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    )*};
}
operator! {
    BitAnd bitand and;
    BitOr bitor or;
    BitXor bitxor xor;
}

impl Not for Mask {
    type Output = Mask;
    fn not(self) -> Mask {
        Mask::not(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logical_operators_broadcast() {
        let column = Mask::new([[true], [false]]);
        let row = Mask::new([true, false]);
        assert_eq!(column.and(&row).unwrap(), Mask::new([[true, false], [false, false]]));
        assert_eq!(column.or(&row).unwrap(), Mask::new([[true, true], [true, false]]));
        assert_eq!(column.xor(&row).unwrap(), Mask::new([[false, true], [true, false]]));
        assert_eq!(!row, Mask::new([false, true]));
        assert!(Mask::new([true; 2]).and(&Mask::new([true; 3])).is_err());
    }
}
