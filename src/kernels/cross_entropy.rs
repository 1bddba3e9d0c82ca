//! Losses and gradients of cross entropy, line by line; the formulas are in `ops::loss::cross_entropy`.
//!
//! Lines of `size` logits lie one after the other. All is computed in `f64` and rounded once at the end.

use super::exact::{Sum, two_sum};
use super::functions::is_double;
use super::parallel;
use super::simd::{MulAdd, dispatched};
use super::softmax::{BLOCK, Line, SHORT, ShortLines};
use super::softmax::{lines_in_block, log_denominators, map_exponentials, read_lines, shifted};
use crate::float::Float;

/// How a target is spread over the classes: `target` stays where it is, every class gets `every`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Smoothing {
    /// 1 - e
    pub target: f64,
    /// What the rounding of 1 - e left out.
    pub target_low: f64,
    /// e / C
    pub every: f64,
    /// The sum of the weights of all classes.
    pub total_weight: Sum,
}

impl Smoothing {
    /// The loss of a line: (1 - e) of_target + e/C of_all.
    #[inline(always)]
    fn mixture<M: MulAdd>(self, of_target: Sum, of_all: Sum) -> f64 {
        let (of_target, of_all) = (of_target.total(), of_all.total());
        let mut sum = Sum::default();
        sum.add_product::<M>(self.target, of_target);
        sum.add_product::<M>(self.every, of_all);
        sum.add(if of_target.is_finite() { self.target_low * of_target } else { 0.0 });
        sum.total()
    }
}

/// The classes of lines, and what counts how much.
#[derive(Clone, Copy)]
pub(crate) struct ClassTargets<'a, T> {
    pub classes: &'a [i64],
    pub ignore_index: Option<i64>,
    pub weight: Option<&'a [T]>,
    pub smoothing: Smoothing,
}

impl<T: Float> ClassTargets<'_, T> {
    #[inline(always)]
    fn class(&self, line: usize) -> Option<usize> {
        let class = self.classes[line];
        (Some(class) != self.ignore_index).then_some(class as usize)
    }

    #[inline(always)]
    fn weight_of(&self, class: usize) -> f64 {
        self.weight.map_or(1.0, |weight| weight[class].to_f64())
    }

    /// The targets of some of the lines.
    fn part(&self, first: usize, count: usize) -> Self {
        ClassTargets { classes: &self.classes[first..first + count], ..*self }
    }
}

/// A probability for every class of every line, and the weights of the classes.
#[derive(Clone, Copy)]
pub(crate) struct ProbabilityTargets<'a, T> {
    pub probabilities: &'a [T],
    pub weight: &'a [T],
    pub smoothing: Smoothing,
}

impl<T: Float> ProbabilityTargets<'_, T> {
    fn part(&self, range: std::ops::Range<usize>) -> Self {
        ProbabilityTargets { probabilities: &self.probabilities[range], ..*self }
    }
}

/// The gradients that arrive at the lines' losses: a common factor, and perhaps one a line.
#[derive(Clone, Copy)]
pub(crate) struct Upstream<'a, T> {
    pub factor: f64,
    pub of_lines: Option<&'a [T]>,
}

impl<T: Float> Upstream<'_, T> {
    #[inline(always)]
    fn of(&self, line: usize) -> f64 {
        self.of_lines.map_or(self.factor, |of_lines| self.factor * of_lines[line].to_f64())
    }

    fn part(&self, first: usize, count: usize) -> Self {
        Upstream { of_lines: self.of_lines.map(|of_lines| &of_lines[first..first + count]), ..*self }
    }
}

