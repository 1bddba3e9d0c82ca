//! Lines of a few elements, many at a time.
//!
//! A line of three classes does not fill a register, and bringing its elements together is more work than
//! the arithmetic. So lines are turned on their side, [`LANES`] of them at a time: element 0 of all lines,
//! then element 1 of all. Maxima, sums, logarithms and gradients are then computed for all of them at once,
//! a line in each lane, and even the choice of the target's element is a comparison in every lane.

use super::softmax::{
    Line, greater, has_digits, log_probability, parts_of_factor, scaled_exponential, two_parts,
};
use crate::float::{Float, is_double};
use crate::kernels::compensated::{Sum, add_term};
use crate::kernels::copies::transpose::{turn_back, turn_on_side};
use crate::kernels::functions::f32_arithmetic::{self, Shift, is_moderate};
use crate::kernels::functions::{exponential, log1p_of_positive, unit};
use crate::kernels::parallel::LINES_IN_BLOCK;
use crate::kernels::simd::{MulAdd, array};

/// Lines of at most this many elements are short: so many that a block of them stays in the fastest cache.
const SHORT: usize = 128;

/// How many lines are processed at once: four registers of `f32` with AVX2.
pub(crate) const LANES: usize = LINES_IN_BLOCK;

/// Whether lines are short, and so many that a block of them takes less time than they do one by one.
#[inline(always)]
pub(crate) fn are_short(size: usize, count: usize) -> bool {
    (1..=SHORT).contains(&size) && count >= 4 + size / 6
}

/// One number for each line.
pub(crate) type Lanes<N> = [N; LANES];

/// Where short lines lie.
pub(crate) struct Room<T> {
    /// For lines of a few elements, without asking for memory.
    few: [Lanes<T>; FEW],
    many: Vec<Lanes<T>>,
}

const FEW: usize = 16;

impl<T: Float> Room<T> {
    #[inline(always)]
    pub fn new() -> Self {
        Room { few: [[T::zero(); LANES]; FEW], many: Vec::new() }
    }
}

/// Up to [`LANES`] short lines on their side. Where there are fewer, the other lanes hold zeros, and what is
/// computed there is not used.
pub(crate) struct ShortLines<'a, T> {
    /// `sides[c][i]` is element c of line i: a logit, later its exponential in [`unit`]s, or a result.
    sides: &'a mut [Lanes<T>],
}

impl<'a, T: Float> ShortLines<'a, T> {
    /// Lines of `size` elements.
    #[inline(always)]
    pub fn new(size: usize, room: &'a mut Room<T>) -> Self {
        if size > FEW {
            room.many = vec![[T::zero(); LANES]; size];
            return ShortLines { sides: &mut room.many };
        }
        ShortLines { sides: &mut room.few[..size] }
    }

    /// Lines that lie on their side already.
    #[inline(always)]
    pub fn over(sides: &'a mut [Lanes<T>]) -> Self {
        ShortLines { sides }
    }

    #[inline(always)]
    pub fn size(&self) -> usize {
        self.sides.len()
    }

    /// Takes lines in.
    #[inline(always)]
    pub fn load(&mut self, x: &[T]) {
        let size = self.size();
        if x.len() < LANES * size {
            self.sides.fill([T::zero(); LANES]);
        }
        turn_on_side(x, size, self.sides);
    }

    /// Writes the lines back.
    #[inline(always)]
    pub fn store(&self, out: &mut [T]) {
        turn_back(self.sides, self.size(), out);
    }

    /// Replaces the logits by their exponentials; what is to be known of each line is its maximum and the sum of
    /// the others.
    #[inline(always)]
    pub fn read<M: MulAdd>(&mut self) -> (Lanes<T>, Lanes<f64>) {
        let maxima = self.maxima();
        self.exponentiate::<M>(&maxima);
        (maxima, self.sums_of_others())
    }

    /// The same, with ln(1 + others).
    #[inline(always)]
    pub fn read_logarithms<M: MulAdd>(&mut self) -> (Lanes<T>, Lanes<f64>) {
        let (maxima, mut logs) = self.read::<M>();
        for log in &mut logs {
            *log = log1p_of_positive::<T, M>(*log);
        }
        (maxima, logs)
    }

    /// Replaces the logits of lines that were read before by their exponentials; the others of each line.
    #[inline(always)]
    pub fn read_again<M: MulAdd>(&mut self, lines: &[Line<T>]) -> Lanes<f64> {
        let (mut maxima, mut others) = ([T::zero(); LANES], [0.0; LANES]);
        for (lane, line) in lines.iter().enumerate() {
            (maxima[lane], others[lane]) = (line.max, line.others);
        }
        self.exponentiate::<M>(&maxima);
        others
    }

