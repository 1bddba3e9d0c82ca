//! Making tensors: literals, vectors, fills, ranges, random numbers, casts.

use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::tensor::model::Tensor;
use crate::tensor::nested::{Literal, Nested, flatten};
use crate::tensor::shape::Shape;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal, StandardUniform};

impl Tensor<f32> {
    /// An `f32` tensor from a literal: a number or a nested array.
    ///
    /// Defined for `f32` only, so that a bare literal needs no suffix. For `f64` use
    /// `Tensor::from`, where a bare literal is `f64` by Rust's own rule, or convert with
    /// [`to_f64`](Tensor::to_f64).
    ///
    /// ```
    /// # use tapegrad::Tensor;
    /// let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// assert_eq!(x.shape(), &[2, 3]);
    /// let precise = Tensor::from([[1.0, 2.0]]); // Tensor<f64>
    /// assert_eq!(precise.as_slice(), [1.0f64, 2.0]);
    /// ```
    pub fn new(values: impl Literal<f32>) -> Self {
        Tensor::from(values)
    }
}

/// From a number or a nested array, whose type fixes precision and shape.
impl<T: Float, A: Nested<Element = T>> From<A> for Tensor<T> {
    fn from(values: A) -> Self {
        let (shape, values) = flatten(values);
        Tensor::from_parts(shape, values)
    }
}

/// One dim.
impl<T: Float> From<Vec<T>> for Tensor<T> {
    fn from(values: Vec<T>) -> Self {
        Tensor::from_parts(values.len().into(), values)
    }
}

/// One dim; the values are copied.
impl<T: Float> From<&[T]> for Tensor<T> {
    fn from(values: &[T]) -> Self {
        Tensor::from(values.to_vec())
    }
}

impl<T: Float> Tensor<T> {
    /// From values in row-major order, without a copy.
    ///
    /// # Errors
    /// [`Error::Length`] if they do not fill the shape, [`Error::TooLarge`] if its size overflows.
    pub fn from_vec(values: Vec<T>, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        shape.expect_elements("from_vec", values.len())?;
        Ok(Tensor::from_parts(shape, values))
    }

    /// All zeros.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn zeros(shape: impl Into<Shape>) -> Result<Self> {
        zeros(shape.into())
    }

    /// All ones.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn ones(shape: impl Into<Shape>) -> Result<Self> {
        Tensor::full(shape, T::one())
    }

    /// The same value everywhere.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn full(shape: impl Into<Shape>, value: T) -> Result<Self> {
        full(shape.into(), value)
    }

    /// The identity matrix of shape (size, size).
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn eye(size: usize) -> Result<Self> {
        eye(size)
    }

    /// `start, start + step, ..`, as long as it has not reached `end`: ceil((end - start) / step)
    /// values, each computed as `start + i step`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a step of zero or one that leads away from `end`, and for bounds
    /// that are not finite; [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn arange(start: T, end: T, step: T) -> Result<Self> {
        arange(start, end, step)
    }

    /// `count` values from `start` to `end`, both included, equally spaced.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn linspace(start: T, end: T, count: usize) -> Result<Self> {
        linspace(start, end, count)
    }

    /// Independent samples of the standard normal distribution.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn randn(shape: impl Into<Shape>, rng: &mut (impl Rng + ?Sized)) -> Result<Self>
    where
        StandardNormal: Distribution<T>,
    {
        Tensor::sampled("randn", shape.into(), StandardNormal, rng)
    }

    /// Independent samples of the uniform distribution on [0, 1).
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn rand(shape: impl Into<Shape>, rng: &mut (impl Rng + ?Sized)) -> Result<Self>
    where
        StandardUniform: Distribution<T>,
    {
        Tensor::sampled("rand", shape.into(), StandardUniform, rng)
    }

    fn sampled(
        op: &'static str,
        shape: Shape,
        distribution: impl Distribution<T>,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Self> {
        shape.checked_elements(op)?;
        Tensor::compute(shape, |out| out.iter_mut().for_each(|entry| *entry = distribution.sample(rng)))
    }
}

