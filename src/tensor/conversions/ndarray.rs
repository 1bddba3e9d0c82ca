//! Arrays of the `ndarray` crate (feature `ndarray`).

use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;
use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, ArrayViewMutD, Dimension, IxDyn};

/// An array of any number of dims becomes a constant. Without a copy if the array owns exactly its elements
/// in row-major order, as it does unless it was sliced, transposed or made in another order.
///
/// ```
/// use ndarray::{Array2, array};
/// use tapegrad::Tensor;
///
/// let rows: Array2<f32> = array![[1.0, 2.0], [3.0, 4.0]];
/// let x = Tensor::try_from(rows)?;
/// assert_eq!(x.shape(), &[2, 2]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooLarge`] for an array without elements whose other sizes multiply to too many;
/// [`Error::OutOfMemory`] if a copy cannot be made.
impl<T: Float, D: Dimension> TryFrom<Array<T, D>> for Tensor<T> {
    type Error = Error;

    fn try_from(array: Array<T, D>) -> Result<Self> {
        let shape = Shape::from(array.shape());
        if !array.is_standard_layout() {
            return copied(&array.view());
        }
        let count = array.len();
        let (values, start) = array.into_raw_vec_and_offset();
        if values.len() == count {
            return Tensor::from_vec(values, shape);
        }
        // A part of what the array owns.
        let start = start.unwrap_or(0);
        let mut part = Tensor::zeros(shape)?;
        part.as_mut_slice()?.copy_from_slice(&values[start..start + count]);
        Ok(part)
    }
}

/// The elements are copied, in row-major order whatever the order of the array.
///
/// # Errors
/// [`Error::TooLarge`] for an array without elements whose other sizes multiply to too many;
/// [`Error::OutOfMemory`].
impl<T: Float, D: Dimension> TryFrom<ArrayView<'_, T, D>> for Tensor<T> {
    type Error = Error;

    fn try_from(array: ArrayView<'_, T, D>) -> Result<Self> {
        copied(&array)
    }
}

fn copied<T: Float, D: Dimension>(array: &ArrayView<'_, T, D>) -> Result<Tensor<T>> {
    let mut copy = Tensor::zeros(array.shape())?;
    copy.as_mut_slice()?.iter_mut().zip(array).for_each(|(copy, &value)| *copy = value);
    Ok(copy)
}

/// The values, without a copy if nobody else holds them: no other handle, and no recorded step.
///
/// A fixed number of dims is one call away: `ArrayD::from(x).into_dimensionality::<Ix2>()`.
impl<T: Float> From<Tensor<T>> for ArrayD<T> {
    fn from(tensor: Tensor<T>) -> Self {
        let shape = IxDyn(tensor.shape());
        match ArrayD::from_shape_vec(shape, tensor.into_vec()) {
            Ok(array) => array,
            Err(error) => unreachable!("a tensor fills its shape: {error}"),
        }
    }
}

/// The values where they are.
///
/// ```
/// use ndarray::{ArrayViewD, Axis};
/// use tapegrad::Tensor;
///
/// let x = Tensor::new([[1.0, 2.0], [3.0, 5.0]]);
/// let sums = ArrayViewD::from(&x).sum_axis(Axis(0));
/// assert_eq!(sums.as_slice().unwrap(), [4.0, 7.0]);
/// ```
impl<'a, T: Float> From<&'a Tensor<T>> for ArrayViewD<'a, T> {
    fn from(tensor: &'a Tensor<T>) -> Self {
        match ArrayViewD::from_shape(IxDyn(tensor.shape()), tensor.as_slice()) {
            Ok(array) => array,
            Err(error) => unreachable!("a tensor fills its shape: {error}"),
        }
    }
}

/// The values for writing, as [`Tensor::as_mut_slice`] gives them: in place if this handle is the only one
/// that holds them.
///
/// # Errors
/// [`Error::NotLeaf`] for the result of a recorded step, [`Error::OutOfMemory`] if the copy of shared values
/// cannot be made.
impl<'a, T: Float> TryFrom<&'a mut Tensor<T>> for ArrayViewMutD<'a, T> {
    type Error = Error;

    fn try_from(tensor: &'a mut Tensor<T>) -> Result<Self> {
        let shape = IxDyn(tensor.shape());
        match ArrayViewMutD::from_shape(shape, tensor.as_mut_slice()?) {
            Ok(array) => Ok(array),
            Err(error) => unreachable!("a tensor fills its shape: {error}"),
        }
    }
}
