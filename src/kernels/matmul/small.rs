//! Products with two small sizes, as in linear models of a few features and classes.
//!
//! A library for large products first copies its operands into contiguous memory. For a small product that is more
//! work than the product itself. These loops are compiled for each pair of small sizes.

use super::matrix::Matrix;
use crate::float::Float;
use std::array::from_fn;

/// No size beyond this is small.
const LARGEST_SMALL: usize = 4;

/// The library takes longer sums, because it splits them.
const MOST_TERMS: usize = 1024;

/// Whether [`small_product`] is quicker than the library for sizes (rows, depth, columns).
pub(crate) fn is_small([rows, depth, columns]: [usize; 3]) -> bool {
    if depth < rows {
        return depth.max(columns) <= LARGEST_SMALL;
    }
    rows.max(columns) <= LARGEST_SMALL && depth <= MOST_TERMS && (rows, columns) != (1, 1)
}

/// `out = a b`, or `out += a b`, for sizes (rows, depth, columns), of which the last and one other are small.
pub(crate) fn small_product<T: Float>(
    [rows, depth, columns]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    out: &mut [T],
    adds: bool,
) {
    macro_rules! for_few {
        ($function:ident, $few:expr, $third:expr; $($size:literal)*) => {
            match $few {
                $(($size, 1) => $function::<T, $size, 1>($third, a, b, out, adds),
                ($size, 2) => $function::<T, $size, 2>($third, a, b, out, adds),
                ($size, 3) => $function::<T, $size, 3>($third, a, b, out, adds),
                ($size, 4) => $function::<T, $size, 4>($third, a, b, out, adds),)*
                few => unreachable!("{few:?} are a few"),
            }
        };
    }
    if depth < rows {
        for_few!(rows_times_few, (depth, columns), rows; 1 2 3 4);
    } else {
        for_few!(few_times_few, (rows, columns), depth; 1 2 3 4);
    }
}

/// Each row of `a`, which is short, times a few columns.
fn rows_times_few<T: Float, const DEPTH: usize, const COLUMNS: usize>(
    rows: usize,
    a: Matrix<T>,
    b: Matrix<T>,
    out: &mut [T],
    adds: bool,
) {
    let b: [[T; COLUMNS]; DEPTH] = from_fn(|k| from_fn(|column| b.at(k, column)));
    for (row, out) in (0..rows).zip(out.as_chunks_mut::<COLUMNS>().0) {
        let a: [T; DEPTH] = from_fn(|k| a.at(row, k));
        let mut sums = if adds { *out } else { [T::zero(); COLUMNS] };
        for (&a, &b) in a.iter().zip(&b) {
            add_multiple(&mut sums, a, b);
        }
        *out = sums;
    }
}

/// A few rows times a few columns, as a sum of outer products.
fn few_times_few<T: Float, const ROWS: usize, const COLUMNS: usize>(
    depth: usize,
    a: Matrix<T>,
    b: Matrix<T>,
    out: &mut [T],
    adds: bool,
) {
    let mut sums = [[T::zero(); COLUMNS]; ROWS];
    for k in 0..depth {
        let b: [T; COLUMNS] = from_fn(|column| b.at(k, column));
        for (row, sums) in sums.iter_mut().enumerate() {
            add_multiple(sums, a.at(row, k), b);
        }
    }
    for (out, &sum) in out.iter_mut().zip(sums.as_flattened()) {
        *out = if adds { *out + sum } else { sum };
    }
}

/// `sums += factor * terms`
fn add_multiple<T: Float, const N: usize>(sums: &mut [T; N], factor: T, terms: [T; N]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += factor * term;
    }
}
