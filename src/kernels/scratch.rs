//! Memory for what a kernel keeps while it runs.

use num_traits::Float;

/// So many zeros. `vec![0.0; length]` would ask the allocator for zeroed memory, which for a small step takes
/// longer than writing the zeros.
pub(crate) fn zeros<T: Float>(length: usize) -> Vec<T> {
    let mut zeros = Vec::with_capacity(length);
    zeros.resize(length, T::zero());
    zeros
}
