//! Exponentials and logarithms of `f32` in the arithmetic of `f32`: a register holds twice as many numbers as of `f64`.
//!
//! Sums that matter are kept exact, as two numbers. So results are at most .67 ulp off, or .77 if they are subnormal
//! and so rounded twice. These bounds need the fused multiply-add, which makes products exact: other processors compute in
//! `f64`, see [`crate::kernels::functions`]. Only [`exponential`] is used on every processor, by softmax: it is at
//! most 1.1 ulp off.
//!
//! The formulas and references are those of [`crate::kernels::functions`].

use crate::float::{Float, is_double};
use crate::kernels::compensated::{fast_two_sum, two_sum};
use crate::kernels::simd::MulAdd;
use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};
use std::f64::consts::LN_2;

/// Adding this number and subtracting it again rounds to an integer. In between, the lowest bits hold that integer.
const ROUNDER: f32 = 1.5 * (1u32 << 23) as f32;

/// ln 2 = LN_2_HIGH + LN_2_LOW. The first is a multiple of 1/1024, so that its product with an exponent is exact.
const LN_2_HIGH: f32 = 710.0 / 1024.0;
const LN_2_LOW: f32 = (LN_2 - 710.0 / 1024.0) as f32;

/// Adding this number and subtracting it again rounds to a multiple of 1/1024.
const TO_1024THS: f32 = ROUNDER / 1024.0;

/// (exp(r) - 1 - r)/r^2 for |r| <= ln 2 / 2, fitted to the least possible largest relative error of exp(r): 4e-9, a
/// fifteenth of a rounding.
const SHORT_EXP: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_408, 0.008_368_9, 0.001_381_420_9];

/// The same with an error of 5e-11.
const EXP: [f32; 6] = [0.5, 0.166_666_66, 0.041_666_294, 0.008_333_497, 0.001_394_470_3, 0.000_197_902_9];

/// (ln(1 + f) - f + f^2/2)/f^3 for 1 + f in [sqrt(1/2), sqrt(2)], fitted to the least possible largest relative error
/// of ln(1 + f): 8e-10.
#[rustfmt::skip]
const LOG: [f32; 9] = [
    0.333_333_13, -0.250_000_1, 0.200_021_19, -0.166_679_96, 0.142_195_46, -0.124_055_73, 0.118_881_96,
    -0.116_757_7, 0.067_467_09,
];

/// A result that may be subnormal is scaled by this while it is computed, and by the inverse at the end.
const EXP_SCALE: f32 = (1u128 << 64) as f32;
const INVERSE_EXP_SCALE: f32 = 1.0 / EXP_SCALE;

/// The exponential of this, and of all below, is 0.
const LEAST: f32 = -104.0;

/// Whether the functions here can be used for this type with these instructions.
#[inline(always)]
pub(crate) fn is_for<T: Float, M: MulAdd>() -> bool {
    M::IS_FUSED && !is_double::<T>()
}

/// A number whose type is `f32` wherever this is called: the conversion does nothing.
#[inline(always)]
pub(crate) fn narrowed<T: Float>(x: T) -> f32 {
    x.to_f64() as f32
}

/// The opposite.
#[inline(always)]
pub(crate) fn widened<T: Float>(x: f32) -> T {
    T::from_f64(f64::from(x))
}

/// 2^n for -126 <= n <= 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// exp(x) = (high + low) 2^n for |x| < 1000: returns high, low and n.
///
/// With n = round(x / ln 2), what remains is r = x - n ln 2 in [-ln 2 / 2, ln 2 / 2].
#[inline(always)]
fn exp_parts<M: MulAdd>(x: f32) -> (f32, f32, i32) {
    let rounded = M::mul_add(x, LOG2_E, ROUNDER);
    let n = rounded - ROUNDER;
    let close = M::mul_add(n, -LN_2_HIGH, x); // exact
    let r = M::mul_add(n, -LN_2_LOW, close);
    let r_low = M::mul_add(n, -LN_2_LOW, close - r);
    let square = r * r;
    let [c0, c1, c2, c3, c4, c5] = EXP;
    let (first, second, third) = (M::mul_add(c1, r, c0), M::mul_add(c3, r, c2), M::mul_add(c5, r, c4));
    let tail = M::mul_add(square, M::mul_add(square, third, second), first);
    let (sum, error) = fast_two_sum(1.0, r);
    (sum, M::mul_add(square, tail, error + r_low), (rounded.to_bits() as i32) - (ROUNDER.to_bits() as i32))
}

