//! Softmax and its relatives, line by line, with all their digits.
//!
//! For a line x with maximum m, let e = exp(x - m) and
//!
//! ```text
//! others      = sum of e over all elements but one maximum
//! softmax     = e / (1 + others)
//! log_softmax = (x - m) - log1p(others)
//! logsumexp   = m + log1p(others)
//! ```
//!
//! Three things keep the digits. The shift makes overflow impossible (that by a first guess of m, in
//! [`exponentiate_line`], where the guess is good enough). The maximum, whose term is exactly
//! 1, is left out of the sum, so that `log1p` sees the small sum itself and not what is left of it after
//! an addition to 1: a confident prediction has a small loss, not 0. And nothing of x - m is lost: what
//! the subtraction rounds away is computed exactly and fed into the exponential; for a large margin it is
//! as large as the loss is accurate.
//!
//! Exponentials have the precision of the elements, and wait multiplied by [`unit`]; sums and logarithms have
//! the precision of `f64`, or about twice that for `f64` itself.
//!
//! Reference: P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and softmax
//! functions, IMA Journal of Numerical Analysis 41 (2021).
//!
//! All lines lie one after the other, `size` elements each. Lines of a few elements are processed many at
//! a time ([`super::short_lines`]), long ones in pieces that stay in the fastest cache.

use super::short_lines::{LANES, Room, ShortLines, are_short, write_lines};
use crate::float::{Float, is_double};
use crate::kernels::compensated::{Sum, sum_of, sum_over, two_sum};
use crate::kernels::functions::f32_arithmetic::{self, Shift, is_moderate};
use crate::kernels::functions::{exp, exponential, log1p, log1p_of_positive, unit};
use crate::kernels::parallel;
use crate::kernels::reduce::position;
use crate::kernels::simd::{MulAdd, dispatched};

/// What the formulas above need of a line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Line<T> {
    /// The maximum m of what is not nan; -inf for an empty line.
    pub max: T,
    /// The sum of exp(x - m) over all elements but one maximum; nan if there is a nan, or if the maximum
    /// is not finite.
    pub others: f64,
}

/// How many exponentials are computed at once: so many that what happens once a block does not count, and so few
/// that they stay in the fastest cache.
const BLOCK: usize = 1024;

/// x - m in `f64`, and what its rounding left out.
#[inline(always)]
pub(crate) fn shifted<T: Float>(x: T, max: T) -> (f64, f64) {
    let (x, max) = (x.to_f64(), max.to_f64());
    if !is_double::<T>() {
        return (x - max, 0.0);
    }
    let (difference, error) = two_sum(x, -max);
    (difference, if difference.abs() < f64::INFINITY { error } else { 0.0 })
}

/// `out = f(x)`; without an `x`, of what `out` holds.
#[inline(always)]
fn map_or_in_place<T: Copy>(x: Option<&[T]>, out: &mut [T], f: impl Fn(T) -> T) {
    match x {
        Some(x) => out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x)),
        None => out.iter_mut().for_each(|x| *x = f(*x)),
    }
}

/// `out = exp(x - max)` in [`unit`]s; without an `x`, of what `out` holds.
#[inline(always)]
fn exponentials<T: Float, M: MulAdd>(x: Option<&[T]>, max: T, out: &mut [T]) {
    if is_moderate(max) {
        let shift = Shift::by(max);
        map_or_in_place(x, out, |x| f32_arithmetic::exponential::<T, M>(x, shift));
    } else {
        map_or_in_place(x, out, |x| exponential::<T, M>(x, max));
    }
}

/// The sum of exponentials, in [`unit`]s.
#[inline(always)]
fn sum_all<T: Float>(exponentials: &[T]) -> Sum {
    sum_of(exponentials, |exponential| exponential)
}

/// The sum of the exponentials that are not 1, and how many are.
#[inline(always)]
fn sum_but_maxima<T: Float>(exponentials: &[T]) -> (Sum, f64) {
    let sum = sum_of(exponentials, |term| if term == unit::<T>() { 0.0 } else { term });
    let maxima = sum_of(exponentials, |term| if term == unit::<T>() { 1.0 } else { 0.0 });
    (sum, maxima.total())
}

/// Below this, the sum of the others has lost digits to the 1 of the maximum, and is taken again without it.
const SMALL: f64 = 1.0 / 4096.0;

