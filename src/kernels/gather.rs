//! Picking and adding elements by position along one dim.
//!
//! The tensors are seen as (outer, size, inner).

use crate::float::Float;

/// How an index tensor of shape (.., n, ..) walks over another tensor of shape (.., size, ..). For every element of
/// the index it gives the place in the other tensor that the element stands for.
pub(crate) struct Walk {
    /// The sizes of the index.
    pub sizes: Vec<usize>,
    /// The strides of the other tensor, 0 along the dim.
    pub strides: Vec<usize>,
    /// The stride of the other tensor along the dim.
    pub step: usize,
}

impl Walk {
    /// Calls `visit(i, place)` for every element `i` of the index, in row-major order. The index was checked.
    fn for_each(&self, index: &[i64], mut visit: impl FnMut(usize, usize)) {
        let mut i = 0;
        super::copies::strided::for_each_row(&self.sizes, [&self.strides], |count, [start], [stride]| {
            for along in 0..count {
                visit(i, start + along * stride + index[i] as usize * self.step);
                i += 1;
            }
        });
    }

    /// `out[i] = x[place of i]`
    pub fn gather<E: Copy>(&self, x: &[E], index: &[i64], out: &mut [E]) {
        self.for_each(index, |i, place| out[i] = x[place]);
    }

    /// `out[place of i] += x[i]`; what goes to one place is added in the order of the index.
    pub fn scatter_add<T: Float>(&self, x: &[T], index: &[i64], out: &mut [T]) {
        self.for_each(index, |i, place| out[place] += x[i]);
    }
}

/// Copies whole runs of `inner` elements: `out[o, i] = x[o, index[i]]` for x of shape (outer, size, inner).
pub(crate) fn select_runs<E: Copy>(x: &[E], size: usize, inner: usize, index: &[i64], out: &mut [E]) {
    if inner == 0 || size == 0 || index.is_empty() {
        return;
    }
    for (x, out) in x.chunks_exact(size * inner).zip(out.chunks_exact_mut(index.len() * inner)) {
        for (&i, out) in index.iter().zip(out.chunks_exact_mut(inner)) {
            out.copy_from_slice(&x[i as usize * inner..][..inner]);
        }
    }
}

/// The adjoint: `out[o, index[i]] += x[o, i]`; what goes to one place is added in the order of the index.
pub(crate) fn add_runs<T: Float>(x: &[T], size: usize, inner: usize, index: &[i64], out: &mut [T]) {
    if inner == 0 || size == 0 || index.is_empty() {
        return;
    }
    for (out, x) in out.chunks_exact_mut(size * inner).zip(x.chunks_exact(index.len() * inner)) {
        for (&i, x) in index.iter().zip(x.chunks_exact(inner)) {
            super::elementwise::add_assign(&mut out[i as usize * inner..][..inner], x);
        }
    }
}
