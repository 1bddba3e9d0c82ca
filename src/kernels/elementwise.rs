//! One output element from one or two input elements.

use super::layout::for_each_row;
use num_traits::Float;

/// `out[i] = f(x[i])`
pub(crate) fn map<A: Copy, B>(x: &[A], out: &mut [B], f: impl Fn(A) -> B) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}

/// `x[i] += y[i]`
pub(crate) fn add_assign<T: Float>(x: &mut [T], y: &[T]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = *x + y;
    }
}

/// `out[i] = f(a[i], b[i])` over two strided views, `out` in row-major order.
pub(crate) fn zip_strided<A: Copy, B: Copy, C>(
    (a, a_strides): (&[A], &[usize]),
    (b, b_strides): (&[B], &[usize]),
    sizes: &[usize],
    out: &mut [C],
    f: impl Fn(A, B) -> C,
) {
    let mut rest = out;
    for_each_row(sizes, [a_strides, b_strides], |count, [a_start, b_start], strides| {
        let (row, tail) = std::mem::take(&mut rest).split_at_mut(count);
        let (a, b) = (&a[a_start..], &b[b_start..]);
        match strides {
            [1, 1] => row.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (&a, &b))| *out = f(a, b)),
            [1, 0] => map(a, row, |a| f(a, b[0])),
            [0, 1] => map(b, row, |b| f(a[0], b)),
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