    /// Replaces the logits by their probabilities.
    #[inline(always)]
    pub fn softmax<M: MulAdd>(&mut self) {
        let (_, others) = self.read::<M>();
        let factors = array(|lane| 1.0 / (1.0 + others[lane]));
        self.scale_and_replace::<M>(&factors, &LaneClasses::none(), &[T::zero(); LANES]);
    }

    /// The maximum of what is not nan in each line.
    #[inline(always)]
    fn maxima(&self) -> Lanes<T> {
        let mut maxima = [T::neg_infinity(); LANES];
        for side in &*self.sides {
            for lane in 0..LANES {
                maxima[lane] = greater(maxima[lane], side[lane]);
            }
        }
        maxima
    }

    /// Replaces the logits by their exponentials, shifted by the maxima.
    #[inline(always)]
    fn exponentiate<M: MulAdd>(&mut self, maxima: &Lanes<T>) {
        if all_lanes(maxima, is_moderate) {
            let (mut high, mut low, mut least) = (*maxima, *maxima, *maxima);
            for lane in 0..LANES {
                (Shift { high: high[lane], low: low[lane], least: least[lane], .. }) =
                    Shift::by(maxima[lane]);
            }
            for side in &mut *self.sides {
                for lane in 0..LANES {
                    let (max, high, low, least) = (maxima[lane], high[lane], low[lane], least[lane]);
                    side[lane] =
                        f32_arithmetic::exponential::<T, M>(side[lane], Shift { max, high, low, least });
                }
            }
        } else {
            for side in &mut *self.sides {
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
        for side in &*self.sides {
            // In two steps, because each has registers of its own: so many numbers of T, then of f64.
            let mut terms = *side;
            for lane in 0..LANES {
                let is_maximum = side[lane] == unit;
                maxima[lane] += if is_maximum { T::one() } else { T::zero() };
                terms[lane] = if is_maximum { T::zero() } else { side[lane] };
            }
            for lane in 0..LANES {
                add_term::<T>(&mut sums[lane], &mut errors[lane], terms[lane].to_f64());
            }
        }
        for lane in 0..LANES {
            sums[lane] = maxima[lane].to_f64() + (sums[lane] + errors[lane]) / self::unit::<T>();
        }
        sums
    }

    /// Replaces the logits by the logarithms of their probabilities.
    #[inline(always)]
    pub fn subtract(&mut self, maxima: &Lanes<T>, log_denominators: &Lanes<f64>) {
        let (mut high, mut low) = ([T::zero(); LANES], [T::zero(); LANES]);
        for lane in 0..LANES {
            (high[lane], low[lane]) = two_parts(maxima[lane], log_denominators[lane]);
        }
        for side in &mut *self.sides {
            for lane in 0..LANES {
                side[lane] = if is_double::<T>() {
                    log_probability(side[lane], maxima[lane], log_denominators[lane])
                } else {
                    (side[lane] - high[lane]) - low[lane]
                };
            }
        }
    }

    /// Replaces exponentials, as [`read`](Self::read) leaves them, by the gradients of logits; `gradient` holds those
    /// of the logarithms of probabilities. The formula is that of `softmax::log_softmax_gradient_of_some_lines`.
    #[inline(always)]
    pub fn log_softmax_gradient(&mut self, others: &Lanes<f64>, gradient: &Self) {
        let likeliest = self.classes_of(&[T::from_f64(unit::<T>()); LANES]);
        let of_likeliest = gradient.elements_of(&likeliest);
        let totals = gradient.sums(|_, _, g| g);
        let rests = gradient.sums(|c, lane, g| if likeliest.is(lane, c) { 0.0 } else { g });
        for (c, (side, gradient)) in self.sides.iter_mut().zip(&*gradient.sides).enumerate() {
            for lane in 0..LANES {
                let denominator = 1.0 + others[lane];
                let of_others = side[lane].to_f64() * (totals[lane] / denominator / unit::<T>());
                let usual = gradient[lane].to_f64() - of_others;
                let of_this = (of_likeliest[lane].to_f64() * others[lane] - rests[lane]) / denominator;
                side[lane] = T::from_f64(if likeliest.is(lane, c) { of_this } else { usual });
            }
        }
    }

    /// Replaces probabilities by the gradients of logits; `gradient` holds those of the probabilities. The formula is
    /// that of `softmax::softmax_gradient_of_some_lines`.
    #[inline(always)]
    pub fn softmax_gradient(&mut self, gradient: &Self) {
        let references = gradient.elements_of(&self.classes_of(&self.maxima()));
        let difference = |lane: usize, g: T| g.to_f64() - references[lane].to_f64();
        let means = self.sums(|c, lane, p| p * difference(lane, gradient.sides[c][lane]));
        for (side, gradient) in self.sides.iter_mut().zip(&*gradient.sides) {
            for lane in 0..LANES {
                let from_mean = difference(lane, gradient[lane]) - means[lane];
                side[lane] = T::from_f64(side[lane].to_f64() * from_mean);
            }
        }
    }

    /// The sums of each line's terms, made of classes, lanes and elements.
    #[inline(always)]
    fn sums(&self, term: impl Fn(usize, usize, f64) -> f64) -> Lanes<f64> {
        let (mut sums, mut errors) = ([0.0; LANES], [0.0; LANES]);
        for (c, side) in self.sides.iter().enumerate() {
            for lane in 0..LANES {
                add_term::<T>(&mut sums[lane], &mut errors[lane], term(c, lane, side[lane].to_f64()));
            }
        }
        array(|lane| Sum::new(sums[lane], errors[lane]).total())
    }

    /// The class at which each line first holds a value.
    #[inline(always)]
    fn classes_of(&self, values: &Lanes<T>) -> LaneClasses<T> {
        let mut classes = LaneClasses::none();
        for (c, side) in self.sides.iter().enumerate().rev() {
            let c = T::from_f64(c as f64);
            for lane in 0..LANES {
                let later = classes.0[lane];
                classes.0[lane] = if side[lane] == values[lane] { c } else { later };
            }
        }
        classes
    }

    /// The element of each line's class; 0 where there is none.
    #[inline(always)]
    pub fn elements_of(&self, classes: &LaneClasses<T>) -> Lanes<T> {
        let mut elements = [T::zero(); LANES];
        for (c, side) in self.sides.iter().enumerate() {
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
        let is_close = M::IS_FUSED && all_lanes(&high, has_digits);
        let sides = self.sides.iter_mut().enumerate().map(|(c, side)| (T::from_f64(c as f64), side));
        if is_close {
            for (c, side) in sides {
                for lane in 0..LANES {
                    let (exponential, element) = (side[lane], elements[lane]);
                    let scaled = M::mul_add(exponential, high[lane], exponential * low[lane]);
                    side[lane] = if classes.0[lane] == c { element } else { scaled };
                }
            }
        } else {
            // Two roundings would show in the sum of a line.
            for (c, side) in sides {
                for lane in 0..LANES {
                    let (scaled, element) = (scaled_exponential(side[lane], factors[lane]), elements[lane]);
                    side[lane] = if classes.0[lane] == c { element } else { scaled };
                }
            }
        }
    }

    /// Lines without a class become zeros, whatever they hold.
    #[inline(always)]
    pub fn clear_without_class(&mut self, classes: &LaneClasses<T>) {
        if classes.are_complete() {
            return;
        }
        for side in &mut *self.sides {
            for (lane, element) in side.iter_mut().enumerate() {
                *element = if classes.has_class(lane) { *element } else { T::zero() };
            }
        }
    }
}

/// Hands what [`ShortLines::read`] has found to the lines.
#[inline(always)]
pub(crate) fn write_lines<T: Float>((maxima, others): (&Lanes<T>, &Lanes<f64>), lines: &mut [Line<T>]) {
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
pub(crate) struct LaneClasses<T>(Lanes<T>);

impl<T: Float> LaneClasses<T> {
    /// No line has a class.
    #[inline(always)]
    pub fn none() -> Self {
        LaneClasses([-T::one(); LANES])
    }

    /// Classes of short lines, or `ignored`; any class where there is no line.
    #[inline(always)]
    pub fn new(classes: &[i64], ignored: i64) -> Self {
        let mut lanes = LaneClasses([T::zero(); LANES]);
        for (lane, &class) in lanes.0.iter_mut().zip(classes) {
            let class = if class == ignored { -1 } else { class as i32 };
            *lane = T::from_f64(f64::from(class));
        }
        lanes
    }

    /// Whether the line in a lane has this class.
    #[inline(always)]
    fn is(&self, lane: usize, class: usize) -> bool {
        self.0[lane] == T::from_f64(class as f64)
    }

    /// Whether the line in a lane has a class.
    #[inline(always)]
    pub fn has_class(&self, lane: usize) -> bool {
        self.0[lane] >= T::zero()
    }

    /// Whether all lanes have one.
    #[inline(always)]
    fn are_complete(&self) -> bool {
        all_lanes(&self.0, |class| class >= T::zero())
    }
}
