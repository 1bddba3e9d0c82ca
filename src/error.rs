//! What can go wrong, with the facts in it.

/// The result of every fallible call in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call was refused.
///
/// Each variant carries the operation and the numbers that a reader needs in order to mend the
/// call; shapes are printed as `[2, 3]`. A call that returns an error has changed nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two shapes that NumPy's broadcasting rule cannot bring together.
    #[error(
        "{op}: shapes {left:?} and {right:?} do not broadcast: sizes must be equal or 1, counted from the last dim"
    )]
    Broadcast {
        /// The operation.
        op: &'static str,
        /// Shape of the left operand.
        left: Vec<usize>,
        /// Shape of the right operand.
        right: Vec<usize>,
    },

    /// An argument has another shape than the operation needs.
    #[error("{op}: {what} has shape {actual:?}, expected {expected:?}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The argument.
        what: &'static str,
        /// The shape that would fit.
        expected: Vec<usize>,
        /// The shape that was given.
        actual: Vec<usize>,
    },

    /// An argument has another number of dims than the operation needs.
    #[error("{op}: {what} of shape {shape:?} has rank {}, expected {expected}", shape.len())]
    Rank {
        /// The operation.
        op: &'static str,
        /// The argument.
        what: &'static str,
        /// The rank that would fit, in words.
        expected: &'static str,
        /// The shape that was given.
        shape: Vec<usize>,
    },

    /// The number of values does not fill the shape.
    #[error("{op}: {length} values do not fill shape {shape:?}")]
    Length {
        /// The operation.
        op: &'static str,
        /// How many values were given.
        length: usize,
        /// The shape that they should fill (-1: to be inferred).
        shape: Vec<isize>,
    },

    /// The rows of a nested list have different lengths.
    #[error("{op}: row {row} has {actual} values, the first row has {expected}")]
    Ragged {
        /// The operation.
        op: &'static str,
        /// The first row that differs.
        row: usize,
        /// The length of the first row.
        expected: usize,
        /// The length of this row.
        actual: usize,
    },

    /// The sizes of a shape multiply to more elements than memory can be asked for.
    #[error("{op}: the number of elements of shape {shape:?} overflows")]
    TooLarge {
        /// The operation.
        op: &'static str,
        /// The shape.
        shape: Vec<usize>,
    },

    /// The allocator refused.
    #[error("out of memory: an allocation of {bytes} bytes was refused")]
    OutOfMemory {
        /// The size that was asked for.
        bytes: usize,
    },

    /// A dim outside `-rank..rank`.
    #[error("{op}: dim {dim} is not in [-{bound}, {bound}) for a tensor of rank {rank}", bound = (*rank).max(1))]
    DimOutOfRange {
        /// The operation.
        op: &'static str,
        /// The dim that was given.
        dim: isize,
        /// The rank of the tensor.
        rank: usize,
    },

    /// The same dim named twice.
    #[error("{op}: dim {dim} is named twice")]
    RepeatedDim {
        /// The operation.
        op: &'static str,
        /// The dim, counted from the front.
        dim: usize,
    },

    /// An index, class or position outside its range.
    #[error("{op}: {what} {value} at {position:?} is not {unit} of [0, {size})")]
    OutOfRange {
        /// The operation.
        op: &'static str,
        /// What the number is: "target", "index".
        what: &'static str,
        /// What it counts: "a class", "a position".
        unit: &'static str,
        /// Where it stands in its own tensor.
        position: Vec<usize>,
        /// The number.
        value: i128,
        /// The first number that is too large.
        size: usize,
    },

    /// The reduction of no elements, for an operation that has no value there.
    #[error("{op}: shape {shape:?} has no elements to reduce over dims {dims:?}")]
    EmptyReduction {
        /// The operation.
        op: &'static str,
        /// The shape of the input.
        shape: Vec<usize>,
        /// The dims, counted from the front.
        dims: Vec<usize>,
    },

    /// An argument outside its allowed range.
    #[error("{op}: {name} is {value}, it must be {allowed}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// The argument.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        allowed: &'static str,
    },

    /// A window that is larger than the image over which it slides.
    #[error(
        "{op}: a kernel of {kernel} with dilation {dilation} does not fit a {along} of {size} with a padding of {padding} on each side"
    )]
    KernelSize {
        /// The operation.
        op: &'static str,
        /// The dim: "height" or "width".
        along: &'static str,
        /// The number of elements of a window.
        kernel: usize,
        /// How far apart they are.
        dilation: usize,
        /// The size of the image.
        size: usize,
        /// What is added to it on each side.
        padding: usize,
    },

    /// A single value was asked of a tensor that has none or several.
    #[error("{op}: a tensor of shape {shape:?} is not a single value{hint}")]
    NotScalar {
        /// The operation.
        op: &'static str,
        /// The shape of the tensor.
        shape: Vec<usize>,
        /// What to call instead.
        hint: &'static str,
    },

    /// A gradient was asked of something that depends on no tensor that requires one.
    #[error(
        "{op}: this tensor was not computed from any tensor that requires a gradient (or was, inside no_grad)"
    )]
    NotTracked {
        /// The operation.
        op: &'static str,
    },

    /// A gradient was asked with respect to a tensor that does not require one.
    #[error("{op}: input {index} does not require a gradient; call requires_grad() on it before it is used")]
    InputNotTracked {
        /// The operation.
        op: &'static str,
        /// Which of the inputs.
        index: usize,
    },

    /// A gradient was asked with respect to a tensor that the output does not depend on.
    #[error("{op}: the outputs do not depend on input {index}; set materialize_grads to get zeros instead")]
    Unused {
        /// The operation.
        op: &'static str,
        /// Which of the inputs.
        index: usize,
    },

    /// Backward came to a step that an earlier backward has played and released.
    #[error(
        "{op}: step {step} was released by an earlier backward; keep the graph with retain_graph if it is needed twice"
    )]
    Released {
        /// The operation.
        op: &'static str,
        /// The step's name.
        step: &'static str,
    },

    /// An argument that requires a gradient stands where the operation has no derivative.
    #[error("{op}: there is no derivative with respect to {what}; detach() it")]
    NotDifferentiable {
        /// The operation.
        op: &'static str,
        /// The argument.
        what: &'static str,
    },

    /// The value of a recorded result cannot be written: the steps around it would not know.
    #[error("{op}: the value of a recorded {step} cannot be changed; detach() it first")]
    NotLeaf {
        /// The operation.
        op: &'static str,
        /// The step's name.
        step: &'static str,
    },

    /// A rule asked for a value that its step did not save.
    #[error("{step}Backward: {what} was not saved when the step was recorded")]
    NotSaved {
        /// The step's name.
        step: &'static str,
        /// The value.
        what: &'static str,
    },

    /// A rule returned another number of gradients than its step has inputs.
    #[error("{step}Backward: the rule returned {actual} gradients for {expected} inputs")]
    GradientCount {
        /// The step's name.
        step: &'static str,
        /// The number of inputs.
        expected: usize,
        /// The number of gradients.
        actual: usize,
    },

    /// A rule returned a gradient that does not fit its input.
    #[error("{step}Backward: the gradient of input {index} is {actual}, expected {expected}")]
    GradientType {
        /// The step's name.
        step: &'static str,
        /// Which input.
        index: usize,
        /// Precision and shape of the input.
        expected: String,
        /// Precision and shape of the gradient.
        actual: String,
    },

    /// A gradient differs from what finite differences give: see [`gradcheck`](crate::gradcheck).
    #[error(
        "{op}: derivative of order {order} by input {input} at {position:?}: recorded {recorded}, finite differences give {differences}"
    )]
    GradientMismatch {
        /// The operation: `gradcheck`.
        op: &'static str,
        /// 1 for a gradient, 2 for the gradient of a gradient, and so on.
        order: usize,
        /// Which input; the upstream gradients of lower orders come after those of the function.
        input: usize,
        /// Where in it.
        position: Vec<usize>,
        /// What the rules give.
        recorded: f64,
        /// What the differences give; nan if they are not finite for any step.
        differences: f64,
    },

    /// A number that must be finite is infinite or nan.
    #[error("{op}: {what} at {position:?} is {value}")]
    NotFinite {
        /// The operation.
        op: &'static str,
        /// What the number is.
        what: &'static str,
        /// Where it stands.
        position: Vec<usize>,
        /// The number.
        value: f64,
    },

    /// A field of a table is not a finite number.
    #[error("{op}: row {row}, column {column}: {text:?} is not a finite number")]
    NotANumber {
        /// The operation.
        op: &'static str,
        /// The row, counted from 0.
        row: usize,
        /// The column, counted from 0.
        column: usize,
        /// The field, or its beginning.
        text: String,
    },

    /// A parameter that is to be updated has no gradient.
    #[error(
        "{op}: parameter {parameter:?} has no gradient: the loss does not depend on it, or backward has not run (freeze() excludes it)"
    )]
    MissingGradient {
        /// The operation.
        op: &'static str,
        /// The parameter's name.
        parameter: String,
    },

    /// The gradient of a parameter is infinite or nan.
    #[error("{op}: the gradient of parameter {parameter:?} at {position:?} is {value}")]
    NonFiniteGradient {
        /// The operation.
        op: &'static str,
        /// The parameter's name.
        parameter: String,
        /// Where in it: the first such entry.
        position: Vec<usize>,
        /// The entry.
        value: f64,
    },

    /// A parameter cannot be used as it is.
    #[error("{op}: parameter {parameter:?} {problem}")]
    Parameter {
        /// The operation.
        op: &'static str,
        /// The parameter's name.
        parameter: String,
        /// What is wrong with it.
        problem: String,
    },

    /// A file cannot be opened, read or written.
    #[error("{op}: {path}: {message}")]
    File {
        /// The operation.
        op: &'static str,
        /// The path as it was given.
        path: String,
        /// What the system calls it.
        kind: std::io::ErrorKind,
        /// What the system says.
        message: String,
    },

    /// A file was cut off, tampered with, or is something else altogether.
    #[error("{op}: {path} is not a whole safetensors file: {message}")]
    FileFormat {
        /// The operation.
        op: &'static str,
        /// The path as it was given.
        path: String,
        /// What is wrong with it.
        message: String,
    },

    /// Saved tensors are not those that are to be restored.
    #[error("{op}: the saved state does not fit: {}", listed(differences))]
    StateMismatch {
        /// The operation.
        op: &'static str,
        /// Every difference.
        differences: Vec<Difference>,
    },

    /// A failure that a user-defined operation reports in its own words.
    #[error("{op}: {message}")]
    Operation {
        /// The operation.
        op: &'static str,
        /// What went wrong and what to do.
        message: String,
    },
}

