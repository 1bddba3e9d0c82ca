//! Losses and gradients of cross entropy, line by line; the formulas are in `ops::loss::cross_entropy`.
//!
//! Lines of `size` logits lie one after the other. Exponentials have the precision of the
//! elements ([`super::softmax`]); what is made of them is computed in `f64`.

use super::short_lines::{LANES, LaneClasses, Lanes, Room, ShortLines, are_short, write_lines};
use super::softmax::{
    Line, exponentials_of_piece, exponentiate_line, log_denominators, one_exponential, pieces, read_lines,
    read_some_lines, scale_exponentials, scaled_exponentials, shifted,
};
use crate::float::{Float, is_double};
use crate::kernels::compensated::{Sum, sum_of, sum_over, two_sum};
use crate::kernels::functions::{log1p_of_positive, unit};
use crate::kernels::parallel;
use crate::kernels::reduce::position;
use crate::kernels::simd::{MulAdd, dispatched};

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
    /// The target of lines that do not count. No class is negative, so a negative one may stand for none.
    pub ignored: i64,
    pub weight: Option<&'a [T]>,
    pub smoothing: Smoothing,
}

impl<T: Float> ClassTargets<'_, T> {
    #[inline(always)]
    fn class(&self, line: usize) -> Option<usize> {
        let class = self.classes[line];
        (class != self.ignored).then_some(class as usize)
    }

    #[inline(always)]
    fn weight_of(&self, class: usize) -> f64 {
        self.weight.map_or(1.0, |weight| weight[class].to_f64())
    }

    /// What the exponentials of a line are multiplied by, without smoothing: g a / (1 + others).
    #[inline(always)]
    fn factor(&self, line: usize, others: f64, upstream: Upstream<T>) -> f64 {
        upstream.of(line) * self.weight_of_line(line) / (1.0 + others)
    }

    /// The weight of a line's class; 0 if there are weights and the line is ignored.
    #[inline(always)]
    fn weight_of_line(&self, line: usize) -> f64 {
        match self.weight {
            Some(_) => self.class(line).map_or(0.0, |class| self.weight_of(class)),
            None => 1.0,
        }
    }

    /// The targets of some of the lines.
    pub fn part(&self, first: usize, count: usize) -> Self {
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

    pub fn part(&self, first: usize, count: usize) -> Self {
        Upstream { of_lines: self.of_lines.map(|of_lines| &of_lines[first..first + count]), ..*self }
    }
}