/// Exponentials fewer times too large than this still have their exponents. Larger ones are no numbers of use, and
/// not infinite either; so their excess is not seen in them, but computed apart.
const MOST_EXCESS: f64 = 1e9;

/// The greater of two numbers; a nan is greater than none.
#[inline(always)]
pub(crate) fn greater<T: Float>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// The maximum of what is not nan; -inf of nothing.
#[inline(always)]
pub(crate) fn maximum<T: Float>(x: &[T]) -> T {
    const LANES: usize = 32; // more than in sums: a maximum takes less time
    let mut lanes = [T::neg_infinity(); LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(T::neg_infinity(), |max, &x| greater(max, x));
    if x.len() < LANES {
        return rest;
    }
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, x);
        }
    }
    lanes.iter().fold(rest, |max, &x| greater(max, x))
}

/// Reads one line: what is to be known of it, `out = excess exp(x - m)` in [`unit`]s, and the excess. The
/// exponentials stay in the cache for whoever needs them next. An `out` of one block, shorter than the line, holds
/// one block after the other, at the end the last.
///
/// Looking for the maximum m first would take as long as fetching the line from memory. So exponentials are
/// shifted by a guess, the maximum of the first block. Once m is known, so is how many times too large they are:
/// exp(m - guess). Where that is too much, or the others are so few that they lost digits, the line is read again.
#[inline(always)]
pub(crate) fn exponentiate_line<T: Float, M: MulAdd>(x: &[T], out: &mut [T]) -> (Line<T>, f64) {
    let is_whole = out.len() == x.len();
    let start_of = |block: usize| if is_whole { block * BLOCK } else { 0 };
    let of_first_block = maximum(&x[..x.len().min(BLOCK)]);
    let is_guess = is_moderate(of_first_block);
    let guess = if is_guess { of_first_block } else { maximum(x) };
    let (mut max, mut sum) = (guess, Sum::default());
    for (block, x) in x.chunks(BLOCK).enumerate() {
        let out = &mut out[start_of(block)..][..x.len()];
        exponentials::<T, M>(Some(x), guess, out);
        sum.add_sum(sum_all(out));
        if is_guess && block > 0 {
            max = greater(max, maximum(x));
        }
    }
    let (mut of_maximum, mut excess) = (unit::<T>(), 1.0);
    if max != guess {
        of_maximum *= one_exponential::<T, M>(max, guess);
        excess = exp::<f64, M>(max.to_f64() - guess.to_f64(), 0.0);
    }
    let others = sum.without(of_maximum) / (unit::<T>() * excess);
    if others >= SMALL && excess < MOST_EXCESS {
        return (Line { max, others }, excess);
    }
    let mut apart = Others::of_nothing();
    for (block, x) in x.chunks(BLOCK).enumerate() {
        let out = &mut out[start_of(block)..][..x.len()];
        if max != guess || !is_whole {
            exponentials::<T, M>(Some(x), max, out);
        }
        apart.add(out);
    }
    (Line { max, others: apart.total::<T>() }, 1.0)
}

/// The sum of a line's exponentials without one maximum, from the sums of its pieces without their maxima and
/// the number of these.
struct Others {
    sum: Sum,
    maxima: f64,
}

impl Others {
    /// Before any piece; one of the maxima will not count.
    #[inline(always)]
    fn of_nothing() -> Others {
        Others { sum: Sum::default(), maxima: -1.0 }
    }

    #[inline(always)]
    fn add<T: Float>(&mut self, exponentials: &[T]) {
        let (sum, maxima) = sum_but_maxima(exponentials);
        self.sum.add_sum(sum);
        self.maxima += maxima;
    }

    #[inline(always)]
    fn total<T: Float>(&self) -> f64 {
        self.maxima + self.sum.total() / unit::<T>()
    }
}

/// The lines of `out` in pieces that stay in a cache, as (line, offset in the line, piece). This is an iterator
/// because a long closure would not be inlined, and so not be compiled for the chosen instructions.
#[inline(always)]
pub(crate) fn pieces<T>(size: usize, out: &mut [T]) -> impl Iterator<Item = (usize, usize, &mut [T])> {
    out.chunks_exact_mut(size).enumerate().flat_map(|(line, out)| {
        out.chunks_mut(BLOCK).enumerate().map(move |(piece, out)| (line, piece * BLOCK, out))
    })
}

