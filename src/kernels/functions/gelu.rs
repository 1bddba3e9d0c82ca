//! gelu(x) = x Φ(x). Φ(x) = (1 + erf(x/√2))/2 is the distribution function of the standard normal distribution, and
//! φ(x) = exp(-x²/2)/√(2π) is its density.
//!
//! The tail Φ(-|x|) is computed to its last digit. For x > 0, Φ(x) is 1 minus the tail. For `f32` the tail is
//! exp(-x²/2) times a smooth function, which a polynomial approximates. For `f64` the library `libm` computes it.

use crate::float::{Float, is_double};
use crate::kernels::functions::exp;
use crate::kernels::simd::{MulAdd, dispatched};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Q(t) = Φ(-x) exp(x²/2)/t with t = 1/(1 + 0.3 x), for x from 0 to 15. It is fitted to the least possible largest
/// relative error, 4e-9.
#[rustfmt::skip]
const RATIO: [f64; 10] = [
    0.119_686_716_648_026_95, 0.119_571_318_143_92, 0.110_239_340_521_414_99, 0.078_372_256_921_034_47,
    0.096_204_813_718_600_97, -0.079_508_945_915_485_23, 0.191_883_017_582_718, -0.228_284_576_182_892_66,
    0.112_464_700_586_553_13, -0.020_628_643_756_579_232,
];

/// What the rounding of 1/√2 left out.
const FRAC_1_SQRT_2_LOW: f64 = -4.833_646_656_726_457e-17;

/// Φ(x) and φ(x).
#[inline(always)]
fn normal<T: Float, M: MulAdd>(x: f64) -> (f64, f64) {
    let (magnitude, square) = (x.abs(), x * x);
    // The square of an f32 is exact.
    let low = if is_double::<T>() { M::product_error(x, x, square) } else { 0.0 };
    let low = if low.is_finite() { low } else { 0.0 };
    let power = exp::<T, M>(-0.5 * square, -0.5 * low);
    let tail = if is_double::<T>() {
        let argument = magnitude * FRAC_1_SQRT_2;
        // What the rounding of the argument left out; below it is multiplied by the derivative of erfc.
        let rounded = M::product_error(magnitude, FRAC_1_SQRT_2, argument) + magnitude * FRAC_1_SQRT_2_LOW;
        let rounded = if rounded.is_finite() { rounded } else { 0.0 };
        0.5 * libm::erfc(argument) - power * rounded / PI.sqrt()
    } else {
        let limited = if magnitude > 15.0 { 15.0 } else { magnitude };
        let t = 1.0 / (1.0 + 0.3 * limited);
        power * t * RATIO.iter().rev().fold(0.0, |ratio, &coefficient| M::mul_add(ratio, t, coefficient))
    };
    (if x < 0.0 { tail } else { 1.0 - tail }, power / (2.0 * PI).sqrt())
}

/// x Φ(x); -0 for -inf.
#[inline(always)]
fn gelu<T: Float, M: MulAdd>(x: f64) -> f64 {
    let value = x * normal::<T, M>(x).0;
    if x == f64::NEG_INFINITY { -0.0 } else { value }
}

dispatched! {
    /// `out[i] = x Φ(x)` of x[i].
    pub(crate) fn gelu_slice<'a, T, M>(x: &'a [T], out: &'a mut [T]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = T::from_f64(gelu::<T, M>(x.to_f64()));
        }
    }

    /// `out[i] = Φ(x[i])`
    pub(crate) fn normal_cdf_slice<'a, T, M>(x: &'a [T], out: &'a mut [T]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = T::from_f64(normal::<T, M>(x.to_f64()).0);
        }
    }

    /// `out[i] = g (Φ(x) + x φ(x))` of x[i] and the gradient g[i].
    pub(crate) fn gelu_gradient_slice<'a, T, M>(x: &'a [T], gradient: &'a [T], out: &'a mut [T]) {
        for (out, (&x, &gradient)) in out.iter_mut().zip(x.iter().zip(gradient)) {
            let (cdf, density) = normal::<T, M>(x.to_f64());
            *out = T::from_f64(gradient.to_f64() * M::mul_add(x.to_f64(), density, cdf));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cdf<T: Float>(x: &[T]) -> Vec<T> {
        let mut out = vec![T::zero(); x.len()];
        normal_cdf_slice(x, &mut out);
        out
    }

    /// Computed with mpmath 1.3 in 60 digits.
    #[test]
    fn the_tail_of_the_normal_distribution_has_its_digits_in_f64() {
        let exact: [(f64, f64); 9] = [
            (-1.0, 0.158_655_253_931_457_05),
            (-3.0, 1.349_898_031_630_094_5e-3),
            (-5.0, 2.866_515_718_791_939e-7),
            (-10.0, 7.619_853_024_160_526e-24),
            (-20.0, 2.753_624_118_606_233_7e-89),
            (-30.0, 4.906_713_927_148_187e-198),
            (-37.0, 5.725_571_222_524_577e-300),
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
        ];
        for (x, exact) in exact {
            let off = (cdf(&[x])[0] - exact).abs() / (f64::EPSILON * exact);
            assert!(off <= 3.0, "{x}: {off} ulp");
        }
    }

    #[test]
    fn f32_is_f64_rounded() {
        let x: Vec<f32> = (-160_000..160_000).map(|i| i as f32 * 1e-4).collect();
        let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        let gradient = vec![1.0f32; x.len()];
        let (mut values, mut slopes) = (x.clone(), x.clone());
        gelu_slice(&x, &mut values);
        gelu_gradient_slice(&x, &gradient, &mut slopes);
        for (((&x, &value), &slope), &cdf) in x.iter().zip(&values).zip(&slopes).zip(&cdf(&wide)) {
            let x = f64::from(x);
            let ulp = |value: f64| f64::from((value.abs() as f32).next_up() - value.abs() as f32);
            let off = (f64::from(value) - x * cdf).abs() / ulp(x * cdf);
            assert!(off <= 0.6, "gelu({x}): {off} ulp");
            let term = x * (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
            let off = (f64::from(slope) - (cdf + term)).abs() / ulp((cdf + term).max(cdf).max(-term));
            assert!(off <= 0.6, "the slope at {x}: {off} ulp of it or of its larger term");
        }
    }

    #[test]
    fn infinities_and_nan_come_through() {
        let (inf, mut out) = (f64::INFINITY, [7.0; 4]);
        gelu_slice(&[inf, -inf, f64::NAN, 1e300], &mut out);
        assert_eq!((out[0], out[1].to_bits(), out[3]), (inf, (-0.0f64).to_bits(), 1e300));
        assert!(out[2].is_nan());
        assert_eq!(cdf(&[inf, -inf, -1e300, -0.0]), [1.0, 0.0, 0.0, 0.5]);
    }
}
