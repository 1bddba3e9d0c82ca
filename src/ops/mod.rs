//! The operations, one file a family. Each file reads top to bottom: the formula and its derivative,
//! the public method, the rule.
//!
//! Most tests stand elsewhere, because they are the same for all families: `tests/gradients` checks every rule against
//! finite differences, `tests/golden_torch.rs` compares values and gradients with PyTorch's, and `tests/fused.rs`
//! holds each fused rule equal to its plain formula. A file ends with tests of its own where its family has
//! something that these do not see.

mod binary;
mod cast;
mod compare;
mod conv;
mod gather;
mod join;
mod layout;
mod loss;
mod matmul;
pub(crate) mod metrics;
mod operators;
mod pool;
mod reduce;
mod softmax;
mod unary;

pub use binary::Operand;
pub use conv::{Conv2dOptions, HeightWidth};
pub use loss::{
    BceWithLogitsLoss, CrossEntropyLoss, KlDivLoss, MseLoss, NllLoss, Reduction, Target, ToTarget,
};
pub use pool::MaxPool2dOptions;
