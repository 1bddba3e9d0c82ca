//! What is recorded, and what is a leaf.

use super::gradient;
use tapegrad::{
    CrossEntropyLoss, Error, GradOptions, StepPart, Tensor, enable_grad, find_non_finite, grad,
    is_grad_enabled, no_grad,
};

#[test]
fn nothing_is_recorded_for_constants() {
    let (a, b) = (Tensor::from([1.0, 2.0]), Tensor::from([3.0, 4.0]));
    let y = a.mul(&b).unwrap().exp().unwrap().sum(..).unwrap();
    assert!(!y.is_tracked() && y.is_leaf());
    assert_eq!(y.grad_fn(), None);
    assert!(y.tape().is_empty());
}

#[test]
fn nothing_is_recorded_under_no_grad() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let (y, still) = no_grad(|| (x.square().unwrap(), x.clone()));
    assert!(!y.is_tracked() && y.tape().is_empty());
    assert!(still.is_tracked(), "the leaf itself is what it was");
    // A value that was recorded before stays recorded; what is computed from it inside is constant.
    let before = x.exp().unwrap();
    assert!(no_grad(|| !before.mul(2.0).unwrap().is_tracked()));
    assert!(before.is_tracked());
}

#[test]
fn what_has_no_derivative_is_accepted_where_none_is_asked_for() {
    let logits = Tensor::from([[1.0, 2.0], [0.5, -1.0]]).requires_grad();
    let loss = CrossEntropyLoss::new().weight(&Tensor::from([1.0, 2.0]).requires_grad());
    let refused = loss.forward(&logits, [0, 1]).unwrap_err();
    assert!(matches!(refused, Error::NotDifferentiable { op: "cross_entropy", .. }), "{refused}");
    let constant = CrossEntropyLoss::new().weight(&Tensor::from([1.0, 2.0]));
    let value = no_grad(|| loss.forward(&logits, [0, 1])).unwrap();
    assert_eq!(value.item().unwrap(), constant.forward(&logits, [0, 1]).unwrap().item().unwrap());
}

#[test]
fn enable_grad_records_inside_no_grad() {
    let x = Tensor::from(3.0).requires_grad();
    let y = no_grad(|| enable_grad(|| x.square().unwrap()));
    y.backward().unwrap();
    assert_eq!(gradient(&x), [6.0]);
    assert!(is_grad_enabled());
}

#[test]
fn leaves_can_be_made_and_graphs_played_under_no_grad() {
    no_grad(|| {
        let x = Tensor::from(3.0).requires_grad();
        assert!(x.is_tracked());
        let y = enable_grad(|| x.square().unwrap().mul(&x).unwrap());
        // create_graph records although recording is off.
        let recorded = GradOptions::new().create_graph(true);
        let first = grad(&[&y], &[&x], &recorded).unwrap().remove(0);
        let second = grad(&[&first], &[&x], &GradOptions::new()).unwrap().remove(0);
        assert_eq!((first.item().unwrap(), second.item().unwrap()), (27.0, 18.0));
        let y = enable_grad(|| x.pow(3.0).unwrap());
        y.backward().unwrap();
        assert_eq!(gradient(&x), [27.0]);
    });
}

#[test]
fn only_what_leads_to_a_leaf_is_on_the_tape() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let constant = Tensor::from([3.0, 4.0]).exp().unwrap();
    let loss = x.mul(&constant).unwrap().sum(..).unwrap();
    let tape = loss.tape();
    assert_eq!(
        tape.to_string(),
        "%0  leaf             [2]\n%1  Mul(%0, const)   [2]\n%2  Sum(%1)          []\n"
    );
    assert_eq!(tape.entries()[1].inputs, [Some(0), None]);
}

#[test]
fn leaves_constants_and_results() {
    let constant = Tensor::from([1.0]);
    assert!(constant.is_leaf() && !constant.is_tracked() && constant.grad_fn().is_none());
    let leaf = constant.clone().requires_grad();
    assert!(leaf.is_leaf() && leaf.is_tracked() && leaf.grad_fn().is_none());
    assert!(!constant.is_tracked(), "a clone that was made a leaf does not change the original");
    let result = leaf.mul(2.0).unwrap();
    assert!(!result.is_leaf() && result.is_tracked());
    assert_eq!(result.grad_fn(), Some("Mul"));
    let detached = result.detach();
    assert!(detached.is_leaf() && !detached.is_tracked());
    assert_eq!(detached.to_vec(), result.to_vec());
}

