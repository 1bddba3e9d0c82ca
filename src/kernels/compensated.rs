//! Sums without loss: the rounded result, and exactly what its rounding left out.

use super::simd::{MulAdd, array};
use crate::float::{Float, is_double};

/// a + b = sum + error, for any two numbers (Knuth).
#[inline(always)]
pub(crate) fn two_sum<T: Float>(a: T, b: T) -> (T, T) {
    let sum = a + b;
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    (sum, error)
}

/// a + b = sum + error, if |a| >= |b| or a = 0 (Dekker).
#[inline(always)]
pub(crate) fn fast_two_sum<T: Float>(a: T, b: T) -> (T, T) {
    let sum = a + b;
    (sum, b - (sum - a))
}

/// Adds a term to a sum. For `f32` elements `f64` is enough; for `f64` elements, `error` takes up what the rounding
/// leaves out.
#[inline(always)]
pub(crate) fn add_term<T: Float>(sum: &mut f64, error: &mut f64, term: f64) {
    if is_double::<T>() {
        let (total, rounding) = two_sum(*sum, term);
        *sum = total;
        *error += rounding;
    } else {
        *sum += term;
    }
}

/// A running sum that keeps what its roundings leave out: it is as exact as one rounding, however many terms it has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub value: f64,
    pub error: f64,
}

impl Sum {
    /// A sum that was taken elsewhere, and what its roundings left out.
    #[inline(always)]
    pub fn new(value: f64, error: f64) -> Self {
        Sum { value, error }
    }

    #[inline(always)]
    pub fn add_sum(&mut self, other: Sum) {
        self.add(other.value);
        self.error += other.error;
    }

    #[inline(always)]
    pub fn add(&mut self, term: f64) {
        let (value, error) = two_sum(self.value, term);
        *self = Sum { value, error: self.error + error };
    }

    #[inline(always)]
    pub fn add_product<M: MulAdd>(&mut self, a: f64, b: f64) {
        let product = a * b;
        self.add(product);
        self.error += M::product_error(a, b, product);
    }

    /// The sum. If it is infinite, there is no error to add.
    #[inline(always)]
    pub fn total(self) -> f64 {
        if self.value.is_finite() { self.value + self.error } else { self.value }
    }

    /// The sum of all terms but this one. It has all its digits, even if it is far smaller than the term.
    #[inline(always)]
    pub fn without(self, term: f64) -> f64 {
        let rest = self.value - term;
        if self.value.is_finite() { rest + self.error } else { rest }
    }
}

impl FromIterator<f64> for Sum {
    #[inline(always)]
    fn from_iter<I: IntoIterator<Item = f64>>(terms: I) -> Self {
        let mut sum = Sum::default();
        terms.into_iter().for_each(|term| sum.add(term));
        sum
    }
}

/// How many [`EightSums`] take turns. An addition waits for the one before it in the same lane, so one would be slow.
const EIGHTS: usize = 2;

/// The sum of f over the elements of a slice; see [`add_term`].
#[inline(always)]
pub(crate) fn sum_of<T: Float>(x: &[T], f: impl Fn(f64) -> f64) -> Sum {
    sum_for::<T, T>(x, f)
}

/// The same for a result of type `T`, with elements of any type.
#[inline(always)]
pub(crate) fn sum_for<T: Float, E: Float>(x: &[E], f: impl Fn(f64) -> f64) -> Sum {
    let mut sums = [EightSums::default(); EIGHTS];
    let (chunks, rest) = x.as_chunks::<{ 8 * EIGHTS }>();
    for chunk in chunks {
        for (sums, x) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *sums = sums.plus::<T>(array(|lane| f(x[lane].to_f64())));
        }
    }
    for (sums, x) in sums.iter_mut().zip(rest.chunks(8)) {
        let mut terms = [0.0; 8];
        terms.iter_mut().zip(x).for_each(|(term, &x)| *term = f(x.to_f64()));
        *sums = sums.plus::<T>(terms);
    }
    EightSums::total::<T>(sums)
}

/// The same over the elements of several slices of one length, side by side. For a single slice there is [`sum_of`]:
/// with the indices here, the compiler fills only half of a register.
#[inline(always)]
pub(crate) fn sum_over<T: Float, const N: usize>(slices: [&[T]; N], f: impl Fn([f64; N]) -> f64) -> Sum {
    let mut sums = [EightSums::default(); EIGHTS];
    let length = slices[0].len();
    let whole = length - length % (8 * EIGHTS);
    for start in (0..whole).step_by(8 * EIGHTS) {
        let chunk: [&[T]; N] = array(|i| &slices[i][start..start + 8 * EIGHTS]);
        for (eight, sums) in sums.iter_mut().enumerate() {
            *sums = sums.plus::<T>(array(|lane| f(array(|i| chunk[i][8 * eight + lane].to_f64()))));
        }
    }
    for (sums, start) in sums.iter_mut().zip((whole..length).step_by(8)) {
        let mut terms = [0.0; 8];
        for (term, at) in terms.iter_mut().zip(start..length) {
            *term = f(array(|i| slices[i][at].to_f64()));
        }
        *sums = sums.plus::<T>(terms);
    }
    EightSums::total::<T>(sums)
}

/// Eight sums at once: they fill one register of AVX-512 or two of AVX2.
#[derive(Clone, Copy, Default)]
struct EightSums {
    sums: [f64; 8],
    errors: [f64; 8],
}

impl EightSums {
    #[inline(always)]
    fn plus<T: Float>(mut self, terms: [f64; 8]) -> Self {
        for ((sum, error), term) in self.sums.iter_mut().zip(&mut self.errors).zip(terms) {
            add_term::<T>(sum, error, term);
        }
        self
    }

    #[inline(always)]
    fn total<T: Float>([mut all, others @ ..]: [EightSums; EIGHTS]) -> Sum {
        for other in others {
            all = all.plus::<T>(other.sums);
            (0..8).for_each(|lane| all.errors[lane] += other.errors[lane]);
        }
        let (mut sum, mut error) = (0.0, all.errors.into_iter().sum());
        all.sums.into_iter().for_each(|term| add_term::<T>(&mut sum, &mut error, term));
        Sum::new(sum, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_sum_is_exact() {
        assert_eq!(two_sum(1e16, 1.0), (1e16, 1.0));
        assert_eq!(two_sum(1.0, 1e16), (1e16, 1.0));
        assert_eq!(fast_two_sum(1e16, 1.0), (1e16, 1.0));
        assert_eq!(fast_two_sum(0.0, 2.5), (2.5, 0.0));
    }

    #[test]
    fn a_sum_without_a_term_has_the_digits_of_the_rest() {
        let sum: Sum = [1.0, 1e-20, 2e-20].into_iter().collect();
        assert_eq!(sum.total(), 1.0);
        assert_eq!(sum.without(1.0), 1e-20 + 2e-20);
        let infinite: Sum = [1.0, f64::INFINITY].into_iter().collect();
        assert_eq!((infinite.total(), infinite.without(1.0)), (f64::INFINITY, f64::INFINITY));
    }
}
