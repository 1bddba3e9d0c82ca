//! Lines of a few elements, many at a time.
//!
//! A line of three classes does not fill a register, and bringing its elements together is more work than
//! the arithmetic. So lines are turned on their side, [`LANES`] of them at a time: element 0 of all lines,
//! then element 1 of all. Maxima, sums, logarithms and gradients are then computed for all of them at once,
//! a line in each lane, and even the choice of the target's element is a comparison in every lane.

use super::exact::add_term;
use super::functions::{Shift, exponential, exponential_in_single, is_moderate, unit};
use super::simd::MulAdd;
use super::softmax::{Line, greater, has_digits, parts_of_factor, scaled_exponential};
use crate::float::Float;

/// Lines of at most this many elements are short.
pub(super) const SHORT: usize = 16;

/// How many lines are processed at once: two registers of `f32` with AVX2.
pub(super) const LANES: usize = 16;

/// One number for each line.
pub(super) type Lanes<N> = [N; LANES];

/// Up to [`LANES`] short lines on their side. Where there are fewer, the other lanes hold zeros, and what is
/// computed there is not used.
pub(super) struct ShortLines<T> {
    size: usize,
    /// `values[c][i]` is element c of line i: a logit, later its exponential in [`unit`]s, or a result.
    values: [Lanes<T>; SHORT],
}

impl<T: Float> ShortLines<T> {
    /// Room for lines of `size` elements, at most [`SHORT`].
    #[inline(always)]
    pub fn new(size: usize) -> Self {
        ShortLines { size, values: [[T::zero(); LANES]; SHORT] }
    }

    #[inline(always)]
    pub fn size(&self) -> usize {
        self.size
    }

    #[inline(always)]
    fn sides(&self) -> &[Lanes<T>] {
        &self.values[..self.size]
    }

    #[inline(always)]
    fn sides_mut(&mut self) -> &mut [Lanes<T>] {
        &mut self.values[..self.size]
    }

    /// Takes lines in.
    #[inline(always)]
    pub fn load(&mut self, x: &[T]) {
        if x.len() < LANES * self.size {
            self.values = [[T::zero(); LANES]; SHORT];
        }
        turn_on_side(x, self.size, &mut self.values);
    }

    /// Writes the lines back.
    #[inline(always)]
    pub fn store(&self, out: &mut [T]) {
        turn_back(&self.values, self.size, out);
    }

    /// Replaces the logits by their exponentials; what is to be known of each line is its maximum and the sum of
    /// the others.
    #[inline(always)]
    pub fn read<M: MulAdd>(&mut self) -> (Lanes<T>, Lanes<f64>) {
        let maxima = self.maxima();
        self.exponentiate::<M>(&maxima);
        (maxima, self.sums_of_others())
    }

    /// The maximum of what is not nan in each line.
    #[inline(always)]
    fn maxima(&self) -> Lanes<T> {
        let mut maxima = [T::neg_infinity(); LANES];
        for side in self.sides() {
            for lane in 0..LANES {
                maxima[lane] = greater(maxima[lane], side[lane]);
            }
        }
        maxima
    }

    /// Replaces the logits by their exponentials, shifted by the maxima.
    #[inline(always)]
    pub fn exponentiate<M: MulAdd>(&mut self, maxima: &Lanes<T>) {
        if all_lanes(maxima, is_moderate) {
            let (mut high, mut low, mut least) = (*maxima, *maxima, *maxima);
            for lane in 0..LANES {
                (Shift { high: high[lane], low: low[lane], least: least[lane], .. }) =
                    Shift::by(maxima[lane]);
            }
            for side in self.sides_mut() {
                for lane in 0..LANES {
                    let (max, high, low, least) = (maxima[lane], high[lane], low[lane], least[lane]);
                    side[lane] = exponential_in_single::<T, M>(side[lane], Shift { max, high, low, least });
                }
            }
        } else {
            for side in self.sides_mut() {
                for lane in 0..LANES {
                    side[lane] = exponential::<T, M>(side[lane], maxima[lane]);
                }
            }
        }
    }

    /// The sums of the exponentials without one maximum each: those that are exactly 1 are counted, and one of
    /// them is left out.
    #[inline(always)]
    fn sums_of_others(&self) -> Lanes<f64> {
        let (mut sums, mut errors, mut maxima) = ([0.0; LANES], [0.0; LANES], [-T::one(); LANES]);
        let unit = T::from_f64(unit::<T>());
        for side in self.sides() {
            for lane in 0..LANES {
                let is_maximum = side[lane] == unit;
                maxima[lane] += if is_maximum { T::one() } else { T::zero() };
                let term = if is_maximum { T::zero() } else { side[lane] };
                add_term::<T>(&mut sums[lane], &mut errors[lane], term.to_f64());
            }
        }
        for lane in 0..LANES {
            sums[lane] = maxima[lane].to_f64() + (sums[lane] + errors[lane]) / self::unit::<T>();
        }
        sums
    }

    /// The element of each line's class; 0 where there is none.
    #[inline(always)]
    pub fn elements_of(&self, classes: &LaneClasses<T>) -> Lanes<T> {
        let mut elements = [T::zero(); LANES];
        for (c, side) in self.sides().iter().enumerate() {
            let c = T::from_f64(c as f64);
            for lane in 0..LANES {
                let (element, before) = (side[lane], elements[lane]);
                elements[lane] = if classes.0[lane] == c { element } else { before };
            }
        }
        elements
    }

