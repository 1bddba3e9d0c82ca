//! L-BFGS: Newton's method with a curvature that is learnt from the gradients on the way.

use super::line_search::{LineSearch, Point};
use super::state::{NO_GRADIENT, problem};
use super::{check, check_at_least_zero};
use crate::autograd::backward::{GradOptions, grad};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::nn::{Name, Parameters};
use crate::tensor::model::Tensor;
use std::collections::VecDeque;
use std::marker::PhantomData;

/// Minimises a smooth objective that has no noise, such as the loss over a whole data set, by the limited
/// memory BFGS method (Liu and Nocedal, "On the limited memory BFGS method for large scale optimization",
/// Mathematical Programming 45, 1989) with a line search for the strong Wolfe conditions.
///
/// Each step s and the change y of the gradient along it tell about the curvature: H s = y. From the last
/// few of these pairs the method makes the step that Newton's method would take if it knew no more about
/// the Hessian H. Vectors are kept in `f64`, whatever the precision of the model.
///
/// ```
/// use tapegrad::Tensor;
/// use tapegrad::optim::Lbfgs;
///
/// // Rosenbrock's valley (1 - x)^2 + 100 (y - x^2)^2
/// let mut point = [Tensor::from(-1.2f64), Tensor::from(1.0)].map(Tensor::requires_grad);
/// let minimum = Lbfgs::new().minimize(&mut point, |[x, y]| {
///     let valley = y.sub(&x.square()?)?.square()?.mul(100.0)?;
///     x.neg()?.add(1.0)?.square()?.add(&valley)
/// })?;
/// assert!((point[0].item()? - 1.0).abs() < 1e-9 && (point[1].item()? - 1.0).abs() < 1e-9);
/// assert!(minimum.gradient <= 1e-9 && minimum.evaluations < 100);
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Lbfgs {
    history: usize,
    max_evaluations: usize,
    tolerance: f64,
}

impl Default for Lbfgs {
    fn default() -> Self {
        Lbfgs { history: 50, max_evaluations: 1000, tolerance: 1e-9 }
    }
}

/// Where a minimisation has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    /// The objective.
    pub value: f64,
    /// The largest magnitude in its gradient.
    pub gradient: f64,
    /// How often the objective and its gradient were evaluated.
    pub evaluations: usize,
    /// Why it ended there.
    pub end: End,
    /// The way: the start, and the point after each step.
    pub path: Vec<Progress>,
}

/// A point on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The objective.
    pub value: f64,
    /// The largest magnitude in its gradient.
    pub gradient: f64,
    /// How many evaluations it took to get here.
    pub evaluations: usize,
}

/// Why a minimisation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// No entry of the gradient exceeds the tolerance.
    Converged,
    /// No step leads further down: the objective is as low as rounding lets one see, or the gradient is
    /// not that of the objective.
    NoProgress,
    /// The allowed evaluations are used up.
    OutOfEvaluations,
}

impl Lbfgs {
    /// With 50 pairs of steps, at most 1000 evaluations and a tolerance of 1e-9.
    pub fn new() -> Self {
        Lbfgs::default()
    }

    /// From how many of the last steps the curvature is taken. More of them take more memory, two vectors
    /// of all parameters each, and usually fewer evaluations. Without any it is steepest descent.
    pub fn history(mut self, steps: usize) -> Self {
        self.history = steps;
        self
    }

    /// The largest number of evaluations: at least 1.
    pub fn max_evaluations(mut self, evaluations: usize) -> Self {
        self.max_evaluations = evaluations;
        self
    }

    /// The largest magnitude in a gradient that counts as vanishing: at least 0.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Moves the parameters of a model that require a gradient to a minimum of the objective, which is a
    /// single value computed from the model and the same for the same parameters (switch dropout off with
    /// [`eval`](Parameters::eval)). The parameters' own gradients are neither used nor changed.
    ///
    /// That the minimum was not reached is no error: [`Minimum::end`] tells, and the parameters are then at
    /// the lowest point that was found.
    ///
    /// # Errors
    /// What the objective returns; [`Error::NotScalar`] for one that is no single value;
    /// [`Error::Parameter`] for a parameter that it does not depend on; [`Error::Argument`] for one
    /// that is not finite at the start, or whose gradient is not, and for an option outside its range;
    /// [`Error::OutOfMemory`]. The parameters are then where they were at the start.
    pub fn minimize<T: Float, M: Parameters<T>>(
        &self,
        model: &mut M,
        objective: impl FnMut(&M) -> Result<Tensor<T>>,
    ) -> Result<Minimum> {
        check_at_least_zero(OP, &[("tolerance", self.tolerance)])?;
        let evaluations = self.max_evaluations;
        check(OP, "max_evaluations", evaluations as f64, evaluations > 0, "at least 1")?;
        let start = read(model);
        let mut descent = Descent { model, objective, evaluations: 0, precision: PhantomData };
        let outcome = descent.run(self, &start);
        if outcome.is_err() {
            descent.write(&start)?;
        }
        outcome
    }
}

