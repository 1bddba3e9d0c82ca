//! Integer tensors: class labels and positions.

use crate::error::{Error, Result};
use crate::tensor::nested::{Nested, flatten};
use crate::tensor::shape::Shape;
use std::sync::Arc;

/// A tensor of integers: the labels of a loss, the positions of a
/// [`gather`](crate::Tensor::gather), what [`argmax`](crate::Tensor::argmax) returns.
///
/// Integers carry no gradient. Clone is cheap; the values never change.
///
/// ```
/// # use tapegrad::Indices;
/// let labels = Indices::new([0, 2, 1])?;
/// assert_eq!(labels.as_slice(), [0, 2, 1]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Indices {
    shape: Shape,
    values: Arc<Vec<i64>>,
}

impl Indices {
    /// From whatever [`ToIndices`] accepts: a nested array, a slice or a vector of any integer type.
    ///
    /// # Errors
    /// [`Error::Argument`] for an integer that `i64` cannot hold.
    pub fn new(values: impl ToIndices) -> Result<Self> {
        indices("Indices::new", values)
    }

    /// From values in row-major order.
    ///
    /// # Errors
    /// [`Error::Length`] if they do not fill the shape.
    pub fn from_vec(values: Vec<i64>, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        shape.expect_elements("Indices::from_vec", values.len())?;
        Ok(Indices { shape, values: Arc::new(values) })
    }

    /// For values that are known to fill the shape.
    pub(crate) fn from_parts(shape: Shape, values: Vec<i64>) -> Self {
        debug_assert_eq!(shape.elements(), values.len());
        Indices { shape, values: Arc::new(values) }
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of dims.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of integers.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The integers in row-major order.
    pub fn as_slice(&self) -> &[i64] {
        &self.values
    }

    /// The integers in row-major order, copied.
    pub fn to_vec(&self) -> Vec<i64> {
        self.values.to_vec()
    }

    /// The only integer of a tensor that has one element.
    ///
    /// # Errors
    /// [`Error::NotScalar`].
    pub fn item(&self) -> Result<i64> {
        match self.as_slice() {
            [value] => Ok(*value),
            _ => Err(Error::NotScalar {
                op: "item",
                shape: self.shape.to_vec(),
                hint: "; read it with to_vec()",
            }),
        }
    }

    /// The same integers in another shape.
    ///
    /// # Errors
    /// [`Error::Length`] if the shape has another number of elements.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        shape.expect_elements("reshape", self.len())?;
        Ok(Indices { shape, values: self.values.clone() })
    }

    /// The same integers with a dim of size 1 inserted; `dim` may be counted from the end of the
    /// result. `labels.unsqueeze(1)` makes the (N, 1) index that `gather(1, ..)` takes.
    ///
    /// # Errors
    /// [`Error::Dim`].
    pub fn unsqueeze(&self, dim: isize) -> Result<Self> {
        let dim = crate::tensor::shape::wrap_dim("unsqueeze", dim, self.rank() + 1)?;
        let mut sizes = self.shape.to_vec();
        sizes.insert(dim, 1);
        Ok(Indices { shape: sizes.into(), values: self.values.clone() })
    }

