//! Columns with a mean of 0 and a standard deviation of 1.

use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::tensor::model::Tensor;

/// Shifts and scales each column of a table so that the samples it was fitted to have a mean of 0 and a
/// standard deviation of 1 (that of a population: divided by the number of samples), as scikit-learn's
/// `StandardScaler` does.
///
/// Fit it to the samples to train on, and apply it to those and to all others: what the test samples look
/// like is not to be known in advance. A column that is constant in the samples it was fitted to is shifted
/// to 0 and not scaled.
///
/// ```
/// # use tapegrad::Tensor;
/// # use tapegrad::data::Standardizer;
/// let train = Tensor::new([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]]);
/// let scale = Standardizer::fit(&train)?;
/// assert_eq!(scale.apply(&train)?.to_vec(), [-1.0, -1.0, 0.0, 1.0, 1.0, 0.0]);
/// assert_eq!(scale.apply(&Tensor::new([[2.0, 40.0, 6.0]]))?.to_vec(), [0.0, 2.0, 1.0]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Standardizer<T: Float = f32> {
    /// What is subtracted, of shape (columns).
    pub mean: Tensor<T>,
    /// What is then divided by, of shape (columns): the standard deviation, and 1 for a constant column.
    pub scale: Tensor<T>,
}

impl<T: Float> Standardizer<T> {
    /// Measures a table of shape (samples, columns).
    ///
    /// # Errors
    /// [`Error::Shape`] for anything but a table; [`Error::EmptyReduction`] for one without samples;
    /// [`Error::NotFinite`] for an entry that is infinite or nan, or a column whose spread overflows;
    /// [`Error::OutOfMemory`].
    pub fn fit(table: &Tensor<T>) -> Result<Self> {
        fit(table)
    }

    /// (x - mean) / scale for a table of the same columns, or one sample.
    ///
    /// # Errors
    /// [`Error::Shape`] if the last dim has another size than the columns; [`Error::OutOfMemory`].
    pub fn apply(&self, x: &Tensor<T>) -> Result<Tensor<T>> {
        if x.shape().last() != self.mean.shape().last() {
            let (actual, mut expected) = (x.shape().to_vec(), x.shape().to_vec());
            expected.pop();
            expected.extend(&self.mean.shape()[..]);
            return Err(Error::Shape {
                op: "Standardizer",
                what: "the table",
                expected: expected.into(),
                actual,
            });
        }
        x.sub(&self.mean)?.div(&self.scale)
    }
}

compiled! {
    fn fit<T>(table: &Tensor<T>) -> Result<Standardizer<T>> {
        let op = "Standardizer";
        let shape = table.shape().to_vec();
        let [samples, columns] = shape[..] else {
            return Err(Error::Shape {
                op,
                what: "the table",
                expected: "2: samples, columns".into(),
                actual: shape,
            });
        };
        if samples == 0 {
            return Err(Error::EmptyReduction { op, shape, dims: vec![0] });
        }
        if let Some(at) = table.as_slice().iter().position(|entry| !entry.is_finite()) {
            let (position, value) = (table.shape().coordinates(at), Float::to_f64(table.as_slice()[at]));
            return Err(Error::NotFinite { op, what: "the entry".into(), position, value });
        }
        let (mut mean, mut scale) = (Tensor::zeros([columns])?, Tensor::ones([columns])?);
        for (column, (mean, scale)) in mean.as_mut_slice()?.iter_mut().zip(scale.as_mut_slice()?).enumerate()
        {
            let values = || table.as_slice().iter().skip(column).step_by(columns).copied();
            let (center, deviation) = spread(samples, values);
            if !deviation.is_finite() || !T::from_f64(deviation).is_finite() {
                let (what, position, value) = ("the spread of the column".into(), vec![column], deviation);
                return Err(Error::NotFinite { op, what, position, value });
            }
            *mean = T::from_f64(center);
            // A spread too small for the precision cannot be divided by either.
            if T::from_f64(deviation) > T::zero() {
                *scale = T::from_f64(deviation);
            }
        }
        Ok(Standardizer { mean, scale })
    }
}