/// exp(x)
#[inline(always)]
pub(crate) fn exp<M: MulAdd>(x: f32) -> f32 {
    // Beyond these limits the result is 0 or infinite; a nan stays.
    let x = if x < LEAST { LEAST } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (high, low, n) = exp_parts::<M>(x);
    // The power is split in two, because it may be out of range itself.
    let half = n >> 1;
    (high + low) * power_of_two(half) * power_of_two(n - half)
}

/// Whether [`exponential`] may be used with this maximum.
#[inline(always)]
pub(crate) fn is_moderate<T: Float>(max: T) -> bool {
    !is_double::<T>() && max.abs() < T::from_f64(4096.0)
}

/// A maximum, prepared for [`exponential`].
#[derive(Clone, Copy)]
pub(crate) struct Shift<T> {
    pub max: T,
    /// The maximum, rounded to a multiple of 1/1024, and the rest.
    pub high: T,
    pub low: T,
    /// The exponential of this, and of all below, is 0.
    pub least: T,
}

impl<T: Float> Shift<T> {
    #[inline(always)]
    pub fn by(max: T) -> Self {
        let to_1024ths = T::from_f64(f64::from(TO_1024THS));
        let high = (max + to_1024ths) - to_1024ths;
        Shift { max, high, low: max - high, least: max - T::from_f64(132.5) }
    }
}

/// [`crate::kernels::functions::exponential`] for x - max < 43; so max may be less than the maximum. Beyond 43 the
/// exponent wraps around and the result is wrong.
///
/// With n = round((x - max) / ln 2), what remains is r = x - (max + n ln 2). The sum in brackets is split in two: a
/// number of few digits, which is exact and close to x, and a small rest. So no rounding is as large as that of a
/// number of the size of x, and the result is at most 1.1 ulp off.
#[inline(always)]
pub(crate) fn exponential<T: Float, M: MulAdd>(x: T, shift: Shift<T>) -> T {
    // Adding this number and subtracting it again rounds to an integer n. In between, the lowest bits hold the exponent
    // of 2^(n + 64) as a float stores it: results are scaled by 2^64.
    const TO_EXPONENT: f32 = ROUNDER + (127 + 64) as f32;
    let (x, least) = (narrowed(x), narrowed(shift.least));
    let x = if least > x { least } else { x }; // a nan stays
    let rounded = M::mul_add(x - narrowed(shift.max), LOG2_E, TO_EXPONENT);
    let n = rounded - TO_EXPONENT;
    let close = M::mul_add(n, LN_2_HIGH, narrowed(shift.high));
    let r = (x - close) - M::mul_add(n, LN_2_LOW, narrowed(shift.low));
    let [c0, c1, c2, c3, c4] = SHORT_EXP;
    let square = r * r;
    let (first, second) = (M::mul_add(c1, r, c0), M::mul_add(c3, r, c2));
    let tail = M::mul_add(square, M::mul_add(square, c4, second), first);
    // For the least x the stored exponent is 0, and so is the power.
    let power = f32::from_bits(rounded.to_bits() << 23);
    widened(M::mul_add(M::mul_add(square, tail, r), power, power))
}

/// exp(x) times [`EXP_SCALE`] for x <= 0, as two numbers.
#[inline(always)]
fn scaled_exp<M: MulAdd>(x: f32) -> (f32, f32) {
    let limited = if x < LEAST { LEAST } else { x };
    let (high, low, n) = exp_parts::<M>(limited);
    let power = power_of_two(n + 64);
    fast_two_sum(high * power, low * power)
}

/// 1/(1 + exp(-x))
#[inline(always)]
pub(crate) fn sigmoid<M: MulAdd>(x: f32) -> f32 {
    // With e = exp(-|x|): 1/(1 + e) above 0, e/(1 + e) below.
    let (high, low) = scaled_exp::<M>(-x.abs());
    let (denominator, error) = fast_two_sum(1.0, high * INVERSE_EXP_SCALE);
    let error = error + low * INVERSE_EXP_SCALE;
    let (numerator, numerator_low) = if x < 0.0 { (high, low) } else { (EXP_SCALE, 0.0) };
    let inverse = 1.0 / denominator;
    let quotient = numerator * inverse;
    let remainder = M::mul_add(-quotient, denominator, numerator);
    let remainder = M::mul_add(-quotient, error, remainder + numerator_low);
    M::mul_add(remainder, inverse, quotient) * INVERSE_EXP_SCALE
}

