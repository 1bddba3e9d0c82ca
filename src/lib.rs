//! Reverse-mode automatic differentiation whose centre is classification: `softmax`, `log`, `gather`,
//! `mean` and `cross_entropy` are recorded as they run, and `loss.backward()` fills the gradients.
//!
//! ```
//! use tapegrad::{Result, Tensor};
//!
//! fn main() -> Result<()> {
//!     // Six objects, three classes: raw scores (logits) of a final layer.
//!     let logits = Tensor::new([
//!         [3.8538, 2.9746, -0.9948], [0.8792, -1.5163, 2.1566], [1.6016, 3.3612, 0.7117],
//!         [-1.3732, 1.2209, 2.6695], [-0.4632, 0.0835, -0.5032], [1.7197, -0.6195, -0.7914],
//!     ]).requires_grad();
//!     let target = [0, 1, 0, 2, 2, 0];
//!
//!     let loss = logits.cross_entropy(target)?;    // log_softmax -> gather -> mean, in one step
//!     println!("{}", loss.tape());                 // every recorded step, in order
//!     loss.backward()?;
//!
//!     println!("{loss}");                          // tensor(1.3337, grad_fn=<CrossEntropyBackward>)
//!     println!("{}", logits.grad().unwrap());      // d loss / d logits, shape [6, 3]
//! #   assert_eq!(loss.to_string(), "tensor(1.3337, grad_fn=<CrossEntropyBackward>)");
//! #   assert_eq!(logits.grad().unwrap().shape(), &[6, 3]);
//!     Ok(())
//! }
//! ```
//!
//! # Finding your way
//!
//! * [`Tensor`] is the one type that holds numbers: `f32` by default, `f64` too. Its methods are the
//!   operations, under the names that PyTorch gives them. [`Indices`] holds integers, [`Mask`] booleans.
//! * [`Tensor::backward`] and [`grad`] compute gradients, of any order. [`Tensor::tape`] shows what will
//!   be played. [`guide::tape`] explains how it works.
//! * [`CrossEntropyLoss`], [`NllLoss`] and the losses among the methods of [`Tensor`] compare with a target.
//! * [`nn`] has what models are made of, [`optim`] what trains them, [`data`] what feeds them.
//!   `io` (feature `safetensors`) keeps them in files.
//! * [`Backward`] is the trait for your own operations; the built-in ones use no other.
//! * [`gradcheck`] compares a rule with finite differences.
//!
//! # Conventions
//!
//! * Named methods return a [`Result`] whose [`Error`] carries the facts. The operators `+ - * /` panic with
//!   the same message instead; they are the one exception.
//! * Dims are `isize` and count from the end when negative. Reductions take `..` for all dims, one dim, or an
//!   array, and [`keepdim`] leaves the reduced dims in place.
//! * Literals are `f32` in [`Tensor::new`]; `Tensor::from` follows Rust's own rule, by which a bare float literal
//!   is `f64`.
//! * Losses and log-probabilities are in nats.
//! * Random numbers come from a generator that the caller passes in.
//! * The same program gives the same bits on any number of threads.

mod anomaly;
mod approximate;
mod backward;
mod buffer;
#[cfg(any(feature = "ndarray", feature = "serde"))]
mod conversions;
mod create;
pub mod data;
mod error;
mod export;
mod float;
mod format;
mod grad_mode;
mod gradcheck;
mod index;
mod instances;
#[cfg(feature = "safetensors")]
pub mod io;
mod kernels;
mod mask;
mod metrics;
mod nested;
pub mod nn;
mod observe;
mod ops;
pub mod optim;
mod shape;
mod step;
mod tape;
mod tensor;
mod values;

pub use anomaly::{NonFinite, StepPart};
pub use backward::{GradOptions, backward, find_non_finite, grad};
pub use buffer::{live_bytes, recycled_bytes, release_recycled_memory, set_recycled_memory_limit};
pub use error::{Difference, Error, Result};
pub use float::{DType, Float};
pub use grad_mode::{enable_grad, is_grad_enabled, no_grad};
pub use gradcheck::{GradCheck, gradcheck, gradgradcheck};
pub use index::{Indices, Integer, ToIndices};
#[doc(hidden)]
pub use instances::instances;
pub use kernels::simd::{Instructions, instructions, set_instructions};
pub use mask::Mask;
pub use metrics::{accuracy, error_rate};
pub use nested::{Literal, Nested};
pub use ops::{
    Conv2dOptions, CrossEntropyLoss, HeightWidth, MaxPool2dOptions, NllLoss, Operand, Reduction, Target,
    ToTarget,
};
pub use shape::{Dims, KeepDim, ResolvedDims, Shape, ToSizes, keepdim};
pub use step::{Backward, Gradients, Step, StepContext};
pub use tape::{Tape, TapeEntry};
pub use tensor::{Tensor, live_nodes};
pub use values::ValueRange;

/// How it works, in chapters.
pub mod guide {
    #[doc = include_str!("../docs/tape.md")]
    pub mod tape {}
    #[doc = include_str!("../docs/differences.md")]
    pub mod differences {}
    #[doc = include_str!("../docs/accuracy.md")]
    pub mod accuracy {}
}

/// The README's code blocks run as tests too.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