    /// The integers at these positions along a dim, in their order: the labels of a batch.
    ///
    /// # Errors
    /// Those of [`Tensor::index_select`](crate::Tensor::index_select).
    pub fn index_select(&self, dim: isize, index: impl ToIndices) -> Result<Self> {
        let op = "index_select";
        let (dim, index) = (self.shape.dim_of(op, dim)?, indices(op, index)?);
        if index.rank() > 1 {
            let shape = index.shape().to_vec();
            return Err(Error::Shape { op, what: "the index", expected: "1".into(), actual: shape });
        }
        if self.rank() == 0 && index.len() != 1 {
            let (expected, actual) = (vec![1], index.shape().to_vec());
            return Err(Error::Shape {
                op,
                what: "the index of a single value",
                expected: expected.into(),
                actual,
            });
        }
        let split = self.shape.split_at_dim(dim);
        index.check_range(op, ("index", "a position"), split.size, None)?;
        let shape = self.shape.with_size(dim, index.len());
        let count = shape.checked_elements(op)?;
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| out_of_memory(count))?;
        // A dim may be long without any elements.
        let blocks = if count == 0 { 0 } else { split.outer };
        for outer in 0..blocks {
            for &at in index.as_slice() {
                let start = (outer * split.size + at as usize) * split.inner;
                values.extend_from_slice(&self.values[start..start + split.inner]);
            }
        }
        Ok(Indices::from_parts(shape, values))
    }

    /// Checks that every integer lies in `0..size`, except those equal to `ignore`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] with the first that does not, and its position.
    pub(crate) fn check_range(
        &self,
        op: &'static str,
        (what, unit): (&'static str, &'static str),
        size: usize,
        ignore: Option<i64>,
    ) -> Result<()> {
        // As an unsigned number, a negative one is larger than any size.
        let fits = |value: i64| (value as u64) < size as u64;
        if self.values.iter().all(|&value| fits(value)) {
            return Ok(());
        }
        match self.values.iter().position(|&value| !fits(value) && Some(value) != ignore) {
            None => Ok(()),
            Some(at) => Err(Error::OutOfRange {
                op,
                what,
                unit,
                position: self.shape.coordinates(at),
                value: self.values[at].into(),
                size,
            }),
        }
    }
}

/// Zeros, in memory that may be refused.
pub(crate) fn indices_of_zero(count: usize) -> Result<Vec<i64>> {
    bytemuck::allocation::try_zeroed_vec(count).map_err(|()| out_of_memory(count))
}

fn out_of_memory(count: usize) -> Error {
    Error::OutOfMemory { bytes: count.saturating_mul(size_of::<i64>()) }
}

/// One dim.
impl FromIterator<i64> for Indices {
    fn from_iter<I: IntoIterator<Item = i64>>(values: I) -> Self {
        let values: Vec<i64> = values.into_iter().collect();
        Indices::from_parts(values.len().into(), values)
    }
}

/// The integer types.
pub trait Integer: Copy {
    /// The value, if `i64` can hold it.
    fn to_i64(self) -> Option<i64>;
    /// The value as text, for the error if it cannot.
    fn to_text(self) -> String;
}

macro_rules! integer {
    ($($integer:ty)*) => {$(
        impl Integer for $integer {
            fn to_i64(self) -> Option<i64> {
                self.try_into().ok()
            }
            fn to_text(self) -> String {
                self.to_string()
            }
        }
    )*};
}
integer!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

/// What can be given where integers are wanted: `[0, 1, 2]`, nested arrays, slices and vectors of any
/// integer type, and [`Indices`].
pub trait ToIndices {
    /// The integers as a tensor.
    ///
    /// # Errors
    /// [`Error::Argument`] for an integer that `i64` cannot hold.
    fn to_indices(self) -> Result<Indices>;
}

/// The integers for an operation, which the error names.
pub(crate) fn indices(op: &'static str, values: impl ToIndices) -> Result<Indices> {
    values.to_indices().map_err(|error| error.of_call(op))
}

fn collect<I: Integer>(shape: Shape, values: &[I]) -> Result<Indices> {
    let too_large = |value: I| Error::Argument {
        op: "to_indices",
        name: "an index",
        value: value.to_text(),
        allowed: "within the range of i64",
    };
    let values =
        values.iter().map(|&value| value.to_i64().ok_or_else(|| too_large(value))).collect::<Result<_>>()?;
    Ok(Indices::from_parts(shape, values))
}

impl<A: Nested> ToIndices for A
where
    A::Element: Integer,
{
    fn to_indices(self) -> Result<Indices> {
        let (shape, values) = flatten(self);
        collect(shape, &values)
    }
}

