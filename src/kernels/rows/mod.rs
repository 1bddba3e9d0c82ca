//! Softmax, cross entropy and their relatives: formulas of a row, and the one driver that visits rows.
//!
//! A *row* is the run of elements along the class dim. In a tensor of shape (outer, size, inner) element c of row r
//! lies at `(r / inner * size + c) * inner + r % inner`: side by side if inner is 1, strided otherwise. A formula
//! ([`Formula`]) is written once, for a [`Group`] of rows; the driver ([`for_each_row`]) decides what a group is:
//!
//! ```text
//! long rows        one row, where it lies
//! many short rows  a block: LANES rows on their side, transposed into a scratch and back
//! strided rows     a block: neighbours lie on their side already, and are copied
//! ```
//!
//! A row of three classes does not fill a register. In a block every lane has a row of its own, and maxima, sums,
//! logarithms and gradients of all of them are computed at once ([`lanes`]).
//!
//! The work is cut into chunks, which go to several threads; where a chunk ends depends on the shape alone.

pub(crate) mod cross_entropy;
mod exponentials;
mod lanes;
pub(crate) mod softmax;
pub(crate) mod targets;
#[cfg(test)]
mod tests;

use super::copies::transpose::{turn_back, turn_on_side};
use super::parallel::{ELEMENTS_IN_CHUNK, rows_in_chunk, share_out};
use super::simd::{Instructions, Kernel, MulAdd, chosen, dispatch};
use crate::float::{Float, is_double};
use lanes::{LANES, PIECE};
use std::ops::Range;

/// Where the rows of a tensor of shape (outer, size, inner) lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    /// How many there are: outer * inner.
    pub count: usize,
    /// The number of elements of each.
    pub size: usize,
    /// From one element of a row to the next.
    pub inner: usize,
}

impl Rows {
    /// With more classes a chunk of strided rows would be so narrow that it is faster to bring the dim to the end
    /// first, by a copy in another order.
    const MOST_STRIDED: usize = 256;

    /// Whether rows can be processed where they lie; fewer neighbours would leave lanes empty.
    pub fn can_stay(self) -> bool {
        self.inner == 1 || (1..=Self::MOST_STRIDED).contains(&self.size) && self.inner >= LANES
    }
}

/// What is kept of a row for its gradient.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Summary<T> {
    /// The maximum m of what is not nan; -inf for an empty row.
    pub max: T,
    /// The sum of exp(x - m) over all elements but one maximum; nan if there is a nan, or if an element is the
    /// maximum and not finite.
    pub others: f64,
}

/// A formula of a row.
trait Formula<T: Float>: Copy + Sync {
    /// What is found of each row, apart from its [`Summary`] and what is written to `out`.
    type Found: Send;

    /// Applies it to L rows.
    fn apply<M: MulAdd, const L: usize>(self, group: Group<T, Self::Found>);
}

/// One row, or a block of [`LANES`] rows on their side: in `inputs` and `out` element i belongs to row i % L.
struct Group<'a, T, Found> {
    /// The number of the first row.
    first: usize,
    inputs: Inputs<'a, T>,
    outputs: Outputs<'a, T, Found>,
}

/// What a formula reads: slices in the order of the rows.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    /// Logits, or probabilities; none if they stand where the result is to be written. In a block they are always
    /// here.
    x: Option<&'a [T]>,
    /// What lies beside x, element by element; empty if there is nothing.
    beside: &'a [T],
    /// One number a class, the same for all rows; empty if there is none.
    weight: &'a [T],
}

impl<'a, T> Inputs<'a, T> {
    /// The elements of x, for formulas that never find them in `out`.
    #[inline(always)]
    fn x(&self) -> &'a [T] {
        self.x.unwrap_or_default()
    }
}

/// What a formula writes; each is empty if it is not wanted. In the last block there may be fewer rows than lanes,
/// and so fewer places in `kept` and `found`.
struct Outputs<'a, T, Found> {
    /// An element for each of the inputs'. A formula of which no result is wanted gets a scratch, which for a long
    /// row is as long as a piece.
    out: &'a mut [T],
    kept: &'a mut [Summary<T>],
    found: &'a mut [Found],
}

/// Applies a formula to all rows.
fn for_each_row<T: Float, F: Formula<T>>(
    formula: F,
    rows: Rows,
    inputs: Inputs<T>,
    outputs: Outputs<T, F::Found>,
) {
    let Outputs { out, kept, found } = outputs;
    if rows.inner > 1 {
        let columns = columns(rows, out, kept, found);
        return share_out(columns.into_iter(), |columns| {
            dispatch(StridedChunk { formula, inputs, columns });
        });
    }
    let (size, together) = (rows.size, rows_in_chunk(rows.size));
    let (mut outs, mut keeps) = (out.chunks_mut(together * size.max(1)), kept.chunks_mut(together));
    let mut founds = found.chunks_mut(together);
    let chunks = (0..rows.count.div_ceil(together)).map(|index| {
        let first = index * together;
        let (out, kept) = (outs.next().unwrap_or_default(), keeps.next().unwrap_or_default());
        let outputs = Outputs { out, kept, found: founds.next().unwrap_or_default() };
        Chunk { formula, size, rows: first..rows.count.min(first + together), inputs, outputs }
    });
    share_out(chunks, dispatch);
}

