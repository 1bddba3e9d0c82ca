//! Putting tensors together, and taking parts of them.

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::copies::strided::{copy_into_rows, strided_copy};
use crate::tensor::model::Tensor;
use crate::tensor::shape::{Shape, wrap_dim};
use std::ops::{Bound, RangeBounds};

impl<T: Float> Tensor<T> {
    /// The tensors one after the other along a dim; all other sizes must agree. As in PyTorch, a
    /// tensor of shape `[0]` is skipped.
    ///
    /// Each part of the gradient goes to the tensor that the part came from.
    ///
    /// # Errors
    /// [`Error::Argument`] for no tensors, [`Error::Shape`] for tensors of rank 0, of different
    /// ranks or of sizes that differ elsewhere, [`Error::Dim`].
    pub fn cat(tensors: &[&Tensor<T>], dim: isize) -> Result<Self> {
        cat(tensors, dim)
    }

    /// Tensors of equal shape along a new dim; `dim` is counted in the result.
    ///
    /// # Errors
    /// [`Error::Argument`] for no tensors, [`Error::Shape`] for different shapes,
    /// [`Error::Dim`].
    pub fn stack(tensors: &[&Tensor<T>], dim: isize) -> Result<Self> {
        stack(tensors, dim)
    }

    /// The entries along a dim in a range: `x.slice(0, 2..5)`, `x.slice(-1, ..3)`.
    ///
    /// # Errors
    /// As [`narrow`](Tensor::narrow).
    pub fn slice(&self, dim: isize, range: impl RangeBounds<usize>) -> Result<Self> {
        let op = "slice";
        let size = *self.shape().get(self.shape().dim_of(op, dim)?).unwrap_or(&0);
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => size,
        };
        if start > end || end > size {
            let value = format!("{start}..{end} in a dim of size {size}");
            return Err(Error::Argument { op, name: "the range", value, allowed: "inside the dim" });
        }
        self.narrow(dim, start as isize, end - start)
    }
}

compiled! { impl Tensor<T>:
    /// `length` entries along a dim, from `start` on (negative: counted from the end).
    ///
    /// The gradient is 0 outside the part.
    ///
    /// # Errors
    /// [`Error::Dim`], [`Error::Argument`] if the part reaches beyond the dim.
    pub fn narrow(&self, dim: isize, start: isize, length: usize) -> Result<Self> {
        let op = "narrow";
        let (dim, size) = dim_to_cut(op, self.shape(), dim)?;
        let from_front = if start < 0 { start.checked_add_unsigned(size) } else { Some(start) };
        let range = from_front.and_then(|start| usize::try_from(start).ok()).and_then(|start| {
            let end = start.checked_add(length)?;
            (end <= size).then_some(start)
        });
        match range {
            Some(start) => self.part("Narrow", dim, start, length, self.shape().with_size(dim, length)),
            None => {
                let value = format!("{start} with length {length} in a dim of size {size}");
                Err(Error::Argument {
                    op,
                    name: "start",
                    value,
                    allowed: "such that the part lies inside the dim",
                })
            }
        }
    }

    /// One entry along a dim, which disappears: `x.select(0, 2)` is `x[2]`. A negative index counts
    /// from the end.
    ///
    /// # Errors
    /// [`Error::Dim`], [`Error::OutOfRange`].
    pub fn select(&self, dim: isize, index: isize) -> Result<Self> {
        let op = "select";
        let (dim, size) = dim_to_cut(op, self.shape(), dim)?;
        let start = wrap_dim(op, index, size).map_err(|_| Error::OutOfRange {
            op,
            what: "index",
            unit: "a position",
            position: vec![],
            value: index as i128,
            size,
        })?;
        self.part("Select", dim, start, 1, self.shape().without(dim))
    }

    /// `length` entries along a dim, in this shape.
    fn part(
        &self,
        name: &'static str,
        dim: usize,
        start: usize,
        length: usize,
        shape: Shape,
    ) -> Result<Self> {
        let split = self.shape().split_at_dim(dim);
        let value = Tensor::compute(shape, |out| {
            // Without rows, `start` may lie beyond the elements.
            let x = self.as_slice().get(start * split.inner..).unwrap_or_default();
            strided_copy(x, &[split.size * split.inner, 1], &[split.outer, length * split.inner], out);
        })?;
        let rule = Part { name, whole: self.shape().clone(), dim, start, length };
        Ok(Step::new(rule).input(self).record(value))
    }

    /// The opposite: a tensor of zeros with this one as a part.
    fn embedded(&self, whole: &Shape, dim: usize, start: usize, length: usize) -> Result<Self> {
        let split = whole.split_at_dim(dim);
        let value = Tensor::compute_on_zeros(whole.clone(), |out| {
            copy_into_rows(
                self.as_slice(),
                out,
                split.size * split.inner,
                start * split.inner,
                length * split.inner,
            );
        })?;
        let rule = Embed { dim, start, length, part: self.shape().clone() };
        Ok(Step::new(rule).input(self).record(value))
    }
}

