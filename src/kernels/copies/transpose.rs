//! Rows turned on their side and back, as a matrix is transposed.
//!
//! To transpose a matrix one number at a time takes as long as to compute its exponentials. So it is transposed in
//! squares of four rows and four columns, each with a few shuffles of registers. The compiler does not find the
//! shuffles by itself: for `f32` on x86-64 they are called by name, through `pulp`. No other code here depends on the
//! processor.

use crate::float::Float;

/// The number of rows, and of columns, of a square.
pub(crate) const FOUR: usize = 4;

/// `sides[c][i] = x[i * size + c]` for every row i of `x`.
#[inline(always)]
pub(crate) fn turn_on_side<T: Float, const LANES: usize>(x: &[T], size: usize, sides: &mut [[T; LANES]]) {
    match sides {
        [a] => return elements(x).enumerate().for_each(|(i, &[x])| a[i] = x),
        [a, b] => return elements(x).enumerate().for_each(|(i, &[x, y])| (a[i], b[i]) = (x, y)),
        [a, b, c] => {
            return elements(x).enumerate().for_each(|(i, &[x, y, z])| (a[i], b[i], c[i]) = (x, y, z));
        }
        _ => {}
    }
    let fours = x.chunks_exact(FOUR * size);
    let after_fours = x.len() / size / FOUR * FOUR;
    let has_end = !size.is_multiple_of(FOUR);
    for (i, row) in fours.remainder().chunks_exact(size).enumerate() {
        for (side, &x) in sides.iter_mut().zip(row) {
            side[after_fours + i] = x;
        }
    }
    for (i, rows) in fours.enumerate() {
        let (left, right) = rows.split_at(2 * size);
        let ((a, b), (c, d)) = (left.split_at(size), right.split_at(size));
        let squares = elements(a).zip(elements(b)).zip(elements(c).zip(elements(d)));
        for (((a, b), (c, d)), sides) in squares.zip(sides.as_chunks_mut().0) {
            square_on_side([a, b, c, d], sides, FOUR * i);
        }
        let ends = (a.last_chunk(), b.last_chunk(), c.last_chunk(), d.last_chunk());
        if has_end
            && let (Some(a), Some(b), Some(c), Some(d)) = ends
            && let Some(sides) = sides.last_chunk_mut()
        {
            square_on_side([a, b, c, d], sides, FOUR * i);
        }
    }
}

/// `out[i * size + c] = sides[c][i]` for every row i of `out`.
#[inline(always)]
pub(crate) fn turn_back<T: Float, const LANES: usize>(sides: &[[T; LANES]], size: usize, out: &mut [T]) {
    match sides {
        [a] => return elements_mut(out).enumerate().for_each(|(i, out)| *out = [a[i]]),
        [a, b] => return elements_mut(out).enumerate().for_each(|(i, out)| *out = [a[i], b[i]]),
        [a, b, c] => return elements_mut(out).enumerate().for_each(|(i, out)| *out = [a[i], b[i], c[i]]),
        _ => {}
    }
    let after_fours = out.len() / size / FOUR * FOUR;
    let mut fours = out.chunks_exact_mut(FOUR * size);
    for (i, rows) in fours.by_ref().enumerate() {
        four_back(sides, FOUR * i, four_rows(rows, size));
    }
    for (i, row) in fours.into_remainder().chunks_exact_mut(size).enumerate() {
        row_back(sides, after_fours + i, row);
    }
}

/// Splits four rows of `size` elements.
#[inline(always)]
pub(crate) fn four_rows<T>(rows: &mut [T], size: usize) -> [&mut [T]; FOUR] {
    let (left, right) = rows.split_at_mut(2 * size);
    let ((a, b), (c, d)) = (left.split_at_mut(size), right.split_at_mut(size));
    [a, b, c, d]
}

/// Writes the rows of four lanes, of which `lane` is the first.
#[inline(always)]
pub(crate) fn four_back<T: Float, const LANES: usize>(
    sides: &[[T; LANES]],
    lane: usize,
    [a, b, c, d]: [&mut [T]; FOUR],
) {
    let has_end = !sides.len().is_multiple_of(FOUR);
    let squares = elements_mut(a).zip(elements_mut(b)).zip(elements_mut(c).zip(elements_mut(d)));
    for (((a, b), (c, d)), sides) in squares.zip(sides.as_chunks().0) {
        square_back(sides, lane, [a, b, c, d]);
    }
    let ends = (a.last_chunk_mut(), b.last_chunk_mut(), c.last_chunk_mut(), d.last_chunk_mut());
    if has_end
        && let (Some(a), Some(b), Some(c), Some(d)) = ends
        && let Some(sides) = sides.last_chunk()
    {
        square_back(sides, lane, [a, b, c, d]);
    }
}

