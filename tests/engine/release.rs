//! Playing a step releases it; a second time is an error that changes nothing.

use super::gradient;
use tapegrad::{Error, GradOptions, Tensor, backward, grad};

#[test]
fn a_second_backward_through_a_released_graph_is_an_error_and_leaves_the_gradients() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let loss = x.square().unwrap().sum(..).unwrap();
    loss.backward().unwrap();
    let error = loss.backward().unwrap_err();
    assert_eq!(error, Error::Released { op: "backward", step: "Sum" });
    assert_eq!(gradient(&x), [2.0, 4.0]);
    let error = grad(&[&loss], &[&x], &GradOptions::new()).unwrap_err();
    assert_eq!(error, Error::Released { op: "grad", step: "Sum" });
}

#[test]
fn a_loss_over_a_released_part_is_refused_before_anything_is_played() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let y = Tensor::from([3.0, 4.0]).requires_grad();
    let shared = x.square().unwrap();
    shared.sum(..).unwrap().backward().unwrap();
    let loss = shared.mul(y.exp().unwrap()).unwrap().sum(..).unwrap();
    assert_eq!(loss.backward(), Err(Error::Released { op: "backward", step: "Square" }));
    assert_eq!(gradient(&x), [2.0, 4.0]);
    assert!(y.grad().is_none());
    // Everything else is still there, and can be asked for on its own.
    let tape = loss.tape();
    let released: Vec<_> =
        tape.entries().iter().filter(|entry| entry.released).map(|entry| entry.name).collect();
    assert_eq!(released, [Some("Square")]);
}

#[test]
fn a_retained_graph_can_be_played_again_until_it_is_released() {
    let x = Tensor::from(2.0f64).requires_grad();
    let loss = x.exp().unwrap().mul(&x).unwrap();
    for _ in 0..3 {
        loss.backward_retain_graph().unwrap();
    }
    backward(&[&loss], &GradOptions::new().retain_graph(false)).unwrap();
    assert!(matches!(loss.backward(), Err(Error::Released { .. })));
    let slope = 2f64.exp() * 3.0;
    assert!((gradient(&x)[0] - 4.0 * slope).abs() < 1e-13 * slope);
}

#[test]
fn create_graph_keeps_the_graph_unless_told_otherwise() {
    let x = Tensor::from(2.0).requires_grad();
    let y = x.pow(3.0).unwrap();
    let recorded = GradOptions::new().create_graph(true);
    grad(&[&y], &[&x], &recorded).unwrap();
    let slope = grad(&[&y], &[&x], &recorded.clone().retain_graph(false)).unwrap().remove(0);
    assert_eq!(grad(&[&y], &[&x], &recorded).unwrap_err(), Error::Released { op: "grad", step: "Pow" });
    // The gradient does not need what it was made from: it has its own steps.
    slope.backward().unwrap();
    assert_eq!(gradient(&x), [12.0]);
}

#[test]
fn the_tape_shows_what_is_released() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let loss = x.square().unwrap().sum(..).unwrap();
    assert!(loss.tape().entries().iter().all(|entry| !entry.released));
    loss.backward().unwrap();
    let tape = loss.tape();
    assert_eq!(tape.len(), 1);
    assert!(tape.entries()[0].released);
    assert!(tape.to_string().contains("Sum (released)"), "{tape}");
}

#[test]
fn results_outlive_the_leaves_and_the_steps_before_them() {
    let loss = {
        let x = Tensor::from([1.0, 2.0]).requires_grad();
        let y = x.exp().unwrap();
        y.log().unwrap().sum(..).unwrap()
    };
    assert_eq!(loss.tape().len(), 4);
    loss.backward().unwrap();
}

#[test]
fn a_value_in_the_middle_of_a_released_graph_can_be_read_and_used_as_a_constant() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let middle = x.square().unwrap();
    middle.sum(..).unwrap().backward().unwrap();
    assert_eq!(middle.to_vec(), [1.0, 4.0]);
    x.mul(middle.detach()).unwrap().sum(..).unwrap().backward().unwrap();
    assert_eq!(gradient(&x), [3.0, 8.0]);
}