compiled! {
    fn cat<T>(tensors: &[&Tensor<T>], dim: isize) -> Result<Tensor<T>> {
        let op = "cat";
        let is_skipped = |tensor: &Tensor<T>| tensor.shape() == &[0];
        let first = tensors.iter().find(|tensor| !is_skipped(tensor)).or(tensors.first());
        let Some(first) = first else { return Err(no_tensors(op)) };
        if let Some(scalar) = tensors.iter().find(|tensor| tensor.rank() == 0) {
            let (what, expected) = ("a tensor", "at least 1 (use stack for single values)");
            return Err(Error::Shape { op, what, expected: expected.into(), actual: scalar.shape().to_vec() });
        }
        let dim = first.shape().dim_of(op, dim)?;
        let mut sizes = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            if is_skipped(tensor) && first.rank() != 1 {
                sizes.push(0);
                continue;
            }
            if tensor.rank() != first.rank() {
                let (what, expected) = ("a tensor", "that of the first tensor");
                return Err(Error::Shape { op, what, expected: expected.into(), actual: tensor.shape().to_vec() });
            }
            let size = tensor.shape()[dim];
            let expected = first.shape().with_size(dim, size);
            if tensor.shape() != &expected {
                let (expected, actual) = (expected.to_vec(), tensor.shape().to_vec());
                return Err(Error::Shape { op, what: "a tensor", expected: expected.into(), actual });
            }
            sizes.push(size);
        }
        let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        let shape = first.shape().with_size(dim, total.unwrap_or(usize::MAX));
        shape.checked_elements(op)?;
        let split = shape.split_at_dim(dim);
        let value = Tensor::compute(shape, |out| {
            let mut start = 0;
            for (tensor, &size) in tensors.iter().zip(&sizes) {
                copy_into_rows(
                    tensor.as_slice(),
                    out,
                    split.size * split.inner,
                    start * split.inner,
                    size * split.inner,
                );
                start += size;
            }
        })?;
        let rule = Cat { dim, sizes, shapes: tensors.iter().map(|tensor| tensor.shape().clone()).collect() };
        Ok(tensors.iter().fold(Step::new(rule), |step, tensor| step.input(*tensor)).record(value))
    }

    fn stack<T>(tensors: &[&Tensor<T>], dim: isize) -> Result<Tensor<T>> {
        let op = "stack";
        let first = tensors.first().ok_or_else(|| no_tensors(op))?;
        if let Some(other) = tensors.iter().find(|other| other.shape() != first.shape()) {
            let (expected, actual) = (first.shape().to_vec(), other.shape().to_vec());
            return Err(Error::Shape { op, what: "a tensor", expected: expected.into(), actual });
        }
        let dim = wrap_dim(op, dim, first.rank() + 1)? as isize;
        let expanded = tensors.iter().map(|tensor| tensor.unsqueeze(dim)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&expanded.iter().collect::<Vec<_>>(), dim)
    }
}

fn no_tensors(op: &'static str) -> Error {
    Error::Argument { op, name: "tensors", value: "an empty list".into(), allowed: "at least one tensor" }
}

