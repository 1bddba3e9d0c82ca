//! The hook: who watches a computation is told of every value and every gradient that its steps compute.
//!
//! Watching costs a look at one flag of the thread when nobody does.

use crate::float::Float;
use crate::tensor::model::{AnyTensor, Tensor};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepPart {
    /// Its value, forward.
    Value,
    /// The gradient of one of its inputs, backward.
    Gradient {
        /// Which input.
        input: usize,
    },
}

/// Something that a step has just computed.
pub(crate) struct Computed<'a> {
    /// The step's name.
    pub step: &'static str,
    pub part: StepPart,
    /// The id of the step's node; none if the step is not recorded, and for a gradient.
    pub node: Option<u64>,
    pub tensor: &'a AnyTensor,
}

/// What is told of the computation.
pub(crate) trait Watcher: 'static {
    fn see(&mut self, computed: &Computed<'_>);
}

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static WATCHERS: RefCell<Vec<Rc<RefCell<dyn Watcher>>>> = const { RefCell::new(Vec::new()) };
}

/// Runs a closure while this watcher is told what the steps of this thread compute. Calls nest: an outer
/// watcher is told of what happens inside an inner call too.
pub(crate) fn watching<W: Watcher, R>(watcher: W, closure: impl FnOnce() -> R) -> (R, Rc<RefCell<W>>) {
    /// Ends the watch, also when the closure panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            let is_watched = WATCHERS.with_borrow_mut(|watchers| {
                watchers.pop();
                !watchers.is_empty()
            });
            IS_WATCHED.set(is_watched);
        }
    }
    let watcher = Rc::new(RefCell::new(watcher));
    WATCHERS.with_borrow_mut(|watchers| watchers.push(watcher.clone()));
    IS_WATCHED.set(true);
    let _end = End;
    (closure(), watcher)
}

/// Called with the value of every step, recorded or not.
#[inline]
pub(crate) fn value<T: Float>(step: &'static str, node: Option<u64>, value: &Tensor<T>) {
    if IS_WATCHED.get() {
        tell(&Computed { step, part: StepPart::Value, node, tensor: &AnyTensor::new(value.detach()) });
    }
}

/// Called with every gradient that a rule returns.
#[inline]
pub(crate) fn gradient(step: &'static str, input: usize, gradient: &AnyTensor) {
    if IS_WATCHED.get() {
        tell(&Computed { step, part: StepPart::Gradient { input }, node: None, tensor: gradient });
    }
}

fn tell(computed: &Computed<'_>) {
    WATCHERS.with_borrow(|watchers| {
        for watcher in watchers {
            watcher.borrow_mut().see(computed);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Names(Vec<&'static str>);

    impl Watcher for Names {
        fn see(&mut self, computed: &Computed<'_>) {
            self.0.push(computed.step);
        }
    }

    #[test]
    fn watchers_nest_and_end_after_a_panic() {
        let compute = |name| value(name, None, &Tensor::new([1.0]));
        let ((), outer) = watching(Names::default(), || {
            compute("first");
            let ((), inner) = watching(Names::default(), || compute("second"));
            assert_eq!(inner.borrow().0, ["second"]);
            compute("third");
        });
        assert_eq!(outer.borrow().0, ["first", "second", "third"]);
        let panics = || watching(Names::default(), || panic!("on purpose"));
        assert!(std::panic::catch_unwind(|| drop(panics())).is_err());
        assert!(!IS_WATCHED.get());
        compute("fourth");
        assert_eq!(outer.borrow().0.len(), 3);
    }
}