impl<I: Integer> ToIndices for &[I] {
    fn to_indices(self) -> Result<Indices> {
        collect(self.len().into(), self)
    }
}

impl<I: Integer, const N: usize> ToIndices for &[I; N] {
    fn to_indices(self) -> Result<Indices> {
        self[..].to_indices()
    }
}

impl<I: Integer> ToIndices for Vec<I> {
    fn to_indices(self) -> Result<Indices> {
        self[..].to_indices()
    }
}

impl<I: Integer> ToIndices for &Vec<I> {
    fn to_indices(self) -> Result<Indices> {
        self[..].to_indices()
    }
}

impl ToIndices for Indices {
    fn to_indices(self) -> Result<Indices> {
        Ok(self)
    }
}

impl ToIndices for &Indices {
    fn to_indices(self) -> Result<Indices> {
        Ok(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_integer_type_and_container_is_accepted() {
        let expected = Indices::from_vec(vec![0, 1, 2], [3]).unwrap();
        assert_eq!(Indices::new([0, 1, 2]).unwrap(), expected);
        assert_eq!(Indices::new([0u8, 1, 2]).unwrap(), expected);
        assert_eq!(Indices::new(vec![0usize, 1, 2]).unwrap(), expected);
        assert_eq!(Indices::new(&[0i16, 1, 2][..]).unwrap(), expected);
        assert_eq!(Indices::new(7).unwrap().shape(), &Shape::scalar());
        assert_eq!(Indices::new([[1, 2], [3, 4]]).unwrap().shape(), &[2, 2]);
    }

    #[test]
    fn an_integer_beyond_i64_is_refused_with_its_value() {
        let error = Indices::new([u64::MAX]).unwrap_err().to_string();
        assert_eq!(
            error,
            "Indices::new: an index is 18446744073709551615, it must be within the range of i64"
        );
    }

    #[test]
    fn index_select_picks_along_any_dim() {
        let table = Indices::new([[0, 1, 2], [3, 4, 5]]).unwrap();
        let picked = |dim, index: &[i64]| table.index_select(dim, index).map(|picked| picked.to_vec());
        assert_eq!(picked(0, &[1, 1, 0]), Ok(vec![3, 4, 5, 3, 4, 5, 0, 1, 2]));
        assert_eq!(picked(-1, &[2, 0]), Ok(vec![2, 0, 5, 3]));
        assert_eq!(table.index_select(1, [2]).unwrap().shape(), &[2, 1]);
        assert_eq!(picked(0, &[]), Ok(vec![]));
        assert!(matches!(picked(0, &[2]), Err(Error::OutOfRange { value: 2, size: 2, .. })));
        assert!(matches!(picked(0, &[-1]), Err(Error::OutOfRange { .. })));
        assert!(matches!(picked(2, &[0]), Err(Error::Dim { .. })));
        assert!(matches!(table.index_select(0, [[0]]), Err(Error::Shape { .. })));
        let single = Indices::new(7).unwrap();
        assert_eq!(single.index_select(0, [0]).unwrap().to_vec(), [7]);
        let empty = Indices::from_vec(vec![], [1 << 50, 3, 0]).unwrap();
        assert_eq!(empty.index_select(1, [0, 2]).unwrap().shape(), &[1 << 50, 2, 0]);
        assert!(matches!(single.index_select(0, [0, 0]), Err(Error::Shape { .. })));
    }

    #[test]
    fn the_range_check_names_the_first_offender() {
        let labels = Indices::new([[0, 4], [5, -1]]).unwrap();
        let error = labels.check_range("gather", ("index", "a position"), 5, None).unwrap_err();
        assert_eq!(error.to_string(), "gather: index 5 at [1, 0] is not a position of [0, 5)");
        assert!(labels.check_range("gather", ("index", "a position"), 6, Some(-1)).is_ok());
    }
}
