//! One notation and one width for the numbers of a tensor.

/// The texts of the elements that are shown, in row-major order, and the width that they are
/// right-aligned to.
pub(super) struct Texts {
    pub texts: Vec<String>,
    pub width: usize,
}

impl Texts {
    /// Texts as wide as the longest one.
    pub fn aligned(texts: Vec<String>) -> Self {
        let width = texts.iter().map(String::len).max().unwrap_or(0);
        Texts { texts, width }
    }

    /// The texts of floats. Of either precision they are printed from their `f64` value, which is
    /// the same number.
    pub fn of_floats(values: &[f64], precision: usize) -> Self {
        let notation = Notation::of(values, precision);
        let texts: Vec<_> = values.iter().map(|&value| notation.text(value)).collect();
        // Zeros, infinities and nan are aligned, but the width is that of the others. So a tensor of
        // zeros has more of them on a line than fit into it: as PyTorch prints it.
        let counted = values.iter().zip(&texts).filter(|&(&value, _)| is_ordinary(value));
        let width = counted.map(|(_, text)| text.len()).max().unwrap_or(1);
        Texts { texts, width }
    }
}

/// Whether a number counts when notation and width are chosen.
fn is_ordinary(value: f64) -> bool {
    value.is_finite() && value != 0.0
}

/// How all the floats of one tensor are written.
enum Notation {
    /// `12.`: they are whole numbers.
    Whole,
    /// `12.5000`.
    Fixed { precision: usize },
    /// `1.2500e+01`: they are too large, too small or too far apart for fixed digits.
    Scientific { precision: usize },
}

impl Notation {
    fn of(values: &[f64], precision: usize) -> Self {
        let ordinary = || values.iter().copied().filter(|&value| is_ordinary(value));
        let largest = ordinary().map(f64::abs).fold(0.0, f64::max);
        let smallest = ordinary().map(f64::abs).fold(f64::INFINITY, f64::min);
        let any = ordinary().next().is_some();
        if any && (largest / smallest > 1000.0 || largest > 1e8 || smallest < 1e-4) {
            Notation::Scientific { precision }
        } else if ordinary().all(|value| value.fract() == 0.0) {
            Notation::Whole
        } else {
            Notation::Fixed { precision }
        }
    }

    fn text(&self, value: f64) -> String {
        if value.is_nan() {
            return "nan".to_owned();
        }
        if value.is_infinite() {
            return value.to_string();
        }
        match *self {
            Notation::Whole => format!("{value:.0}."),
            Notation::Fixed { precision } => format!("{value:.precision$}"),
            Notation::Scientific { precision } => scientific(value, precision),
        }
    }
}

/// As C and Python write it, where the exponent has a sign and two digits at least: `1.5000e-05`.
fn scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[f64]) -> Vec<String> {
        Texts::of_floats(values, 4).texts
    }

    #[test]
    fn the_scientific_form_starts_just_beyond_its_three_bounds() {
        assert_eq!(texts(&[1.5, 1500.0]), ["1.5000", "1500.0000"]);
        assert_eq!(texts(&[1.5, 1500.5]), ["1.5000e+00", "1.5005e+03"]);
        assert_eq!(texts(&[1e8]), ["100000000."]);
        assert_eq!(texts(&[1e8 + 1.0]), ["1.0000e+08"]);
        assert_eq!(texts(&[1e-4]), ["0.0001"]);
        assert_eq!(texts(&[0.99e-4]), ["9.9000e-05"]);
    }

    #[test]
    fn zeros_infinities_and_nan_choose_neither_notation_nor_width() {
        let odd = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        assert_eq!(texts(&odd), ["0.", "-0.", "inf", "-inf", "nan"]);
        assert_eq!(Texts::of_floats(&odd, 4).width, 1);
        assert_eq!(Texts::of_floats(&[0.0, 7.0, f64::NEG_INFINITY], 4).width, 2);
    }

    #[test]
    fn halves_are_rounded_to_the_even_digit() {
        assert_eq!(texts(&[0.03125, 0.09375]), ["0.0312", "0.0938"]);
        assert_eq!(texts(&[100_005.0, 100_015.0, 1e9]), ["1.0000e+05", "1.0002e+05", "1.0000e+09"]);
    }

    #[test]
    fn an_exponent_has_a_sign_and_two_digits_or_more() {
        assert_eq!(scientific(1.0, 4), "1.0000e+00");
        assert_eq!(scientific(-2.5e-7, 4), "-2.5000e-07");
        assert_eq!(scientific(f64::MAX, 4), "1.7977e+308");
        assert_eq!(scientific(5e-324, 4), "4.9407e-324");
        assert_eq!(scientific(0.0, 0), "0e+00");
    }
}
