//! Losses that compare element by element: squared error, binary cross entropy, Kullback-Leibler.

use super::reduction::Reduction;
use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::Result;
use crate::float::Float;
use crate::kernels::functions::binary_cross_entropy_slice;
use crate::ops::binary::zipped;
use crate::ops::unary::by_kernel_of_two;
use crate::tensor::model::Tensor;

impl<T: Float> Tensor<T> {
    /// The mean squared error: [`MseLoss`] with its defaults.
    ///
    /// # Errors
    /// As [`MseLoss::forward`].
    pub fn mse_loss(&self, target: &Tensor<T>) -> Result<Self> {
        MseLoss::new().forward(self, target)
    }

    /// The mean cross entropy of yes-or-no questions, from logits, in nats: [`BceWithLogitsLoss`] with its
    /// defaults.
    ///
    /// # Errors
    /// As [`BceWithLogitsLoss::forward`].
    pub fn binary_cross_entropy_with_logits(&self, target: &Tensor<T>) -> Result<Self> {
        BceWithLogitsLoss::new().forward(self, target)
    }

    /// The mean Kullback-Leibler divergence of the target from a distribution whose *logarithm* is this
    /// tensor, in nats: [`KlDivLoss`] with its defaults.
    ///
    /// # Errors
    /// As [`KlDivLoss::forward`].
    pub fn kl_div(&self, target: &Tensor<T>) -> Result<Self> {
        KlDivLoss::new().forward(self, target)
    }
}

/// The squared error (PyTorch's `MSELoss`): a builder whose [`forward`](MseLoss::forward) computes it.
///
/// ```
/// # use tapegrad::{MseLoss, Reduction, Tensor};
/// let (x, y) = (Tensor::new([1.0, 2.0]), Tensor::new([4.0, 2.0]));
/// let loss = MseLoss::new().reduction(Reduction::Sum).forward(&x, &y)?;
/// assert_eq!(loss.item()?, 9.0);
/// assert_eq!(x.mse_loss(&y)?.item()?, 4.5); // the mean
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MseLoss {
    reduction: Reduction,
}

impl MseLoss {
    /// PyTorch's default: the mean.
    pub fn new() -> Self {
        MseLoss::default()
    }

    /// What becomes of the elements' losses. The mean divides by their number.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The squared error (x - y)^2, reduced. The shapes broadcast. Both arguments get a gradient, 2 (x - y)
    /// and its opposite.
    ///
    /// # Errors
    /// [`Error::Broadcast`](crate::Error::Broadcast), [`Error::TooLarge`](crate::Error::TooLarge),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn forward<T: Float>(&self, input: &Tensor<T>, target: &Tensor<T>) -> Result<Tensor<T>> {
        self.reduction.record(input.sub(target)?.square()?)
    }
}

/// The cross entropy of yes-or-no questions, from logits (PyTorch's `BCEWithLogitsLoss`): a builder whose
/// [`forward`](BceWithLogitsLoss::forward) computes it, in nats.
#[derive(Debug, Clone, Copy, Default)]
pub struct BceWithLogitsLoss {
    reduction: Reduction,
}

impl BceWithLogitsLoss {
    /// PyTorch's default: the mean.
    pub fn new() -> Self {
        BceWithLogitsLoss::default()
    }

    /// What becomes of the elements' losses. The mean divides by their number.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// For a logit x and the probability y of yes,
    ///
    /// ```text
    /// -y ln s(x) - (1 - y) ln (1 - s(x)) = y softplus(-x) + (1 - y) softplus(x),   s = sigmoid
    /// ```
    ///
    /// reduced. The shapes broadcast. The derivatives are s(x) - y and -x.
    ///
    /// # Errors
    /// [`Error::Broadcast`](crate::Error::Broadcast), [`Error::TooLarge`](crate::Error::TooLarge),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn forward<T: Float>(&self, logits: &Tensor<T>, target: &Tensor<T>) -> Result<Tensor<T>> {
        let op = "binary_cross_entropy_with_logits";
        let shape = logits.shape().broadcast_of(op, target.shape())?;
        shape.checked_elements(op)?;
        let (x, y) = (logits.detach().broadcast_to(&shape)?, target.detach().broadcast_to(&shape)?);
        let value = by_kernel_of_two(&x, &y, binary_cross_entropy_slice)?;
        self.reduction.record(Step::new(BceWithLogits).saved_input(logits).saved_input(target).record(value))
    }
}

/// The Kullback-Leibler divergence (PyTorch's `KLDivLoss`): a builder whose [`forward`](KlDivLoss::forward)
/// computes it, in nats.
///
/// ```
/// # use tapegrad::{KlDivLoss, Reduction, Tensor};
/// let (q, p) = (Tensor::new([[0.5, 0.5]]), Tensor::new([[0.25, 0.75]]));
/// let divergence = KlDivLoss::new().reduction(Reduction::Sum).forward(&q.log()?, &p)?;
/// assert!((divergence.item()? - 0.1308).abs() < 1e-4); // 0.25 ln 0.5 + 0.75 ln 1.5
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct KlDivLoss {
    reduction: Reduction,
}

impl KlDivLoss {
    /// PyTorch's default: the mean over the elements.
    pub fn new() -> Self {
        KlDivLoss::default()
    }

    /// What becomes of the elements' losses. The mean divides by their number. The divergence of whole
    /// distributions, PyTorch's `batchmean`, is the sum divided by the number of rows.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// p (ln p - ln q) for each element, and 0 where p = 0, reduced: `log_q` is the *logarithm* of q, and p
    /// is the target, as in PyTorch. The shapes broadcast. The derivatives are -p and ln p + 1 - ln q.
    ///
    /// # Errors
    /// [`Error::Broadcast`](crate::Error::Broadcast), [`Error::TooLarge`](crate::Error::TooLarge),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn forward<T: Float>(&self, log_q: &Tensor<T>, target: &Tensor<T>) -> Result<Tensor<T>> {
        let value = zipped("kl_div", log_q, target, |log_q, p| {
            if p == T::zero() && !log_q.is_nan() { T::zero() } else { p * (p.ln() - log_q) }
        })?;
        self.reduction.record(Step::new(KlDiv).saved_input(log_q).saved_input(target).record(value))
    }
}

struct BceWithLogits;

impl<T: Float> Backward<T> for BceWithLogits {
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
        let loss = x.binary_cross_entropy_with_logits(&Tensor::from([1.0])).unwrap();
        let expected = (-40.0f64).exp();
        assert!((loss.item().unwrap() / expected - 1.0).abs() < 1e-15);
        loss.backward().unwrap();
        assert!((x.grad().unwrap().item().unwrap() / -expected - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_probability_of_zero_contributes_nothing_to_a_divergence() {
        let log_q = Tensor::from([0.5f64, 0.5, 0.0]).log().unwrap();
        let p = Tensor::from([0.25, 0.75, 0.0]);
        let divergence =
            KlDivLoss::new().reduction(Reduction::Sum).forward(&log_q, &p).unwrap().item().unwrap();
        let expected = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        assert!((divergence - expected).abs() < 1e-15);
    }
}
