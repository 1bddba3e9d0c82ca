//! Reductions over all dims, one, or several: sums, means, variances, extremes and their places.

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::reduce::{fold_slabs, max_or_nan, min_or_nan, position_slabs, sum_slabs};
use crate::tensor::index::{Indices, indices_of_zero};
use crate::tensor::model::Tensor;
use crate::tensor::shape::{Dims, ResolvedDims, Shape, Split, keepdim, resolved};
use smallvec::SmallVec;

impl<T: Float> Tensor<T> {
    /// The sum over `dims`; 0 over nothing. The derivative by each element is 1.
    ///
    /// The rounding error does not grow with the number of elements: `f32` are added in `f64`, and for `f64` what
    /// each addition rounds away is added up too.
    ///
    /// # Errors
    /// [`Error::Dim`], [`Error::OutOfMemory`].
    pub fn sum(&self, dims: impl Dims) -> Result<Self> {
        sum(self, resolved(dims, "sum", self.shape())?)
    }

    /// The mean over `dims`; nan over nothing. The derivative by each element is 1/n.
    ///
    /// # Errors
    /// [`Error::Dim`], [`Error::OutOfMemory`].
    pub fn mean(&self, dims: impl Dims) -> Result<Self> {
        mean(self, resolved(dims, "mean", self.shape())?)
    }

    /// The variance over `dims`: sum (x - mean)^2 / max(0, n - correction). A correction of 1 makes it
    /// unbiased (PyTorch's default), 0 the mean squared deviation. Where nothing is left to divide by,
    /// the result is inf or nan.
    ///
    /// There are two passes: first for the mean, with its rounding error, then for the deviations. The derivative is
    /// 2 (x - mean)/(n - correction); as in PyTorch, even if n - correction is negative.
    ///
    /// # Errors
    /// [`Error::Dim`], [`Error::OutOfMemory`].
    pub fn var(&self, dims: impl Dims, correction: f64) -> Result<Self> {
        var(self, resolved(dims, "var", self.shape())?, correction)
    }

    /// The greatest element over `dims`, nan if there is one. Equal maxima share the gradient equally
    /// (PyTorch's `amax`, and its `max()` without a dim).
    ///
    /// # Errors
    /// [`Error::EmptyReduction`] over nothing, [`Error::Dim`],
    /// [`Error::OutOfMemory`].
    pub fn max(&self, dims: impl Dims) -> Result<Self> {
        max(self, resolved(dims, "max", self.shape())?)
    }

    /// The least element over `dims`, nan if there is one. Equal minima share the gradient equally
    /// (PyTorch's `amin`).
    ///
    /// # Errors
    /// As [`max`](Tensor::max).
    pub fn min(&self, dims: impl Dims) -> Result<Self> {
        min(self, resolved(dims, "min", self.shape())?)
    }

    /// The greatest element along one dim and its position, the first of several (PyTorch's
    /// `max(dim)`). The gradient goes to that position alone. A nan counts as the greatest.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `dims` names one dim, [`Error::EmptyReduction`],
    /// [`Error::Dim`], [`Error::OutOfMemory`].
    pub fn max_with_indices(&self, dims: impl Dims) -> Result<(Self, Indices)> {
        max_with_indices(self, resolved(dims, "max_with_indices", self.shape())?)
    }

    /// The least element along one dim and its position, the first of several (PyTorch's
    /// `min(dim)`). The gradient goes to that position alone. A nan counts as the least.
    ///
    /// # Errors
    /// As [`max_with_indices`](Tensor::max_with_indices).
    pub fn min_with_indices(&self, dims: impl Dims) -> Result<(Self, Indices)> {
        min_with_indices(self, resolved(dims, "min_with_indices", self.shape())?)
    }

    /// The position of the greatest element along one dim, or with `..` in the flattened tensor; the
    /// first of several. A nan counts as the greatest. No gradient.
    ///
    /// # Errors
    /// [`Error::Argument`] for several dims, [`Error::EmptyReduction`], [`Error::Dim`].
    pub fn argmax(&self, dims: impl Dims) -> Result<Indices> {
        argmax(self, resolved(dims, "argmax", self.shape())?)
    }