dispatched! {
    /// Reads short lines and computes their losses, without smoothing.
    fn class_losses_of_short_lines<'a, T, M>(
        x: &'a [T],
        size: usize,
        targets: ClassTargets<'a, T>,
        lines: &'a mut [Line<T>],
        losses: &'a mut [f64],
    ) {
        let mut room = Room::new();
        let mut block = ShortLines::new(size, &mut room);
        let of_lines = x.chunks(LANES * size).zip(lines.chunks_mut(LANES)).zip(losses.chunks_mut(LANES));
        for (index, ((x, lines), losses)) in of_lines.enumerate() {
            block.load(x);
            let read = losses_of_block::<T, M>(&mut block, targets.part(index * LANES, losses.len()), losses);
            write_lines((&read.maxima, &read.others), lines);
        }
    }

    fn class_losses_of_some_lines<'a, T, M>(
        x: &'a [T],
        size: usize,
        targets: ClassTargets<'a, T>,
        lines: &'a [Line<T>],
        losses: &'a mut [f64],
    ) {
        log_denominators(lines, losses);
        let rows = x.chunks_exact(size).zip(lines);
        for (i, (loss, (x, line))) in losses.iter_mut().zip(rows).enumerate() {
            let Some(class) = targets.class(i) else {
                *loss = 0.0;
                continue;
            };
            let log_denominator = *loss;
            if targets.smoothing.every == 0.0 {
                let (high, low) = negative_log(x[class], line.max, log_denominator);
                *loss = targets.weight_of(class) * (high + low);
                continue;
            }
            let (mut of_target, mut of_all) = (Sum::default(), Sum::default());
            let of_class = negative_log(x[class], line.max, log_denominator);
            add_term::<T, M>(&mut of_target, (targets.weight_of(class), 1.0), of_class);
            if is_double::<T>() {
                for (c, &x) in x.iter().enumerate() {
                    let negative_log = negative_log(x, line.max, log_denominator);
                    add_term::<T, M>(&mut of_all, (targets.weight_of(c), 1.0), negative_log);
                }
            } else {
                let (max, log) = (line.max.to_f64(), log_denominator);
                of_all = match targets.weight {
                    None => sum_of(x, |x| log - (x - max)),
                    Some(weight) => sum_over([x, weight], |[x, weight]| weight * (log - (x - max))),
                };
            }
            *loss = targets.smoothing.mixture::<M>(of_target, of_all);
        }
    }

    /// The gradients of lines that were read before, without smoothing.
    fn class_gradients_of_some_lines<'a, T, M>(
        x: Option<&'a [T]>,
        size: usize,
        targets: ClassTargets<'a, T>,
        lines: &'a [Line<T>],
        upstream: Upstream<'a, T>,
        out: &'a mut [T],
    ) {
        if are_short(size, lines.len()) {
            let mut room = Room::new();
            let mut block = ShortLines::new(size, &mut room);
            for (index, lines) in lines.chunks(LANES).enumerate() {
                let (first, count) = (index * LANES, lines.len());
                let range = first * size..(first + count) * size;
                let (targets, upstream) = (targets.part(first, count), upstream.part(first, count));
                block.load(x.map_or(&out[range.clone()], |x| &x[range.clone()]));
                let others = block.read_again::<M>(lines);
                let classes = LaneClasses::new(targets.classes, targets.ignored);
                gradients_of_block::<T, M>(&mut block, &classes, &others, targets, upstream);
                block.store(&mut out[range]);
            }
            return;
        }
        for (i, (out, &Line { max, others })) in out.chunks_exact_mut(size).zip(lines).enumerate() {
            let Some(class) = targets.class(i) else {
                out.fill(T::zero());
                continue;
            };
            let x = x.map(|x| &x[i * size..][..size]);
            let factor = targets.factor(i, others, upstream);
            let exponential = one_exponential::<T, M>(x.unwrap_or(out)[class], max);
            scaled_exponentials::<T, M>(x, max, factor, out);
            out[class] = T::from_f64(-factor * rest::<T>(exponential, others));
        }
    }

    /// The same with smoothing.
    fn smoothed_gradients_of_some_lines<'a, T, M>(
        x: Option<&'a [T]>,
        size: usize,
        targets: ClassTargets<'a, T>,
        lines: &'a [Line<T>],
        upstream: Upstream<'a, T>,
        out: &'a mut [T],
    ) {
        let Smoothing { target: on_target, every, total_weight, .. } = targets.smoothing;
        for (i, offset, out) in pieces(size, out) {
            let Some(class) = targets.class(i) else {
                out.fill(T::zero());
                continue;
            };
            exponentials_of_piece::<T, M>(x, i * size + offset, lines[i].max, out);
            let (factor, others) = (upstream.of(i), lines[i].others);
            let moved = on_target * targets.weight_of(class);
            let gradient = |c: usize, exponential: T, moved_here: f64| {
                let (weight, exponential) = (targets.weight_of(c), exponential.to_f64() / unit::<T>());
                let own = every * weight + moved_here;
                let of_others = every * total_weight.without(weight) + (moved - moved_here);
                let terms = difference::<M>((exponential, of_others), (own, rest::<T>(exponential, others)));
                T::from_f64(factor * (terms / (1.0 + others)))
            };
            let here = class.checked_sub(offset).filter(|&here| here < out.len());
            let of_target = here.map(|here| gradient(class, out[here], moved));
            if is_double::<T>() {
                for (c, out) in out.iter_mut().enumerate() {
                    *out = gradient(offset + c, *out, 0.0);
                }
            } else {
                // p A - a: for f32, whose digits f64 has twice, that is enough.
                let total = every * total_weight.total() + moved;
                let (of_exponential, of_weight) = (factor * total / (1.0 + others) / unit::<T>(), -factor * every);
                match targets.weight.map(|weight| &weight[offset..]) {
                    None => {
                        for out in out.iter_mut() {
                            *out = T::from_f64(M::mul_add(out.to_f64(), of_exponential, of_weight));
                        }
                    }
                    Some(weight) => {
                        for (out, &weight) in out.iter_mut().zip(weight) {
                            let of_weight = of_weight * weight.to_f64();
                            *out = T::from_f64(M::mul_add(out.to_f64(), of_exponential, of_weight));
                        }
                    }
                }
            }
            if let (Some(here), Some(of_target)) = (here, of_target) {
                out[here] = of_target;
            }
        }
    }

    /// Reads the lines and computes their losses and gradients in one go, with one exponential an element. There
    /// is no smoothing.
    fn class_losses_and_gradients_of_some_lines<'a, T, M>(
        x: &'a [T],
        size: usize,
        targets: ClassTargets<'a, T>,
        upstream: Upstream<'a, T>,
        losses: &'a mut [f64],
        out: &'a mut [T],
    ) {
        if are_short(size, losses.len()) {
            let mut room = Room::new();
            let mut block = ShortLines::new(size, &mut room);
            let in_and_out = x.chunks(LANES * size).zip(out.chunks_mut(LANES * size));
            for (index, ((x, out), losses)) in in_and_out.zip(losses.chunks_mut(LANES)).enumerate() {
                let (first, count) = (index * LANES, losses.len());
                let (targets, upstream) = (targets.part(first, count), upstream.part(first, count));
                block.load(x);
                let read = losses_of_block::<T, M>(&mut block, targets, losses);
                gradients_of_block::<T, M>(&mut block, &read.classes, &read.others, targets, upstream);
                block.store(out);
            }
            return;
        }
        let mut lines = vec![Line::default(); losses.len()];
        let in_and_out = x.chunks_exact(size).zip(out.chunks_exact_mut(size));
        for (i, ((x, out), line)) in in_and_out.zip(&mut lines).enumerate() {
            let excess;
            (*line, excess) = exponentiate_line::<T, M>(x, out);
            match targets.class(i) {
                Some(class) => {
                    let factor = targets.factor(i, line.others, upstream);
                    let exponential = one_exponential::<T, M>(x[class], line.max);
                    scale_exponentials::<T, M>(out, factor / excess);
                    out[class] = T::from_f64(-factor * rest::<T>(exponential, line.others));
                }
                None => out.fill(T::zero()),
            }
        }
        class_losses_of_some_lines(x, size, targets, &lines, losses);
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
            // 0 log 0 = 0: a probability of 0 at a logit of -inf contributes nothing.
            if is_double::<T>() {
                for ((&x, &probability), &weight) in x.iter().zip(probabilities).zip(targets.weight) {
                    let (probability, weight) = (probability.to_f64(), weight.to_f64());
                    let negative_log = negative_log(x, line.max, log_denominator);
                    if probability != 0.0 {
                        add_term::<T, M>(&mut of_target, (weight, probability), negative_log);
                    }
                    if targets.smoothing.every != 0.0 {
                        add_term::<T, M>(&mut of_all, (weight, 1.0), negative_log);
                    }
                }
            } else {
                let (max, log) = (line.max.to_f64(), log_denominator);
                of_target = sum_over([x, probabilities, targets.weight], |[x, probability, weight]| {
                    let term = weight * probability * (log - (x - max));
                    if probability == 0.0 { 0.0 } else { term }
                });
                if targets.smoothing.every != 0.0 {
                    of_all = sum_over([x, targets.weight], |[x, weight]| weight * (log - (x - max)));
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
        let Smoothing { target, every, .. } = targets.smoothing;
        let share = |[probability, weight]: [f64; 2]| weight * (target * probability + every);
        let mut total = Sum::default();
        for (i, offset, out) in pieces(size, out) {
            let (factor, Line { max, others }) = (upstream.of(i), lines[i]);
            let probabilities = &targets.probabilities[i * size..(i + 1) * size];
            if offset == 0 {
                total = sum_over([probabilities, targets.weight], share);
            }
            let own_share = |c: usize| share([probabilities[c].to_f64(), targets.weight[c].to_f64()]);
            let gradient = |exponential: f64, own: f64, of_others: f64| {
                let terms = difference::<M>((exponential, of_others), (own, rest::<T>(exponential, others)));
                T::from_f64(factor * (terms / (1.0 + others)))
            };
            let logits = x.map_or(&*out, |x| &x[i * size + offset..][..out.len()]);
            let likeliest = if is_double::<T>() { None } else { position(logits, |x| x == max) };
            exponentials_of_piece::<T, M>(x, i * size + offset, max, out);
            if is_double::<T>() {
                for (c, out) in out.iter_mut().enumerate() {
                    let own = own_share(offset + c);
                    *out = gradient(out.to_f64() / unit::<T>(), own, total.without(own));
                }
                continue;
            }
            // p A - a: for f32, whose digits f64 has twice, that is enough but for a p near 1.
            let of_exponential = factor * total.total() / (1.0 + others) / unit::<T>();
            let shares = probabilities[offset..].iter().zip(&targets.weight[offset..]);
            for (out, (&probability, &weight)) in out.iter_mut().zip(shares) {
                let own = share([probability.to_f64(), weight.to_f64()]);
                *out = T::from_f64(M::mul_add(out.to_f64(), of_exponential, -factor * own));
            }
            if let Some(likeliest) = likeliest {
                let c = offset + likeliest;
                let mut of_others = sum_over([&probabilities[..c], &targets.weight[..c]], share);
                of_others.add_sum(sum_over([&probabilities[c + 1..], &targets.weight[c + 1..]], share));
                out[likeliest] = gradient(1.0, own_share(c), of_others.total());
            }
        }
    }
}

/// The gradients of short lines without smoothing, in place of their exponentials in the block: p a for the other
/// classes; for the target, minus what the others have together. Lines without a class get zeros.
#[inline(always)]
pub(crate) fn gradients_of_block<T: Float, M: MulAdd>(
    block: &mut ShortLines<T>,
    classes: &LaneClasses<T>,
    others: &Lanes<f64>,
    targets: ClassTargets<T>,
    upstream: Upstream<T>,
) {
    let mut factors = [upstream.factor; LANES];
    if targets.weight.is_some() || upstream.of_lines.is_some() {
        for (i, factor) in factors.iter_mut().take(targets.classes.len()).enumerate() {
            *factor = upstream.of(i) * targets.weight_of_line(i);
        }
    }
    let (exponentials, mut of_targets) = (block.elements_of(classes), [T::zero(); LANES]);
    for lane in 0..LANES {
        factors[lane] /= 1.0 + others[lane];
        let exponential = exponentials[lane].to_f64() / unit::<T>();
        of_targets[lane] = T::from_f64(-factors[lane] * rest::<T>(exponential, others[lane]));
    }
    block.scale_and_replace::<M>(&factors, classes, &of_targets);
    block.clear_without_class(classes);
}

/// What a block of short lines is found to hold.
pub(crate) struct Read<T> {
    pub classes: LaneClasses<T>,
    pub maxima: Lanes<T>,
    pub others: Lanes<f64>,
}

/// The losses of short lines without smoothing, whose logits in the block become exponentials.
#[inline(always)]
pub(crate) fn losses_of_block<T: Float, M: MulAdd>(
    block: &mut ShortLines<T>,
    targets: ClassTargets<T>,
    losses: &mut [f64],
) -> Read<T> {
    let classes = LaneClasses::new(targets.classes, targets.ignored);
    let of_targets = block.elements_of(&classes);
    let (maxima, others) = block.read::<M>();
    let mut lanes = [0.0; LANES];
    for lane in 0..LANES {
        let (high, low) =
            negative_log(of_targets[lane], maxima[lane], log1p_of_positive::<T, M>(others[lane]));
        lanes[lane] = if classes.has_class(lane) { high + low } else { 0.0 };
    }
    if targets.weight.is_some() {
        for (i, loss) in lanes.iter_mut().take(losses.len()).enumerate() {
            *loss *= targets.weight_of_line(i);
        }
    }
    losses.copy_from_slice(&lanes[..losses.len()]);
    Read { classes, maxima, others }
}

/// -ln p as a sum of two numbers. Both parts of it are positive, so nothing cancels.
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

/// The exponentials of a line without this one: (1 - p) (1 + others), without the cancellation.
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

/// Reads all lines, and computes the loss of each; 0 where the target is ignored.
pub(crate) fn class_losses<T: Float>(
    x: &[T],
    size: usize,
    targets: ClassTargets<T>,
    lines: &mut [Line<T>],
    losses: &mut [f64],
) {
    if size == 0 {
        read_lines(x, size, lines);
        return losses.fill(0.0); // every target is ignored
    }
    let together = parallel::lines_in_chunk(size);
    parallel::for_each_chunk_of_two(lines, together, losses, together, |index, lines, losses| {
        let first = index * together;
        let (x, targets) = (&x[first * size..][..lines.len() * size], targets.part(first, lines.len()));
        if are_short(size, lines.len()) && targets.smoothing.every == 0.0 {
            return class_losses_of_short_lines(x, size, targets, lines, losses);
        }
        read_some_lines(x, size, lines);
        class_losses_of_some_lines(x, size, targets, lines, losses);
    });
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
        let lines = &lines[first..first + count];
        if targets.smoothing.every == 0.0 {
            class_gradients_of_some_lines(x, size, targets, lines, upstream, out);
        } else {
            smoothed_gradients_of_some_lines(x, size, targets, lines, upstream, out);
        }
    });
}

