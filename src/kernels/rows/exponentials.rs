//! The exponentials of rows, and what is found by reading a row once.
//!
//! As everywhere here, element i of a slice belongs to row i % L ([`super::lanes`]).

use super::Summary;
use super::lanes::{Given, PIECE, all, greater, map_but, maxima};
use crate::float::{Float, is_double};
use crate::kernels::compensated::{Sum, add_term, sum_of, two_sum};
use crate::kernels::functions::f32_arithmetic::{self, Shift, is_moderate};
use crate::kernels::functions::{exp, exp_scale, exponential, log1p_of_positive};
use crate::kernels::simd::{MulAdd, array};

/// x - m in `f64`, and what its rounding left out.
#[inline(always)]
pub(super) fn shifted<T: Float>(x: T, max: T) -> (f64, f64) {
    let (x, max) = (x.to_f64(), max.to_f64());
    if !is_double::<T>() {
        return (x - max, 0.0);
    }
    let (difference, error) = two_sum(x, -max);
    (difference, if difference.abs() < f64::INFINITY { error } else { 0.0 })
}

/// `out = f(row, exp(x - max))` but for one element of each row, the exponentials times [`exp_scale`]; without an
/// `x`, of what `out` holds.
#[inline(always)]
fn map_exponentials<T: Float, M: MulAdd, const L: usize>(
    x: Option<&[T]>,
    max: &[T; L],
    out: &mut [T],
    but: Option<Given<T, L>>,
    f: impl Fn(usize, T) -> T,
) {
    if all(max, is_moderate) {
        let (mut high, mut low, mut least) = (*max, *max, *max);
        for row in 0..L {
            let shift = Shift::by(max[row]);
            (high[row], low[row], least[row]) = (shift.high, shift.low, shift.least);
        }
        map_but::<T, L>(x, out, but, |row, x| {
            let shift = Shift { max: max[row], high: high[row], low: low[row], least: least[row] };
            f(row, f32_arithmetic::exponential::<T, M>(x, shift))
        });
    } else {
        map_but::<T, L>(x, out, but, |row, x| f(row, exponential::<T, M>(x, max[row])));
    }
}

/// `out = exp(x - max)` times [`exp_scale`].
#[inline(always)]
pub(super) fn exponentials<T: Float, M: MulAdd, const L: usize>(
    x: Option<&[T]>,
    max: &[T; L],
    out: &mut [T],
) {
    map_exponentials::<T, M, L>(x, max, out, None, |_, exponential| exponential);
}

/// The exponential of one element of each row, as a plain number.
#[inline(always)]
pub(super) fn exponentials_of<T: Float, M: MulAdd, const L: usize>(x: [T; L], max: &[T; L]) -> [f64; L] {
    let mut exponential = x;
    exponentials::<T, M, L>(None, max, &mut exponential);
    array(|row| exponential[row].to_f64() / exp_scale::<T>())
}

/// Multiplies exponentials, which are scaled by [`exp_scale`], by the factor of their row, with one rounding; but for
/// one of each row.
#[inline(always)]
pub(super) fn scale<T: Float, M: MulAdd, const L: usize>(
    out: &mut [T],
    factors: &[f64; L],
    but: Option<Given<T, L>>,
) {
    let (mut high, mut low) = ([T::zero(); L], [T::zero(); L]);
    if in_two_parts::<T, M, L>(factors, &mut high, &mut low) {
        map_but(None, out, but, |row, e| M::mul_add(e, high[row], e * low[row]));
    } else {
        map_but(None, out, but, |row, e| carefully_scaled(e, factors[row]));
    }
}

/// `out = factor exp(x - max)` in one pass, but for one element of each row; without an `x`, of what `out` holds.
#[inline(always)]
pub(super) fn scaled_exponentials<T: Float, M: MulAdd, const L: usize>(
    x: Option<&[T]>,
    max: &[T; L],
    factors: &[f64; L],
    out: &mut [T],
    but: Option<Given<T, L>>,
) {
    let (mut high, mut low) = ([T::zero(); L], [T::zero(); L]);
    if in_two_parts::<T, M, L>(factors, &mut high, &mut low) {
        let scaled = |row: usize, e: T| M::mul_add(e, high[row], e * low[row]);
        map_exponentials::<T, M, L>(x, max, out, but, scaled);
    } else {
        map_exponentials::<T, M, L>(x, max, out, but, |row, e| carefully_scaled(e, factors[row]));
    }
}

