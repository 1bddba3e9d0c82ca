//! Cutting work into chunks for several threads.
//!
//! Where a chunk ends depends on the shape of the work alone, and every chunk is computed by itself, so
//! the results are the same bits for any number of threads.

use std::ops::Range;

/// A chunk should be worth the hand-over to another thread: about this many elements.
pub(crate) const ELEMENTS_IN_CHUNK: usize = 1 << 14;

/// So many short rows are processed together.
pub(crate) const ROWS_IN_BLOCK: usize = 32;

/// Work of at least so many elements takes longer than waking up a thread.
const LONG: usize = 8 * ELEMENTS_IN_CHUNK;

/// How many rows of a size make a chunk; short ones, which are processed together, in numbers that fill blocks.
pub(crate) fn rows_in_chunk(size: usize) -> usize {
    let count = (ELEMENTS_IN_CHUNK / size.max(1)).max(1);
    if count < ROWS_IN_BLOCK { count } else { count.next_multiple_of(ROWS_IN_BLOCK) }
}

/// Calls `f` with the index and the elements of every chunk of a slice.
pub(crate) fn for_each_chunk<A: Send>(a: &mut [A], length: usize, f: impl Fn(usize, &mut [A]) + Sync) {
    share_out(a.chunks_mut(length).enumerate(), length >= LONG, |(index, a)| f(index, a));
}

/// Calls `f` with every chunk of a slice and where it lies, for functions of single elements.
pub(crate) fn for_each_range<A: Send>(out: &mut [A], f: impl Fn(Range<usize>, &mut [A]) + Sync) {
    for_each_chunk(out, ELEMENTS_IN_CHUNK, |index, out| {
        let start = index * ELEMENTS_IN_CHUNK;
        f(start..start + out.len(), out);
    });
}

/// Calls `f` with every chunk of a slice and what lies beside it in another of the same length.
pub(crate) fn for_each_chunk_beside<A: Sync, B: Send>(
    x: &[A],
    out: &mut [B],
    f: impl Fn(&[A], &mut [B]) + Sync,
) {
    for_each_range(out, |range, out| f(&x[range], out));
}

#[cfg(feature = "rayon")]
pub(crate) use threads::{let_helpers_sleep, share_out};

/// Calls `f` with every item.
#[cfg(not(feature = "rayon"))]
pub(crate) fn share_out<I: ExactSizeIterator>(items: I, _are_long: bool, f: impl Fn(I::Item)) {
    items.for_each(f);
}

