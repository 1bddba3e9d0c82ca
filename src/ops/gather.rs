//! Picking elements by position, and its opposite, adding to them.
//!
//! `gather` is how a loss picks the probability of the right class: for logits of shape (N, C) and
//! labels of shape (N, 1), `gather(1, labels)` gives the N entries that the labels name.
//! The derivative of picking is adding back, and that of adding is picking.

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::gather::{Walk, add_runs, select_runs};
use crate::tensor::index::{Indices, ToIndices, indices};
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;

impl<T: Float> Tensor<T> {
    /// For every element of the index, the element at that position along `dim` and otherwise at the
    /// same coordinates: for a matrix and dim 1, `y[i][j] = x[i][index[i][j]]`. The result has the
    /// index's shape, which has the rank of the input and may be smaller in the other dims.
    ///
    /// ```
    /// # use tapegrad::Tensor;
    /// let p = Tensor::new([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]);
    /// assert_eq!(p.gather(1, [[0], [2]])?.to_vec(), [0.7, 0.6]);
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    ///
    /// The gradient is added to the elements that were picked. One that is picked twice gets the sum of both.
    ///
    /// # Errors
    /// [`Error::Dim`]; [`Error::OutOfRange`] for an index outside the dim, negative ones too;
    /// [`Error::Shape`] for an index of another rank, or larger in another dim.
    pub fn gather(&self, dim: isize, index: impl ToIndices) -> Result<Self> {
        let op = "gather";
        gather(self, self.shape().dim_of(op, dim)?, indices(op, index)?)
    }

    /// This tensor with the elements of `source` added at the positions that the index names along
    /// `dim`: for a matrix and dim 1, `y[i][index[i][j]] += source[i][j]`. The index has the source's
    /// shape or is smaller; to a position that is named twice, both are added.
    ///
    /// # Errors
    /// As [`gather`](Tensor::gather), and [`Error::Shape`] if the index is larger than the source.
    pub fn scatter_add(&self, dim: isize, index: impl ToIndices, source: &Tensor<T>) -> Result<Self> {
        let op = "scatter_add";
        scatter_add(self, self.shape().dim_of(op, dim)?, indices(op, index)?, source)
    }

    /// The entries along `dim` that a one-dim index names, in its order: the rows of an embedding.
    ///
    /// The gradient is added to the entries that were taken. One that is taken twice gets the sum of both.
    ///
    /// # Errors
    /// [`Error::Dim`]; [`Error::OutOfRange`], for negative indices too; [`Error::Shape`] for an
    /// index with more than one dim; [`Error::Shape`] for other than one index into a single value.
    pub fn index_select(&self, dim: isize, index: impl ToIndices) -> Result<Self> {
        let op = "index_select";
        index_select(self, self.shape().dim_of(op, dim)?, indices(op, index)?)
    }
}

compiled! {
    fn gather<T>(x: &Tensor<T>, dim: usize, index: Indices) -> Result<Tensor<T>> {
        let op = "gather";
        let walk = walk(op, x.shape(), dim, &index)?;
        let value = Tensor::compute(index.shape().clone(), |out| {
            if let Some(walk) = walk {
                walk.gather(x.as_slice(), index.as_slice(), out);
            }
        })?;
        let rule = Gather { shape: x.shape().clone(), dim, index };
        Ok(Step::new(rule).input(x).record(value))
    }

    fn scatter_add<T>(x: &Tensor<T>, dim: usize, index: Indices, source: &Tensor<T>) -> Result<Tensor<T>> {
        let op = "scatter_add";
        let walk = walk(op, x.shape(), dim, &index)?;
        let fits = |(&index, &source): (&usize, &usize)| index <= source;
        // The part of the source that the index covers.
        let mut covered = source.clone();
        if index.rank() == source.rank() && index.shape().iter().zip(source.shape().iter()).all(fits) {
            for (along, &size) in index.shape().iter().enumerate() {
                if covered.shape()[along] != size {
                    covered = covered.narrow(along as isize, 0, size)?;
                }
            }
        } else if index.is_empty() {
            covered = Tensor::zeros(index.shape())?;
        } else {
            let (expected, actual) = (index.shape().to_vec(), source.shape().to_vec());
            return Err(Error::Shape { op, what: "the source", expected: expected.into(), actual });
        }
        let source = covered;
        let value = Tensor::compute(x.shape().clone(), |out| {
            out.copy_from_slice(x.as_slice());
            if let Some(walk) = walk {
                walk.scatter_add(source.as_slice(), index.as_slice(), out);
            }
        })?;
        Ok(Step::new(ScatterAdd { dim, index }).input(x).input(&source).record(value))
    }

    fn index_select<T>(x: &Tensor<T>, dim: usize, index: Indices) -> Result<Tensor<T>> {
        let op = "index_select";
        if index.rank() > 1 {
            let shape = index.shape().to_vec();
            return Err(Error::Shape { op, what: "the index", expected: "1".into(), actual: shape });
        }
        if x.rank() == 0 && index.len() != 1 {
            let (expected, actual) = (vec![1], index.shape().to_vec());
            return Err(Error::Shape { op, what: "the index of a single value", expected: expected.into(), actual });
        }
        let split = x.shape().split_at_dim(dim);
        index.check_range(op, ("index", "a position"), split.size, None)?;
        let shape = x.shape().with_size(dim, index.len());
        shape.checked_elements(op)?;
        let value = Tensor::compute(shape, |out| {
            select_runs(x.as_slice(), split.size, split.inner, index.as_slice(), out);
        })?;
        let rule = IndexSelect { shape: x.shape().clone(), dim, index };
        Ok(Step::new(rule).input(x).record(value))
    }
}

