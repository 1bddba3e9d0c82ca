//! Softmax and its relatives, with all their digits.
//!
//! For a row x with maximum m, let e = exp(x - m) and
//!
//! ```text
//! others      = sum of e over all elements but one maximum
//! softmax     = e / (1 + others)
//! log_softmax = (x - m) - log1p(others)
//! logsumexp   = m + log1p(others)
//! ```
//!
//! Three things keep the digits. The shift by m makes overflow impossible. The maximum, whose term is exactly 1, is
//! left out of the sum, so that `log1p` sees the small sum itself and not what is left of it after an addition to
//! 1: a confident prediction has a small loss, not 0. And nothing of x - m is lost: what the subtraction rounds
//! away is computed exactly and fed into the exponential; for a large margin this error rivals the result's own
//! accuracy.
//!
//! Exponentials have the precision of the elements, and are stored scaled by 2^64 (`f64`: 2^512), so that small ones
//! keep their digits; sums and logarithms have the precision of `f64`, or about twice that for `f64` itself.
//!
//! Reference: P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and softmax
//! functions, IMA Journal of Numerical Analysis 41 (2021).

use super::exponentials::{read, scale, shifted};
use super::lanes::{Classes, Given, map, maxima, sums, sums_without, zip};
use super::{Formula, Group, Inputs, Outputs, Rows, for_each_row};
use crate::float::{Float, is_double};
use crate::kernels::functions::exp_scale;
use crate::kernels::simd::{MulAdd, array};

/// `out = e / (1 + others)`
#[derive(Clone, Copy)]
struct Softmax;

impl<T: Float> Formula<T> for Softmax {
    type Found = ();

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, ()>) {
        let read = read::<T, M, L>(group.inputs.x(), group.outputs.out);
        let factors = array(|row| 1.0 / (1.0 + read.others[row]) / read.overshoot);
        scale::<T, M, L>(group.outputs.out, &factors, None);
    }
}

/// `out = (x - m) - log1p(others)`
#[derive(Clone, Copy)]
struct LogSoftmax;

impl<T: Float> Formula<T> for LogSoftmax {
    type Found = ();

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, ()>) {
        // Nobody wants the exponentials. But writing them brings `out` into the cache, while there is something to
        // compute.
        let (x, read) = (group.inputs.x(), read::<T, M, L>(group.inputs.x(), group.outputs.out));
        let logs = read.log_denominators::<M>();
        if is_double::<T>() {
            return map::<T, L>(Some(x), group.outputs.out, |row, x| {
                let (difference, low) = shifted(x, read.max[row]);
                T::from_f64((difference - logs[row]) + low)
            });
        }
        // m + log1p(others) as the nearest number of T and what that leaves. The difference of an x and the first is
        // exact where it is small.
        let (mut high, mut low) = ([T::zero(); L], [T::zero(); L]);
        for row in 0..L {
            let max = read.max[row].to_f64();
            high[row] = T::from_f64(max + logs[row]);
            low[row] = T::from_f64((max - high[row].to_f64()) + logs[row]);
        }
        map::<T, L>(Some(x), group.outputs.out, |row, x| (x - high[row]) - low[row]);
    }
}

/// m + log1p(others)
#[derive(Clone, Copy)]
struct LogSumExp;

impl<T: Float> Formula<T> for LogSumExp {
    type Found = T;

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, T>) {
        let (x, read) = (group.inputs.x(), read::<T, M, L>(group.inputs.x(), group.outputs.out));
        let logs = read.log_denominators::<M>();
        for (row, found) in group.outputs.found.iter_mut().enumerate() {
            let max = read.max[row];
            // An infinite maximum is the result, although nothing can be said of the others.
            let is_result = max.is_infinite() && !x.iter().skip(row).step_by(L).any(|x| x.is_nan());
            *found = if is_result { max } else { T::from_f64(max.to_f64() + logs[row]) };
        }
    }
}

/// The gradient of x from those of p = softmax(x), which lie beside p: `out = p (g - sum(p g))`.
///
/// Where one probability k is near 1, g[k] and the sum nearly cancel. Since a constant in g changes nothing, g[k] is
/// taken from all of g first, and what is left has its digits.
#[derive(Clone, Copy)]
struct SoftmaxGradient;

