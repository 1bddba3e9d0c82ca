//! `+ - * /` and unary minus, on tensors, references and numbers, in any combination.

use crate::error::Result;
use crate::float::Float;
use crate::tensor::model::Tensor;
use std::ops::{Add, Div, Mul, Neg, Sub};

macro_rules! operators {
    ($($trait:ident $method:ident;)*) => {$(
        operators!(@tensors $trait $method: Tensor<T>, Tensor<T>);
        operators!(@tensors $trait $method: Tensor<T>, &Tensor<T>);
        operators!(@tensors $trait $method: &Tensor<T>, Tensor<T>);
        operators!(@tensors $trait $method: &Tensor<T>, &Tensor<T>);
        operators!(@number_right $trait $method: Tensor<T>);
        operators!(@number_right $trait $method: &Tensor<T>);
        operators!(@number_left $trait $method: f32, Tensor<f32>);
        operators!(@number_left $trait $method: f32, &Tensor<f32>);
        operators!(@number_left $trait $method: f64, Tensor<f64>);
        operators!(@number_left $trait $method: f64, &Tensor<f64>);
    )*};
    (@tensors $trait:ident $method:ident: $left:ty, $right:ty) => {
        /// # Panics
        /// If the shapes do not broadcast; the named method returns the error instead.
        impl<T: Float> $trait<$right> for $left {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: $right) -> Tensor<T> {
                expect_ok(Tensor::$method(&self, other))
            }
        }
    };
    (@number_right $trait:ident $method:ident: $left:ty) => {
        /// # Panics
        /// If memory runs out; the named method returns the error instead.
        impl<T: Float> $trait<T> for $left {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: T) -> Tensor<T> {
                expect_ok(Tensor::$method(&self, Tensor::from_parts(().into(), vec![other])))
            }
        }
    };
    (@number_left $trait:ident $method:ident: $left:ty, $right:ty) => {
        /// # Panics
        /// If memory runs out; the named method returns the error instead.
        impl $trait<$right> for $left {
            type Output = Tensor<$left>;
            #[track_caller]
            fn $method(self, other: $right) -> Tensor<$left> {
                expect_ok(Tensor::$method(&Tensor::from_parts(().into(), vec![self]), other))
            }
        }
    };
}

operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
}

/// # Panics
/// If memory runs out; the named method returns the error instead.
impl<T: Float> Neg for &Tensor<T> {
    type Output = Tensor<T>;
    #[track_caller]
    fn neg(self) -> Tensor<T> {
        expect_ok(Tensor::neg(self))
    }
}

/// # Panics
/// If memory runs out; the named method returns the error instead.
impl<T: Float> Neg for Tensor<T> {
    type Output = Tensor<T>;
    #[track_caller]
    fn neg(self) -> Tensor<T> {
        -&self
    }
}

/// The one place where an error becomes a panic: operators have no way to return it.
#[track_caller]
fn expect_ok<T: Float>(result: Result<Tensor<T>>) -> Tensor<T> {
    match result {
        Ok(tensor) => tensor,
        Err(error) => panic!("{error}"),
    }
}
