//! What trains a model: optimizers, schedules of the learning rate, clipping.
//!
//! ```
//! use rand::SeedableRng;
//! use tapegrad::nn::{ChaCha8Rng, Linear, Module, Parameters};
//! use tapegrad::optim::{Adam, Optimizer, Schedule};
//! use tapegrad::Tensor;
//!
//! let inputs = Tensor::new([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]);
//! let mut model = Linear::new(2, 2, &mut ChaCha8Rng::seed_from_u64(0))?;
//! let mut optimizer = Adam::new(0.1);
//! let schedule = Schedule::cosine(0.1, 0.0, 100);
//! for step in 0..100 {
//!     optimizer.set_learning_rate(schedule.at(step));
//!     model.zero_grad();
//!     model.forward(&inputs)?.cross_entropy([0, 1, 1])?.backward()?;
//!     optimizer.step(&mut model)?;
//! }
//! let loss = model.forward(&inputs)?.cross_entropy([0, 1, 1])?.item()?;
//! assert!(loss < 0.2);
//! # Ok::<(), tapegrad::Error>(())
//! ```
//!
//! Optimizers hold no parameters: they borrow the model for a step, update it in place, and remember what
//! they need by the parameters' names. [`Lbfgs`] is the odd one out. It is for objectives without noise,
//! evaluates the model itself, and runs to the minimum in one call.

mod adam;
mod clip;
mod lbfgs;
mod line_search;
mod schedule;
mod sgd;
mod state;

pub use adam::{Adam, AdamW};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use lbfgs::{End, Lbfgs, Minimum, Progress};
pub use schedule::Schedule;
pub use sgd::Sgd;
pub use state::{OptimizerState, ParameterState};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::nn::Parameters;

/// Updates the parameters of a model from their gradients, one step at a time.
///
/// All of them keep their learning rate where a [`Schedule`] can set it, and their state where a checkpoint
/// can take it out and put it back: the run then continues bit for bit.
pub trait Optimizer<T: Float = f32> {
    /// Updates every parameter that requires a gradient, in place; the gradients stay as they are. Once
    /// the state is there, which the first step makes, a step allocates nothing.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a parameter that has no gradient, is the result of a recorded step, shares its
    /// name with another, or does not fit its state; [`Error::NotFinite`] for a gradient that is infinite or nan;
    /// [`Error::Argument`] for an option outside its range;
    /// [`Error::OutOfMemory`]. Parameters and state are then what they were before.
    fn step(&mut self, model: &mut dyn Parameters<T>) -> Result<()>;

    /// The learning rate of the next step.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate of the next steps.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// What the optimizer remembers.
    fn state(&self) -> &OptimizerState<T>;

    /// Puts back what [`state`](Optimizer::state) gave, of an optimizer with the same options.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an entry that this optimizer cannot have written; the state is then what
    /// it was before.
    fn set_state(&mut self, state: OptimizerState<T>) -> Result<()>;
}

/// Refuses an option outside its range; nan is outside every range.
fn check(op: &'static str, name: &'static str, value: f64, holds: bool, allowed: &'static str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::Argument { op, name, value: value.to_string(), allowed }),
    }
}

/// Refuses an option that is negative or not finite.
fn check_at_least_zero(op: &'static str, options: &[(&'static str, f64)]) -> Result<()> {
    options.iter().try_for_each(|&(name, value)| {
        check(op, name, value, value.is_finite() && value >= 0.0, "finite and at least 0")
    })
}
