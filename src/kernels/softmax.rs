//! Softmax and its relatives, line by line, with all their digits.
//!
//! For a line x with maximum m, let d = x - m and
//!
//! ```text
//! others      = sum of exp(d) over all elements but one maximum
//! softmax     = exp(d) / (1 + others)
//! log_softmax = d - log1p(others)
//! logsumexp   = m + log1p(others)
//! ```
//!
//! Three things keep the digits. The shift makes overflow impossible. The maximum, whose term is exactly
//! 1, is left out of the sum, so that `log1p` sees the small sum itself and not what is left of it after
//! an addition to 1: a confident prediction has a small loss, not 0. And nothing of x - m is lost: for
//! `f32` the difference is taken in `f64`, for `f64` what the subtraction rounds away is computed exactly
//! and fed into the exponential (`low` in the code); for a large margin it is as large as the loss is
//! accurate.
//!
//! Reference: P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and softmax
//! functions, IMA Journal of Numerical Analysis 41 (2021).
//!
//! All lines lie one after the other, `size` elements each. Short lines are processed several at a time,
//! long ones in pieces, so that exponentials are always computed many at once.

use super::exact::two_sum;
use super::functions::{exp, exp_scaled_up, is_double, log1p};
use super::parallel;
use super::simd::{MulAdd, dispatched};
use crate::float::Float;

/// What the formulas above need of a line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Line<T> {
    /// The maximum m; nan if there is a nan, -inf for an empty line.
    pub max: T,
    /// The sum of exp(x - m) over all elements but one maximum; nan if the maximum is not finite.
    pub others: f64,
}

/// How many exponentials are computed at once, into a buffer that stays in the fastest cache.
pub(super) const BLOCK: usize = 256;

/// How many lines of a size fill a block; 0 for lines that are longer than that.
#[inline(always)]
pub(super) fn lines_in_block(size: usize) -> usize {
    BLOCK / size
}

/// x - m, and what its rounding left out.
#[inline(always)]
pub(super) fn shifted<T: Float>(x: T, max: T) -> (f64, f64) {
    shifted_in_f64::<T>(x.to_f64(), max.to_f64())
}

/// The same for elements of type `T` that were converted before.
#[inline(always)]
fn shifted_in_f64<T: Float>(x: f64, max: f64) -> (f64, f64) {
    if !is_double::<T>() {
        return (x - max, 0.0);
    }
    let (difference, error) = two_sum(x, -max);
    (difference, if difference.abs() < f64::INFINITY { error } else { 0.0 })
}

/// exp(x - m) for every element of several lines of one size, or of a piece of one line.
#[inline(always)]
pub(super) fn exponentials<T: Float, M: MulAdd>(
    x: &[T],
    size: usize,
    lines: &[Line<T>],
    out: &mut [f64; BLOCK],
) {
    let mut errors = [0.0; BLOCK];
    for ((x, out), (errors, line)) in
        x.chunks_exact(size).zip(out.chunks_exact_mut(size)).zip(errors.chunks_exact_mut(size).zip(lines))
    {
        for ((&x, out), low) in x.iter().zip(out).zip(errors) {
            (*out, *low) = shifted(x, line.max);
        }
    }
    for (out, &low) in out[..x.len()].iter_mut().zip(&errors) {
        *out = exp::<T, M>(*out, if is_double::<T>() { low } else { 0.0 });
    }
}

/// A sum of exponentials in which those that are exactly 1 are counted instead: the maximum is one of
/// them, and the one that is left out.
struct OthersSum {
    sums: [f64; OthersSum::LANES],
    errors: [f64; OthersSum::LANES],
    ones: [f64; OthersSum::LANES],
}

impl OthersSum {
    const LANES: usize = 8;

    #[inline(always)]
    fn new() -> Self {
        OthersSum { sums: [0.0; 8], errors: [0.0; 8], ones: [0.0; 8] }
    }

    #[inline(always)]
    fn add<T: Float>(&mut self, lane: usize, exponential: f64) {
        let is_one = exponential == 1.0;
        self.ones[lane] += if is_one { 1.0 } else { 0.0 };
        let term = if is_one { 0.0 } else { exponential };
        if is_double::<T>() {
            let (sum, error) = two_sum(self.sums[lane], term);
            self.sums[lane] = sum;
            self.errors[lane] += error;
        } else {
            self.sums[lane] += term;
        }
    }

