//! Matrix products by the `gemm` library.
#![allow(unsafe_code)] // the one place: a library's kernel takes pointers

use crate::float::{DType, Float};
use gemm_common::Parallelism;

/// A matrix in a slice: the element at (row, column) is `values[row * row_stride + column *
/// column_stride]`. Exchanging the strides transposes it without a copy.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub values: &'a [T],
    pub row_stride: usize,
    pub column_stride: usize,
}

/// `out = a b` for `a` of shape (rows, depth), `b` of shape (depth, columns) and `out` in row-major
/// order.
pub(crate) fn matmul<T: Float>(sizes: [usize; 3], a: Matrix<T>, b: Matrix<T>, out: &mut [T]) {
    if sizes[1] == 0 {
        return out.fill(T::zero());
    }
    product(sizes, a, b, out, false);
}

/// `out = a b + bias`, the bias added to every row.
pub(crate) fn matmul_add_rows<T: Float>(
    sizes: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    bias: &[T],
    out: &mut [T],
) {
    for row in out.chunks_exact_mut(bias.len().max(1)) {
        row.copy_from_slice(bias);
    }
    product(sizes, a, b, out, true);
}

/// `out = a b`, or `out += a b`, for sizes (rows, depth, columns).
fn product<T: Float>(sizes: [usize; 3], a: Matrix<T>, b: Matrix<T>, out: &mut [T], adds: bool) {
    if sizes.contains(&0) {
        return;
    }
    match T::DTYPE {
        DType::F32 => {
            let (gemm_f32, out) = (gemm_f32::gemm::f32::get_gemm_fn(), bytemuck::cast_slice_mut(out));
            gemm::<f32>(gemm_f32, sizes, as_type(a), as_type(b), out, adds)
        }
        DType::F64 => {
            let (gemm_f64, out) = (gemm_f64::gemm::f64::get_gemm_fn(), bytemuck::cast_slice_mut(out));
            gemm::<f64>(gemm_f64, sizes, as_type(a), as_type(b), out, adds)
        }
    }
}

/// The same matrix under the type that `T` is.
fn as_type<T: Float, U: Float>(matrix: Matrix<'_, T>) -> Matrix<'_, U> {
    let Matrix { values, row_stride, column_stride } = matrix;
    Matrix { values: bytemuck::cast_slice(values), row_stride, column_stride }
}

/// The library's product: (m, n, k, dst, its column and row strides, whether dst is read, lhs and
/// strides, rhs and strides, the factors of dst and of the product, three conjugations, threads).
#[rustfmt::skip]
type Gemm<T> = unsafe fn(
    usize, usize, usize, *mut T, isize, isize, bool, *const T, isize, isize, *const T, isize, isize,
    T, T, bool, bool, bool, Parallelism,
);

/// Runs a product of so many multiplications on one thread, or if it is large on as many as there are.
///
/// The library cuts the result into tiles and the depth into steps that follow from the sizes alone, and
/// every tile is computed by one thread: the result is the same bits for any number of threads.
#[cfg(feature = "rayon")]
fn with_threads(multiplications: usize, product: impl FnOnce(Parallelism) + Send) {
    const LARGE: usize = 1 << 21;
    if multiplications < LARGE || rayon::current_num_threads() == 1 {
        return product(Parallelism::None);
    }
    // The library forks and joins several times. From inside the pool that does not wake a thread each time.
    rayon::scope(|_| product(Parallelism::Rayon(0)));
}

#[cfg(not(feature = "rayon"))]
fn with_threads(_multiplications: usize, product: impl FnOnce(Parallelism)) {
    product(Parallelism::None);
}

fn gemm<T: Float>(
    gemm: Gemm<T>,
    [rows, depth, columns]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    out: &mut [T],
    adds: bool,
) {
    let last = |matrix: &Matrix<T>, rows: usize, columns: usize| {
        (rows - 1) * matrix.row_stride + (columns - 1) * matrix.column_stride
    };
    assert!(rows > 0 && columns > 0 && depth > 0 && out.len() == rows * columns);
    assert!(last(&a, rows, depth) < a.values.len() && last(&b, depth, columns) < b.values.len());
    let multiplications = rows.saturating_mul(depth).saturating_mul(columns);
    // SAFETY: the library reads `a` at row * row_stride + column * column_stride for row < rows and
    // column < depth, `b` likewise for (depth, columns), and writes `out`, or adds to it, at
    // row * columns + column. The assertions above hold the greatest of these positions inside the slices,
    // which live throughout the call; `out` is borrowed mutably, so it overlaps neither input. The function
    // pointer comes from the library's own detection of what this processor can execute.
    with_threads(multiplications, |threads| unsafe {
        gemm(
            rows,
            columns,
            depth,
            out.as_mut_ptr(),
            1,
            columns as isize,
            adds,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            if adds { T::one() } else { T::zero() },
            T::one(),
            false,
            false,
            false,
            threads,
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_transpose_without_a_copy() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // (2, 3), or (3, 2) transposed
        let b = [1.0, -1.0, 2.0, 0.5]; // (2, 2)
        let (mut plain, mut transposed) = ([0.0f64; 6], [0.0f64; 6]);
        let columns = |values, row_stride, column_stride| Matrix { values, row_stride, column_stride };
        matmul([3, 2, 2], columns(&a, 2, 1), columns(&b, 2, 1), &mut plain);
        assert_eq!(plain, [5.0, 0.0, 11.0, -1.0, 17.0, -2.0]);
        matmul([3, 2, 2], columns(&a, 1, 3), columns(&b, 1, 2), &mut transposed);
        assert_eq!(transposed, [-3.0, 4.0, -3.0, 6.5, -3.0, 9.0]);
    }

    #[test]
    fn a_product_over_nothing_is_zero_or_the_bias() {
        let mut out = [7.0f32; 4];
        let empty = Matrix { values: &[], row_stride: 0, column_stride: 1 };
        matmul([2, 0, 2], empty, empty, &mut out);
        assert_eq!(out, [0.0; 4]);
        matmul_add_rows([2, 0, 2], empty, empty, &[1.0, 2.0], &mut out);
        assert_eq!(out, [1.0, 2.0, 1.0, 2.0]);
    }
}
