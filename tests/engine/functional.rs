//! `grad()`: gradients of any outputs with respect to any inputs, returned rather than stored.

use tapegrad::{Error, GradOptions, Tensor, backward, grad};

fn options() -> GradOptions<f64> {
    GradOptions::new()
}

#[test]
fn gradients_with_respect_to_values_in_the_middle() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let middle = x.square().unwrap();
    let loss = middle.mul(&x).unwrap().sum(..).unwrap();
    let found = grad(&[&loss], &[&middle, &x, &loss], &options()).unwrap();
    assert_eq!(found[0].to_vec(), [1.0, 2.0], "x");
    assert_eq!(found[1].to_vec(), [3.0, 12.0], "3 x^2");
    assert_eq!(found[2].to_vec(), [1.0]);
    assert!(x.grad().is_none(), "nothing is stored");
    assert!(found.iter().all(|gradient| !gradient.is_tracked()));
}

#[test]
fn the_same_input_twice_gets_its_gradient_twice() {
    let x = Tensor::from(3.0).requires_grad();
    let y = x.square().unwrap();
    let found = grad(&[&y], &[&x, &x.clone()], &options()).unwrap();
    assert_eq!((found[0].item().unwrap(), found[1].item().unwrap()), (6.0, 6.0));
}

#[test]
fn several_outputs_with_upstream_gradients() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let (y, z) = (x.square().unwrap(), x.sum(..).unwrap());
    let upstream = [Tensor::from([1.0, 10.0]), Tensor::from(100.0)];
    let found = grad(&[&y, &z], &[&x], &options().grad_outputs(upstream)).unwrap().remove(0);
    assert_eq!(found.to_vec(), [102.0, 140.0]);
}

#[test]
fn an_input_that_no_output_depends_on_is_an_error_or_zeros() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let unused = Tensor::from([[5.0], [6.0]]).requires_grad();
    let loss = x.sum(..).unwrap();
    let error = grad(&[&loss], &[&x, &unused], &options().retain_graph(true)).unwrap_err();
    assert_eq!(error, Error::Unused { op: "grad", index: 1 });
    assert!(error.to_string().contains("materialize_grads"), "{error}");
    let found = grad(&[&loss], &[&x, &unused], &options().materialize_grads(true)).unwrap();
    assert_eq!(found[0].to_vec(), [1.0, 1.0]);
    assert_eq!((found[1].shape().to_vec(), found[1].to_vec()), (vec![2, 1], vec![0.0, 0.0]));
}

#[test]
fn an_input_that_requires_no_gradient_is_an_error() {
    let x = Tensor::from(3.0).requires_grad();
    let y = x.square().unwrap();
    let constant = Tensor::from(1.0);
    for options in [options(), options().materialize_grads(true)] {
        let error = grad(&[&y], &[&x, &constant], &options).unwrap_err();
        assert_eq!(error, Error::NotTracked { op: "grad", input: Some(1) });
    }
    grad(&[&y], &[&x], &options()).unwrap(); // nothing was released by the refusals
}

#[test]
fn upstream_gradients_must_fit_their_outputs() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let y = x.square().unwrap();
    let one = Tensor::from([1.0, 1.0]);
    let count = grad(&[&y], &[&x], &options().grad_outputs([one.clone(), one.clone()]));
    assert!(matches!(count, Err(Error::Argument { op: "grad", name: "grad_outputs", .. })));
    let shape = grad(&[&y], &[&x], &options().grad_outputs([Tensor::from([[1.0, 1.0]])]));
    assert!(matches!(shape, Err(Error::Shape { op: "grad", .. })));
    let none = grad(&[&y], &[&x], &options());
    assert!(matches!(none, Err(Error::NotScalar { op: "grad", .. })));
    assert_eq!(
        y.backward_with(&Tensor::from(1.0)).unwrap_err().to_string(),
        "backward: the upstream gradient has shape [], expected [2]"
    );
    y.backward_with(&one).unwrap();
}

#[test]
fn only_the_steps_on_the_way_are_played() {
    let (a, b) = (Tensor::from([1.0, 2.0]).requires_grad(), Tensor::from([3.0, 4.0]).requires_grad());
    let (left, right) = (a.exp().unwrap(), b.square().unwrap());
    let loss = left.mul(&right).unwrap().sum(..).unwrap();
    let found = grad(&[&loss], &[&b], &options()).unwrap().remove(0);
    assert_eq!(found.to_vec(), [6.0 * 1f64.exp(), 8.0 * 2f64.exp()]);
    // The other branch was not needed, and is still there.
    left.sum(..).unwrap().backward().unwrap();
    assert_eq!(a.grad().unwrap().to_vec(), [1f64.exp(), 2f64.exp()]);
    assert!(right.sum(..).unwrap().backward().is_err());
}

