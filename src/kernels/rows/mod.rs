//! Softmax, cross entropy and their relatives, row by row.

pub(crate) mod columns;
pub(crate) mod cross_entropy;
mod short_lines;
pub(crate) mod softmax;