dispatched! {
    fn class_losses_of_some_lines<'a, T, M>(
        x: &'a [T],
        size: usize,
        targets: ClassTargets<'a, T>,
        lines: &'a [Line<T>],
        losses: &'a mut [f64],
    ) {
        log_denominators(lines, losses);
        for (i, (loss, line)) in losses.iter_mut().zip(lines).enumerate() {
            let Some(class) = targets.class(i) else {
                *loss = 0.0;
                continue;
            };
            let x = &x[i * size..(i + 1) * size];
            let log_denominator = *loss;
            if targets.smoothing.every == 0.0 {
                let (high, low) = negative_log(x[class], line.max, log_denominator);
                *loss = targets.weight_of(class) * (high + low);
                continue;
            }
            let (mut of_target, mut of_all) = (Sum::default(), Sum::default());
            for (c, &x) in x.iter().enumerate() {
                let negative_log = negative_log(x, line.max, log_denominator);
                if c == class {
                    add_term::<T, M>(&mut of_target, (targets.weight_of(c), 1.0), negative_log);
                }
                add_term::<T, M>(&mut of_all, (targets.weight_of(c), 1.0), negative_log);
            }
            *loss = targets.smoothing.mixture::<M>(of_target, of_all);
        }
    }

    fn class_gradients_of_some_lines<'a, T, M>(
        x: Option<&'a [T]>,
        size: usize,
        targets: ClassTargets<'a, T>,
        lines: &'a [Line<T>],
        upstream: Upstream<'a, T>,
        out: &'a mut [T],
    ) {
        let Smoothing { target: on_target, every, total_weight, .. } = targets.smoothing;
        if every == 0.0 && size <= SHORT {
            return short_class_gradients::<T, M>(x, size, targets, lines, upstream, out);
        }
        map_exponentials::<T, M>(x, size, lines, out, |i, offset, exponentials, out| {
            let Some(class) = targets.class(i) else { return out.fill(T::zero()) };
            let denominator = 1.0 + lines[i].others;
            let (factor, others) = (upstream.of(i), lines[i].others);
            let target_weight = targets.weight_of(class);
            let here = class.checked_sub(offset).filter(|&here| here < out.len());
            if every == 0.0 {
                // p a for the other classes; for the target, minus what the others have together.
                let scale = factor * target_weight / denominator;
                for (out, &exponential) in out.iter_mut().zip(exponentials) {
                    *out = T::from_f64(scale * exponential);
                }
                if let Some(here) = here {
                    out[here] = T::from_f64(-scale * rest(exponentials[here], others));
                }
                return;
            }
            for (c, (out, &exponential)) in out.iter_mut().zip(exponentials).enumerate() {
                let weight = targets.weight_of(offset + c);
                let is_target = Some(c) == here;
                let moved = on_target * target_weight;
                let own = every * weight + if is_target { moved } else { 0.0 };
                let of_others = every * total_weight.without(weight) + if is_target { 0.0 } else { moved };
                *out = T::from_f64(factor * (difference::<M>((exponential, of_others), (own, rest(exponential, others))) / denominator));
            }
        });
    }

    fn probability_losses_of_some_lines<'a, T, M>(
        x: &'a [T],
        size: usize,
        targets: ProbabilityTargets<'a, T>,
        lines: &'a [Line<T>],
        losses: &'a mut [f64],
    ) {
        log_denominators(lines, losses);
        let of_lines = x.chunks_exact(size).zip(targets.probabilities.chunks_exact(size));
        for ((loss, line), (x, probabilities)) in losses.iter_mut().zip(lines).zip(of_lines) {
            let log_denominator = *loss;
            let (mut of_target, mut of_all) = (Sum::default(), Sum::default());
            for ((&x, &probability), &weight) in x.iter().zip(probabilities).zip(targets.weight) {
                let (probability, weight) = (probability.to_f64(), weight.to_f64());
                let negative_log = negative_log(x, line.max, log_denominator);
                // 0 log 0 = 0: a probability of 0 at a logit of -inf contributes nothing.
                if probability != 0.0 {
                    add_term::<T, M>(&mut of_target, (weight, probability), negative_log);
                }
                if targets.smoothing.every != 0.0 {
                    add_term::<T, M>(&mut of_all, (weight, 1.0), negative_log);
                }
            }
            *loss = match targets.smoothing {
                Smoothing { every: 0.0, .. } => of_target.total(),
                Smoothing { target: 0.0, .. } => targets.smoothing.mixture::<M>(Sum::default(), of_all),
                smoothing => smoothing.mixture::<M>(of_target, of_all),
            };
        }
    }

    fn probability_gradients_of_some_lines<'a, T, M>(
        x: Option<&'a [T]>,
        size: usize,
        targets: ProbabilityTargets<'a, T>,
        lines: &'a [Line<T>],
        upstream: Upstream<'a, T>,
        out: &'a mut [T],
    ) {
        let mut total = Sum::default();
        map_exponentials::<T, M>(x, size, lines, out, |i, offset, exponentials, out| {
            let probabilities = &targets.probabilities[i * size..(i + 1) * size];
            let coefficient = |c: usize| {
                let share = targets.smoothing.target * probabilities[c].to_f64() + targets.smoothing.every;
                targets.weight[c].to_f64() * share
            };
            if offset == 0 {
                total = (0..size).map(coefficient).collect();
            }
            let (factor, others) = (upstream.of(i), lines[i].others);
            for (c, (out, &exponential)) in out.iter_mut().zip(exponentials).enumerate() {
                let own = coefficient(offset + c);
                *out = T::from_f64(factor * (difference::<M>((exponential, total.without(own)), (own, rest(exponential, others))) / (1.0 + others)));
            }
        });
    }
}