/// A dim of which a part is taken, and its size: a single value has none.
fn dim_to_cut(op: &'static str, shape: &Shape, dim: isize) -> Result<(usize, usize)> {
    if shape.is_empty() {
        let (what, expected) = ("the tensor", "at least 1".into());
        return Err(Error::Shape { op, what, expected, actual: vec![] });
    }
    let dim = shape.dim_of(op, dim)?;
    Ok((dim, shape[dim]))
}

struct Cat {
    dim: usize,
    sizes: Vec<usize>,
    shapes: Vec<Shape>,
}

impl<T: Float> Backward<T> for Cat {
    fn name(&self) -> &'static str {
        "Cat"
    }
    fn formula(&self) -> &'static str {
        "y = x₁, x₂, .. one after the other"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let mut gradients = step.gradients();
        let mut start = 0;
        for (index, (&size, shape)) in self.sizes.iter().zip(&self.shapes).enumerate() {
            gradients =
                gradients.input(index, || grad.part("Narrow", self.dim, start, size, shape.clone()))?;
            start += size;
        }
        Ok(gradients)
    }
}

struct Part {
    name: &'static str,
    whole: Shape,
    dim: usize,
    start: usize,
    length: usize,
}

impl<T: Float> Backward<T> for Part {
    fn name(&self) -> &'static str {
        self.name
    }
    fn formula(&self) -> &'static str {
        "y = a part of x"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.embedded(&self.whole, self.dim, self.start, self.length)?.into())
    }
}

struct Embed {
    dim: usize,
    start: usize,
    length: usize,
    part: Shape,
}

impl<T: Float> Backward<T> for Embed {
    fn name(&self) -> &'static str {
        "Embed"
    }
    fn formula(&self) -> &'static str {
        "y = x among zeros"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.part("Narrow", self.dim, self.start, self.length, self.part.clone())?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cat_places_tensors_one_after_the_other() {
        let a = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
        let b = Tensor::from([[5.0], [6.0]]);
        let y = Tensor::cat(&[&a, &b], 1).unwrap();
        assert_eq!(y.to_vec(), [1.0, 2.0, 5.0, 3.0, 4.0, 6.0]);
        let empty = Tensor::<f64>::zeros(0).unwrap();
        assert_eq!(Tensor::cat(&[&empty, &a], 0).unwrap().to_vec(), a.to_vec());
        assert!(Tensor::cat(&[&a, &b], 0).is_err());
        assert!(Tensor::<f32>::cat(&[], 0).is_err());
    }

    #[test]
    fn the_gradient_of_a_part_is_zero_elsewhere() {
        let x = Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).requires_grad();
        let y = x.slice(1, 1..).unwrap();
        assert_eq!(y.to_vec(), [2.0, 3.0, 5.0, 6.0]);
        y.backward_with(&Tensor::from([[7.0, 8.0], [9.0, 10.0]])).unwrap();
        assert_eq!(x.grad().unwrap().to_vec(), [0.0, 7.0, 8.0, 0.0, 9.0, 10.0]);
        x.zero_grad();
        x.select(0, -1).unwrap().backward_with(&Tensor::from([1.0, 2.0, 3.0])).unwrap();
        assert_eq!(x.grad().unwrap().to_vec(), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_part_that_reaches_beyond_the_dim_is_refused() {
        let x = Tensor::from([1.0, 2.0, 3.0]);
        assert_eq!(x.narrow(0, -2, 2).unwrap().to_vec(), [2.0, 3.0]);
        assert_eq!(x.narrow(0, 3, 0).unwrap().len(), 0);
        assert!(x.narrow(0, 2, 2).is_err());
        assert!(x.narrow(0, 4, 0).is_err());
        assert!(x.narrow(0, 1, usize::MAX).is_err());
        assert!(x.narrow(0, isize::MIN, 1).is_err());
        assert!(x.slice(0, 2..usize::MAX).is_err());
        assert!(x.select(0, 3).is_err());
        assert!(Tensor::from(1.0).select(0, 0).is_err());
    }
}