/// `out = exp(x - m)` in [`unit`]s for the piece of x that begins at `start`, or for what `out` holds if there
/// is no x.
#[inline(always)]
pub(crate) fn exponentials_of_piece<T: Float, M: MulAdd>(
    x: Option<&[T]>,
    start: usize,
    max: T,
    out: &mut [T],
) {
    exponentials::<T, M>(x.map(|x| &x[start..][..out.len()]), max, out);
}

dispatched! {
    /// Reads lines.
    pub(crate) fn read_some_lines<'a, T, M>(x: &'a [T], size: usize, lines: &'a mut [Line<T>]) {
        if are_short(size, lines.len()) {
            let mut room = Room::new();
            let mut block = ShortLines::new(size, &mut room);
            for (x, lines) in x.chunks(LANES * size).zip(lines.chunks_mut(LANES)) {
                block.load(x);
                let (maxima, others) = block.read::<M>();
                write_lines((&maxima, &others), lines);
            }
            return;
        }
        let mut buffer = [T::zero(); BLOCK];
        for (x, line) in x.chunks_exact(size).zip(lines) {
            let out = &mut buffer[..x.len().min(BLOCK)];
            (*line, _) = exponentiate_line::<T, M>(x, out);
        }
    }

    /// `out[i] = ln(1 + others)` of line i.
    pub(crate) fn log_denominators<'a, T, M>(lines: &'a [Line<T>], out: &'a mut [f64]) {
        for (out, line) in out.iter_mut().zip(lines) {
            *out = line.others;
        }
        for out in out.iter_mut() {
            *out = log1p::<T, M>(*out);
        }
    }

    /// `out = exp(x - m) / (1 + others)`
    fn softmax_some_lines<'a, T, M>(x: &'a [T], size: usize, out: &'a mut [T]) {
        if are_short(size, x.len() / size) {
            let mut room = Room::new();
            let mut block = ShortLines::new(size, &mut room);
            for (x, out) in x.chunks(LANES * size).zip(out.chunks_mut(LANES * size)) {
                block.load(x);
                block.softmax::<M>();
                block.store(out);
            }
            return;
        }
        for (x, out) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
            let (line, excess) = exponentiate_line::<T, M>(x, out);
            scale_exponentials::<T, M>(out, 1.0 / (1.0 + line.others) / excess);
        }
    }

    /// `out = (x - m) - log1p(others)`
    fn log_softmax_some_lines<'a, T, M>(x: &'a [T], size: usize, out: &'a mut [T]) {
        if are_short(size, x.len() / size) {
            let mut room = Room::new();
            let mut block = ShortLines::new(size, &mut room);
            for (x, out) in x.chunks(LANES * size).zip(out.chunks_mut(LANES * size)) {
                block.load(x);
                let (maxima, logs) = block.read_logarithms::<M>();
                block.load(x);
                block.subtract(&maxima, &logs);
                block.store(out);
            }
            return;
        }
        for (x, out) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
            // Nobody wants the exponentials. But writing them brings `out` into the cache, while there is something
            // to compute.
            let (line, _) = exponentiate_line::<T, M>(x, out);
            log_softmax_line(x, line.max, log1p_of_positive::<T, M>(line.others), out);
        }
    }

    /// `out = g - p sum(g)`, with p the probabilities of x. Where one probability k is near 1, that is the
    /// difference of nearly equal numbers; with R the sum of all g but g[k], it is also
    /// (g[k] others - R)/(1 + others), which has its digits.
    fn log_softmax_gradient_of_some_lines<'a, T, M>(
        x: &'a [T],
        gradient: &'a [T],
        size: usize,
        out: &'a mut [T],
    ) {
        if are_short(size, x.len() / size) {
            let (mut room, mut room_of_gradient) = (Room::new(), Room::new());
            let mut block = ShortLines::new(size, &mut room);
            let mut gradients = ShortLines::new(size, &mut room_of_gradient);
            let inputs = x.chunks(LANES * size).zip(gradient.chunks(LANES * size));
            for ((x, gradient), out) in inputs.zip(out.chunks_mut(LANES * size)) {
                block.load(x);
                gradients.load(gradient);
                let (_, others) = block.read::<M>();
                block.log_softmax_gradient(&others, &gradients);
                block.store(out);
            }
            return;
        }
        let inputs = x.chunks_exact(size).zip(gradient.chunks_exact(size));
        for ((x, g), out) in inputs.zip(out.chunks_exact_mut(size)) {
            let (Line { max, others }, excess) = exponentiate_line::<T, M>(x, out);
            let likeliest = position(x, |x| x == max);
            let (before, after) = likeliest.map_or((g, &g[..0]), |k| (&g[..k], &g[k + 1..]));
            let mut sum = sum_of(before, |g| g);
            sum.add_sum(sum_of(after, |g| g));
            let rest = sum.total();
            sum.add(likeliest.map_or(0.0, |k| g[k].to_f64()));
            let total = sum.total() / (1.0 + others) / (unit::<T>() * excess);
            for (out, &g) in out.iter_mut().zip(g) {
                *out = T::from_f64(g.to_f64() - out.to_f64() * total);
            }
            if let Some(k) = likeliest {
                out[k] = T::from_f64((g[k].to_f64() * others - rest) / (1.0 + others));
            }
        }
    }

    /// `out = p (g - sum(p g))`. Where one probability k is near 1, g[k] and the sum nearly cancel;
    /// since a constant in g changes nothing, g[k] is taken from all of g first, and what is left has
    /// its digits.
    fn softmax_gradient_of_some_lines<'a, T, M>(p: &'a [T], gradient: &'a [T], size: usize, out: &'a mut [T]) {
        if are_short(size, p.len() / size) {
            let (mut room, mut room_of_gradient) = (Room::new(), Room::new());
            let mut block = ShortLines::new(size, &mut room);
            let mut gradients = ShortLines::new(size, &mut room_of_gradient);
            let inputs = p.chunks(LANES * size).zip(gradient.chunks(LANES * size));
            for ((p, gradient), out) in inputs.zip(out.chunks_mut(LANES * size)) {
                block.load(p);
                gradients.load(gradient);
                block.softmax_gradient(&gradients);
                block.store(out);
            }
            return;
        }
        let inputs = p.chunks_exact(size).zip(gradient.chunks_exact(size));
        for ((p, g), out) in inputs.zip(out.chunks_exact_mut(size)) {
            let greatest = maximum(p);
            let reference = g[position(p, |p| p == greatest).unwrap_or(0)].to_f64();
            let mean = sum_over([p, g], |[p, g]| p * (g - reference)).total();
            for (out, (&p, &g)) in out.iter_mut().zip(p.iter().zip(g)) {
                *out = T::from_f64(p.to_f64() * ((g.to_f64() - reference) - mean));
            }
        }
    }
}