impl Error {
    /// The refusal of an argument that was converted on behalf of another operation, in the name of that one.
    pub(crate) fn of_call(self, op: &'static str) -> Error {
        match self {
            Error::Argument { name, value, allowed, .. } => Error::Argument { op, name, value, allowed },
            other => other,
        }
    }
}

/// How a saved state differs from what is to be restored; see [`Error::StateMismatch`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// A tensor is not among those that were saved.
    #[error("{name} {shape:?} is missing")]
    Missing {
        /// Its name.
        name: String,
        /// The shape that is expected.
        shape: Vec<usize>,
    },

    /// A tensor was saved, and there is none of its name.
    #[error("{name} {shape:?} is unexpected")]
    Unexpected {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// A tensor has another shape.
    #[error("{name} is {actual:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape that is expected.
        expected: Vec<usize>,
        /// The shape that was saved.
        actual: Vec<usize>,
    },

    /// A tensor has another precision.
    #[error("{name} is {actual}, expected {expected}")]
    DType {
        /// Its name.
        name: String,
        /// The precision that is expected.
        expected: crate::float::DType,
        /// What was saved.
        actual: String,
    },

    /// The state of a random generator is not among those that were saved.
    #[error("the generator {name} is missing")]
    MissingGenerator {
        /// Its name.
        name: String,
    },

    /// The state of a random generator was saved, and there is none of its name.
    #[error("the generator {name} is unexpected")]
    UnexpectedGenerator {
        /// Its name.
        name: String,
    },
}

/// The first differences, and how many more there are.
fn listed(differences: &[Difference]) -> String {
    const LISTED: usize = 10;
    let mut parts: Vec<String> = differences.iter().take(LISTED).map(Difference::to_string).collect();
    if differences.len() > LISTED {
        parts.push(format!("and {} more", differences.len() - LISTED));
    }
    parts.join("; ")
}
