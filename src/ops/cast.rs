//! From one precision to the other, and from integers.

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::Result;
use crate::float::{DType, Float, compiled};
use crate::kernels::elementwise::map;
use crate::tensor::index::Indices;
use crate::tensor::model::{AnyTensor, Tensor};
use std::marker::PhantomData;

impl<T: Float> Tensor<T> {
    /// The values rounded to `f32`; the gradient is cast back.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory).
    pub fn to_f32(&self) -> Result<Tensor<f32>> {
        cast_to_f32(self)
    }

    /// The values in `f64`, exactly; the gradient is rounded back.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory).
    pub fn to_f64(&self) -> Result<Tensor<f64>> {
        cast_to_f64(self)
    }

    /// The values in the precision `U`, the tensor itself if that is what it has. The gradient is
    /// cast back.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory).
    pub fn cast<U: Float>(&self) -> Result<Tensor<U>> {
        let tensor = match U::DTYPE {
            DType::F32 => AnyTensor::F32(cast_to_f32(self)?),
            DType::F64 => AnyTensor::F64(cast_to_f64(self)?),
        };
        match tensor.downcast() {
            Some(tensor) => Ok(tensor),
            None => unreachable!("the tensor was cast to the type that is asked for"),
        }
    }
}

compiled! {
    fn cast_to_f32<T>(x: &Tensor<T>) -> Result<Tensor<f32>> {
        cast(x)
    }

    fn cast_to_f64<T>(x: &Tensor<T>) -> Result<Tensor<f64>> {
        cast(x)
    }
}

fn cast<T: Float, U: Float>(x: &Tensor<T>) -> Result<Tensor<U>> {
    if let Some(same) = AnyTensor::new(x.clone()).downcast() {
        return Ok(same);
    }
    let value = Tensor::compute(x.shape().clone(), |out| {
        map(x.as_slice(), out, |x| U::from_f64(x.to_f64()));
    })?;
    Ok(Step::new(Cast::<T>(PhantomData)).input(x).record(value))
}

/// The step from `From` to the rule's own precision.
struct Cast<From>(PhantomData<From>);

impl<From: Float, To: Float> Backward<To> for Cast<From> {
    fn name(&self) -> &'static str {
        "Cast"
    }
    fn formula(&self) -> &'static str {
        "y = x in another precision"
    }
    fn backward(&self, step: StepContext<To>, grad: Tensor<To>) -> Result<Gradients> {
        step.gradients().input(0, || grad.cast::<From>())
    }
}

impl Indices {
    /// The integers as floats, rounded where they need more digits than the type has.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory).
    pub fn to_tensor<T: Float>(&self) -> Result<Tensor<T>> {
        to_tensor(self)
    }
}

compiled! {
    fn to_tensor<T>(indices: &Indices) -> Result<Tensor<T>> {
        Tensor::compute(indices.shape().clone(), |out| map(indices.as_slice(), out, |x| T::from_i64(x)))
    }
}
