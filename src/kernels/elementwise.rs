//! One output element from one or two input elements.

use super::copies::strided::for_each_row_of;
use super::parallel::for_each_chunk_beside;
use crate::float::Float;

/// `out[i] = f(x[i])`
pub(crate) fn map<A: Copy + Sync, B: Send>(x: &[A], out: &mut [B], f: impl Fn(A) -> B + Copy + Sync) {
    for_each_chunk_beside(x, out, |x, out| map_row(x, out, f));
}

/// The same on one thread. `f` is taken by value, so that what it captured can stay in registers.
fn map_row<A: Copy, B>(x: &[A], out: &mut [B], f: impl Fn(A) -> B) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}

/// `out[i] = f(a[i], b[i])`
fn zip_row<A: Copy, B: Copy, C>(a: &[A], b: &[B], out: &mut [C], f: impl Fn(A, B) -> C) {
    for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = f(a, b);
    }
}

/// `x[i] += y[i]`
pub(crate) fn add_assign<T: Float>(x: &mut [T], y: &[T]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `out[i] = f(a[i], b[i])` over two strided views, `out` in row-major order.
pub(crate) fn zip_strided<A: Copy + Sync, B: Copy + Sync, C: Send>(
    (a, a_strides): (&[A], &[usize]),
    (b, b_strides): (&[B], &[usize]),
    sizes: &[usize],
    out: &mut [C],
    f: impl Fn(A, B) -> C + Copy + Sync,
) {
    for_each_row_of(sizes, [a_strides, b_strides], out, |out, [a_start, b_start], strides| {
        let (a, b) = (&a[a_start..], &b[b_start..]);
        match strides {
            [1, 1] => zip_row(a, b, out, f),
            [1, 0] => {
                let b = b[0];
                map_row(a, out, |a| f(a, b));
            }
            [0, 1] => {
                let a = a[0];
                map_row(b, out, |b| f(a, b));
            }
            [a_stride, b_stride] => {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = f(a[i * a_stride], b[i * b_stride]);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_views_are_combined_element_by_element() {
        let (column, row) = ([10.0, 20.0], [1.0, 2.0, 3.0]);
        let mut out = [0.0; 6];
        zip_strided((&column, &[1, 0]), (&row, &[0, 1]), &[2, 3], &mut out, |a, b| a + b);
        assert_eq!(out, [11.0, 12.0, 13.0, 21.0, 22.0, 23.0]);
    }
}
