//! Whether operations are recorded: `no_grad` and `enable_grad`.

use std::cell::Cell;

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Whether operations on this thread are recorded when an input requires a gradient.
#[inline]
pub fn is_grad_enabled() -> bool {
    ENABLED.get()
}

/// Runs a closure in which nothing is recorded: results are constants, and nothing is kept for a
/// backward pass (PyTorch's `torch.no_grad`).
///
/// The setting belongs to the thread that calls it. A thread that the closure starts, or a worker
/// to which it hands work, records as that thread's own setting says: wrap the work there too. The
/// previous setting comes back when the closure returns or panics.
///
/// ```
/// # use tapegrad::{no_grad, Tensor};
/// let w = Tensor::new([1.0, 2.0]).requires_grad();
/// let y = no_grad(|| &w * 3.0);
/// assert!(!y.is_tracked());
/// ```
pub fn no_grad<R>(closure: impl FnOnce() -> R) -> R {
    with_grad_enabled(false, closure)
}

/// Runs a closure in which operations are recorded again, inside a [`no_grad`] (PyTorch's
/// `torch.enable_grad`).
pub fn enable_grad<R>(closure: impl FnOnce() -> R) -> R {
    with_grad_enabled(true, closure)
}

fn with_grad_enabled<R>(enabled: bool, closure: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(enabled));
    closure()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_nest_and_come_back_after_a_panic() {
        assert!(is_grad_enabled());
        no_grad(|| {
            assert!(!is_grad_enabled());
            enable_grad(|| assert!(is_grad_enabled()));
            assert!(!is_grad_enabled());
        });
        let panicked = std::panic::catch_unwind(|| no_grad(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert!(is_grad_enabled());
    }

    #[test]
    fn the_mode_belongs_to_the_thread() {
        no_grad(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| assert!(is_grad_enabled()));
            })
        });
    }
}