    #[inline(always)]
    fn add_all<T: Float>(&mut self, exponentials: &[f64]) {
        let chunks = exponentials.chunks_exact(Self::LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (lane, &exponential) in chunk.iter().enumerate() {
                self.add::<T>(lane, exponential);
            }
        }
        for (lane, &exponential) in rest.iter().enumerate() {
            self.add::<T>(lane, exponential);
        }
    }

    /// The sum without one maximum.
    #[inline(always)]
    fn finish(self) -> f64 {
        let ones: f64 = self.ones.iter().sum();
        let mut total = (ones - 1.0, 0.0);
        for (&sum, &error) in self.sums.iter().zip(&self.errors) {
            let (next, rounding) = two_sum(total.0, sum);
            total = (next, total.1 + (rounding + error));
        }
        total.0 + total.1
    }
}

/// The maximum of a line, nan if there is a nan, -inf of nothing.
#[inline(always)]
fn maximum<T: Float>(x: &[T]) -> T {
    const LANES: usize = 16;
    let greater = |a: T, b: T| if b > a || b.is_nan() { b } else { a };
    let mut lanes = [T::neg_infinity(); LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    if x.len() >= LANES {
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = greater(*lane, x);
            }
        }
        return rest.iter().chain(&lanes).fold(T::neg_infinity(), |max, &x| greater(max, x));
    }
    rest.iter().fold(T::neg_infinity(), |max, &x| greater(max, x))
}

/// The sum of a whole line. A line with few elements is added up in one lane: bringing the lanes
/// together would be most of the work, and the processor works on several lines at once anyway.
#[inline(always)]
fn others_of<T: Float>(exponentials: &[f64]) -> f64 {
    let mut sum = OthersSum::new();
    if exponentials.len() >= 8 * OthersSum::LANES {
        sum.add_all::<T>(exponentials);
        return sum.finish();
    }
    for &exponential in exponentials {
        sum.add::<T>(0, exponential);
    }
    (sum.ones[0] - 1.0) + (sum.sums[0] + sum.errors[0])
}

/// Writes the elements of all lines from their exponentials, which are computed from `x`, or from `out`
/// itself if there is no `x`. `f(i, exponentials, out)` gets line i, or one piece of it after the other.
#[inline(always)]
pub(super) fn map_exponentials<T: Float, M: MulAdd>(
    x: Option<&[T]>,
    size: usize,
    lines: &[Line<T>],
    out: &mut [T],
    mut f: impl FnMut(usize, usize, &[f64], &mut [T]),
) {
    let mut buffer = [0.0; BLOCK];
    let together = lines_in_block(size);
    if together > 0 {
        for (block, (lines, out)) in lines.chunks(together).zip(out.chunks_mut(together * size)).enumerate() {
            let start = block * together;
            let x = x.map_or(&*out, |x| &x[start * size..start * size + out.len()]);
            exponentials::<T, M>(x, size, lines, &mut buffer);
            let parts = buffer.chunks_exact(size).zip(out.chunks_exact_mut(size)).enumerate();
            parts.for_each(|(i, (exponentials, out))| f(start + i, 0, exponentials, out));
        }
        return;
    }
    for (i, (line, out)) in lines.iter().zip(out.chunks_exact_mut(size)).enumerate() {
        for (piece, out) in out.chunks_mut(BLOCK).enumerate() {
            let start = i * size + piece * BLOCK;
            let x = x.map_or(&*out, |x| &x[start..start + out.len()]);
            exponentials::<T, M>(x, x.len(), std::slice::from_ref(line), &mut buffer);
            f(i, piece * BLOCK, &buffer[..out.len()], out);
        }
    }
}

/// Lines of at most this many elements are turned on their side: element c of all lines of a block, then
/// element c + 1 of all, so that maxima, sums and scales are taken for many lines at once.
pub(super) const SHORT: usize = 16;

/// A block of short lines on their side: the exponential of element c of line i at `c * count + i`.
pub(super) struct ShortLines {
    pub exponentials: [f64; BLOCK],
    lows: [f64; BLOCK],
    maxima: [f64; BLOCK],
}

impl ShortLines {
    #[inline(always)]
    pub fn new() -> Self {
        ShortLines { exponentials: [0.0; BLOCK], lows: [0.0; BLOCK], maxima: [0.0; BLOCK] }
    }

