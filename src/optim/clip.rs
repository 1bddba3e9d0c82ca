//! Gradients that are too large are made smaller.

use super::state::check_gradient;
use super::{check, check_at_least_zero};
use crate::error::Result;
use crate::float::{Float, compiled};
use crate::nn::{Name, Parameters};
use crate::tensor::model::Tensor;

compiled! {
    /// Scales the gradients of all parameters so that the norm of all of them together is at most `max_norm`;
    /// returns the norm before (Pascanu et al., "On the difficulty of training recurrent neural networks",
    /// ICML 2013; PyTorch's `clip_grad_norm_`).
    ///
    /// The norm is the square root of the sum of all squared entries. As in PyTorch, gradients are multiplied by
    /// max_norm / (norm + 1e-6) where that is below 1, and otherwise left alone. Parameters that require no
    /// gradient do not count.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a `max_norm` that is negative or not finite;
    /// [`Error::Parameter`](crate::Error::Parameter) and
    /// [`Error::NotFinite`](crate::Error::NotFinite) with the parameter's name;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory). The gradients are then what they were before.
    pub fn clip_grad_norm<T>(model: &dyn Parameters<T>, max_norm: f64) -> Result<f64> {
        let op = "clip_grad_norm";
        check_at_least_zero(op, &[("max_norm", max_norm)])?;
        check_gradients(op, model)?;
        let norm = norm(model);
        let scale = max_norm / (norm + 1e-6);
        if scale < 1.0 {
            let scale = T::from_f64(scale);
            change_gradients(model, |gradient| gradient.iter_mut().for_each(|entry| *entry *= scale))?;
        }
        Ok(norm)
    }
}

compiled! {
    /// Moves every entry of every gradient to the nearest number between `-limit` and `limit` (PyTorch's
    /// `clip_grad_value_`).
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a limit that is negative or nan;
    /// [`Error::Parameter`](crate::Error::Parameter) and
    /// [`Error::NotFinite`](crate::Error::NotFinite) with the parameter's name;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory). The gradients are then what they were before.
    pub fn clip_grad_value<T>(model: &dyn Parameters<T>, limit: f64) -> Result<()> {
        let op = "clip_grad_value";
        check(op, "limit", limit, limit >= 0.0, "at least 0")?;
        let limit = T::from_f64(limit);
        check_gradients(op, model)?;
        change_gradients(model, |gradient| {
            gradient.iter_mut().for_each(|entry| *entry = entry.max(-limit).min(limit));
        })
    }
}

fn check_gradients<T: Float>(op: &'static str, model: &dyn Parameters<T>) -> Result<()> {
    for_each_trained(model, |name, parameter| check_gradient(op, name, parameter))
}

/// Changes all gradients in place or, if memory for one that others hold runs out, none.
fn change_gradients<T: Float>(model: &dyn Parameters<T>, change: impl Fn(&mut [T])) -> Result<()> {
    for_each_trained(model, |_, parameter| change_gradient(parameter, |_| {}))?;
    for_each_trained(model, |_, parameter| change_gradient(parameter, &change))
}

fn change_gradient<T: Float>(parameter: &Tensor<T>, change: impl Fn(&mut [T])) -> Result<()> {
    let Some(mut gradient) = parameter.take_grad() else { return Ok(()) };
    let changed = gradient.as_mut_slice().map(change);
    parameter.set_grad(gradient)?; // changed or not, it goes back
    changed
}

/// Calls `visit` with every parameter that requires a gradient, until one fails.
fn for_each_trained<T: Float>(
    model: &dyn Parameters<T>,
    visit: impl Fn(&Name<'_>, &Tensor<T>) -> Result<()>,
) -> Result<()> {
    let mut outcome = Ok(());
    model.visit(&Name::root(), &mut |name, parameter| {
        if outcome.is_ok() && parameter.is_tracked() {
            outcome = visit(name, parameter);
        }
    });
    outcome
}

/// The square root of the sum of all squared entries, in f64 whatever the precision.
fn norm<T: Float>(model: &dyn Parameters<T>) -> f64 {
    let sum_of_squares = |scale: f64| {
        let mut sum = 0.0;
        model.visit(&Name::root(), &mut |_, parameter| {
            if let Some(gradient) = parameter.grad() {
                sum += square_sum(gradient.as_slice(), scale);
            }
        });
        sum
    };
    let sum = sum_of_squares(1.0);
    if sum.is_finite() && sum > 1e-280 {
        return sum.sqrt();
    }
    // Squares overflowed or vanished: measure in units of the largest entry.
    let mut largest = 0.0f64;
    model.visit(&Name::root(), &mut |_, parameter| {
        let gradient = parameter.grad();
        let entries = gradient.iter().flat_map(Tensor::as_slice);
        largest = entries.fold(largest, |most, &entry| most.max(Float::to_f64(entry).abs()));
    });
    if largest == 0.0 { 0.0 } else { largest * sum_of_squares(largest).sqrt() }
}

/// The sum of the squares of values over a scale, in eight partial sums that the processor can add at once.
fn square_sum<T: Float>(values: &[T], scale: f64) -> f64 {
    let mut sums = [0.0; 8];
    for block in values.chunks(8) {
        for (sum, &value) in sums.iter_mut().zip(block) {
            let value = Float::to_f64(value) / scale;
            *sum += value * value;
        }
    }
    sums.iter().sum()
}
