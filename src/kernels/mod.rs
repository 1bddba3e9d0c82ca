//! Loops over slices. They know nothing of tensors or of recording: shapes and strides arrive as plain numbers, and
//! every output slice has the right length already. Gradients are formulas like others here. Only [`simd`] returns
//! an error: when a user asks for instructions that the processor does not have.
//!
//! In reading order:
//!
//! ```text
//! simd          the instruction sets that a kernel is compiled for
//! parallel      cuts work into chunks and shares them among threads
//! compensated   sums that keep what each rounding leaves out
//! scratch       memory for the time that a kernel runs
//! copies/       strided: views and broadcasts; transpose: rows on their side and back
//! elementwise   one output from one or two inputs
//! reduce        one output from many inputs
//! gather        elements picked, or added, by position
//! convolution   windows that slide over images
//! matmul/       products of matrices
//! functions/    exp, log, sigmoid and others, to the last digit
//! rows/         softmax, cross entropy and their relatives
//! ```
//!
//! These words have one meaning in all of them:
//!
//! ```text
//! row     the elements along one dim, side by side or strided; in `rows`, along the class dim
//! slab    size x inner neighbouring elements: what a tensor of shape (outer, size, inner) holds for one outer index
//! chunk   what one thread takes at a time
//! block   several short rows on their side: element c of each row stands beside element c of the others
//! lane    one of the numbers that are processed at once; in a block, each row has a lane
//! piece   a part of a long row, so short that it stays in the fastest cache
//! ```

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
