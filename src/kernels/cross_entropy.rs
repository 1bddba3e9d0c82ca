//! Losses and gradients of cross entropy, line by line; the formulas are in `ops::loss::cross_entropy`.

use super::softmax::{Line, for_each_line, map_lines};
use num_traits::Float;

/// How a target is spread over the classes: `target` stays where it is, every class gets `every`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Smoothing<T> {
    /// 1 - e
    pub target: T,
    /// e / C
    pub every: T,
    /// The sum of the weights of all classes.
    pub total_weight: T,
}

impl<T: Float> Smoothing<T> {
    fn is_none(&self) -> bool {
        self.every == T::zero()
    }
}

/// A tensor's elements with the number of classes and of elements inside a class.
type Logits<'a, T> = (&'a [T], usize, usize);

/// The loss of every position, and the line behind it; 0 where `class_of` has none.
pub(crate) fn class_losses<T: Float>(
    (logits, size, inner): Logits<T>,
    class_of: impl Fn(usize) -> Option<usize>,
    weight: Option<&[T]>,
    smoothing: &Smoothing<T>,
    lines: &mut [Line<T>],
    out: &mut [T],
) {
    let weight_of = |class: usize| weight.map_or(T::one(), |weight| weight[class]);
    for_each_line(logits, size, inner, |position, x| {
        let Some(class) = class_of(position) else { return };
        let line = Line::of(x);
        lines[position] = line;
        let of_target = weight_of(class) * line.negative_log_softmax(x[class]);
        out[position] = if smoothing.is_none() {
            of_target
        } else {
            let of_all = (x.iter().enumerate())
                .fold(T::zero(), |sum, (c, &x)| sum + weight_of(c) * line.negative_log_softmax(x));
            smoothing.target * of_target + smoothing.every * of_all
        };
    });
}

/// The gradient of the logits from the positions' upstream gradients (or a single one for all);
/// exactly 0 where `class_of` has none.
pub(crate) fn class_gradients<T: Float>(
    (logits, size, inner): Logits<T>,
    class_of: impl Fn(usize) -> Option<usize>,
    weight: Option<&[T]>,
    smoothing: &Smoothing<T>,
    lines: &[Line<T>],
    upstream: &[T],
    out: &mut [T],
) {
    let weight_of = |class: usize| weight.map_or(T::one(), |weight| weight[class]);
    map_lines((logits, logits), size, inner, out, |position, x, _, out| {
        let Some(class) = class_of(position) else { return out.fill(T::zero()) };
        let (line, upstream) = (lines[position], upstream_of(upstream, position));
        let target_weight = weight_of(class);
        for (c, (out, &x)) in out.iter_mut().zip(x).enumerate() {
            // a[c], and the sum of the other coefficients.
            let every = smoothing.every * weight_of(c);
            let other_classes = smoothing.every * (smoothing.total_weight - weight_of(c));
            let (own, others) = if c == class {
                (smoothing.target * target_weight + every, other_classes)
            } else {
                (every, other_classes + smoothing.target * target_weight)
            };
            *out = upstream * coefficient_gradient(&line, x, own, others);
        }
    });
}

/// The loss of every position for probability targets, and the line behind it.
pub(crate) fn probability_losses<T: Float>(
    (logits, size, inner): Logits<T>,
    target: &[T],
    weight: &[T],
    smoothing: &Smoothing<T>,
    lines: &mut [Line<T>],
    out: &mut [T],
) {
    for_each_line(logits, size, inner, |position, x| {
        let line = Line::of(x);
        lines[position] = line;
        let mut sum = T::zero();
        for (c, &x) in x.iter().enumerate() {
            let share = smoothing.target * target[place(size, inner, position, c)] + smoothing.every;
            let loss = line.negative_log_softmax(x);
            // 0 log 0 = 0: a probability of 0 at a logit of -inf contributes nothing.
            let is_nothing = share == T::zero() && loss == T::infinity();
            sum = sum + if is_nothing { T::zero() } else { weight[c] * share * loss };
        }
        out[position] = sum;
    });
}

/// The gradient of the logits for probability targets.
pub(crate) fn probability_gradients<T: Float>(
    (logits, size, inner): Logits<T>,
    target: &[T],
    weight: &[T],
    smoothing: &Smoothing<T>,
    lines: &[Line<T>],
    upstream: &[T],
    out: &mut [T],
) {
    map_lines((logits, target), size, inner, out, |position, x, target, out| {
        let (line, upstream) = (lines[position], upstream_of(upstream, position));
        let coefficient = |c: usize| weight[c] * (smoothing.target * target[c] + smoothing.every);
        let total = (0..size).fold(T::zero(), |sum, c| sum + coefficient(c));
        for (c, (out, &x)) in out.iter_mut().zip(x).enumerate() {
            *out = upstream * coefficient_gradient(&line, x, coefficient(c), total - coefficient(c));
        }
    });
}

/// p A - a as p (A - a) - a (1 - p).
#[inline(always)]
fn coefficient_gradient<T: Float>(line: &Line<T>, x: T, own: T, others: T) -> T {
    line.softmax(x) * others - own * line.one_minus_softmax(x)
}

fn upstream_of<T: Copy>(upstream: &[T], position: usize) -> T {
    if upstream.len() == 1 { upstream[0] } else { upstream[position] }
}

/// Where an element of a line lies in the tensor.
fn place(size: usize, inner: usize, position: usize, c: usize) -> usize {
    (position / inner * size + c) * inner + position % inner
}
