//! Losses and gradients of cross entropy, row by row; the formulas are derived in `ops::loss::cross_entropy`.
//!
//! With the maximum m of a row and the sum `others` of its other exponentials ([`super::softmax`]),
//! -ln p = log1p(others) + (m - x). Neither part is negative, so nothing cancels. Exponentials have the precision of the
//! elements; what is made of them is computed in `f64`.

use super::exponentials::{exponentials, exponentials_of, read, scale, scaled_exponentials, shifted};
use super::lanes::{Classes, Given, NONE, all, map, pieces, sums, sums_without, zip};
use super::targets::{ClassTargets, ProbabilityTargets, Smoothing, Upstream};
use super::{Formula, Group, Inputs, Outputs, Rows, Summary, for_each_row};
use crate::float::{Float, is_double};
use crate::kernels::compensated::{Sum, two_sum};
use crate::kernels::functions::exp_scale;
use crate::kernels::simd::{MulAdd, array};

/// -ln p as a sum of two numbers.
#[inline(always)]
fn negative_log<T: Float>(x: T, max: T, log_denominator: f64) -> (f64, f64) {
    let (difference, low) = shifted(x, max);
    if !is_double::<T>() {
        return (log_denominator - difference, 0.0);
    }
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

/// The exponentials of a row without this one: (1 - p) (1 + others), without the cancellation.
#[inline(always)]
fn rest<T: Float>(exponential: f64, others: f64) -> f64 {
    if !is_double::<T>() {
        return (1.0 - exponential) + others; // both are positive
    }
    // Rounded once.
    let (sum, error) = two_sum(1.0, others);
    let (difference, low) = two_sum(sum, -exponential);
    let rest = difference + (error + low);
    if exponential == 1.0 { others } else { rest }
}

/// The gradient of one logit: g (p (A - a) - a (1 - p)). `e` is exp(x - m), so p = e / (1 + others); `a` is the
/// coefficient of this class, `of_others` the sum A - a of those of the other classes.
#[inline(always)]
fn gradient<T: Float, M: MulAdd>(g: f64, e: f64, others: f64, a: f64, of_others: f64) -> T {
    T::from_f64(g * (difference::<M>((e, of_others), (a, rest::<T>(e, others))) / (1.0 + others)))
}

/// The sums over each row of w q (-ln p) and, if that is asked for, of w (-ln p); without a q, only the latter.
#[inline(always)]
fn weighted_sums<T: Float, M: MulAdd, const L: usize>(
    inputs: Inputs<T>,
    max: &[T; L],
    logs: &[f64; L],
    is_smoothed: bool,
) -> ([f64; L], [f64; L]) {
    let (x, q, w) = (inputs.x(), inputs.beside, inputs.weight);
    let (mut of_target, mut of_all) = ([0.0; L], [0.0; L]);
    if is_double::<T>() {
        let (mut targets, mut alls) = ([Sum::default(); L], [Sum::default(); L]);
        for (i, &x) in x.iter().enumerate() {
            let row = i % L;
            let weight = w.get(i).map_or(1.0, |&w| w.to_f64());
            let negative_log = negative_log(x, max[row], logs[row]);
            // 0 log 0 = 0: a probability of 0 at a logit of -inf contributes nothing.
            if let Some(q) = q.get(i).map(|&q| q.to_f64()).filter(|&q| q != 0.0) {
                add_term::<T, M>(&mut targets[row], (weight, q), negative_log);
            }
            if is_smoothed {
                add_term::<T, M>(&mut alls[row], (weight, 1.0), negative_log);
            }
        }
        return (array(|row| targets[row].total()), array(|row| alls[row].total()));
    }
    let max: [f64; L] = array(|row| max[row].to_f64());
    let negative_log = |row: usize, x: f64| logs[row] - (x - max[row]);
    if !q.is_empty() {
        let sums = sums::<T, 3, L>([x, q, w], |row, [x, q, w]| {
            let term = w * q * negative_log(row, x);
            if q == 0.0 { 0.0 } else { term }
        });
        of_target = array(|row| sums.of(row).total());
    }
    if is_smoothed {
        let sums = match w {
            [] => sums::<T, 1, L>([x], |row, [x]| negative_log(row, x)),
            _ => sums::<T, 2, L>([x, w], |row, [x, w]| w * negative_log(row, x)),
        };
        of_all = array(|row| sums.of(row).total());
    }
    (of_target, of_all)
}

/// Losses of classes.
#[derive(Clone, Copy)]
struct ClassLosses<'a, T> {
    targets: ClassTargets<'a, T>,
}

