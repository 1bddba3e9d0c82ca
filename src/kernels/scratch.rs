//! Memory for the time that a kernel runs.

use num_traits::Float;
use std::collections::TryReserveError;

/// A vector of zeros. `vec![0.0; length]` would ask for zeroed memory, which takes longer for a short vector than
/// writing the zeros.
pub(crate) fn zeros<T: Float>(length: usize) -> Vec<T> {
    let mut zeros = Vec::with_capacity(length);
    zeros.resize(length, T::zero());
    zeros
}

/// A vector that repeats one value, or an error if the allocator refuses.
pub(crate) fn try_filled<V: Copy>(value: V, length: usize) -> Result<Vec<V>, TryReserveError> {
    let mut values = Vec::new();
    values.try_reserve_exact(length)?;
    values.resize(length, value);
    Ok(values)
}
