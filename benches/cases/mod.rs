//! What is timed: the cases, their data, and how this crate and the bare machine do them.
//!
//! `benches/speed.rs` repeats them alone, `benches/peers` beside other libraries; both include this folder.
//! A repeat of a case that trains is forward, backward, reading the gradient and dropping the graph, so
//! every repeat records a fresh graph. All numbers are `f32`.

pub mod hardware;
pub mod ours;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::fmt;
use std::hint::black_box;
use tapegrad::Tensor;

/// How far a step of gradient descent goes. Small, so that thousands of repeats on the same batch do not
/// leave the range of values in which a network is trained.
pub const LEARNING_RATE: f32 = 1e-3;

/// The linear classifier: objects, features, classes.
pub const CLASSIFIER: [usize; 3] = [100, 2, 3];

/// The multilayer perceptron: objects, inputs, hidden units, classes.
pub const PERCEPTRON: [usize; 4] = [64, 784, 128, 10];

/// What a single operation is done to: rows, columns.
pub const OPERAND: [usize; 2] = [512, 1000];

/// One thing to time. The numbers are rows and classes, unless said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// The mean cross entropy forward and backward; the logits are a leaf.
    CrossEntropy(usize, usize),
    /// The same of logits that a step before computed, and that nobody needs afterwards. That step does
    /// nothing: refilling the logits' memory is not timed.
    CrossEntropyOfResult(usize, usize),
    /// The mean cross entropy forward, nothing recorded.
    CrossEntropyForward(usize, usize),
    /// Softmax forward, nothing recorded.
    Softmax(usize, usize),
    /// The logarithm of softmax forward, nothing recorded.
    LogSoftmax(usize, usize),
    /// One entry of each row, summed, forward and backward.
    Gather(usize, usize),
    /// One of [`ours::OPERATIONS`] on [`OPERAND`] numbers above 0, forward and backward.
    Operation(&'static str),
    /// A training step of [`CLASSIFIER`].
    ClassifierStep,
    /// A training step of [`PERCEPTRON`].
    PerceptronStep,
    /// The product of an (n, k) and a (k, m) matrix, from n, k and m; nothing recorded.
    Matmul(usize, usize, usize),
    /// A sum over so much memory.
    Read(usize, usize),
    /// The same, then a copy into memory that is in use already.
    ReadThenCopy(usize, usize),
    /// The same, then a change of every number where it is.
    ReadThenWriteInPlace(usize, usize),
}

/// All cases.
pub const CASES: &[Case] = &[
    Case::CrossEntropy(64, 3),
    Case::CrossEntropy(1024, 10),
    Case::CrossEntropy(512, 1000),
    Case::CrossEntropy(256, 32_000),
    Case::CrossEntropy(256, 128_256),
    Case::CrossEntropyOfResult(256, 32_000),
    Case::CrossEntropyOfResult(256, 128_256),
    Case::Read(256, 32_000),
    Case::Read(256, 128_256),
    Case::ReadThenCopy(256, 32_000),
    Case::ReadThenCopy(256, 128_256),
    Case::ReadThenWriteInPlace(256, 32_000),
    Case::ReadThenWriteInPlace(256, 128_256),
    Case::CrossEntropyForward(64, 3),
    Case::CrossEntropyForward(1024, 10),
    Case::CrossEntropyForward(512, 1000),
    Case::CrossEntropyForward(256, 32_000),
    Case::CrossEntropyForward(256, 128_256),
    Case::Softmax(512, 1000),
    Case::Softmax(256, 32_000),
    Case::LogSoftmax(512, 1000),
    Case::LogSoftmax(256, 32_000),
    Case::Gather(4096, 1000),
    Case::ClassifierStep,
    Case::PerceptronStep,
    Case::Matmul(1024, 1024, 1024),
    Case::Matmul(512, 512, 32_000),
    Case::Operation("exp"),
    Case::Operation("log"),
    Case::Operation("sqrt"),
    Case::Operation("tanh"),
    Case::Operation("sigmoid"),
    Case::Operation("softplus"),
    Case::Operation("gelu"),
    Case::Operation("relu"),
    Case::Operation("clamp"),
    Case::Operation("square"),
    Case::Operation("broadcast"),
    Case::Operation("sum_of_rows"),
    Case::Operation("sum_of_columns"),
    Case::Operation("max_of_rows"),
    Case::Operation("logsumexp_of_rows"),
    Case::Operation("softmax_of_rows"),
    Case::Operation("softmax_of_columns"),
    Case::Operation("log_softmax_of_columns"),
    Case::Operation("transpose"),
    Case::Operation("cat"),
    Case::Operation("narrow"),
    Case::Operation("binary_cross_entropy"),
];

