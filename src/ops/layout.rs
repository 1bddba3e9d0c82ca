//! The same elements in another shape or order. The derivative of each is its inverse: the gradient
//! is moved back to where the elements came from.

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::copies::strided::strided_copy;
use crate::tensor::model::Tensor;
use crate::tensor::shape::{Dims, ResolvedDims, Shape, Strides, ToSizes, resolved, wrap_dim};
use smallvec::SmallVec;

impl<T: Float> Tensor<T> {
    /// The same elements in row-major order, in another shape of as many elements; shares the
    /// memory. One size may be -1, and then follows from the others: `x.reshape([2, -1])`.
    ///
    /// # Errors
    /// [`Error::Length`] if the sizes do not fit, [`Error::Argument`] for two sizes of -1 or another
    /// negative one.
    pub fn reshape(&self, sizes: impl ToSizes) -> Result<Self> {
        reshape(self, &sizes.to_sizes())
    }

    /// Without the dims of size 1, or without one dim if its size is 1: `x.squeeze(..)`,
    /// `x.squeeze(-1)`. A dim of another size stays, as in PyTorch.
    ///
    /// # Errors
    /// [`Error::Dim`].
    pub fn squeeze(&self, dims: impl Dims) -> Result<Self> {
        squeeze(self, resolved(dims, "squeeze", self.shape())?)
    }

    /// With the dims in another order: dim `i` of the result is dim `dims[i]` of the input.
    ///
    /// # Errors
    /// [`Error::Shape`] unless every dim is named, [`Error::Dim`] if one is named twice or out of range,
    /// [`Error::OutOfMemory`].
    pub fn permute(&self, dims: impl AsRef<[isize]>) -> Result<Self> {
        permute(self, dims.as_ref())
    }

    /// The tensor repeated to fill a larger shape: dims are aligned at the last one, and those of
    /// size 1 (or missing in front) are repeated. A size of -1 keeps the tensor's own. This is
    /// PyTorch's `expand` and `broadcast_to`. The gradient is summed over the repetitions.
    ///
    /// # Errors
    /// [`Error::Broadcast`] if the tensor does not fit, [`Error::Argument`] for a negative size other
    /// than -1, or -1 for a dim that the tensor does not have; [`Error::TooLarge`],
    /// [`Error::OutOfMemory`].
    pub fn broadcast_to(&self, sizes: impl ToSizes) -> Result<Self> {
        broadcast_to(self, &sizes.to_sizes())
    }
}

compiled! { impl Tensor<T>:
    /// The elements in one dim.
    ///
    /// # Errors
    /// None today. It returns a `Result` because all named methods do.
    pub fn flatten(&self) -> Result<Self> {
        Ok(self.viewed(self.len().into(), "Flatten"))
    }

    /// With a dim of size 1 inserted; `dim` is counted in the result, so -1 appends one.
    ///
    /// # Errors
    /// [`Error::Dim`].
    pub fn unsqueeze(&self, dim: isize) -> Result<Self> {
        let dim = wrap_dim("unsqueeze", dim, self.rank() + 1)?;
        let mut sizes = self.shape().to_vec();
        sizes.insert(dim, 1);
        Ok(self.viewed(sizes.into(), "Unsqueeze"))
    }

    /// The elements in the same order in another shape, without a copy.
    fn viewed(&self, shape: Shape, name: &'static str) -> Self {
        let rule = View { name, shape: self.shape().clone() };
        Step::new(rule).input(self).record(self.with_shape(shape))
    }

    /// With two dims exchanged: y[.., i, .., j, ..] = x[.., j, .., i, ..]. The result is a copy in
    /// row-major order; a [`matmul`](Tensor::matmul) of a transposed matrix is better written with
    /// [`linear`](Tensor::linear), which copies nothing.
    ///
    /// # Errors
    /// [`Error::Dim`], [`Error::OutOfMemory`].
    pub fn transpose(&self, dim0: isize, dim1: isize) -> Result<Self> {
        let op = "transpose";
        let (dim0, dim1) = (self.shape().dim_of(op, dim0)?, self.shape().dim_of(op, dim1)?);
        let mut order: SmallVec<[usize; 4]> = (0..self.rank()).collect();
        if self.rank() > 0 {
            order.swap(dim0, dim1);
        }
        self.permuted(order, "Transpose")
    }

    fn permuted(&self, order: SmallVec<[usize; 4]>, name: &'static str) -> Result<Self> {
        let own = self.shape().strides();
        let shape: Shape = order.iter().map(|&dim| self.shape()[dim]).collect();
        let strides: Strides = order.iter().map(|&dim| own[dim]).collect();
        let value =
            Tensor::compute(shape.clone(), |out| strided_copy(self.as_slice(), &strides, &shape, out))?;
        Ok(Step::new(Permute { name, order }).input(self).record(value))
    }
}

