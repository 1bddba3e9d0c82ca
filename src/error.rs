//! What can go wrong, with the facts in it.

/// The result of every fallible call in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call was refused.
///
/// Variants are what a program can tell apart; their fields are the operation and the numbers that a reader
/// needs in order to mend the call. Shapes are printed as `[2, 3]`. A call that returns an error has changed
/// nothing.
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

    /// An argument has another shape, or another number of dims, than the operation needs.
    #[error("{op}: {what} {}", misfit(expected, actual))]
    Shape {
        /// The operation.
        op: &'static str,
        /// The argument.
        what: &'static str,
        /// What would fit.
        expected: ExpectedShape,
        /// The shape that was given.
        actual: Vec<usize>,
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

    /// A dim outside `-rank..rank`, or one that is named twice.
    #[error("{op}: dim {dim} {}", dim_problem(*rank, *is_repeated))]
    Dim {
        /// The operation.
        op: &'static str,
        /// The dim as it was given; one that is named twice is counted from the front.
        dim: isize,
        /// The rank of the tensor.
        rank: usize,
        /// Whether it is named twice.
        is_repeated: bool,
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

    /// A gradient was asked of a tensor that was not computed from any that requires one, or with respect to a
    /// tensor that does not require one.
    #[error("{op}: {}", untracked(*input))]
    NotTracked {
        /// The operation.
        op: &'static str,
        /// Which of the inputs it is; none for an output.
        input: Option<usize>,
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

    /// A rule asked for what its step did not save, or returned gradients that do not fit the step's inputs.
    #[error("{step}Backward: {problem}")]
    Rule {
        /// The step's name.
        step: &'static str,
        /// What is wrong with the rule.
        problem: String,
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
        /// What the number is: `the entry`, `the gradient of parameter "w"`.
        what: String,
        /// Where it stands: the first such number.
        position: Vec<usize>,
        /// The number.
        value: f64,
    },

    /// A row of a table has a field that is no finite number, or another length than the first row.
    #[error("{op}: row {row}{} {problem}", in_column(*column))]
    Table {
        /// The operation.
        op: &'static str,
        /// The row, counted from 0.
        row: usize,
        /// The column, counted from 0; none if it is the row that is wrong.
        column: Option<usize>,
        /// What is wrong with it.
        problem: String,
    },

    /// A parameter cannot be used as it is: it has no gradient, or does not fit what was saved of it.
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

/// The shape or the number of dims that an operation needs; see [`Error::Shape`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpectedShape {
    /// These sizes.
    Sizes(Vec<usize>),
    /// This rank, in words.
    Rank(&'static str),
}

impl From<Vec<usize>> for ExpectedShape {
    fn from(sizes: Vec<usize>) -> Self {
        ExpectedShape::Sizes(sizes)
    }
}

impl From<&'static str> for ExpectedShape {
    fn from(rank: &'static str) -> Self {
        ExpectedShape::Rank(rank)
    }
}

fn misfit(expected: &ExpectedShape, actual: &[usize]) -> String {
    match expected {
        ExpectedShape::Sizes(sizes) => format!("has shape {actual:?}, expected {sizes:?}"),
        ExpectedShape::Rank(rank) => {
            format!("of shape {actual:?} has rank {}, expected {rank}", actual.len())
        }
    }
}

fn dim_problem(rank: usize, is_repeated: bool) -> String {
    match is_repeated {
        true => "is named twice".to_string(),
        // A single value has the dims 0 and -1.
        false => format!("is not in [-{bound}, {bound}) for a tensor of rank {rank}", bound = rank.max(1)),
    }
}

fn untracked(input: Option<usize>) -> String {
    match input {
        Some(index) => {
            format!("input {index} does not require a gradient; call requires_grad() on it before it is used")
        }
        None => {
            "this tensor was not computed from any tensor that requires a gradient (or was, inside no_grad)"
                .to_string()
        }
    }
}

fn in_column(column: Option<usize>) -> String {
    column.map_or(String::new(), |column| format!(", column {column}:"))
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
