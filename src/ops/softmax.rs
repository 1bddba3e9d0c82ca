//! From scores to probabilities: softmax, its logarithm, and the logarithm of its denominator.
//!
//! The forward formulas, and why they keep their digits, are in [`crate::kernels::rows::softmax`]. With
//! p = softmax(x) along a dim and g the gradient that arrives, the rules are
//!
//! ```text
//! softmax       dx = p (g - sum(g p))
//! log_softmax   dx = g - p sum(g)
//! logsumexp     dx = p g
//! ```

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::Result;
use crate::float::{Float, compiled};
use crate::kernels::rows::{Rows, softmax as kernels};
use crate::tensor::model::Tensor;
use crate::tensor::shape::{Dims, ResolvedDims, Shape, Split, keepdim, resolved};
use smallvec::SmallVec;

compiled! { impl Tensor<T>:
    /// exp(x) / sum(exp(x)) along a dim: positive numbers that sum to 1.
    ///
    /// A row that holds nan or +inf, or only -inf, becomes nan. Beside finite elements, -inf has the probability 0.
    ///
    /// # Errors
    /// [`Error::Dim`](crate::Error::Dim),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn softmax(&self, dim: isize) -> Result<Self> {
        let dim = self.shape().dim_of("softmax", dim)?;
        let value = by_rows(dim, [self], |[x], rows, out| kernels::softmax(x, rows, out))?;
        Ok(Step::new(Softmax { dim }).input(self).saving_output().record(value))
    }

    /// The logarithm of [`softmax`](Tensor::softmax), in nats, without the underflow: x - logsumexp(x)
    /// along a dim, to the last digit even where the probability is almost 1.
    ///
    /// # Errors
    /// [`Error::Dim`](crate::Error::Dim),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn log_softmax(&self, dim: isize) -> Result<Self> {
        let dim = self.shape().dim_of("log_softmax", dim)?;
        let value = by_rows(dim, [self], |[x], rows, out| kernels::log_softmax(x, rows, out))?;
        // The rule computes the probabilities from x again: the exponential of a log-probability that was rounded
        // at -80 would be 40 ulp off.
        Ok(Step::new(LogSoftmax { dim }).saved_input(self).record(value))
    }
}

impl<T: Float> Tensor<T> {
    /// log(sum(exp(x))) over `dims`, in nats, without overflow; -inf over nothing.
    ///
    /// # Errors
    /// [`Error::Dim`](crate::Error::Dim),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn logsumexp(&self, dims: impl Dims) -> Result<Self> {
        self.logsumexp_over(resolved(dims, "logsumexp", self.shape())?)
    }
}

compiled! { impl Tensor<T>:
    fn logsumexp_over(&self, dims: ResolvedDims) -> Result<Self> {
        let x = self.detach().with_dims_last(&dims.dims)?;
        let value = Tensor::compute(dims.reduced(self.shape()), |out| {
            let rows = Rows { count: out.len(), size: dims.count(self.shape()), inner: 1 };
            kernels::logsumexp(x.as_slice(), rows, out);
        })?;
        Ok(Step::new(LogSumExp { dims }).saved_input(self).saving_output().record(value))
    }

    /// Softmax over several dims at once: they are moved behind the others, and seen as one.
    fn softmax_over(&self, dims: &ResolvedDims) -> Result<Self> {
        if let [dim] = dims.dims[..] {
            return self.softmax(dim as isize);
        }
        let permuted = self.with_dims_last(&dims.dims)?;
        let rows = permuted.reshape([dims.reduced(self.shape()).elements(), dims.count(self.shape())])?;
        rows.softmax(1)?.reshape(permuted.shape())?.with_dims_back(&dims.dims)
    }

    /// The tensor with some dims behind the others, so that their elements lie side by side.
    pub(super) fn with_dims_last(&self, dims: &[usize]) -> Result<Self> {
        if self.are_last(dims) { Ok(self.clone()) } else { self.permute(&dims_last(self.rank(), dims)) }
    }

    /// Whether these dims stand behind the others, in their order. A single value counts as one dim.
    fn are_last(&self, dims: &[usize]) -> bool {
        self.rank() == 0 || dims.iter().copied().eq(self.rank() - dims.len()..self.rank())
    }

    /// The opposite of [`with_dims_last`](Tensor::with_dims_last).
    pub(super) fn with_dims_back(&self, dims: &[usize]) -> Result<Self> {
        if self.are_last(dims) {
            return Ok(self.clone());
        }
        let order = dims_last(self.rank(), dims);
        let mut inverse = order.clone();
        for (to, &from) in order.iter().enumerate() {
            inverse[from as usize] = to as isize;
        }
        self.permute(&inverse)
    }
}