/// ln(y + low) + n ln 2 for a normal y > 0, as two numbers. `low` is at most a rounding error of y; if there is one,
/// y <= 2.
///
/// y = 2^k (1 + f), with 1 + f in [sqrt(1/2), sqrt(2)]. The terms of ln(1 + f) = f - f^2/2 + .. are added one after the
/// other, the largest first.
#[inline(always)]
fn log_parts<M: MulAdd>(y: f32, low: Option<f32>, n: f32) -> (f32, f32) {
    const OFFSET: u32 = FRAC_1_SQRT_2.to_bits() & 0xffff_f000;
    let shifted = y.to_bits().wrapping_sub(OFFSET);
    let exponent = shifted & 0xff80_0000;
    let k = ((shifted as i32) >> 23) as f32 + n;
    let f = f32::from_bits(y.to_bits().wrapping_sub(exponent)) - 1.0; // exact
    let half_square = 0.5 * f * f;
    let half_square_low = M::mul_add(0.5 * f, f, -half_square);
    let square = f * f;
    let [c0, c1, c2, c3, c4, c5, c6, c7, c8] = LOG;
    let (first, second) = (M::mul_add(c1, f, c0), M::mul_add(c3, f, c2));
    let (third, fourth) = (M::mul_add(c5, f, c4), M::mul_add(c7, f, c6));
    let (left, right) = (M::mul_add(square, second, first), M::mul_add(square, fourth, third));
    let fourth_power = square * square;
    let series = M::mul_add(fourth_power, M::mul_add(fourth_power, c8, right), left);
    let rest = M::mul_add(square * f, series, -half_square_low);
    let rest = low.map_or(rest, |low| {
        // `low` on the scale of the fraction, times the derivative 1/(1 + f) = 1 - f + f^2 - .., to as many digits as
        // `low` has.
        let scaled = low * f32::from_bits(1f32.to_bits().wrapping_sub(exponent));
        M::mul_add(scaled, M::mul_add(f, f - 1.0, 1.0), rest)
    });
    let (sum, error) = fast_two_sum(f, -half_square);
    let (high, high_error) = fast_two_sum(k * LN_2_HIGH, sum);
    (high, high_error + M::mul_add(k, LN_2_LOW, error + rest))
}

/// ln x
#[inline(always)]
pub(crate) fn log<M: MulAdd>(x: f32) -> f32 {
    // Subnormal numbers are scaled up to be normal.
    let is_small = x < f32::MIN_POSITIVE;
    let (scaled, n) = if is_small { (x * (1u32 << 25) as f32, -25.0) } else { (x, 0.0) };
    let (high, low) = log_parts::<M>(scaled, None, n);
    let value = high + low;
    let value = if x == f32::INFINITY { x } else { value };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    if x >= 0.0 { value } else { f32::NAN }
}

/// ln(1 + exp(x)) for x <= 0, as two numbers.
#[inline(always)]
pub(crate) fn log1p_of_exp<M: MulAdd>(x: f32) -> (f32, f32) {
    let (high, low) = scaled_exp::<M>(x);
    let (exp, low) = (high * INVERSE_EXP_SCALE, low * INVERSE_EXP_SCALE);
    let (one_plus, error) = fast_two_sum(1.0, exp);
    let (log, log_low) = log_parts::<M>(one_plus, Some(error + low), 0.0);
    // A small e loses most of its digits in 1 + e: there, ln(1 + e) = e - e^2/2 + ..
    if x < -10.0 { (exp, M::mul_add(-0.5 * exp, exp, low)) } else { (log, log_low) }
}

/// ln(1 + exp(x)) = max(x, 0) + ln(1 + exp(-|x|))
#[inline(always)]
pub(crate) fn softplus<M: MulAdd>(x: f32) -> f32 {
    let (log, log_low) = log1p_of_exp::<M>(-x.abs());
    let (value, error) = two_sum(if x > 0.0 { x } else { 0.0 }, log);
    // For a large x the logarithm is less than half an ulp of it.
    if x > 20.0 { x } else { value + (error + log_low) }
}
