//! Every differentiable operation against finite differences in f64, to the third derivative, under
//! random upstream gradients.

mod casts;
mod convolution;
mod elementwise;
mod indexing;
mod layout;
mod linear_algebra;
mod losses;
mod reductions;
mod softmax;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use tapegrad::{GradCheck, Result, Shape, Tensor};

/// A fixed stream of random numbers.
fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A leaf of normal random numbers. The shape is part of the seed, so that two inputs differ.
fn normal(shape: impl Into<Shape>) -> Tensor<f64> {
    let shape = shape.into();
    let seed = shape.iter().fold(17, |seed, &size| seed * 31 + size as u64);
    Tensor::randn(shape, &mut rng(seed)).unwrap().requires_grad()
}

/// A leaf of random numbers in [low, high).
fn between(low: f64, high: f64, shape: impl Into<Shape>) -> Tensor<f64> {
    let shape = shape.into();
    let unit = Tensor::rand(shape, &mut rng(23)).unwrap();
    unit.mul(high - low).unwrap().add(low).unwrap().requires_grad()
}

/// A leaf whose elements are at least 0.25 apart from each other and 0.125 from every multiple of 0.25,
/// in random order around zero: no maximum is tied and no kink is near.
fn apart(shape: impl Into<Shape>) -> Tensor<f64> {
    let shape = shape.into();
    let count = shape.elements();
    let mut values: Vec<f64> = (0..count).map(|i| (i as f64 - (count / 2) as f64) * 0.25 + 0.125).collect();
    values.shuffle(&mut rng(29));
    Tensor::from_vec(values, shape).unwrap().requires_grad()
}

/// Checks the derivatives of the orders 1 to 3.
#[track_caller]
fn check(function: impl Fn(&[Tensor<f64>]) -> Result<Tensor<f64>>, inputs: &[&Tensor<f64>]) {
    if let Err(error) = GradCheck::new().order(3).check(function, inputs, &mut rng(31)) {
        panic!("{error}");
    }
}

/// Checks a function of one tensor.
#[track_caller]
fn check1(x: &Tensor<f64>, function: impl Fn(&Tensor<f64>) -> Result<Tensor<f64>>) {
    check(|inputs| function(&inputs[0]), &[x]);
}

/// Checks a function of two tensors: with the gradients of both, and of each alone.
#[track_caller]
fn check2(
    a: &Tensor<f64>,
    b: &Tensor<f64>,
    function: impl Fn(&Tensor<f64>, &Tensor<f64>) -> Result<Tensor<f64>>,
) {
    for (a, b) in [(a, b), (a, &b.detach()), (&a.detach(), b)] {
        check(|inputs| function(&inputs[0], &inputs[1]), &[a, b]);
    }
}

/// A function of one tensor, by reference: [`Tensor::exp`] and the like.
type Unary = fn(&Tensor<f64>) -> Result<Tensor<f64>>;
/// A function of two tensors.
type Binary = fn(&Tensor<f64>, &Tensor<f64>) -> Result<Tensor<f64>>;