/// The name under which results are merged with those of other programs.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, rows, classes) = match *self {
            Case::CrossEntropy(rows, classes) => ("cross_entropy", rows, classes),
            Case::CrossEntropyOfResult(rows, classes) => ("cross_entropy of a result", rows, classes),
            Case::CrossEntropyForward(rows, classes) => ("cross_entropy forward", rows, classes),
            Case::Softmax(rows, classes) => ("softmax forward", rows, classes),
            Case::LogSoftmax(rows, classes) => ("log_softmax forward", rows, classes),
            Case::Gather(rows, classes) => ("gather", rows, classes),
            Case::Read(rows, classes) => ("read", rows, classes),
            Case::ReadThenCopy(rows, classes) => ("read, then copy", rows, classes),
            Case::ReadThenWriteInPlace(rows, classes) => ("read, then write in place", rows, classes),
            Case::Operation(name) => return f.pad(&format!("operation {name}")),
            Case::ClassifierStep => return f.pad("linear classifier step"),
            Case::PerceptronStep => return f.pad("perceptron step"),
            Case::Matmul(n, k, m) => return f.pad(&format!("matmul {n}x{k}x{m}")),
        };
        f.pad(&format!("{name} {rows}x{classes}"))
    }
}

/// A case, ready to be repeated.
pub trait Repeat {
    /// Whether each repeat must be prepared by itself.
    fn needs_preparation(&self) -> bool {
        false
    }

    /// Puts in place what a repeat starts from, and is not timed.
    fn prepare(&mut self) {}

    /// What is timed.
    fn repeat(&mut self);

    /// What a repeat computes: the gradient of a leaf, the loss of a training step, or the value of what only
    /// goes forward. Nothing where the machine is measured.
    #[allow(dead_code)] // benches/peers compares it between libraries; benches/speed.rs has no use for it
    fn outcome(&mut self) -> Vec<f32> {
        Vec::new()
    }
}

impl<F: FnMut()> Repeat for F {
    fn repeat(&mut self) {
        self()
    }
}

/// A repeat that ends in a value, and how the numbers of such a value are read.
struct Ending<C, R> {
    compute: C,
    read: R,
}

impl<V, C: FnMut() -> V, R: Fn(V) -> Vec<f32>> Repeat for Ending<C, R> {
    fn repeat(&mut self) {
        drop(black_box((self.compute)()));
    }

    fn outcome(&mut self) -> Vec<f32> {
        (self.read)((self.compute)())
    }
}

/// A case whose repeats end in a value.
pub fn ending<V>(
    compute: impl FnMut() -> V + 'static,
    read: impl Fn(V) -> Vec<f32> + 'static,
) -> Box<dyn Repeat> {
    Box::new(Ending { compute, read })
}

/// Independent samples of the standard normal distribution, the same in every run.
pub fn normal<const RANK: usize>(shape: [usize; RANK]) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    Tensor::randn(shape, &mut rng).expect("the shape fits in memory")
}

/// The weight of a layer, (outputs, inputs), as a perceptron's training starts.
pub fn weight(outputs: usize, inputs: usize) -> Tensor {
    normal([outputs, inputs]).mul(1.0 / (inputs as f64).sqrt()).expect("a number fits every shape")
}

/// A class for each row, spread over all classes.
pub fn targets(rows: usize, classes: usize) -> Vec<i64> {
    (0..rows).map(|row| (row * 7919 % classes) as i64).collect()
}
