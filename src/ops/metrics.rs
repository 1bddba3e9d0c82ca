//! How often a classifier is right.

use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::tensor::index::{Indices, ToIndices, indices};
use crate::tensor::model::Tensor;

/// The share of positions at which the right class has the greatest score: logits (or probabilities) of shape
/// (C), (N, C) or (N, C, d1, ..) against classes of that shape without the class dim, in [0, 1]; nan
/// for no positions. Of several greatest scores the first counts.
///
/// ```
/// # use tapegrad::{accuracy, Tensor};
/// let logits = Tensor::new([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5]]);
/// assert_eq!(accuracy(&logits, [0, 1, 1])?, 2.0 / 3.0);
/// # Ok::<(), tapegrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for a single value, and for a target of another shape;
/// [`Error::OutOfRange`] for a target that is no class, [`Error::EmptyReduction`] for no classes.
pub fn accuracy<T: Float>(logits: &Tensor<T>, target: impl ToIndices) -> Result<f64> {
    accuracy_of(logits, indices("accuracy", target)?)
}

compiled! {
    fn accuracy_of<T>(logits: &Tensor<T>, target: Indices) -> Result<f64> {
        let op = "accuracy";
        let shape = logits.shape();
        if shape.is_empty() {
            let expected = "at least 1: (C), (N, C) or (N, C, d1, ..)";
            return Err(Error::Shape { op, what: "the input", expected: expected.into(), actual: vec![] });
        }
        let dim = if shape.len() == 1 { 0 } else { 1 };
        let predicted = logits.argmax(dim as isize)?;
        if predicted.shape() != target.shape() {
            let (expected, actual) = (predicted.shape().to_vec(), target.shape().to_vec());
            return Err(Error::Shape { op, what: "the target", expected: expected.into(), actual });
        }
        target.check_range(op, ("target", "a class"), shape[dim], None)?;
        let pairs = predicted.as_slice().iter().zip(target.as_slice());
        let right = pairs.filter(|(predicted, target)| predicted == target).count();
        Ok(right as f64 / target.len() as f64)
    }
}

/// The share of positions at which a wrong class has the greatest score: 1 - [`accuracy`].
///
/// # Errors
/// As [`accuracy`].
pub fn error_rate<T: Float>(logits: &Tensor<T>, target: impl ToIndices) -> Result<f64> {
    Ok(1.0 - accuracy(logits, target)?)
}
