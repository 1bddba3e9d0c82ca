//! Walking and copying strided views.

use super::parallel::{for_each_chunk, for_each_chunk_beside, lines_in_chunk};
use smallvec::SmallVec;

/// Calls `row` for the innermost rows of several views of the same sizes, in row-major order, with
/// the number of elements, where the row starts in each view, and its stride in each.
///
/// Neighbouring dims that every view walks at one stride are merged first, so that views of equal
/// layout are a single row.
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

/// Calls `row` with every innermost row of `out` and where it starts and what its stride is in each view. Work is cut
/// along the outermost dim.
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
    let together = lines_in_chunk(inner);
    for_each_chunk(out, together * inner, |index, mut out| {
        let mut dims = dims.clone();
        dims[0].0 = out.len() / inner;
        walk(&dims, |count, starts, strides| {
            let part = out.split_off_mut(..count).unwrap_or_default();
            row(part, std::array::from_fn(|view| index * together * outermost[view] + starts[view]), strides);
        });
    });
}

/// The rows of merged dims, none of which is empty.
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

/// Copies a strided view (a broadcast or a permutation) into row-major order.
pub(crate) fn strided_copy<E: Copy + Send + Sync>(
    x: &[E],
    strides: &[usize],
    sizes: &[usize],
    out: &mut [E],
) {
    if let [(rows, [1]), (columns, [step])] = merged_dims(sizes, [strides])[..]
        && step > 0
    {
        return transposed_copy(x, step, [rows, columns], out);
    }
    for_each_row_of(sizes, [strides], out, |out, [start], [stride]| match stride {
        0 => out.fill(x[start]),
        1 => out.copy_from_slice(&x[start..start + out.len()]),
        _ => out.iter_mut().zip(x[start..].iter().step_by(stride)).for_each(|(out, &x)| *out = x),
    });
}

/// `out[r * columns + c] = x[r + c * step]`, by blocks: each column lies far from the next, and what is fetched of
/// it along with one element should serve several rows.
fn transposed_copy<E: Copy + Send + Sync>(x: &[E], step: usize, [rows, columns]: [usize; 2], out: &mut [E]) {
    const HEIGHT: usize = 64;
    const WIDTH: usize = 16;
    let (Some(&any), false) = (x.first(), out.is_empty()) else { return };
    let rows_in_chunk = lines_in_chunk(columns).next_multiple_of(HEIGHT);
    for_each_chunk(out, rows_in_chunk * columns, |index, out| {
        let mut block = [[any; HEIGHT]; WIDTH];
        for (part, out) in out.chunks_mut(HEIGHT * columns).enumerate() {
            let row = index * rows_in_chunk + part * HEIGHT;
            let height = HEIGHT.min(rows - row);
            for first in (0..columns).step_by(WIDTH) {
                let width = WIDTH.min(columns - first);
                for (c, column) in block[..width].iter_mut().enumerate() {
                    column[..height].copy_from_slice(&x[row + (first + c) * step..][..height]);
                }
                for (r, out) in out.chunks_exact_mut(columns).enumerate() {
                    for (out, column) in out[first..first + width].iter_mut().zip(&block) {
                        *out = column[r];
                    }
                }
            }
        }
    });
}

/// Copies consecutive blocks of `length` elements to `start` in every row of `row_length` elements.
pub(crate) fn copy_into_block<E: Copy + Send + Sync>(
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
    let rows = lines_in_chunk(row_length);
    for_each_chunk(out, rows * row_length, |index, out| {
        let blocks = x[index * rows * length..].chunks_exact(length);
        for (out, x) in out.chunks_exact_mut(row_length).zip(blocks) {
            out[start..start + length].copy_from_slice(x);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_is_copied_in_row_major_order() {
        let x: Vec<i32> = (0..24).collect(); // (2, 3, 4)
        let mut out = vec![0; 24];
        strided_copy(&x, &[1, 12, 4], &[4, 2, 3], &mut out);
        assert_eq!(out[..6], [0, 4, 8, 12, 16, 20]);
        assert_eq!(out[23], 23);
    }

    #[test]
    fn a_matrix_of_any_size_is_transposed() {
        for (rows, columns) in [(1, 1), (2, 3), (3, 70), (64, 16), (65, 17), (130, 33), (33, 1000), (5000, 7)]
        {
            let x: Vec<usize> = (0..rows * columns + 5).collect();
            for step in [rows, rows + 5 / columns] {
                let mut out = vec![0; rows * columns];
                strided_copy(&x, &[1, step], &[rows, columns], &mut out);
                for (i, &out) in out.iter().enumerate() {
                    assert_eq!(out, i / columns + i % columns * step, "{rows} x {columns}, {step}");
                }
            }
        }
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
