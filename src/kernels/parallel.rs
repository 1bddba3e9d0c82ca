//! Cutting work into chunks for several threads.
//!
//! Where a chunk ends depends on the shape of the work alone, and every chunk is computed by itself, so
//! the results are the same bits for any number of threads.

use std::ops::Range;

/// A chunk should be worth the hand-over to another thread: about this many elements.
pub(crate) const ELEMENTS_IN_CHUNK: usize = 1 << 14;

/// So many short rows are processed together.
pub(crate) const ROWS_IN_BLOCK: usize = 32;

/// How many rows of a size make a chunk; short ones, which are processed together, in numbers that fill blocks.
pub(crate) fn rows_in_chunk(size: usize) -> usize {
    let count = (ELEMENTS_IN_CHUNK / size.max(1)).max(1);
    if count < ROWS_IN_BLOCK { count } else { count.next_multiple_of(ROWS_IN_BLOCK) }
}

/// Calls `f` with the index and the elements of every chunk of a slice.
pub(crate) fn for_each_chunk<A: Send>(a: &mut [A], length: usize, f: impl Fn(usize, &mut [A]) + Sync) {
    share_out(a.chunks_mut(length).enumerate(), |(index, a)| f(index, a));
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
pub(crate) fn share_out<I: ExactSizeIterator>(items: I, f: impl Fn(I::Item)) {
    items.for_each(f);
}

/// Helpers of the calling thread, which stay awake for a while.
///
/// It takes tens of microseconds until a thread has woken up, longer than many a kernel runs. So a helper without work
/// keeps looking for it: in a training loop, the next is not far away.
///
/// ```text
///                call                 wakes up               takes work
///     asleep ------------> called -----------------> idle ----------------> busy
///       ^                    |                       |  ^                    |
///       |                    |                       |  +--------------------+
///       |                    | sent to sleep         |       no work left
///       +--------------------+-----------------------+
///                                sent to sleep, or no work for a millisecond
/// ```
///
/// The calling thread calls the helpers, unless it has done so already, and begins alone. As soon as a helper is idle,
/// they share what is left, and the calling thread waits awake for the last to finish.
///
/// Without the staying awake, the step of a small perceptron took 1.6 times as long, and without the waiting awake
/// 1.2 times. Beginning alone matters where other programs need the processors: a helper may then have to wait for
/// its turn, and sharing at once took 10 times as long.
#[cfg(feature = "rayon")]
mod threads {
    use rayon::{ThreadPool, ThreadPoolBuilder, Yield, current_num_threads, current_thread_index};
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::SeqCst};
    use std::sync::{LazyLock, Mutex};
    use std::thread::yield_now;
    use std::time::{Duration, Instant};

    /// One thread fewer than rayon would use, because the calling thread works too; none if they cannot be had.
    static HELPERS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
        let helpers = current_num_threads() - 1;
        let pool = ThreadPoolBuilder::new().num_threads(helpers).thread_name(|i| format!("tapegrad-{i}"));
        if helpers == 0 { None } else { pool.build().ok() }
    });

    /// False sends the helpers to sleep, all together: where one of them sleeps, rayon would wake it up for every
    /// piece of work.
    static CALLED: AtomicBool = AtomicBool::new(false);

    /// How many helpers are idle. The count may be out of date; so it decides who works, and never what is computed.
    static IDLE: AtomicIsize = AtomicIsize::new(0);

    thread_local! {
        /// Whether this thread is a helper that is awake.
        static IS_AWAKE: Cell<bool> = const { Cell::new(false) };
    }

    /// How long a helper looks for work, and how long the calling thread waits awake for the last helper.
    const PATIENCE: Duration = Duration::from_millis(1);

    /// Calls `f` with every item, each a piece of work of its own, on as many threads as there are. `f` does not share
    /// out work itself.
    pub(crate) fn share_out<I>(mut items: I, f: impl Fn(I::Item) + Sync)
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
        if !CALLED.swap(true, SeqCst) {
            // The first helper to wake up wakes the others.
            helpers.spawn(|| rayon::spawn_broadcast(|_| stay_awake()));
        }
        while IDLE.load(SeqCst) <= 0 {
            let Some(item) = items.next() else { return };
            f(item);
        }
        let others = helpers.current_num_threads().min(items.len().saturating_sub(1));
        let work = in_turns(items, f);
        let done = AtomicUsize::new(0);
        let help = || {
            let _busy = Counted::by(-1);
            work();
            done.fetch_add(1, SeqCst);
        };
        helpers.in_place_scope(|scope| {
            (0..others).for_each(|_| scope.spawn(|_| help()));
            work();
            // The scope would wait asleep.
            let start = Instant::now();
            while done.load(SeqCst) < others && start.elapsed() < PATIENCE {
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

    /// Leaves the processors to others.
    pub(crate) fn let_helpers_sleep() {
        CALLED.store(false, SeqCst);
    }

    /// What a helper does while it is awake. What [`share_out`] spawns is executed by `rayon::yield_now`.
    fn stay_awake() {
        if IS_AWAKE.replace(true) {
            return; // called again, before it went to sleep
        }
        let idle = Counted::by(1);
        let mut last_work = Instant::now();
        while CALLED.load(SeqCst) {
            if rayon::yield_now() == Some(Yield::Executed) {
                last_work = Instant::now();
            } else if last_work.elapsed() > PATIENCE {
                let_helpers_sleep();
            } else {
                yield_now(); // to whoever needs this processor, perhaps for this very work
            }
        }
        drop(idle);
        IS_AWAKE.set(false);
    }

    /// A change to [`IDLE`] that is taken back at the end, a panic included.
    struct Counted(isize);

    impl Counted {
        fn by(change: isize) -> Self {
            IDLE.fetch_add(change, SeqCst);
            Counted(change)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            IDLE.fetch_sub(self.0, SeqCst);
        }
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
