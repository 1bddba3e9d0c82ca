//! Exponentials and logarithms to the last digit, as code that the compiler can vectorise.
//!
//! The arithmetic is `f64`. For `f32` elements short polynomials are enough: all results but about one in a thousand
//! are correctly rounded. The functions that are used most are computed in `f32` instead, by [`f32_arithmetic`], if the
//! processor has the fused multiply-add. For `f64` elements a second number (`low` below) carries the error of every
//! rounding that matters. `T` and `M` decide among these when the code is compiled.
//!
//! References: J.-M. Muller, Elementary Functions, 3rd ed., chapters 11 and 12 (range reduction, error-free
//! sums); the series are those of Taylor and of the inverse hyperbolic tangent.

// All functions of one element have the same signature, even if they do not use all of it.
#![allow(clippy::extra_unused_type_parameters)]

pub(crate) mod f32_arithmetic;
pub(crate) mod gelu;

use crate::float::{Float, is_double};
use crate::kernels::compensated::{fast_two_sum, two_sum};
use crate::kernels::simd::{MulAdd, dispatched};
use std::f64::consts::{LN_2, LOG2_E};

/// Adding this number and subtracting it again rounds to an integer. In between, the lowest bits hold that integer.
const ROUNDER: f64 = 1.5 * (1u64 << 52) as f64;

/// ln 2 = LN_2_HIGH + LN_2_LOW; the first has so few digits that its product with an exponent is exact.
const LN_2_HIGH: f64 = f64::from_bits(LN_2.to_bits() & !0xffff_ffff);
const LN_2_LOW: f64 = (LN_2 - LN_2_HIGH) + 2.319_046_813_846_3e-17;

/// 1/2!, 1/3!, ..
#[rustfmt::skip]
const TAYLOR: [f64; 13] = [
    1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5_040.0, 1.0 / 40_320.0, 1.0 / 362_880.0,
    1.0 / 3_628_800.0, 1.0 / 39_916_800.0, 1.0 / 479_001_600.0, 1.0 / 6_227_020_800.0, 1.0 / 87_178_291_200.0,
];

/// 2/3, 2/5, 2/7, ..
#[rustfmt::skip]
const ATANH: [f64; 11] = [
    2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0, 2.0 / 11.0, 2.0 / 13.0, 2.0 / 15.0, 2.0 / 17.0, 2.0 / 19.0, 2.0 / 21.0,
    2.0 / 23.0,
];

/// The terms of a series that the precision of `T` needs: all, or the first few for `f32`.
#[inline(always)]
fn terms<T: Float>(series: &'static [f64], for_f32: usize) -> &'static [f64] {
    if is_double::<T>() { series } else { &series[..for_f32] }
}

/// c0 + c1 x + c2 x^2 + .. by Horner's rule.
#[inline(always)]
fn polynomial<M: MulAdd>(coefficients: &[f64], x: f64) -> f64 {
    let (last, rest) = (coefficients[coefficients.len() - 1], &coefficients[..coefficients.len() - 1]);
    let mut value = last;
    for &coefficient in rest.iter().rev() {
        value = M::mul_add(value, x, coefficient);
    }
    value
}

/// 2^n for -1022 <= n <= 1023, where `rounded` is n + `ROUNDER`.
#[inline(always)]
fn power_of_two(rounded: f64) -> f64 {
    f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52)
}

/// exp(x + low) = (high + low') 2^n: returns high, low' and n + `ROUNDER`.
///
/// With n = round(x / ln 2), what remains is r = x - n ln 2 in [-ln 2 / 2, ln 2 / 2], where
/// exp(r) = 1 + r + r^2 (1/2! + r/3! + ..).
#[inline(always)]
fn exp_parts<T: Float, M: MulAdd>(x: f64, low: f64) -> (f64, f64, f64) {
    let rounded = M::mul_add(x, LOG2_E, ROUNDER);
    let n = rounded - ROUNDER;
    if !is_double::<T>() {
        let r = M::mul_add(n, -LN_2, x);
        let tail = polynomial::<M>(terms::<T>(&TAYLOR, 7), r);
        return (M::mul_add(r * r, tail, r) + 1.0, 0.0, rounded);
    }
    let (r, r_low) = fast_two_sum(M::mul_add(n, -LN_2_HIGH, x), M::mul_add(n, -LN_2_LOW, low));
    let tail = M::mul_add(r * r, polynomial::<M>(&TAYLOR, r), r_low);
    let (high, low) = fast_two_sum(1.0, r);
    let (high, low) = fast_two_sum(high, low + tail);
    (high, low, rounded)
}

