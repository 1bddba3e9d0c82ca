//! Walking and copying strided views.

use super::transpose::{FOUR, four_back, four_rows, row_back};
use crate::float::Float;
use crate::kernels::parallel::{for_each_chunk, for_each_chunk_beside, rows_in_chunk};
use smallvec::SmallVec;

/// Calls `row` for the innermost rows of several views of the same sizes, in row-major order: with the number of
/// elements, the start of the row in each view, and its stride in each.
///
/// Neighbouring dims that every view walks at one stride are merged first, so views of equal layout are a single row.
pub(crate) fn for_each_row<const N: usize>(
    sizes: &[usize],
    strides: [&[usize]; N],
    row: impl FnMut(usize, [usize; N], [usize; N]),
) {
    if sizes.contains(&0) {
        return;
    }
    walk(&merged_dims(sizes, strides), row);
}

/// Calls `row` for the innermost rows of `out` and several views: with the row of `out`, the start of the row in each
/// view, and its stride in each. Threads share the work along the outermost dim.
pub(crate) fn for_each_row_of<const N: usize, C: Send>(
    sizes: &[usize],
    strides: [&[usize]; N],
    out: &mut [C],
    row: impl Fn(&mut [C], [usize; N], [usize; N]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let dims = merged_dims(sizes, strides);
    let Some(&(size, outermost)) = dims.first() else {
        return row(out, [0; N], [0; N]);
    };
    let inner = out.len() / size;
    let together = rows_in_chunk(inner);
    for_each_chunk(out, together * inner, |index, mut out| {
        let mut dims = dims.clone();
        dims[0].0 = out.len() / inner;
        walk(&dims, |count, starts, strides| {
            let part = out.split_off_mut(..count).unwrap_or_default();
            row(part, std::array::from_fn(|view| index * together * outermost[view] + starts[view]), strides);
        });
    });
}

/// [`for_each_row`] for merged dims, none of which is empty.
fn walk<const N: usize>(dims: &Dims<N>, mut row: impl FnMut(usize, [usize; N], [usize; N])) {
    let Some((&(count, inner), outer)) = dims.split_last() else {
        return row(1, [0; N], [0; N]);
    };
    let mut counters: SmallVec<[usize; 4]> = SmallVec::from_elem(0, outer.len());
    let mut starts = [0; N];
    loop {
        row(count, starts, inner);
        // Counts up like an odometer, the last dim fastest.
        let mut dim = outer.len();
        loop {
            if dim == 0 {
                return;
            }
            dim -= 1;
            let (size, stride) = outer[dim];
            counters[dim] += 1;
            for view in 0..N {
                starts[view] += stride[view];
            }
            if counters[dim] < size {
                break;
            }
            counters[dim] = 0;
            for view in 0..N {
                starts[view] -= size * stride[view];
            }
        }
    }
}

/// Each dim's size and its stride in every view.
type Dims<const N: usize> = SmallVec<[(usize, [usize; N]); 4]>;

/// The sizes and strides with as few dims as possible; none at all for a single element.
fn merged_dims<const N: usize>(sizes: &[usize], strides: [&[usize]; N]) -> Dims<N> {
    let mut dims = Dims::new();
    for (dim, &size) in sizes.iter().enumerate().filter(|&(_, &size)| size != 1) {
        let stride: [usize; N] = std::array::from_fn(|view| strides[view][dim]);
        match dims.last_mut() {
            Some((outer_size, outer)) if (0..N).all(|view| outer[view] == size * stride[view]) => {
                *outer_size *= size;
                *outer = stride;
            }
            _ => dims.push((size, stride)),
        }
    }
    dims
}

/// Copies a broadcast view into row-major order.
pub(crate) fn broadcast_copy<E: Copy + Send + Sync>(
    x: &[E],
    strides: &[usize],
    sizes: &[usize],
    out: &mut [E],
) {
    for_each_row_of(sizes, [strides], out, |out, [start], [stride]| copy_strided(&x[start..], stride, out));
}

/// `out[i] = x[i * stride]` for a row that is not empty.
pub(crate) fn copy_strided<E: Copy>(x: &[E], stride: usize, out: &mut [E]) {
    match stride {
        0 => out.fill(x[0]),
        1 => out.copy_from_slice(&x[..out.len()]),
        _ => out.iter_mut().zip(x.iter().step_by(stride)).for_each(|(out, &x)| *out = x),
    }
}

/// Copies a strided view (a permutation or a broadcast) into row-major order.
pub(crate) fn strided_copy<T: Float>(x: &[T], strides: &[usize], sizes: &[usize], out: &mut [T]) {
    match merged_dims(sizes, [strides])[..] {
        [(_, [1]), (columns, [step])] if step > 0 => transposed_copy(x, step, columns, out),
        _ => broadcast_copy(x, strides, sizes, out),
    }
}

/// The rows and columns of a matrix that are transposed at once. Neighbours in a column lie far apart in memory, and
/// each is fetched with a whole cache line: the rest of that line should be used before it is replaced.
const HEIGHT: usize = 64;
const WIDTH: usize = 16;

/// `out[r * columns + c] = x[r + c * step]`
fn transposed_copy<T: Float>(x: &[T], step: usize, columns: usize, out: &mut [T]) {
    if columns == 0 {
        return;
    }
    let together = rows_in_chunk(columns).next_multiple_of(HEIGHT);
    for_each_chunk(out, together * columns, |index, out| {
        for (part, out) in out.chunks_mut(HEIGHT * columns).enumerate() {
            transposed_rows(&x[index * together + part * HEIGHT..], step, columns, out);
        }
    });
}

/// At most [`HEIGHT`] rows of a transposed matrix.
fn transposed_rows<T: Float>(x: &[T], step: usize, columns: usize, out: &mut [T]) {
    let mut block = [[T::zero(); HEIGHT]; WIDTH];
    let height = out.len() / columns;
    for first in (0..columns).step_by(WIDTH) {
        let some = first..columns.min(first + WIDTH);
        let block = &mut block[..some.len()];
        for (c, column) in some.clone().zip(&mut *block) {
            column[..height].copy_from_slice(&x[c * step..][..height]);
        }
        for (i, rows) in out.chunks_mut(FOUR * columns).enumerate() {
            if some.len() >= FOUR && rows.len() == FOUR * columns {
                four_back(block, FOUR * i, four_rows(rows, columns).map(|row| &mut row[some.clone()]));
            } else {
                for (lane, row) in rows.chunks_exact_mut(columns).enumerate() {
                    row_back(block, FOUR * i + lane, &mut row[some.clone()]);
                }
            }
        }
    }
}

/// Copies consecutive runs of `length` elements to position `start` of every row of `row_length` elements.
pub(crate) fn copy_into_rows<E: Copy + Send + Sync>(
    x: &[E],
    out: &mut [E],
    row_length: usize,
    start: usize,
    length: usize,
) {
    if length == 0 || row_length == 0 {
        return;
    }
    if length == row_length {
        return for_each_chunk_beside(x, out, |x, out| out.copy_from_slice(x));
    }
    let rows = rows_in_chunk(row_length);
    for_each_chunk(out, rows * row_length, |index, out| {
        let runs = x[index * rows * length..].chunks_exact(length);
        for (out, x) in out.chunks_exact_mut(row_length).zip(runs) {
            out[start..start + length].copy_from_slice(x);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Matrices of many sizes: one alone, and (2, 3) of them whose outer dims are exchanged too. Some have gaps between
    /// their columns.
    fn transposes<T: Float>() {
        for (rows, columns) in
            [(1, 1), (2, 3), (5, 5), (3, 70), (64, 16), (65, 17), (130, 33), (33, 1000), (5000, 7)]
        {
            for (outer, step) in [([1, 1], rows), ([1, 1], rows + 2), ([2, 3], rows), ([2, 3], rows + 2)] {
                let (matrix, count) = (step * columns, outer[0] * outer[1]);
                let x: Vec<T> = (0..count * matrix).map(|i| T::from_f64(i as f64)).collect();
                let mut out = vec![T::zero(); count * rows * columns];
                let strides = [matrix, outer[0] * matrix, 1, step];
                strided_copy(&x, &strides, &[outer[0], outer[1], rows, columns], &mut out);
                for (i, out) in out.iter().enumerate() {
                    let (index, in_matrix) = (i / (rows * columns), i % (rows * columns));
                    let start = (index / outer[1] + index % outer[1] * outer[0]) * matrix;
                    let expected =
                        T::from_f64((start + in_matrix / columns + in_matrix % columns * step) as f64);
                    assert_eq!(*out, expected, "{index} of {outer:?}, {rows} x {columns}, {step}");
                }
            }
        }
    }

    #[test]
    fn matrices_of_any_size_are_transposed() {
        transposes::<f32>();
        transposes::<f64>();
    }

    #[test]
    fn a_column_is_repeated() {
        let mut out = [0.0f32; 6];
        strided_copy(&[1.0, 2.0], &[1, 0], &[2, 3], &mut out);
        assert_eq!(out, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn equal_layouts_are_one_row() {
        let mut rows = Vec::new();
        for_each_row(&[2, 3, 4], [&[12, 4, 1], &[12, 4, 1]], |count, starts, _| rows.push((count, starts)));
        assert_eq!(rows, [(24, [0, 0])]);
        rows.clear();
        for_each_row(&[2, 3], [&[3, 1], &[0, 1]], |count, starts, _| rows.push((count, starts)));
        assert_eq!(rows, [(3, [0, 0]), (3, [3, 0])]);
    }

    #[test]
    fn a_scalar_is_one_row_and_an_empty_view_none() {
        let mut count = 0;
        for_each_row(&[], [&[]], |_, _, _| count += 1);
        assert_eq!(count, 1);
        for_each_row(&[3, 0], [&[0, 1]], |_, _, _| count += 1);
        assert_eq!(count, 1);
    }
}
