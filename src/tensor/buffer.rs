//! The memory behind a tensor, recycled when the last handle goes.
//!
//! A fresh large allocation is expensive: the operating system hands out each of its pages at the first
//! touch, which takes three times as long as writing to them. A training loop asks for the same sizes
//! again and again, so large buffers wait on a shelf for the next request. The shelf has a limit, and
//! what is not asked for again leaves it.

use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::{parallel, scratch};
use smallvec::SmallVec;
use std::any::Any;
use std::mem::take;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The bytes of all buffers that are alive, for [`live_bytes`].
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The bytes that all tensors and saved values of this process hold at the moment, without those that wait
/// to be used again.
///
/// What a training loop holds between two steps should not grow; this number and
/// [`live_nodes`](crate::memory::live_nodes) are how to see whether it does.
pub fn live_bytes() -> usize {
    LIVE_BYTES.load(Relaxed)
}

/// How many zeros one thread writes at a time: that takes about as long as a chunk of another kernel.
const ZEROS_IN_CHUNK: usize = 1 << 16;

/// Contiguous elements: what one or more tensors and saved values share.
pub(crate) struct Buffer<T: Float> {
    /// May be longer than what was asked for.
    memory: Memory<T>,
    length: usize,
}

/// Up to four elements lie in the buffer itself, so that a loss needs no allocation of its own.
type Memory<T> = SmallVec<[T; FEW]>;
const FEW: usize = 4;

impl<T: Float> Buffer<T> {
    /// Takes over a vector.
    pub fn from_vec(values: Vec<T>) -> Self {
        let length = values.len();
        Buffer::of_memory(SmallVec::from_vec(values), length)
    }

    /// A buffer of zeros. The pages of a large fresh one come from the operating system untouched, and
    /// are zero without being written.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the allocator refuses.
    pub fn zeroed(length: usize) -> Result<Self> {
        let Some(mut memory) = recycled(length) else {
            return Ok(Buffer::of_memory(zeros(length)?, length));
        };
        parallel::for_each_chunk(&mut memory[..length], ZEROS_IN_CHUNK, |_, chunk| chunk.fill(T::zero()));
        Ok(Buffer::of_memory(memory, length))
    }

    /// A buffer to be overwritten: it may hold numbers of an earlier use.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the allocator refuses.
    pub fn to_overwrite(length: usize) -> Result<Self> {
        let memory = match recycled(length) {
            Some(memory) => memory,
            None => zeros(length)?,
        };
        let mut buffer = Buffer::of_memory(memory, length);
        if cfg!(debug_assertions) {
            buffer.as_mut_slice().fill(T::nan()); // so that a test sees what a kernel forgets
        }
        Ok(buffer)
    }

    fn of_memory(memory: Memory<T>, length: usize) -> Self {
        LIVE_BYTES.fetch_add(length * size_of::<T>(), Relaxed);
        Buffer { memory, length }
    }

    /// The elements, without a copy.
    pub fn into_vec(mut self) -> Vec<T> {
        let mut memory = take(&mut self.memory).into_vec();
        memory.truncate(self.length);
        memory
    }

    pub fn as_slice(&self) -> &[T] {
        &self.memory[..self.length]
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.memory[..self.length]
    }
}

impl<T: Float> Drop for Buffer<T> {
    fn drop(&mut self) {
        LIVE_BYTES.fetch_sub(self.length * size_of::<T>(), Relaxed);
        if !is_small::<T>(self.memory.len()) {
            recycle(take(&mut self.memory).into_vec());
        }
    }
}

compiled! {
    /// A copy.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the allocator refuses.
    pub(super) fn duplicate<T>(buffer: &Buffer<T>) -> Result<Buffer<T>> {
        let mut copy = Buffer::to_overwrite(buffer.length)?;
        copy.as_mut_slice().copy_from_slice(buffer.as_slice());
        Ok(copy)
    }

    /// Puts a large buffer on the shelf.
    fn recycle<T>(memory: Vec<T>) {
        if let Some(mut shelf) = shelf() {
            let leaving = shelf.put(memory);
            drop(shelf);
            drop(leaving); // outside the lock
        }
    }
}

fn zeros<T: Float>(length: usize) -> Result<Memory<T>> {
    if length <= FEW {
        return Ok(SmallVec::from_buf_and_len([T::zero(); FEW], length));
    }
    let out_of_memory = |()| Error::OutOfMemory { bytes: length.saturating_mul(size_of::<T>()) };
    let attempt = || {
        if is_small::<T>(length) {
            return scratch::try_filled(T::zero(), length).map_err(|_| ());
        }
        bytemuck::allocation::try_zeroed_vec(length)
    };
    // The memory that is missing may lie on the shelves.
    let zeros = attempt().or_else(|()| {
        release_recycled();
        attempt().map_err(out_of_memory)
    });
    zeros.map(SmallVec::from_vec)
}

/// A large buffer from the shelf, if there is one that fits.
fn recycled<T: Float>(length: usize) -> Option<Memory<T>> {
    if is_small::<T>(length) {
        return None;
    }
    shelf().and_then(|mut shelf| shelf.take(length)).map(SmallVec::from_vec)
}

/// Small buffers are left to the allocator, which keeps them at hand itself.
fn is_small<T>(length: usize) -> bool {
    length.saturating_mul(size_of::<T>()) < 32 * 1024
}

/// Buffers that wait to be used again.
struct Shelf<T> {
    /// Each with the number of returns at which it came.
    waiting: Vec<(Vec<T>, usize)>,
    returns: usize,
    bytes: usize,
    limit: usize,
}

/// A buffer that waited while this many others came back leaves the shelf.
const PATIENCE: usize = 1000;

