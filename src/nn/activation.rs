//! Layers without weights.

use super::{Module, Name, Parameters};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::model::Tensor;

/// A layer that has no parameters.
macro_rules! stateless {
    ($($(#[$doc:meta])* $layer:ident: |$input:ident| $output:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $layer;

        impl<T: Float> Parameters<T> for $layer {
            fn visit<'a>(&'a self, _: &Name<'_>, _: &mut dyn FnMut(&Name<'_>, &'a Tensor<T>)) {}
            fn visit_mut(&mut self, _: &Name<'_>, _: &mut dyn FnMut(&Name<'_>, &mut Tensor<T>)) {}
        }

        impl<T: Float> Module<T> for $layer {
            fn forward(&self, $input: &Tensor<T>) -> Result<Tensor<T>> {
                $output
            }
        }
    )*};
}

stateless! {
    /// [`Tensor::relu`] as a layer.
    Relu: |input| input.relu();
    /// [`Tensor::tanh`] as a layer.
    Tanh: |input| input.tanh();
    /// [`Tensor::sigmoid`] as a layer.
    Sigmoid: |input| input.sigmoid();
    /// [`Tensor::gelu`] as a layer.
    Gelu: |input| input.gelu();
    /// [`Tensor::softplus`] as a layer.
    Softplus: |input| input.softplus();
    /// Joins all dims but the first, which counts the samples: (N, channels, height, width) becomes
    /// (N, channels height width).
    Flatten: |input| {
        let shape = input.shape();
        match shape[..] {
            [samples, ref rest @ ..] if !rest.is_empty() => {
                input.reshape([samples, rest.iter().product()])
            }
            _ => {
                let (op, what, expected) = ("Flatten", "the input", "at least 2");
                Err(Error::Shape { op, what, expected: expected.into(), actual: shape.to_vec() })
            }
        }
    };
}
