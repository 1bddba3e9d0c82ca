//! What optimizers remember of each parameter, and the walk through a model that all of them share.

use crate::error::{Error, Result};
use crate::float::Float;
use crate::nn::{Name, Parameters};
use crate::tensor::model::Tensor;
use std::collections::BTreeSet;

/// What an optimizer remembers between steps. A clone is a snapshot and copies nothing: the next step does,
/// if the snapshot is still there.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(serialize = "T: serde::Serialize", deserialize = "T: serde::Deserialize<'de>"))
)]
pub struct OptimizerState<T: Float = f32> {
    /// One entry for each parameter that was ever updated, in the model's order.
    pub parameters: Vec<ParameterState<T>>,
}

/// What an optimizer remembers of one parameter.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(serialize = "T: serde::Serialize", deserialize = "T: serde::Deserialize<'de>"))
)]
pub struct ParameterState<T: Float = f32> {
    /// The parameter's name.
    pub name: String,
    /// How many steps it has taken.
    pub steps: u64,
    /// Tensors of the parameter's shape; the optimizer's documentation says which.
    pub buffers: Vec<Tensor<T>>,
}

impl<T: Float> Default for OptimizerState<T> {
    fn default() -> Self {
        OptimizerState { parameters: Vec::new() }
    }
}

impl<T: Float> OptimizerState<T> {
    /// The same state, if an optimizer that keeps this many buffers a parameter can have written it.
    pub(super) fn checked(mut self, op: &'static str, buffers: usize) -> Result<Self> {
        let mut names = BTreeSet::new();
        for entry in &mut self.parameters {
            if !names.insert(&entry.name) {
                return Err(problem(op, &entry.name, "has two entries in the state"));
            }
            check_buffers(op, &entry.name, &entry.buffers, buffers)?;
            let shape = entry.buffers.first().map(|buffer| buffer.shape().clone());
            if entry.buffers.iter().any(|buffer| Some(buffer.shape()) != shape.as_ref()) {
                return Err(problem(op, &entry.name, "has buffers of different shapes in the state"));
            }
            entry.buffers.iter_mut().for_each(|buffer| *buffer = buffer.detach());
        }
        self.parameters.retain(|entry| entry.steps > 0);
        Ok(self)
    }

    /// Makes everything that can fail happen before anything is updated: finds the state of each parameter
    /// or makes it, checks the gradients, and sees to it that parameters and buffers can be written in
    /// place.
    pub(super) fn prepare(
        &mut self,
        op: &'static str,
        model: &mut dyn Parameters<T>,
        buffers: usize,
    ) -> Result<()> {
        let (mut next, mut outcome) = (0, Ok(()));
        model.visit_mut(&Name::root(), &mut |name, parameter| {
            if outcome.is_ok() && parameter.is_tracked() {
                outcome = self.prepare_parameter(op, name, parameter, buffers, &mut next);
            }
        });
        if outcome.is_err() {
            self.parameters.retain(|entry| entry.steps > 0);
        }
        outcome
    }

    fn prepare_parameter(
        &mut self,
        op: &'static str,
        name: &Name<'_>,
        parameter: &mut Tensor<T>,
        buffers: usize,
        next: &mut usize,
    ) -> Result<()> {
        check_gradient(op, name, parameter)?;
        parameter.as_mut_slice()?;

        if !self.advance(name, next) {
            if self.parameters[..*next].iter().any(|entry| *name == *entry.name) {
                return Err(problem(op, name, "shares its name with an earlier one"));
            }
            let zeros = (0..buffers).map(|_| Tensor::zeros(parameter.shape().clone()));
            let entry =
                ParameterState { name: name.to_string(), steps: 0, buffers: zeros.collect::<Result<_>>()? };
            self.parameters.insert(*next, entry);
            *next += 1;
        }
        let entry = &mut self.parameters[*next - 1];
        check_buffers(op, &entry.name, &entry.buffers, buffers)?;
        for buffer in &mut entry.buffers {
            if buffer.shape() != parameter.shape() {
                let (actual, expected) = (parameter.shape(), buffer.shape());
                let text = format!("has shape {:?}, its state has {:?}", &actual[..], &expected[..]);
                return Err(problem(op, name, text));
            }
            buffer.as_mut_slice()?;
        }
        Ok(())
    }

    /// Finds the entry of a parameter at `next` or later, in which case `next` becomes the position after
    /// it: both lists are in the same order, so that one walk through each is enough.
    fn advance(&self, name: &Name<'_>, next: &mut usize) -> bool {
        let found = self.parameters[*next..].iter().position(|entry| *name == *entry.name);
        *next += found.map_or(0, |ahead| ahead + 1);
        found.is_some()
    }

    /// Counts a step of each parameter and updates it; [`prepare`](Self::prepare) has succeeded before.
    pub(super) fn update(
        &mut self,
        model: &mut dyn Parameters<T>,
        mut update: impl FnMut(&mut [T], &[T], &mut ParameterState<T>) -> Result<()>,
    ) -> Result<()> {
        let (mut next, mut outcome) = (0, Ok(()));
        model.visit_mut(&Name::root(), &mut |name, parameter| {
            let Some(gradient) = parameter.grad() else { return };
            if outcome.is_ok() && self.advance(name, &mut next) {
                let entry = &mut self.parameters[next - 1];
                entry.steps = entry.steps.saturating_add(1); // a file may say anything
                let values = parameter.as_mut_slice();
                outcome = values.and_then(|values| update(values, gradient.as_slice(), entry));
            }
        });
        outcome
    }
}

fn check_buffers<T: Float>(
    op: &'static str,
    name: &str,
    buffers: &[Tensor<T>],
    expected: usize,
) -> Result<()> {
    if buffers.len() == expected {
        return Ok(());
    }
    let text = format!("has {} buffers in the state, these options take {expected}", buffers.len());
    Err(problem(op, name, text))
}

/// That a parameter is a leaf with a gradient, and that every entry of the gradient is finite.
pub(super) fn check_gradient<T: Float>(
    op: &'static str,
    name: &Name<'_>,
    parameter: &Tensor<T>,
) -> Result<()> {
    if let Some(step) = parameter.grad_fn() {
        return Err(problem(op, name, format!("is the result of a recorded {step}; detach() it first")));
    }
    let gradient = parameter.grad();
    let gradient = gradient.ok_or_else(|| problem(op, name, NO_GRADIENT))?;
    // Whole blocks first: a search for the first such entry keeps the compiler from testing several at once.
    let finite = |block: &[T]| block.iter().fold(true, |finite, value| finite & value.is_finite());
    if gradient.as_slice().chunks(1024).all(finite) {
        return Ok(());
    }
    let first = gradient.as_slice().iter().position(|value| !value.is_finite()).unwrap_or(0);
    Err(Error::NotFinite {
        op,
        what: format!("the gradient of parameter {:?}", name.to_string()),
        position: parameter.shape().coordinates(first),
        value: Float::to_f64(gradient.as_slice()[first]),
    })
}

pub(super) const NO_GRADIENT: &str =
    "has no gradient: the loss does not depend on it, or backward has not run (freeze() excludes it)";

pub(super) fn problem(op: &'static str, parameter: impl ToString, problem: impl Into<String>) -> Error {
    Error::Parameter { op, parameter: parameter.to_string(), problem: problem.into() }
}
