//! Dropout: noise that keeps a network from relying on any single value.

use super::{ChaCha8Rng, Module, Name, Parameters};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::tensor::model::Tensor;
use rand::{Rng, SeedableRng};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// In training, sets each value to 0 with probability p and divides the others by 1 - p, so that the
/// expected value stays what it is; in evaluation, the identity (Srivastava et al., "Dropout: a simple way
/// to prevent neural networks from overfitting", JMLR 15, 2014; PyTorch's `nn.Dropout`).
///
/// The layer owns its generator, which is seeded from the caller's: two layers from one generator drop
/// independently of each other, and [`visit_generators`](Parameters::visit_generators) reaches their states
/// for a checkpoint. One number is drawn for each value of the input, in row-major order. Threads that run
/// the same layer at once draw in no promised order.
///
/// ```
/// # use rand::SeedableRng;
/// # use tapegrad::Tensor;
/// # use tapegrad::nn::{ChaCha8Rng, Dropout, Module};
/// let mut dropout = Dropout::new(0.5, &mut ChaCha8Rng::seed_from_u64(0))?;
/// let noisy = dropout.forward(&Tensor::new([1.0; 8]))?;
/// assert!(noisy.as_slice().iter().all(|&value| value == 0.0 || value == 2.0));
/// dropout.eval();
/// assert_eq!(dropout.forward(&Tensor::new([1.0; 8]))?.to_vec(), [1.0; 8]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug)]
pub struct Dropout {
    probability: f64,
    training: bool,
    generator: Mutex<ChaCha8Rng>,
}

impl Dropout {
    /// A layer in training mode that drops with this probability. The seed of its generator, 32 bytes, is
    /// drawn from `rng`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a probability outside [0, 1]; nothing is drawn then.
    pub fn new(probability: f64, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        if !(0.0..=1.0).contains(&probability) {
            let (op, name, allowed) = ("Dropout", "probability", "in [0, 1]");
            return Err(Error::Argument { op, name, value: probability.to_string(), allowed });
        }
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let generator = Mutex::new(ChaCha8Rng::from_seed(seed));
        Ok(Dropout { probability, training: true, generator })
    }

    /// The probability of being set to 0.
    pub fn probability(&self) -> f64 {
        self.probability
    }

    /// Whether the layer drops.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Training mode: values are dropped.
    pub fn train(&mut self) {
        self.training = true;
    }

    /// Evaluation mode: values pass.
    pub fn eval(&mut self) {
        self.training = false;
    }

    fn lock(&self) -> MutexGuard<'_, ChaCha8Rng> {
        self.generator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Float> Parameters<T> for Dropout {
    fn visit<'a>(&'a self, _: &Name<'_>, _: &mut dyn FnMut(&Name<'_>, &'a Tensor<T>)) {}
    fn visit_mut(&mut self, _: &Name<'_>, _: &mut dyn FnMut(&Name<'_>, &mut Tensor<T>)) {}
    fn set_training(&mut self, training: bool) {
        self.training = training;
    }
    fn visit_generators(&mut self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &mut ChaCha8Rng)) {
        visitor(name, self.generator.get_mut().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<T: Float> Module<T> for Dropout {
    fn forward(&self, input: &Tensor<T>) -> Result<Tensor<T>> {
        forward(self, input)
    }
}

compiled! {
    fn forward<T>(dropout: &Dropout, input: &Tensor<T>) -> Result<Tensor<T>> {
        if !dropout.training || dropout.probability == 0.0 {
            return Ok(input.clone());
        }
        let mut mask = Tensor::zeros(input.shape().clone())?;
        let values = mask.as_mut_slice()?;
        // A number of 32 bits is below this with the layer's probability.
        let threshold = (dropout.probability * 2f64.powi(32)).round() as u64;
        let kept = if dropout.probability == 1.0 { 0.0 } else { 1.0 / (1.0 - dropout.probability) };
        let kept = T::from_f64(kept);

        let mut generator = dropout.lock();
        let start = generator.get_word_pos();
        for value in values {
            if u64::from(generator.next_u32()) >= threshold {
                *value = kept;
            }
        }
        let end = generator.get_word_pos();
        drop(generator); // the product may run on several threads, and one that waits may come to this layer again

        let output = input.mul(&mask);
        if output.is_err() {
            let mut generator = dropout.lock();
            if generator.get_word_pos() == end {
                generator.set_word_pos(start); // a failure draws nothing
            }
        }
        output
    }
}

/// A clone goes on from the same state: it drops what the original would.
impl Clone for Dropout {
    fn clone(&self) -> Self {
        let generator = ChaCha8Rng::deserialize_state(&self.lock().serialize_state());
        Dropout { generator: Mutex::new(generator), ..*self }
    }
}