/// `out = (x - max) - log_denominator`
#[inline(always)]
fn log_softmax_line<T: Float>(x: &[T], max: T, log_denominator: f64, out: &mut [T]) {
    if is_double::<T>() {
        for (&x, out) in x.iter().zip(out) {
            *out = log_probability(x, max, log_denominator);
        }
        return;
    }
    let (high, low) = two_parts(max, log_denominator);
    for (&x, out) in x.iter().zip(out) {
        *out = (x - high) - low;
    }
}

/// (x - max) - log_denominator, for `f64`.
#[inline(always)]
pub(crate) fn log_probability<T: Float>(x: T, max: T, log_denominator: f64) -> T {
    let (difference, low) = shifted(x, max);
    T::from_f64((difference - log_denominator) + low)
}

/// max + log_denominator as the nearest number and what is left, for `f32`. The difference of an x and the first
/// is exact where it is small.
#[inline(always)]
pub(crate) fn two_parts<T: Float>(max: T, log_denominator: f64) -> (T, T) {
    let max = max.to_f64();
    let high = T::from_f64(max + log_denominator);
    (high, T::from_f64((max - high.to_f64()) + log_denominator))
}

/// `out = out factor`, where `out` is in [`unit`]s, with one rounding.
#[inline(always)]
pub(crate) fn scale_exponentials<T: Float, M: MulAdd>(out: &mut [T], factor: f64) {
    let (high, low) = parts_of_factor::<T>(factor);
    if !has_digits(high) {
        return out.iter_mut().for_each(|out| *out = scaled_exponential(*out, factor));
    }
    for out in out {
        *out = M::mul_add(*out, high, *out * low);
    }
}

