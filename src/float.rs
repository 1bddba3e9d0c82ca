//! The element types: `f32` and `f64`.

use std::any::Any;
use std::fmt;

/// An element of a tensor: `f32` or `f64`, and nothing else.
///
/// Arithmetic and elementary functions come from [`num_traits::Float`]. The trait is sealed, so
/// that a rule that ships in `f32` can be checked in `f64` and no third type can change what
/// either of them computes.
pub trait Float:
    num_traits::Float
    + num_traits::NumAssign
    + bytemuck::Pod
    + approx::RelativeEq
    + approx::UlpsEq<Epsilon = Self>
    + fmt::Display
    + fmt::LowerExp
    + fmt::Debug
    + Default
    + Send
    + Sync
    + Any
    + sealed::Sealed
{
    /// Which of the two it is.
    const DTYPE: DType;

    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;

    /// The nearest value of this type.
    fn from_i64(value: i64) -> Self;

    /// The same value in `f64`, exactly.
    fn to_f64(self) -> f64;
}

/// The precision of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit floats, 24 bits of precision.
    F32,
    /// 64-bit floats, 53 bits of precision.
    F64,
}

/// `f32` or `f64`.
impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
        })
    }
}

impl Float for f32 {
    const DTYPE: DType = DType::F32;
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn from_i64(value: i64) -> Self {
        value as f32
    }
    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Float for f64 {
    const DTYPE: DType = DType::F64;
    fn from_f64(value: f64) -> Self {
        value
    }
    fn from_i64(value: i64) -> Self {
        value as f64
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// Whether the type is `f64`. It is known when the code is compiled.
#[inline(always)]
pub(crate) fn is_double<T: Float>() -> bool {
    matches!(T::DTYPE, DType::F64)
}

/// Defines functions that this crate compiles for both element types.
///
/// Code that is generic over [`Float`] is compiled where its type is chosen: in the crate of the user, with the
/// user's settings, again after every edit. There are two element types only, so it need not be. What this macro
/// defines is a front, generic and a few instructions long, and the body behind it, which the front reaches by one
/// of two function pointers. The pointers are statics, and what a static names is compiled with the static: here.
///
/// ```text
/// compiled! {
///     /// `out[i] = 2 x[i]`
///     pub(crate) fn double<T>(x: &[T], out: &mut [T]) {
///         ..
///     }
/// }
/// ```
///
/// Lifetimes may be named before the type: `fn double<'a, T>(..)`. Methods are written as they are, after
/// `impl Tensor<T>:` in the place of `impl<T: Float> Tensor<T>`.
macro_rules! compiled {
    (impl $Type:ident<$T:ident>: $(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident(&$self:ident $(, $argument:ident: $type:ty)* $(,)?) -> $output:ty $body:block
    )*) => {
        impl<$T: $crate::float::Float> $Type<$T> {$(
            $(#[$attribute])*
            $visibility fn $name(&$self $(, $argument: $type)*) -> $output {
                /// A method again, so that the body may say `self` and `Self`.
                trait Method<$T: $crate::float::Float>: Sized {
                    type Signature;
                    fn generic(&self $(, $argument: $type)*) -> $output;
                }
                impl<$T: $crate::float::Float> Method<$T> for $Type<$T> {
                    type Signature = fn(&Self $(, $type)*) -> $output;
                    fn generic(&$self $(, $argument: $type)*) -> $output $body
                }
                type Signature<$T> = <$Type<$T> as Method<$T>>::Signature;
                static FOR_F32: Signature<f32> = <$Type<f32> as Method<f32>>::generic;
                static FOR_F64: Signature<f64> = <$Type<f64> as Method<f64>>::generic;
                $crate::float::for_type::<$T, Signature<$T>>(&FOR_F32, &FOR_F64)($self $(, $argument)*)
            }
        )*}
    };
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$($lifetime:lifetime,)* $T:ident>(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $output:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        $visibility fn $name<$($lifetime,)* $T: $crate::float::Float>($($argument: $type),*) $(-> $output)? {
            $(#[$attribute])*
            fn generic<$($lifetime,)* $T: $crate::float::Float>($($argument: $type),*) $(-> $output)? $body
            type Signature<$T> = for<$($lifetime),*> fn($($type),*) $(-> $output)?;
            static FOR_F32: Signature<f32> = generic::<f32>;
            static FOR_F64: Signature<f64> = generic::<f64>;
            $crate::float::for_type::<$T, Signature<$T>>(&FOR_F32, &FOR_F64)($($argument),*)
        }
    )*};
}
pub(crate) use compiled;

/// The one of two functions that is for type `T`; its type `F` mentions `T` and so shows which one it is.
#[inline(always)]
pub(crate) fn for_type<T: Float, F: Any + Copy>(for_f32: &'static dyn Any, for_f64: &'static dyn Any) -> F {
    let function = if is_double::<T>() { for_f64 } else { for_f32 };
    match function.downcast_ref::<F>() {
        Some(&function) => function,
        None => unreachable!("Float is sealed: f32 and f64 are all there is"),
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
