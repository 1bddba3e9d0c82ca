//! Loops over slices. They know nothing of tensors, gradients or errors; shapes and strides arrive
//! as plain numbers, and every output slice has the right length already.

pub(crate) mod compensated;
pub(crate) mod convolution;
pub(crate) mod copies;
pub(crate) mod elementwise;
pub(crate) mod functions;
pub(crate) mod gather;
pub(crate) mod matmul;
pub(crate) mod parallel;
pub(crate) mod reduce;
pub(crate) mod rows;
pub(crate) mod scratch;
pub(crate) mod simd;