    /// The position of the least element; see [`argmax`](Tensor::argmax). A nan counts as the least.
    ///
    /// # Errors
    /// As [`argmax`](Tensor::argmax).
    pub fn argmin(&self, dims: impl Dims) -> Result<Indices> {
        argmin(self, resolved(dims, "argmin", self.shape())?)
    }
}

compiled! { impl Tensor<T>:
    /// The positions of the `k` greatest elements along a dim, greatest first and equal ones in their
    /// order; a nan counts as the greatest. Read the values with [`gather`](Tensor::gather).
    ///
    /// # Errors
    /// [`Error::Dim`], [`Error::Argument`] if the dim has fewer than `k` elements.
    pub fn topk(&self, k: usize, dim: isize) -> Result<Indices> {
        let op = "topk";
        let dim = self.shape().dim_of(op, dim)?;
        let Split { outer, size, inner } = self.shape().split_at_dim(dim);
        if k > size {
            let value = format!("{k} along a dim of size {size}");
            return Err(Error::Argument { op, name: "k", value, allowed: "at most the size of the dim" });
        }
        if self.rank() == 0 {
            return Ok(Indices::from_parts(Shape::scalar(), vec![0])); // whatever k, as in PyTorch
        }
        let x = self.as_slice();
        let mut result = indices_of_zero(outer * k * inner)?;
        let mut order: Vec<usize> = Vec::with_capacity(size);
        // Without elements there may be any number of slabs.
        let slabs = if result.is_empty() { 0 } else { outer };
        for slab in 0..slabs {
            for j in 0..inner {
                let value = |i: usize| x[(slab * size + i) * inner + j];
                let descending = |&a: &usize, &b: &usize| {
                    let (a, b) = (value(a), value(b));
                    b.partial_cmp(&a).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
                };
                order.clear();
                order.extend(0..size);
                order.sort_by(descending);
                for (rank, &i) in order[..k].iter().enumerate() {
                    result[(slab * k + rank) * inner + j] = i as i64;
                }
            }
        }
        Ok(Indices::from_parts(self.shape().with_size(dim, k), result))
    }

    /// The sum over the dims along which a tensor of this shape was repeated to fill this one: the
    /// opposite of [`broadcast_to`](Tensor::broadcast_to).
    pub(crate) fn sum_to(&self, shape: &Shape) -> Result<Self> {
        let missing = self.rank() - shape.len();
        let is_repeated =
            |&dim: &usize| dim < missing || (shape[dim - missing] == 1 && self.shape()[dim] != 1);
        let dims: SmallVec<[isize; 4]> =
            (0..self.rank()).filter(is_repeated).map(|dim| dim as isize).collect();
        self.sum(keepdim(&dims[..]))?.reshape(shape)
    }
}

compiled! {
    fn sum<T>(x: &Tensor<T>, dims: ResolvedDims) -> Result<Tensor<T>> {
        let value = reduced(x, &dims, sum_slabs)?;
        Ok(Step::new(Sum { dims, shape: x.shape().clone() }).input(x).record(value))
    }

    fn mean<T>(x: &Tensor<T>, dims: ResolvedDims) -> Result<Tensor<T>> {
        let count = T::from_f64(dims.count(x.shape()) as f64);
        let value = reduced(x, &dims, |x, size, inner, out| {
            sum_slabs(x, size, inner, out);
            out.iter_mut().for_each(|sum| *sum /= count);
        })?;
        Ok(Step::new(Mean { dims, shape: x.shape().clone(), count }).input(x).record(value))
    }

    fn var<T>(x: &Tensor<T>, dims: ResolvedDims, correction: f64) -> Result<Tensor<T>> {
        let freedom = dims.count(x.shape()) as f64 - correction;
        let squares = centred(&x.detach(), &dims)?.square()?;
        let value = squares.sum(&dims)?.div(freedom.max(0.0))?;
        Ok(Step::new(Var { dims, freedom }).saved_input(x).record(value))
    }

    fn max<T>(x: &Tensor<T>, dims: ResolvedDims) -> Result<Tensor<T>> {
        extreme("max", "Max", x, dims, max_or_nan)
    }

    fn min<T>(x: &Tensor<T>, dims: ResolvedDims) -> Result<Tensor<T>> {
        extreme("min", "Min", x, dims, min_or_nan)
    }

    fn max_with_indices<T>(x: &Tensor<T>, dims: ResolvedDims) -> Result<(Tensor<T>, Indices)> {
        extreme_with_indices("max_with_indices", x, dims, is_greater)
    }

    fn min_with_indices<T>(x: &Tensor<T>, dims: ResolvedDims) -> Result<(Tensor<T>, Indices)> {
        extreme_with_indices("min_with_indices", x, dims, is_less)
    }

    fn argmax<T>(x: &Tensor<T>, dims: ResolvedDims) -> Result<Indices> {
        place_of_extreme("argmax", x, dims, is_greater)
    }

    fn argmin<T>(x: &Tensor<T>, dims: ResolvedDims) -> Result<Indices> {
        place_of_extreme("argmin", x, dims, is_less)
    }
}

