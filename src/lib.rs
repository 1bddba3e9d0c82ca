//! tapegrad

mod anomaly;
mod backward;
mod buffer;
mod create;
mod error;
mod float;
mod format;
mod grad_mode;
mod index;
mod kernels;
mod mask;
mod metrics;
mod nested;
mod ops;
mod shape;
mod step;
mod tape;
mod tensor;

pub use anomaly::{NonFinite, StepPart};
pub use backward::{GradOptions, backward, find_non_finite, grad};
pub use buffer::live_bytes;
pub use error::{Error, Result};
pub use float::{DType, Float};
pub use grad_mode::{enable_grad, is_grad_enabled, no_grad};
pub use index::{Indices, Integer, ToIndices};
pub use mask::Mask;
pub use metrics::{accuracy, error_rate};
pub use nested::{Literal, Nested};
pub use ops::{CrossEntropyLoss, NllLoss, Operand, Reduction, Target, ToTarget};
pub use shape::{Dims, KeepDim, ResolvedDims, Shape, ToSizes, keepdim};
pub use step::{Backward, Gradients, Step, StepContext};
pub use tape::{Tape, TapeEntry};
pub use tensor::{Tensor, live_nodes};