    /// Takes in lines of `size` elements.
    #[inline(always)]
    fn load<T: Float>(&mut self, x: &[T], size: usize) {
        let count = x.len() / size;
        for (c, on_side) in self.exponentials.chunks_exact_mut(count).take(size).enumerate() {
            let mut place = c;
            for out in on_side {
                *out = x[place].to_f64();
                place += size;
            }
        }
    }

    /// Exponentiates what was loaded, shifted by the maxima.
    #[inline(always)]
    fn exponentiate<T: Float, M: MulAdd>(&mut self, size: usize, count: usize) {
        let lows = self.lows.chunks_exact_mut(count);
        for (on_side, lows) in self.exponentials.chunks_exact_mut(count).zip(lows).take(size) {
            for ((x, low), &max) in on_side.iter_mut().zip(lows).zip(&self.maxima) {
                (*x, *low) = shifted_in_f64::<T>(*x, max);
            }
        }
        for (x, &low) in self.exponentials[..size * count].iter_mut().zip(&self.lows) {
            *x = exp::<T, M>(*x, if is_double::<T>() { low } else { 0.0 });
        }
    }

    /// The exponentials of lines that were read.
    #[inline(always)]
    pub fn of_lines<T: Float, M: MulAdd>(&mut self, x: &[T], size: usize, lines: &[Line<T>]) {
        self.load(x, size);
        for (max, line) in self.maxima.iter_mut().zip(lines) {
            *max = line.max.to_f64();
        }
        self.exponentiate::<T, M>(size, lines.len());
    }

    /// Reads lines: their maxima and sums.
    #[inline(always)]
    fn read<T: Float, M: MulAdd>(&mut self, x: &[T], size: usize, lines: &mut [Line<T>]) {
        let count = lines.len();
        self.load(x, size);
        self.maxima.fill(f64::NEG_INFINITY);
        for on_side in self.exponentials.chunks_exact(count).take(size) {
            for (max, &x) in self.maxima.iter_mut().zip(on_side) {
                *max = if x > *max || x.is_nan() { x } else { *max };
            }
        }
        self.exponentiate::<T, M>(size, count);
        // Those that are exactly 1 are counted, one of them is the maximum and left out; see `OthersSum`.
        let (mut sums, mut errors, mut ones) = ([0.0; BLOCK], [0.0; BLOCK], [-1.0; BLOCK]);
        for on_side in self.exponentials.chunks_exact(count).take(size) {
            let state = sums.iter_mut().zip(&mut errors).zip(&mut ones);
            for (((sum, error), ones), &exponential) in state.zip(on_side) {
                let is_one = exponential == 1.0;
                *ones += if is_one { 1.0 } else { 0.0 };
                let term = if is_one { 0.0 } else { exponential };
                if is_double::<T>() {
                    let (next, rounding) = two_sum(*sum, term);
                    (*sum, *error) = (next, *error + rounding);
                } else {
                    *sum += term;
                }
            }
        }
        let state = sums.iter().zip(&errors).zip(&ones).zip(&self.maxima);
        for (line, (((&sum, &error), &ones), &max)) in lines.iter_mut().zip(state) {
            *line = Line { max: T::from_f64(max), others: ones + (sum + error) };
        }
    }
}

