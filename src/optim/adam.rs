//! Adam and AdamW: steps that are scaled for each parameter by what its gradients have been like.

use super::state::problem;
use super::{Optimizer, OptimizerState, check, check_at_least_zero};
use crate::error::Result;
use crate::float::{Float, compiled};
use crate::nn::Parameters;

#[derive(Debug, Clone, Copy)]
struct Options {
    learning_rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    /// Whether the decay acts on the parameters themselves, rather than through the gradient.
    decoupled: bool,
    amsgrad: bool,
    maximize: bool,
}

macro_rules! adam {
    ($(#[$doc:meta])* $name:ident, $op:literal, $decoupled:literal, $weight_decay:literal, $decay_doc:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name<T: Float = f32> {
            options: Options,
            state: OptimizerState<T>,
        }

        impl<T: Float> $name<T> {
            /// The defaults: β1 = 0.9, β2 = 0.999, ε = 1e-8.
            pub fn new(learning_rate: f64) -> Self {
                let options = Options {
                    learning_rate,
                    betas: (0.9, 0.999),
                    eps: 1e-8,
                    weight_decay: $weight_decay,
                    decoupled: $decoupled,
                    amsgrad: false,
                    maximize: false,
                };
                $name { options, state: OptimizerState::default() }
            }

            /// β1 and β2, how slowly the two averages forget: in [0, 1).
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                self.options.betas = (beta1, beta2);
                self
            }

            /// ε, which keeps the denominator from 0: at least 0.
            pub fn eps(mut self, eps: f64) -> Self {
                self.options.eps = eps;
                self
            }

            #[doc = $decay_doc]
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.options.weight_decay = weight_decay;
                self
            }

            /// Divides by the largest v so far instead of the present one (Reddi et al., "On the
            /// convergence of Adam and beyond", ICLR 2018).
            pub fn amsgrad(mut self, amsgrad: bool) -> Self {
                self.options.amsgrad = amsgrad;
                self
            }

            /// Climbs instead of descending.
            pub fn maximize(mut self, maximize: bool) -> Self {
                self.options.maximize = maximize;
                self
            }
        }

        impl<T: Float> Optimizer<T> for $name<T> {
            fn step(&mut self, model: &mut dyn Parameters<T>) -> Result<()> {
                step($op, self.options, &mut self.state, model)
            }

            fn learning_rate(&self) -> f64 {
                self.options.learning_rate
            }

            fn set_learning_rate(&mut self, learning_rate: f64) {
                self.options.learning_rate = learning_rate;
            }

            fn state(&self) -> &OptimizerState<T> {
                &self.state
            }

            fn set_state(&mut self, state: OptimizerState<T>) -> Result<()> {
                self.state = state.checked($op, self.options.buffers())?;
                Ok(())
            }
        }
    };
}

adam! {
    /// Adam (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015; PyTorch's
    /// `optim.Adam`). With the gradient g of the parameter θ, step number t is
    ///
    /// ```text
    /// g = g + weight_decay θ               (-g + weight_decay θ to maximize)
    /// m = β1 m + (1 - β1) g                the average gradient
    /// v = β2 v + (1 - β2) g^2              the average squared gradient
    /// θ = θ - learning_rate m^ / (sqrt(v^) + ε)
    /// ```
    ///
    /// with m^ = m / (1 - β1^t) and v^ = v / (1 - β2^t), which make up for the averages' start at 0.
    ///
    /// State: m, v and, with [`amsgrad`](Adam::amsgrad), the largest v.
    Adam, "Adam", false, 0.0,
    "A penalty of `weight_decay`/2 times the sum of the squared parameters, added to the gradient: at least 0; \
     0 by default. [`AdamW`] has what is usually wanted."
}