impl<T: Float> ClassLosses<'_, T> {
    #[inline(always)]
    fn losses<M: MulAdd, const L: usize>(
        &self,
        inputs: Inputs<T>,
        classes: &Classes<T, L>,
        max: &[T; L],
        logs: &[f64; L],
    ) -> [f64; L] {
        let (weights, x) = (self.targets.weights(classes), classes.of(inputs.x()));
        let mut losses = [0.0; L];
        for row in 0..L {
            let (high, low) = negative_log(x[row], max[row], logs[row]);
            losses[row] = weights[row] * (high + low);
        }
        let smoothing = self.targets.smoothing;
        if !smoothing.is_none() {
            let (_, of_all) = weighted_sums::<T, M, L>(inputs, max, logs, true);
            for row in 0..L {
                let mut of_target = Sum::default();
                let negative_log = negative_log(x[row], max[row], logs[row]);
                add_term::<T, M>(&mut of_target, (weights[row], 1.0), negative_log);
                losses[row] = smoothing.mixture::<M>(of_target.total(), of_all[row]);
            }
        }
        array(|row| if classes.index[row] == NONE { 0.0 } else { losses[row] })
    }
}

impl<T: Float> Formula<T> for ClassLosses<'_, T> {
    type Found = f64;

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, f64>) {
        let Group { first, inputs, outputs: Outputs { out, kept, found } } = group;
        let read = read::<T, M, L>(inputs.x(), out);
        let (classes, logs) = (self.targets.classes(first), read.log_denominators::<M>());
        let losses = self.losses::<M, L>(inputs, &classes, &read.max, &logs);
        found.copy_from_slice(&losses[..found.len()]);
        read.keep(kept);
    }
}

/// Losses and gradients of classes in one go, with one exponential an element. There is no smoothing.
#[derive(Clone, Copy)]
struct ClassLossesAndGradients<'a, T> {
    targets: ClassTargets<'a, T>,
    upstream: Upstream<'a, T>,
}

impl<T: Float> Formula<T> for ClassLossesAndGradients<'_, T> {
    type Found = f64;

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, f64>) {
        let Group { first, inputs, outputs: Outputs { out, found, .. } } = group;
        let read = read::<T, M, L>(inputs.x(), out);
        let (classes, logs) = (self.targets.classes(first), read.log_denominators::<M>());
        let losses = ClassLosses { targets: self.targets };
        let losses = losses.losses::<M, L>(inputs, &classes, &read.max, &logs);
        found.copy_from_slice(&losses[..found.len()]);
        // The maximum's exponential is exactly 1, whatever the overshoot.
        let (x, e) = (classes.of(inputs.x()), classes.of(out));
        let e: [f64; L] = array(|row| if x[row] == read.max[row] { 1.0 } else { read.plain(e[row]) });
        let factors = factors(&self.targets, &self.upstream, first, &classes, &read.others);
        let values = array(|row| T::from_f64(-factors[row] * rest::<T>(e[row], read.others[row])));
        let given = Given { classes: &classes, values: &values };
        scale::<T, M, L>(out, &array(|row| factors[row] / read.overshoot), Some(given));
        clear_ignored(out, &classes);
    }
}

