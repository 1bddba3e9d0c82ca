//! Exponentials and logarithms with about 30 digits, from their series.

use super::Scaled;
use super::double_double::DoubleDouble;
use std::sync::LazyLock;

/// ln 2
const LN_2: DoubleDouble = DoubleDouble { high: std::f64::consts::LN_2, low: 2.319_046_813_846_299_6e-17 };

/// The exponential has a table with this many entries on either side of 0, 1/64 apart.
const REACH: i32 = 23;

/// 1/k!
static INVERSE_FACTORIALS: LazyLock<[DoubleDouble; 30]> = LazyLock::new(|| {
    let mut inverse = [DoubleDouble::ONE; 30];
    for k in 1..inverse.len() {
        inverse[k] = inverse[k - 1] / DoubleDouble::from(k as f64);
    }
    inverse
});

/// exp(j/64) for j from -REACH to REACH.
static TABLE: LazyLock<Vec<DoubleDouble>> = LazyLock::new(|| {
    (-REACH..=REACH).map(|j| taylor(DoubleDouble::from(f64::from(j) / 64.0), 29) + 1.0).collect()
});

/// exp(x) - 1 = x + x^2/2! + .. + x^last/last!
fn taylor(x: DoubleDouble, last: usize) -> DoubleDouble {
    let mut sum = INVERSE_FACTORIALS[last];
    for k in (1..last).rev() {
        sum = sum * x + INVERSE_FACTORIALS[k];
    }
    sum * x
}

/// e^x
pub fn exp(x: DoubleDouble) -> Scaled {
    if x.high.is_nan() || x.high.abs() > 1e5 {
        return DoubleDouble::from(x.high.exp()).into();
    }
    let n = (x.high / LN_2.high).round();
    let r = x - LN_2 * n;
    let j = (r.high * 64.0).round().clamp(f64::from(-REACH), f64::from(REACH));
    let table = TABLE[(j as i32 + REACH) as usize];
    let value = table + table * taylor(r + -j / 64.0, 13);
    Scaled { value, exponent: n as i32 }
}

/// e^x as one number: not for results that underflow.
pub fn exp_plain(x: DoubleDouble) -> DoubleDouble {
    let Scaled { value, exponent } = exp(x);
    value.times_power_of_two(exponent)
}

/// e^x - 1
pub fn expm1(x: DoubleDouble) -> Scaled {
    if x.high.abs() < 1e-290 {
        return tiny(x);
    }
    if x.high.abs() < 0.02 {
        return taylor(x, 15).into();
    }
    match exp(x) {
        Scaled { value, .. } if value.high == f64::INFINITY => DoubleDouble::from(f64::INFINITY).into(),
        Scaled { value, exponent } if exponent.abs() < 200 => {
            (value.times_power_of_two(exponent) + -1.0).into()
        }
        large if x.high > 0.0 => large,
        _ => DoubleDouble::from(-1.0).into(),
    }
}

/// What equals its argument x but for terms of the order of x^2, for an x so small that these are beyond
/// all digits.
fn tiny(x: DoubleDouble) -> Scaled {
    Scaled { value: x.times_power_of_two(300), exponent: -300 }
}

/// ln(1 + x) for x > -1
pub fn log1p(x: DoubleDouble) -> Scaled {
    if x.high.is_nan() || x.high <= -1.0 || x.high == f64::INFINITY {
        return DoubleDouble::from(x.high.ln_1p()).into();
    }
    if x.high.abs() < 1e-290 {
        return tiny(x);
    }
    if (-0.29..0.41).contains(&x.high) { log1p_small(x).into() } else { log(x + 1.0).into() }
}

/// ln x, for normal or subnormal x > 0
pub fn log(x: DoubleDouble) -> DoubleDouble {
    if x.high.is_nan() || x.high <= 0.0 || x.high == f64::INFINITY {
        return x.high.ln().into();
    }
    let n = super::exponent(x.high);
    let fraction = x.times_power_of_two(-n);
    // In [sqrt(1/2), sqrt 2], so that a logarithm near 0 is not a difference.
    let (n, fraction) =
        if fraction.high > 1.41 { (n + 1, fraction.times_power_of_two(-1)) } else { (n, fraction) };
    log1p_small(fraction + -1.0) + LN_2 * f64::from(n)
}

/// ln(1 + x) = 2 (s + s^3/3 + s^5/5 + ..) with s = x/(2 + x), for 1 + x in [sqrt(1/2), sqrt 2]
fn log1p_small(x: DoubleDouble) -> DoubleDouble {
    let s = x / (x + 2.0);
    let square = s * s;
    let mut sum = DoubleDouble::ZERO;
    for k in (0..23).rev() {
        sum = sum * square + DoubleDouble::ONE / DoubleDouble::from(f64::from(2 * k + 1));
    }
    s * sum * 2.0
}

/// m/(m + 2) with m = e^2x - 1
pub fn tanh(x: f64) -> Scaled {
    if x.abs() < 1e-290 {
        return tiny(x.into());
    }
    if x.is_nan() || x.abs() > 50.0 {
        return DoubleDouble::from(x.tanh()).into();
    }
    let Scaled { value: m, exponent } = expm1(DoubleDouble::from(2.0 * x));
    let m = m.times_power_of_two(exponent);
    (m / (m + 2.0)).into()
}

/// 1/(1 + e^-x)
pub fn sigmoid(x: f64) -> Scaled {
    let Scaled { value, exponent } = exp(DoubleDouble::from(-x.abs()));
    let e = value.times_power_of_two(exponent.max(-300));
    let denominator = e + 1.0;
    if x.is_nan() || x >= 0.0 {
        return (DoubleDouble::ONE / denominator).into();
    }
    Scaled { value: value / denominator, exponent }
}
