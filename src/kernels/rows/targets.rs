//! What rows of logits are compared with, and the gradients that arrive at their losses.

use super::lanes::{Classes, NONE};
use crate::float::Float;
use crate::kernels::compensated::Sum;
use crate::kernels::simd::{MulAdd, array};

/// How a target is spread over the classes: `target` stays where it is, every class gets `every`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Smoothing {
    /// 1 - e
    pub target: f64,
    /// What the rounding of 1 - e left out: the loss adds it, a gradient does not need it.
    pub target_low: f64,
    /// e / C
    pub every: f64,
    /// The sum of the weights of all classes.
    pub total_weight: Sum,
}

impl Smoothing {
    #[inline(always)]
    pub(super) fn is_none(self) -> bool {
        self.every == 0.0
    }

    /// The loss of a row: (1 - e) of_target + e/C of_all.
    #[inline(always)]
    pub(super) fn mixture<M: MulAdd>(self, of_target: f64, of_all: f64) -> f64 {
        let mut sum = Sum::default();
        sum.add_product::<M>(self.target, of_target);
        sum.add_product::<M>(self.every, of_all);
        sum.add(if of_target.is_finite() { self.target_low * of_target } else { 0.0 });
        sum.total()
    }
}

/// The classes of rows, and what counts how much.
#[derive(Clone, Copy)]
pub(crate) struct ClassTargets<'a, T> {
    pub classes: &'a [i64],
    /// Rows with this target are ignored. To ignore no row, use `i64::MIN`: no class is negative.
    pub ignored: i64,
    pub weight: Option<&'a [T]>,
    pub smoothing: Smoothing,
}

impl<T: Float> ClassTargets<'_, T> {
    /// The classes of L rows; [`NONE`] where the target is ignored and where there is no row.
    #[inline(always)]
    pub(super) fn classes<const L: usize>(&self, first: usize) -> Classes<T, L> {
        let mut classes = [NONE; L];
        for (class, &target) in classes.iter_mut().zip(&self.classes[first..]) {
            *class = if target == self.ignored { NONE } else { target as usize };
        }
        Classes::new(classes)
    }

    /// The weight of each row's class. Without class weights it is 1 in every row; with them, a row without a class
    /// has the weight 0.
    #[inline(always)]
    pub(super) fn weights<const L: usize>(&self, classes: &Classes<T, L>) -> [f64; L] {
        let weight_of = |weight: &[T], class: usize| weight.get(class).map_or(0.0, |&weight| weight.to_f64());
        self.weight.map_or([1.0; L], |weight| array(|row| weight_of(weight, classes.index[row])))
    }
}

/// A probability for every class of every row, and the weights of the classes.
#[derive(Clone, Copy)]
pub(crate) struct ProbabilityTargets<'a, T> {
    pub probabilities: &'a [T],
    pub weight: &'a [T],
    pub smoothing: Smoothing,
}

/// The gradients that arrive at the rows' losses: a common factor, and perhaps one a row.
#[derive(Clone, Copy)]
pub(crate) struct Upstream<'a, T> {
    pub factor: f64,
    pub of_rows: Option<&'a [T]>,
}

impl<T: Float> Upstream<'_, T> {
    #[inline(always)]
    pub(super) fn of<const L: usize>(&self, first: usize) -> [f64; L] {
        let mut factors = [self.factor; L];
        if let Some(of_rows) = self.of_rows {
            factors
                .iter_mut()
                .zip(&of_rows[first..])
                .for_each(|(factor, &of_row)| *factor *= of_row.to_f64());
        }
        factors
    }
}