/// What exponentials are multiplied by to become gradients, without smoothing: g w / (1 + others).
#[inline(always)]
fn factors<T: Float, const L: usize>(
    targets: &ClassTargets<T>,
    upstream: &Upstream<T>,
    first: usize,
    classes: &Classes<T, L>,
    others: &[f64; L],
) -> [f64; L] {
    let (upstream, weights): ([f64; L], [f64; L]) = (upstream.of(first), targets.weights(classes));
    array(|row| upstream[row] * weights[row] / (1.0 + others[row]))
}

/// Zeros where the target is ignored, whatever stands there.
#[inline(always)]
fn clear_ignored<T: Float, const L: usize>(out: &mut [T], classes: &Classes<T, L>) {
    if !all(&classes.index, |class| class != NONE) {
        map::<T, L>(None, out, |row, x| if classes.index[row] == NONE { T::zero() } else { x });
    }
}

/// Gradients of classes, for rows that were read before.
#[derive(Clone, Copy)]
struct ClassGradients<'a, T> {
    targets: ClassTargets<'a, T>,
    upstream: Upstream<'a, T>,
    summaries: &'a [Summary<T>],
}

/// The maxima of L rows that were read before, and the sums of their others.
#[inline(always)]
fn of_summaries<T: Float, const L: usize>(summaries: &[Summary<T>], first: usize) -> ([T; L], [f64; L]) {
    let (mut max, mut others) = ([T::zero(); L], [0.0; L]);
    for (row, summary) in summaries[first..].iter().take(L).enumerate() {
        (max[row], others[row]) = (summary.max, summary.others);
    }
    (max, others)
}

impl<T: Float> Formula<T> for ClassGradients<'_, T> {
    type Found = ();

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, ()>) {
        let Group { first, inputs: Inputs { x, weight, .. }, outputs: Outputs { out, .. } } = group;
        let classes: Classes<T, L> = self.targets.classes(first);
        if all(&classes.index, |class| class == NONE) {
            return out.fill(T::zero());
        }
        let (max, others) = of_summaries(self.summaries, first);
        let e = exponentials_of::<T, M, L>(classes.of(x.unwrap_or(out)), &max);
        if self.targets.smoothing.is_none() {
            let factors = factors(&self.targets, &self.upstream, first, &classes, &others);
            let values = array(|row| T::from_f64(-factors[row] * rest::<T>(e[row], others[row])));
            let given = Given { classes: &classes, values: &values };
            scaled_exponentials::<T, M, L>(x, &max, &factors, out, Some(given));
            return clear_ignored(out, &classes);
        }
        let Smoothing { target: kept, every, total_weight, .. } = self.targets.smoothing;
        let (upstream, weights): ([f64; L], [f64; L]) =
            (self.upstream.of(first), self.targets.weights(&classes));
        let on_target: [f64; L] = array(|row| kept * weights[row]);
        let values = array(|row| {
            let (own, of_others) =
                (every * weights[row] + on_target[row], every * total_weight.without(weights[row]));
            gradient::<T, M>(upstream[row], e[row], others[row], own, of_others)
        });
        let given = Given { classes: &classes, values: &values };
        if is_double::<T>() {
            exponentials::<T, M, L>(x, &max, out);
            for (i, out) in out.iter_mut().enumerate() {
                let (row, weight) = (i % L, weight.get(i).map_or(1.0, |&weight| weight.to_f64()));
                let e = out.to_f64() / exp_scale::<T>();
                let of_others = every * total_weight.without(weight) + on_target[row];
                *out = gradient::<T, M>(upstream[row], e, others[row], every * weight, of_others);
            }
        } else {
            // p A - a in f64, which has digits enough for a result in f32. The target's class could still lose
            // some: its gradient was computed above, and is written at the end.
            let (mut of_exponential, mut of_weight) = ([0.0; L], [0.0; L]);
            for row in 0..L {
                let total = every * total_weight.total() + on_target[row];
                of_exponential[row] = upstream[row] * total / (1.0 + others[row]) / exp_scale::<T>();
                of_weight[row] = -upstream[row] * every;
            }
            for piece in pieces::<L>(out.len()) {
                let (x, out) = (x.map(|x| &x[piece.clone()]), &mut out[piece.clone()]);
                exponentials::<T, M, L>(x, &max, out);
                let plain = |row: usize, e: T| M::mul_add(e.to_f64(), of_exponential[row], of_weight[row]);
                let weighted = |row: usize, e: T, weight: T| {
                    M::mul_add(e.to_f64(), of_exponential[row], of_weight[row] * weight.to_f64())
                };
                match weight {
                    [] => map::<T, L>(None, out, |row, e| T::from_f64(plain(row, e))),
                    _ => zip::<T, L>(None, &weight[piece], out, None, |row, e, w| {
                        T::from_f64(weighted(row, e, w))
                    }),
                }
            }
        }
        given.put(out);
        clear_ignored(out, &classes);
    }
}