/// The gradient of the negative log-likelihood -sum(a log_softmax(x)) along a dim, in recorded operations:
/// p sum(a) - a, with p = softmax(x).
///
/// Where one probability is near 1, p sum(a) and a may agree there in all their digits. Since the p sum to 1, their
/// difference is also the sum of the other a, minus sum(a) times the sum of the other p. That keeps its digits.
pub(super) fn nll_gradient<T: Float>(x: &Tensor<T>, a: &Tensor<T>, dim: usize) -> Result<Tensor<T>> {
    let (p, along) = (x.softmax(dim as isize)?, dim as isize);
    let is_likely = p.gt(0.5)?;
    // A likely element becomes minus the sum of the others; the others stay as they are.
    let by_the_others = |x: &Tensor<T>| -> Result<Tensor<T>> {
        let others = x.masked_fill(&is_likely, 0.0)?;
        others.where_cond(&is_likely.not(), &others.sum(keepdim(along))?.neg()?)
    };
    by_the_others(&p)?.mul(&a.sum(keepdim(along))?)?.sub(&by_the_others(a)?)
}

fn dims_last(rank: usize, dims: &[usize]) -> SmallVec<[isize; 4]> {
    let kept = (0..rank).filter(|dim| !dims.contains(dim));
    kept.chain(dims.iter().copied()).map(|dim| dim as isize).collect()
}

/// The rows along `dim` as a kernel visits them, and the dim that must be the last one for this. It is the last one
/// already if the rows can be processed where they lie; otherwise it is `dim`.
pub(super) fn rows_along(shape: &Shape, dim: usize) -> (Rows, usize) {
    let Split { outer, size, inner } = shape.split_at_dim(dim);
    let rows = Rows { count: outer * inner, size, inner };
    if rows.can_stay() { (rows, shape.len().max(1) - 1) } else { (Rows { inner: 1, ..rows }, dim) }
}

/// A constant of the tensors' common shape, computed by a kernel that visits the rows along a dim.
fn by_rows<T: Float, const N: usize>(
    dim: usize,
    tensors: [&Tensor<T>; N],
    kernel: impl FnOnce([&[T]; N], Rows, &mut [T]),
) -> Result<Tensor<T>> {
    let (rows, last) = rows_along(tensors[0].shape(), dim);
    let mut tensors = tensors.map(Tensor::detach);
    for tensor in &mut tensors {
        *tensor = tensor.with_dims_last(&[last])?;
    }
    let value = Tensor::compute(tensors[0].shape().clone(), |out| {
        kernel(tensors.each_ref().map(Tensor::as_slice), rows, out);
    })?;
    value.with_dims_back(&[last])
}

struct Softmax {
    dim: usize,
}

impl<T: Float> Backward<T> for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
    }
    fn formula(&self) -> &'static str {
        "yᵢ = exp xᵢ / Σⱼ exp xⱼ"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let p = step.output()?;
        if p.is_empty() {
            return Ok(grad.mul(p)?.into());
        }
        if step.is_recording() {
            // A constant that is subtracted from g changes nothing. The kernel says why it is that of the likeliest.
            let dim = self.dim as isize;
            let reference = grad.gather(dim, p.argmax(keepdim(dim))?)?;
            let grad = grad.sub(&reference)?;
            let mean = grad.mul(p)?.sum(keepdim(dim))?;
            return Ok(grad.sub(&mean)?.mul(p)?.into());
        }
        let dx = by_rows(self.dim, [p, &grad], |[p, grad], rows, out| {
            kernels::softmax_gradient(p, grad, rows, out);
        })?;
        Ok(dx.into())
    }
}

