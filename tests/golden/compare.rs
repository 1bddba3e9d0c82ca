//! Comparing what the engine computed with what is stored.

use super::store::{Stored, StoredValues};
use super::{Float, Value};
use tapegrad::DType;

/// One tensor of a case: what it should be, what it is, and how exactly the two should agree.
pub struct Check {
    /// `output/out`, `grad/input`, `hvp/weight`, ...
    pub tensor: String,
    pub expected: Stored,
    pub shape: Vec<usize>,
    pub actual: Vec<f64>,
    /// The largest number that enters the tensor; see [`super::terms`].
    pub largest_term: f64,
    /// How many units in the last place of the largest term an f32 entry may be off.
    pub units: f64,
}

impl Check {
    /// The largest term is at first the largest entry of the expected tensor.
    pub fn new<T: Float>(tensor: String, expected: &Stored, actual: &Value<T>) -> Self {
        Check {
            tensor,
            largest_term: largest(&expected.numbers()),
            expected: expected.clone(),
            shape: actual.shape().to_vec(),
            actual: actual.numbers(),
            units: 4.0,
        }
    }

    /// Holds the tensor against other values than the stored ones.
    pub fn expect(&mut self, values: Vec<f64>) {
        assert_eq!(values.len(), self.expected.numbers().len(), "values for {}", self.tensor);
        self.largest_term = self.largest_term.max(largest(&values));
        self.expected.values = StoredValues::Float(values);
    }

    /// How far an entry may be off. In f64: 1e-12 of the largest entry. In f32: four units in the last
    /// place of the largest term, which is the largest entry or a larger number that it is a sum or
    /// a difference of.
    pub fn tolerance(&self, precision: DType) -> f64 {
        match precision {
            DType::F64 => 1e-12 * largest(&self.expected.numbers()),
            DType::F32 => self.units * ulp(self.largest_term),
        }
    }

    /// The first entry that is not as expected, in words.
    pub fn difference(&self, precision: DType) -> Option<String> {
        if self.shape != self.expected.shape {
            return Some(format!("has shape {:?}, expected {:?}", self.shape, self.expected.shape));
        }
        let tolerance = self.tolerance(precision);
        let expected = self.expected.numbers();
        let agrees = |&at: &usize| self.error(at, expected[at], precision) <= tolerance;
        let worst = (0..expected.len()).find(|at| !agrees(at))?;
        let wrong = (0..expected.len()).filter(|at| !agrees(at)).count();
        Some(format!(
            "entry {worst} of {}: expected {:e}, is {:e}; off by {:.3e}, allowed {tolerance:.3e}; {wrong} such\n    expected {}\n    actual   {}",
            expected.len(),
            expected[worst],
            self.actual[worst],
            self.error(worst, expected[worst], precision),
            preview(&expected),
            preview(&self.actual),
        ))
    }

    /// The largest error as a share of the tolerance.
    pub fn share(&self, precision: DType) -> f64 {
        let expected = self.expected.numbers();
        let errors = (0..expected.len()).map(|at| self.error(at, expected[at], precision));
        let worst = errors.fold(0.0, f64::max);
        if worst == 0.0 { 0.0 } else { worst / self.tolerance(precision) }
    }

    /// |actual - expected|; 0 for two nans and for equal infinities, inf if only one is special. An
    /// f64 value beyond the range of f32 is expected to be infinite there.
    fn error(&self, at: usize, expected: f64, precision: DType) -> f64 {
        let actual = self.actual[at];
        let rounded = match precision {
            DType::F32 => f64::from(expected as f32),
            DType::F64 => expected,
        };
        let expected = if rounded.is_finite() { expected } else { rounded };
        if actual == expected || (actual.is_nan() && expected.is_nan()) {
            0.0
        } else if actual.is_finite() && expected.is_finite() {
            (actual - expected).abs()
        } else {
            f64::INFINITY
        }
    }
}

/// The largest magnitude among the finite numbers, 0 if there are none.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().map(|value| value.abs()).filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// The distance of neighbouring f32 numbers at a magnitude, that of the subnormal ones at least.
pub fn ulp(magnitude: f64) -> f64 {
    let exponent = ((magnitude.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    2f64.powi(exponent.clamp(-126, 127) - 23)
}

fn preview(values: &[f64]) -> String {
    let first: Vec<String> = values.iter().take(12).map(|value| format!("{value:?}")).collect();
    let more = if values.len() > 12 { ", .." } else { "" };
    format!("[{}{more}]", first.join(", "))
}