/// Helpers of the calling thread, which stay awake for a while.
///
/// It takes tens of microseconds until a thread has woken up, longer than many a kernel runs. So who has work to
/// share calls the helpers and begins alone; as soon as one is there, they share what is left. A helper without
/// work keeps looking for some for a moment, because in a training loop the next is not far away. Whoever looks or
/// waits offers the processor to others all the time: on a busy machine somebody may need it for this very work.
#[cfg(feature = "rayon")]
mod threads {
    use rayon::{ThreadPool, ThreadPoolBuilder, Yield, current_num_threads, current_thread_index};
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::SeqCst};
    use std::sync::{LazyLock, Mutex};
    use std::thread::yield_now;
    use std::time::{Duration, Instant};

    /// One thread fewer than rayon would use, because the calling thread works too; none if they cannot be had.
    static HELPERS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
        let helpers = current_num_threads() - 1;
        let pool = ThreadPoolBuilder::new().num_threads(helpers).thread_name(|i| format!("tapegrad-{i}"));
        if helpers == 0 { None } else { pool.build().ok() }
    });

    /// How many helpers are awake and without work. What it says may be past already; so it decides who works, and
    /// never what is computed.
    static IDLE: AtomicIsize = AtomicIsize::new(0);

    /// Whether the helpers have been called, and none has gone, or was sent, to sleep since. The first who goes takes
    /// all along: where one of them sleeps, rayon would wake it up for every piece of work.
    static CALLED: AtomicBool = AtomicBool::new(false);

    /// How many callers have begun alone, and wait for one to come.
    static WAITING: AtomicIsize = AtomicIsize::new(0);

    thread_local! {
        /// Whether this thread is a helper that is awake.
        static IS_AWAKE: Cell<bool> = const { Cell::new(false) };
    }

    /// How long a helper looks for work, and how long the calling thread looks out for the last helper to be
    /// done, before they go to sleep.
    const PATIENCE: Duration = Duration::from_millis(1);

    /// Calls `f` with every item, each a piece of work of its own, on as many threads as there are. Items that take
    /// longer than waking up a thread are shared from the first one on. `f` does not share out work itself.
    pub(crate) fn share_out<I>(mut items: I, are_long: bool, f: impl Fn(I::Item) + Sync)
    where
        I: ExactSizeIterator + Send,
    {
        if items.len() < 2 {
            return items.for_each(f);
        }
        if current_thread_index().is_some() {
            // Inside somebody's pool its own threads help.
            let others = (current_num_threads() - 1).min(items.len() - 1);
            let work = in_turns(items, f);
            return rayon::in_place_scope(|scope| {
                (0..others).for_each(|_| scope.spawn(|_| work()));
                work();
            });
        }
        let Some(helpers) = HELPERS.as_ref() else { return items.for_each(f) };
        if !are_long {
            if !CALLED.swap(true, SeqCst) {
                helpers.spawn(|| rayon::spawn_broadcast(|_| stay_awake()));
            }
            let _waiting = Counted::by(1, &WAITING);
            while IDLE.load(SeqCst) <= 0
                && let Some(item) = items.next()
            {
                f(item);
            }
        }
        if items.len() < 2 {
            return items.for_each(f);
        }
        let others = helpers.current_num_threads().min(items.len() - 1);
        let work = &in_turns(items, f);
        let unfinished = AtomicIsize::new(0);
        helpers.in_place_scope(|scope| {
            for _ in 0..others {
                let begun = Counted::by(1, &unfinished);
                scope.spawn(move |_| {
                    let _begun = begun;
                    let _busy = IS_AWAKE.get().then(|| Counted::by(-1, &IDLE));
                    work();
                });
            }
            work();
            // The scope would wait asleep.
            let start = Instant::now();
            while unfinished.load(SeqCst) > 0 && start.elapsed() < PATIENCE {
                yield_now();
            }
        });
    }

    /// What several threads may run at once: it takes one item after the other, until there are none.
    fn in_turns<I: Iterator + Send>(items: I, f: impl Fn(I::Item) + Sync) -> impl Fn() + Sync {
        let items = Mutex::new(items);
        let next = move || items.lock().ok().and_then(|mut items| items.next());
        move || {
            while let Some(item) = next() {
                f(item);
            }
        }
    }

    /// A change to a counter that is taken back at the end, a panic included.
    struct Counted<'a>(isize, &'a AtomicIsize);

    impl<'a> Counted<'a> {
        fn by(change: isize, counter: &'a AtomicIsize) -> Self {
            counter.fetch_add(change, SeqCst);
            Counted(change, counter)
        }
    }

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.1.fetch_sub(self.0, SeqCst);
        }
    }

    /// Leaves the processor to threads of others.
    pub(crate) fn let_helpers_sleep() {
        CALLED.store(false, SeqCst);
    }

    /// Looks for work until there has been none for a while, or until there is to be none. Who waits for help
    /// with a long piece of work gets it.
    fn stay_awake() {
        if IS_AWAKE.replace(true) {
            return;
        }
        let _idle = Counted::by(1, &IDLE);
        CALLED.store(true, SeqCst);
        let mut last_work = Instant::now();
        while WAITING.load(SeqCst) > 0 || CALLED.load(SeqCst) && last_work.elapsed() < PATIENCE {
            match rayon::yield_now() {
                Some(Yield::Executed) => last_work = Instant::now(),
                _ => yield_now(),
            }
        }
        IS_AWAKE.set(false);
        CALLED.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Every chunk is visited once, with its own index, by several callers at once, who find the helpers asleep,
    /// waking up, awake and busy.
    #[test]
    fn every_chunk_is_visited_once() {
        let visit_all = |length: usize, pause: usize| {
            let mut visits = vec![0u32; length];
            let calls = AtomicUsize::new(0);
            for_each_chunk(&mut visits, 100, |index, chunk| {
                (0..pause).for_each(|_| std::hint::spin_loop());
                chunk.iter_mut().enumerate().for_each(|(i, visit)| *visit += (index * 100 + i) as u32);
                calls.fetch_add(1, Relaxed);
            });
            assert!(visits.iter().enumerate().all(|(i, &visit)| visit == i as u32), "{length}");
            assert_eq!(calls.into_inner(), length.div_ceil(100));
        };
        std::thread::scope(|scope| {
            for caller in 0..3 {
                scope.spawn(move || {
                    for (length, pause) in
                        [(0, 0), (99, 10), (101, 100), (1_000, 1_000), (30_007, 10), (5_000, 2_000)]
                    {
                        (0..20 + caller).for_each(|_| visit_all(length, pause));
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                });
            }
        });
    }
}
