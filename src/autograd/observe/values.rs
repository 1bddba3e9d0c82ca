//! What is noted of values for a reader: their range, their norm, and numbers in few digits.

use crate::float::Float;
use std::fmt;

/// The least and the greatest of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueRange {
    /// The least value that is not nan; nan if there is none.
    pub min: f64,
    /// The greatest value that is not nan; nan if there is none.
    pub max: f64,
    /// How many values are nan.
    pub nans: usize,
}

impl ValueRange {
    /// The range of values; none for no values.
    pub(crate) fn of<T: Float>(values: &[T]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let empty = ValueRange { min: f64::NAN, max: f64::NAN, nans: 0 };
        Some(values.iter().map(|&value| Float::to_f64(value)).fold(
            empty,
            |range, value| match value.is_nan() {
                true => ValueRange { nans: range.nans + 1, ..range },
                // The other operand wins over nan.
                false => ValueRange { min: range.min.min(value), max: range.max.max(value), ..range },
            },
        ))
    }
}

/// `0.25 .. 4`, a single number if all values are equal, and how many are nan if any is.
impl fmt::Display for ValueRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ValueRange { min, max, nans } = *self;
        match (min == max, nans) {
            (true, _) => f.write_str(&short(min))?,
            (false, _) if min.is_nan() => return write!(f, "{nans} nan"),
            (false, _) => write!(f, "{} .. {}", short(min), short(max))?,
        }
        if nans > 0 { write!(f, ", {nans} nan") } else { Ok(()) }
    }
}

/// A number in at most four significant digits.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    // The exponent after rounding to four digits: 9999.6 is 1.000e4.
    let scientific = format!("{value:.3e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent @ -4..=5) => {
            let fixed = format!("{value:.*}", usize::try_from(3 - exponent).unwrap_or(0));
            without_trailing_zeros(&fixed).to_string()
        }
        _ => format!("{}e{exponent}", without_trailing_zeros(digits)),
    }
}

fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// The Euclidean norm, without overflow on the way.
pub(crate) fn norm<T: Float>(values: &[T]) -> f64 {
    let magnitudes = || values.iter().map(|&value| Float::to_f64(value).abs());
    let largest = magnitudes().fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    largest * magnitudes().map(|magnitude| (magnitude / largest).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.70281, "0.7028"),
            (0.00024190, "0.0002419"),
            (2.4190e-5, "2.419e-5"),
            (9999.6, "10000"),
            (123456.7, "123457"),
            (9.99996e5, "1e6"),
            (1e-30, "1e-30"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_range_leaves_nan_out_and_counts_it() {
        let range = |values: &[f64]| ValueRange::of(values).unwrap().to_string();
        assert_eq!(range(&[3.0, -1.0, 2.0]), "-1 .. 3");
        assert_eq!(range(&[f64::NAN, 1.0, 1.0]), "1, 1 nan");
        assert_eq!(range(&[f64::NAN, f64::NAN]), "2 nan");
        assert_eq!(range(&[f64::NEG_INFINITY, 0.5, f64::NAN]), "-inf .. 0.5, 1 nan");
        assert_eq!(ValueRange::of::<f32>(&[]), None);
    }

    #[test]
    fn a_norm_does_not_overflow() {
        assert_eq!(norm(&[3.0f32, -4.0]), 5.0);
        assert_eq!(norm(&[3e300f64, 4e300]), 5e300);
        assert_eq!(norm::<f64>(&[]), 0.0);
        assert!(norm(&[1.0, f64::NAN, 2.0]).is_nan());
        assert_eq!(norm(&[f64::NEG_INFINITY, 1.0]), f64::INFINITY);
    }
}