const OP: &str = "Lbfgs";

/// After how many steps in a row without progress the search ends.
const PATIENCE: usize = 5;

/// The values of all parameters that require a gradient, one after the other.
fn read<T: Float>(model: &impl Parameters<T>) -> Vec<f64> {
    let mut values = Vec::new();
    model.visit(&Name::root(), &mut |_, parameter| {
        if parameter.is_tracked() {
            values.extend(parameter.as_slice().iter().map(|&value| Float::to_f64(value)));
        }
    });
    values
}

/// A model on its way down.
struct Descent<'a, T, M, F> {
    model: &'a mut M,
    objective: F,
    evaluations: usize,
    precision: PhantomData<T>,
}

/// A point in the space of all parameters.
#[derive(Clone)]
struct Place {
    parameters: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

impl Place {
    fn is_finite(&self) -> bool {
        self.value.is_finite() && self.gradient.iter().all(|entry| entry.is_finite())
    }

    fn largest_gradient(&self) -> f64 {
        self.gradient.iter().fold(0.0, |largest, entry| largest.max(entry.abs()))
    }
}

impl<T: Float, M: Parameters<T>, F: FnMut(&M) -> Result<Tensor<T>>> Descent<'_, T, M, F> {
    fn run(&mut self, options: &Lbfgs, start: &[f64]) -> Result<Minimum> {
        let mut here = self.evaluate(start)?;
        if !here.is_finite() {
            let value = format!("{} with the largest gradient {}", here.value, here.largest_gradient());
            let allowed = "finite at the start, with its gradient";
            return Err(Error::Argument { op: OP, name: "the objective", value, allowed });
        }
        let mut pairs = Pairs::new(options.history);
        let mut path = Vec::new();
        // Where values differ by rounding alone, the gradient tells which point is nearer to the minimum.
        let (mut best, mut stalled) = (here.clone(), 0);
        let end = loop {
            let (gradient, noise) = (here.largest_gradient(), Self::noise(&best));
            let level = here.value <= best.value + noise && gradient < best.largest_gradient();
            match here.value < best.value - noise || level {
                true => (best, stalled) = (here.clone(), 0),
                false => stalled += 1,
            }
            path.push(Progress { value: here.value, gradient, evaluations: self.evaluations });
            if gradient <= options.tolerance {
                break End::Converged;
            }
            if stalled > PATIENCE {
                break End::NoProgress;
            }
            match self.step(options, &here, &pairs)? {
                Some(there) => {
                    pairs.push(&here, &there);
                    here = there;
                }
                None if self.evaluations >= options.max_evaluations => break End::OutOfEvaluations,
                // The learnt curvature may mislead; the gradient alone does not.
                None if !pairs.is_empty() => {
                    pairs.clear();
                    path.pop();
                }
                None => break End::NoProgress,
            }
        };
        self.write(&best.parameters)?;
        let (value, gradient) = (best.value, best.largest_gradient());
        Ok(Minimum { value, gradient, evaluations: self.evaluations, end, path })
    }

    /// The rounding error of the objective at a point: smaller differences mean nothing.
    fn noise(place: &Place) -> f64 {
        10.0 * Float::to_f64(T::epsilon()) * place.value.abs()
    }