/// exp(x + low), for a `low` that is at most a rounding error of x.
#[inline(always)]
pub(crate) fn exp<T: Float, M: MulAdd>(x: f64, low: f64) -> f64 {
    let (high, _, rounded) = exp_parts::<T, M>(x, low);
    // The power is split in two: a subnormal result is then rounded only at the second product.
    let half = if is_double::<T>() { M::mul_add(rounded - ROUNDER, 0.5, ROUNDER) } else { ROUNDER };
    let rest = (rounded - ROUNDER) - (half - ROUNDER) + ROUNDER;
    let value = high * power_of_two(half) * power_of_two(rest);
    let (lowest, highest) = if is_double::<T>() { (-745.2, 709.8) } else { (-708.0, 709.0) };
    let value = if x < lowest { 0.0 } else { value };
    if x > highest { f64::INFINITY } else { value }
}

/// The power of two by which [`exponential`] scales its result. So results far below the normal numbers keep all their
/// digits while they are added and multiplied.
#[inline(always)]
pub(crate) fn exp_scale<T: Float>() -> f64 {
    power_of_two(ROUNDER + exponent_of_scale::<T>())
}

#[inline(always)]
fn exponent_of_scale<T: Float>() -> f64 {
    if is_double::<T>() { 512.0 } else { 64.0 }
}

/// exp(x - max) times [`exp_scale`], for x <= max: 0 for x = -inf, nan if either is nan or both are infinite.
///
/// The rounding error of the subtraction is passed on: for a large difference it would add as much to the result's
/// error as all other roundings together.
#[inline(always)]
pub(crate) fn exponential<T: Float, M: MulAdd>(x: T, max: T) -> T {
    let (x, max) = (x.to_f64(), max.to_f64());
    let (difference, error) = if is_double::<T>() { two_sum(x, -max) } else { (x - max, 0.0) };
    let lowest = if is_double::<T>() { -900.0 } else { -131.0 };
    let (high, low, rounded) = exp_parts::<T, M>(difference, error);
    let value = (high + low) * power_of_two(rounded + exponent_of_scale::<T>());
    T::from_f64(if difference < lowest { 0.0 } else { value })
}

/// Beyond this softplus is the identity, as PyTorch defines it.
pub(crate) const SOFTPLUS_THRESHOLD: f64 = 20.0;

/// exp(x) - 1 as a sum of two numbers.
#[inline(always)]
fn expm1_parts<T: Float, M: MulAdd>(x: f64) -> (f64, f64) {
    // Beyond these limits exp(x) - 1 is -1, or exp(x), to the last digit. Within them the powers of two stay in range.
    let x = if x < -60.0 { -60.0 } else { x };
    let x = if x > 708.0 { 708.0 } else { x };
    let rounded = M::mul_add(x, LOG2_E, ROUNDER);
    // Just above ln 2 / 2, subtracting 1 from 2 exp(r) would cancel digits. The series still converges there.
    let rounded = if x.abs() < 0.42 { ROUNDER } else { rounded };
    let n = rounded - ROUNDER;
    let (r, r_low) = fast_two_sum(M::mul_add(n, -LN_2_HIGH, x), n * -LN_2_LOW);
    let tail = M::mul_add(r * r, polynomial::<M>(terms::<T>(&TAYLOR, 8), r), r_low);
    let scale = power_of_two(rounded);
    // scale (1 + r + tail) - 1: the large parts first, exactly.
    let (difference, error) = two_sum(scale, -1.0);
    let (sum, sum_error) = two_sum(difference, scale * r);
    fast_two_sum(sum, (error + sum_error) + scale * tail)
}

