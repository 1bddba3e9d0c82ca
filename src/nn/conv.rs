//! Layers for images.

use super::linear::copied;
use super::{Module, Name, Parameters, init};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::ops::{Conv2dOptions, HeightWidth, MaxPool2dOptions};
use crate::parameters;
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;
use rand::Rng;

/// [`Tensor::conv2d`] as a layer: (N, channels, height, width) becomes (N, outputs, height', width').
///
/// ```
/// # use rand::SeedableRng;
/// # use tapegrad::nn::{ChaCha8Rng, Conv2d, Module};
/// # use tapegrad::{Conv2dOptions, Tensor};
/// let rng = &mut ChaCha8Rng::seed_from_u64(0);
/// let layer = Conv2d::new(1, 16, 3, Conv2dOptions::new().padding(1), rng)?;
/// let images: Tensor = Tensor::zeros([32, 1, 8, 8])?;
/// assert_eq!(layer.forward(&images)?.shape(), &[32, 16, 8, 8]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
///
/// A clone has the same values, and gradients of its own.
#[derive(Debug)]
pub struct Conv2d<T: Float = f32> {
    /// Of shape (outputs, channels / groups, kernel height, kernel width).
    pub weight: Tensor<T>,
    /// Of shape (outputs), if there is one.
    pub bias: Option<Tensor<T>>,
    /// How the windows lie.
    pub options: Conv2dOptions,
}

parameters!(Conv2d<T> { weight, bias });

impl<T: Float> Conv2d<T> {
    /// A layer for images of so many channels, with a kernel of one size or `[height, width]`. Weights and
    /// biases are uniform between -1/sqrt(n) and 1/sqrt(n) as in PyTorch, where n = channels / groups times
    /// the elements of the kernel: as many terms as a result has.
    ///
    /// # Errors
    /// [`Error::Argument`] if the groups do not divide both numbers of channels; [`Error::TooLarge`],
    /// [`Error::OutOfMemory`]. Nothing is drawn from the generator then.
    pub fn new(
        channels: usize,
        outputs: usize,
        kernel: impl Into<HeightWidth>,
        options: Conv2dOptions,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Self> {
        let layer = Conv2d::without_bias(channels, outputs, kernel, options, rng)?;
        let bound = bound(layer.weight.shape())?;
        let bias = init::uniform([outputs], -bound, bound, rng)?.requires_grad();
        Ok(Conv2d { bias: Some(bias), ..layer })
    }

    /// The same without biases.
    ///
    /// # Errors
    /// Those of [`Conv2d::new`].
    pub fn without_bias(
        channels: usize,
        outputs: usize,
        kernel: impl Into<HeightWidth>,
        options: Conv2dOptions,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Self> {
        let (groups, HeightWidth { height, width }) = (options.groups, kernel.into());
        if groups == 0 || !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            let value = format!("{groups} for {channels} channels in and {outputs} out");
            let allowed = "a divisor of both numbers of channels";
            return Err(Error::Argument { op: "Conv2d", name: "groups", value, allowed });
        }
        let shape = Shape::from([outputs, channels / groups, height, width]);
        let bound = bound(&shape)?;
        let weight = init::uniform(shape, -bound, bound, rng)?;
        Ok(Conv2d { weight: weight.requires_grad(), bias: None, options })
    }
}

/// 1/sqrt(fan-in), and 0 if there is nothing to be summed.
fn bound(weight: &Shape) -> Result<f64> {
    let (terms, _) = init::fans_of("Conv2d", weight)?;
    Ok(if terms == 0 { 0.0 } else { 1.0 / (terms as f64).sqrt() })
}

impl<T: Float> Module<T> for Conv2d<T> {
    fn forward(&self, input: &Tensor<T>) -> Result<Tensor<T>> {
        input.conv2d(&self.weight, &self.bias, self.options)
    }
}

impl<T: Float> Clone for Conv2d<T> {
    fn clone(&self) -> Self {
        let bias = self.bias.as_ref().map(copied);
        Conv2d { weight: copied(&self.weight), bias, options: self.options }
    }
}

/// [`Tensor::max_pool2d`] as a layer.
///
/// ```
/// # use tapegrad::nn::{MaxPool2d, Module};
/// # use tapegrad::Tensor;
/// let halved = MaxPool2d::new(2).forward(&Tensor::new([[[1.0, 5.0], [3.0, 4.0]]]))?;
/// assert_eq!(halved.to_vec(), [5.0]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2d {
    /// The size of the windows and how they lie.
    pub options: MaxPool2dOptions,
}

impl MaxPool2d {
    /// A layer with windows of one size, `[height, width]`, or [`MaxPool2dOptions`].
    pub fn new(options: impl Into<MaxPool2dOptions>) -> Self {
        MaxPool2d { options: options.into() }
    }
}

impl<T: Float> Parameters<T> for MaxPool2d {
    fn visit<'a>(&'a self, _: &Name<'_>, _: &mut dyn FnMut(&Name<'_>, &'a Tensor<T>)) {}
    fn visit_mut(&mut self, _: &Name<'_>, _: &mut dyn FnMut(&Name<'_>, &mut Tensor<T>)) {}
}

impl<T: Float> Module<T> for MaxPool2d {
    fn forward(&self, input: &Tensor<T>) -> Result<Tensor<T>> {
        input.max_pool2d(self.options)
    }
}
