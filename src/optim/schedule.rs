//! Learning rates as a function of the step.

use std::f64::consts::PI;

/// The learning rate at every step: a function, without a state of its own, so that a run that is resumed
/// needs to know the number of the step alone.
///
/// Steps count from 0. What a step is, an update or an epoch, is up to the loop that asks.
///
/// ```
/// # use tapegrad::optim::Schedule;
/// let schedule = Schedule::cosine(0.1, 0.0, 100).warm_up(10, 0.0);
/// assert_eq!([0, 5, 10].map(|step| schedule.at(step)), [0.0, 0.05, 0.1]);
/// assert!(schedule.at(110) < 1e-15);
/// ```
///
/// Rates are not checked here: an optimizer refuses one that is negative or not finite.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// The same rate at every step.
    Constant {
        /// The rate.
        rate: f64,
    },
    /// rate factor^floor(step / every): PyTorch's `StepLR`.
    Step {
        /// The first rate.
        rate: f64,
        /// After how many steps it changes; 0 counts as 1.
        every: u64,
        /// By what it is multiplied.
        factor: f64,
    },
    /// rate factor^step: PyTorch's `ExponentialLR`.
    Exponential {
        /// The first rate.
        rate: f64,
        /// By what it is multiplied at each step.
        factor: f64,
    },
    /// minimum + (rate - minimum) (1 + cos(pi step / period)) / 2, which falls from the rate to the minimum
    /// in a period and rises again in the next: PyTorch's `CosineAnnealingLR` (Loshchilov and Hutter,
    /// "SGDR: stochastic gradient descent with warm restarts", ICLR 2017).
    Cosine {
        /// The first rate.
        rate: f64,
        /// The last rate.
        minimum: f64,
        /// The number of steps from one to the other; 0 counts as 1.
        period: u64,
    },
    /// From rate start to rate end in equal increments, and rate end from then on: PyTorch's `LinearLR`.
    Linear {
        /// The rate that the two factors multiply.
        rate: f64,
        /// The factor at step 0.
        start: f64,
        /// The factor from the last of the steps on.
        end: f64,
        /// The number of steps between the two.
        steps: u64,
    },
    /// Half a cosine up to the largest rate, then half a cosine down to nearly nothing: PyTorch's
    /// `OneCycleLR` (Smith and Topin, "Super-convergence: very fast training of neural networks using large
    /// learning rates", 2018).
    OneCycle {
        /// The largest rate.
        rate: f64,
        /// The number of steps altogether; the last rate stays from then on.
        steps: u64,
        /// The share of the steps in which the rate rises: 0.3 in PyTorch.
        rising: f64,
        /// The largest rate over the first: 25 in PyTorch.
        division: f64,
        /// The first rate over the last: 1e4 in PyTorch.
        final_division: f64,
    },
    /// One schedule for a number of steps, then another from its own step 0: PyTorch's `SequentialLR`.
    Then {
        /// The schedule to begin with.
        first: Box<Schedule>,
        /// How many steps it lasts.
        steps: u64,
        /// The schedule that takes over.
        second: Box<Schedule>,
    },
}

impl Schedule {
    /// The same rate at every step.
    pub fn constant(rate: f64) -> Self {
        Schedule::Constant { rate }
    }

    /// A rate that is multiplied by a factor after every so many steps.
    pub fn step(rate: f64, every: u64, factor: f64) -> Self {
        Schedule::Step { rate, every, factor }
    }

    /// A rate that is multiplied by a factor at each step.
    pub fn exponential(rate: f64, factor: f64) -> Self {
        Schedule::Exponential { rate, factor }
    }

    /// Half a cosine from a rate down to a minimum, in a number of steps.
    pub fn cosine(rate: f64, minimum: f64, period: u64) -> Self {
        Schedule::Cosine { rate, minimum, period }
    }

    /// A straight line from `start` times the rate to `end` times the rate, in a number of steps.
    pub fn linear(rate: f64, start: f64, end: f64, steps: u64) -> Self {
        Schedule::Linear { rate, start, end, steps }
    }

    /// Up to the rate in the first three tenths of the steps and down again in the rest, with PyTorch's
    /// defaults.
    pub fn one_cycle(rate: f64, steps: u64) -> Self {
        Schedule::OneCycle { rate, steps, rising: 0.3, division: 25.0, final_division: 1e4 }
    }

    /// This schedule for a number of steps, then another, which starts from its own step 0.
    pub fn then(self, steps: u64, second: Schedule) -> Self {
        Schedule::Then { first: Box::new(self), steps, second: Box::new(second) }
    }

    /// A straight line from `start` times the first rate up to the first rate, in a number of steps; then
    /// this schedule from its step 0.
    pub fn warm_up(self, steps: u64, start: f64) -> Self {
        Schedule::linear(self.at(0), start, 1.0, steps).then(steps, self)
    }

    /// The learning rate at a step.
    pub fn at(&self, step: u64) -> f64 {
        match *self {
            Schedule::Constant { rate } => rate,
            Schedule::Step { rate, every, factor } => rate * factor.powf((step / every.max(1)) as f64),
            Schedule::Exponential { rate, factor } => rate * factor.powf(step as f64),
            Schedule::Cosine { rate, minimum, period } => {
                // The remainder keeps the angle, and so its rounding error, small.
                let period = period.max(1);
                let position = step % period.saturating_mul(2);
                between(rate, minimum, position as f64 / period as f64)
            }
            Schedule::Linear { rate, start, end, steps } => {
                let share = if step >= steps { 1.0 } else { step as f64 / steps as f64 };
                rate * (start + (end - start) * share)
            }
            Schedule::OneCycle { rate, steps, rising, division, final_division } => {
                let first = rate / division;
                let last = steps as f64 - 1.0;
                let top = rising * steps as f64 - 1.0;
                let step = (step as f64).min(last);
                if step <= top {
                    between(first, rate, step / top)
                } else {
                    between(rate, first / final_division, (step - top) / (last - top))
                }
            }
            Schedule::Then { ref first, steps, ref second } => match step.checked_sub(steps) {
                None => first.at(step),
                Some(later) => second.at(later),
            },
        }
    }
}

/// Half a cosine from one value to another, as the share of the way goes from 0 to 1.
fn between(from: f64, to: f64, share: f64) -> f64 {
    // A way of no length has been gone.
    let share = if share.is_finite() { share } else { 1.0 };
    to + (from - to) / 2.0 * (1.0 + (PI * share).cos())
}