/// The loss of each line, and the gradients without smoothing, from one pass over the logits.
pub(crate) fn class_losses_and_gradients<T: Float>(
    x: &[T],
    size: usize,
    targets: ClassTargets<T>,
    upstream: Upstream<T>,
    losses: &mut [f64],
    out: &mut [T],
) {
    if size == 0 {
        return losses.fill(0.0); // every target is ignored
    }
    let together = parallel::lines_in_chunk(size);
    parallel::for_each_chunk_of_two(out, together * size, losses, together, |index, out, losses| {
        let first = index * together;
        let x = &x[first * size..][..out.len()];
        let (targets, upstream) = (targets.part(first, losses.len()), upstream.part(first, losses.len()));
        class_losses_and_gradients_of_some_lines(x, size, targets, upstream, losses, out);
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
    if size == 0 {
        read_lines(x, size, lines);
        return losses.fill(0.0);
    }
    let together = parallel::lines_in_chunk(size);
    parallel::for_each_chunk_of_two(lines, together, losses, together, |index, lines, losses| {
        let range = index * together * size..(index * together + lines.len()) * size;
        let (x, targets) = (&x[range.clone()], targets.part(range));
        read_some_lines(x, size, lines);
        probability_losses_of_some_lines(x, size, targets, lines, losses);
    });
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
