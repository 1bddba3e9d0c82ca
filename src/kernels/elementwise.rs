//! One output element from one or two input elements.

use super::layout::for_each_row;
use super::parallel::{ELEMENTS_IN_CHUNK, for_each_chunk, for_each_chunk_beside};
use num_traits::Float;

/// `out[i] = f(x[i])`
pub(crate) fn map<A: Copy + Sync, B: Send>(x: &[A], out: &mut [B], f: impl Fn(A) -> B + Copy + Sync) {
    for_each_chunk_beside(x, out, |x, out| map_chunk(x, out, f));
}

/// The same on one thread, with an f of its own: what that holds can wait in registers.
fn map_chunk<A: Copy, B>(x: &[A], out: &mut [B], f: impl Fn(A) -> B) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}

/// `out[i] = f(a[i], b[i])`
fn zip<A: Copy + Sync, B: Copy + Sync, C: Send>(
    a: &[A],
    b: &[B],
    out: &mut [C],
    f: impl Fn(A, B) -> C + Copy + Sync,
) {
    for_each_chunk(out, ELEMENTS_IN_CHUNK, |index, out| {
        let start = index * ELEMENTS_IN_CHUNK;
        zip_chunk(&a[start..], &b[start..], out, f);
    });
}

/// The same on one thread.
fn zip_chunk<A: Copy, B: Copy, C>(a: &[A], b: &[B], out: &mut [C], f: impl Fn(A, B) -> C) {
    for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = f(a, b);
    }
}

/// `x[i] += y[i]`
pub(crate) fn add_assign<T: Float>(x: &mut [T], y: &[T]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = *x + y;
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
    let mut rest = out;
    for_each_row(sizes, [a_strides, b_strides], |count, [a_start, b_start], strides| {
        let (row, tail) = std::mem::take(&mut rest).split_at_mut(count);
        let (a, b) = (&a[a_start..], &b[b_start..]);
        match strides {
            [1, 1] => zip(a, b, row, f),
            [1, 0] => {
                let b = b[0];
                map(a, row, move |a| f(a, b));
            }
            [0, 1] => {
                let a = a[0];
                map(b, row, move |b| f(a, b));
            }
            [a_stride, b_stride] => {
                for (i, out) in row.iter_mut().enumerate() {
                    *out = f(a[i * a_stride], b[i * b_stride]);
                }
            }
        }
        rest = tail;
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
