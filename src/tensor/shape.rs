//! Shapes: sizes, dims counted from either end, broadcasting.

use crate::error::{Error, Result};
use smallvec::SmallVec;
use std::fmt;
use std::ops::{Deref, DerefMut, RangeFull};

/// The sizes of a tensor, outermost first. Up to four dims live without a heap allocation.
///
/// It dereferences to `[usize]`, so that `shape[0]`, `shape.len()` (the rank) and iteration work.
#[derive(PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

impl Shape {
    /// The shape of a single value: no dims, one element.
    pub fn scalar() -> Self {
        Shape::default()
    }

    /// The number of elements: the product of the sizes, 1 for a scalar.
    ///
    /// A shape that belongs to a tensor never overflows: that was checked when the tensor was made. For any
    /// other shape that does, this is `usize::MAX`.
    pub fn elements(&self) -> usize {
        self.iter().fold(1, |product: usize, &size| product.saturating_mul(size))
    }

    /// The number of elements, for a shape that comes from a caller.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where the product of the non-zero sizes exceeds `isize::MAX / 8`: the widest element
    /// takes eight bytes.
    pub(crate) fn checked_elements(&self, op: &'static str) -> Result<usize> {
        let limit = isize::MAX as usize / 8;
        let (mut product, mut is_empty) = (1usize, false);
        for &size in self.iter() {
            is_empty |= size == 0;
            product = match product.checked_mul(size.max(1)) {
                Some(product) if product <= limit => product,
                _ => return Err(Error::TooLarge { op, shape: self.to_vec() }),
            };
        }
        Ok(if is_empty { 0 } else { product })
    }

    /// Refuses a number of values that do not fill the shape.
    pub(crate) fn expect_elements(&self, op: &'static str, length: usize) -> Result<()> {
        if self.checked_elements(op)? == length {
            return Ok(());
        }
        Err(Error::Length { op, length, shape: self.iter().map(|&size| size as isize).collect() })
    }

    /// The index of a dim that may be counted from the end (-1 is the last).
    ///
    /// As in PyTorch, a scalar accepts the dims 0 and -1 (and the result is 0).
    ///
    /// # Errors
    /// [`Error::Dim`].
    pub fn dim(&self, dim: isize) -> Result<usize> {
        self.dim_of("Shape::dim", dim)
    }

    /// The same, for an operation that the error names.
    pub(crate) fn dim_of(&self, op: &'static str, dim: isize) -> Result<usize> {
        wrap_dim(op, dim, self.len().max(1)).map_err(|_| Error::Dim {
            op,
            dim,
            rank: self.len(),
            is_repeated: false,
        })
    }

    /// The shape seen from one dim: how many blocks lie outside it, its size, and how many
    /// elements lie inside it. An element's position is `(outer * size + i) * inner + j`.
    /// A scalar counts as one dim of size 1.
    pub(crate) fn split_at_dim(&self, dim: usize) -> Split {
        Split {
            outer: self.iter().take(dim).product(),
            size: self.get(dim).copied().unwrap_or(1),
            inner: self.iter().skip(dim + 1).product(),
        }
    }

    /// The shape without one dim.
    pub(crate) fn without(&self, dim: usize) -> Shape {
        self.iter().enumerate().filter(|&(i, _)| i != dim).map(|(_, &size)| size).collect()
    }

    /// The shape with one size replaced; a scalar, which has no dim to replace, stays a scalar.
    pub(crate) fn with_size(&self, dim: usize, size: usize) -> Shape {
        let mut shape = self.clone();
        if let Some(entry) = shape.get_mut(dim) {
            *entry = size;
        }
        shape
    }

    /// The coordinates of the element at a position in row-major order, outermost first.
    pub fn coordinates(&self, mut position: usize) -> Vec<usize> {
        let mut coordinates = vec![0; self.len()];
        for (coordinate, &size) in coordinates.iter_mut().zip(self.iter()).rev() {
            *coordinate = position % size.max(1);
            position /= size.max(1);
        }
        coordinates
    }

    /// Row-major strides, in elements.
    pub(crate) fn strides(&self) -> Strides {
        let mut strides = Strides::from_elem(1, self.len());
        for dim in (1..self.len()).rev() {
            strides[dim - 1] = strides[dim] * self[dim];
        }
        strides
    }