impl<T> Shelf<T> {
    const fn new() -> Self {
        Shelf { waiting: Vec::new(), returns: 0, bytes: 0, limit: 1 << 30 }
    }

    /// The smallest buffer that is large enough, but not much larger.
    fn take(&mut self, length: usize) -> Option<Vec<T>> {
        let fits =
            |(memory, _): &&(Vec<T>, usize)| memory.len() >= length && memory.len() - length <= length / 4;
        let best = self.waiting.iter().filter(fits).map(|(memory, _)| memory.len()).min()?;
        let place = self.waiting.iter().rposition(|(memory, _)| memory.len() == best)?;
        let (memory, _) = self.waiting.remove(place);
        self.bytes -= size_of_val(&memory[..]);
        Some(memory)
    }

    /// Takes a buffer back, and gives out those that have no place any more.
    fn put(&mut self, memory: Vec<T>) -> Vec<(Vec<T>, usize)> {
        self.returns += 1;
        self.bytes += size_of_val(&memory[..]);
        self.waiting.push((memory, self.returns));
        // The oldest stand in front.
        let mut bytes = self.bytes;
        let leaves = |(memory, came): &(Vec<T>, usize)| {
            let leaves = bytes > self.limit || self.returns - came > PATIENCE;
            bytes -= if leaves { size_of_val(&memory[..]) } else { 0 };
            leaves
        };
        let count = self.waiting.iter().map(leaves).take_while(|&leaves| leaves).count();
        let leaving: Vec<_> = self.waiting.drain(..count).collect();
        self.bytes -= leaving.iter().map(|(memory, _)| size_of_val(&memory[..])).sum::<usize>();
        leaving
    }
}

static SHELF_F32: Mutex<Shelf<f32>> = Mutex::new(Shelf::new());
static SHELF_F64: Mutex<Shelf<f64>> = Mutex::new(Shelf::new());

/// The shelf for elements of type `T`.
fn shelf<T: Float>() -> Option<MutexGuard<'static, Shelf<T>>> {
    let shelves: [&'static dyn Any; 2] = [&SHELF_F32, &SHELF_F64];
    let shelf = shelves.into_iter().find_map(|shelf| shelf.downcast_ref::<Mutex<Shelf<T>>>())?;
    Some(shelf.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What can be done to a shelf whatever its elements are.
trait AnyShelf {
    fn bytes(&self) -> usize;
    fn set_limit(&mut self, bytes: usize);
    fn clear(&mut self);
}

impl<T> AnyShelf for Shelf<T> {
    fn bytes(&self) -> usize {
        self.bytes
    }
    fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }
    fn clear(&mut self) {
        self.bytes = 0;
        self.waiting = Vec::new();
    }
}

fn for_each_shelf(mut f: impl FnMut(&mut dyn AnyShelf)) {
    f(&mut *SHELF_F32.lock().unwrap_or_else(PoisonError::into_inner));
    f(&mut *SHELF_F64.lock().unwrap_or_else(PoisonError::into_inner));
}

/// The bytes of large buffers that wait to be used again.
///
/// Buffers of 32 KiB and more are kept when the last tensor that uses them goes, because fresh memory is
/// several times slower to write to. They go back to the system when they have not been asked for while
/// 1000 others came back, when there are more than [the limit](set_recycled_limit), and on
/// [`release_recycled`].
pub fn recycled_bytes() -> usize {
    let mut total = 0;
    for_each_shelf(|shelf| total += shelf.bytes());
    total
}

/// Gives all buffers that wait to be used again back to the system.
pub fn release_recycled() {
    for_each_shelf(|shelf| shelf.clear());
}

/// Sets how many bytes of buffers may wait to be used again, for each precision: 1 GiB unless set, and 0 keeps
/// nothing. If more are waiting, the oldest are freed when the next buffer comes back.
pub fn set_recycled_limit(bytes: usize) {
    for_each_shelf(|shelf| shelf.set_limit(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf_with(lengths: &[usize]) -> Shelf<f32> {
        let mut shelf = Shelf::new();
        for &length in lengths {
            assert!(shelf.put(vec![0.0; length]).is_empty());
        }
        shelf
    }

    #[test]
    fn the_smallest_buffer_that_fits_is_used_again() {
        let mut shelf = shelf_with(&[40_000, 20_000, 24_000]);
        assert_eq!(shelf.take(20_001).map(|memory| memory.len()), Some(24_000));
        assert_eq!(shelf.take(20_001), None, "40,000 would be a waste");
        assert_eq!(shelf.take(40_000).map(|memory| memory.len()), Some(40_000));
        assert_eq!(shelf.bytes, 80_000);
    }

    #[test]
    fn the_oldest_leave_beyond_the_limit_and_after_a_while() {
        let mut shelf = shelf_with(&[20_000, 30_000]);
        shelf.limit = 200_000;
        let leaving = shelf.put(vec![0.0; 20_000]);
        assert_eq!(leaving.iter().map(|(memory, _)| memory.len()).collect::<Vec<_>>(), [20_000]);
        assert_eq!(shelf.bytes, 200_000);
        shelf.returns += PATIENCE;
        let leaving = shelf.put(vec![0.0; 17_000]);
        assert_eq!(leaving.len(), 2);
        assert_eq!((shelf.waiting.len(), shelf.bytes), (1, 68_000));
    }

    #[test]
    fn recycled_zeros_are_zeros() {
        let length = 123_457; // a size of its own: other tests run at the same time
        let mut first = Buffer::<f32>::to_overwrite(length).unwrap();
        first.as_mut_slice().fill(7.0);
        drop(first);
        assert!(Buffer::<f32>::zeroed(length).unwrap().as_slice().iter().all(|&x| x == 0.0));
    }
}
