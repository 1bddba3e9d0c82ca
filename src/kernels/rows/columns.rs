//! Lines that lie across: softmax and its relatives along a dim that is not the last, without a copy in another order.
//!
//! In a block of `size` rows of `inner` elements, element c of line j is `block[c * inner + j]`. Neighbouring lines
//! lie side by side there, which is how [`super::short_lines`] brings them to lie: nothing has to be turned.
//! The formulas are those of [`super::softmax`] and [`super::cross_entropy`].

use super::cross_entropy::{ClassTargets, Upstream, gradients_of_block, losses_of_block};
use super::short_lines::{LANES, LaneClasses, Lanes, ShortLines, write_lines};
use super::softmax::Line;
use crate::float::Float;
use crate::kernels::parallel::{ELEMENTS_IN_CHUNK, share_out};
use crate::kernels::simd::dispatched;

/// With more rows, a chunk would be so narrow that copying the tensor in another order is faster.
const MOST_ROWS: usize = 256;

/// Whether lines can be processed where they lie; fewer of them would leave lanes empty.
pub(crate) fn can_stay(size: usize, inner: usize) -> bool {
    (1..=MOST_ROWS).contains(&size) && inner >= LANES
}

/// How many columns make a chunk.
fn columns_in_chunk(size: usize) -> usize {
    (ELEMENTS_IN_CHUNK / size).next_multiple_of(LANES)
}

/// Neighbouring lines of one block.
struct Columns<'a, T> {
    /// Where the first element of the first line lies in the whole.
    start: usize,
    /// From one element of a line to the next.
    inner: usize,
    /// How many lines of other columns stand in front.
    first_line: usize,
    /// The part of each row, to be written.
    rows: Vec<&'a mut [T]>,
}

impl<'a, T: Float> Columns<'a, T> {
    /// All of `out`, cut into chunks.
    fn all(size: usize, inner: usize, out: &'a mut [T]) -> Vec<Self> {
        let (width, mut all) = (columns_in_chunk(size), Vec::new());
        for (index, block) in out.chunks_exact_mut(size * inner).enumerate() {
            let mut of_block: Vec<_> = (0..inner)
                .step_by(width)
                .map(|column| Columns {
                    start: index * size * inner + column,
                    inner,
                    first_line: index * inner + column,
                    rows: Vec::with_capacity(size),
                })
                .collect();
            for row in block.chunks_exact_mut(inner) {
                for (columns, part) in of_block.iter_mut().zip(row.chunks_mut(width)) {
                    columns.rows.push(part);
                }
            }
            all.append(&mut of_block);
        }
        all
    }

    fn width(&self) -> usize {
        self.rows.first().map_or(0, |row| row.len())
    }

    /// The lines on their side, [`LANES`] of them at a time, as `x` has them.
    fn load(&self, x: &[T]) -> Vec<Lanes<T>> {
        on_their_side((0..self.rows.len()).map(|c| &x[self.start + c * self.inner..][..self.width()]))
    }

    /// The same as they lie where the results will be written.
    fn load_in_place(&self) -> Vec<Lanes<T>> {
        on_their_side(self.rows.iter().map(|row| &**row))
    }

    /// Writes the lines.
    fn store(self, sides: &[Lanes<T>]) {
        let size = self.rows.len();
        for (c, row) in self.rows.into_iter().enumerate() {
            for (part, side) in row.chunks_mut(LANES).zip(sides[c..].iter().step_by(size)) {
                part.copy_from_slice(&side[..part.len()]);
            }
        }
    }
}

/// Neighbouring lines in blocks of [`LANES`], from the elements of each class. Row after row is read, because rows
/// that lie a power of two apart drive one another out of the cache.
fn on_their_side<'x, T: Float>(rows: impl ExactSizeIterator<Item = &'x [T]>) -> Vec<Lanes<T>> {
    let size = rows.len();
    let mut sides = Vec::new();
    for (c, row) in rows.enumerate() {
        sides.resize(row.len().div_ceil(LANES) * size, [T::zero(); LANES]);
        for (part, side) in row.chunks(LANES).zip(sides[c..].iter_mut().step_by(size)) {
            side[..part.len()].copy_from_slice(part);
        }
    }
    sides
}

/// `out = exp(x - m) / (1 + others)` for all lines of all blocks.
pub(crate) fn softmax<T: Float>(x: &[T], size: usize, inner: usize, out: &mut [T]) {
    share_out(Columns::all(size, inner, out).into_iter(), false, |columns| softmax_of_some(x, columns));
}

