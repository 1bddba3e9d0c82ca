//! Sums without loss: the rounded result, and exactly what the rounding left out.

use num_traits::Float;

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
}
