//! What the engine expects of rules, and what happens when they do not comply.

use super::gradient;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tapegrad::{Backward, Error, GradOptions, Gradients, Result, Step, StepContext, Tensor, backward, grad};

/// A step whose rule is a closure.
struct Rule<F>(F);

impl<F> Backward<f64> for Rule<F>
where
    F: Fn(StepContext<f64>, Tensor<f64>) -> Result<Gradients> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "Custom"
    }
    fn backward(&self, step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
        (self.0)(step, grad)
    }
}

/// The sum of two tensors, with this rule; both inputs are saved.
fn custom<F>(a: &Tensor<f64>, b: &Tensor<f64>, rule: F) -> Tensor<f64>
where
    F: Fn(StepContext<f64>, Tensor<f64>) -> Result<Gradients> + Send + Sync + 'static,
{
    let value = a.detach().add(b.detach()).unwrap();
    Step::new(Rule(rule)).saved_input(a).saved_input(b).record(value)
}

fn right(step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
    step.gradients().input(0, || Ok(grad.clone()))?.input(1, || Ok(grad.clone()))
}

fn broken() -> Error {
    Error::Operation { op: "custom", message: "out of order".to_string() }
}

/// Two leaves with gradients 1 and 2 already there.
fn leaves() -> (Tensor<f64>, Tensor<f64>) {
    let (a, b) = (Tensor::from([1.0, 2.0]).requires_grad(), Tensor::from([3.0, 4.0]).requires_grad());
    a.sum(..).unwrap().backward().unwrap();
    b.mul(2.0).unwrap().sum(..).unwrap().backward().unwrap();
    (a, b)
}

fn assert_untouched(a: &Tensor<f64>, b: &Tensor<f64>) {
    assert_eq!((gradient(a), gradient(b)), (vec![1.0; 2], vec![2.0; 2]));
}

#[test]
fn a_rule_that_fails_leaves_every_gradient_as_it_was() {
    let (a, b) = leaves();
    let middle = b.mul(3.0).unwrap();
    middle.retain_grad().unwrap();
    // The failing step is the oldest, and so played last: the other paths are complete by then.
    let failing = custom(&a, &a, |_, _| Err(broken()));
    let loss = failing.mul(&middle).unwrap().add(&a).unwrap().sum(..).unwrap();
    assert_eq!(loss.backward(), Err(broken()));
    assert_untouched(&a, &b);
    assert!(middle.grad().is_none());
    // What was played is gone; a new graph over the same leaves works.
    assert!(matches!(loss.backward(), Err(Error::Released { .. })));
    assert_untouched(&a, &b);
    custom(&a, &b, right).sum(..).unwrap().backward().unwrap();
    assert_eq!((gradient(&a), gradient(&b)), (vec![2.0; 2], vec![3.0; 2]));
}

#[test]
fn a_rule_that_panics_leaves_every_gradient_as_it_was() {
    let (a, b) = leaves();
    let failing = custom(&a, &a, |_, _| panic!("on purpose"));
    let loss = failing.mul(b.mul(3.0).unwrap()).unwrap().add(&a).unwrap().sum(..).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| loss.backward()));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "on purpose");
    assert_untouched(&a, &b);
    custom(&a, &b, right).sum(..).unwrap().backward().unwrap();
    assert_eq!((gradient(&a), gradient(&b)), (vec![2.0; 2], vec![3.0; 2]));
    drop(loss);
    a.exp().unwrap().sum(..).unwrap().backward().unwrap();
}

#[test]
fn a_retained_graph_survives_a_rule_that_fails() {
    let (a, b) = leaves();
    let fails = Arc::new(AtomicBool::new(true));
    let loss = custom(&a, &b, {
        let fails = fails.clone();
        move |step, grad| if fails.load(SeqCst) { Err(broken()) } else { right(step, grad) }
    })
    .sum(..)
    .unwrap();
    assert_eq!(loss.backward_retain_graph(), Err(broken()));
    assert_untouched(&a, &b);
    fails.store(false, SeqCst);
    loss.backward().unwrap();
    assert_eq!((gradient(&a), gradient(&b)), (vec![2.0; 2], vec![3.0; 2]));
}

#[test]
fn one_of_several_outputs_that_fails_stops_all() {
    let (a, b) = leaves();
    let good = a.square().unwrap().sum(..).unwrap();
    let bad = custom(&a, &b, |_, _| Err(broken())).sum(..).unwrap();
    assert_eq!(backward(&[&good, &bad], &GradOptions::new()), Err(broken()));
    assert_untouched(&a, &b);
}