compiled! {
    fn reshape<T>(x: &Tensor<T>, sizes: &[isize]) -> Result<Tensor<T>> {
        Ok(x.viewed(inferred_shape("reshape", x.len(), sizes)?, "Reshape"))
    }

    fn squeeze<T>(x: &Tensor<T>, dims: ResolvedDims) -> Result<Tensor<T>> {
        let sizes = x.shape().iter().enumerate();
        let kept = sizes.filter(|(dim, size)| **size != 1 || !dims.dims.contains(dim)).map(|(_, &size)| size);
        Ok(x.viewed(kept.collect(), "Squeeze"))
    }

    fn permute<T>(x: &Tensor<T>, dims: &[isize]) -> Result<Tensor<T>> {
        let op = "permute";
        if dims.len() != x.rank() {
            let expected = "the number of dims given";
            return Err(Error::Shape { op, what: "the tensor", expected: expected.into(), actual: x.shape().to_vec() });
        }
        let mut order: SmallVec<[usize; 4]> = SmallVec::new();
        for &dim in dims {
            let dim = x.shape().dim_of(op, dim)?;
            if order.contains(&dim) {
                return Err(Error::Dim { op, dim: dim as isize, rank: x.rank(), is_repeated: true });
            }
            order.push(dim);
        }
        x.permuted(order, "Permute")
    }

    fn broadcast_to<T>(x: &Tensor<T>, sizes: &[isize]) -> Result<Tensor<T>> {
        let op = "broadcast_to";
        let own = |dim: usize| (dim + x.rank()).checked_sub(sizes.len()).map(|dim| x.shape()[dim]);
        let size = |(dim, &size): (usize, &isize)| match (usize::try_from(size), own(dim)) {
            (Ok(size), _) => Ok(size),
            (Err(_), Some(own)) if size == -1 => Ok(own),
            _ => {
                let allowed = "not negative, or -1 for a dim that the tensor has";
                Err(Error::Argument { op, name: "a size", value: size.to_string(), allowed })
            }
        };
        let shape: Shape = sizes.iter().enumerate().map(size).collect::<Result<_>>()?;
        if !x.shape().broadcasts_to(&shape) {
            return Err(Error::Broadcast { op, left: x.shape().to_vec(), right: shape.to_vec() });
        }
        if x.shape() == &shape {
            return Ok(x.clone());
        }
        shape.checked_elements(op)?;
        let strides = x.shape().broadcast_strides(&shape);
        let value = Tensor::compute(shape.clone(), |out| strided_copy(x.as_slice(), &strides, &shape, out))?;
        Ok(Step::new(BroadcastTo).input(x).record(value))
    }
}

/// A rule for steps that keep the order of the elements.
struct View {
    name: &'static str,
    shape: Shape,
}

impl<T: Float> Backward<T> for View {
    fn name(&self) -> &'static str {
        self.name
    }
    fn formula(&self) -> &'static str {
        "y = x in another shape"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.viewed(self.shape.clone(), "Reshape").into())
    }
}

struct Permute {
    name: &'static str,
    order: SmallVec<[usize; 4]>,
}

impl<T: Float> Backward<T> for Permute {
    fn name(&self) -> &'static str {
        self.name
    }
    fn formula(&self) -> &'static str {
        "y = x with its dims in another order"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let mut inverse: SmallVec<[usize; 4]> = SmallVec::from_elem(0, self.order.len());
        for (to, &from) in self.order.iter().enumerate() {
            inverse[from] = to;
        }
        Ok(grad.permuted(inverse, self.name)?.into())
    }
}

/// The engine sums the gradient over the repeated dims, as it does for every step.
struct BroadcastTo;