adam! {
    /// [`Adam`] with a decay of the weights that is independent of the gradients' size (Loshchilov and
    /// Hutter, "Decoupled weight decay regularization", ICLR 2019; PyTorch's `optim.AdamW`): a step begins
    /// with θ = (1 - learning_rate weight_decay) θ, and the gradient is left alone.
    ///
    /// State: m, v and, with [`amsgrad`](AdamW::amsgrad), the largest v.
    AdamW, "AdamW", true, 0.01,
    "The share of each parameter that a step takes away, over the learning rate: at least 0; 0.01 by default."
}

impl Options {
    fn buffers(&self) -> usize {
        if self.amsgrad { 3 } else { 2 }
    }

    fn check(&self, op: &'static str) -> Result<()> {
        let Options { learning_rate, betas, eps, weight_decay, .. } = *self;
        check_at_least_zero(
            op,
            &[("learning_rate", learning_rate), ("eps", eps), ("weight_decay", weight_decay)],
        )?;
        for (name, beta) in [("beta1", betas.0), ("beta2", betas.1)] {
            check(op, name, beta, (0.0..1.0).contains(&beta), "in [0, 1)")?;
        }
        Ok(())
    }
}

compiled! {
    fn step<T>(
        op: &'static str,
        options: Options,
        state: &mut OptimizerState<T>,
        model: &mut dyn Parameters<T>,
    ) -> Result<()> {
        options.check(op)?;
        state.prepare(op, model, options.buffers())?;
        state.update(model, |parameter, gradient, entry| {
            match &mut entry.buffers[..] {
                [m, v] => {
                    let (m, v) = (m.as_mut_slice()?, v.as_mut_slice()?);
                    update(parameter, gradient, m, v, None, entry.steps, options);
                }
                [m, v, largest] => {
                    let (m, v) = (m.as_mut_slice()?, v.as_mut_slice()?);
                    let largest = Some(largest.as_mut_slice()?);
                    update(parameter, gradient, m, v, largest, entry.steps, options);
                }
                // Checked, unless the model shows other parameters each time.
                _ => return Err(problem(op, &entry.name, "was not there when the step began")),
            }
            Ok(())
        })
    }
}

/// Step number `steps` of one parameter.
fn update<T: Float>(
    parameter: &mut [T],
    gradient: &[T],
    m: &mut [T],
    v: &mut [T],
    largest: Option<&mut [T]>,
    steps: u64,
    options: Options,
) {
    let Options { learning_rate, betas, weight_decay, decoupled, .. } = options;
    let started = |beta: f64| 1.0 - beta.powf(steps as f64);
    let (through_gradient, kept) =
        if decoupled { (0.0, 1.0 - learning_rate * weight_decay) } else { (weight_decay, 1.0) };
    let [through_gradient, kept, towards_g, beta2, towards_square, step, scale, eps] = [
        through_gradient,
        kept,
        1.0 - betas.0,
        betas.1,
        1.0 - betas.1,
        learning_rate / started(betas.0),
        started(betas.1).sqrt(),
        options.eps,
    ]
    .map(<T as Float>::from_f64);
    let sign = if options.maximize { -T::one() } else { T::one() };

    // Averages first, then the step; the compiler turns each closure's body into one loop over the slices.
    let average = |value: &mut T, gradient: T, m: &mut T, v: &mut T| {
        let g = sign * gradient + through_gradient * *value;
        *m += towards_g * (g - *m);
        *v = beta2 * *v + towards_square * g * g;
    };
    let apply = |value: &mut T, m: T, square: T| {
        *value = *value * kept - step * m / (square.sqrt() / scale + eps);
    };
    let entries = parameter.iter_mut().zip(gradient).zip(m).zip(v);
    match largest {
        None => entries.for_each(|(((value, &gradient), m), v)| {
            average(value, gradient, m, v);
            apply(value, *m, *v);
        }),
        Some(largest) => {
            entries.zip(largest).for_each(|((((value, &gradient), m), v), largest)| {
                average(value, gradient, m, v);
                *largest = largest.max(*v);
                apply(value, *m, *largest);
            });
        }
    }
}