#[test]
fn the_wrong_number_of_gradients_is_an_error() {
    let (a, b) = leaves();
    let error = custom(&a, &b, |_, grad| Ok(grad.into())).sum(..).unwrap().backward().unwrap_err();
    assert!(matches!(error, Error::Rule { step: "Custom", .. }));
    assert_eq!(error.to_string(), "CustomBackward: the rule returned 1 gradients for 2 inputs");
    let error = custom(&a, &b, |step, grad| right(step, grad.clone())?.input(2, || Ok(grad)));
    let error = error.sum(..).unwrap().backward().unwrap_err();
    assert_eq!(error.to_string(), "CustomBackward: the rule returned 3 gradients for 2 inputs");
    assert_untouched(&a, &b);
}

#[test]
fn a_gradient_of_the_wrong_shape_is_an_error() {
    let (a, b) = leaves();
    let rule = |step: StepContext<f64>, grad: Tensor<f64>| {
        step.gradients().input(0, || Ok(grad.clone()))?.input(1, || grad.narrow(0, 0, 1))
    };
    let error = custom(&a, &b, rule).sum(..).unwrap().backward().unwrap_err();
    let text = "CustomBackward: the gradient of input 1 is f64 of shape [1], expected f64 of shape [2]";
    assert_eq!(error.to_string(), text);
    assert_untouched(&a, &b);
}

#[test]
fn a_gradient_of_the_wrong_precision_is_an_error() {
    let (a, b) = leaves();
    let rule = |step: StepContext<f64>, grad: Tensor<f64>| {
        step.gradients().input(0, || grad.to_f32())?.input(1, || Ok(grad.clone()))
    };
    let error = custom(&a, &b, rule).sum(..).unwrap().backward().unwrap_err();
    let text = "CustomBackward: the gradient of input 0 is f32 of shape [2], expected f64 of shape [2]";
    assert_eq!(error.to_string(), text);
    assert_untouched(&a, &b);
}

#[test]
fn a_gradient_of_a_larger_shape_is_summed_over_the_repetitions() {
    let (a, b) = leaves();
    let rule = |step: StepContext<f64>, grad: Tensor<f64>| {
        step.gradients().input(0, || grad.broadcast_to([3, 2]))?.input(1, || grad.broadcast_to([5, 1, 2]))
    };
    custom(&a, &b, rule).sum(..).unwrap().backward().unwrap();
    assert_eq!((gradient(&a), gradient(&b)), (vec![4.0; 2], vec![7.0; 2]));
}

#[test]
fn a_rule_is_told_which_gradients_are_needed_and_computes_no_other() {
    let computed = Arc::new(AtomicUsize::new(0));
    let rule = |expected: [bool; 2], computed: &Arc<AtomicUsize>| {
        let computed = computed.clone();
        move |step: StepContext<f64>, grad: Tensor<f64>| {
            assert_eq!([step.needs_grad(0), step.needs_grad(1)], expected);
            assert!(!step.needs_grad(2));
            let gradient = || {
                computed.fetch_add(1, SeqCst);
                Ok(grad.clone())
            };
            step.gradients().input(0, gradient)?.input(1, gradient)
        }
    };
    let (a, b) = leaves();
    custom(&a, &b.detach(), rule([true, false], &computed)).sum(..).unwrap().backward().unwrap();
    custom(&a.detach(), &b, rule([false, true], &computed)).sum(..).unwrap().backward().unwrap();
    assert_eq!(computed.load(SeqCst), 2);
    let loss = custom(&a, &b, rule([false, true], &computed)).sum(..).unwrap();
    grad(&[&loss], &[&b], &GradOptions::new()).unwrap();
    assert_eq!(computed.load(SeqCst), 3);
}

#[test]
fn a_gradient_that_was_not_needed_is_dropped() {
    // A step with one tracked input whose rule is not asked, and answers for both all the same.
    struct Both;
    impl Backward<f64> for Both {
        fn name(&self) -> &'static str {
            "Both"
        }
        fn backward(&self, step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
            step.gradients()
                .input(0, || Ok(grad.clone()))?
                .input(1, || -> Result<Tensor<f64>> { unreachable!("not needed") })
        }
    }
    let (a, b) = leaves();
    let value = a.detach();
    Step::new(Both).input(&a).input(&b.detach()).record(value).sum(..).unwrap().backward().unwrap();
    assert_eq!((gradient(&a), gradient(&b)), (vec![2.0; 2], vec![2.0; 2]));
}