impl<T: Float> Backward<T> for BroadcastTo {
    fn name(&self) -> &'static str {
        "BroadcastTo"
    }
    fn formula(&self) -> &'static str {
        "y = x, repeated"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.into())
    }
}

/// The shape that these sizes stand for, at most one of which is -1.
fn inferred_shape(op: &'static str, elements: usize, sizes: &[isize]) -> Result<Shape> {
    let misfit = || Error::Length { op, length: elements, shape: sizes.to_vec() };
    let argument =
        |value: isize, allowed| Error::Argument { op, name: "a size", value: value.to_string(), allowed };
    if sizes.iter().all(|&size| size >= 0) {
        let shape: Shape = sizes.iter().map(|size| size.unsigned_abs()).collect();
        return if shape.checked_elements(op)? == elements { Ok(shape) } else { Err(misfit()) };
    }
    if let Some(&size) = sizes.iter().find(|&&size| size < -1) {
        return Err(argument(size, "not negative, or -1 to be inferred"));
    }
    let known: Shape = sizes.iter().filter(|&&size| size >= 0).map(|size| size.unsigned_abs()).collect();
    let product = known.checked_elements(op)?;
    let inferred = match sizes.len() - known.len() {
        1 if product > 0 && elements.is_multiple_of(product) => elements / product,
        1 => return Err(misfit()),
        _ => return Err(argument(-1, "given for one dim at most")),
    };
    Ok(sizes.iter().map(|&size| if size < 0 { inferred } else { size.unsigned_abs() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> Tensor<f64> {
        let values = (0..Shape::from(shape).elements()).map(|i| i as f64).collect();
        Tensor::from_vec(values, shape).unwrap()
    }

    #[test]
    fn reshape_infers_one_size() {
        let x = counting(&[2, 3, 4]);
        assert_eq!(x.reshape([-1]).unwrap().shape(), &[24]);
        assert_eq!(x.reshape([4, -1]).unwrap().shape(), &[4, 6]);
        assert_eq!(counting(&[0, 3]).reshape([3, -1]).unwrap().shape(), &[3, 0]);
        assert!(x.reshape([-1, -1]).is_err());
        assert!(x.reshape([5, -1]).is_err());
        assert!(x.reshape([-2, 12]).is_err());
        assert!(counting(&[0, 3]).reshape([0, -1]).is_err());
        assert!(x.reshape([usize::MAX, 2]).is_err());
    }

    #[test]
    fn permute_moves_elements_to_their_new_places() {
        let x = counting(&[2, 3, 4]);
        let y = x.permute([2, 0, 1]).unwrap();
        assert_eq!(y.shape(), &[4, 2, 3]);
        assert_eq!(y.get([3, 1, 2]).unwrap(), x.get([1, 2, 3]).unwrap());
        let back = y.permute([1, 2, 0]).unwrap();
        assert_eq!(back.to_vec(), x.to_vec());
        assert_eq!(x.transpose(0, -1).unwrap().get([3, 2, 1]).unwrap(), 23.0);
    }

    #[test]
    fn squeeze_drops_only_dims_of_size_one() {
        let x = counting(&[1, 3, 1]);
        assert_eq!(x.squeeze(..).unwrap().shape(), &[3]);
        assert_eq!(x.squeeze(-1).unwrap().shape(), &[1, 3]);
        assert_eq!(x.squeeze(1).unwrap().shape(), &[1, 3, 1]);
        assert_eq!(counting(&[3]).unsqueeze(-1).unwrap().shape(), &[3, 1]);
    }

    #[test]
    fn broadcast_to_repeats_and_its_gradient_sums() {
        let x = counting(&[3, 1]).requires_grad();
        let y = x.broadcast_to([2, -1, 4]).unwrap();
        assert_eq!(y.shape(), &[2, 3, 4]);
        let upstream = counting(&[2, 3, 4]);
        y.backward_with(&upstream).unwrap();
        let expected: Vec<f64> =
            (0..3).map(|i| (0..4).map(|j| (2 * (4 * i + j) + 12) as f64).sum()).collect();
        assert_eq!(x.grad().unwrap().to_vec(), expected);
        assert!(x.broadcast_to([2, 4, 4]).is_err());
        assert!(x.broadcast_to([-1, 3, 4]).is_err());
        assert!(x.broadcast_to([1usize << 62, 3, 1 << 62]).is_err());
    }
}
