//! What every formula of a row is made of, for one long row and for a block of short ones alike.
//!
//! All functions here see a slice in which element i belongs to row i % L. With L = 1 that is one row; with L =
//! [`LANES`] it is a block, in which element c of every row stands beside element c of the others. One number of
//! each row is an array of L. So a loop over lanes fills the registers in both cases: the lanes hold neighbouring
//! elements of one row, or the same element of many rows. Only at its end does a reduction differ: over one row the
//! lanes are joined, over a block each is a result.

use crate::float::Float;
use crate::kernels::compensated::{Sum, add_term, sum_of, sum_over};
use crate::kernels::parallel::ROWS_IN_BLOCK;
use crate::kernels::reduce::position;
use crate::kernels::simd::array;
use std::ops::Range;

/// How many elements are processed at once: four registers of `f32` with AVX2, so many that one addition need not
/// wait for the one before.
pub(super) const LANES: usize = ROWS_IN_BLOCK;

/// A long row is read in pieces of this many elements, which stay in the fastest cache from one loop to the next.
pub(super) const PIECE: usize = 1024;

/// No element of a row: the class of a row that is ignored.
pub(super) const NONE: usize = usize::MAX;

/// `out[i] = f(row, x[i])`; without an `x`, of what `out` holds.
#[inline(always)]
pub(super) fn map<T: Float, const L: usize>(x: Option<&[T]>, out: &mut [T], f: impl Fn(usize, T) -> T) {
    map_but::<T, L>(x, out, None, f);
}

/// The same but for one element of each row, which is given.
#[inline(always)]
pub(super) fn map_but<T: Float, const L: usize>(
    x: Option<&[T]>,
    out: &mut [T],
    but: Option<Given<T, L>>,
    f: impl Fn(usize, T) -> T,
) {
    let apply = |c: usize, x: [T; L]| array(|row| Given::or(but, c, row, f(row, x[row])));
    let chunks = out.as_chunks_mut::<L>().0.iter_mut();
    match x {
        Some(x) => {
            for (c, (out, &x)) in chunks.zip(x.as_chunks().0).enumerate() {
                *out = apply(c, x);
            }
        }
        None => {
            for (c, out) in chunks.enumerate() {
                #[allow(clippy::needless_range_loop)] // by an iterator it takes 1.4 times as long
                for row in 0..L {
                    out[row] = Given::or(but, c, row, f(row, out[row]));
                }
            }
        }
    }
    Given::write(but, out);
}

/// `out[i] = f(row, x[i], y[i])` but for one element of each row; without an `x`, of what `out` holds.
#[inline(always)]
pub(super) fn zip<T: Float, const L: usize>(
    x: Option<&[T]>,
    y: &[T],
    out: &mut [T],
    but: Option<Given<T, L>>,
    f: impl Fn(usize, T, T) -> T,
) {
    let apply = |c: usize, x: [T; L], y: [T; L]| array(|row| Given::or(but, c, row, f(row, x[row], y[row])));
    let chunks = out.as_chunks_mut::<L>().0.iter_mut().zip(y.as_chunks().0);
    match x {
        Some(x) => {
            for (c, ((out, &y), &x)) in chunks.zip(x.as_chunks().0).enumerate() {
                *out = apply(c, x, y);
            }
        }
        None => {
            for (c, (out, &y)) in chunks.enumerate() {
                for row in 0..L {
                    out[row] = Given::or(but, c, row, f(row, out[row], y[row]));
                }
            }
        }
    }
    Given::write(but, out);
}

/// One class of each row, or [`NONE`].
#[derive(Clone, Copy)]
pub(super) struct Classes<T, const L: usize> {
    /// Where they are; not filled in by [`holding`](Classes::holding) for a block.
    pub index: [usize; L],
    /// The same as floats, so that they are compared in the same lanes; -1 for none. Only blocks use them, whose
    /// rows have at most 256 elements: so they are exact.
    number: [T; L],
}

impl<T: Float, const L: usize> Classes<T, L> {
    #[inline(always)]
    pub fn new(index: [usize; L]) -> Self {
        Classes { index, number: array(|row| T::from_f64(f64::from(index[row] as i32))) }
    }

    /// The element of each row that has its class; 0 where there is none.
    #[inline(always)]
    pub fn of(&self, x: &[T]) -> [T; L] {
        let mut found = [T::zero(); L];
        if L == 1 {
            found[0] = x.get(self.index[0]).copied().unwrap_or_default();
            return found;
        }
        for (c, x) in x.as_chunks::<L>().0.iter().enumerate() {
            let c = T::from_f64(c as f64);
            for row in 0..L {
                let (here, before) = (x[row], found[row]);
                found[row] = if self.number[row] == c { here } else { before };
            }
        }
        found
    }

    /// Where each row first holds a value.
    #[inline(always)]
    pub fn holding(x: &[T], values: &[T; L]) -> Self {
        if L == 1 {
            return Classes::new([position(x, |x| x == values[0]).unwrap_or(NONE); L]);
        }
        let mut number = [-T::one(); L];
        for (c, x) in x.as_chunks::<L>().0.iter().enumerate().rev() {
            let c = T::from_f64(c as f64);
            for row in 0..L {
                let later = number[row];
                number[row] = if x[row] == values[row] { c } else { later };
            }
        }
        Classes { index: [NONE; L], number }
    }
}