/// `out = (x - m) - log1p(others)`
pub(crate) fn log_softmax<T: Float>(x: &[T], size: usize, inner: usize, out: &mut [T]) {
    share_out(Columns::all(size, inner, out).into_iter(), false, |columns| log_softmax_of_some(x, columns));
}

/// The gradient of the logits from that of their probabilities p.
pub(crate) fn softmax_gradient<T: Float>(p: &[T], gradient: &[T], size: usize, inner: usize, out: &mut [T]) {
    let all = Columns::all(size, inner, out).into_iter();
    share_out(all, false, |columns| softmax_gradient_of_some(p, gradient, columns));
}

/// The gradient of the logits x from that of the logarithms of their probabilities.
pub(crate) fn log_softmax_gradient<T: Float>(
    x: &[T],
    gradient: &[T],
    size: usize,
    inner: usize,
    out: &mut [T],
) {
    let all = Columns::all(size, inner, out).into_iter();
    share_out(all, false, |columns| log_softmax_gradient_of_some(x, gradient, columns));
}

/// What is to be known of all lines for their gradients, and the loss of each; 0 where the target is ignored.
/// There is no smoothing.
pub(crate) fn class_losses<T: Float>(
    x: &[T],
    size: usize,
    inner: usize,
    targets: ClassTargets<T>,
    lines: &mut [Line<T>],
    losses: &mut [f64],
) {
    let width = columns_in_chunk(size);
    let blocks = lines.chunks_mut(inner).zip(losses.chunks_mut(inner)).enumerate();
    let chunks = blocks.flat_map(|(block, (lines, losses))| {
        let chunks = lines.chunks_mut(width).zip(losses.chunks_mut(width)).enumerate();
        chunks.map(move |(chunk, (lines, losses))| (block, chunk * width, lines, losses))
    });
    share_out(chunks.collect::<Vec<_>>().into_iter(), false, |(block, column, lines, losses)| {
        let targets = targets.part(block * inner + column, losses.len());
        class_losses_of_some(&x[block * size * inner + column..], size, inner, targets, lines, losses);
    });
}

/// The gradients of the logits `x`, or of those that `out` holds; exactly 0 where the target is ignored.
pub(crate) fn class_gradients<T: Float>(
    x: Option<&[T]>,
    size: usize,
    inner: usize,
    targets: ClassTargets<T>,
    lines: &[Line<T>],
    upstream: Upstream<T>,
    out: &mut [T],
) {
    share_out(Columns::all(size, inner, out).into_iter(), false, |columns| {
        let (first, count) = (columns.first_line, columns.width());
        let (targets, upstream) = (targets.part(first, count), upstream.part(first, count));
        class_gradients_of_some(x, targets, &lines[first..first + count], upstream, columns);
    });
}

/// The loss of each line, and the gradients, from one pass over the logits.
pub(crate) fn class_losses_and_gradients<T: Float>(
    x: &[T],
    size: usize,
    inner: usize,
    targets: ClassTargets<T>,
    upstream: Upstream<T>,
    losses: &mut [f64],
    out: &mut [T],
) {
    let of_chunks = losses.chunks_mut(inner).flat_map(|losses| losses.chunks_mut(columns_in_chunk(size)));
    let all: Vec<_> = Columns::all(size, inner, out).into_iter().zip(of_chunks).collect();
    share_out(all.into_iter(), false, |(columns, losses)| {
        let (first, count) = (columns.first_line, losses.len());
        let (targets, upstream) = (targets.part(first, count), upstream.part(first, count));
        class_losses_and_gradients_of_some(x, targets, upstream, losses, columns);
    });
}