#[test]
fn requires_grad_on_what_is_tracked_changes_nothing() {
    let x = Tensor::from(2.0).requires_grad();
    x.square().unwrap().backward().unwrap();
    let again = x.clone().requires_grad();
    assert_eq!(gradient(&again), [4.0], "the same leaf");
    let result = x.square().unwrap().requires_grad();
    assert_eq!(result.grad_fn(), Some("Square"));
    result.backward().unwrap();
    assert_eq!(gradient(&x), [8.0]);
}

#[test]
fn gradients_stop_at_detach() {
    let x = Tensor::from(3.0).requires_grad();
    x.square().unwrap().detach().mul(&x).unwrap().backward().unwrap();
    assert_eq!(gradient(&x), [9.0]);
}

#[test]
fn a_gradient_is_kept_for_leaves_and_for_what_was_asked_for() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let (middle, other) = (x.square().unwrap(), x.mul(2.0).unwrap());
    middle.retain_grad().unwrap();
    x.retain_grad().unwrap(); // no effect
    let loss = middle.mul(&other).unwrap().sum(..).unwrap();
    assert!(middle.grad().is_none());
    loss.backward_retain_graph().unwrap();
    assert_eq!(gradient(&middle), [2.0, 4.0]);
    assert!(other.grad().is_none() && loss.grad().is_none());
    assert_eq!(gradient(&x), [6.0, 24.0]);
    loss.backward().unwrap();
    assert_eq!(gradient(&middle), [4.0, 8.0], "it accumulates as a leaf's does");
    middle.zero_grad();
    assert!(middle.grad().is_none());
}

#[test]
fn the_loss_itself_can_keep_its_gradient() {
    let x = Tensor::from(3.0).requires_grad();
    let loss = x.square().unwrap();
    loss.retain_grad().unwrap();
    loss.backward().unwrap();
    assert_eq!(gradient(&loss), [1.0]);
}

#[test]
fn the_first_step_whose_value_is_not_finite_is_named() {
    let x = Tensor::from([1.0, 0.0]).requires_grad();
    // log 0 = -inf is first; exp(-inf) = 0 hides it from the loss.
    let found = find_non_finite(|| x.mul(2.0)?.log()?.exp()?.sum(..)).unwrap().unwrap();
    assert_eq!((found.step, found.part, found.value), ("Log", StepPart::Value, f64::NEG_INFINITY));
    assert_eq!((found.shape.to_vec(), found.position), (vec![2], vec![1]));
    assert!(x.grad().is_none());
}

#[test]
fn the_first_step_whose_gradient_is_not_finite_is_named() {
    let x = Tensor::from([[1.0, 4.0], [9.0, 0.0]]).requires_grad();
    let found = find_non_finite(|| x.mul(3.0)?.sqrt()?.sum(..)).unwrap().unwrap();
    assert_eq!((found.step, found.part), ("Sqrt", StepPart::Gradient { input: 0 }));
    assert_eq!((found.position, found.value), (vec![1, 1], f64::INFINITY));
    assert!(x.grad().is_none());
    // Of a step with two inputs, the one whose gradient it is.
    let y = Tensor::from([[2.0, 2.0], [2.0, 1.0]]).requires_grad();
    let found = find_non_finite(|| y.pow(&x.sub(1.0)?.mul(f64::MAX)?)?.mul(0.0)?.sum(..)).unwrap().unwrap();
    assert_eq!((found.step, found.part), ("Mul", StepPart::Value));
}

#[test]
fn a_computation_that_is_finite_throughout_has_nothing_to_name() {
    let x = Tensor::from([1.0f64, 2.0]).requires_grad();
    assert_eq!(find_non_finite(|| x.log()?.sum(..)).unwrap(), None);
    assert!(x.grad().is_none(), "gradients are computed, not stored");
    // Outside the search nothing is watched, and an error comes through.
    assert!(find_non_finite(|| x.log()).is_err());
    assert!(x.sub(1.0).unwrap().log().unwrap().sum(..).unwrap().item().unwrap().is_infinite());
}
