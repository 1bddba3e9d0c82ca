//! The memory behind a tensor.

use crate::error::{Error, Result};
use crate::float::Float;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The bytes of all buffers that are alive, for [`live_bytes`].
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The bytes that all tensors and saved values of this process hold at the moment.
///
/// What a training loop holds between two steps should not grow; this number and
/// [`live_nodes`](crate::live_nodes) are how to see whether it does.
pub fn live_bytes() -> usize {
    LIVE_BYTES.load(Relaxed)
}

/// Contiguous elements: what one or more tensors and saved values share.
pub(crate) struct Buffer<T: Float>(Vec<T>);

impl<T: Float> Buffer<T> {
    /// Takes over a vector.
    pub fn from_vec(values: Vec<T>) -> Self {
        LIVE_BYTES.fetch_add(values.capacity() * size_of::<T>(), Relaxed);
        Buffer(values)
    }

    /// A buffer of zeros. The pages of a large one come from the operating system untouched, and
    /// are zero without being written.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the allocator refuses.
    pub fn zeroed(length: usize) -> Result<Self> {
        let out_of_memory = |()| Error::OutOfMemory { bytes: length.saturating_mul(size_of::<T>()) };
        bytemuck::allocation::try_zeroed_vec(length).map(Buffer::from_vec).map_err(out_of_memory)
    }

    /// A copy.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the allocator refuses.
    pub fn duplicate(&self) -> Result<Self> {
        let mut copy = Buffer::zeroed(self.0.len())?;
        copy.0.copy_from_slice(&self.0);
        Ok(copy)
    }

    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Float> Drop for Buffer<T> {
    fn drop(&mut self) {
        LIVE_BYTES.fetch_sub(self.0.capacity() * size_of::<T>(), Relaxed);
    }
}