/// Gradients without smoothing for many short lines at once.
#[inline(always)]
fn short_class_gradients<T: Float, M: MulAdd>(
    x: Option<&[T]>,
    size: usize,
    targets: ClassTargets<T>,
    lines: &[Line<T>],
    upstream: Upstream<T>,
    out: &mut [T],
) {
    let together = lines_in_block(size);
    let mut block = ShortLines::new();
    let (mut scales, mut of_targets) = ([0.0; BLOCK], [0.0; BLOCK]);
    for (index, (lines, out)) in lines.chunks(together).zip(out.chunks_mut(together * size)).enumerate() {
        let (first, count) = (index * together, lines.len());
        block.of_lines::<T, M>(x.map_or(&*out, |x| &x[first * size..][..out.len()]), size, lines);
        for (i, line) in lines.iter().enumerate() {
            let Some(class) = targets.class(first + i) else { continue };
            scales[i] = upstream.of(first + i) * targets.weight_of(class) / (1.0 + line.others);
            of_targets[i] = -scales[i] * rest(block.exponentials[class * count + i], line.others);
        }
        for (c, on_side) in block.exponentials.chunks_exact(count).take(size).enumerate() {
            let mut place = c;
            for (&exponential, &scale) in on_side.iter().zip(&scales) {
                out[place] = T::from_f64(scale * exponential);
                place += size;
            }
        }
        for (i, out) in out.chunks_exact_mut(size).enumerate() {
            match targets.class(first + i) {
                Some(class) => out[class] = T::from_f64(of_targets[i]),
                None => out.fill(T::zero()),
            }
        }
    }
}

/// -ln p as a sum of two numbers. Both parts of it are positive, so nothing cancels.
#[inline(always)]
fn negative_log<T: Float>(x: T, max: T, log_denominator: f64) -> (f64, f64) {
    let (difference, low) = shifted(x, max);
    let (high, error) = two_sum(log_denominator, -difference);
    (high, if high.is_finite() { error - low } else { 0.0 })
}

/// Adds a b (-ln p).
#[inline(always)]
fn add_term<T: Float, M: MulAdd>(sum: &mut Sum, (a, b): (f64, f64), (high, low): (f64, f64)) {
    let factor = a * b;
    if !is_double::<T>() || high == f64::INFINITY {
        return sum.add(factor * high);
    }
    sum.add_product::<M>(factor, high);
    sum.add(factor * low + M::product_error(a, b, factor) * high);
}

/// a b - c d, rounded once.
#[inline(always)]
fn difference<M: MulAdd>((a, b): (f64, f64), (c, d): (f64, f64)) -> f64 {
    let mut sum = Sum::default();
    sum.add_product::<M>(a, b);
    sum.add_product::<M>(-c, d);
    sum.total()
}

/// The exponentials of a line without this one: (1 - p) (1 + others), without the cancellation.
#[inline(always)]
fn rest(exponential: f64, others: f64) -> f64 {
    if exponential == 1.0 {
        return others;
    }
    // Rounded once.
    let (sum, error) = two_sum(1.0, others);
    let (difference, low) = two_sum(sum, -exponential);
    difference + (error + low)
}

/// Reads all lines, and computes the loss of each; 0 where the target is ignored.
pub(crate) fn class_losses<T: Float>(
    x: &[T],
    size: usize,
    targets: ClassTargets<T>,
    lines: &mut [Line<T>],
    losses: &mut [f64],
) {
    read_lines(x, size, lines);
    if size == 0 {
        return losses.fill(0.0); // every target is ignored
    }
    class_losses_of_some_lines(x, size, targets, lines, losses);
}

/// The gradients of the logits `x`, or of those that `out` holds; exactly 0 where the target is ignored.
pub(crate) fn class_gradients<T: Float>(
    x: Option<&[T]>,
    size: usize,
    targets: ClassTargets<T>,
    lines: &[Line<T>],
    upstream: Upstream<T>,
    out: &mut [T],
) {
    let together = parallel::lines_in_chunk(size);
    parallel::for_each_chunk(out, together * size.max(1), |index, out| {
        let (first, count) = (index * together, out.len() / size);
        let x = x.map(|x| &x[first * size..][..out.len()]);
        let (targets, upstream) = (targets.part(first, count), upstream.part(first, count));
        class_gradients_of_some_lines(x, size, targets, &lines[first..first + count], upstream, out);
    });
}

/// Reads all lines, and computes the loss of each.
pub(crate) fn probability_losses<T: Float>(
    x: &[T],
    size: usize,
    targets: ProbabilityTargets<T>,
    lines: &mut [Line<T>],
    losses: &mut [f64],
) {
    read_lines(x, size, lines);
    if size == 0 {
        return losses.fill(0.0);
    }
    probability_losses_of_some_lines(x, size, targets, lines, losses);
}

/// The gradients of the logits `x`, or of those that `out` holds.
pub(crate) fn probability_gradients<T: Float>(
    x: Option<&[T]>,
    size: usize,
    targets: ProbabilityTargets<T>,
    lines: &[Line<T>],
    upstream: Upstream<T>,
    out: &mut [T],
) {
    let together = parallel::lines_in_chunk(size);
    parallel::for_each_chunk(out, together * size.max(1), |index, out| {
        let (first, count) = (index * together, out.len() / size);
        let range = first * size..first * size + out.len();
        let (targets, upstream) = (targets.part(range.clone()), upstream.part(first, count));
        let x = x.map(|x| &x[range]);
        probability_gradients_of_some_lines(x, size, targets, &lines[first..first + count], upstream, out);
    });
}