dispatched! {
    fn softmax_of_some<'a, T, M>(x: &'a [T], columns: Columns<'a, T>) {
        let mut sides = columns.load(x);
        for block in sides.chunks_exact_mut(columns.rows.len()) {
            ShortLines::over(block).softmax::<M>();
        }
        columns.store(&sides);
    }

    fn log_softmax_of_some<'a, T, M>(x: &'a [T], columns: Columns<'a, T>) {
        let mut sides = columns.load(x);
        let mut exponentials = sides.clone();
        let size = columns.rows.len();
        for (block, exponentials) in sides.chunks_exact_mut(size).zip(exponentials.chunks_exact_mut(size)) {
            let (maxima, logs) = ShortLines::over(exponentials).read_logarithms::<M>();
            ShortLines::over(block).subtract(&maxima, &logs);
        }
        columns.store(&sides);
    }

    fn softmax_gradient_of_some<'a, T, M>(p: &'a [T], gradient: &'a [T], columns: Columns<'a, T>) {
        let (mut sides, mut gradients) = (columns.load(p), columns.load(gradient));
        let size = columns.rows.len();
        for (block, gradients) in sides.chunks_exact_mut(size).zip(gradients.chunks_exact_mut(size)) {
            ShortLines::over(block).softmax_gradient(&ShortLines::over(gradients));
        }
        columns.store(&sides);
    }

    fn log_softmax_gradient_of_some<'a, T, M>(x: &'a [T], gradient: &'a [T], columns: Columns<'a, T>) {
        let (mut sides, mut gradients) = (columns.load(x), columns.load(gradient));
        let size = columns.rows.len();
        for (block, gradients) in sides.chunks_exact_mut(size).zip(gradients.chunks_exact_mut(size)) {
            let mut block = ShortLines::over(block);
            let (_, others) = block.read::<M>();
            block.log_softmax_gradient(&others, &ShortLines::over(gradients));
        }
        columns.store(&sides);
    }

    fn class_losses_of_some<'a, T, M>(
        x: &'a [T],
        size: usize,
        inner: usize,
        targets: ClassTargets<'a, T>,
        lines: &'a mut [Line<T>],
        losses: &'a mut [f64],
    ) {
        let mut sides = on_their_side((0..size).map(|c| &x[c * inner..][..losses.len()]));
        let results = lines.chunks_mut(LANES).zip(losses.chunks_mut(LANES));
        for (index, (block, (lines, losses))) in sides.chunks_exact_mut(size).zip(results).enumerate() {
            let targets = targets.part(index * LANES, losses.len());
            let read = losses_of_block::<T, M>(&mut ShortLines::over(block), targets, losses);
            write_lines((&read.maxima, &read.others), lines);
        }
    }

    fn class_gradients_of_some<'a, T, M>(
        x: Option<&'a [T]>,
        targets: ClassTargets<'a, T>,
        lines: &'a [Line<T>],
        upstream: Upstream<'a, T>,
        columns: Columns<'a, T>,
    ) {
        let mut sides = x.map_or_else(|| columns.load_in_place(), |x| columns.load(x));
        let blocks = sides.chunks_exact_mut(columns.rows.len()).zip(lines.chunks(LANES));
        for (index, (block, lines)) in blocks.enumerate() {
            let (at, count) = (index * LANES, lines.len());
            let (targets, upstream) = (targets.part(at, count), upstream.part(at, count));
            let mut block = ShortLines::over(block);
            let others = block.read_again::<M>(lines);
            let classes = LaneClasses::new(targets.classes, targets.ignored);
            gradients_of_block::<T, M>(&mut block, &classes, &others, targets, upstream);
        }
        columns.store(&sides);
    }

    fn class_losses_and_gradients_of_some<'a, T, M>(
        x: &'a [T],
        targets: ClassTargets<'a, T>,
        upstream: Upstream<'a, T>,
        losses: &'a mut [f64],
        columns: Columns<'a, T>,
    ) {
        let mut sides = columns.load(x);
        let blocks = sides.chunks_exact_mut(columns.rows.len()).zip(losses.chunks_mut(LANES));
        for (index, (block, losses)) in blocks.enumerate() {
            let (at, count) = (index * LANES, losses.len());
            let (targets, upstream) = (targets.part(at, count), upstream.part(at, count));
            let mut block = ShortLines::over(block);
            let read = losses_of_block::<T, M>(&mut block, targets, losses);
            gradients_of_block::<T, M>(&mut block, &read.classes, &read.others, targets, upstream);
        }
        columns.store(&sides);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{cross_entropy, softmax as lines};
    use super::*;
    use crate::kernels::rows::cross_entropy::Smoothing;

    /// Columns of every kind: ordinary, infinite, nan, confident, huge, equal.
    fn block_of<T: Float>(outer: usize, size: usize, inner: usize) -> Vec<T> {
        let element = |i: usize| {
            let (c, line) = (i / inner % size, i % inner + i / (size * inner));
            let ordinary = ((i * 7919) % 1013) as f64 * 0.01 - 5.0;
            match line % 11 {
                3 if c == 1 => f64::INFINITY,
                4 if c == size - 1 => f64::NAN,
                5 => ordinary * 10.0,
                6 if c == line % size => 40.0,
                7 => 1e6 + ordinary,
                8 => f64::NEG_INFINITY,
                9 => 1.0,
                _ => ordinary,
            }
        };
        (0..outer * size * inner).map(|i| T::from_f64(element(i))).collect()
    }

    /// The same with the elements of each line one after the other.
    fn turned<T: Copy>(x: &[T], size: usize, inner: usize) -> Vec<T> {
        let at = |i: usize| i / (size * inner) * size * inner + i % size * inner + i / size % inner;
        (0..x.len()).map(|i| x[at(i)]).collect()
    }

    fn assert_close<T: Float>(across: &[T], along: &[T], case: &str) {
        for (i, (&a, &b)) in across.iter().zip(along).enumerate() {
            let (a, b) = (a.to_f64(), b.to_f64());
            let size = a.abs().max(b.abs()).max(T::min_positive_value().to_f64());
            let bound = 8.0 * T::epsilon().to_f64() * size;
            assert!(a == b || (a - b).abs() <= bound || a.is_nan() && b.is_nan(), "{case}, {i}: {a} and {b}");
        }
    }

    fn check_all<T: Float>() {
        for (outer, size, inner) in
            [(2, 1, 64), (2, 3, 32), (3, 21, 100), (1, 150, 40), (2, 256, 33), (1, 2, 20_000)]
        {
            let case = format!("{outer} x {size} x {inner}, {:?}", T::DTYPE);
            let x = block_of::<T>(outer, size, inner);
            let along = turned(&x, size, inner);
            let g: Vec<T> = (0..x.len()).map(|i| T::from_f64((i * 31 % 17) as f64 - 8.0)).collect();
            let g_along = turned(&g, size, inner);
            let (mut a, mut b) = (x.clone(), x.clone());
            softmax(&x, size, inner, &mut a);
            lines::softmax_lines(&along, size, &mut b);
            assert_close(&turned(&a, size, inner), &b, &case);
            let p = a.clone();
            softmax_gradient(&p, &g, size, inner, &mut a);
            lines::softmax_gradient_lines(&turned(&p, size, inner), &g_along, size, &mut b);
            assert_close(&turned(&a, size, inner), &b, &case);
            log_softmax(&x, size, inner, &mut a);
            lines::log_softmax_lines(&along, size, &mut b);
            assert_close(&turned(&a, size, inner), &b, &case);
            log_softmax_gradient(&x, &g, size, inner, &mut a);
            lines::log_softmax_gradient_lines(&along, &g_along, size, &mut b);
            assert_close(&turned(&a, size, inner), &b, &case);

            let count = outer * inner;
            let classes: Vec<i64> =
                (0..count).map(|i| if i % 7 == 0 { -100 } else { (i % size) as i64 }).collect();
            let weight: Vec<T> = (0..size).map(|c| T::from_f64(1.0 + c as f64)).collect();
            let smoothing =
                Smoothing { target: 1.0, target_low: 0.0, every: 0.0, total_weight: Default::default() };
            let of_lines: Vec<T> = (0..count).map(|i| T::from_f64(i as f64 - 3.0)).collect();
            for weight in [None, Some(&weight[..])] {
                let targets = ClassTargets { classes: &classes, ignored: -100, weight, smoothing };
                let upstream = Upstream { factor: 0.3, of_lines: weight.map(|_| &of_lines[..]) };
                let (mut losses_a, mut losses_b) = (vec![7.0; count], vec![7.0; count]);
                cross_entropy::class_losses_and_gradients(
                    &along,
                    size,
                    targets,
                    upstream,
                    &mut losses_b,
                    &mut b,
                );
                class_losses_and_gradients(&x, size, inner, targets, upstream, &mut losses_a, &mut a);
                let rounded =
                    |losses: &[f64]| losses.iter().map(|&loss| T::from_f64(loss)).collect::<Vec<_>>();
                assert_close(&rounded(&losses_a), &rounded(&losses_b), &case);
                assert_close(&turned(&a, size, inner), &b, &case);
                let (mut read, mut again) = (vec![Line::default(); count], vec![7.0; count]);
                class_losses(&x, size, inner, targets, &mut read, &mut again);
                assert_close(&rounded(&again), &rounded(&losses_a), &case);
                class_gradients(Some(&x), size, inner, targets, &read, upstream, &mut a);
                assert_close(&turned(&a, size, inner), &b, &case);
                a.copy_from_slice(&x);
                class_gradients(None, size, inner, targets, &read, upstream, &mut a);
                assert_close(&turned(&a, size, inner), &b, &case);
            }
        }
    }

    #[test]
    fn lines_that_lie_across_are_processed_like_others() {
        check_all::<f32>();
        check_all::<f64>();
    }
}
