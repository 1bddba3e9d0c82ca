//! Contributions add up: over paths, over backward calls, over losses.

use super::gradient;
use std::time::{Duration, Instant};
use tapegrad::{GradOptions, Mask, MseLoss, Reduction, Result, Tensor, backward, grad};

#[test]
fn gradient_accumulates_over_a_diamond() {
    // x -> (a = 2x, b = x^2) -> a b = 2 x^3
    let x = Tensor::from([1.0, -3.0]).requires_grad();
    let (a, b) = (x.mul(2.0).unwrap(), x.square().unwrap());
    a.mul(&b).unwrap().backward_with(&Tensor::from([1.0, 10.0])).unwrap();
    assert_eq!(gradient(&x), [6.0, 540.0]);
}

#[test]
fn nested_diamonds_with_paths_of_different_length() {
    // y = x + (x + (x + x^2)^2): a value is used right away and again much later.
    let x = Tensor::from(2.0).requires_grad();
    let inner = x.square().unwrap().add(&x).unwrap(); // 6
    let middle = inner.square().unwrap().add(&x).unwrap();
    let y = middle.add(&x).unwrap().add(&inner).unwrap();
    y.backward().unwrap();
    // 2 inner inner' + 2 + inner', inner' = 2x + 1 = 5
    assert_eq!(gradient(&x), [60.0 + 2.0 + 5.0]);
}

#[test]
fn the_same_tensor_twice_in_one_operation() {
    type Case = (fn(&Tensor<f64>) -> Result<Tensor<f64>>, [f64; 4]);
    let cases: [Case; 8] = [
        (|x| x.add(x), [2.0; 4]),
        (|x| x.sub(x), [0.0; 4]),
        (|x| x.mul(x), [2.0, 4.0, 6.0, 8.0]),
        (|x| x.div(x), [0.0; 4]),
        // d sum(X X) / dX = 1 X^T + X^T 1
        (|x| x.matmul(x), [7.0, 11.0, 9.0, 13.0]),
        (|x| Tensor::cat(&[x, x, x], 0), [3.0; 4]),
        (|x| x.where_cond(&Mask::new([[true, false], [false, true]]), x), [1.0; 4]),
        (|x| MseLoss::new().reduction(Reduction::Unreduced).forward(x, x), [0.0; 4]),
    ];
    for (case, (function, expected)) in cases.iter().enumerate() {
        let x = Tensor::from([[1.0, 2.0], [3.0, 4.0]]).requires_grad();
        function(&x).unwrap().sum(..).unwrap().backward().unwrap();
        assert_eq!(gradient(&x), expected, "case {case}");
    }
}

#[test]
fn gradients_accumulate_over_backward_calls_until_they_are_zeroed() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    for round in 1..=3 {
        x.square().unwrap().sum(..).unwrap().backward().unwrap();
        let times = f64::from(round);
        assert_eq!(gradient(&x), [2.0 * times, 4.0 * times]);
    }
    x.zero_grad();
    assert!(x.grad().is_none());
    x.sum(..).unwrap().backward().unwrap();
    assert_eq!(gradient(&x), [1.0, 1.0]);
}

#[test]
fn gradients_accumulate_over_two_losses() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let first = x.square().unwrap().sum(..).unwrap();
    let second = x.mul(Tensor::from([10.0, 20.0])).unwrap().sum(..).unwrap();
    first.backward().unwrap();
    second.backward().unwrap();
    assert_eq!(gradient(&x), [12.0, 24.0]);
}

#[test]
fn two_losses_over_shared_steps_in_one_pass_or_in_two() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let shared = x.square().unwrap();
    let first = shared.sum(..).unwrap();
    let second = shared.mul(3.0).unwrap().sum(..).unwrap();
    first.backward_retain_graph().unwrap();
    second.backward_retain_graph().unwrap();
    assert_eq!(gradient(&x), [8.0, 16.0]);
    x.zero_grad();
    backward(&[&first, &second], &GradOptions::new()).unwrap();
    assert_eq!(gradient(&x), [8.0, 16.0]);
}

#[test]
fn one_of_the_outputs_may_depend_on_another_or_be_the_same() {
    let x = Tensor::from(3.0).requires_grad();
    let y = x.square().unwrap();
    let z = y.mul(10.0).unwrap();
    let upstream = [Tensor::from(1.0), Tensor::from(100.0), Tensor::from(1000.0)];
    backward(&[&z, &y, &y], &GradOptions::new().grad_outputs(upstream)).unwrap();
    assert_eq!(gradient(&x), [6.0 * 10.0 + 6.0 * 1100.0]);
}

