//! Cutting work into chunks for several threads.
//!
//! Where a chunk ends depends on the shape of the work alone, and every chunk is computed by itself, so
//! the results are the same bits for any number of threads.

/// A chunk should be worth the hand-over to another thread: about this many elements.
const ELEMENTS_IN_CHUNK: usize = 1 << 15;

/// How many lines of a size make a chunk.
pub(crate) fn lines_in_chunk(size: usize) -> usize {
    (ELEMENTS_IN_CHUNK / size.max(1)).max(1)
}

/// Calls `f` with the index and the elements of every chunk of a slice. A single chunk, or all of them
/// without the feature `rayon`, stays on the calling thread.
pub(crate) fn for_each_chunk<A: Send>(a: &mut [A], length: usize, f: impl Fn(usize, &mut [A]) + Sync) {
    #[cfg(feature = "rayon")]
    if a.len() > length {
        use rayon::prelude::*;
        return a.par_chunks_mut(length).enumerate().for_each(|(index, a)| f(index, a));
    }
    a.chunks_mut(length).enumerate().for_each(|(index, a)| f(index, a));
}

/// The same for chunks of two slices that belong together.
pub(crate) fn for_each_chunk_of_two<A: Send, B: Send>(
    a: &mut [A],
    a_length: usize,
    b: &mut [B],
    b_length: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    #[cfg(feature = "rayon")]
    if a.len() > a_length {
        use rayon::prelude::*;
        let pairs = a.par_chunks_mut(a_length).zip(b.par_chunks_mut(b_length));
        return pairs.enumerate().for_each(|(index, (a, b))| f(index, a, b));
    }
    let pairs = a.chunks_mut(a_length).zip(b.chunks_mut(b_length));
    pairs.enumerate().for_each(|(index, (a, b))| f(index, a, b));
}