#[test]
fn what_lies_behind_a_value_in_the_middle_is_not_played() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let middle = x.exp().unwrap();
    let loss = middle.square().unwrap().sum(..).unwrap();
    grad(&[&loss], &[&middle], &options()).unwrap();
    middle.sum(..).unwrap().backward().unwrap();
    assert_eq!(x.grad().unwrap().to_vec(), [1f64.exp(), 2f64.exp()]);
}

#[test]
fn derivatives_of_derivatives_to_the_sixth() {
    let x = Tensor::from(2.0).requires_grad();
    let mut derivative = x.pow(5.0).unwrap();
    let mut found = vec![derivative.item().unwrap()];
    for _ in 0..6 {
        let recorded = options().create_graph(true).materialize_grads(true);
        derivative = grad(&[&derivative], &[&x], &recorded).unwrap().remove(0);
        found.push(derivative.item().unwrap());
    }
    assert_eq!(found, [32.0, 80.0, 160.0, 240.0, 240.0, 120.0, 0.0]);
}

#[test]
fn a_product_of_the_hessian_and_a_vector() {
    // f(x) = x A x with a symmetric A has the Hessian 2 A.
    let matrix = Tensor::from([[2.0, -1.0, 0.5], [-1.0, 3.0, 0.25], [0.5, 0.25, 1.0]]);
    let x = Tensor::from([1.0, -2.0, 3.0]).requires_grad();
    let value = x.matmul(&matrix).unwrap().dot(&x).unwrap();
    let slope = grad(&[&value], &[&x], &options().create_graph(true)).unwrap().remove(0);
    let direction = Tensor::from([1.0, 10.0, 100.0]);
    let product = grad(&[&slope], &[&x], &options().grad_outputs([direction.clone()])).unwrap().remove(0);
    assert_eq!(product.to_vec(), matrix.matmul(&direction).unwrap().mul(2.0).unwrap().to_vec());
}

#[test]
fn a_gradient_penalty_trains_through_backward() {
    // loss = (d y / d x)^2 with y = w x^2: 4 w^2 x^2, whose derivative by w is 8 w x^2.
    let (w, x) = (Tensor::from(3.0).requires_grad(), Tensor::from(0.5).requires_grad());
    let y = x.square().unwrap().mul(&w).unwrap();
    let slope = grad(&[&y], &[&x], &options().create_graph(true)).unwrap().remove(0);
    slope.square().unwrap().backward().unwrap();
    assert_eq!(w.grad().unwrap().item().unwrap(), 8.0 * 3.0 * 0.25);
    assert_eq!(x.grad().unwrap().item().unwrap(), 8.0 * 9.0 * 0.5);
}

#[test]
fn the_upstream_gradient_can_be_differentiated_too() {
    // The gradient is linear in it: d (v 2x) / dv = 2x.
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let v = Tensor::from([3.0, 4.0]).requires_grad();
    let recorded = options().create_graph(true).grad_outputs([v.clone()]);
    let product = grad(&[&x.square().unwrap()], &[&x], &recorded).unwrap().remove(0);
    product.sum(..).unwrap().backward().unwrap();
    assert_eq!(v.grad().unwrap().to_vec(), [2.0, 4.0]);
    assert_eq!(x.grad().unwrap().to_vec(), [6.0, 8.0]);
    // Unless nothing is recorded.
    let plain = options().grad_outputs([v]);
    assert!(!grad(&[&x.square().unwrap()], &[&x], &plain).unwrap().remove(0).is_tracked());
}

#[test]
fn stored_gradients_never_have_a_history() {
    let x = Tensor::from(2.0).requires_grad();
    let error = backward(&[&x.square().unwrap()], &options().create_graph(true)).unwrap_err();
    assert!(matches!(error, Error::Argument { op: "backward", name: "create_graph", .. }));
    assert!(x.grad().is_none());
    let upstream = Tensor::from(1.0).requires_grad();
    x.square().unwrap().backward_with(&upstream).unwrap();
    assert!(!x.grad().unwrap().is_tracked());
    // Even where the gradient is the upstream gradient itself.
    let leaf = Tensor::from(2.0).requires_grad();
    leaf.backward_with(&upstream).unwrap();
    assert!(!leaf.grad().unwrap().is_tracked());
}

#[test]
fn outputs_and_inputs_may_be_no_tensors_at_all() {
    let x = Tensor::from(2.0).requires_grad();
    assert!(grad(&[&x.square().unwrap()], &[], &options()).unwrap().is_empty());
    assert_eq!(grad(&[], &[&x], &options()).unwrap_err(), Error::Unused { op: "grad", index: 0 });
    backward::<f64>(&[], &options()).unwrap();
    assert!(x.grad().is_none());
}
