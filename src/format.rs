//! Printing tensors.

use crate::float::Float;
use crate::index::Indices;
use crate::tensor::Tensor;
use std::fmt;

/// Short: precision and shape, never the numbers.
impl<T: Float> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} of {})", T::DTYPE, self.shape())
    }
}

/// Short: the shape, never the numbers.
impl fmt::Debug for Indices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Indices({})", self.shape())
    }
}
