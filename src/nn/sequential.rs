//! Layers one after the other.

use super::{ChaCha8Rng, Module, Name, Parameters};
use crate::error::Result;
use crate::float::Float;
use crate::tensor::model::Tensor;
use std::fmt;

/// Layers of any kind, each applied to the output of the one before.
///
/// Their names are their positions, so that the weight of the third layer is `2.weight`, as in PyTorch.
///
/// ```
/// # use rand::SeedableRng;
/// # use tapegrad::Tensor;
/// # use tapegrad::nn::{ChaCha8Rng, Linear, Module, Parameters, Relu, Sequential};
/// let rng = &mut ChaCha8Rng::seed_from_u64(0);
/// let model = Sequential::new().with(Linear::new(2, 16, rng)?).with(Relu).with(Linear::new(16, 3, rng)?);
/// let logits = model.forward(&Tensor::new([[0.5, -0.5]]))?;
/// assert_eq!(logits.shape(), &[1, 3]);
/// assert_eq!(model.named_parameters()[2].0, "2.weight");
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Default)]
pub struct Sequential<T: Float = f32> {
    layers: Vec<Box<dyn Module<T> + Send + Sync>>,
}

impl<T: Float> Sequential<T> {
    /// No layers yet: the identity.
    pub fn new() -> Self {
        Sequential { layers: Vec::new() }
    }

    /// The same with one more layer at the end.
    pub fn with(mut self, layer: impl Module<T> + Send + Sync + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl<T: Float> Parameters<T> for Sequential<T> {
    fn visit<'a>(&'a self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &'a Tensor<T>)) {
        for (index, layer) in self.layers.iter().enumerate() {
            layer.visit(&name.index(index), visitor);
        }
    }
    fn visit_mut(&mut self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &mut Tensor<T>)) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.visit_mut(&name.index(index), visitor);
        }
    }
    fn set_training(&mut self, training: bool) {
        self.layers.iter_mut().for_each(|layer| layer.set_training(training));
    }
    fn visit_generators(&mut self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &mut ChaCha8Rng)) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.visit_generators(&name.index(index), visitor);
        }
    }
}

impl<T: Float> Module<T> for Sequential<T> {
    fn forward(&self, input: &Tensor<T>) -> Result<Tensor<T>> {
        self.layers.iter().try_fold(input.clone(), |value, layer| layer.forward(&value))
    }
}

impl<T: Float> Module<T> for Box<dyn Module<T> + Send + Sync> {
    fn forward(&self, input: &Tensor<T>) -> Result<Tensor<T>> {
        (**self).forward(input)
    }
}

/// The names and shapes of the parameters.
impl<T: Float> fmt::Debug for Sequential<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_struct("Sequential");
        for (name, parameter) in self.named_parameters() {
            list.field(&name, &parameter.shape().to_vec());
        }
        list.finish()
    }
}
