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

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