/// Losses of probabilities, which lie beside the logits.
#[derive(Clone, Copy)]
struct ProbabilityLosses {
    smoothing: Smoothing,
}

impl<T: Float> Formula<T> for ProbabilityLosses {
    type Found = f64;

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, f64>) {
        let Group { inputs, outputs: Outputs { out, kept, found }, .. } = group;
        let read = read::<T, M, L>(inputs.x(), out);
        let (logs, smoothing) = (read.log_denominators::<M>(), self.smoothing);
        let is_smoothed = !smoothing.is_none();
        let (of_target, of_all) = weighted_sums::<T, M, L>(inputs, &read.max, &logs, is_smoothed);
        read.keep(kept);
        for (row, found) in found.iter_mut().enumerate() {
            *found = match smoothing {
                _ if !is_smoothed => of_target[row],
                Smoothing { target: 0.0, .. } => smoothing.mixture::<M>(0.0, of_all[row]),
                _ => smoothing.mixture::<M>(of_target[row], of_all[row]),
            };
        }
    }
}

/// Gradients of probabilities, for rows that were read before.
#[derive(Clone, Copy)]
struct ProbabilityGradients<'a, T> {
    smoothing: Smoothing,
    upstream: Upstream<'a, T>,
    summaries: &'a [Summary<T>],
}

impl<T: Float> Formula<T> for ProbabilityGradients<'_, T> {
    type Found = ();

    #[inline(always)]
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, ()>) {
        let Group { first, inputs: Inputs { x, beside: q, weight }, outputs: Outputs { out, .. } } = group;
        let (max, others) = of_summaries::<T, L>(self.summaries, first);
        let (upstream, Smoothing { target, every, .. }) = (self.upstream.of::<L>(first), self.smoothing);
        let own = |[q, weight]: [f64; 2]| weight * (target * q + every);
        let totals = sums::<T, 2, L>([q, weight], |_, terms| own(terms));
        let likeliest = Classes::holding(x.unwrap_or(out), &max);
        exponentials::<T, M, L>(x, &max, out);
        if is_double::<T>() {
            for (i, out) in out.iter_mut().enumerate() {
                let (row, own) = (i % L, own([q[i].to_f64(), weight[i].to_f64()]));
                let (e, of_others) = (out.to_f64() / exp_scale::<T>(), totals.of(row).without(own));
                *out = gradient::<T, M>(upstream[row], e, others[row], own, of_others);
            }
            return;
        }
        // p A - a: for f32, whose digits f64 has twice, that is enough but for a p near 1.
        let of_others = sums_without([q, weight], &likeliest, |_, terms| own(terms));
        let (q_there, weight_there) = (likeliest.of(q), likeliest.of(weight));
        let values = array(|row| {
            let own = own([q_there[row].to_f64(), weight_there[row].to_f64()]);
            gradient::<T, M>(upstream[row], 1.0, others[row], own, of_others.of(row).total())
        });
        let of_exponential: [f64; L] =
            array(|row| upstream[row] * totals.of(row).total() / (1.0 + others[row]) / exp_scale::<T>());
        let shares = out.as_chunks_mut::<L>().0.iter_mut().zip(q.as_chunks::<L>().0);
        for ((out, q), weight) in shares.zip(weight.as_chunks::<L>().0) {
            for row in 0..L {
                let own = own([q[row].to_f64(), weight[row].to_f64()]);
                let product = M::mul_add(out[row].to_f64(), of_exponential[row], -upstream[row] * own);
                out[row] = T::from_f64(product);
            }
        }
        Given { classes: &likeliest, values: &values }.put(out);
    }
}

