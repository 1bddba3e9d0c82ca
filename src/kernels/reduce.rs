//! One output element from many input elements.
//!
//! The input is seen as slabs of `size` rows with `inner` elements each. A slab is reduced over its rows:
//! `out[slab * inner + j]` comes from `x[(slab * size + i) * inner + j]` for all `i`.

use super::compensated::{Sum, add_term, sum_for, sum_of};
use super::parallel::{ELEMENTS_IN_CHUNK, for_each_chunk, rows_in_chunk};
use super::simd::dispatched;
use crate::float::Float;
use smallvec::{SmallVec, smallvec};

/// This many columns of a large slab are reduced together, so that their sums stay in the fastest cache.
const COLUMNS: usize = 256;

/// Some slabs, or some columns of one slab.
struct Panel<'a, T> {
    slabs: &'a [T],
    size: usize,
    inner: usize,
    first_column: usize,
}

impl<'a, T> Panel<'a, T> {
    /// Each slab's part of `out`, with its rows.
    #[inline(always)]
    fn slabs<'o, B>(
        &self,
        out: &'o mut [B],
    ) -> impl Iterator<Item = (&'o mut [B], impl Iterator<Item = &'a [T]>)> {
        let (inner, first, width) = (self.inner, self.first_column, out.len().min(self.inner));
        let slabs = self.slabs.chunks_exact(self.size * inner);
        out.chunks_exact_mut(width).zip(slabs).map(move |(out, slab)| {
            (out, slab.chunks_exact(inner).map(move |row| &row[first..first + width]))
        })
    }
}

/// Calls `f` with every panel and its part of `out`. Slabs are not empty.
fn for_each_panel<T: Sync, B: Send>(
    x: &[T],
    size: usize,
    inner: usize,
    out: &mut [B],
    f: impl Fn(Panel<T>, &mut [B]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let slab = size * inner;
    if inner > COLUMNS && slab > ELEMENTS_IN_CHUNK {
        for (out, slabs) in out.chunks_exact_mut(inner).zip(x.chunks_exact(slab)) {
            for_each_chunk(out, COLUMNS, |index, out| {
                f(Panel { slabs, size, inner, first_column: index * COLUMNS }, out);
            });
        }
    } else {
        let together = rows_in_chunk(slab);
        for_each_chunk(out, together * inner, |index, out| {
            let slabs = &x[index * together * slab..][..out.len() / inner * slab];
            f(Panel { slabs, size, inner, first_column: 0 }, out);
        });
    }
}

/// Sums each slab over its rows. The error does not grow with the number of rows.
pub(crate) fn sum_slabs<T: Float>(x: &[T], size: usize, inner: usize, out: &mut [T]) {
    if size == 0 {
        return out.fill(T::zero());
    }
    if inner == 1 && size > ELEMENTS_IN_CHUNK {
        for (row, out) in x.chunks_exact(size).zip(out) {
            let mut total = Sum::default();
            of_chunks(row, sum_of_slice).into_iter().for_each(|sum| total.add_sum(sum));
            *out = T::from_f64(total.total());
        }
        return;
    }
    for_each_panel(x, size, inner, out, |panel, out| sum_panel(panel, out));
}

/// `f` of every chunk of a long row.
fn of_chunks<T: Sync, A: Default + Clone + Send>(row: &[T], f: impl Fn(&[T]) -> A + Sync) -> Vec<A> {
    let mut results = vec![A::default(); row.len().div_ceil(ELEMENTS_IN_CHUNK)];
    for_each_chunk(&mut results, 1, |index, result| {
        let start = index * ELEMENTS_IN_CHUNK;
        result[0] = f(&row[start..row.len().min(start + ELEMENTS_IN_CHUNK)]);
    });
    results
}

dispatched! {
    /// The sum of numbers that a kernel computed in `f64`, divided by `divisor` and rounded to `T`.
    pub(crate) fn sum_of_wide<'a, T, M>(x: &'a [f64], divisor: f64) -> T {
        T::from_f64(sum_for::<T, f64>(x, |x| x).total() / divisor)
    }

    fn sum_of_slice<'a, T, M>(x: &'a [T]) -> Sum {
        sum_of(x, |x| x)
    }

    fn sum_panel<'a, T, M>(panel: Panel<'a, T>, out: &'a mut [T]) {
        if panel.inner == 1 {
            for (row, out) in panel.slabs.chunks_exact(panel.size).zip(out) {
                *out = T::from_f64(sum_of(row, |x| x).total());
            }
            return;
        }
        if panel.inner >= NARROW {
            for (out, rows) in panel.slabs(out) {
                sum_rows(rows, out);
            }
            return;
        }
        // Narrow rows are added several at a time, as one wide row.
        let (inner, slab) = (panel.inner, panel.size * panel.inner);
        for (out, slab) in out.chunks_exact_mut(inner).zip(panel.slabs.chunks_exact(slab)) {
            sum_rows(slab.chunks(NARROW / inner * inner), out);
        }
    }
}

