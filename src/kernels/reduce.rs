//! One output element from many input elements.
//!
//! The input is seen as blocks of `size` rows of `inner` elements, and each block is reduced over its
//! rows: `out[block * inner + j]` comes from `x[(block * size + i) * inner + j]` for all `i`.

use super::exact::add_term;
use crate::float::Float;
use smallvec::{SmallVec, smallvec};

/// Sums up to this many elements are taken lane by lane; longer ones are halved first.
const PAIRWISE_BLOCK: usize = 256;
const LANES: usize = 16;

/// The sum of a slice. Pairwise: the rounding error grows with the logarithm of the length.
pub(crate) fn sum<T: Float>(x: &[T]) -> T {
    if x.len() > PAIRWISE_BLOCK {
        let half = (x.len() / 2).next_multiple_of(PAIRWISE_BLOCK);
        return sum(&x[..half]) + sum(&x[half..]);
    }
    let mut lanes = [T::zero(); LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] += other;
        }
    }
    lanes[0]
}

/// Sums each block over its rows.
pub(crate) fn sum_blocks<T: Float>(x: &[T], size: usize, inner: usize, out: &mut [T]) {
    if inner == 1 {
        for (block, out) in out.iter_mut().enumerate() {
            *out = sum(&x[block * size..(block + 1) * size]);
        }
        return;
    }
    for (block, out) in out.chunks_exact_mut(inner.max(1)).enumerate() {
        sum_columns(&x[block * size * inner..(block + 1) * size * inner], inner, out);
    }
}

/// The sums of the columns of rows of `inner` elements: those of `f32` in `f64`, those of `f64` with what each
/// addition rounds away. So the error does not grow with the number of rows.
fn sum_columns<T: Float>(x: &[T], inner: usize, out: &mut [T]) {
    // Narrow rows are added several at a time, as one wide row.
    let width = inner * (64 / inner).max(1);
    let (mut sums, mut errors): (SmallVec<[f64; 64]>, SmallVec<[f64; 64]>) =
        (smallvec![0.0; width], smallvec![0.0; width]);
    for row in x.chunks(width) {
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
        // An infinite or nan sum has no error.
        *out = T::from_f64(if sum.is_finite() { sum + error } else { sum });
    }
}

/// Reduces each block over its rows with `combine`, whatever the order.
pub(crate) fn fold_blocks<T: Copy>(
    x: &[T],
    size: usize,
    inner: usize,
    out: &mut [T],
    combine: impl Fn(T, T) -> T,
) {
    if inner == 1 {
        for (block, out) in out.iter_mut().enumerate() {
            let row = &x[block * size..(block + 1) * size];
            *out = fold_row(row, &combine);
        }
        return;
    }
    for (block, out) in out.chunks_exact_mut(inner.max(1)).enumerate() {
        let mut rows = x[block * size * inner..(block + 1) * size * inner].chunks_exact(inner);
        if let Some(first) = rows.next() {
            out.copy_from_slice(first);
        }
        for row in rows {
            for (out, &x) in out.iter_mut().zip(row) {
                *out = combine(*out, x);
            }
        }
    }
}

/// One row, which has an element, in many lanes at once.
fn fold_row<T: Copy>(row: &[T], combine: impl Fn(T, T) -> T) -> T {
    let (chunks, rest) = row.as_chunks::<16>();
    let Some((&first, chunks)) = chunks.split_first() else {
        return rest[1..].iter().fold(rest[0], |so_far, &next| combine(so_far, next));
    };
    let mut lanes = first;
    for chunk in chunks {
        for (lane, &next) in lanes.iter_mut().zip(chunk) {
            *lane = combine(*lane, next);
        }
    }
    let of_lanes = lanes[1..].iter().fold(lanes[0], |so_far, &next| combine(so_far, next));
    rest.iter().fold(of_lanes, |so_far, &next| combine(so_far, next))
}

/// The position of the first element of each block's column that no other one `beats`.
pub(crate) fn position_blocks<T: Copy>(
    x: &[T],
    size: usize,
    inner: usize,
    out: &mut [i64],
    beats: impl Fn(T, T) -> bool,
) {
    for (at, out) in out.iter_mut().enumerate() {
        let (block, j) = (at / inner, at % inner);
        let value = |i: usize| x[(block * size + i) * inner + j];
        let best = (1..size).fold(0, |best, i| if beats(value(i), value(best)) { i } else { best });
        *out = best as i64;
    }
}

/// The greater of two numbers, nan if either is.
pub(crate) fn greater<T: Float>(a: T, b: T) -> T {
    if a >= b || a.is_nan() { a } else { b }
}

/// The lesser of two numbers, nan if either is.
pub(crate) fn lesser<T: Float>(a: T, b: T) -> T {
    if a <= b || a.is_nan() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sums_stay_within_four_ulp() {
        let x = vec![0.1f32; 10_000_000];
        let off = |sum: f32, exact: f64| (f64::from(sum) - exact).abs() / f64::from(sum.next_up() - sum);
        let exact = f64::from(0.1f32) * 1e7;
        assert!(off(sum(&x), exact) <= 4.0, "{}", sum(&x));
        let mut columns = [0.0f32; 2];
        sum_blocks(&x, 5_000_000, 2, &mut columns);
        assert!(off(columns[1], exact / 2.0) <= 0.5, "{columns:?}");
    }

    #[test]
    fn infinities_and_nans_come_through_a_compensated_sum() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let mut out = [0.0; 3];
        sum_blocks(&[1.0, inf, 1.0, 2.0, inf, nan, 3.0, 1.0, 2.0], 3, 3, &mut out);
        assert_eq!(out[..2], [6.0, inf]);
        assert!(out[2].is_nan());
    }

    #[test]
    fn columns_and_rows_reduce_alike() {
        let x = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0];
        let (mut rows, mut columns) = ([0.0; 2], [0.0; 3]);
        fold_blocks(&x, 3, 1, &mut rows, greater);
        fold_blocks(&x, 2, 3, &mut columns, greater);
        assert_eq!((rows, columns), ([4.0, 9.0], [3.0, 5.0, 9.0]));
        let mut positions = [0; 3];
        position_blocks(&x, 2, 3, &mut positions, |a, b| a > b);
        assert_eq!(positions, [0, 1, 1]);
    }
}