#[test]
fn a_leaf_is_its_own_output() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    x.backward_with(&Tensor::from([3.0, 4.0])).unwrap();
    x.backward_with(&Tensor::from([10.0, 20.0])).unwrap();
    assert_eq!(gradient(&x), [13.0, 24.0]);
}

#[test]
fn a_gradient_that_was_read_does_not_change_with_the_next_backward() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    x.square().unwrap().sum(..).unwrap().backward().unwrap();
    let before = x.grad().unwrap();
    x.square().unwrap().sum(..).unwrap().backward().unwrap();
    assert_eq!(before.to_vec(), [2.0, 4.0]);
    assert_eq!(gradient(&x), [4.0, 8.0]);
}

#[test]
fn leaves_and_upstream_gradients_never_share_what_is_added_to() {
    // The rule of an addition passes one and the same gradient to both operands.
    let (a, b) = (Tensor::from([1.0, 2.0]).requires_grad(), Tensor::from([3.0, 4.0]).requires_grad());
    let upstream = Tensor::from([5.0, 6.0]);
    a.add(&b).unwrap().backward_with(&upstream).unwrap();
    a.add(b.detach()).unwrap().backward_with(&upstream).unwrap();
    assert_eq!(gradient(&a), [10.0, 12.0]);
    assert_eq!(gradient(&b), [5.0, 6.0]);
    assert_eq!(upstream.to_vec(), [5.0, 6.0]);
    // And so if both gradients reach one node.
    let twice = a.detach().requires_grad();
    let sum = twice.add(&twice).unwrap();
    sum.add(&twice).unwrap().backward_with(&upstream).unwrap();
    assert_eq!(gradient(&twice), [15.0, 18.0]);
    assert_eq!(upstream.to_vec(), [5.0, 6.0]);
}

#[test]
fn a_broadcast_operand_gets_the_sum_of_its_copies() {
    let row = Tensor::from([1.0, 2.0]).requires_grad();
    let column = Tensor::from([[3.0], [4.0], [5.0]]).requires_grad();
    let number = Tensor::from(2.0).requires_grad();
    let y = row.mul(&column).unwrap().mul(&number).unwrap();
    y.backward_with(&Tensor::from([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])).unwrap();
    assert_eq!(gradient(&row), [2.0 * (3.0 + 8.0 + 15.0), 2.0 * (30.0 + 80.0 + 150.0)]);
    assert_eq!(gradient(&column), [2.0 * 21.0, 2.0 * 42.0, 2.0 * 63.0]);
    assert_eq!(gradient(&number), [3.0 * 21.0 + 4.0 * 42.0 + 5.0 * 63.0]);
}

#[test]
fn retaining_the_graph_and_playing_it_twice_doubles() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let loss = x.exp().unwrap().mul(&x).unwrap().sum(..).unwrap();
    loss.backward_retain_graph().unwrap();
    let once = gradient(&x);
    loss.backward_retain_graph().unwrap();
    loss.backward().unwrap();
    let thrice = gradient(&x);
    for (once, thrice) in once.iter().zip(&thrice) {
        assert_eq!(once + once + once, *thrice);
    }
}

/// A layer whose weight is used on the way in and on the way out.
struct Tied {
    weight: Tensor<f64>,
}

impl Tied {
    fn loss(&self, x: &Tensor<f64>) -> Result<Tensor<f64>> {
        let hidden = x.linear(&self.weight, None)?;
        hidden.matmul(&self.weight)?.mse_loss(x)
    }
}

#[test]
fn a_tied_weight_trains_as_one() {
    let x = Tensor::from([[1.0, 0.5], [-0.5, 2.0], [0.25, -1.0]]);
    let start = [[0.5, -0.25]];
    let mut tied = Tied { weight: Tensor::from(start).requires_grad() };
    for step in 0..200 {
        // Two separate weights of the same value: the tied gradient is the sum of theirs.
        let first = tied.weight.detach().requires_grad();
        let second = tied.weight.detach().requires_grad();
        let apart = x.linear(&first, None).unwrap().matmul(&second).unwrap();
        apart.mse_loss(&x).unwrap().backward().unwrap();

        tied.weight.zero_grad();
        tied.loss(&x).unwrap().backward().unwrap();
        let together = gradient(&tied.weight);
        for ((first, second), together) in gradient(&first).iter().zip(gradient(&second)).zip(&together) {
            assert!((first + second - together).abs() < 1e-14, "step {step}");
        }
        let updated = tied.weight.as_mut_slice().unwrap();
        updated.iter_mut().zip(&together).for_each(|(weight, gradient)| *weight -= 0.1 * gradient);
    }
    // It has learnt the principal direction of x: a unit vector.
    let norm = tied.weight.square().unwrap().sum(..).unwrap().item().unwrap();
    assert!((norm - 1.0).abs() < 1e-6, "{norm}");
}