/// `out = exp(x - max) factor`, with one rounding of the product; without an `x`, of what `out` holds.
#[inline(always)]
pub(crate) fn scaled_exponentials<T: Float, M: MulAdd>(x: Option<&[T]>, max: T, factor: f64, out: &mut [T]) {
    let (high, low) = parts_of_factor::<T>(factor);
    if !is_moderate(max) || !has_digits(high) {
        exponentials::<T, M>(x, max, out);
        return scale_exponentials::<T, M>(out, factor);
    }
    let shift = Shift::by(max);
    map_or_in_place(x, out, |x| {
        let exponential = f32_arithmetic::exponential::<T, M>(x, shift);
        M::mul_add(exponential, high, exponential * low)
    });
}

/// exp(x - max), rounded like the exponentials of a line.
#[inline(always)]
pub(crate) fn one_exponential<T: Float, M: MulAdd>(x: T, max: T) -> f64 {
    let mut exponential = [x];
    exponentials::<T, M>(None, max, &mut exponential);
    exponential[0].to_f64() / unit::<T>()
}

/// A factor for exponentials in [`unit`]s: rounded, and what the rounding left out.
#[inline(always)]
pub(crate) fn parts_of_factor<T: Float>(factor: f64) -> (T, T) {
    let in_one = factor / unit::<T>();
    let high = T::from_f64(in_one);
    (high, if high.is_finite() { T::from_f64(in_one - high.to_f64()) } else { T::zero() })
}

/// Whether a factor is so large that what its rounding left out is a normal number too: a tiny factor would lose
/// its digits.
#[inline(always)]
pub(crate) fn has_digits<T: Float>(factor: T) -> bool {
    factor.abs() >= T::min_positive_value() / T::epsilon()
}

/// One exponential in [`unit`]s times a factor. Each takes half of the unit's powers of two back, so that
/// neither loses digits.
#[inline(always)]
pub(crate) fn scaled_exponential<T: Float>(exponential: T, factor: f64) -> T {
    let half = if is_double::<T>() { 2f64.powi(-256) } else { 2f64.powi(-32) };
    T::from_f64((exponential.to_f64() * half) * (factor * half))
}

/// Reads all lines.
pub(crate) fn read_lines<T: Float>(x: &[T], size: usize, lines: &mut [Line<T>]) {
    if size == 0 {
        return lines.fill(Line { max: T::neg_infinity(), others: 0.0 });
    }
    let together = parallel::lines_in_chunk(size);
    parallel::for_each_chunk(lines, together, |index, lines| {
        let x = &x[index * together * size..][..lines.len() * size];
        read_some_lines(x, size, lines);
    });
}

/// `out[i] = log(sum(exp(x)))` of line i.
pub(crate) fn logsumexp_lines<T: Float>(x: &[T], size: usize, out: &mut [T]) {
    let mut lines = vec![Line::default(); out.len()];
    let mut logs = vec![0.0; out.len()];
    read_lines(x, size, &mut lines);
    log_denominators(&lines, &mut logs);
    for (i, (out, (line, log))) in out.iter_mut().zip(lines.iter().zip(logs)).enumerate() {
        let of_finite = T::from_f64(line.max.to_f64() + log);
        // An infinite maximum is the result, although nothing can be said of the others.
        let is_result = || line.max.is_infinite() && !x[i * size..][..size].iter().any(|x| x.is_nan());
        *out = if is_result() { line.max } else { of_finite };
    }
}

/// The probabilities of all lines.
pub(crate) fn softmax_lines<T: Float>(x: &[T], size: usize, out: &mut [T]) {
    for_each_chunk_of_lines(x, size, out, |x, out| {
        softmax_some_lines(x, size, out);
    });
}

/// The logarithms of the probabilities of all lines.
pub(crate) fn log_softmax_lines<T: Float>(x: &[T], size: usize, out: &mut [T]) {
    for_each_chunk_of_lines(x, size, out, |x, out| {
        log_softmax_some_lines(x, size, out);
    });
}

/// The gradient of x from that of its log-probabilities.
pub(crate) fn log_softmax_gradient_lines<T: Float>(x: &[T], gradient: &[T], size: usize, out: &mut [T]) {
    let chunk = parallel::lines_in_chunk(size) * size.max(1);
    parallel::for_each_chunk(out, chunk, |index, out| {
        let range = index * chunk..index * chunk + out.len();
        log_softmax_gradient_of_some_lines(&x[range.clone()], &gradient[range], size, out);
    });
}