#[test]
fn what_was_not_saved_cannot_be_read() {
    let (a, _) = leaves();
    let rule = |mut step: StepContext<f64>, _: Tensor<f64>| {
        assert!(matches!(step.input(0), Err(Error::Rule { step: "Custom", .. })));
        assert!(matches!(step.output(), Err(Error::Rule { step: "Custom", .. })));
        assert!(matches!(step.take_input(0), Err(Error::Rule { .. })));
        assert!(matches!(step.input(7), Err(Error::Rule { .. })));
        Ok(step.take_input(0)?.into())
    };
    let y = Step::new(Rule(rule)).input(&a).record(Tensor::from([0.0, 0.0]));
    let error = y.sum(..).unwrap().backward().unwrap_err();
    assert_eq!(
        error.to_string(),
        "CustomBackward: the input that the rule asks for was not saved when the step was recorded"
    );
}

#[test]
fn an_input_that_was_taken_is_gone() {
    let (a, b) = leaves();
    let rule = |mut step: StepContext<f64>, grad: Tensor<f64>| {
        let taken = step.take_input(0)?;
        assert_eq!(taken.to_vec(), [1.0, 2.0]);
        assert!(step.input(0).is_err() && step.take_input(0).is_err());
        assert_eq!(step.input(1)?.to_vec(), [3.0, 4.0]);
        right(step, grad)
    };
    custom(&a, &b, rule).sum(..).unwrap().backward().unwrap();
}

#[test]
fn saved_values_are_constants_unless_the_gradient_is_recorded() {
    let (a, b) = leaves();
    let rule = |expected: bool| {
        move |step: StepContext<f64>, grad: Tensor<f64>| {
            assert_eq!(step.is_recording(), expected);
            assert_eq!(step.input(0)?.is_tracked(), expected);
            right(step, grad)
        }
    };
    custom(&a, &b, rule(false)).sum(..).unwrap().backward().unwrap();
    let loss = custom(&a, &b, rule(true)).sum(..).unwrap();
    grad(&[&loss], &[&a], &GradOptions::new().create_graph(true)).unwrap();
}

#[test]
fn saved_values_are_those_of_the_forward_pass() {
    let (mut a, b) = leaves();
    let y = custom(&a, &b, |step, grad| {
        assert_eq!(step.input(0)?.to_vec(), [1.0, 2.0]);
        right(step, grad)
    });
    a.as_mut_slice().unwrap().fill(50.0);
    y.sum(..).unwrap().backward().unwrap();
}

#[test]
fn a_rule_may_run_a_backward_of_its_own() {
    // y = sin-like function given by its slope only: the rule differentiates x^4 by itself.
    let (a, b) = leaves();
    let y = custom(&a, &b, |step, grad| {
        let x = step.input(0)?.detach().requires_grad();
        x.pow(4.0)?.sum(..)?.backward()?;
        let Some(slope) = x.grad() else { return Err(broken()) };
        step.gradients().input(0, || grad.mul(&slope))?.input(1, || Ok(grad.clone()))
    });
    y.sum(..).unwrap().backward().unwrap();
    assert_eq!(gradient(&a), [1.0 + 4.0, 1.0 + 32.0]);
}

#[test]
fn a_gradient_with_a_history_is_stored_without_it() {
    // The rule holds a leaf of its own; what it computes from it is tracked.
    let hidden = Tensor::from([10.0, 20.0]).requires_grad();
    let (a, b) = leaves();
    let y = custom(&a, &b, {
        let hidden = hidden.clone();
        move |step, grad| step.gradients().input(0, || grad.mul(&hidden))?.input(1, || Ok(grad.clone()))
    });
    y.sum(..).unwrap().backward().unwrap();
    assert_eq!(gradient(&a), [11.0, 21.0]);
    assert!(hidden.grad().is_none());
}

#[test]
fn a_step_without_inputs_or_with_constants_only_is_a_constant() {
    let y = Step::new(Rule(right)).record(Tensor::from([1.0]));
    assert!(!y.is_tracked());
    let y = custom(&Tensor::from([1.0]), &Tensor::from([2.0]), right);
    assert!(!y.is_tracked());
    // A tracked value that is passed as the step's output does not bring its own history along.
    let x = Tensor::from([1.0]).requires_grad();
    let y = Step::new(Rule(right)).record(x.exp().unwrap());
    assert!(!y.is_tracked());
}