/// What one element of each row becomes.
#[derive(Clone, Copy)]
pub(super) struct Given<'a, T, const L: usize> {
    pub classes: &'a Classes<T, L>,
    pub values: &'a [T; L],
}

impl<T: Float, const L: usize> Given<'_, T, L> {
    /// The given element of a row in a block if this is its class, otherwise what was computed.
    #[inline(always)]
    fn or(given: Option<Self>, c: usize, row: usize, computed: T) -> T {
        match given {
            Some(given) if L > 1 => {
                let value = given.values[row];
                if given.classes.number[row] == T::from_f64(c as f64) { value } else { computed }
            }
            _ => computed,
        }
    }

    /// Writes the given elements into a finished result, of a long row or of a block.
    #[inline(always)]
    pub fn put(self, out: &mut [T]) {
        map_but(None, out, Some(self), |_, x| x);
    }

    /// Writes the given element of a long row; in a block [`or`](Given::or) has done that.
    #[inline(always)]
    fn write(given: Option<Self>, out: &mut [T]) {
        if let (1, Some(given)) = (L, given)
            && let Some(out) = out.get_mut(given.classes.index[0])
        {
            *out = given.values[0];
        }
    }
}

/// The parts of a row that stay in the fastest cache while several loops run over them; a block is one.
#[inline(always)]
pub(super) fn pieces<const L: usize>(length: usize) -> impl Iterator<Item = Range<usize>> {
    let most = if L == 1 { PIECE } else { length.max(1) };
    (0..length).step_by(most).map(move |start| start..length.min(start + most))
}

/// Whether something holds for every row. It is counted, which the compiler does for many rows at once.
#[inline(always)]
pub(super) fn all<N: Copy, const L: usize>(rows: &[N; L], holds: impl Fn(N) -> bool) -> bool {
    let mut count = 0;
    for &row in rows {
        count += u32::from(holds(row));
    }
    count == L as u32
}

/// The result of each row from those of the lanes.
#[inline(always)]
fn join<N: Copy, const L: usize>(lanes: [N; LANES], join: impl Fn(N, N) -> N) -> [N; L] {
    let mut rows = [lanes[0]; L];
    for lane in 1..LANES {
        rows[lane % L] = if lane < L { lanes[lane] } else { join(rows[lane % L], lanes[lane]) };
    }
    rows
}

/// b if it is greater than a; so a nan is greater than nothing.
#[inline(always)]
pub(super) fn greater<T: Float>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// The maximum of what is not nan in each row; -inf of nothing.
#[inline(always)]
pub(super) fn maxima<T: Float, const L: usize>(x: &[T]) -> [T; L] {
    let mut lanes = [T::neg_infinity(); LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = greater(*lane, x);
    }
    join(lanes, greater)
}

/// The sum of each row, and what its roundings left out.
pub(super) struct Sums<const L: usize> {
    values: [f64; L],
    errors: [f64; L],
}

impl<const L: usize> Sums<L> {
    #[inline(always)]
    pub fn of(&self, row: usize) -> Sum {
        Sum::new(self.values[row], self.errors[row])
    }
}

/// The sum over each row of the terms that `term` makes of the elements of some slices.
#[inline(always)]
pub(super) fn sums<T: Float, const N: usize, const L: usize>(
    slices: [&[T]; N],
    term: impl Fn(usize, [f64; N]) -> f64,
) -> Sums<L> {
    if L == 1 {
        let sum = match slices[..] {
            [only] => sum_of(only, |x| term(0, [x; N])),
            _ => sum_over(slices, |x| term(0, x)),
        };
        return Sums { values: [sum.value; L], errors: [sum.error; L] };
    }
    let (mut values, mut errors) = ([0.0; L], [0.0; L]);
    for c in 0..slices[0].len() / L {
        let slices: [&[T]; N] = array(|i| &slices[i][c * L..(c + 1) * L]);
        for row in 0..L {
            let x = array(|i| slices[i][row].to_f64());
            add_term::<T>(&mut values[row], &mut errors[row], term(row, x));
        }
    }
    Sums { values, errors }
}

/// The same over all elements but one of each row.
#[inline(always)]
pub(super) fn sums_without<T: Float, const N: usize, const L: usize>(
    slices: [&[T]; N],
    classes: &Classes<T, L>,
    term: impl Fn(usize, [f64; N]) -> f64,
) -> Sums<L> {
    if L == 1 {
        let place = classes.index[0].min(slices[0].len());
        let before = sums::<T, N, 1>(array(|i| &slices[i][..place]), &term);
        let after = sums::<T, N, 1>(array(|i| slices[i].get(place + 1..).unwrap_or_default()), &term);
        let mut sum = before.of(0);
        sum.add_sum(after.of(0));
        return Sums { values: [sum.value; L], errors: [sum.error; L] };
    }
    let (mut values, mut errors) = ([0.0; L], [0.0; L]);
    for c in 0..slices[0].len() / L {
        let slices: [&[T]; N] = array(|i| &slices[i][c * L..(c + 1) * L]);
        let c = T::from_f64(c as f64);
        for row in 0..L {
            let x = array(|i| slices[i][row].to_f64());
            let term = if classes.number[row] == c { 0.0 } else { term(row, x) };
            add_term::<T>(&mut values[row], &mut errors[row], term);
        }
    }
    Sums { values, errors }
}