compiled! { impl Tensor<T>:
    /// The opposite of [`gather`](Tensor::gather): zeros of a shape, with the elements of this tensor added
    /// where the index says.
    pub(super) fn scatter(&self, shape: &Shape, dim: usize, index: &Indices) -> Result<Self> {
        let walk = walk("gather", shape, dim, index)?;
        let value = Tensor::compute_on_zeros(shape.clone(), |out| {
            if let Some(walk) = walk {
                walk.scatter_add(self.as_slice(), index.as_slice(), out);
            }
        })?;
        Ok(Step::new(Scatter { dim, index: index.clone() }).input(self).record(value))
    }

    /// The opposite of [`index_select`](Tensor::index_select): zeros of a shape, with the entries of
    /// this tensor added where the index says.
    fn index_add(&self, shape: &Shape, dim: usize, index: &Indices) -> Result<Self> {
        let split = shape.split_at_dim(dim);
        let value = Tensor::compute_on_zeros(shape.clone(), |out| {
            add_runs(self.as_slice(), split.size, split.inner, index.as_slice(), out);
        })?;
        Ok(Step::new(IndexAdd { dim, index: index.clone() }).input(self).record(value))
    }
}

impl Indices {
    /// A new last dim with a 1 at the index and 0 elsewhere: labels of shape (N) become (N, classes).
    /// Without a number of classes, it is the greatest index plus 1. No gradient.
    ///
    /// ```
    /// # use tapegrad::{Indices, Tensor};
    /// let q: Tensor = Indices::new([1, 0])?.one_hot(3)?;
    /// assert_eq!(q.to_vec(), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for an index outside the classes, negative ones too; [`Error::Argument`]
    /// if there are no indices to infer the number from; [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn one_hot<T: Float>(&self, classes: impl Into<Option<usize>>) -> Result<Tensor<T>> {
        one_hot(self, classes.into())
    }
}

compiled! {
    fn one_hot<T>(indices: &Indices, classes: Option<usize>) -> Result<Tensor<T>> {
        let op = "one_hot";
        let greatest = indices.as_slice().iter().max().copied();
        let inferred = greatest
            .map(|greatest| usize::try_from(greatest).map_or(0, |greatest| greatest.saturating_add(1)));
        let Some(classes) = classes.or(inferred) else {
            let allowed = "given when there are no indices to infer it from";
            return Err(Error::Argument { op, name: "classes", value: "None".into(), allowed });
        };
        indices.check_range(op, ("index", "a class"), classes, None)?;
        let shape: Shape = indices.shape().iter().copied().chain([classes]).collect();
        shape.checked_elements(op)?;
        Tensor::compute_on_zeros(shape, |out| {
            for (row, &label) in indices.as_slice().iter().enumerate() {
                out[row * classes + label as usize] = T::one();
            }
        })
    }
}

/// Checks an index against the tensor that it picks from. Returns none for an empty index, whatever its rank (as in
/// PyTorch).
fn walk(op: &'static str, shape: &Shape, dim: usize, index: &Indices) -> Result<Option<Walk>> {
    if index.is_empty() {
        return Ok(None);
    }
    // A scalar counts as one dim of size 1, on either side.
    if shape.len().max(1) != index.rank().max(1) {
        let (what, expected, shape) = ("the index", "that of the tensor", index.shape().to_vec());
        return Err(Error::Shape { op, what, expected: expected.into(), actual: shape });
    }
    let size = shape.get(dim).copied().unwrap_or(1);
    let is_larger = |(along, (&index, &size)): (usize, (&usize, &usize))| along != dim && index > size;
    if index.shape().iter().zip(shape.iter()).enumerate().any(is_larger) {
        let (expected, actual) = (shape.with_size(dim, index.shape()[dim]).to_vec(), index.shape().to_vec());
        return Err(Error::Shape { op, what: "the index", expected: expected.into(), actual });
    }
    index.check_range(op, ("index", "a position"), size, None)?;
    let mut strides = if shape.is_empty() { vec![0] } else { shape.strides().to_vec() };
    let step = std::mem::replace(&mut strides[dim], 0);
    Ok(Some(if index.rank() == 0 {
        Walk { sizes: vec![], strides: vec![], step }
    } else {
        Walk { sizes: index.shape().to_vec(), strides, step }
    }))
}

struct Gather {
    shape: Shape,
    dim: usize,
    index: Indices,
}

impl<T: Float> Backward<T> for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }
    fn formula(&self) -> &'static str {
        "yᵢ = x[i, indexᵢ]"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.scatter(&self.shape, self.dim, &self.index)?.into())
    }
}