    /// The strides with which a tensor of this shape is read as if it had the shape `target`:
    /// 0 along every dim that is repeated.
    pub(crate) fn broadcast_strides(&self, target: &Shape) -> Strides {
        let missing = target.len() - self.len();
        let own = self.strides();
        (0..target.len())
            .map(|dim| match dim.checked_sub(missing) {
                Some(dim) if self[dim] != 1 => own[dim],
                _ => 0,
            })
            .collect()
    }

    /// The common shape of two operands by NumPy's rule: aligned at the last dim, sizes must be
    /// equal or 1, a missing dim counts as 1.
    ///
    /// # Errors
    /// [`Error::Broadcast`].
    pub fn broadcast(&self, other: &Shape) -> Result<Shape> {
        self.broadcast_of("Shape::broadcast", other)
    }

    /// The same, for an operation that the error names.
    pub(crate) fn broadcast_of(&self, op: &'static str, other: &Shape) -> Result<Shape> {
        if self == other {
            return Ok(self.clone());
        }
        let rank = self.len().max(other.len());
        let size_at =
            |shape: &Shape, dim: usize| (dim + shape.len()).checked_sub(rank).map_or(1, |dim| shape[dim]);
        (0..rank)
            .map(|dim| match (size_at(self, dim), size_at(other, dim)) {
                (a, b) if a == b => Ok(a),
                (1, b) => Ok(b),
                (a, 1) => Ok(a),
                _ => Err(Error::Broadcast { op, left: self.to_vec(), right: other.to_vec() }),
            })
            .collect()
    }

    /// Whether a tensor of this shape can be repeated to fill `target`.
    pub(crate) fn broadcasts_to(&self, target: &Shape) -> bool {
        self.len() <= target.len()
            && self.iter().rev().zip(target.iter().rev()).all(|(&own, &size)| own == size || own == 1)
    }
}

/// See [`Shape::split_at_dim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    pub outer: usize,
    pub size: usize,
    pub inner: usize,
}

/// Strides in elements, one a dim.
pub(crate) type Strides = SmallVec<[usize; 4]>;

/// Counts a dim from the front: `dim` in `-count..count` becomes `0..count`.
pub(crate) fn wrap_dim(op: &'static str, dim: isize, count: usize) -> Result<usize> {
    let wrapped = if dim < 0 { dim.checked_add_unsigned(count) } else { Some(dim) };
    match wrapped {
        Some(wrapped) if wrapped >= 0 && wrapped.unsigned_abs() < count => Ok(wrapped.unsigned_abs()),
        _ => Err(Error::Dim { op, dim, rank: count, is_repeated: false }),
    }
}