/// Rows whose elements lie side by side.
struct Chunk<'a, T: Float, F: Formula<T>> {
    formula: F,
    size: usize,
    rows: Range<usize>,
    /// Those of all rows.
    inputs: Inputs<'a, T>,
    /// Those of the rows of this chunk.
    outputs: Outputs<'a, T, F::Found>,
}

/// Whether to process the rows of a chunk in blocks: they have few elements, and the chunk has enough of them. That
/// is 5 to 8 times as fast for 10 classes, and 2 times for 48. With AVX-512, f32 rows of more elements are faster
/// one by one.
#[inline(always)]
fn are_short<T: Float>(size: usize, count: usize) -> bool {
    let most = if chosen() == Instructions::Avx512 && !is_double::<T>() { 48 } else { 128 };
    (1..=most).contains(&size) && count >= 4 + size / 6
}

impl<T: Float, F: Formula<T>> Kernel for Chunk<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<M: MulAdd>(self) {
        if are_short::<T>(self.size, self.rows.len()) {
            self.by_blocks::<M>()
        } else {
            self.one_by_one::<M>()
        }
    }
}

impl<T: Float, F: Formula<T>> Chunk<'_, T, F> {
    #[inline(always)]
    fn one_by_one<M: MulAdd>(self) {
        let Chunk { formula, size, rows, inputs: Inputs { x, beside, weight }, outputs } = self;
        let mut piece = [T::zero(); PIECE];
        let Outputs { out, kept, found } = outputs;
        for (index, first) in rows.enumerate() {
            let of_all = first * size..(first + 1) * size;
            let inputs = Inputs { x: x.map(|x| &x[of_all.clone()]), beside: part(beside, of_all), weight };
            let (kept, found) = (part_mut(kept, index..index + 1), part_mut(found, index..index + 1));
            let out =
                if out.is_empty() { &mut piece[..size.min(PIECE)] } else { &mut out[index * size..][..size] };
            formula.apply::<M, 1>(Group { first, inputs, outputs: Outputs { out, kept, found } });
        }
    }

    #[inline(always)]
    fn by_blocks<M: MulAdd>(self) {
        let Chunk { formula, size, rows, inputs, outputs: Outputs { out, kept, found } } = self;
        let mut scratch = Scratch::new();
        let [x, beside, weight, result] =
            scratch.blocks(size, [true, !inputs.beside.is_empty(), !inputs.weight.is_empty(), true]);
        repeat(inputs.weight, weight);
        let count = rows.len();
        for index in (0..count).step_by(LANES) {
            let (lanes, first) = (index..count.min(index + LANES), rows.start + index);
            let (here, of_all) =
                (lanes.start * size..lanes.end * size, first * size..(first + lanes.len()) * size);
            load(inputs.x.map_or(&*part_mut(out, here.clone()), |x| &x[of_all.clone()]), x);
            load(part(inputs.beside, of_all), beside);
            let (kept, found) = (part_mut(kept, lanes.clone()), part_mut(found, lanes));
            let outputs = Outputs { out: result.as_flattened_mut(), kept, found };
            formula.apply::<M, LANES>(Group { first, inputs: of_blocks(x, beside, weight), outputs });
            turn_back(result, size, part_mut(out, here));
        }
    }
}

/// Some elements; none where there are none at all.
#[inline(always)]
fn part<A>(all: &[A], range: Range<usize>) -> &[A] {
    if all.is_empty() { all } else { &all[range] }
}

#[inline(always)]
fn part_mut<A>(all: &mut [A], range: Range<usize>) -> &mut [A] {
    if all.is_empty() { all } else { &mut all[range] }
}

/// One element of each row of a block.
type Side<T> = [T; LANES];

#[inline(always)]
fn of_blocks<'a, T>(x: &'a [Side<T>], beside: &'a [Side<T>], weight: &'a [Side<T>]) -> Inputs<'a, T> {
    Inputs { x: Some(x.as_flattened()), beside: beside.as_flattened(), weight: weight.as_flattened() }
}

/// Takes rows into a block; lanes without a row hold zeros.
#[inline(always)]
fn load<T: Float>(x: &[T], block: &mut [Side<T>]) {
    if x.len() < LANES * block.len() {
        block.fill([T::zero(); LANES]);
    }
    if !block.is_empty() {
        turn_on_side(x, block.len(), block);
    }
}

/// The same number of a class in every lane.
#[inline(always)]
fn repeat<T: Copy>(weight: &[T], block: &mut [Side<T>]) {
    block.iter_mut().zip(weight).for_each(|(side, &weight)| *side = [weight; LANES]);
}

/// Memory for the blocks of a chunk. For a few classes it is not asked for.
struct Scratch<T> {
    few: [Side<T>; FEW],
    many: Vec<Side<T>>,
}