    /// The next point, if there is a lower one and evaluations are left to find it.
    fn step(&mut self, options: &Lbfgs, here: &Place, pairs: &Pairs) -> Result<Option<Place>> {
        let direction = pairs.direction(&here.gradient);
        let slope = dot(&direction, &here.gradient);
        if slope.is_nan() || slope >= 0.0 {
            return Ok(None);
        }
        // Without curvature, a step of length 1 at most; a quasi-Newton step is right as it is.
        let length = match pairs.is_empty() {
            true => 1.0 / here.gradient.iter().map(|entry| entry.abs()).sum::<f64>().max(1.0),
            false => 1.0,
        };
        let noise = Self::noise(here);
        let mut search = LineSearch::new(Point { at: 0.0, value: here.value, slope }, length, noise);
        let mut lowest = None;
        while self.evaluations < options.max_evaluations {
            let Some(at) = search.next() else { break };
            let parameters: Vec<f64> =
                here.parameters.iter().zip(&direction).map(|(x, d)| x + at * d).collect();
            let there = self.evaluate(&parameters)?;
            let slope = if there.is_finite() { dot(&direction, &there.gradient) } else { f64::NAN };
            search.tell(Point { at, value: there.value, slope });
            if search.lowest() == at {
                lowest = Some(there);
            }
        }
        Ok(lowest.filter(|there: &Place| search.is_done() || there.value < here.value - noise))
    }

    /// Moves the model to a point, and measures the objective there.
    fn evaluate(&mut self, parameters: &[f64]) -> Result<Place> {
        self.write(parameters)?;
        self.evaluations += 1;
        let value = (self.objective)(self.model)?;
        let (mut names, mut leaves) = (Vec::new(), Vec::new());
        self.model.visit(&Name::root(), &mut |name, parameter| {
            if parameter.is_tracked() {
                names.push(name.to_string());
                leaves.push(parameter);
            }
        });
        let gradients = match leaves.is_empty() {
            true => Vec::new(),
            false => grad(&[&value], &leaves, &GradOptions::new()).map_err(|error| match error {
                // A rule of the caller's may have failed with the same error, and any index.
                Error::Unused { index, .. } if index < names.len() => {
                    problem(OP, names.swap_remove(index), NO_GRADIENT)
                }
                other => other,
            })?,
        };
        let entries = gradients.iter().flat_map(|gradient| gradient.as_slice());
        let gradient = entries.map(|&entry| Float::to_f64(entry)).collect();
        let value = Float::to_f64(value.item()?);
        Ok(Place { parameters: read(self.model), value, gradient })
    }

    fn write(&mut self, parameters: &[f64]) -> Result<()> {
        let (mut rest, mut outcome) = (parameters.iter(), Ok(()));
        self.model.visit_mut(&Name::root(), &mut |_, parameter| {
            if parameter.is_tracked() {
                let written = parameter.as_mut_slice().map(|values| {
                    values.iter_mut().zip(&mut rest).for_each(|(value, &new)| *value = T::from_f64(new));
                });
                outcome = std::mem::replace(&mut outcome, Ok(())).and(written);
            }
        });
        outcome
    }
}

/// The last steps s with the changes y of the gradient along them.
struct Pairs {
    pairs: VecDeque<Pair>,
    capacity: usize,
}

struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    /// 1 / (s · y)
    rho: f64,
}

impl Pairs {
    fn new(capacity: usize) -> Self {
        Pairs { pairs: VecDeque::new(), capacity }
    }

    fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn clear(&mut self) {
        self.pairs.clear();
    }

    /// Learns from a step. A step along which the slope does not grow has no positive curvature: it would make the
    /// next direction lead uphill, and is left out.
    fn push(&mut self, from: &Place, to: &Place) {
        let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
        let s = difference(&to.parameters, &from.parameters);
        let y = difference(&to.gradient, &from.gradient);
        let product = dot(&s, &y);
        if self.capacity > 0 && product > f64::EPSILON * (dot(&s, &s) * dot(&y, &y)).sqrt() {
            if self.pairs.len() == self.capacity {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair { s, y, rho: 1.0 / product });
        }
    }

    /// -H^-1 g for the Hessian H that the pairs describe: the two loops of Nocedal and Wright, "Numerical
    /// optimization", algorithm 7.4.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|entry| -entry).collect();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for Pair { s, y, rho } in self.pairs.iter().rev() {
            let alpha = rho * dot(s, &direction);
            add_scaled(&mut direction, -alpha, y);
            alphas.push(alpha);
        }
        if let Some(Pair { y, rho, .. }) = self.pairs.back() {
            let scale = 1.0 / (rho * dot(y, y));
            direction.iter_mut().for_each(|entry| *entry *= scale);
        }
        for (Pair { s, y, rho }, alpha) in self.pairs.iter().zip(alphas.into_iter().rev()) {
            let beta = rho * dot(y, &direction);
            add_scaled(&mut direction, alpha - beta, s);
        }
        direction
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// a = a + scale b
fn add_scaled(a: &mut [f64], scale: f64, b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += scale * b);
}