impl Clone for Shape {
    fn clone(&self) -> Self {
        Shape(SmallVec::from_slice(&self.0)) // a copy of memory, which a clone element by element is not
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl DerefMut for Shape {
    fn deref_mut(&mut self) -> &mut [usize] {
        &mut self.0
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(sizes: I) -> Self {
        Shape(sizes.into_iter().collect())
    }
}

/// Prints as a list: `[2, 3]`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        shape.clone()
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Shape(SmallVec::from_slice(&sizes))
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        Shape(SmallVec::from_slice(sizes))
    }
}

impl From<Vec<usize>> for Shape {
    fn from(sizes: Vec<usize>) -> Self {
        Shape(SmallVec::from_vec(sizes))
    }
}

/// One dim of this size.
impl From<usize> for Shape {
    fn from(size: usize) -> Self {
        Shape::from([size])
    }
}

/// No dims: the shape of a single value.
impl From<()> for Shape {
    fn from((): ()) -> Self {
        Shape::scalar()
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, other: &[usize; N]) -> bool {
        self[..] == other[..]
    }
}

/// The sizes asked of [`reshape`](crate::Tensor::reshape) and
/// [`broadcast_to`](crate::Tensor::broadcast_to), where -1 means "whatever fits".
///
/// Implemented for arrays of any integer type and for shapes.
pub trait ToSizes {
    /// The sizes; one that exceeds `isize` saturates, and is refused where it is used.
    fn to_sizes(&self) -> SmallVec<[isize; 4]>;
}

impl<I: Copy + TryInto<isize>, const N: usize> ToSizes for [I; N] {
    fn to_sizes(&self) -> SmallVec<[isize; 4]> {
        self[..].to_sizes()
    }
}

impl<I: Copy + TryInto<isize>> ToSizes for [I] {
    fn to_sizes(&self) -> SmallVec<[isize; 4]> {
        self.iter().map(|&size| size.try_into().unwrap_or(isize::MAX)).collect()
    }
}

impl<I: Copy + TryInto<isize>> ToSizes for Vec<I> {
    fn to_sizes(&self) -> SmallVec<[isize; 4]> {
        self[..].to_sizes()
    }
}

impl ToSizes for Shape {
    fn to_sizes(&self) -> SmallVec<[isize; 4]> {
        self[..].to_sizes()
    }
}

impl<S: ToSizes + ?Sized> ToSizes for &S {
    fn to_sizes(&self) -> SmallVec<[isize; 4]> {
        (**self).to_sizes()
    }
}

/// Which dims a reduction goes over: `..` for all of them, one dim, or an array of dims; inside
/// [`keepdim`] the reduced dims stay in the result with size 1.
///
/// ```
/// # use tapegrad::{keepdim, Tensor};
/// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
/// assert_eq!(x.sum(..)?.item()?, 10.0);
/// assert_eq!(x.sum(0)?.to_vec(), [4.0, 6.0]);
/// assert_eq!(x.sum([0, 1])?.item()?, 10.0);
/// assert_eq!(x.sum(keepdim(-1))?.shape(), &[2, 1]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
pub trait Dims {
    /// The dims, for a tensor of this rank. They need not be valid: what is out of range or named twice is refused
    /// where it is used.
    fn to_dims(&self, rank: usize) -> impl Iterator<Item = isize>;

    /// Whether they stay in the result with size 1.
    fn is_keepdim(&self) -> bool {
        false
    }
}

impl Dims for RangeFull {
    fn to_dims(&self, rank: usize) -> impl Iterator<Item = isize> {
        0..rank as isize
    }
}

impl Dims for isize {
    fn to_dims(&self, _rank: usize) -> impl Iterator<Item = isize> {
        std::iter::once(*self)
    }
}

impl<const N: usize> Dims for [isize; N] {
    fn to_dims(&self, rank: usize) -> impl Iterator<Item = isize> {
        self[..].to_dims(rank)
    }
}

impl Dims for [isize] {
    fn to_dims(&self, _rank: usize) -> impl Iterator<Item = isize> {
        self.iter().copied()
    }
}

impl<D: Dims + ?Sized> Dims for &D {
    fn to_dims(&self, rank: usize) -> impl Iterator<Item = isize> {
        (**self).to_dims(rank)
    }
    fn is_keepdim(&self) -> bool {
        (**self).is_keepdim()
    }
}

/// What [`Dims`] come to for one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedDims {
    /// The reduced dims, each once and counted from the front, ascending.
    pub dims: SmallVec<[usize; 4]>,
    /// Whether they stay in the result with size 1.
    pub keepdim: bool,
}

/// Resolves the dims of an operation, which the error names.
pub(crate) fn resolved(dims: impl Dims, op: &'static str, shape: &Shape) -> Result<ResolvedDims> {
    let given = dims.to_dims(shape.len());
    let mut resolved = given.map(|dim| shape.dim_of(op, dim)).collect::<Result<SmallVec<[usize; 4]>>>()?;
    resolved.sort_unstable();
    match resolved.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::Dim { op, dim: pair[0] as isize, rank: shape.len(), is_repeated: true }),
        None => Ok(ResolvedDims { dims: resolved, keepdim: dims.is_keepdim() }),
    }
}

impl ResolvedDims {
    /// The shape of the result.
    pub fn reduced(&self, shape: &Shape) -> Shape {
        let sizes = shape.iter().enumerate();
        if self.keepdim {
            sizes.map(|(dim, &size)| if self.dims.contains(&dim) { 1 } else { size }).collect()
        } else {
            sizes.filter(|(dim, _)| !self.dims.contains(dim)).map(|(_, &size)| size).collect()
        }
    }

    /// The shape of the result if the reduced dims stayed: it broadcasts against the input.
    pub fn kept(&self, shape: &Shape) -> Shape {
        ResolvedDims { keepdim: true, dims: self.dims.clone() }.reduced(shape)
    }

