//! Chains of a million steps on a thread with a stack of 2 MiB: nothing walks or drops a graph by
//! recursion.

use super::gradient;
use std::cell::RefCell;
use std::thread;
use tapegrad::{Backward, GradOptions, Gradients, Result, Step, StepContext, Tensor, grad};

const STEPS: usize = 1_000_000;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap();
    thread.join().unwrap();
}

/// y = -x, by a rule that may hold a tensor: one that is tracked, so that it owns another graph.
struct Flip {
    _held: Option<Tensor<f64>>,
}

impl Backward<f64> for Flip {
    fn name(&self) -> &'static str {
        "Flip"
    }
    fn backward(&self, _step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
        Ok(grad.neg()?.into())
    }
}

fn flip(x: &Tensor<f64>, held: Option<Tensor<f64>>) -> Tensor<f64> {
    Step::new(Flip { _held: held }).saved_input(x).saving_output().record(x.detach().neg().unwrap())
}

/// The last of a million values and their leaf.
fn chain(start: f64, step: impl Fn(&Tensor<f64>) -> Tensor<f64>) -> (Tensor<f64>, Tensor<f64>) {
    let x = Tensor::from(start).requires_grad();
    let mut y = x.clone();
    for _ in 0..STEPS {
        y = step(&y);
    }
    (x, y)
}

// One test, so that only one such chain is alive at a time.
#[test]
fn a_chain_of_a_million_steps_builds_differentiates_and_drops() {
    on_a_small_stack(|| {
        // Built-in steps, played.
        let (x, y) = chain(1.0, |y| y.add(1.0).unwrap());
        assert_eq!(y.item().unwrap(), 1_000_001.0);
        assert_eq!(y.tape().len(), STEPS + 1);
        y.backward().unwrap();
        assert_eq!(gradient(&x), [1.0]);
        drop(y);

        // Built-in steps that save values, kept and dropped whole.
        let (x, y) = chain(0.5, |y| y.mul(y).unwrap().mul(2.0).unwrap());
        assert_eq!(y.item().unwrap(), 0.5);
        drop(x);
        drop(y);
    });
    on_a_small_stack(|| {
        // User-defined steps, played.
        let (x, y) = chain(3.0, |y| flip(y, None));
        y.backward().unwrap();
        assert_eq!((y.item().unwrap(), gradient(&x)), (3.0, vec![1.0]));
        // User-defined steps whose rules hold the value before them: an edge of the graph that only
        // the rule knows.
        let (x, y) = chain(3.0, |y| flip(y, Some(y.clone())));
        y.backward().unwrap();
        assert_eq!(gradient(&x), [1.0]);
        // Only the rule holds on to the chain.
        drop(chain(3.0, |y| flip(&Tensor::from(1.0).requires_grad(), Some(y.clone()))));
    });
}

#[test]
fn the_gradient_of_a_long_chain_is_a_long_chain_itself() {
    on_a_small_stack(|| {
        let x = Tensor::from(1.0).requires_grad();
        let mut y = x.clone();
        for _ in 0..100_000 {
            y = y.mul(&x).unwrap();
            y = y.div(x.detach()).unwrap();
        }
        let recorded = GradOptions::new().create_graph(true);
        let slope = grad(&[&y], &[&x], &recorded).unwrap().remove(0);
        assert_eq!(slope.item().unwrap(), 100_001.0);
        let second = grad(&[&slope], &[&x], &GradOptions::new()).unwrap().remove(0);
        // x^(n + 1) at 1, with n further factors of 1: (n + 1) n.
        assert_eq!(second.item().unwrap(), 100_001.0 * 100_000.0);
    });
}

#[test]
fn a_long_chain_that_a_thread_holds_to_its_end_is_dropped_with_it() {
    thread_local! {
        static HELD: RefCell<Option<Tensor<f64>>> = const { RefCell::new(None) };
    }
    on_a_small_stack(|| {
        let x = Tensor::from(1.0).requires_grad();
        let mut y = x;
        for _ in 0..200_000 {
            y = y.neg().unwrap();
        }
        HELD.set(Some(y));
    });
}

#[test]
fn a_long_chain_is_dropped_while_a_panic_unwinds() {
    let builder = thread::Builder::new().stack_size(2 << 20);
    let thread = builder.spawn(|| {
        let mut y = Tensor::from(1.0).requires_grad();
        for _ in 0..200_000 {
            y = y.neg().unwrap();
        }
        y.add(Tensor::from([1.0, 2.0])).unwrap().item().unwrap();
    });
    assert!(thread.unwrap().join().is_err(), "item() of two elements");
}

#[test]
fn a_wide_step_has_many_inputs() {
    let leaves: Vec<Tensor<f64>> =
        (0..20_000).map(|i| Tensor::from([f64::from(i)]).requires_grad()).collect();
    let all = Tensor::cat(&leaves.iter().collect::<Vec<_>>(), 0).unwrap();
    all.square().unwrap().sum(..).unwrap().backward().unwrap();
    for (i, leaf) in leaves.iter().enumerate() {
        assert_eq!(gradient(leaf), [2.0 * i as f64]);
    }
}