dispatched! {
    /// Reads every line twice: for its maximum, and for the sum.
    fn read_some_lines<'a, T, M>(x: &'a [T], size: usize, lines: &'a mut [Line<T>]) {
        if size <= SHORT {
            let mut block = ShortLines::new();
            let together = lines_in_block(size);
            for (x, lines) in x.chunks(together * size).zip(lines.chunks_mut(together)) {
                block.read::<T, M>(x, size, lines);
            }
            return;
        }
        let mut buffer = [0.0; BLOCK];
        for (x, line) in x.chunks_exact(size).zip(lines.iter_mut()) {
            line.max = maximum(x);
        }
        let together = lines_in_block(size);
        if together > 0 {
            for (x, lines) in x.chunks(together * size).zip(lines.chunks_mut(together)) {
                exponentials::<T, M>(x, size, lines, &mut buffer);
                for (exponentials, line) in buffer.chunks_exact(size).zip(lines) {
                    line.others = others_of::<T>(exponentials);
                }
            }
            return;
        }
        for (x, line) in x.chunks_exact(size).zip(lines) {
            let mut sum = OthersSum::new();
            for piece in x.chunks(BLOCK) {
                exponentials::<T, M>(piece, piece.len(), std::slice::from_ref(line), &mut buffer);
                sum.add_all::<T>(&buffer[..piece.len()]);
            }
            line.others = sum.finish();
        }
    }

    /// Sums again where the terms may be subnormal: each has lost digits there, and together they lose
    /// more than one rounding.
    fn sum_tiny_terms_again<'a, T, M>(x: &'a [T], size: usize, lines: &'a mut [Line<T>]) {
        for (x, line) in x.chunks_exact(size).zip(lines) {
            if is_double::<T>() && line.others < 1e-290 {
                let others = x.iter().filter(|&&x| x != line.max).map(|&x| {
                    let (difference, low) = shifted(x, line.max);
                    exp_scaled_up::<M>(difference, low)
                });
                line.others = others.sum::<f64>() * 2f64.powi(-512);
            }
        }
    }

    /// `out[i] = ln(1 + others)` of line i.
    pub(super) fn log_denominators<'a, T, M>(lines: &'a [Line<T>], out: &'a mut [f64]) {
        for (out, line) in out.iter_mut().zip(lines) {
            *out = line.others;
        }
        for out in out.iter_mut() {
            *out = log1p::<T, M>(*out);
        }
    }

    /// `out = exp(x - m) / (1 + others)`
    fn softmax_some_lines<'a, T, M>(x: &'a [T], size: usize, lines: &'a mut [Line<T>], out: &'a mut [T]) {
        for (x, line) in x.chunks_exact(size).zip(lines.iter_mut()) {
            line.max = maximum(x);
        }
        if lines_in_block(size) > 0 {
            return map_exponentials::<T, M>(Some(x), size, lines, out, |_, _, exponentials, out| {
                let denominator = 1.0 + others_of::<T>(exponentials);
                for (out, &exponential) in out.iter_mut().zip(exponentials) {
                    *out = T::from_f64(exponential / denominator);
                }
            });
        }
        // The exponentials of a long line wait in the result for their sum.
        let mut sum = OthersSum::new();
        for ((x, out), line) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)).zip(lines) {
            map_exponentials::<T, M>(Some(x), size, std::slice::from_ref(line), out, |_, _, exponentials, out| {
                sum.add_all::<T>(exponentials);
                for (out, &exponential) in out.iter_mut().zip(exponentials) {
                    *out = T::from_f64(exponential);
                }
            });
            let denominator = 1.0 + std::mem::replace(&mut sum, OthersSum::new()).finish();
            for out in out {
                *out = T::from_f64(out.to_f64() / denominator);
            }
        }
    }

    /// `out = (x - m) - log1p(others)`
    fn log_softmax_some_lines<'a, T, M>(
        x: &'a [T],
        size: usize,
        lines: &'a [Line<T>],
        logs: &'a [f64],
        out: &'a mut [T],
    ) {
        let in_and_out = x.chunks_exact(size).zip(out.chunks_exact_mut(size));
        for ((x, out), (line, &log)) in in_and_out.zip(lines.iter().zip(logs)) {
            for (&x, out) in x.iter().zip(out) {
                let (difference, low) = shifted(x, line.max);
                *out = T::from_f64((difference - log) + low);
            }
        }
    }

    /// `out = g - p sum(g)`, with p the probabilities of x. Where one probability k is near 1, that is the
    /// difference of nearly equal numbers; with R the sum of all g but g[k], it is also
    /// (g[k] others - R)/(1 + others), which has its digits.
    fn log_softmax_gradient_of_some_lines<'a, T, M>(
        x: &'a [T],
        gradient: &'a [T],
        size: usize,
        lines: &'a [Line<T>],
        out: &'a mut [T],
    ) {
        let mut total = 0.0;
        map_exponentials::<T, M>(Some(x), size, lines, out, |i, offset, exponentials, out| {
            let gradient = &gradient[i * size..(i + 1) * size];
            if offset == 0 {
                total = gradient.iter().fold(0.0, |sum, &g| sum + g.to_f64()) / (1.0 + lines[i].others);
            }
            for ((out, &exponential), &g) in out.iter_mut().zip(exponentials).zip(&gradient[offset..]) {
                *out = T::from_f64(g.to_f64() - exponential * total);
            }
        });
        let inputs = x.chunks_exact(size).zip(gradient.chunks_exact(size));
        for ((x, g), (line, out)) in inputs.zip(lines.iter().zip(out.chunks_exact_mut(size))) {
            let Some(k) = x.iter().position(|&x| x == line.max) else { continue };
            let rest = g[..k].iter().chain(&g[k + 1..]).fold(0.0, |sum, &g| sum + g.to_f64());
            out[k] = T::from_f64((g[k].to_f64() * line.others - rest) / (1.0 + line.others));
        }
    }

    /// `out = p (g - sum(p g))`. Where one probability k is near 1, g[k] and the sum nearly cancel;
    /// since a constant in g changes nothing, g[k] is taken from all of g first, and what is left has
    /// its digits.
    fn softmax_gradient_of_some_lines<'a, T, M>(p: &'a [T], gradient: &'a [T], size: usize, out: &'a mut [T]) {
        for ((p, g), out) in p.chunks_exact(size).zip(gradient.chunks_exact(size)).zip(out.chunks_exact_mut(size)) {
            let greatest = maximum(p);
            let likeliest = p.iter().position(|&p| p == greatest).unwrap_or(0);
            let reference = g[likeliest].to_f64();
            let mut mean = 0.0;
            for (&p, &g) in p.iter().zip(g) {
                mean = M::mul_add(p.to_f64(), g.to_f64() - reference, mean);
            }
            for (out, (&p, &g)) in out.iter_mut().zip(p.iter().zip(g)) {
                *out = T::from_f64(p.to_f64() * ((g.to_f64() - reference) - mean));
            }
        }
    }
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
        sum_tiny_terms_again(x, size, lines);
    });
}

