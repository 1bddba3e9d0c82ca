//! Layers with weights: a matrix, and a table of rows.

use super::{Module, init};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::parameters;
use crate::tensor::index::{Indices, ToIndices};
use crate::tensor::model::Tensor;
use rand::Rng;

/// y = x W^T + b for x of shape (.., inputs); y is (.., outputs).
///
/// ```
/// # use rand::SeedableRng;
/// # use tapegrad::Tensor;
/// # use tapegrad::nn::{ChaCha8Rng, Linear, Module, Parameters};
/// let mut rng = ChaCha8Rng::seed_from_u64(0);
/// let layer = Linear::new(3, 2, &mut rng)?;
/// let scores = layer.forward(&Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))?;
/// assert_eq!(scores.shape(), &[2, 2]);
/// assert_eq!(layer.parameter_count(), 3 * 2 + 2);
/// # Ok::<(), tapegrad::Error>(())
/// ```
///
/// A clone has the same values, and gradients of its own.
#[derive(Debug)]
pub struct Linear<T: Float = f32> {
    /// W, of shape (outputs, inputs).
    pub weight: Tensor<T>,
    /// b, of shape (outputs), if there is one.
    pub bias: Option<Tensor<T>>,
}

parameters!(Linear<T> { weight, bias });

impl<T: Float> Linear<T> {
    /// A layer whose weights and biases are uniform between -1/sqrt(inputs) and 1/sqrt(inputs), as in
    /// PyTorch.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn new(inputs: usize, outputs: usize, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        let layer = Linear::without_bias(inputs, outputs, rng)?;
        let bias = init::uniform([outputs], -bound(inputs), bound(inputs), rng)?.requires_grad();
        Ok(Linear { bias: Some(bias), ..layer })
    }

    /// The same without b.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn without_bias(inputs: usize, outputs: usize, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        let weight = init::uniform([outputs, inputs], -bound(inputs), bound(inputs), rng)?;
        Ok(Linear { weight: weight.requires_grad(), bias: None })
    }
}

/// 1/sqrt(inputs), and 0 if there are none.
fn bound(inputs: usize) -> f64 {
    if inputs == 0 { 0.0 } else { 1.0 / (inputs as f64).sqrt() }
}

impl<T: Float> Module<T> for Linear<T> {
    fn forward(&self, input: &Tensor<T>) -> Result<Tensor<T>> {
        input.linear(&self.weight, &self.bias)
    }
}

impl<T: Float> Clone for Linear<T> {
    fn clone(&self) -> Self {
        Linear { weight: copied(&self.weight), bias: self.bias.as_ref().map(copied) }
    }
}

/// The same values with a gradient of their own. The memory is shared until one of the two is written.
pub(super) fn copied<T: Float>(parameter: &Tensor<T>) -> Tensor<T> {
    let copy = parameter.detach();
    if parameter.is_tracked() { copy.requires_grad() } else { copy }
}

/// A table of rows, one for each of a number of things: words, characters, users. Looking one up is the
/// product of a one-hot vector with the table, without the zeros.
///
/// A clone has the same values, and gradients of its own.
///
/// ```
/// # use rand::SeedableRng;
/// # use tapegrad::nn::{ChaCha8Rng, Embedding};
/// let letters: Embedding = Embedding::new(27, 10, &mut ChaCha8Rng::seed_from_u64(0))?;
/// let context = letters.lookup([[0, 0, 5], [0, 5, 13]])?;
/// assert_eq!(context.shape(), &[2, 3, 10]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug)]
pub struct Embedding<T: Float = f32> {
    /// The rows, of shape (count, width).
    pub weight: Tensor<T>,
}

parameters!(Embedding<T> { weight });

impl<T: Float> Embedding<T> {
    /// `count` rows of `width` numbers from the standard normal distribution, as in PyTorch.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn new(count: usize, width: usize, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        Ok(Embedding { weight: init::normal([count, width], 0.0, 1.0, rng)?.requires_grad() })
    }

    /// The rows at these indices, whatever their shape: the result is (.., width).
    ///
    /// The gradient is added to the rows that were taken; one taken twice gets both.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for an index that is no row, negative ones too; [`Error::Shape`] if the weight
    /// was replaced by a single value; [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn lookup(&self, indices: impl ToIndices) -> Result<Tensor<T>> {
        lookup(&self.weight, Indices::new(indices)?)
    }
}

compiled! {
    fn lookup<T>(table: &Tensor<T>, indices: Indices) -> Result<Tensor<T>> {
        let op = "Embedding";
        let [count, ref width @ ..] = table.shape()[..] else {
            let (what, expected, shape) = ("the weight", "2", table.shape().to_vec());
            return Err(Error::Shape { op, what, expected: expected.into(), actual: shape });
        };
        let outside = |&index: &i64| usize::try_from(index).map_or(true, |index| index >= count);
        if let Some(at) = indices.as_slice().iter().position(outside) {
            let (what, unit, value) = ("index", "a row", indices.as_slice()[at].into());
            let position = indices.shape().coordinates(at);
            return Err(Error::OutOfRange { op, what, unit, position, value, size: count });
        }
        let rows = table.index_select(0, indices.reshape([indices.len()])?)?;
        let shape: Vec<usize> = indices.shape().iter().chain(width).copied().collect();
        rows.reshape(&shape[..])
    }
}

/// For an embedding in a list of layers: the input holds the indices as whole numbers.
///
/// # Errors
/// [`Error::Argument`] for a number that is not whole, and the errors of [`Embedding::lookup`].
impl<T: Float> Module<T> for Embedding<T> {
    fn forward(&self, input: &Tensor<T>) -> Result<Tensor<T>> {
        self.lookup(whole_numbers(input)?)
    }
}

compiled! {
    fn whole_numbers<T>(input: &Tensor<T>) -> Result<Indices> {
        let whole = |value: &T| {
            // The largest whole number that both types hold together with all those below it.
            let exact = value.fract() == T::zero() && value.abs() <= T::from_f64(9007199254740992.0);
            let (op, name, allowed) = ("Embedding", "an index", "a whole number");
            let refused = || Error::Argument { op, name, value: value.to_string(), allowed };
            exact.then(|| Float::to_f64(*value) as i64).ok_or_else(refused)
        };
        let indices = input.as_slice().iter().map(whole).collect::<Result<Vec<i64>>>()?;
        Indices::from_vec(indices, input.shape().clone())
    }
}

impl<T: Float> Clone for Embedding<T> {
    fn clone(&self) -> Self {
        Embedding { weight: copied(&self.weight) }
    }
}