fn extreme<T: Float>(
    op: &'static str,
    name: &'static str,
    x: &Tensor<T>,
    dims: ResolvedDims,
    combine: impl Fn(T, T) -> T + Sync,
) -> Result<Tensor<T>> {
    check_not_empty(op, x.shape(), &dims)?;
    let value = reduced(x, &dims, |x, size, inner, out| fold_slabs(x, size, inner, out, &combine))?;
    Ok(Step::new(Extreme { name, dims }).saved_input(x).saving_output().record(value))
}

fn extreme_with_indices<T: Float>(
    op: &'static str,
    x: &Tensor<T>,
    dims: ResolvedDims,
    beats: impl Fn(T, T) -> bool + Sync,
) -> Result<(Tensor<T>, Indices)> {
    let dim = one_dim(op, x.shape(), &dims)?;
    let kept = positions(op, x, &ResolvedDims { keepdim: true, ..dims.clone() }, beats)?;
    let value = x.gather(dim as isize, &kept)?;
    let value = if dims.keepdim { value } else { value.squeeze(dim as isize)? };
    Ok((value, kept.reshape(dims.reduced(x.shape()))?))
}

fn place_of_extreme<T: Float>(
    op: &'static str,
    x: &Tensor<T>,
    dims: ResolvedDims,
    beats: impl Fn(T, T) -> bool + Sync,
) -> Result<Indices> {
    if dims.dims.len() != x.rank() {
        one_dim(op, x.shape(), &dims)?;
    }
    positions(op, x, &dims, beats)
}

/// a > b, where a nan is greater than all numbers.
fn is_greater<T: Float>(a: T, b: T) -> bool {
    (a > b) | (a.is_nan() & !b.is_nan())
}

/// a < b, where a nan is less than all numbers.
fn is_less<T: Float>(a: T, b: T) -> bool {
    (a < b) | (a.is_nan() & !b.is_nan())
}

/// Reduces a tensor with a kernel over slabs (see [`crate::kernels::reduce`]), whatever the dims.
pub(super) fn reduced<T: Float>(
    x: &Tensor<T>,
    dims: &ResolvedDims,
    kernel: impl FnOnce(&[T], usize, usize, &mut [T]),
) -> Result<Tensor<T>> {
    let (x, Split { size, inner, .. }, shape) = as_slabs(x, dims)?;
    Tensor::compute(shape, |out| kernel(x.as_slice(), size, inner, out))
}

/// The tensor with all reduced dims in one slab, its split there, and the shape of the result. It is
/// copied only if other dims stand between the reduced ones.
fn as_slabs<T: Float>(x: &Tensor<T>, dims: &ResolvedDims) -> Result<(Tensor<T>, Split, Shape)> {
    let shape = x.shape();
    let result = dims.reduced(shape);
    let size = dims.count(shape);
    let first = dims.dims.first().copied().unwrap_or(shape.len());
    let adjacent = dims.dims.iter().enumerate().all(|(i, &dim)| dim == first + i);
    if adjacent {
        let inner = shape.iter().skip(first + dims.dims.len()).product();
        let outer = shape.iter().take(first).product();
        return Ok((x.detach(), Split { outer, size, inner }, result));
    }
    let kept = (0..shape.len()).filter(|dim| !dims.dims.contains(dim));
    let order: SmallVec<[isize; 4]> = kept.chain(dims.dims.iter().copied()).map(|dim| dim as isize).collect();
    Ok((x.detach().permute(&order)?, Split { outer: result.elements(), size, inner: 1 }, result))
}