/// Reads all rows, and computes the loss of each; 0 where the target is ignored.
pub(crate) fn class_losses<T: Float>(
    x: &[T],
    rows: Rows,
    targets: ClassTargets<T>,
    summaries: &mut [Summary<T>],
    losses: &mut [f64],
) {
    let inputs = Inputs { x: Some(x), beside: &[], weight: weight_of_smoothing(&targets) };
    let outputs = Outputs { out: &mut [], kept: summaries, found: losses };
    for_each_row(ClassLosses { targets }, rows, inputs, outputs);
}

/// Smoothing needs the weights of all classes; without it, those of the targets are looked up.
fn weight_of_smoothing<'a, T>(targets: &ClassTargets<'a, T>) -> &'a [T] {
    if targets.smoothing.is_none() { &[] } else { targets.weight.unwrap_or_default() }
}

/// The gradients of the logits `x`, or of those that `out` holds; exactly 0 where the target is ignored.
pub(crate) fn class_gradients<T: Float>(
    x: Option<&[T]>,
    rows: Rows,
    targets: ClassTargets<T>,
    summaries: &[Summary<T>],
    upstream: Upstream<T>,
    out: &mut [T],
) {
    let inputs = Inputs { x, beside: &[], weight: weight_of_smoothing(&targets) };
    let outputs = Outputs { out, kept: &mut [], found: &mut [] };
    for_each_row(ClassGradients { targets, upstream, summaries }, rows, inputs, outputs);
}

/// The loss of each row, and the gradients without smoothing, from the same exponentials.
pub(crate) fn class_losses_and_gradients<T: Float>(
    x: &[T],
    rows: Rows,
    targets: ClassTargets<T>,
    upstream: Upstream<T>,
    losses: &mut [f64],
    out: &mut [T],
) {
    let inputs = Inputs { x: Some(x), beside: &[], weight: &[] };
    let outputs = Outputs { out, kept: &mut [], found: losses };
    for_each_row(ClassLossesAndGradients { targets, upstream }, rows, inputs, outputs);
}

/// Reads all rows, and computes the loss of each.
pub(crate) fn probability_losses<T: Float>(
    x: &[T],
    rows: Rows,
    targets: ProbabilityTargets<T>,
    summaries: &mut [Summary<T>],
    losses: &mut [f64],
) {
    let ProbabilityTargets { probabilities, weight, smoothing } = targets;
    let inputs = Inputs { x: Some(x), beside: probabilities, weight };
    let outputs = Outputs { out: &mut [], kept: summaries, found: losses };
    for_each_row(ProbabilityLosses { smoothing }, rows, inputs, outputs);
}

/// The gradients of the logits `x`, or of those that `out` holds.
pub(crate) fn probability_gradients<T: Float>(
    x: Option<&[T]>,
    rows: Rows,
    targets: ProbabilityTargets<T>,
    summaries: &[Summary<T>],
    upstream: Upstream<T>,
    out: &mut [T],
) {
    let ProbabilityTargets { probabilities, weight, smoothing } = targets;
    let inputs = Inputs { x, beside: probabilities, weight };
    let outputs = Outputs { out, kept: &mut [], found: &mut [] };
    for_each_row(ProbabilityGradients { smoothing, upstream, summaries }, rows, inputs, outputs);
}