/// Rows of fewer elements are added several at a time.
const NARROW: usize = 64;

/// The sums of columns. The rows may be several times as wide as `out`, and the last one shorter.
#[inline(always)]
fn sum_rows<'a, T: Float>(rows: impl Iterator<Item = &'a [T]>, out: &mut [T]) {
    let inner = out.len();
    let width = inner * (NARROW / inner).max(1);
    let (mut sums, mut errors): (SmallVec<[f64; NARROW]>, SmallVec<[f64; NARROW]>) =
        (smallvec![0.0; width], smallvec![0.0; width]);
    for row in rows {
        for ((sum, error), &x) in sums.iter_mut().zip(&mut errors).zip(row) {
            add_term::<T>(sum, error, x.to_f64());
        }
    }
    for (column, out) in out.iter_mut().enumerate() {
        let (mut sum, mut error) = (0.0, 0.0);
        for part in (column..width).step_by(inner) {
            add_term::<T>(&mut sum, &mut error, sums[part]);
            error += errors[part];
        }
        *out = T::from_f64(Sum::new(sum, error).total());
    }
}

/// Reduces each slab over its rows with `combine`, in any order. Slabs are not empty.
pub(crate) fn fold_slabs<T: Float>(
    x: &[T],
    size: usize,
    inner: usize,
    out: &mut [T],
    combine: impl Fn(T, T) -> T + Sync,
) {
    if inner == 1 && size > ELEMENTS_IN_CHUNK {
        for (row, out) in x.chunks_exact(size).zip(out) {
            *out = fold_row(&of_chunks(row, |chunk| fold_row(chunk, &combine)), &combine);
        }
        return;
    }
    for_each_panel(x, size, inner, out, |panel, out| {
        if inner == 1 {
            for (row, out) in panel.slabs.chunks_exact(size).zip(out) {
                *out = fold_row(row, &combine);
            }
            return;
        }
        for (out, mut rows) in panel.slabs(out) {
            if let Some(first) = rows.next() {
                out.copy_from_slice(first);
            }
            for row in rows {
                for (out, &x) in out.iter_mut().zip(row) {
                    *out = combine(*out, x);
                }
            }
        }
    });
}

/// Reduces one row, which is not empty, in 16 lanes.
fn fold_row<T: Copy>(row: &[T], combine: impl Fn(T, T) -> T) -> T {
    let fold = |first: T, others: &[T]| others.iter().fold(first, |so_far, &next| combine(so_far, next));
    let (sixteens, rest) = row.as_chunks::<16>();
    let Some((&first, others)) = sixteens.split_first() else {
        return fold(rest[0], &rest[1..]);
    };
    let mut lanes = first;
    for other in others {
        for (lane, &next) in lanes.iter_mut().zip(other) {
            *lane = combine(*lane, next);
        }
    }
    fold(fold(lanes[0], &lanes[1..]), rest)
}

/// The position of the first element for which `holds`. The search goes by 256 elements, because whether one of them
/// holds is found without a branch for each.
#[inline(always)]
pub(super) fn position<T: Copy>(x: &[T], holds: impl Fn(T) -> bool) -> Option<usize> {
    const TOGETHER: usize = 256;
    let holds_in = |some: &[T]| some.iter().fold(false, |found, &x| found | holds(x));
    let start = x.chunks(TOGETHER).position(holds_in)? * TOGETHER;
    x[start..].iter().position(|&x| holds(x)).map(|place| start + place)
}