/// Writes the factors of exponentials that are scaled by [`exp_scale`] as numbers of their type, and what that
/// rounding left out.
///
/// False where a product by both would not be rounded once: a tiny factor has no digits for what was left out, and
/// without the fused multiply-add there are two roundings, which would show in the sum of a row.
#[inline(always)]
fn in_two_parts<T: Float, M: MulAdd, const L: usize>(
    factors: &[f64; L],
    high: &mut [T; L],
    low: &mut [T; L],
) -> bool {
    for row in 0..L {
        let factor = factors[row] / exp_scale::<T>();
        high[row] = T::from_f64(factor);
        let rest = T::from_f64(factor - high[row].to_f64());
        low[row] = if high[row].is_finite() { rest } else { T::zero() };
    }
    let has_digits = |factor: T| factor.abs() >= T::min_positive_value() / T::epsilon();
    M::IS_FUSED && all(high, has_digits)
}

/// One exponential times [`exp_scale`] times any factor. Each takes half of the scale's powers of two back, so that
/// neither loses digits.
#[inline(always)]
fn carefully_scaled<T: Float>(exponential: T, factor: f64) -> T {
    let half = if is_double::<T>() { 2f64.powi(-256) } else { 2f64.powi(-32) };
    T::from_f64((exponential.to_f64() * half) * (factor * half))
}

/// What is found by reading rows.
pub(super) struct Read<T, const L: usize> {
    /// The maximum m of what is not nan; -inf for an empty row.
    pub max: [T; L],
    /// The sum of exp(x - m) over all elements but one maximum; nan if there is a nan, or if an element is the
    /// maximum and not finite.
    pub others: [f64; L],
    /// How many times too large the exponentials of a long row are ([`read_long_row`]); 1 for a block.
    pub overshoot: f64,
}

impl<T: Float, const L: usize> Read<T, L> {
    /// Hands on what backward needs.
    #[inline(always)]
    pub fn keep(&self, summaries: &mut [Summary<T>]) {
        for (row, summary) in summaries.iter_mut().enumerate() {
            *summary = Summary { max: self.max[row], others: self.others[row] };
        }
    }

    /// An exponential as a plain number.
    #[inline(always)]
    pub fn plain(&self, exponential: T) -> f64 {
        exponential.to_f64() / (exp_scale::<T>() * self.overshoot)
    }

    /// ln(1 + others)
    #[inline(always)]
    pub fn log_denominators<M: MulAdd>(&self) -> [f64; L] {
        let mut logs = self.others;
        for log in &mut logs {
            *log = log1p_of_positive::<T, M>(*log);
        }
        logs
    }
}

/// Reads rows, and leaves `out = overshoot exp(x - m)` times [`exp_scale`]: the exponentials stay in the cache for
/// whoever needs them next. For one row, `out` may also be a piece, shorter than the row; it then holds one piece
/// after the other.
#[inline(always)]
pub(super) fn read<T: Float, M: MulAdd, const L: usize>(x: &[T], out: &mut [T]) -> Read<T, L> {
    if x.is_empty() {
        return Read { max: [T::neg_infinity(); L], others: [0.0; L], overshoot: 1.0 };
    }
    if L == 1 {
        let Read { max: [max], others: [others], overshoot } = read_long_row::<T, M>(x, out);
        return Read { max: [max; L], others: [others; L], overshoot };
    }
    let max = maxima::<T, L>(x);
    exponentials::<T, M, L>(Some(x), &max, out);
    Read { max, others: others_of_block(out), overshoot: 1.0 }
}

