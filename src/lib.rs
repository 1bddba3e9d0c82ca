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
//!     let loss = logits.cross_entropy(target)?;  // log_softmax -> gather -> mean, in one step
//!     println!("{}", loss.tape());               // every recorded step, in order
//!     loss.backward()?;
//!
//!     println!("{loss}");                     // tensor(1.3337, grad_fn=<CrossEntropyBackward>)
//!     println!("{}", logits.grad().unwrap()); // d loss / d logits, shape [6, 3]
//! #   assert_eq!(loss.to_string(), "tensor(1.3337, grad_fn=<CrossEntropyBackward>)");
//! #   assert_eq!(logits.grad().unwrap().shape(), &[6, 3]);
//!     Ok(())
//! }
//! ```
//!
//! # Training a model
//!
//! A model is a struct. [`parameters!`] lists the fields that are trained, and an optimizer updates them in place:
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
//!     let hidden = Linear::new(2, 16, &mut rng)?;
//!     let mut model = Mlp { hidden, output: Linear::new(16, 2, &mut rng)? };
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
//! From the ground up, in the order of the source, in which each floor uses only those below it:
//!
//! * `error`, `float`: [`Error`] and [`Result`], and [`Float`], which is `f32` or `f64`.
//! * `kernels`: loops over slices, which know nothing of tensors.
//! * `tensor`: [`Tensor`] is the one type that holds numbers, [`Indices`] holds integers, [`Mask`] booleans.
//! * `autograd`: [`Tensor::backward`] and [`grad`] compute gradients, of any order. [`Tensor::tape`] lists the
//!   recorded steps; [`Tape::observe`] draws them, with what each step computed. [`find_non_finite`] names the step
//!   at which a nan begins. [`Backward`] is the trait of all operations, yours too, and [`gradcheck()`] compares it
//!   with finite differences.
//! * `ops`: the operations are methods of [`Tensor`], under PyTorch's names. Each loss is a method that gives the
//!   mean, such as [`Tensor::cross_entropy`], and a builder with the options, such as [`CrossEntropyLoss`];
//!   [`accuracy`] and [`error_rate`] judge a classifier.
//! * [`memory`] tells what is held, [`instructions`] what the processor is asked for.
//! * [`data`]: tables, splits, folds, batches, standardisation.
//! * [`nn`]: layers, initial weights, and [`Parameters`](nn::Parameters), the view that optimizers and files have
//!   of a model.
//! * [`optim`]: SGD, Adam, AdamW, L-BFGS, schedules of the learning rate, clipping.
//! * `io`, with the feature `safetensors`: models and checkpoints in files that PyTorch reads and writes.
//!
//! The last four use only the public interface of the others. The [`guide`] explains how all of it works, in
//! thirteen short chapters; the last one is [a table for those who know PyTorch](guide::chapter_13_pytorch).
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `rayon` (default) | several threads: as many as there are processors, or as `RAYON_NUM_THREADS` says; [what they cost](#threads). The results are the same bits without it |
//! | `safetensors` | the module `io` |
//! | `ndarray` | conversions from and to the arrays of the `ndarray` crate |
//! | `serde` | tensors and the state of optimizers in any format of serde |
//!
//! # Threads
//!
//! The thread that calls an operation shares large ones with helping threads. After its work, a helping thread looks
//! for more for a millisecond before it sleeps, because waking up takes longer than many an operation. So during a
//! training loop all processors can look busy, and a laptop gets warm, even where one thread does most of the work.
//! A helping thread that finds nothing offers its processor to other programs at once, but not at a lower priority.
//! Once the loop is over, nothing is spent.
//!
//! To turn it off:
//!
//! * The environment variable `RAYON_NUM_THREADS=1`, or this crate without its default features: one thread.
//! * A call inside of a pool of your own, `pool.install(|| train())`: the threads of that pool share the work, and
//!   sleep when rayon lets them.
//!
//! # Conventions
//!
//! * Methods return a [`Result`], whose [`Error`] has the facts. Only the operators `+ - * /` panic, with the same
//!   message.
//! * Dims are `isize` and count from the end when negative. Reductions take `..` for all dims, one dim, or an
//!   array, and [`keepdim`] leaves the reduced dims in place.
//! * Literals are `f32` in [`Tensor::new`]. In `Tensor::from` Rust's own rule holds: a bare float literal is `f64`.
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

pub use autograd::backward::{GradOptions, backward, grad};
pub use autograd::grad_mode::{enable_grad, is_grad_enabled, no_grad};
pub use autograd::gradcheck::{GradCheck, gradcheck, gradgradcheck};
pub use autograd::observe::hook::StepPart;
pub use autograd::observe::non_finite::{NonFinite, find_non_finite};
pub use autograd::observe::values::ValueRange;
pub use autograd::step::{Backward, Gradients, Step, StepContext};
pub use autograd::tape::{Tape, TapeEntry};
pub use error::{Difference, Error, ExpectedShape, Result};
pub use float::{DType, Float};
pub use ops::metrics::{accuracy, error_rate};
pub use ops::{
    BceWithLogitsLoss, Conv2dOptions, CrossEntropyLoss, HeightWidth, KlDivLoss, MaxPool2dOptions, MseLoss,
    NllLoss, Operand, Reduction, Target, ToTarget,
};
pub use tensor::index::{Indices, Integer, ToIndices};
pub use tensor::mask::Mask;
pub use tensor::model::Tensor;
pub use tensor::nested::{Literal, Nested};
pub use tensor::shape::{Dims, KeepDim, Shape, ToSizes, keepdim};

/// What tensors and graphs hold in memory, and large buffers that wait to be used again.
///
/// ```
/// use tapegrad::{Tensor, memory};
/// let x = Tensor::<f32>::zeros([1000, 10])?.requires_grad();
/// assert_eq!((memory::live_bytes(), memory::live_nodes()), (40_000, 1));
/// # Ok::<(), tapegrad::Error>(())
/// ```
pub mod memory {
    pub use crate::tensor::buffer::{live_bytes, recycled_bytes, release_recycled, set_recycled_limit};
    pub use crate::tensor::model::live_nodes;
}

/// Which instructions of the processor the kernels use.
///
/// ```
/// use tapegrad::instructions::{self, Instructions};
/// instructions::choose(Instructions::Baseline)?; // the same bits on every x86-64 processor
/// assert_eq!(instructions::chosen(), Instructions::Baseline);
/// # Ok::<(), tapegrad::Error>(())
/// ```
pub mod instructions {
    pub use crate::kernels::simd::{Instructions, choose, chosen};
}

/// The README's code blocks run as tests too.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