fn positions<T: Float>(
    op: &'static str,
    x: &Tensor<T>,
    dims: &ResolvedDims,
    beats: impl Fn(T, T) -> bool + Sync,
) -> Result<Indices> {
    check_not_empty(op, x.shape(), dims)?;
    let (x, Split { size, inner, .. }, shape) = as_slabs(x, dims)?;
    let mut result = indices_of_zero(shape.elements())?;
    position_slabs(x.as_slice(), size, inner, &mut result, beats);
    Ok(Indices::from_parts(shape, result))
}

fn check_not_empty(op: &'static str, shape: &Shape, dims: &ResolvedDims) -> Result<()> {
    // An empty result needs no elements. A result over all dims is never empty.
    if dims.count(shape) == 0 && dims.reduced(shape).elements() > 0 {
        return Err(Error::EmptyReduction { op, shape: shape.to_vec(), dims: dims.dims.to_vec() });
    }
    Ok(())
}

fn one_dim(op: &'static str, shape: &Shape, dims: &ResolvedDims) -> Result<usize> {
    match dims.dims[..] {
        [dim] => Ok(dim),
        [] if shape.is_empty() => Ok(0),
        _ => {
            let value = format!("{:?}", dims.dims.as_slice());
            Err(Error::Argument { op, name: "dims", value, allowed: "a single dim" })
        }
    }
}

/// Deviations from the mean. Their own mean is the rounding error of the first mean; it is subtracted too.
fn centred<T: Float>(x: &Tensor<T>, dims: &ResolvedDims) -> Result<Tensor<T>> {
    let deviations = x.sub(&x.mean(keepdim(dims))?)?;
    deviations.sub(&deviations.mean(keepdim(dims))?)
}

struct Sum {
    dims: ResolvedDims,
    shape: Shape,
}

impl<T: Float> Backward<T> for Sum {
    fn name(&self) -> &'static str {
        "Sum"
    }
    fn formula(&self) -> &'static str {
        "y = Σ xᵢ"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(grad.reshape(self.dims.kept(&self.shape))?.broadcast_to(&self.shape)?.into())
    }
}

struct Mean<T> {
    dims: ResolvedDims,
    shape: Shape,
    count: T,
}

impl<T: Float> Backward<T> for Mean<T> {
    fn name(&self) -> &'static str {
        "Mean"
    }
    fn formula(&self) -> &'static str {
        "y = Σ xᵢ / n"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let each = grad.div(self.count.to_f64())?;
        Ok(each.reshape(self.dims.kept(&self.shape))?.broadcast_to(&self.shape)?.into())
    }
}

struct Var {
    dims: ResolvedDims,
    freedom: f64,
}

impl<T: Float> Backward<T> for Var {
    fn name(&self) -> &'static str {
        "Var"
    }
    fn formula(&self) -> &'static str {
        "y = Σ (xᵢ − mean x)² / (n − correction)"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let x = step.input(0)?;
        let each = grad.mul(2.0 / self.freedom)?.reshape(self.dims.kept(x.shape()))?;
        Ok(centred(x, &self.dims)?.mul(&each)?.into())
    }
}

/// The rule of [`Tensor::max`] and [`Tensor::min`]: the gradient is shared among the elements that
/// equal the result.
struct Extreme {
    name: &'static str,
    dims: ResolvedDims,
}

impl<T: Float> Backward<T> for Extreme {
    fn name(&self) -> &'static str {
        self.name
    }
    fn formula(&self) -> &'static str {
        match self.name {
            "Max" => "y = max xᵢ",
            _ => "y = min xᵢ",
        }
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let x = step.input(0)?;
        let kept = self.dims.kept(x.shape());
        let ties = x.eq(step.output()?.reshape(&kept)?)?;
        let ones = Tensor::<T>::zeros(x.shape())?.masked_fill(&ties, 1.0)?;
        let count = ones.sum(keepdim(&self.dims))?;
        // 0/0 where the extreme is nan and equals nothing: the gradient is nan too, as in PyTorch.
        let share = grad.reshape(&kept)?.div(&count)?.mul(&ones)?;
        Ok(share.into())
    }
}