/// Writes the row of one lane.
#[inline(always)]
pub(crate) fn row_back<T: Float, const LANES: usize>(sides: &[[T; LANES]], lane: usize, row: &mut [T]) {
    for (out, side) in row.iter_mut().zip(sides) {
        *out = side[lane];
    }
}

/// The elements, N at a time.
#[inline(always)]
fn elements<T, const N: usize>(x: &[T]) -> impl Iterator<Item = &[T; N]> {
    x.as_chunks().0.iter()
}

#[inline(always)]
fn elements_mut<T, const N: usize>(x: &mut [T]) -> impl Iterator<Item = &mut [T; N]> {
    x.as_chunks_mut().0.iter_mut()
}

#[inline(always)]
fn square_on_side<T: Float, const LANES: usize>(
    [a, b, c, d]: [&[T; FOUR]; FOUR],
    sides: &mut [[T; LANES]; FOUR],
    lane: usize,
) {
    let columns = transposed([*a, *b, *c, *d]);
    for (side, column) in sides.iter_mut().zip(&columns) {
        side[lane..lane + FOUR].copy_from_slice(column);
    }
}

#[inline(always)]
fn square_back<T: Float, const LANES: usize>(
    sides: &[[T; LANES]; FOUR],
    lane: usize,
    [a, b, c, d]: [&mut [T; FOUR]; FOUR],
) {
    let mut columns = [[T::zero(); FOUR]; FOUR];
    for (column, side) in columns.iter_mut().zip(sides) {
        column.copy_from_slice(&side[lane..lane + FOUR]);
    }
    [*a, *b, *c, *d] = transposed(columns);
}

/// A square with rows and columns exchanged.
#[inline(always)]
fn transposed<T: Float>([a, b, c, d]: [[T; FOUR]; FOUR]) -> [[T; FOUR]; FOUR] {
    #[cfg(target_arch = "x86_64")]
    if let (crate::float::DType::F32, Some(sse)) = (T::DTYPE, pulp::core_arch::x86::Sse::try_new()) {
        use bytemuck::cast;
        use std::arch::x86_64::__m128;
        let (a, b, c, d) = (cast::<_, __m128>(a), cast(b), cast(c), cast(d));
        let (ab_low, ab_high) = (sse._mm_unpacklo_ps(a, b), sse._mm_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (sse._mm_unpacklo_ps(c, d), sse._mm_unpackhi_ps(c, d));
        return [
            cast(sse._mm_movelh_ps(ab_low, cd_low)),
            cast(sse._mm_movehl_ps(cd_low, ab_low)),
            cast(sse._mm_movelh_ps(ab_high, cd_high)),
            cast(sse._mm_movehl_ps(cd_high, ab_high)),
        ];
    }
    [[a[0], b[0], c[0], d[0]], [a[1], b[1], c[1], d[1]], [a[2], b[2], c[2], d[2]], [a[3], b[3], c[3], d[3]]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of every size, also more than fill squares, go to their places and come back.
    fn turns<T: Float>() {
        for size in 1..=13 {
            for count in 0..=9 {
                let x: Vec<T> = (0..count * size).map(|i| T::from_f64(1.0 + i as f64)).collect();
                let mut sides = vec![[T::zero(); 9]; size];
                turn_on_side(&x, size, &mut sides);
                for (c, side) in sides.iter().enumerate() {
                    for (i, &element) in side.iter().enumerate() {
                        let expected = if i < count { 1.0 + (i * size + c) as f64 } else { 0.0 };
                        assert_eq!(element.to_f64(), expected, "{count} rows of {size}: {i}, {c}");
                    }
                }
                let mut back = vec![T::zero(); x.len()];
                turn_back(&sides, size, &mut back);
                assert_eq!(back, x, "{count} rows of {size}");
            }
        }
    }

    #[test]
    fn rows_are_turned_and_come_back() {
        turns::<f32>();
        turns::<f64>();
    }
}