/// This many sides are two blocks of 10 classes.
const FEW: usize = 20;

impl<T: Float> Scratch<T> {
    #[inline(always)]
    fn new() -> Self {
        Scratch { few: [[T::zero(); LANES]; FEW], many: Vec::new() }
    }

    /// A block of `size` sides for each that is used.
    #[inline(always)]
    fn blocks<const N: usize>(&mut self, size: usize, used: [bool; N]) -> [&mut [Side<T>]; N] {
        let total = used.iter().filter(|&&used| used).count() * size;
        let mut rest = &mut self.few[..];
        if total > FEW {
            self.many = vec![[T::zero(); LANES]; total];
            rest = &mut self.many;
        }
        used.map(|used| rest.split_off_mut(..if used { size } else { 0 }).unwrap_or_default())
    }
}

/// Neighbouring strided rows of one slab.
struct Columns<'a, T, Found> {
    rows: Rows,
    /// The number of the first row, how many there are, and where the first element lies.
    first: usize,
    width: usize,
    start: usize,
    /// The part of each class; none if no result is wanted.
    out: Vec<&'a mut [T]>,
    kept: &'a mut [Summary<T>],
    found: &'a mut [Found],
}

/// All strided rows, cut into chunks.
fn columns<'a, T, Found>(
    rows: Rows,
    out: &'a mut [T],
    mut kept: &'a mut [Summary<T>],
    mut found: &'a mut [Found],
) -> Vec<Columns<'a, T, Found>> {
    let Rows { count, size, inner } = rows;
    let most = (ELEMENTS_IN_CHUNK / size.max(1)).next_multiple_of(LANES);
    let mut all = Vec::new();
    for slab in 0..count / inner {
        for column in (0..inner).step_by(most) {
            let (width, first) = (most.min(inner - column), slab * inner + column);
            let start = slab * size * inner + column;
            let (kept, found) = (take(&mut kept, width), take(&mut found, width));
            all.push(Columns { rows, first, width, start, out: Vec::new(), kept, found });
        }
    }
    let chunks_in_slab = inner.div_ceil(most);
    for (index, class) in out.chunks_mut(inner).enumerate() {
        let of_slab = &mut all[index / size * chunks_in_slab..][..chunks_in_slab];
        for (columns, part) in of_slab.iter_mut().zip(class.chunks_mut(most)) {
            columns.out.push(part);
        }
    }
    all
}

/// The first elements, taken away; none where there are none at all.
#[inline(always)]
fn take<'a, A>(rest: &mut &'a mut [A], count: usize) -> &'a mut [A] {
    rest.split_off_mut(..count).unwrap_or_default()
}

impl<T: Float, Found> Columns<'_, T, Found> {
    /// The rows as blocks. Class after class is read, because elements that lie a power of two apart drive one
    /// another out of the cache.
    #[inline(always)]
    fn blocks(&self, x: Option<&[T]>) -> Vec<Side<T>> {
        let Rows { size, inner, .. } = self.rows;
        let mut blocks = vec![[T::zero(); LANES]; self.width.div_ceil(LANES) * size];
        for c in 0..size {
            let class = x.map_or_else(|| &*self.out[c], |x| &x[self.start + c * inner..][..self.width]);
            for (part, side) in class.chunks(LANES).zip(blocks[c..].iter_mut().step_by(size)) {
                side[..part.len()].copy_from_slice(part);
            }
        }
        blocks
    }
}

struct StridedChunk<'a, T: Float, F: Formula<T>> {
    formula: F,
    /// Those of all rows.
    inputs: Inputs<'a, T>,
    columns: Columns<'a, T, F::Found>,
}

impl<T: Float, F: Formula<T>> Kernel for StridedChunk<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let StridedChunk { formula, inputs, columns } = self;
        let size = columns.rows.size;
        let mut results = columns.blocks(inputs.x);
        let all_beside =
            if inputs.beside.is_empty() { Vec::new() } else { columns.blocks(Some(inputs.beside)) };
        let mut scratch = Scratch::new();
        let [x, weight] = scratch.blocks(size, [true, !inputs.weight.is_empty()]);
        repeat(inputs.weight, weight);
        let Columns { first, width, out, kept, found, .. } = columns;
        for (index, result) in results.chunks_exact_mut(size).enumerate() {
            let (sides, lanes) =
                (index * size..(index + 1) * size, index * LANES..width.min((index + 1) * LANES));
            x.copy_from_slice(result);
            let inputs = of_blocks(x, part(&all_beside, sides), weight);
            let (kept, found) = (part_mut(kept, lanes.clone()), part_mut(found, lanes));
            let outputs = Outputs { out: result.as_flattened_mut(), kept, found };
            formula.apply::<M, LANES>(Group { first: first + index * LANES, inputs, outputs });
        }
        for (c, class) in out.into_iter().enumerate() {
            for (part, side) in class.chunks_mut(LANES).zip(results[c..].iter().step_by(size)) {
                part.copy_from_slice(&side[..part.len()]);
            }
        }
    }
}
