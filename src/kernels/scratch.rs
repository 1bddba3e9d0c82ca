//! Memory for what a kernel keeps while it runs.

use num_traits::Float;
use std::collections::TryReserveError;

/// So many zeros. `vec![0.0; length]` would ask the allocator for zeroed memory, which for a small step takes
/// longer than writing the zeros.
pub(crate) fn zeros<T: Float>(length: usize) -> Vec<T> {
    let mut zeros = Vec::with_capacity(length);
    zeros.resize(length, T::zero());
    zeros
}

/// One value so many times, where a refusal of the allocator can be answered.
pub(crate) fn try_filled<V: Copy>(value: V, length: usize) -> Result<Vec<V>, TryReserveError> {
    let mut values = Vec::new();
    values.try_reserve_exact(length)?;
    values.resize(length, value);
    Ok(values)
}