/// The gradient of x from that of its probabilities p.
pub(crate) fn softmax_gradient_lines<T: Float>(p: &[T], gradient: &[T], size: usize, out: &mut [T]) {
    let chunk = parallel::lines_in_chunk(size) * size.max(1);
    parallel::for_each_chunk(out, chunk, |index, out| {
        let range = index * chunk..index * chunk + out.len();
        softmax_gradient_of_some_lines(&p[range.clone()], &gradient[range], size, out);
    });
}

fn for_each_chunk_of_lines<T: Float>(x: &[T], size: usize, out: &mut [T], f: impl Fn(&[T], &mut [T]) + Sync) {
    let chunk = parallel::lines_in_chunk(size) * size.max(1);
    parallel::for_each_chunk(out, chunk, |index, out| f(&x[index * chunk..][..out.len()], out));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logsumexp(x: &[f64]) -> f64 {
        let mut out = [0.0];
        logsumexp_lines(x, x.len(), &mut out);
        out[0]
    }

    fn softmax(x: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; x.len()];
        softmax_lines(x, x.len(), &mut out);
        out
    }

    #[test]
    fn a_confident_prediction_has_a_small_loss_and_not_none() {
        let mut out = [0.0f32; 3];
        log_softmax_lines(&[50.0f32, 0.0, 0.0], 3, &mut out);
        assert_eq!(out[0], -(2.0 * (-50.0f64).exp()) as f32);
    }

    #[test]
    fn infinities_follow_pytorch() {
        let inf = f64::INFINITY;
        assert_eq!(logsumexp(&[-inf, -inf]), -inf);
        assert_eq!(logsumexp(&[1.0, inf]), inf);
        assert_eq!(logsumexp(&[]), -inf);
        assert!(softmax(&[-inf, -inf])[0].is_nan());
        assert!(softmax(&[1.0, inf])[0].is_nan());
        assert!(logsumexp(&[1.0, f64::NAN, 2.0]).is_nan());
        assert_eq!(softmax(&[1.0, -inf]), [1.0, 0.0]);
    }

    #[test]
    fn several_equal_maxima_leave_out_one_of_them() {
        assert_eq!(softmax(&[2.0; 4]), [0.25; 4]);
        let long = softmax(&vec![-3.0; 4096]);
        assert!(long.iter().all(|&p| p == 1.0 / 4096.0));
    }

    #[test]
    fn lines_of_every_length_give_what_the_formula_says() {
        for (size, count) in
            (1..40).chain([127, 128, 129, 511, 512, 513, 1500]).flat_map(|size| [(size, 3), (size, 45)])
        {
            let x: Vec<f64> = (0..count * size).map(|i| ((i * 7919) % 101) as f64 * 0.07).collect();
            let mut out = vec![0.0; x.len()];
            softmax_lines(&x, size, &mut out);
            for (x, out) in x.chunks(size).zip(out.chunks(size)) {
                let total: f64 = x.iter().map(|x| x.exp()).sum();
                for (x, out) in x.iter().zip(out) {
                    assert!((out - x.exp() / total).abs() < 1e-14 * out, "{count} lines of {size}");
                }
            }
        }
    }

    /// Short lines are processed many at a time; none of them sees the others.
    fn is_the_same_alone_and_among_many<T: Float>() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for size in [1, 2, 3, 5, 10, 16, 17, 100] {
            let usual: Vec<f64> = (0..size).map(|i| ((i * 7919) % 101) as f64 * 0.07 - 3.0).collect();
            let kinds: [&dyn Fn(usize) -> f64; 12] = [
                &|_| -inf,
                &|_| inf,
                &|_| nan,
                &|_| 0.7,
                &|i| if i == size / 2 { 50.0 } else { 0.0 },
                &|i| if i == size / 2 { 1e30 } else { -1e30 },
                &|i| if i == size / 2 { inf } else { i as f64 },
                &|i| if i == size / 2 { -inf } else { i as f64 },
                &|i| if i == size / 2 { nan } else { i as f64 },
                &|i| 5000.0 + 0.125 * i as f64,
                &|i| -90.0 * i as f64,
                &|i| 1e-40 * i as f64,
            ];
            let mut x = Vec::new();
            for kind in kinds {
                x.extend((0..3 * size).map(|i| T::from_f64(usual[i % size])));
                x.extend((0..size).map(|i| T::from_f64(kind(i))));
            }
            for function in [softmax_lines, log_softmax_lines] {
                let mut together = vec![T::zero(); x.len()];
                function(&x, size, &mut together);
                for (line, (x, together)) in x.chunks(size).zip(together.chunks(size)).enumerate() {
                    let mut alone = vec![T::zero(); size];
                    function(x, size, &mut alone);
                    for (&alone, &together) in alone.iter().zip(together) {
                        let difference = (alone - together).abs().to_f64();
                        let limit = 2.0 * T::epsilon().to_f64() * alone.abs().to_f64();
                        let is_same = alone == together || alone.is_nan() && together.is_nan();
                        assert!(is_same || difference <= limit, "line {line} of {size}: {alone} {together}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_line_is_the_same_alone_and_among_many() {
        is_the_same_alone_and_among_many::<f32>();
        is_the_same_alone_and_among_many::<f64>();
    }

    /// Lines of several blocks in f32, whose maximum is not the one that was guessed, beside the same numbers in
    /// f64, where nothing is guessed.
    #[test]
    fn a_maximum_after_the_first_block_is_as_good_as_one_in_it() {
        let ulps = |found: f32, exact: f64| {
            let spacing =
                f64::from(exact.abs() as f32).max(f64::from(f32::MIN_POSITIVE)).log2().floor() - 23.0;
            (f64::from(found) - exact).abs() / spacing.exp2()
        };
        for distance in [0.0f32, 0.01, 1.0, 3.7, 10.0, 13.9, 14.6, 20.5, 43.7, 44.4, 88.0, 4000.0, 1e30] {
            for (place, offset) in [(1024, 0.0f32), (3_000, -70.3), (5_000, 4094.0)] {
                let mut x: Vec<f32> =
                    (0..5_001).map(|i| offset - ((i * 7919) % 1000) as f32 * 0.01).collect();
                x[place] = offset + distance;
                let double: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                let (mut p, mut exact) = (vec![0.0f32; 5_001], vec![0.0f64; 5_001]);
                softmax_lines(&x, x.len(), &mut p);
                softmax_lines(&double, x.len(), &mut exact);
                let worst = p.iter().zip(&exact).map(|(&p, &exact)| ulps(p, exact)).fold(0.0, f64::max);
                assert!(worst < 1.7, "softmax at a distance of {distance}, {place}: {worst} ulp");
                let (mut log_p, mut exact) = (vec![0.0f32; 5_001], vec![0.0f64; 5_001]);
                log_softmax_lines(&x, x.len(), &mut log_p);
                log_softmax_lines(&double, x.len(), &mut exact);
                let worst = log_p.iter().zip(&exact).map(|(&p, &exact)| ulps(p, exact)).fold(0.0, f64::max);
                assert!(worst < 1.0, "log_softmax at a distance of {distance}, {place}: {worst} ulp");
            }
        }
    }

    #[test]
    fn what_comes_after_the_first_block_may_be_infinite_or_nan() {
        let line = |first: f32, place: usize, late: f32| {
            let mut x = vec![first; 2_100];
            x[place] = late;
            let mut p = vec![0.0; x.len()];
            softmax_lines(&x, x.len(), &mut p);
            let mut lse = [0.0];
            logsumexp_lines(&x, x.len(), &mut lse);
            (p, lse[0])
        };
        let inf = f32::INFINITY;
        let (p, lse) = line(-inf, 2_000, 5.0);
        assert!(p.iter().enumerate().all(|(i, &p)| p == if i == 2_000 { 1.0 } else { 0.0 }) && lse == 5.0);
        let (p, lse) = line(5.0, 1_024, -inf);
        assert!(p[1_024] == 0.0 && p.iter().filter(|&&p| p == 1.0 / 2_099.0).count() == 2_099);
        assert_eq!(lse, (5.0 + 2_099f64.ln()) as f32);
        for first in [0.0, -inf] {
            let (p, lse) = line(first, 1_500, inf);
            assert!(p[1_500].is_nan() && lse == inf);
            let (p, lse) = line(first, 1_500, f32::NAN);
            assert!(p.iter().all(|p| p.is_nan()) && lse.is_nan());
        }
    }
}