/// The mean and standard deviation of a column. A constant one has exactly its value as mean and a deviation
/// of exactly 0, which a sum with its rounding errors would not say.
fn spread<T: Float, I: Iterator<Item = T>>(samples: usize, values: impl Fn() -> I) -> (f64, f64) {
    let numbers = || values().map(<T as Float>::to_f64);
    let first = numbers().next().unwrap_or(0.0);
    if numbers().all(|value| value == first) {
        return (first, 0.0);
    }
    let mean_of = |total: f64| total / samples as f64;
    // The sum of the differences from a value among them keeps digits where all have a large part in common.
    let mean = first + mean_of(numbers().map(|value| value - first).sum());
    (mean, mean_of(numbers().map(|value| (value - mean).powi(2)).sum()).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::shape::keepdim;

    #[test]
    fn columns_get_a_mean_of_0_and_a_deviation_of_1() -> Result<()> {
        let table = Tensor::from([[1e6 + 1.0, 0.1f64, -3.0], [1e6 + 2.0, 0.1, 5.0], [1e6 + 6.0, 0.1, 4.0]]);
        let scale = Standardizer::fit(&table)?;
        assert_eq!(scale.mean.to_vec(), [1e6 + 3.0, 0.1, 2.0]);
        let expected: [f64; 3] = [(14f64 / 3.0).sqrt(), 1.0, (38f64 / 3.0).sqrt()];
        for (ours, theirs) in scale.scale.as_slice().iter().zip(expected) {
            assert!((ours - theirs).abs() < 1e-15 * theirs, "{ours} {theirs}");
        }
        let scaled = scale.apply(&table)?;
        assert!(scaled.mean(0)?.as_slice().iter().all(|mean| mean.abs() < 1e-15));
        let variance = scaled.sub(scaled.mean(keepdim(0))?)?.square()?.mean(0)?;
        assert!((variance.get([0])? - 1.0).abs() < 1e-14 && (variance.get([2])? - 1.0).abs() < 1e-14);
        assert_eq!(variance.get([1])?, 0.0);
        assert_eq!(scale.apply(&Tensor::from([1e6 + 3.0, 1.1, 2.0]))?.to_vec(), [0.0, 1.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_constant_column_stays_finite_whatever_its_value() -> Result<()> {
        for value in [0.1f32, 1e30, -7.3, 0.0] {
            let scale = Standardizer::fit(&Tensor::full([1000, 1], value)?)?;
            assert_eq!((scale.mean.item()?, scale.scale.item()?), (value, 1.0));
        }
        Ok(())
    }

    #[test]
    fn tables_that_cannot_be_measured_are_refused() {
        let message = |table: Tensor| Standardizer::fit(&table).unwrap_err().to_string();
        assert_eq!(
            message(Tensor::new([[1.0, 2.0], [f32::NAN, 0.0]])),
            "Standardizer: the entry at [1, 0] is NaN"
        );
        assert!(message(Tensor::new([1.0])).contains("expected 2: samples, columns"));
        assert!(message(Tensor::zeros([0, 3]).unwrap()).contains("has no elements to reduce"));
        let wide = Standardizer::fit(&Tensor::from([[f64::MAX], [-f64::MAX]]));
        assert!(matches!(wide, Err(Error::NotFinite { .. })), "{wide:?}");
        let scale = Standardizer::fit(&Tensor::new([[1.0, 2.0]])).unwrap();
        assert!(matches!(scale.apply(&Tensor::new([[1.0]])), Err(Error::Shape { .. })));
        assert!(matches!(scale.apply(&Tensor::new(1.0)), Err(Error::Shape { .. })));
        assert_eq!(Standardizer::<f32>::fit(&Tensor::zeros([3, 0]).unwrap()).unwrap().mean.len(), 0);
    }
}