/// exp(x) - 1.
#[inline(always)]
fn expm1<T: Float, M: MulAdd>(x: f64) -> f64 {
    let (high, low) = expm1_parts::<T, M>(x);
    let value = high + low;
    let value = if x > 708.0 { exp::<f64, M>(x, 0.0) } else { value };
    // A zero keeps its sign, and a number whose square underflows keeps its digits.
    if x.abs() < 1e-300 { x } else { value }
}

/// ln(1 + x) = n ln 2 + ln(1 + f), with 1 + f in [sqrt(1/2), sqrt(2)].
///
/// With s = f/(2 + f), ln(1 + f) = 2 atanh(s) = 2 s + 2/3 s^3 + 2/5 s^5 + .. Since 2 s = f - s f, the sum begins with
/// f, which is exact.
#[inline(always)]
pub(crate) fn log1p<T: Float, M: MulAdd>(x: f64) -> f64 {
    let (one_plus, low) = two_sum(1.0, x);
    let value = log_parts::<T, M>(one_plus, low);
    // Infinite at -1 and beyond the largest number, nan below -1; a tiny x is its own logarithm.
    let value = if x == f64::INFINITY { x } else { value };
    let value = if x == -1.0 { f64::NEG_INFINITY } else { value };
    let value = if x < -1.0 { f64::NAN } else { value };
    if x.abs() < 1e-17 { x } else { value }
}

/// ln(1 + x) for a finite x that is not negative, with fewer steps.
#[inline(always)]
pub(crate) fn log1p_of_positive<T: Float, M: MulAdd>(x: f64) -> f64 {
    let (one_plus, low) = two_sum(1.0, x);
    log_parts::<T, M>(one_plus, low)
}

/// ln x.
#[inline(always)]
fn log<T: Float, M: MulAdd>(x: f64) -> f64 {
    // Subnormal numbers are scaled up to be normal. Those of f32 are normal in f64.
    let is_small = is_double::<T>() && x < f64::MIN_POSITIVE;
    let scaled = if is_small { x * (1u64 << 54) as f64 } else { x };
    let value = log_parts::<T, M>(scaled, 0.0);
    let value = if is_small { value - 54.0 * LN_2 } else { value };
    let value = if x == f64::INFINITY { x } else { value };
    let value = if x == 0.0 { f64::NEG_INFINITY } else { value };
    if x >= 0.0 { value } else { f64::NAN }
}

/// ln(y + low) for a normal y > 0.
#[inline(always)]
fn log_parts<T: Float, M: MulAdd>(y: f64, low: f64) -> f64 {
    // The exponent is chosen such that the fraction lies in [sqrt(1/2), sqrt(2)).
    const OFFSET: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits() & 0xffff_ffff_0000_0000;
    let shifted = y.to_bits().wrapping_sub(OFFSET);
    let exponent = shifted & 0xfff0_0000_0000_0000;
    let fraction = f64::from_bits(y.to_bits().wrapping_sub(exponent));
    // The exponent as a float: a bias makes it positive, and then its bits are the lowest ones of 2^52 + exponent.
    let biased = f64::from_bits(TWO_52.to_bits() | (exponent.wrapping_add(1024 << 52) >> 52));
    let n = biased - (TWO_52 + 1024.0);
    // `low` on the scale of the fraction. It matters only for y near 1.
    let scaled = low * f64::from_bits(f64::to_bits(1.0).wrapping_sub(exponent));
    let low = if y > 1e300 { 0.0 } else { scaled };
    let f = fraction - 1.0; // exact
    let s = f / (2.0 + f);
    let z = s * s;
    let series = z * polynomial::<M>(terms::<T>(&ATANH, 6), z); // 2 atanh(s) = s (2 + series)
    // 2 atanh(s) - f = s (f^2/2 + series) - f^2/2
    let half_square = 0.5 * f * f;
    if !is_double::<T>() {
        // Not low / fraction: `low` matters only where f32 cannot tell the fraction from 1.
        let correction = M::mul_add(s, half_square + series, low) - half_square;
        return M::mul_add(n, LN_2, f + correction);
    }
    let correction = M::mul_add(s, half_square + series, low / fraction);
    let small = M::mul_add(n, LN_2_LOW, correction);
    let (large, large_low) = two_sum(n * LN_2_HIGH, f);
    let (large, rest) = two_sum(large, -half_square);
    large + (rest + large_low + small)
}