struct Scatter {
    dim: usize,
    index: Indices,
}

impl<T: Float> Backward<T> for Scatter {
    fn name(&self) -> &'static str {
        "Scatter"
    }
    fn formula(&self) -> &'static str {
        "y = zeros, with xᵢ added at indexᵢ"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.gather(self.dim as isize, &self.index)?.into())
    }
}

struct ScatterAdd {
    dim: usize,
    index: Indices,
}

impl<T: Float> Backward<T> for ScatterAdd {
    fn name(&self) -> &'static str {
        "ScatterAdd"
    }
    fn formula(&self) -> &'static str {
        "y = a, with bᵢ added at indexᵢ"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        step.gradients()
            .input(0, || Ok(grad.clone()))?
            .input(1, || grad.gather(self.dim as isize, &self.index))
    }
}

struct IndexSelect {
    shape: Shape,
    dim: usize,
    index: Indices,
}

impl<T: Float> Backward<T> for IndexSelect {
    fn name(&self) -> &'static str {
        "IndexSelect"
    }
    fn formula(&self) -> &'static str {
        "yᵢ = x[indexᵢ]"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.index_add(&self.shape, self.dim, &self.index)?.into())
    }
}

struct IndexAdd {
    dim: usize,
    index: Indices,
}

impl<T: Float> Backward<T> for IndexAdd {
    fn name(&self) -> &'static str {
        "IndexAdd"
    }
    fn formula(&self) -> &'static str {
        "y = zeros, with xᵢ added at indexᵢ"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.index_select(self.dim as isize, &self.index)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gather_picks_along_its_dim() {
        let x = Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        assert_eq!(x.gather(1, [[2, 0], [1, 1]]).unwrap().to_vec(), [3.0, 1.0, 5.0, 5.0]);
        assert_eq!(x.gather(0, [[1, 0, 1]]).unwrap().to_vec(), [4.0, 2.0, 6.0]);
        assert_eq!(x.gather(-1, [[2]]).unwrap().to_vec(), [3.0]);
        assert_eq!(Tensor::from(7.0).gather(0, 0).unwrap().item().unwrap(), 7.0);
        assert!(x.gather(1, [[-1], [0]]).is_err());
        assert!(x.gather(1, [[3], [0]]).is_err());
        assert!(x.gather(1, [0, 1]).is_err());
        assert!(x.gather(1, [[0], [0], [0]]).is_err());
    }

    #[test]
    fn an_element_that_is_picked_twice_gets_both_gradients() {
        let x = Tensor::from([1.0, 2.0, 3.0]).requires_grad();
        let y = x.gather(0, [2, 0, 2]).unwrap();
        y.backward_with(&Tensor::from([1.0, 10.0, 100.0])).unwrap();
        assert_eq!(x.grad().unwrap().to_vec(), [10.0, 0.0, 101.0]);
        x.zero_grad();
        x.index_select(0, [1, 1]).unwrap().backward_with(&Tensor::from([1.0, 10.0])).unwrap();
        assert_eq!(x.grad().unwrap().to_vec(), [0.0, 11.0, 0.0]);
    }

    #[test]
    fn scatter_add_uses_the_part_of_the_source_that_the_index_covers() {
        let x = Tensor::<f64>::zeros([2, 3]).unwrap();
        let source = Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).requires_grad();
        let y = x.scatter_add(1, [[0, 0], [2, 1]], &source).unwrap();
        assert_eq!(y.to_vec(), [3.0, 0.0, 0.0, 0.0, 5.0, 4.0]);
        y.backward_with(&Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).unwrap();
        assert_eq!(source.grad().unwrap().to_vec(), [1.0, 1.0, 0.0, 6.0, 5.0, 0.0]);
    }

    #[test]
    fn what_picks_nothing_is_recorded_and_has_a_gradient_of_zeros() {
        let x = Tensor::from([1.0, 2.0]).requires_grad();
        let nothing = Indices::from_vec(vec![], [0]).unwrap();
        x.gather(0, &nothing).unwrap().sum(..).unwrap().backward().unwrap();
        assert_eq!(x.grad().unwrap().to_vec(), [0.0, 0.0]);
        let source = Tensor::from([3.0]).requires_grad();
        let y = x.scatter_add(0, &nothing, &source).unwrap();
        assert_eq!(y.to_vec(), [1.0, 2.0]);
        y.backward_with(&Tensor::from([5.0, 7.0])).unwrap();
        assert_eq!(x.grad().unwrap().to_vec(), [5.0, 7.0]);
        assert_eq!(source.grad().unwrap().to_vec(), [0.0]);
    }

    #[test]
    fn one_hot_infers_its_classes() {
        assert_eq!(Indices::new([[2], [0]]).unwrap().one_hot::<f32>(None).unwrap().shape(), &[2, 1, 3]);
        assert!(Indices::new([-1]).unwrap().one_hot::<f32>(None).is_err());
        assert!(Indices::new([3]).unwrap().one_hot::<f32>(3).is_err());
        assert!(Indices::new([i64::MAX]).unwrap().one_hot::<f32>(None).is_err());
    }
}
