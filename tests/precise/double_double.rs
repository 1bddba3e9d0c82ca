//! Numbers of about 31 digits, each an unevaluated sum of two `f64`: enough to say how far a result in
//! `f64` is from the exact one.
//!
//! References: T. J. Dekker, A floating-point technique for extending the available precision, Numerische
//! Mathematik 18 (1971); D. E. Knuth, The Art of Computer Programming 2, section 4.2.2.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// high + low, with |low| at most half a unit in the last place of high.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DoubleDouble {
    pub high: f64,
    pub low: f64,
}

impl DoubleDouble {
    pub const ZERO: DoubleDouble = DoubleDouble { high: 0.0, low: 0.0 };
    pub const ONE: DoubleDouble = DoubleDouble { high: 1.0, low: 0.0 };

    /// a + b exactly.
    pub fn sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let b_part = high - a;
        DoubleDouble { high, low: (a - (high - b_part)) + (b - b_part) }
    }

    /// a b exactly, unless it underflows.
    pub fn product(a: f64, b: f64) -> Self {
        let high = a * b;
        DoubleDouble { high, low: a.mul_add(b, -high) }
    }

    /// The same number with as much of it in `high` as fits.
    fn normalised(high: f64, low: f64) -> Self {
        let sum = high + low;
        DoubleDouble { high: sum, low: low - (sum - high) }
    }

    pub fn abs(self) -> Self {
        if self.high < 0.0 { -self } else { self }
    }

    /// The number times 2^n, exactly unless it leaves the normal range.
    pub fn times_power_of_two(self, n: i32) -> Self {
        let scale = |x| super::times_power_of_two(x, n);
        DoubleDouble { high: scale(self.high), low: scale(self.low) }
    }
}

impl From<f64> for DoubleDouble {
    fn from(high: f64) -> Self {
        DoubleDouble { high, low: 0.0 }
    }
}

impl Neg for DoubleDouble {
    type Output = Self;
    fn neg(self) -> Self {
        DoubleDouble { high: -self.high, low: -self.low }
    }
}

impl Add for DoubleDouble {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let (highs, lows) = (Self::sum(self.high, other.high), Self::sum(self.low, other.low));
        let sum = Self::normalised(highs.high, highs.low + lows.high);
        Self::normalised(sum.high, sum.low + lows.low)
    }
}

impl Sub for DoubleDouble {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for DoubleDouble {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let product = Self::product(self.high, other.high);
        Self::normalised(product.high, product.low + (self.high * other.low + self.low * other.high))
    }
}

impl Div for DoubleDouble {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        // Three digits of a long division, each 53 bits.
        let first = self.high / other.high;
        let rest = self - Self::from(first) * other;
        let second = rest.high / other.high;
        let rest = rest - Self::from(second) * other;
        let third = rest.high / other.high;
        let quotient = Self::normalised(first, second);
        Self::normalised(quotient.high, quotient.low + third)
    }
}

impl Add<f64> for DoubleDouble {
    type Output = Self;
    fn add(self, other: f64) -> Self {
        self + Self::from(other)
    }
}

impl Mul<f64> for DoubleDouble {
    type Output = Self;
    fn mul(self, other: f64) -> Self {
        self * Self::from(other)
    }
}

impl std::iter::Sum for DoubleDouble {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self::ZERO, |sum, term| sum + term)
    }
}