const TWO_52: f64 = (1u64 << 52) as f64;

/// tanh x = m/(m + 2) with m = exp(2 x) - 1, computed for |x|.
#[inline(always)]
fn tanh<T: Float, M: MulAdd>(x: f64) -> f64 {
    let (high, low) = expm1_parts::<T, M>(2.0 * x.abs());
    let value = if is_double::<T>() {
        let (denominator, error) = two_sum(high, 2.0);
        quotient::<M>((high, low), (denominator, error + low))
    } else {
        high / (high + 2.0)
    };
    let value = if x.abs() > 22.0 { 1.0 } else { value };
    let value = if x.abs() < 1e-9 { x.abs() } else { value };
    if x.is_nan() { x } else { value.copysign(x) }
}

/// 1/(1 + exp(-x)).
#[inline(always)]
fn sigmoid<T: Float, M: MulAdd>(x: f64) -> f64 {
    // With e = exp(-|x|): 1/(1 + e) above 0, e/(1 + e) below.
    let magnitude = x.abs();
    let limited = if magnitude > 708.0 { 708.0 } else { magnitude };
    let (high, low, rounded) = exp_parts::<T, M>(-limited, 0.0);
    let scale = power_of_two(rounded);
    if !is_double::<T>() {
        let e = high * scale;
        let value = if x < 0.0 { e } else { 1.0 } / (1.0 + e);
        return if x.is_nan() { x } else { value };
    }
    let e = (high * scale, low * scale);
    let (one_plus, error) = fast_two_sum(1.0, e.0);
    let denominator = fast_two_sum(one_plus, error + e.1);
    let below = if magnitude > 40.0 { exp::<T, M>(-magnitude, 0.0) } else { quotient::<M>(e, denominator) };
    let above = quotient::<M>((1.0, 0.0), denominator);
    let value = if x < 0.0 { below } else { above };
    if x.is_nan() { x } else { value }
}

/// ln(1 + exp(x)), and x itself where x > [`SOFTPLUS_THRESHOLD`].
#[inline(always)]
fn softplus<T: Float, M: MulAdd>(x: f64) -> f64 {
    let value = log1p_of_positive::<T, M>(exp::<T, M>(x, 0.0));
    if x > SOFTPLUS_THRESHOLD { x } else { value }
}

/// ln(1 + exp(-|x|))
#[inline(always)]
fn log1p_of_exp<T: Float, M: MulAdd>(x: T) -> f64 {
    if f32_arithmetic::is_for::<T, M>() {
        let (log, low) = f32_arithmetic::log1p_of_exp::<M>(-f32_arithmetic::narrowed(x).abs());
        return f64::from(log) + f64::from(low);
    }
    log1p_of_positive::<T, M>(exp::<T, M>(-x.to_f64().abs(), 0.0))
}

/// y ln(1 + exp(-x)) + (1 - y) ln(1 + exp(x)). A factor of 0 removes its term, even where that is infinite.
#[inline(always)]
fn binary_cross_entropy<T: Float, M: MulAdd>(x: T, y: T) -> T {
    let of_both = log1p_of_exp::<T, M>(x);
    let term = |factor: f64, x: f64| {
        let term = factor * (if x > 0.0 { x } else { 0.0 } + of_both);
        if factor == 0.0 { 0.0 } else { term }
    };
    let loss = term(y.to_f64(), -x.to_f64()) + term(1.0 - y.to_f64(), x.to_f64());
    if x.is_nan() { x } else { T::from_f64(loss) }
}

