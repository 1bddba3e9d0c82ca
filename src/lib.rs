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
//! # Training a model
//!
//! A model is a struct, [`parameters!`] names what is trained, an optimizer updates it in place:
//!
//! ```
//! use rand::SeedableRng;
//! use tapegrad::nn::{ChaCha8Rng, Linear, Module, Parameters};
//! use tapegrad::optim::{Adam, Optimizer};
//! use tapegrad::{Result, Tensor, accuracy, parameters};
//!
//! struct Mlp {
//!     hidden: Linear,
//!     output: Linear,
//! }
//! parameters!(Mlp { hidden, output });
//!
//! impl Mlp {
//!     fn forward(&self, x: &Tensor) -> Result<Tensor> {
//!         self.output.forward(&self.hidden.forward(x)?.relu()?)
//!     }
//! }
//!
//! fn main() -> Result<()> {
//!     // Exclusive or, which no linear model can learn.
//!     let inputs = Tensor::new([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]);
//!     let labels = [0, 1, 1, 0];
//!
//!     let mut rng = ChaCha8Rng::seed_from_u64(0);
//!     let mut model = Mlp { hidden: Linear::new(2, 16, &mut rng)?, output: Linear::new(16, 2, &mut rng)? };
//!     let mut optimizer = Adam::new(0.05);
//!     for _ in 0..100 {
//!         model.zero_grad();
//!         model.forward(&inputs)?.cross_entropy(labels)?.backward()?;
//!         optimizer.step(&mut model)?;
//!     }
//!     assert_eq!(accuracy(&model.forward(&inputs)?, labels)?, 1.0);
//!     Ok(())
//! }
//! ```
//!
//! # Finding your way
//!
//! * [`Tensor`] is the one type that holds numbers: `f32` by default, `f64` too. Its methods are the
//!   operations, under the names that PyTorch gives them. [`Indices`] holds integers, [`Mask`] booleans.
//! * [`Tensor::backward`] and [`grad`] compute gradients, of any order. [`Tensor::tape`] shows what will
//!   be played, and [`Tape::observe`] draws it, with what each step computed.
//! * [`CrossEntropyLoss`], [`NllLoss`] and the losses among the methods of [`Tensor`] compare with a target.
//! * [`Backward`] is the trait for your own operations; the built-in ones use no other. [`gradcheck()`] compares
//!   a rule with finite differences; [`find_non_finite`] names the step at which a nan begins.
//!
//! The kit, which uses nothing but the public interface of the rest:
//!
//! * [`nn`]: layers, initialisation, and [`Parameters`](nn::Parameters), which optimizers and files see of a model.
//! * [`optim`]: SGD, Adam, AdamW, L-BFGS, schedules of the learning rate, clipping.
//! * [`data`]: tables, splits, folds, batches, standardisation.
//! * `io`, with the feature `safetensors`: models and checkpoints in files that PyTorch reads and writes.
//!
//! The [`guide`] teaches how all of it works, in thirteen short chapters. For those who know PyTorch, there is
//! [a table, call by call](guide::coming_from_pytorch).
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `rayon` (default) | several threads: as many as there are processors, or as `RAYON_NUM_THREADS` says. Those that help stay awake for a millisecond in case that there is more to do. The results are the same bits without it |
//! | `safetensors` | the module `io` |
//! | `ndarray` | conversions from and to the arrays of the `ndarray` crate |
//! | `serde` | tensors and the state of optimizers in any format of serde |
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

mod error;
mod float;
mod kernels;

mod tensor;

mod autograd;

mod ops;

pub mod data;
pub mod guide;
#[cfg(feature = "safetensors")]
pub mod io;
pub mod nn;
pub mod optim;

pub use autograd::backward::{GradOptions, backward, find_non_finite, grad};
pub use autograd::grad_mode::{enable_grad, is_grad_enabled, no_grad};
pub use autograd::gradcheck::{GradCheck, gradcheck, gradgradcheck};
pub use autograd::observe::anomaly::{NonFinite, StepPart};
pub use autograd::observe::values::ValueRange;
pub use autograd::step::{Backward, Gradients, Step, StepContext};
pub use autograd::tape::{Tape, TapeEntry};
pub use error::{Difference, Error, Result};
pub use float::{DType, Float};
pub use kernels::simd::{Instructions, instructions, set_instructions};
pub use ops::metrics::{accuracy, error_rate};
pub use ops::{
    Conv2dOptions, CrossEntropyLoss, HeightWidth, MaxPool2dOptions, NllLoss, Operand, Reduction, Target,
    ToTarget,
};
pub use tensor::buffer::{live_bytes, recycled_bytes, release_recycled_memory, set_recycled_memory_limit};
pub use tensor::index::{Indices, Integer, ToIndices};
pub use tensor::mask::Mask;
pub use tensor::model::{Tensor, live_nodes};
pub use tensor::nested::{Literal, Nested};
pub use tensor::shape::{Dims, KeepDim, ResolvedDims, Shape, ToSizes, keepdim};

/// The README's code blocks run as tests too.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
