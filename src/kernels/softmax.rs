//! Softmax and its relatives on one line of numbers, with all their digits.
//!
//! For a line x with maximum m, let d = x - m and
//!
//! ```text
//! others      = sum of exp(d) over all elements but the maximum
//! softmax     = exp(d) / (1 + others)
//! log_softmax = d - log1p(others)
//! logsumexp   = m + log1p(others)
//! ```
//!
//! Three things keep the digits. The shift makes overflow impossible. The maximum, whose term is
//! exactly 1, is left out of the sum, so that `log1p` sees the small sum itself and not what is left
//! of it after an addition to 1: a confident prediction has a small loss, not 0. And what the
//! subtraction x - m rounds away is computed exactly and fed back (e in the code): for a large margin
//! it is as large as the loss is accurate.

use super::exact::two_sum;
use super::reduce::sum;
use num_traits::Float;

/// What the formulas above need of a line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Line<T> {
    /// The maximum m; nan if there is a nan, -inf for an empty line.
    pub max: T,
    /// The sum of exp(x - m) over all elements but one maximum.
    pub others: T,
}

/// Exponentials are computed into a buffer of this many and summed from there.
const CHUNK: usize = 512;

impl<T: Float> Line<T> {
    /// Reads a line twice: for its maximum, and for the sum.
    pub fn of(x: &[T]) -> Self {
        let (mut max, mut place) = (T::neg_infinity(), 0);
        for (i, &x) in x.iter().enumerate() {
            if x > max || x.is_nan() {
                (max, place) = (x, i);
            }
            if max.is_nan() {
                break;
            }
        }
        let mut line = Line { max, others: T::zero() };
        let mut exponentials = [T::zero(); CHUNK];
        let mut error = T::zero();
        for (chunk_index, chunk) in x.chunks(CHUNK).enumerate() {
            let exponentials = &mut exponentials[..chunk.len()];
            for (out, &x) in exponentials.iter_mut().zip(chunk) {
                *out = line.exponential(x);
            }
            if let Some(at) = place.checked_sub(chunk_index * CHUNK).filter(|&at| at < chunk.len()) {
                // All others of an infinite maximum are nan or 0, and the line's results nan.
                exponentials[at] = if max.is_finite() { T::zero() } else { T::nan() };
            }
            (line.others, error) = two_sum(line.others, sum(exponentials) + error);
        }
        line
    }

    /// x - m as a rounded difference and what the rounding left out.
    #[inline(always)]
    pub fn shifted(&self, x: T) -> (T, T) {
        let (difference, error) = two_sum(x, -self.max);
        (difference, if difference.is_finite() { error } else { T::zero() })
    }

    /// exp(x - m): exp(d + e) = exp(d) (1 + e) for the tiny e.
    #[inline(always)]
    pub fn exponential(&self, x: T) -> T {
        let (difference, error) = self.shifted(x);
        let exponential = difference.exp();
        exponential + exponential * error
    }

    /// The probability of an element.
    #[inline(always)]
    pub fn softmax(&self, x: T) -> T {
        self.exponential(x) / (T::one() + self.others)
    }

    /// 1 minus the probability of an element, without the cancellation: the probability of the others.
    #[inline(always)]
    pub fn one_minus_softmax(&self, x: T) -> T {
        let rest = if x == self.max { self.others } else { T::one() + (self.others - self.exponential(x)) };
        rest / (T::one() + self.others)
    }

    /// Minus the logarithm of an element's probability, in nats: its loss if it is the right class.
    /// Both parts are positive, so nothing cancels.
    #[inline(always)]
    pub fn negative_log_softmax(&self, x: T) -> T {
        let (difference, error) = self.shifted(x);
        (self.others.ln_1p() - difference) - error
    }

    /// log(sum of exp(x)).
    pub fn logsumexp(&self) -> T {
        if self.max.is_infinite() { self.max } else { self.max + self.others.ln_1p() }
    }
}

/// Calls `f` with every line of a tensor seen as (outer, size, inner), in the order of outer and inner:
/// the line itself if it is contiguous, a copy otherwise.
pub(crate) fn for_each_line<T: Float>(x: &[T], size: usize, inner: usize, mut f: impl FnMut(usize, &[T])) {
    if inner == 1 {
        return x.chunks_exact(size.max(1)).enumerate().for_each(|(i, line)| f(i, line));
    }
    let mut line = vec![T::zero(); size];
    for i in 0..x.len() / size.max(1) {
        copy_line(x, size, inner, i, &mut line);
        f(i, &line);
    }
}

/// Writes every line of a result from the lines of two tensors of the same layout.
pub(crate) fn map_lines<T: Float>(
    (x, y): (&[T], &[T]),
    size: usize,
    inner: usize,
    out: &mut [T],
    mut f: impl FnMut(usize, &[T], &[T], &mut [T]),
) {
    let length = size.max(1);
    if inner == 1 {
        let lines = x.chunks_exact(length).zip(y.chunks_exact(length)).zip(out.chunks_exact_mut(length));
        return lines.enumerate().for_each(|(i, ((x, y), out))| f(i, x, y, out));
    }
    let mut lines = [vec![T::zero(); size], vec![T::zero(); size], vec![T::zero(); size]];
    let [x_line, y_line, out_line] = &mut lines;
    for i in 0..x.len() / length {
        copy_line(x, size, inner, i, x_line);
        copy_line(y, size, inner, i, y_line);
        f(i, x_line, y_line, out_line);
        let start = (i / inner) * size * inner + i % inner;
        for (out, &value) in out[start..].iter_mut().step_by(inner).zip(out_line.iter()) {
            *out = value;
        }
    }
}

fn copy_line<T: Copy>(x: &[T], size: usize, inner: usize, i: usize, line: &mut [T]) {
    let start = (i / inner) * size * inner + i % inner;
    for (line, &x) in line.iter_mut().zip(x[start..].iter().step_by(inner)) {
        *line = x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confident_prediction_has_a_small_loss_and_not_none() {
        let line = Line::of(&[50.0f32, 0.0, 0.0]);
        let loss = line.negative_log_softmax(50.0);
        assert_eq!(loss, (2.0 * (-50.0f64).exp()) as f32);
        assert_eq!(line.one_minus_softmax(50.0), loss);
    }

    #[test]
    fn infinities_follow_pytorch() {
        let inf = f64::INFINITY;
        assert_eq!(Line::of(&[-inf, -inf]).logsumexp(), -inf);
        assert_eq!(Line::of(&[1.0, inf]).logsumexp(), inf);
        assert_eq!(Line::<f64>::of(&[]).logsumexp(), -inf);
        assert!(Line::of(&[-inf, -inf]).softmax(-inf).is_nan());
        assert!(Line::of(&[1.0, inf]).softmax(1.0).is_nan());
        assert!(Line::of(&[1.0, f64::NAN, 2.0]).logsumexp().is_nan());
        assert_eq!(Line::of(&[1.0, -inf]).softmax(-inf), 0.0);
        assert_eq!(Line::of(&[1.0, -inf]).negative_log_softmax(-inf), inf);
    }

    #[test]
    fn strided_lines_are_written_back_to_their_places() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // (1, 3, 2)
        let mut out = [0.0; 6];
        map_lines((&x, &x), 3, 2, &mut out, |_, x, _, out| {
            out.copy_from_slice(x);
            out.reverse();
        });
        assert_eq!(out, [5.0, 6.0, 3.0, 4.0, 1.0, 2.0]);
    }
}