dispatched! {
    /// `out[i] = y ln(1 + exp(-x)) + (1 - y) ln(1 + exp(x))` of x[i] and y[i].
    pub(crate) fn binary_cross_entropy_slice<'a, T, M>(x: &'a [T], y: &'a [T], out: &'a mut [T]) {
        for (out, (&x, &y)) in out.iter_mut().zip(x.iter().zip(y)) {
            *out = binary_cross_entropy::<T, M>(x, y);
        }
    }
}

/// The quotient of two numbers, each given as a sum of two, with one step of correction.
#[inline(always)]
fn quotient<M: MulAdd>((a, a_low): (f64, f64), (b, b_low): (f64, f64)) -> f64 {
    let q = a / b;
    let product = q * b;
    let remainder = (a - product) - M::product_error(q, b, product);
    q + (remainder + a_low - q * b_low) / b
}

/// Defines kernels that apply a function to every element of a slice. If two functions are given, the second one
/// computes in `f32`, and is used for the elements and instructions that it is made for.
macro_rules! slice_functions {
    ($($(#[$attribute:meta])* $name:ident: $function:ident $(, f32_arithmetic::$in_f32:ident)?;)*) => {
        dispatched! {$(
            $(#[$attribute])*
            pub(crate) fn $name<'a, T, M>(x: &'a [T], out: &'a mut [T]) {
                $(if f32_arithmetic::is_for::<T, M>() {
                    for (out, &x) in out.iter_mut().zip(x) {
                        *out = f32_arithmetic::widened(f32_arithmetic::$in_f32::<M>(f32_arithmetic::narrowed(x)));
                    }
                    return;
                })?
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = T::from_f64($function::<T, M>(x.to_f64()));
                }
            }
        )*}
    };
}

#[inline(always)]
fn exp_of<T: Float, M: MulAdd>(x: f64) -> f64 {
    exp::<T, M>(x, 0.0)
}

slice_functions! {
    /// `out[i] = exp(x[i])`
    exp_slice: exp_of, f32_arithmetic::exp;
    /// `out[i] = exp(x[i]) - 1`
    expm1_slice: expm1;
    /// `out[i] = ln x[i]`
    log_slice: log, f32_arithmetic::log;
    /// `out[i] = ln(1 + x[i])`
    log1p_slice: log1p;
    /// `out[i] = tanh(x[i])`
    tanh_slice: tanh;
    /// `out[i] = 1/(1 + exp(-x[i]))`
    sigmoid_slice: sigmoid, f32_arithmetic::sigmoid;
    /// `out[i] = ln(1 + exp(x[i]))`, as far as [`SOFTPLUS_THRESHOLD`]
    softplus_slice: softplus, f32_arithmetic::softplus;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results of `f64`, which are compared with, have all their digits.
    #[test]
    fn softplus_of_f32_is_that_of_f64_rounded() {
        let x: Vec<f32> = (0..1 << 20).map(|i| f32::from_bits(i * 4093)).collect();
        let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        let (mut values, mut exact) = (x.clone(), wide.clone());
        softplus_slice(&x, &mut values);
        softplus_slice(&wide, &mut exact);
        for ((&x, &value), &exact) in x.iter().zip(&values).zip(&exact) {
            let rounded = exact as f32;
            if rounded.is_finite() {
                let ulp = f64::from(rounded.next_up()) - f64::from(rounded);
                let off = (f64::from(value) - exact).abs() / ulp;
                assert!(off <= 0.8, "softplus({x}) is {value} and not {exact}: {off} ulp");
            } else {
                assert!(value == rounded || value.is_nan() && rounded.is_nan(), "softplus({x}) is {value}");
            }
        }
        let (inf, mut out) = (f32::INFINITY, [7.0; 4]);
        softplus_slice(&[inf, -inf, f32::NAN, 1e30], &mut out);
        assert_eq!((out[0], out[1], out[3]), (inf, 0.0, 1e30));
        assert!(out[2].is_nan());
    }
}
