//! Lines of a few elements, many at a time.
//!
//! A line of three classes does not fill a register, and bringing its elements together is more work than
//! the arithmetic. So a block of lines is turned on its side: element 0 of all lines, then element 1 of all.
//! Maxima, sums and scales are then taken for many lines at once, a line in each lane.

use super::exact::add_term;
use super::functions::{exponential, exponential_in_single, is_moderate, unit};
use super::scratch::zeros;
use super::simd::MulAdd;
use super::softmax::{Line, scaled_exponential};
use crate::float::Float;

/// Lines of at most this many elements are short.
pub(super) const SHORT: usize = 16;

/// Lanes are filled up to a multiple of this, so that no loop has a remainder.
const LANES: usize = 16;

/// How many lines make a full block: enough to fill the lanes many times, and few enough for the fastest
/// cache.
#[inline(always)]
pub(super) fn lines_in_block(size: usize) -> usize {
    (1024 / size / LANES * LANES).min(128)
}

/// A block of short lines on their side. The exponential, in [`unit`]s, of element c of line i is at `c * stride + i`; what
/// lies between the number of lines and the stride is arithmetic for nothing.
pub(super) struct ShortLines<T> {
    exponentials: Vec<T>,
    maxima: Vec<T>,
    factors: Vec<f64>,
    size: usize,
    stride: usize,
}

impl<T: Float> ShortLines<T> {
    /// Room for at most `count` lines of `size` elements, at least 1 and at most [`SHORT`].
    #[inline(always)]
    pub fn new(size: usize, count: usize) -> Self {
        let lines = count.next_multiple_of(LANES).min(lines_in_block(size));
        let (exponentials, maxima, factors) = (zeros(lines * size), zeros(lines), zeros(lines));
        ShortLines { exponentials, maxima, factors, size, stride: 0 }
    }

    #[inline(always)]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many lines make a full block.
    #[inline(always)]
    pub fn lines(&self) -> usize {
        lines_in_block(self.size)
    }

    /// How many elements make a full block.
    #[inline(always)]
    pub fn elements(&self) -> usize {
        self.lines() * self.size
    }

    /// Takes in lines, at most a full block.
    #[inline(always)]
    fn load(&mut self, x: &[T]) {
        let count = x.len() / self.size;
        self.stride = count.next_multiple_of(LANES);
        for (c, on_side) in self.exponentials.chunks_exact_mut(self.stride).take(self.size).enumerate() {
            let of_lines = x[c..].iter().step_by(self.size);
            on_side.iter_mut().zip(of_lines).for_each(|(on_side, &x)| *on_side = x);
        }
    }

    /// Writes what is here back in lines.
    #[inline(always)]
    pub fn store(&self, out: &mut [T]) {
        for (c, on_side) in self.exponentials.chunks_exact(self.stride).take(self.size).enumerate() {
            let of_lines = out[c..].iter_mut().step_by(self.size);
            of_lines.zip(on_side).for_each(|(out, &on_side)| *out = on_side);
        }
    }

    /// Exponentiates what was loaded, shifted by the maxima.
    #[inline(always)]
    fn exponentiate<M: MulAdd>(&mut self) {
        let are_moderate = self.maxima[..self.stride].iter().fold(true, |all, &max| all & is_moderate(max));
        for on_side in self.exponentials.chunks_exact_mut(self.stride).take(self.size) {
            let with_maxima = on_side.iter_mut().zip(&self.maxima);
            if are_moderate {
                with_maxima.for_each(|(x, &max)| *x = exponential_in_single::<T, M>(*x, max));
            } else {
                with_maxima.for_each(|(x, &max)| *x = exponential::<T, M>(*x, max));
            }
        }
    }

    /// The exponentials of lines that were read before.
    #[inline(always)]
    pub fn exponentials_of<M: MulAdd>(&mut self, x: &[T], lines: &[Line<T>]) {
        self.load(x);
        for (max, line) in self.maxima.iter_mut().zip(lines) {
            *max = line.max;
        }
        self.exponentiate::<M>();
    }

    /// Reads lines: their maxima and sums. The exponentials stay here.
    #[inline(always)]
    pub fn read<M: MulAdd>(&mut self, x: &[T], lines: &mut [Line<T>]) {
        self.load(x);
        let maxima = &mut self.maxima[..self.stride];
        maxima.copy_from_slice(&self.exponentials[..self.stride]);
        for on_side in self.exponentials.chunks_exact(self.stride).take(self.size).skip(1) {
            for (max, &x) in maxima.iter_mut().zip(on_side) {
                *max = if x > *max || max.is_nan() { x } else { *max };
            }
        }
        self.exponentiate::<M>();
        for (group, lines) in lines.chunks_mut(LANES).enumerate() {
            let others = self.sum_of_others(group * LANES);
            let maxima = &self.maxima[group * LANES..];
            for (line, (&max, &others)) in lines.iter_mut().zip(maxima.iter().zip(&others)) {
                *line = Line { max, others };
            }
        }
    }

    /// The sums of the exponentials of some lines, without one maximum each: those that are exactly 1 are
    /// counted, and one of them is left out.
    #[inline(always)]
    fn sum_of_others(&self, first: usize) -> [f64; LANES] {
        let (mut sums, mut errors, mut maxima) = ([0.0; LANES], [0.0; LANES], [-1.0; LANES]);
        for on_side in self.exponentials.chunks_exact(self.stride).take(self.size) {
            let on_side = &on_side[first..first + LANES];
            for (lane, &exponential) in on_side.iter().enumerate() {
                let exponential = exponential.to_f64();
                let is_maximum = exponential == unit::<T>();
                maxima[lane] += if is_maximum { 1.0 } else { 0.0 };
                let term = if is_maximum { 0.0 } else { exponential };
                add_term::<T>(&mut sums[lane], &mut errors[lane], term);
            }
        }
        for ((sum, error), maxima) in sums.iter_mut().zip(errors).zip(maxima) {
            *sum = maxima + (*sum + error) / unit::<T>();
        }
        sums
    }

    /// The exponential of one element.
    #[inline(always)]
    pub fn exponential(&self, line: usize, element: usize) -> f64 {
        self.exponentials[element * self.stride + line].to_f64() / unit::<T>()
    }

    /// What [`scale`](ShortLines::scale) multiplies the lines by.
    #[inline(always)]
    pub fn factors_mut(&mut self) -> &mut [f64] {
        &mut self.factors
    }

    /// Multiplies the exponentials of each line by its factor, and takes them out of their units.
    #[inline(always)]
    pub fn scale(&mut self) {
        for on_side in self.exponentials.chunks_exact_mut(self.stride).take(self.size) {
            for (value, &factor) in on_side.iter_mut().zip(&self.factors) {
                *value = scaled_exponential(*value, factor);
            }
        }
    }

    /// Replaces one element.
    #[inline(always)]
    pub fn set(&mut self, line: usize, element: usize, value: T) {
        self.exponentials[element * self.stride + line] = value;
    }
}