/// The sums over each row of the exponentials without one maximum: those that are exactly 1 are counted, and one of
/// them is left out.
#[inline(always)]
fn others_of_block<T: Float, const L: usize>(exponentials: &[T]) -> [f64; L] {
    let scaled_one = T::from_f64(exp_scale::<T>());
    let (mut values, mut errors, mut maxima) = ([0.0; L], [0.0; L], [-T::one(); L]);
    for exponentials in exponentials.as_chunks::<L>().0 {
        // In two steps, because each has registers of its own: so many numbers of T, then of f64.
        let mut terms = *exponentials;
        for row in 0..L {
            let is_maximum = exponentials[row] == scaled_one;
            maxima[row] += if is_maximum { T::one() } else { T::zero() };
            terms[row] = if is_maximum { T::zero() } else { exponentials[row] };
        }
        for row in 0..L {
            add_term::<T>(&mut values[row], &mut errors[row], terms[row].to_f64());
        }
    }
    for row in 0..L {
        values[row] = maxima[row].to_f64() + (values[row] + errors[row]) / scaled_one.to_f64();
    }
    values
}

/// Below this, the sum of the others has lost digits to the 1 of the maximum, and is taken again without it.
const SMALL: f64 = 1.0 / 4096.0;

/// From this overshoot on the row is read again with its true maximum. It is far below e^43, from where on the
/// exponentials of f32 wrap around.
const MOST_OVERSHOOT: f64 = 1e9;

/// To find the maximum m first takes one more pass over the row. So for f32 of moderate size a guess is subtracted,
/// the maximum of the first piece: 1.1 to 1.4 times as fast for 32,000 elements. The exponentials are then too
/// large by the factor exp(m - guess), the overshoot, which callers divide out. Where that is too much, or the
/// others are so few that they lost digits, the row is read again. For f64 and for large numbers m is found first.
#[inline(always)]
fn read_long_row<T: Float, M: MulAdd>(x: &[T], out: &mut [T]) -> Read<T, 1> {
    let is_whole = out.len() == x.len();
    let start_of = |piece: usize| if is_whole { piece * PIECE } else { 0 };
    let mut guess = maxima(&x[..x.len().min(PIECE)]);
    let is_guess = is_moderate(guess[0]);
    if !is_guess {
        guess = maxima(x);
    }
    let (mut max, mut sum) = (guess[0], Sum::default());
    for (piece, x) in x.chunks(PIECE).enumerate() {
        let out = &mut out[start_of(piece)..][..x.len()];
        exponentials::<T, M, 1>(Some(x), &guess, out);
        sum.add_sum(sum_of(out, |exponential| exponential));
        if is_guess && piece > 0 {
            max = greater(max, maxima::<T, 1>(x)[0]);
        }
    }
    let (mut of_maximum, mut overshoot) = (exp_scale::<T>(), 1.0);
    if max != guess[0] {
        of_maximum *= exponentials_of::<T, M, 1>([max], &guess)[0];
        overshoot = exp::<f64, M>(max.to_f64() - guess[0].to_f64(), 0.0);
    }
    let others = sum.without(of_maximum) / (exp_scale::<T>() * overshoot);
    if others >= SMALL && overshoot < MOST_OVERSHOOT {
        return Read { max: [max], others: [others], overshoot };
    }
    // Those that are exactly 1 are counted, and one of them is left out.
    let is_maximum = |term: f64| term == exp_scale::<T>();
    let (mut sum, mut maxima) = (Sum::default(), -1.0);
    for (piece, x) in x.chunks(PIECE).enumerate() {
        let out = &mut out[start_of(piece)..][..x.len()];
        if max != guess[0] || !is_whole {
            exponentials::<T, M, 1>(Some(x), &[max], out);
        }
        sum.add_sum(sum_of(out, |term| if is_maximum(term) { 0.0 } else { term }));
        maxima += sum_of(out, |term| if is_maximum(term) { 1.0 } else { 0.0 }).total();
    }
    Read { max: [max], others: [maxima + sum.total() / exp_scale::<T>()], overshoot: 1.0 }
}