#[test]
fn an_update_between_forward_and_backward_leaves_the_gradient_right() {
    let mut w = Tensor::from([1.0, 2.0]).requires_grad();
    let y = w.square().unwrap().mul(&w).unwrap(); // w^3, with w saved twice
    w.as_mut_slice().unwrap().copy_from_slice(&[100.0, 200.0]);
    y.sum(..).unwrap().backward().unwrap();
    assert_eq!(gradient(&w), [3.0, 12.0], "of the values that the steps saw");
    assert_eq!(w.to_vec(), [100.0, 200.0]);
    w.zero_grad();
    w.square().unwrap().sum(..).unwrap().backward().unwrap();
    assert_eq!(gradient(&w), [200.0, 400.0], "of the new ones");
}

#[test]
fn an_update_does_not_show_in_clones_and_copies_nothing_when_there_are_none() {
    let mut w = Tensor::from([1.0, 2.0]).requires_grad();
    let place = w.as_slice().as_ptr();
    w.as_mut_slice().unwrap()[0] = 5.0;
    assert_eq!(w.as_slice().as_ptr(), place);
    let snapshot = w.clone();
    w.as_mut_slice().unwrap()[0] = 7.0;
    assert_eq!((snapshot.to_vec(), w.to_vec()), (vec![5.0, 2.0], vec![7.0, 2.0]));
    // One gradient slot for both.
    snapshot.square().unwrap().sum(..).unwrap().backward().unwrap();
    assert_eq!(gradient(&w), [10.0, 4.0]);
}

#[test]
fn backward_releases_what_it_saved_so_that_the_next_update_is_in_place() {
    let mut w = Tensor::from([1.0, 2.0]).requires_grad();
    let place = w.as_slice().as_ptr();
    let loss = w.square().unwrap().sum(..).unwrap();
    loss.backward().unwrap();
    // The loss is still there; what it was computed from is not held any longer.
    w.as_mut_slice().unwrap()[0] = 3.0;
    assert_eq!(w.as_slice().as_ptr(), place);
    assert_eq!(loss.item().unwrap(), 5.0);
}

#[test]
fn a_ladder_of_sixty_diamonds_is_quick() {
    // 2^60 paths lead from the top to the bottom.
    let start = Instant::now();
    let x = Tensor::from(1.0).requires_grad();
    let mut y = x.clone();
    for _ in 0..60 {
        y = y.add(&y).unwrap();
    }
    assert_eq!(y.tape().len(), 61);
    let recorded = GradOptions::new().create_graph(true);
    let slope = grad(&[&y], &[&x], &recorded).unwrap().remove(0);
    assert_eq!(slope.item().unwrap(), 2f64.powi(60));
    y.backward().unwrap();
    assert_eq!(gradient(&x), [2f64.powi(60)]);
    drop(y);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_ladder_whose_two_sides_differ_is_quick_in_second_derivatives_too() {
    let start = Instant::now();
    let x = Tensor::from(0.5f64).requires_grad();
    let mut y = x.clone();
    for _ in 0..60 {
        y = y.square().unwrap().add(y.mul(0.5).unwrap()).unwrap();
    }
    let recorded = GradOptions::new().create_graph(true);
    let first = grad(&[&y], &[&x], &recorded).unwrap().remove(0);
    let second = grad(&[&first], &[&x], &GradOptions::new()).unwrap().remove(0);
    // y(x) = x^2 + x/2 has its fixed point at 1/2, where its slope is 3/2 and y'' = 2:
    // (y o .. o y)' = (3/2)^60, and the second derivative is the sum of 2 (3/2)^(60 + k - 1) for k < 60.
    assert!((first.item().unwrap() / 1.5f64.powi(60) - 1.0).abs() < 1e-12);
    let expected: f64 = (0..60).map(|k| 2.0 * 1.5f64.powi(60 + k - 1)).sum();
    assert!((second.item().unwrap() / expected - 1.0).abs() < 1e-12);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