struct LogSoftmax {
    dim: usize,
}

impl<T: Float> Backward<T> for LogSoftmax {
    fn name(&self) -> &'static str {
        "LogSoftmax"
    }
    fn formula(&self) -> &'static str {
        "yᵢ = xᵢ − ln Σⱼ exp xⱼ"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let x = step.input(0)?;
        if step.is_recording() {
            return Ok(nll_gradient(x, &grad, self.dim)?.neg()?.into());
        }
        let dx = by_rows(self.dim, [x, &grad], |[x, grad], rows, out| {
            kernels::log_softmax_gradient(x, grad, rows, out);
        })?;
        Ok(dx.into())
    }
}

struct LogSumExp {
    dims: ResolvedDims,
}

impl<T: Float> Backward<T> for LogSumExp {
    fn name(&self) -> &'static str {
        "LogSumExp"
    }
    fn formula(&self) -> &'static str {
        "y = ln Σⱼ exp xⱼ"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let x = step.input(0)?;
        let kept = self.dims.kept(x.shape());
        let mut p = x.softmax_over(&self.dims)?;
        let infinite = step.output()?.reshape(&kept)?.eq(f64::INFINITY)?;
        if infinite.any() {
            // Beside an infinite element, the finite ones have no share. Its own share is inf - inf and stays nan.
            // A row with a nan has the value nan, and is left as it is.
            p = p.masked_fill(&x.lt(f64::INFINITY)?.and(&infinite)?, 0.0)?;
        }
        Ok(p.mul(&grad.reshape(&kept)?)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::backward::GradOptions;

    #[test]
    fn softmax_rows_sum_to_one_wherever_they_lie() {
        let x = Tensor::from([[1e6f64, 1e6 + 1.0, 1e6 - 3.0], [-1e6, -1e6, 4.0]]);
        for dim in [0, 1] {
            for total in x.softmax(dim).unwrap().sum(dim).unwrap().to_vec() {
                assert!((total - 1.0).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn the_gradient_beside_a_probability_near_one_has_all_its_digits() {
        let x = Tensor::from([0.0f64, -30.0, -31.0]).requires_grad();
        let g = Tensor::from([3.7f64, -1.3, 0.2]);
        let p = x.softmax(0).unwrap();
        // dx[0] = p0 (p1 (g0 - g1) + p2 (g0 - g2)), without any cancellation.
        let [p0, p1, p2] = p.as_slice()[..] else { unreachable!() };
        let expected: f64 = p0 * (p1 * 5.0 + p2 * 3.5);
        let recorded = GradOptions::new().grad_outputs([g]).retain_graph(true);
        for options in [recorded.clone(), recorded.create_graph(true)] {
            let dx = crate::grad(&[&p], &[&x], &options).unwrap().remove(0);
            assert!(
                (dx.as_slice()[0] / expected - 1.0).abs() < 1e-14,
                "{:?}, expected {expected}",
                dx.to_vec()
            );
        }
    }

    #[test]
    fn beside_an_infinite_element_the_others_have_no_share_in_logsumexp() {
        let x = Tensor::from([[f64::INFINITY, 1.0, f64::NEG_INFINITY], [0.0, 0.0, 0.0]]).requires_grad();
        x.logsumexp(1).unwrap().backward_with(&Tensor::from([2.0, 3.0])).unwrap();
        let gradient = x.grad().unwrap().to_vec();
        assert!(gradient[0].is_nan());
        assert_eq!(gradient[1..], [0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn logsumexp_reduces_dims_that_are_not_neighbours() {
        let values: Vec<f64> = (0..24).map(|i| f64::from(i) * 0.1).collect();
        let x = Tensor::from_vec(values, [2, 3, 4]).unwrap();
        let expected = x.exp().unwrap().sum([0, 2]).unwrap().log().unwrap();
        let actual = x.logsumexp([0, 2]).unwrap();
        assert_eq!(actual.shape(), &[3]);
        for (a, e) in actual.to_vec().into_iter().zip(expected.to_vec()) {
            assert!((a - e).abs() < 1e-14);
        }
    }
}
