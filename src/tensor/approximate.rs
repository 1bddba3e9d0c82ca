//! Equality and approximate equality of tensors, for tests.
//!
//! Everything goes element by element, by the rules of the element type, and only values and
//! shapes count: a tracked tensor equals a constant with the same numbers.

use crate::float::Float;
use crate::tensor::model::Tensor;
use approx::{AbsDiffEq, RelativeEq, UlpsEq};

/// Whether the shapes are the same and all pairs of elements pass.
fn all_pairs<T: Float>(left: &Tensor<T>, right: &Tensor<T>, passes: impl Fn(&T, &T) -> bool) -> bool {
    left.shape() == right.shape() && left.as_slice().iter().zip(right.as_slice()).all(|(a, b)| passes(a, b))
}

/// `a == b`: the same shape and equal elements. Nothing is broadcast; as for floats, nan equals
/// nothing, itself included, and 0 equals -0.
///
/// The method [`eq`](Tensor::eq) is another thing: it compares element by element and returns a
/// [`Mask`](crate::Mask).
impl<T: Float> PartialEq for Tensor<T> {
    fn eq(&self, other: &Self) -> bool {
        all_pairs(self, other, |a, b| a == b)
    }
}

/// For `approx::assert_abs_diff_eq!`: the same shape, and |a - b| <= epsilon for every pair of
/// elements. So nan is close to nothing; nor is an infinity, whose difference from itself is nan
/// ([`RelativeEq`] does take equal infinities for equal).
///
/// The default epsilon is that of the element type.
///
/// ```
/// # use tapegrad::Tensor;
/// use approx::assert_abs_diff_eq;
///
/// let x = Tensor::new([1.0, 2.0]).log()?;
/// assert_abs_diff_eq!(x, Tensor::new([0.0, 0.6931]), epsilon = 1e-4);
/// # Ok::<(), tapegrad::Error>(())
/// ```
impl<T: Float> AbsDiffEq for Tensor<T> {
    type Epsilon = T;

    fn default_epsilon() -> T {
        T::default_epsilon()
    }

    fn abs_diff_eq(&self, other: &Self, epsilon: T) -> bool {
        all_pairs(self, other, |a, b| a.abs_diff_eq(b, epsilon))
    }
}

/// For `approx::assert_relative_eq!`: the same shape, and for every pair of elements a = b,
/// |a - b| <= epsilon, or |a - b| <= max_relative max(|a|, |b|). So equal infinities are equal, and
/// nan is close to nothing.
///
/// The defaults are those of the element type: its machine epsilon for both.
///
/// ```
/// # use tapegrad::Tensor;
/// use approx::assert_relative_eq;
///
/// let x = Tensor::new([[3.0, 4.0]]);
/// assert_relative_eq!((&x / 7.0) * 7.0, x);
/// ```
impl<T: Float> RelativeEq for Tensor<T> {
    fn default_max_relative() -> T {
        T::default_max_relative()
    }

    fn relative_eq(&self, other: &Self, epsilon: T, max_relative: T) -> bool {
        all_pairs(self, other, |a, b| a.relative_eq(b, epsilon, max_relative))
    }
}

/// For `approx::assert_ulps_eq!`: the same shape, and every pair of elements either differs by at most
/// epsilon, or has the same sign and at most `max_ulps` representable numbers from one to the
/// other. Nan is close to nothing.
///
/// The defaults are those of the element type: its machine epsilon, and 4.
impl<T: Float> UlpsEq for Tensor<T> {
    fn default_max_ulps() -> u32 {
        T::default_max_ulps()
    }

    fn ulps_eq(&self, other: &Self, epsilon: T, max_ulps: u32) -> bool {
        all_pairs(self, other, |a, b| a.ulps_eq(b, epsilon, max_ulps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::{abs_diff_eq, assert_abs_diff_eq, assert_relative_eq, assert_ulps_eq, relative_eq, ulps_eq};

    #[test]
    fn tensors_are_equal_if_shapes_and_elements_are() {
        let x = Tensor::new([[1.0, 0.0], [3.0, f32::INFINITY]]);
        assert!(x == x.clone().requires_grad());
        assert!(x == Tensor::new([[1.0, -0.0], [3.0, f32::INFINITY]]));
        assert!(x != Tensor::new([[1.0, 0.0], [3.0, f32::MAX]]));
        assert!(x != Tensor::new([1.0, 0.0, 3.0, f32::INFINITY]));
        assert!(Tensor::new([1.0]) != Tensor::new([1.0, 1.0]));
        assert!(Tensor::<f32>::zeros([0, 2]).unwrap() != Tensor::zeros([2, 0]).unwrap());
        assert!(Tensor::new(f32::NAN) != Tensor::new(f32::NAN));
    }

    #[test]
    fn one_element_that_is_too_far_off_is_enough() {
        let x = Tensor::new([1000.0, 1.0]);
        let near = Tensor::new([1000.5, 1.0]);
        assert_abs_diff_eq!(x, near, epsilon = 0.5);
        assert!(!abs_diff_eq!(x, near, epsilon = 0.49));
        assert_relative_eq!(x, near, max_relative = 1e-3);
        assert!(!relative_eq!(x, near, max_relative = 1e-4));
        let next = Tensor::new([1000.0, 1.0f32.next_up().next_up()]);
        assert_ulps_eq!(x, next, epsilon = 0.0, max_ulps = 2);
        assert!(!ulps_eq!(x, next, epsilon = 0.0, max_ulps = 1));
    }

    #[test]
    fn the_default_tolerances_are_those_of_the_precision() {
        let step = 1e-12;
        let (x, near) = (Tensor::from([1.0, -2.0f64]), Tensor::from([1.0 + step, -2.0]));
        assert!(!abs_diff_eq!(x, near) && !relative_eq!(x, near) && !ulps_eq!(x, near));
        assert_relative_eq!(x.to_f32().unwrap(), near.to_f32().unwrap());
        assert_relative_eq!(x, Tensor::from([1.0 + f64::EPSILON, -2.0]));
        assert_eq!(Tensor::<f32>::default_epsilon(), f32::EPSILON);
        assert_eq!(Tensor::<f64>::default_max_relative(), f64::EPSILON);
        assert_eq!(Tensor::<f64>::default_max_ulps(), 4);
    }

    #[test]
    fn other_shapes_and_nan_are_never_close() {
        let (row, column) = (Tensor::new([[1.0, 1.0]]), Tensor::new([[1.0], [1.0]]));
        assert!(!abs_diff_eq!(row, column, epsilon = 10.0));
        assert!(!relative_eq!(row, column, epsilon = 10.0));
        assert!(!ulps_eq!(row, column, epsilon = 10.0));
        let nan = Tensor::new([f32::NAN]);
        let wide = f32::INFINITY;
        assert!(!abs_diff_eq!(nan, nan.clone(), epsilon = wide));
        assert!(!relative_eq!(nan, nan.clone(), epsilon = wide, max_relative = wide));
        assert!(!ulps_eq!(nan, nan.clone(), epsilon = wide, max_ulps = u32::MAX));
        let infinite = Tensor::new([f32::INFINITY, f32::NEG_INFINITY]);
        assert_relative_eq!(infinite, infinite.clone());
        assert!(!relative_eq!(infinite, -&infinite, epsilon = 1.0, max_relative = 1.0));
    }
}
