//! A matrix as the products see it: a slice with strides.

/// The element at (row, column) is `values[row * row_stride + column * column_stride]`. Exchanging the strides
/// transposes the matrix without a copy.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub values: &'a [T],
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<T: Copy> Matrix<'_, T> {
    #[inline(always)]
    pub fn at(&self, row: usize, column: usize) -> T {
        self.values[row * self.row_stride + column * self.column_stride]
    }

    pub fn rows_from(self, row: usize) -> Self {
        Matrix { values: &self.values[row * self.row_stride..], ..self }
    }

    pub fn transposed(self) -> Self {
        Matrix { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }
}
