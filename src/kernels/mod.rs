//! Loops over slices. They know nothing of tensors, gradients or errors; shapes and strides arrive
//! as plain numbers, and every output slice has the right length already.

pub(crate) mod columns;
pub(crate) mod convolution;
pub(crate) mod cross_entropy;
pub(crate) mod elementwise;
pub(crate) mod exact;
pub(crate) mod functions;
pub(crate) mod gather;
pub(crate) mod gelu;
pub(crate) mod layout;
pub(crate) mod matmul;
pub(crate) mod parallel;
pub(crate) mod reduce;
pub(crate) mod scratch;
mod short_lines;
pub(crate) mod simd;
mod single;
mod small_matmul;
pub(crate) mod softmax;
mod transpose;
