//! Matrix products by the `gemm` library.
#![allow(unsafe_code)] // the one place: a library's kernel takes pointers

pub(crate) mod matrix;
mod small;

use crate::float::{DType, Float};
#[cfg(feature = "rayon")]
use crate::kernels::parallel::let_helpers_sleep;
use crate::kernels::parallel::{for_each_chunk, rows_in_chunk, share_out};
use gemm_common::Parallelism;
use gemm_common::gemm::{get_rhs_packing_threshold, set_rhs_packing_threshold};
use matrix::Matrix;
use small::{is_small, small_product};

/// `out = a b` for `a` of shape (rows, depth), `b` of shape (depth, columns) and `out` in row-major order.
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
    repeat(bias, out);
    product(sizes, a, b, out, true);
}

/// Fills `out` with copies of a row. Every call copies what is filled already, up to a limit: for a short row alone, a
/// call would take longer than the copy.
fn repeat<T: Copy>(row: &[T], out: &mut [T]) {
    const TOGETHER: usize = 4096; // in the fastest cache
    let mut filled = row.len().min(out.len());
    out[..filled].copy_from_slice(&row[..filled]);
    let most = (TOGETHER / row.len().max(1)).max(1) * row.len();
    while filled < out.len() {
        let count = filled.min(most).min(out.len() - filled);
        out.copy_within(..count, filled);
        filled += count;
    }
}

/// `out = a b`, or `out += a b`, for sizes (rows, depth, columns).
///
/// The result is the same bits for any number of threads, because the sizes alone decide how its rows are divided into
/// parts. Large products are shared among threads by the library itself: there too, the steps along the depth follow
/// from the sizes, and each element is computed on one thread.
fn product<T: Float>(sizes: [usize; 3], a: Matrix<T>, b: Matrix<T>, out: &mut [T], adds: bool) {
    if sizes.contains(&0) {
        return;
    }
    let [rows, depth, columns] = sizes;
    if is_small(sizes) {
        let together = rows_in_chunk(columns);
        return for_each_chunk(out, together * columns, |index, out| {
            let a = a.rows_from(index * together);
            small_product([out.len() / columns, depth, columns], a, b, out, adds);
        });
    }
    let multiplications = rows.saturating_mul(depth).saturating_mul(columns);
    if multiplications >= LARGE {
        return with_all_threads(|threads| library_product(sizes, a, b, out, adds, threads));
    }
    if multiplications < 2 * MULTIPLICATIONS_IN_PART {
        return library_product(sizes, a, b, out, adds, Parallelism::None);
    }
    let parts = (multiplications / MULTIPLICATIONS_IN_PART).min(MOST_PARTS);
    // A multiple of the library's tiles: only the last part may leave lanes of a vector empty.
    let rows_in_part = rows.div_ceil(parts).next_multiple_of(32);
    share_out(out.chunks_mut(rows_in_part * columns).enumerate(), |(index, out)| {
        let a = a.rows_from(index * rows_in_part);
        library_product([out.len() / columns, depth, columns], a, b, out, adds, Parallelism::None);
    });
}

/// A thread takes about 50 microseconds for this many multiplications. Handing over fewer does not pay.
const MULTIPLICATIONS_IN_PART: usize = 1 << 21;

/// Every part prepares the right operand again, so there should be few. With two threads, more parts were slower; this
/// has not been measured with many threads.
const MOST_PARTS: usize = 4;

/// From this many multiplications on, the library shares the work among threads itself. It takes longer to start, but
/// prepares each operand only once.
const LARGE: usize = 1 << 25;

/// One call of the library.
fn library_product<T: Float>(
    sizes: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    out: &mut [T],
    adds: bool,
    threads: Parallelism,
) {
    match T::DTYPE {
        DType::F32 => {
            let (gemm_f32, out) = (gemm_f32::gemm::f32::get_gemm_fn(), bytemuck::cast_slice_mut(out));
            gemm::<f32>(gemm_f32, sizes, as_type(a), as_type(b), out, adds, threads)
        }
        DType::F64 => {
            let (gemm_f64, out) = (gemm_f64::gemm::f64::get_gemm_fn(), bytemuck::cast_slice_mut(out));
            gemm::<f64>(gemm_f64, sizes, as_type(a), as_type(b), out, adds, threads)
        }
    }
}

