//! Cutting work into chunks for several threads.
//!
//! Where a chunk ends depends on the shape of the work alone, and every chunk is computed by itself, so
//! the results are the same bits for any number of threads.

/// A chunk should be worth the hand-over to another thread: about this many elements.
const ELEMENTS_IN_CHUNK: usize = 1 << 15;

/// Fewer chunks are done before another thread has woken up.
const FEWEST_CHUNKS: usize = 4;

/// How many lines of a size make a chunk.
pub(crate) fn lines_in_chunk(size: usize) -> usize {
    (ELEMENTS_IN_CHUNK / size.max(1)).max(1)
}

/// Calls `f` with the index and the elements of every chunk of a slice. A few chunks stay on the calling thread.
pub(crate) fn for_each_chunk<A: Send>(a: &mut [A], length: usize, f: impl Fn(usize, &mut [A]) + Sync) {
    let (chunks, f) = (a.chunks_mut(length).enumerate(), |(index, a): (usize, &mut [A])| f(index, a));
    if chunks.len() < FEWEST_CHUNKS { chunks.for_each(f) } else { share_out(chunks, f) }
}

/// The same for chunks of two slices that belong together.
pub(crate) fn for_each_chunk_of_two<A: Send, B: Send>(
    a: &mut [A],
    a_length: usize,
    b: &mut [B],
    b_length: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    let pairs = a.chunks_mut(a_length).zip(b.chunks_mut(b_length)).enumerate();
    let f = |(index, (a, b)): (usize, (&mut [A], &mut [B]))| f(index, a, b);
    if pairs.len() < FEWEST_CHUNKS { pairs.for_each(f) } else { share_out(pairs, f) }
}

/// Calls `f` with every item, each a piece of work of its own, on as many threads as there are.
///
/// It takes tens of microseconds until a thread has woken up. So the calling thread does not hand the work over
/// and wait, but begins it, and others take items as soon as they are there.
#[cfg(feature = "rayon")]
pub(crate) fn share_out<I>(items: I, f: impl Fn(I::Item) + Sync)
where
    I: ExactSizeIterator + Send,
{
    let threads = items.len().min(rayon::current_num_threads());
    if threads <= 1 {
        return items.for_each(f);
    }
    let items = std::sync::Mutex::new(items);
    let next = || items.lock().ok().and_then(|mut items| items.next());
    let work = || {
        while let Some(item) = next() {
            f(item);
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| work());
        }
        work();
    });
}

/// Calls `f` with every item.
#[cfg(not(feature = "rayon"))]
pub(crate) fn share_out<I: ExactSizeIterator>(items: I, f: impl Fn(I::Item)) {
    items.for_each(f);
}