impl<T: Float> Formula<T> for SoftmaxGradient {
    type Found = ();

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, ()>) {
        let (p, g) = (group.inputs.x(), group.inputs.beside);
        let of_likeliest = Classes::holding(p, &maxima::<T, L>(p)).of(g);
        let reference: [f64; L] = array(|row| of_likeliest[row].to_f64());
        let means = sums::<T, 2, L>([p, g], |row, [p, g]| p * (g - reference[row]));
        let means: [f64; L] = array(|row| means.of(row).total());
        zip::<T, L>(Some(p), g, group.outputs.out, None, |row, p, g| {
            T::from_f64(p.to_f64() * ((g.to_f64() - reference[row]) - means[row]))
        });
    }
}

/// The gradient of x from those of log_softmax(x), which lie beside x: `out = g - p sum(g)`.
///
/// Where one probability k is near 1, that is the difference of nearly equal numbers; with R the sum of all g but
/// g[k], it is also (g[k] others - R)/(1 + others), which has its digits.
#[derive(Clone, Copy)]
struct LogSoftmaxGradient;

impl<T: Float> Formula<T> for LogSoftmaxGradient {
    type Found = ();

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, ()>) {
        let (x, g) = (group.inputs.x(), group.inputs.beside);
        let read = read::<T, M, L>(x, group.outputs.out);
        let likeliest = Classes::holding(x, &read.max);
        let (rests, of_likeliest) = (sums_without([g], &likeliest, |_, [g]| g), likeliest.of(g));
        let (mut factors, mut values) = ([0.0; L], [T::zero(); L]);
        for row in 0..L {
            let (mut sum, g) = (rests.of(row), of_likeliest[row].to_f64());
            let (rest, denominator) = (sum.total(), 1.0 + read.others[row]);
            sum.add(g);
            factors[row] = sum.total() / denominator / (exp_scale::<T>() * read.overshoot);
            values[row] = T::from_f64((g * read.others[row] - rest) / denominator);
        }
        let given = Given { classes: &likeliest, values: &values };
        zip::<T, L>(None, g, group.outputs.out, Some(given), |row, e, g| {
            T::from_f64(g.to_f64() - e.to_f64() * factors[row])
        });
    }
}

/// The probabilities of all rows.
pub(crate) fn softmax<T: Float>(x: &[T], rows: Rows, out: &mut [T]) {
    write(Softmax, x, &[], rows, out);
}

/// The logarithms of the probabilities of all rows.
pub(crate) fn log_softmax<T: Float>(x: &[T], rows: Rows, out: &mut [T]) {
    write(LogSoftmax, x, &[], rows, out);
}

/// The gradient of x from that of its probabilities p.
pub(crate) fn softmax_gradient<T: Float>(p: &[T], gradient: &[T], rows: Rows, out: &mut [T]) {
    write(SoftmaxGradient, p, gradient, rows, out);
}

/// The gradient of x from that of the logarithms of its probabilities.
pub(crate) fn log_softmax_gradient<T: Float>(x: &[T], gradient: &[T], rows: Rows, out: &mut [T]) {
    write(LogSoftmaxGradient, x, gradient, rows, out);
}

/// `out[i] = log(sum(exp(x)))` of row i.
pub(crate) fn logsumexp<T: Float>(x: &[T], rows: Rows, out: &mut [T]) {
    let inputs = Inputs { x: Some(x), beside: &[], weight: &[] };
    for_each_row(LogSumExp, rows, inputs, Outputs { out: &mut [], kept: &mut [], found: out });
}

/// Applies a formula whose result is all that it finds.
fn write<T: Float>(formula: impl Formula<T, Found = ()>, x: &[T], beside: &[T], rows: Rows, out: &mut [T]) {
    let inputs = Inputs { x: Some(x), beside, weight: &[] };
    for_each_row(formula, rows, inputs, Outputs { out, kept: &mut [], found: &mut [] });
}
