//! Nested arrays as literals: `[[1.0, 2.0], [3.0, 4.0]]`.

use crate::tensor::shape::Shape;

/// A number, or an array of arrays of numbers to any depth; the type fixes the shape.
///
/// Implemented for the scalar types and, recursively, for arrays of what implements it, and for nothing else:
/// that the numbers fill the shape is relied on.
///
/// The sizes of an array without numbers may be large; those that a tensor could not have do not compile:
///
/// ```compile_fail
/// # use tapegrad::Tensor;
/// let x = Tensor::new([[[0.0; 0]; 1 << 40]; 1 << 40]);
/// ```
pub trait Nested: sealed::Sealed {
    /// The innermost type.
    type Element;

    /// Appends the sizes, outermost first.
    fn sizes(sizes: &mut Vec<usize>);

    /// Appends the numbers in row-major order.
    fn flatten_into(self, elements: &mut Vec<Self::Element>);
}

/// A [`Nested`] array of `E`. As a bound it also tells the compiler what a bare literal is: in
/// `Tensor::new([[1.0]])` the number becomes an `f32`.
pub trait Literal<E>: Nested<Element = E> {}

impl<E, A: Literal<E>, const N: usize> Literal<E> for [A; N] {}

mod sealed {
    pub trait Sealed {
        /// The product of the sizes, one that is 0 counted as 1.
        const PRODUCT: usize;
    }

    impl<A: Sealed, const N: usize> Sealed for [A; N] {
        const PRODUCT: usize = match A::PRODUCT.checked_mul(if N == 0 { 1 } else { N }) {
            Some(product) if product <= isize::MAX as usize / 8 => product,
            _ => panic!("the number of elements of this literal's shape overflows"),
        };
    }
}

macro_rules! innermost {
    ($($scalar:ty)*) => {$(
        impl Nested for $scalar {
            type Element = $scalar;
            fn sizes(_: &mut Vec<usize>) {}
            fn flatten_into(self, elements: &mut Vec<$scalar>) {
                elements.push(self);
            }
        }
        impl Literal<$scalar> for $scalar {}
        impl sealed::Sealed for $scalar {
            const PRODUCT: usize = 1;
        }
    )*};
}
innermost!(f32 f64 bool i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

impl<A: Nested, const N: usize> Nested for [A; N] {
    type Element = A::Element;
    fn sizes(sizes: &mut Vec<usize>) {
        sizes.push(N);
        A::sizes(sizes);
    }
    fn flatten_into(self, elements: &mut Vec<A::Element>) {
        if size_of::<Self>() == 0 {
            return; // no numbers, in however many arrays
        }
        for inner in self {
            inner.flatten_into(elements);
        }
    }
}

/// The shape of a nested array and its numbers in row-major order.
pub(crate) fn flatten<A: Nested>(nested: A) -> (Shape, Vec<A::Element>) {
    const { A::PRODUCT }; // refuses, when it is compiled, what a constructor with a shape refuses when it runs
    let mut sizes = Vec::new();
    A::sizes(&mut sizes);
    let shape = Shape::from(sizes);
    let mut elements = Vec::with_capacity(shape.elements());
    nested.flatten_into(&mut elements);
    (shape, elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_gives_the_shape_and_the_row_major_order() {
        let (shape, elements) = flatten([[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]]);
        assert_eq!(shape, [3, 2, 2]);
        assert_eq!(elements, (1..=12).collect::<Vec<_>>());
        assert_eq!(flatten(2.5f32), (Shape::scalar(), vec![2.5]));
        assert_eq!(flatten([[0.0f64; 0]; 2]).0, [2, 0]);
        assert_eq!(flatten([[0.0f64; 0]; 1 << 50]).0, [1 << 50, 0]);
    }
}
