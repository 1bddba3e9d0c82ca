//! Gradient descent, with momentum.

use super::{Optimizer, OptimizerState, check, check_at_least_zero};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::nn::Parameters;

/// Stochastic gradient descent (PyTorch's `optim.SGD`). With the gradient g, the parameter θ and its
/// velocity v, a step is
///
/// ```text
/// d = g + weight_decay θ              (-g + weight_decay θ to maximize)
/// v = momentum v + (1 - dampening) d  (v = d in the first step)
/// θ = θ - learning_rate v             (d + momentum v for v with Nesterov's rule, d without momentum)
/// ```
///
/// (Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.)
///
/// State: v, if there is momentum.
#[derive(Debug, Clone)]
pub struct Sgd<T: Float = f32> {
    learning_rate: f64,
    options: Options,
    state: OptimizerState<T>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Options {
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
    maximize: bool,
}

impl<T: Float> Sgd<T> {
    /// Plain gradient descent.
    pub fn new(learning_rate: f64) -> Self {
        Sgd { learning_rate, options: Options::default(), state: OptimizerState::default() }
    }

    /// How much of the velocity is kept from step to step: at least 0.
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.options.momentum = momentum;
        self
    }

    /// How much less of the gradient is added to the velocity: finite.
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.options.dampening = dampening;
        self
    }

    /// A penalty of `weight_decay`/2 times the sum of the squared parameters: at least 0.
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.options.weight_decay = weight_decay;
        self
    }

    /// Nesterov's rule, which looks ahead along the velocity. It takes momentum and no dampening.
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.options.nesterov = nesterov;
        self
    }

    /// Climbs instead of descending.
    pub fn maximize(mut self, maximize: bool) -> Self {
        self.options.maximize = maximize;
        self
    }

    fn buffers(&self) -> usize {
        usize::from(self.options.momentum != 0.0)
    }
}

const OP: &str = "Sgd";

impl<T: Float> Optimizer<T> for Sgd<T> {
    fn step(&mut self, model: &mut dyn Parameters<T>) -> Result<()> {
        step(self, model)
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    fn state(&self) -> &OptimizerState<T> {
        &self.state
    }

    fn set_state(&mut self, state: OptimizerState<T>) -> Result<()> {
        self.state = state.checked(OP, self.buffers())?;
        Ok(())
    }
}

compiled! {
    fn step<T>(sgd: &mut Sgd<T>, model: &mut dyn Parameters<T>) -> Result<()> {
        let (rate, options) = (sgd.learning_rate, sgd.options);
        let Options { momentum, dampening, weight_decay, nesterov, .. } = options;
        check_at_least_zero(
            OP,
            &[("learning_rate", rate), ("momentum", momentum), ("weight_decay", weight_decay)],
        )?;
        check(OP, "dampening", dampening, dampening.is_finite(), "finite")?;
        if nesterov && (momentum == 0.0 || dampening != 0.0) {
            let (name, value) = ("nesterov", "true".to_string());
            return Err(Error::Argument { op: OP, name, value, allowed: "with momentum and no dampening" });
        }
        sgd.state.prepare(OP, model, sgd.buffers())?;
        sgd.state.update(model, |parameter, gradient, entry| {
            let first = entry.steps == 1;
            match entry.buffers.first_mut() {
                Some(velocity) => {
                    descend_with_momentum(parameter, gradient, velocity.as_mut_slice()?, first, rate, options)
                }
                None => descend(parameter, gradient, rate, options),
            }
            Ok(())
        })
    }
}

fn descend<T: Float>(parameter: &mut [T], gradient: &[T], rate: f64, options: Options) {
    let (rate, weight_decay) = (T::from_f64(rate), T::from_f64(options.weight_decay));
    let sign = if options.maximize { -T::one() } else { T::one() };
    for (value, &gradient) in parameter.iter_mut().zip(gradient) {
        *value -= rate * (sign * gradient + weight_decay * *value);
    }
}

fn descend_with_momentum<T: Float>(
    parameter: &mut [T],
    gradient: &[T],
    velocity: &mut [T],
    first: bool,
    rate: f64,
    options: Options,
) {
    let [rate, momentum, weight_decay] =
        [rate, options.momentum, options.weight_decay].map(<T as Float>::from_f64);
    let sign = if options.maximize { -T::one() } else { T::one() };
    let (kept, added) =
        if first { (T::zero(), T::one()) } else { (momentum, T::from_f64(1.0 - options.dampening)) };
    // What the step is made of: d and v.
    let (of_d, of_v) = if options.nesterov { (T::one(), momentum) } else { (T::zero(), T::one()) };
    for ((value, &gradient), velocity) in parameter.iter_mut().zip(gradient).zip(velocity) {
        let d = sign * gradient + weight_decay * *value;
        *velocity = kept * *velocity + added * d;
        *value -= rate * (of_d * d + of_v * *velocity);
    }
}