/// The same matrix. `U` is the type that `T` stands for.
fn as_type<T: Float, U: Float>(matrix: Matrix<'_, T>) -> Matrix<'_, U> {
    let Matrix { values, row_stride, column_stride } = matrix;
    Matrix { values: bytemuck::cast_slice(values), row_stride, column_stride }
}

/// The library's product. Its arguments: m, n, k; dst, its column and row strides, whether it is read; lhs and its
/// strides; rhs and its strides; the factors of dst and of the product; three conjugations; the threads.
#[rustfmt::skip]
type Gemm<T> = unsafe fn(
    usize, usize, usize, *mut T, isize, isize, bool, *const T, isize, isize, *const T, isize, isize,
    T, T, bool, bool, bool, Parallelism,
);

/// Runs a call of the library on as many threads as there are.
#[cfg(feature = "rayon")]
fn with_all_threads(call: impl FnOnce(Parallelism) + Send) {
    if rayon::current_num_threads() == 1 {
        return call(Parallelism::None);
    }
    let_helpers_sleep();
    // The library forks and joins several times. Inside the pool, its threads stay awake in between.
    rayon::scope(|_| call(Parallelism::Rayon(0)));
}

#[cfg(not(feature = "rayon"))]
fn with_all_threads(call: impl FnOnce(Parallelism)) {
    call(Parallelism::None);
}

/// From this many tiles of rows on, the library copies its right operand into contiguous memory; by default it does so
/// from four times as many. Without the copy, columns that lie a power of two apart compete for a few sets of the
/// cache. The copy makes products of 1000 to 2048 rows and columns about a tenth faster. The setting holds for the
/// whole process and changes no result.
const TILES_WORTH_PACKING: usize = 32;

fn gemm<T: Float>(
    gemm: Gemm<T>,
    [rows, depth, columns]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    out: &mut [T],
    adds: bool,
    threads: Parallelism,
) {
    let last = |matrix: &Matrix<T>, rows: usize, columns: usize| {
        (rows - 1) * matrix.row_stride + (columns - 1) * matrix.column_stride
    };
    assert!(rows > 0 && columns > 0 && depth > 0 && out.len() == rows * columns);
    assert!(last(&a, rows, depth) < a.values.len() && last(&b, depth, columns) < b.values.len());
    if get_rhs_packing_threshold() > TILES_WORTH_PACKING {
        set_rhs_packing_threshold(TILES_WORTH_PACKING);
    }
    let (mut rows, mut columns, mut a, mut b) = (rows, columns, a, b);
    let (mut row_stride, mut column_stride) = (columns, 1);
    if is_quicker_transposed([rows, depth, columns], &a, &b) {
        (rows, columns, a, b) = (columns, rows, b.transposed(), a.transposed());
        (row_stride, column_stride) = (column_stride, row_stride);
    }
    let factor_of_out = if adds { T::one() } else { T::zero() };
    let strides = |matrix: &Matrix<T>| (matrix.column_stride as isize, matrix.row_stride as isize);
    let ((a_column_stride, a_row_stride), (b_column_stride, b_row_stride)) = (strides(&a), strides(&b));
    // SAFETY: the library reads `a` at row * row_stride + column * column_stride for row < rows and column < depth, and
    // `b` likewise for (depth, columns). It writes `out`, or adds to it, at its own strides for (rows, columns). The
    // assertions above keep the greatest of these positions inside the slices, which live throughout the call. A
    // transposed product reads and writes at the same positions, because sizes and strides are exchanged together.
    // `out` is borrowed mutably, so it overlaps neither input. The function pointer comes from the library's own
    // detection of what this processor can execute.
    #[rustfmt::skip]
    let () = unsafe {
        gemm(
            rows, columns, depth, out.as_mut_ptr(), column_stride as isize, row_stride as isize, adds,
            a.values.as_ptr(), a_column_stride, a_row_stride, b.values.as_ptr(), b_column_stride, b_row_stride,
            factor_of_out, T::one(), false, false, false, threads,
        )
    };
}

/// Whether the library computes out = a b faster as its transpose, out^T = b^T a^T.
///
/// Its vectors run down the columns of the result. In the transpose, such a column is a row of `out` and is stored
/// whole; otherwise it is scattered one value at a time. The left operand is read by columns too: unless they are
/// contiguous, it is gathered one value at a time. And if the number of rows is not a multiple of a vector's length,
/// lanes stay empty. To scatter or gather a value costs about as much as a vector of multiplications.
fn is_quicker_transposed<T>([rows, depth, columns]: [usize; 3], a: &Matrix<T>, b: &Matrix<T>) -> bool {
    if depth <= 2 {
        // Here the library runs down each column, which must not be too short. It neither gathers nor fills lanes.
        return columns >= rows.min(8);
    }
    const TILE: usize = 16; // for f32, the library's tiles are multiples of this
    let work = |side: usize, other_side: usize, is_contiguous: bool| {
        let gathered = if is_contiguous { 0 } else { side * depth };
        let empty_lanes = side.next_multiple_of(TILE) - side;
        gathered + empty_lanes * other_side * depth / TILE
    };
    let scattered = rows * columns;
    work(columns, rows, b.column_stride == 1) <= work(rows, columns, a.row_stride == 1) + scattered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some numbers between -1 and 1.
    fn values<T: Float>(length: usize, seed: u32) -> Vec<T> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state as i32) / f64::from(i32::MAX)
        };
        (0..length).map(|_| T::from_f64(next())).collect()
    }

    /// Compares with the definition, for operands stored as they are and transposed. In any order, a sum of `depth`
    /// products is off by at most `depth` roundings of the sum of their magnitudes.
    fn assert_products_are_right<T: Float>(sizes: [usize; 3]) {
        let [rows, depth, columns] = sizes;
        let (a, b, bias) =
            (values::<T>(rows * depth, 1), values::<T>(depth * columns, 2), values::<T>(columns, 3));
        let mut out = vec![T::zero(); rows * columns];
        for (a_transposed, b_transposed) in [(false, false), (false, true), (true, false), (true, true)] {
            let stored = |values, rows, columns, transposed| {
                let plain = Matrix { values, row_stride: columns, column_stride: 1 };
                if transposed { Matrix { row_stride: 1, column_stride: rows, ..plain } } else { plain }
            };
            let a = stored(&a[..], rows, depth, a_transposed);
            let b = stored(&b[..], depth, columns, b_transposed);
            for adds_rows in [false, true] {
                if adds_rows {
                    matmul_add_rows(sizes, a, b, &bias, &mut out);
                } else {
                    matmul(sizes, a, b, &mut out);
                }
                for (index, &out) in out.iter().enumerate() {
                    let (row, column) = (index / columns, index % columns);
                    let initial = if adds_rows { bias[column].to_f64() } else { 0.0 };
                    let (mut sum, mut magnitude) = (initial, initial.abs());
                    for i in 0..depth {
                        let a = a.values[row * a.row_stride + i * a.column_stride].to_f64();
                        let b = b.values[i * b.row_stride + column * b.column_stride].to_f64();
                        sum += a * b;
                        magnitude += (a * b).abs();
                    }
                    // The sum that it is compared with is rounded too.
                    let bound = (depth + 1) as f64 * (T::epsilon().to_f64() + f64::EPSILON) * magnitude;
                    assert!(
                        (out.to_f64() - sum).abs() <= bound,
                        "{sizes:?}, transposed: {a_transposed}, {b_transposed}; ({row}, {column}): {out:?} for {sum}"
                    );
                }
            }
        }
    }

    #[test]
    fn products_of_all_proportions_are_right() {
        // Among them: fewer than a vector holds, few rows and a large right operand, several steps along the depth.
        #[rustfmt::skip]
        let all = [
            [1, 1, 1], [1, 70, 1], [1, 33, 40], [40, 33, 1], [100, 2, 3], [3, 100, 2], [2, 1, 90], [7, 13, 17],
            [8, 8, 8], [16, 40, 4], [16, 16, 16], [10, 90, 70], [70, 90, 10], [65, 5, 66], [48, 1_100, 24],
        ];
        for sizes in all {
            assert_products_are_right::<f32>(sizes);
            assert_products_are_right::<f64>(sizes);
        }
    }

    #[test]
    fn products_of_few_rows_and_columns_are_right() {
        for (few, also_few) in (1..=5).flat_map(|few| (1..=5).map(move |also_few| (few, also_few))) {
            for many in [1, 2, 6, 101, 1024, 1025] {
                assert_products_are_right::<f32>([few, many, also_few]);
                assert_products_are_right::<f64>([many, few, also_few]);
            }
        }
    }

    #[test]
    fn products_on_both_sides_of_each_threshold_are_right() {
        let (depth, columns) = (128, 256);
        for rows in
            [2 * MULTIPLICATIONS_IN_PART, LARGE].map(|multiplications| multiplications / (depth * columns))
        {
            for rows in [rows - 1, rows, rows + 1] {
                assert_products_are_right::<f32>([rows, depth, columns]);
                assert_products_are_right::<f64>([rows, depth, columns]);
            }
        }
    }

    #[test]
    fn products_are_transposed_where_that_gathers_less() {
        let stored = |rows, columns, transposed| {
            let (row_stride, column_stride) = if transposed { (1, rows) } else { (columns, 1) };
            Matrix::<f32> { values: &[], row_stride, column_stride }
        };
        let quicker = |sizes: [usize; 3], a_transposed, b_transposed| {
            let [rows, depth, columns] = sizes;
            is_quicker_transposed(
                sizes,
                &stored(rows, depth, a_transposed),
                &stored(depth, columns, b_transposed),
            )
        };
        assert!(quicker([1024, 1024, 1024], false, false));
        assert!(quicker([128, 64, 784], true, false)); // the gradient of a weight
        assert!(!quicker([64, 784, 128], false, true)); // gathering the weight would take longer
        assert!(quicker([64, 128, 10], false, true));
        assert!(!quicker([100, 2, 3], false, true)); // three numbers are too short a column
        assert!(!quicker([16, 1000, 4], true, false)); // three of four lanes would be empty
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