compiled! {
    fn zeros<T>(shape: Shape) -> Result<Tensor<T>> {
        shape.checked_elements("zeros")?;
        Tensor::compute_on_zeros(shape, |_| {})
    }

    fn full<T>(shape: Shape, value: T) -> Result<Tensor<T>> {
        shape.checked_elements("full")?;
        Tensor::compute(shape, |out| out.fill(value))
    }

    fn eye<T>(size: usize) -> Result<Tensor<T>> {
        let shape = Shape::from([size, size]);
        shape.checked_elements("eye")?;
        Tensor::compute_on_zeros(shape, |out| {
            out.iter_mut().step_by(size + 1).for_each(|entry| *entry = T::one())
        })
    }

    fn arange<T>(start: T, end: T, step: T) -> Result<Tensor<T>> {
        let op = "arange";
        let argument =
            |name, value: T, allowed| Err(Error::Argument { op, name, value: value.to_string(), allowed });
        for (name, value) in [("start", start), ("end", end), ("step", step)] {
            if !value.is_finite() {
                return argument(name, value, "finite");
            }
        }
        let (start, end, increment) = (start.to_f64(), end.to_f64(), step.to_f64());
        let count = ((end - start) / increment).ceil();
        if increment == 0.0 || count < 0.0 {
            return argument("step", step, "not zero, and lead from start to end");
        }
        let shape = Shape::from([count as usize]); // saturates
        shape.checked_elements(op)?;
        Tensor::compute(shape, |out| {
            for (i, entry) in out.iter_mut().enumerate() {
                *entry = T::from_f64(start + i as f64 * increment);
            }
        })
    }

    fn linspace<T>(start: T, end: T, count: usize) -> Result<Tensor<T>> {
        let shape = Shape::from([count]);
        shape.checked_elements("linspace")?;
        let (first, last) = (start.to_f64(), end.to_f64());
        let step = (last - first) / (count.max(2) - 1) as f64;
        Tensor::compute(shape, |out| {
            for (i, entry) in out.iter_mut().enumerate() {
                // Counted from the nearer end, so that both ends are exact.
                let from_start = i < count.div_ceil(2);
                let value =
                    if from_start { first + i as f64 * step } else { last - (count - 1 - i) as f64 * step };
                *entry = T::from_f64(value);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_fix_precision_and_shape() {
        assert_eq!(Tensor::new(2.5).shape(), &[]);
        assert_eq!(Tensor::new([[[[1.0], [2.0]]]]).shape(), &[1, 1, 2, 1]);
        let wide: Tensor<f64> = [[1.0, 2.0]].into();
        assert_eq!(wide.shape(), &[1, 2]);
    }

    #[test]
    fn arange_stops_before_the_end() {
        assert_eq!(Tensor::<f32>::arange(0.0, 3.0, 1.0).unwrap().to_vec(), [0.0, 1.0, 2.0]);
        assert_eq!(Tensor::<f64>::arange(1.0, 0.0, -0.25).unwrap().to_vec(), [1.0, 0.75, 0.5, 0.25]);
        assert_eq!(Tensor::<f64>::arange(1.0, 1.0, 5.0).unwrap().len(), 0);
        assert!(Tensor::<f64>::arange(0.0, 1.0, 0.0).is_err());
        assert!(Tensor::<f64>::arange(0.0, 1.0, -1.0).is_err());
        assert!(Tensor::<f64>::arange(0.0, f64::INFINITY, 1.0).is_err());
        assert!(Tensor::<f64>::arange(0.0, 1e300, 1e-300).is_err());
    }

    #[test]
    fn linspace_hits_both_ends() {
        let x = Tensor::<f32>::linspace(0.1, 0.7, 7).unwrap().to_vec();
        assert_eq!((x[0], x[6]), (0.1, 0.7));
        assert!((x[3] - 0.4).abs() < 1e-7);
        assert_eq!(Tensor::<f64>::linspace(3.0, 5.0, 1).unwrap().to_vec(), [3.0]);
        assert_eq!(Tensor::<f64>::linspace(3.0, 5.0, 0).unwrap().len(), 0);
    }

    #[test]
    fn a_shape_that_cannot_exist_is_an_error() {
        assert!(matches!(Tensor::<f32>::zeros([usize::MAX, 2]), Err(Error::TooLarge { op: "zeros", .. })));
        let bytes = (isize::MAX as usize / 8) * 4;
        assert_eq!(Tensor::<f32>::zeros(isize::MAX as usize / 8).err(), Some(Error::OutOfMemory { bytes }));
        assert!(matches!(Tensor::from_vec(vec![1.0], [2]), Err(Error::Length { length: 1, .. })));
        assert_eq!(Tensor::<f64>::eye(2).unwrap().to_vec(), [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(Tensor::<f64>::eye(0).unwrap().len(), 0);
    }
}
