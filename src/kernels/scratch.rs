//! Memory for what a kernel keeps while it runs.

use num_traits::Float;
use std::collections::TryReserveError;

/// A vector of zeros. `vec![0.0; length]` would ask the allocator for zeroed memory, which for a short vector takes
/// longer than writing the zeros.
pub(crate) fn zeros<T: Float>(length: usize) -> Vec<T> {
    let mut zeros = Vec::with_capacity(length);
    zeros.resize(length, T::zero());
    zeros
}

/// A vector of one value, or an error if the allocator refuses.
pub(crate) fn try_filled<V: Copy>(value: V, length: usize) -> Result<Vec<V>, TryReserveError> {
    let mut values = Vec::new();
    values.try_reserve_exact(length)?;
    values.resize(length, value);
    Ok(values)
}