/// For each column of each slab, the position of the first element that no other `beats`. Slabs are not empty.
pub(crate) fn position_slabs<T: Float>(
    x: &[T],
    size: usize,
    inner: usize,
    out: &mut [i64],
    beats: impl Fn(T, T) -> bool + Sync,
) {
    let better = |a: T, b: T| if beats(b, a) { b } else { a };
    for_each_panel(x, size, inner, out, |panel, out| {
        if inner == 1 {
            for (row, out) in panel.slabs.chunks_exact(size).zip(out) {
                let best = fold_row(row, better);
                *out = position(row, |x| !beats(best, x)).unwrap_or(0) as i64;
            }
            return;
        }
        for (out, mut rows) in panel.slabs(out) {
            let mut best: SmallVec<[T; NARROW]> = rows.next().unwrap_or_default().into();
            out.fill(0);
            for (i, row) in rows.enumerate() {
                for ((out, best), &x) in out.iter_mut().zip(&mut best).zip(row) {
                    if beats(x, *best) {
                        (*out, *best) = (1 + i as i64, x);
                    }
                }
            }
        }
    });
}

/// The greater of two numbers; nan if either is nan.
pub(crate) fn max_or_nan<T: Float>(a: T, b: T) -> T {
    if a >= b || a.is_nan() { a } else { b }
}

/// The lesser of two numbers; nan if either is nan.
pub(crate) fn min_or_nan<T: Float>(a: T, b: T) -> T {
    if a <= b || a.is_nan() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sums_are_rounded_once() {
        let x = vec![0.1f32; 10_000_000];
        let off = |sum: f32, exact: f64| (f64::from(sum) - exact).abs() / f64::from(sum.next_up() - sum);
        let exact = f64::from(0.1f32) * 1e7;
        let mut sum = [0.0f32];
        sum_slabs(&x, x.len(), 1, &mut sum);
        assert!(off(sum[0], exact) <= 0.5, "{sum:?}");
        let mut columns = [0.0f32; 2];
        sum_slabs(&x, 5_000_000, 2, &mut columns);
        assert!(off(columns[1], exact / 2.0) <= 0.5, "{columns:?}");
    }

    #[test]
    fn infinities_and_nans_come_through_a_compensated_sum() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let mut out = [0.0; 3];
        sum_slabs(&[1.0, inf, 1.0, 2.0, inf, nan, 3.0, 1.0, 2.0], 3, 3, &mut out);
        assert_eq!(out[..2], [6.0, inf]);
        assert!(out[2].is_nan());
    }

    /// In every way: long rows by chunks, many columns by panels, narrow rows side by side.
    #[test]
    fn slabs_of_every_shape_are_reduced_element_by_element() {
        let beats = |a: f64, b: f64| (a > b) | (a.is_nan() & !b.is_nan());
        let shapes = [(1, 1, 1), (3, 5, 1), (2, 3, 7), (70, 9, 4), (5, 2, 256), (2, 4, 300), (1, 3, 1000)];
        for (outer, size, inner) in
            shapes.into_iter().chain([(2, 60, 300), (1, 20_000, 1), (2, 40_000, 1), (1, 3000, 63)])
        {
            for nan_at in [None, Some(outer * size * inner / 2)] {
                let mut x: Vec<f64> = (0..outer * size * inner).map(|i| ((i * 7919) % 1013) as f64).collect();
                nan_at.into_iter().for_each(|at| x[at] = f64::NAN);
                let column = |at: usize| {
                    let (slab, j, x) = (at / inner, at % inner, &x);
                    (0..size).map(move |i| x[(slab * size + i) * inner + j])
                };
                let (mut sums, mut maxima) = (vec![0.0; outer * inner], vec![0.0; outer * inner]);
                let mut positions = vec![0; outer * inner];
                sum_slabs(&x, size, inner, &mut sums);
                fold_slabs(&x, size, inner, &mut maxima, max_or_nan);
                position_slabs(&x, size, inner, &mut positions, beats);
                for at in 0..outer * inner {
                    let (case, bits) =
                        (format!("{outer} x {size} x {inner}, {nan_at:?}, {at}"), f64::to_bits);
                    assert_eq!(sums[at].is_nan(), column(at).any(f64::is_nan), "{case}");
                    assert!(sums[at].is_nan() || sums[at] == column(at).sum::<f64>(), "{case}"); // of integers
                    assert_eq!(bits(maxima[at]), bits(column(at).fold(-1.0, max_or_nan)), "{case}");
                    let is_first =
                        |i: &i64| column(at).nth(*i as usize).is_some_and(|x| x.is_nan() || x == maxima[at]);
                    assert!(is_first(&positions[at]) && !(0..positions[at]).any(|i| is_first(&i)), "{case}");
                }
            }
        }
    }
}