    /// How many elements go into each result.
    pub fn count(&self, shape: &Shape) -> usize {
        self.dims.iter().map(|&dim| shape.get(dim).copied().unwrap_or(1)).product()
    }
}

/// Those of one reduction, for another over the same dims.
impl Dims for ResolvedDims {
    fn to_dims(&self, _rank: usize) -> impl Iterator<Item = isize> {
        self.dims.iter().map(|&dim| dim as isize)
    }
    fn is_keepdim(&self) -> bool {
        self.keepdim
    }
}

/// Dims that stay in the result with size 1. Made by [`keepdim`].
#[derive(Debug, Clone, Copy)]
pub struct KeepDim<D>(D);

/// Reduces over `dims` and leaves them in the result with size 1 (PyTorch's `keepdim=True`).
///
/// ```
/// # use tapegrad::{keepdim, Tensor};
/// let x = Tensor::new([[1.0, 3.0], [5.0, 7.0]]);
/// let centred = &x - x.mean(keepdim(-1))?;
/// assert_eq!(centred.to_vec(), [-1.0, 1.0, -1.0, 1.0]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
pub fn keepdim<D: Dims>(dims: D) -> KeepDim<D> {
    KeepDim(dims)
}

impl<D: Dims> Dims for KeepDim<D> {
    fn to_dims(&self, rank: usize) -> impl Iterator<Item = isize> {
        self.0.to_dims(rank)
    }
    fn is_keepdim(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_broadcast_from_the_last_dim() {
        let common = |a: &[usize], b: &[usize]| {
            Shape::from(a).broadcast_of("add", &Shape::from(b)).map(|s| s.to_vec())
        };
        assert_eq!(common(&[2, 3], &[3]), Ok(vec![2, 3]));
        assert_eq!(common(&[2, 1], &[1, 3]), Ok(vec![2, 3]));
        assert_eq!(common(&[], &[4]), Ok(vec![4]));
        assert_eq!(common(&[0, 3], &[1, 3]), Ok(vec![0, 3]));
        let error = common(&[0, 3], &[2, 3]).unwrap_err();
        assert_eq!(error, Error::Broadcast { op: "add", left: vec![0, 3], right: vec![2, 3] });
    }

    #[test]
    fn dims_count_from_either_end() {
        let shape = Shape::from([2, 3]);
        assert_eq!(shape.dim_of("sum", -1), Ok(1));
        assert_eq!(shape.dim_of("sum", -2), Ok(0));
        assert!(shape.dim_of("sum", 2).is_err());
        assert!(shape.dim_of("sum", -3).is_err());
        assert!(shape.dim_of("sum", isize::MIN).is_err());
        assert_eq!(Shape::scalar().dim_of("softmax", -1), Ok(0));
        assert_eq!(
            Shape::scalar().dim_of("softmax", 1).unwrap_err().to_string(),
            "softmax: dim 1 is not in [-1, 1) for a tensor of rank 0"
        );
    }

    #[test]
    fn the_product_of_sizes_is_checked() {
        assert_eq!(Shape::from([3, 0, 2]).checked_elements("zeros"), Ok(0));
        assert!(Shape::from([usize::MAX, 2]).checked_elements("zeros").is_err());
        assert!(Shape::from([usize::MAX, 0, 2]).checked_elements("zeros").is_err());
        assert_eq!(Shape::scalar().checked_elements("zeros"), Ok(1));
    }

    #[test]
    fn the_product_of_sizes_stops_at_the_greatest_number() {
        assert_eq!(Shape::from([usize::MAX, 2]).elements(), usize::MAX);
        assert_eq!(Shape::from([usize::MAX, 2, 0]).elements(), 0);
    }

    #[test]
    fn a_dim_named_twice_is_refused() {
        let shape = Shape::from([2, 3]);
        assert_eq!(
            resolved([1, -1], "sum", &shape),
            Err(Error::Dim { op: "sum", dim: 1, rank: 2, is_repeated: true })
        );
    }

    #[test]
    fn coordinates_invert_the_row_major_position() {
        let shape = Shape::from([2, 3, 4]);
        assert_eq!(shape.coordinates(0), [0, 0, 0]);
        assert_eq!(shape.coordinates(23), [1, 2, 3]);
        assert_eq!(shape.coordinates(13), [1, 0, 1]);
    }
}