    /// Multiplies the exponentials of each line by its factor, and takes them out of their units. The elements of
    /// the lines' classes are replaced.
    #[inline(always)]
    pub fn scale_and_replace<M: MulAdd>(
        &mut self,
        factors: &Lanes<f64>,
        classes: &LaneClasses<T>,
        elements: &Lanes<T>,
    ) {
        let (mut high, mut low) = ([T::zero(); LANES], [T::zero(); LANES]);
        for lane in 0..LANES {
            (high[lane], low[lane]) = parts_of_factor::<T>(factors[lane]);
        }
        let have_digits = all_lanes(&high, has_digits);
        for (c, side) in self.sides_mut().iter_mut().enumerate() {
            let c = T::from_f64(c as f64);
            if !M::IS_FUSED || !have_digits {
                // Two roundings would show in the sum of a line.
                for lane in 0..LANES {
                    let (scaled, element) = (scaled_exponential(side[lane], factors[lane]), elements[lane]);
                    side[lane] = if classes.0[lane] == c { element } else { scaled };
                }
                continue;
            }
            for lane in 0..LANES {
                let scaled = M::mul_add(side[lane], high[lane], side[lane] * low[lane]);
                let element = elements[lane];
                side[lane] = if classes.0[lane] == c { element } else { scaled };
            }
        }
    }
}

/// Hands what [`ShortLines::read`] has found to the lines.
#[inline(always)]
pub(super) fn write_lines<T: Float>((maxima, others): (&Lanes<T>, &Lanes<f64>), lines: &mut [Line<T>]) {
    for (line, (&max, &others)) in lines.iter_mut().zip(maxima.iter().zip(others)) {
        *line = Line { max, others };
    }
}

/// Whether something holds in all lanes. It is counted, which the compiler does for many lanes at once.
#[inline(always)]
fn all_lanes<T: Copy>(lanes: &Lanes<T>, holds: impl Fn(T) -> bool) -> bool {
    let mut count = 0;
    for &lane in lanes {
        count += u32::from(holds(lane));
    }
    count == LANES as u32
}

/// The class of each line as a number of the elements' type, so that comparing it fills the same lanes; -1 where
/// there is none.
pub(super) struct LaneClasses<T>(Lanes<T>);

impl<T: Float> LaneClasses<T> {
    /// No line has a class.
    #[inline(always)]
    pub fn none() -> Self {
        LaneClasses([-T::one(); LANES])
    }

    /// Classes, all of them below [`SHORT`], or `ignored`.
    #[inline(always)]
    pub fn new(classes: &[i64], ignored: i64) -> Self {
        let mut lanes = Self::none();
        for (lane, &class) in lanes.0.iter_mut().zip(classes) {
            let class = if class == ignored { -1 } else { class as i32 };
            *lane = T::from_f64(f64::from(class));
        }
        lanes
    }

    /// Whether the line in a lane has a class.
    #[inline(always)]
    pub fn has_class(&self, lane: usize) -> bool {
        self.0[lane] >= T::zero()
    }

    /// Whether all lanes have one.
    #[inline(always)]
    pub fn are_complete(&self) -> bool {
        all_lanes(&self.0, |class| class >= T::zero())
    }
}

/// Calls a function for lines of a size that is known when it is compiled.
macro_rules! for_constant_size {
    ($size:expr, $function:ident $arguments:tt, $($constant:literal)*) => {
        match $size {
            $($constant => $function::<T, $constant> $arguments,)*
            _ => {}
        }
    };
}

/// `values[c][i] = x[i * size + c]`
fn turn_on_side<T: Float>(x: &[T], size: usize, values: &mut [Lanes<T>; SHORT]) {
    for_constant_size!(size, lines_on_side(x, values), 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

/// `out[i * size + c] = values[c][i]`
fn turn_back<T: Float>(values: &[Lanes<T>; SHORT], size: usize, out: &mut [T]) {
    for_constant_size!(size, lines_turned_back(values, out), 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

fn lines_on_side<T: Float, const SIZE: usize>(x: &[T], values: &mut [Lanes<T>; SHORT]) {
    let (lines, _) = x.as_chunks::<SIZE>();
    if let Some(lines) = lines.first_chunk::<LANES>() {
        for c in 0..SIZE {
            for lane in 0..LANES {
                values[c][lane] = lines[lane][c];
            }
        }
        return;
    }
    for (lane, line) in lines.iter().enumerate() {
        for c in 0..SIZE {
            values[c][lane] = line[c];
        }
    }
}

fn lines_turned_back<T: Float, const SIZE: usize>(values: &[Lanes<T>; SHORT], out: &mut [T]) {
    let (lines, _) = out.as_chunks_mut::<SIZE>();
    if let Some(lines) = lines.first_chunk_mut::<LANES>() {
        for lane in 0..LANES {
            for c in 0..SIZE {
                lines[lane][c] = values[c][lane];
            }
        }
        return;
    }
    for (lane, line) in lines.iter_mut().enumerate() {
        for c in 0..SIZE {
            line[c] = values[c][lane];
        }
    }
}
