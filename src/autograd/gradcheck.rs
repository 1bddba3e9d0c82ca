//! Comparing recorded gradients with finite differences.
//!
//! A derivative is a limit of quotients, and quotients need no rule: evaluating a function a little
//! to the left and to the right of a point tells what its rule should have said there. This module
//! does so in `f64`, at every index of every input, and for derivatives of derivatives too.
//!
//! # How exact the comparison is
//! For a smooth function the central difference
//!
//! ```text
//! D(h) = (f(x + h) - f(x - h)) / 2h = f'(x) + c2 h^2 + c4 h^4 + ..
//! ```
//!
//! errs by a series of even powers of h. Halving h and combining, (4 D(h/2) - D(h)) / 3, removes the
//! first of them, and so on (Richardson's extrapolation). What remains is mostly the rounding error of
//! f, of the order of 1e-16 |f| / h. So h can stay large and the result has ten digits and more, where
//! a single difference has six or seven. The table of extrapolated values also tells how far it has
//! converged: neighbours agree. Values that come from too large a step, across a kink or beyond the
//! function's domain, agree with nothing, and the smaller steps decide.

use crate::autograd::backward::{GradOptions, grad};
use crate::autograd::grad_mode::{enable_grad, no_grad};
use crate::error::{Error, Result};
use crate::tensor::model::Tensor;
use rand::Rng;

/// Checks that the gradient of a function is its derivative, by finite differences in `f64`.
///
/// The function gets tensors of the same shapes and values as `inputs`, in their order. Those that
/// require a gradient are varied, element by element; the others are passed as they are. The gradient
/// is taken of sum(v y), where y is the function's value and v a random upstream gradient from `rng`:
/// a plain sum would hide every error that a sum cancels, and for a softmax it hides everything.
///
/// ```
/// # use rand::SeedableRng;
/// use tapegrad::{gradcheck, Tensor};
/// # let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(0);
/// let x = Tensor::from([[0.5, -1.0], [2.0, 0.1]]).requires_grad();
/// let scale = Tensor::from([3.0, 4.0]).requires_grad();
/// gradcheck(|inputs| inputs[0].tanh()?.mul(&inputs[1]), &[&x, &scale], &mut rng)?;
/// # Ok::<(), tapegrad::Error>(())
/// ```
///
/// [`GradCheck`] checks higher derivatives and sets the tolerance.
///
/// # Errors
/// [`Error::GradientMismatch`] where the two differ, [`Error::NotTracked`] if no input requires a
/// gradient, and what the function returns.
pub fn gradcheck(
    function: impl Fn(&[Tensor<f64>]) -> Result<Tensor<f64>>,
    inputs: &[&Tensor<f64>],
    rng: &mut (impl Rng + ?Sized),
) -> Result<()> {
    GradCheck::new().check(function, inputs, rng)
}

/// Like [`gradcheck`], and checks the second derivatives too: `GradCheck::new().order(2)`.
///
/// # Errors
/// As [`gradcheck`].
pub fn gradgradcheck(
    function: impl Fn(&[Tensor<f64>]) -> Result<Tensor<f64>>,
    inputs: &[&Tensor<f64>],
    rng: &mut (impl Rng + ?Sized),
) -> Result<()> {
    GradCheck::new().order(2).check(function, inputs, rng)
}

/// How strictly, and up to which derivative, gradients are compared with finite differences.
///
/// ```
/// # use rand::SeedableRng;
/// use tapegrad::{GradCheck, Tensor};
/// # let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(0);
/// let x = Tensor::from([0.5, 2.0, 4.0]).requires_grad();
/// GradCheck::new().order(3).check(|inputs| inputs[0].log(), &[&x], &mut rng)?;
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GradCheck {
    order: usize,
    tolerance: f64,
    absolute_tolerance: f64,
    step: f64,
}

impl Default for GradCheck {
    fn default() -> Self {
        GradCheck { order: 1, tolerance: 1e-9, absolute_tolerance: 1e-13, step: 1.0 / 16.0 }
    }
}

impl GradCheck {
    /// First derivatives, a tolerance of 1e-9 (absolute: 1e-13), steps from 1/16 on.
    pub fn new() -> Self {
        GradCheck::default()
    }

    /// Checks the derivatives of the orders 1 to `order`.
    ///
    /// Order 1 checks g(x, v), the gradient of sum(v f(x)). Order 2 takes g itself as the function: its
    /// inputs are x and v, it is computed with [`create_graph`](GradOptions::create_graph), and the
    /// gradient of sum(w g(x, v)) for a random w is compared with differences of g. Order 3 does the
    /// same to that gradient, and so on. In an error, the upstream gradients v, w, .. count as further
    /// inputs, after those of the function. More than 8 are refused: each takes several times as long as the
    /// one below.
    pub fn order(mut self, order: usize) -> Self {
        self.order = order;
        self
    }

