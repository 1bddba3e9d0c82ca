//! Losses that compare element by element: squared error, binary cross entropy, Kullback-Leibler.

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::Result;
use crate::float::Float;
use crate::kernels::functions::binary_cross_entropy_slice;
use crate::ops::loss::Reduction;
use crate::ops::unary::by_kernel_of_two;
use crate::tensor::model::Tensor;

impl<T: Float> Tensor<T> {
    /// The squared error (x - y)^2, reduced; the mean divides by the number of elements. The shapes
    /// broadcast. Both arguments get a gradient, 2 (x - y) and its opposite.
    ///
    /// # Errors
    /// [`Error::Broadcast`](crate::Error::Broadcast),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn mse_loss(&self, target: &Tensor<T>, reduction: Reduction) -> Result<Self> {
        reduction.apply(self.sub(target)?.square()?)
    }

    /// The cross entropy of a yes-or-no question in nats: for a logit x and the probability y of yes,
    ///
    /// ```text
    /// -y ln s(x) - (1 - y) ln (1 - s(x)) = y softplus(-x) + (1 - y) softplus(x),   s = sigmoid
    /// ```
    ///
    /// reduced; the mean divides by the number of elements. The shapes broadcast. The derivatives are
    /// s(x) - y and -x.
    ///
    /// # Errors
    /// [`Error::Broadcast`](crate::Error::Broadcast),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn binary_cross_entropy_with_logits(&self, target: &Tensor<T>, reduction: Reduction) -> Result<Self> {
        let op = "binary_cross_entropy_with_logits";
        let shape = self.shape().broadcast(op, target.shape())?;
        shape.checked_elements(op)?;
        let (x, y) = (self.detach().broadcast_to(&shape)?, target.detach().broadcast_to(&shape)?);
        let value = by_kernel_of_two(&x, &y, binary_cross_entropy_slice)?;
        let losses = Step::new(BinaryCrossEntropy).saved_input(self).saved_input(target).record(value);
        reduction.apply(losses)
    }

    /// The Kullback-Leibler divergence of the distribution p (the target) from q, whose *logarithm* is
    /// this tensor, as in PyTorch: p (ln p - ln q) for each element, 0 where p = 0, in nats, reduced.
    ///
    /// The mean divides by the number of elements. The divergence of whole distributions, PyTorch's
    /// `batchmean`, is the sum divided by the number of rows. The shapes broadcast. The derivatives are
    /// -p and ln p + 1 - ln q.
    ///
    /// # Errors
    /// [`Error::Broadcast`](crate::Error::Broadcast),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn kl_div(&self, target: &Tensor<T>, reduction: Reduction) -> Result<Self> {
        let value = crate::ops::binary::zipped("kl_div", self, target, |log_q, p| {
            if p == T::zero() && !log_q.is_nan() { T::zero() } else { p * (p.ln() - log_q) }
        })?;
        reduction.apply(Step::new(KlDiv).saved_input(self).saved_input(target).record(value))
    }
}

struct BinaryCrossEntropy;

impl<T: Float> Backward<T> for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "BinaryCrossEntropyWithLogits"
    }
    fn formula(&self) -> &'static str {
        "y = −b ln s(a) − (1 − b) ln s(−a), s the sigmoid"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let (x, y) = (step.input(0)?, step.input(1)?);
        step.gradients()
            .input(0, || {
                // s(x) - y as a difference that does not cancel for a confident and right x.
                let (yes, no) = (x.sigmoid()?, x.neg()?.sigmoid()?);
                grad.mul(&yes.mul(&y.neg()?.add(1.0)?)?.sub(&no.mul(y)?)?)
            })?
            .input(1, || grad.mul(&x.neg()?))
    }
}

struct KlDiv;

impl<T: Float> Backward<T> for KlDiv {
    fn name(&self) -> &'static str {
        "KlDiv"
    }
    fn formula(&self) -> &'static str {
        "y = b (ln b − a)"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let (log_q, p) = (step.input(0)?, step.input(1)?);
        step.gradients()
            .input(0, || grad.mul(&p.neg()?))?
            .input(1, || grad.mul(&p.log()?.add(1.0)?.sub(log_q)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confident_binary_prediction_keeps_its_small_loss_and_gradient() {
        let x = Tensor::from([40.0f64]).requires_grad();
        let loss = x.binary_cross_entropy_with_logits(&Tensor::from([1.0]), Reduction::Mean).unwrap();
        let expected = (-40.0f64).exp();
        assert!((loss.item().unwrap() / expected - 1.0).abs() < 1e-15);
        loss.backward().unwrap();
        assert!((x.grad().unwrap().item().unwrap() / -expected - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_probability_of_zero_contributes_nothing_to_a_divergence() {
        let log_q = Tensor::from([0.5f64, 0.5, 0.0]).log().unwrap();
        let p = Tensor::from([0.25, 0.75, 0.0]);
        let divergence = log_q.kl_div(&p, Reduction::Sum).unwrap().item().unwrap();
        let expected = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        assert!((divergence - expected).abs() < 1e-15);
    }
}