/// `out[i] = log(sum(exp(x)))` of line i.
pub(crate) fn logsumexp_lines<T: Float>(x: &[T], size: usize, out: &mut [T]) {
    let mut lines = vec![Line::default(); out.len()];
    let mut logs = vec![0.0; out.len()];
    read_lines(x, size, &mut lines);
    log_denominators(&lines, &mut logs);
    for (out, (line, log)) in out.iter_mut().zip(lines.iter().zip(logs)) {
        // An infinite maximum is the result, although nothing can be said of the others.
        *out = if line.max.is_infinite() { line.max } else { T::from_f64(line.max.to_f64() + log) };
    }
}

/// The probabilities of all lines.
pub(crate) fn softmax_lines<T: Float>(x: &[T], size: usize, out: &mut [T]) {
    for_each_chunk_of_lines(x, size, out, |x, out| {
        softmax_some_lines(x, size, &mut vec![Line::default(); x.len() / size], out);
    });
}

/// The logarithms of the probabilities of all lines.
pub(crate) fn log_softmax_lines<T: Float>(x: &[T], size: usize, out: &mut [T]) {
    for_each_chunk_of_lines(x, size, out, |x, out| {
        let mut lines = vec![Line::default(); x.len() / size];
        let mut logs = vec![0.0; lines.len()];
        read_some_lines(x, size, &mut lines);
        sum_tiny_terms_again(x, size, &mut lines);
        log_denominators(&lines, &mut logs);
        log_softmax_some_lines(x, size, &lines, &logs, out);
    });
}

/// The gradient of x from that of its log-probabilities.
pub(crate) fn log_softmax_gradient_lines<T: Float>(x: &[T], gradient: &[T], size: usize, out: &mut [T]) {
    let chunk = parallel::lines_in_chunk(size) * size.max(1);
    parallel::for_each_chunk(out, chunk, |index, out| {
        let range = index * chunk..index * chunk + out.len();
        let mut lines = vec![Line::default(); out.len() / size];
        read_some_lines(&x[range.clone()], size, &mut lines);
        log_softmax_gradient_of_some_lines(&x[range.clone()], &gradient[range], size, &lines, out);
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
        for size in (1..40).chain([511, 512, 513, 1500]) {
            let x: Vec<f64> = (0..3 * size).map(|i| ((i * 7919) % 101) as f64 * 0.07).collect();
            let mut out = vec![0.0; x.len()];
            softmax_lines(&x, size, &mut out);
            for (x, out) in x.chunks(size).zip(out.chunks(size)) {
                let total: f64 = x.iter().map(|x| x.exp()).sum();
                for (x, out) in x.iter().zip(out) {
                    assert!((out - x.exp() / total).abs() < 1e-14 * out, "size {size}");
                }
            }
        }
    }
}