    /// How far a gradient may be from the differences: `tolerance` times the largest magnitude in the
    /// gradient of the same input. What the differences lose by rounding is allowed on top.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// What is allowed on top of [`tolerance`](Self::tolerance), whatever the magnitudes: where terms
    /// cancel to zero, their rounding errors remain, and there is nothing left to be relative to.
    pub fn absolute_tolerance(mut self, absolute_tolerance: f64) -> Self {
        self.absolute_tolerance = absolute_tolerance;
        self
    }

    /// The largest step of the differences, which is then halved until they converge. Choose it smaller
    /// than the distance to the nearest kink or pole.
    pub fn step(mut self, step: f64) -> Self {
        self.step = step;
        self
    }

    /// Compares the function's gradients at these inputs with finite differences; see [`gradcheck`].
    ///
    /// Every gradient is computed twice, once as [`backward`](Tensor::backward) does and once recorded
    /// for differentiation, and both must agree with the differences: a rule may compute them in
    /// different ways.
    ///
    /// # Errors
    /// As [`gradcheck`], and [`Error::Argument`] for an order of 0, or a tolerance or step that is not
    /// positive (the absolute tolerance may be 0).
    pub fn check(
        &self,
        function: impl Fn(&[Tensor<f64>]) -> Result<Tensor<f64>>,
        inputs: &[&Tensor<f64>],
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<()> {
        let expect = |name, value: f64, holds: bool, allowed| match holds && value.is_finite() {
            true => Ok(()),
            false => Err(Error::Argument { op: OP, name, value: value.to_string(), allowed }),
        };
        let allowed = "positive, and at most 8: each order takes several times as long as the one below";
        expect("order", self.order as f64, (1..=8).contains(&self.order), allowed)?;
        expect("tolerance", self.tolerance, self.tolerance > 0.0, "positive")?;
        let absolute = self.absolute_tolerance;
        expect("absolute_tolerance", absolute, absolute >= 0.0, "zero or positive")?;
        expect("step", self.step, self.step > 0.0, "positive")?;
        if !inputs.iter().any(|input| input.is_tracked()) {
            return Err(Error::NotTracked { op: OP, input: Some(0) });
        }
        let function: &Function = &function;
        // Gradients are meant, even inside no_grad.
        enable_grad(|| {
            let mut arguments: Vec<Tensor<f64>> = inputs.iter().map(|&input| fresh(input)).collect();
            let mut upstreams = vec![];
            for _ in 0..self.order {
                let outputs = evaluate(function, &upstreams, &arguments, false)?;
                let upstream = outputs
                    .iter()
                    .map(|output| Ok(Tensor::randn(output.shape(), rng)?.requires_grad()))
                    .collect::<Result<Vec<_>>>()?;
                upstreams.push(upstream.len());
                arguments.extend(upstream);
                self.check_order(function, &upstreams, &arguments)?;
            }
            Ok(())
        })
    }

    /// Compares the gradients of sum(upstream outputs) with differences of the outputs, where the
    /// upstream gradients are the last of the arguments.
    fn check_order(
        &self,
        function: &Function<'_>,
        upstreams: &[usize],
        arguments: &[Tensor<f64>],
    ) -> Result<()> {
        let order = upstreams.len();
        let played = evaluate(function, upstreams, arguments, false)?;
        let recorded = evaluate(function, upstreams, arguments, true)?;
        let (arguments, upstream) = arguments.split_at(arguments.len() - upstreams[order - 1]);
        let varied = (arguments.iter().enumerate()).filter(|(_, argument)| argument.is_tracked());
        for (((input, argument), played), recorded) in varied.zip(&played).zip(&recorded) {
            let scale = played.as_slice().iter().fold(0.0, |scale: f64, value| scale.max(value.abs()));
            for (position, &x) in argument.as_slice().iter().enumerate() {
                let outputs_at = |x: f64| {
                    let mut moved: Vec<Tensor<f64>> = arguments.iter().map(fresh).collect();
                    moved[input].as_mut_slice()?[position] = x;
                    evaluate(function, &upstreams[..order - 1], &moved, false)
                };
                let estimate = self.difference(x, scale, upstream, outputs_at)?;
                let relative = self.tolerance * scale.max(estimate.value.abs());
                let allowed = relative + self.absolute_tolerance + estimate.rounding;
                for found in [played.as_slice()[position], recorded.as_slice()[position]] {
                    let is_close = (found - estimate.value).abs() <= allowed; // false for nan
                    if !is_close {
                        return Err(Error::GradientMismatch {
                            op: OP,
                            order,
                            input,
                            position: argument.shape().coordinates(position),
                            recorded: found,
                            differences: estimate.value,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The derivative of sum(upstream outputs(x)), by central differences and extrapolation.
    fn difference(
        &self,
        x: f64,
        scale: f64,
        upstream: &[Tensor<f64>],
        outputs: impl Fn(f64) -> Result<Vec<Tensor<f64>>>,
    ) -> Result<Estimate> {
        let mut best = Estimate { value: f64::NAN, error: f64::INFINITY, rounding: 0.0 };
        let mut step = self.step.max(x.abs() * 1e-6);
        // Row k holds D(h / 2^k) and what Richardson makes of it and the rows above.
        let mut above: Vec<f64> = Vec::new();
        for _ in 0..MOST_STEPS {
            let (left, right) = (x - step, x + step);
            // Dividing by the distance of the points as rounded takes their own rounding error out.
            let (change, size) = weighted_change(upstream, &outputs(left)?, &outputs(right)?);
            let rounding = ROUNDINGS * f64::EPSILON * size / (right - left);
            let mut row = vec![change / (right - left)];
            let mut power = 1.0;
            for (column, &coarse) in above.iter().enumerate() {
                power *= 4.0;
                let fine = row[column];
                let value = fine + (fine - coarse) / (power - 1.0);
                let error = (value - fine).abs().max((value - coarse).abs());
                if error < best.error {
                    best = Estimate { value, error, rounding };
                }
                row.push(value);
            }
            let relative = self.tolerance * scale.max(best.value.abs());
            if best.error <= 0.1 * (relative + self.absolute_tolerance) + best.rounding {
                break;
            }
            above = row;
            step /= 2.0;
        }
        Ok(best)
    }
}

const OP: &str = "gradcheck";

/// The function under test. Not generic, so that the checks are compiled once and not for every function.
type Function<'a> = dyn Fn(&[Tensor<f64>]) -> Result<Tensor<f64>> + 'a;

/// Halvings of the step before the best estimate so far has to do.
const MOST_STEPS: usize = 12;

/// How many units of rounding error each output may carry.
const ROUNDINGS: f64 = 64.0;

struct Estimate {
    value: f64,
    /// The distance from its neighbours in the table.
    error: f64,
    /// What it may have lost because the outputs were rounded.
    rounding: f64,
}

/// sum(upstream (right - left)), and the magnitude of the terms before they cancelled.
fn weighted_change(upstream: &[Tensor<f64>], left: &[Tensor<f64>], right: &[Tensor<f64>]) -> (f64, f64) {
    let terms = upstream.iter().zip(left).zip(right).flat_map(|((weights, left), right)| {
        weights.as_slice().iter().zip(left.as_slice()).zip(right.as_slice())
    });
    terms.fold((0.0, 0.0), |(change, size), ((weight, left), right)| {
        (change + weight * (right - left), size + weight.abs() * left.abs().max(right.abs()))
    })
}

/// The function's value or, with the numbers of upstream gradients of one or more orders, its gradient
/// or the gradient of that and so on. The arguments are the function's inputs and then the upstream
/// gradients of each order; there is a gradient for each argument that requires one.
fn evaluate(
    function: &Function<'_>,
    upstreams: &[usize],
    arguments: &[Tensor<f64>],
    recording: bool,
) -> Result<Vec<Tensor<f64>>> {
    let Some((&count, lower)) = upstreams.split_last() else {
        return Ok(vec![if recording { function(arguments) } else { no_grad(|| function(arguments)) }?]);
    };
    let (arguments, upstream) = arguments.split_at(arguments.len() - count);
    let outputs = evaluate(function, lower, arguments, true)?;
    let wanted: Vec<&Tensor<f64>> = arguments.iter().filter(|argument| argument.is_tracked()).collect();
    // What does not depend on any argument adds nothing: its derivative is zero.
    let (outputs, upstream): (Vec<&Tensor<f64>>, Vec<Tensor<f64>>) = (outputs.iter().zip(upstream))
        .filter(|(output, _)| output.is_tracked())
        .map(|(output, upstream)| (output, upstream.clone()))
        .unzip();
    let options = GradOptions::new().grad_outputs(upstream).create_graph(recording).materialize_grads(true);
    grad(&outputs, &wanted, &options)
}

/// A leaf of its own with the same value, or the same constant.
fn fresh(input: &Tensor<f64>) -> Tensor<f64> {
    let value = input.detach();
    if input.is_tracked() { value.requires_grad() } else { value }
}
