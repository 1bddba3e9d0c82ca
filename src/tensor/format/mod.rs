//! Printing: `{}` as PyTorch prints a tensor, `{:?}` on one short line.
//!
//! The text is made in four steps, one file or function each:
//!
//! 1. [`layout`]: which elements are shown. All of them up to 1000; beyond that only the first and the
//!    last three along every dim that is longer than six.
//! 2. [`numbers`]: one notation and one width for all elements. Only those that are *shown* decide on them.
//! 3. [`layout`] again: brackets, lines of at most 80 characters, blank lines between matrices.
//! 4. [`finish`]: what else there is to say (`dtype=f64`, `requires_grad=True`), on the last line or
//!    on one of its own.

mod layout;
mod numbers;

use crate::float::{DType, Float, compiled};
use crate::tensor::index::Indices;
use crate::tensor::mask::Mask;
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;
use layout::Layout;
use numbers::Texts;
use std::fmt;

/// Opens every printed tensor; all lines after the first are indented by its length.
const PREFIX: &str = "tensor(";
/// The longest line, in characters.
const LINE_WIDTH: usize = 80;
/// Digits after the point.
const PRECISION: usize = 4;
/// More digits than any f64 has after the point, and few enough for a column to be aligned by `format!`.
const MOST_PRECISION: usize = 1100;
/// How many elements `{:?}` shows.
const DEBUG_ELEMENTS: usize = 6;

/// As PyTorch prints a tensor with its default options, character by character:
///
/// ```
/// # use tapegrad::Tensor;
/// let x = Tensor::new([[0.5, -1.25, 3.0], [1e-3, 2.0, 0.0]]).requires_grad();
/// let text = "\
/// tensor([[ 5.0000e-01, -1.2500e+00,  3.0000e+00],
///         [ 1.0000e-03,  2.0000e+00,  0.0000e+00]], requires_grad=True)";
/// assert_eq!(x.to_string(), text);
/// ```
///
/// All elements share one notation: whole numbers (`3.`) if all are whole, four digits after the point
/// otherwise, and the scientific form if the largest is more than 1000 times the smallest, above 1e8 or the
/// smallest below 1e-4 (of the magnitudes that are neither zero nor infinite). Of more than 1000 elements,
/// only three at either end of each dim are shown. The result of a recorded step ends in
/// `grad_fn=<NameBackward>`, a leaf that requires a gradient in `requires_grad=True`.
///
/// Two things differ from PyTorch on purpose: the name of the step has no digit at its end
/// (`<SoftmaxBackward>` for `<SoftmaxBackward0>`), and types are named as in Rust (`dtype=f64` for
/// `dtype=torch.float64`). Lines break where PyTorch breaks them.
///
/// A precision asks for another number of digits after the point: `{x:.8}`.
impl<T: Float> fmt::Display for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(self, f)
    }
}

compiled! {
    fn display<T>(x: &Tensor<T>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = Layout::new(x.shape());
        let shown = layout.positions().into_iter().map(|position| x.as_slice()[position].to_f64());
        let precision = f.precision().unwrap_or(PRECISION).min(MOST_PRECISION);
        let texts = Texts::of_floats(&shown.collect::<Vec<_>>(), precision);
        let mut suffixes = size_of_empty(x.shape());
        if T::DTYPE == DType::F64 {
            suffixes.push(Suffix::dtype("f64", "torch.float64"));
        }
        suffixes.extend(gradient(x));
        f.write_str(&finish(PREFIX.to_owned() + &layout.brackets(&texts), &suffixes))
    }
}

/// As PyTorch prints an `int64` tensor.
///
/// ```
/// # use tapegrad::Indices;
/// let labels = Indices::new([[0, 10], [-2, 3]])?;
/// assert_eq!(labels.to_string(), "tensor([[ 0, 10],\n        [-2,  3]])");
/// # Ok::<(), tapegrad::Error>(())
/// ```
impl fmt::Display for Indices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(
            self.shape(),
            self.as_slice(),
            i64::to_string,
            Suffix::dtype("i64", "torch.int64"),
        ))
    }
}

/// As PyTorch prints a boolean tensor.
///
/// ```
/// # use tapegrad::Mask;
/// assert_eq!(Mask::new([true, false]).to_string(), "tensor([ True, False])");
/// ```
impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |&value: &bool| if value { "True" } else { "False" }.to_owned();
        f.write_str(&plain(self.shape(), self.as_slice(), text, Suffix::dtype("bool", "torch.bool")))
    }
}

/// One short line: precision, shape, the first few elements in row-major order, and whether the
/// tensor is tracked.
///
/// ```
/// # use tapegrad::Tensor;
/// let x = Tensor::<f32>::arange(0.0, 1e6, 1.0)?.requires_grad();
/// assert_eq!(format!("{x:?}"), "Tensor(f32 of [1000000]: 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, ..; requires_grad=True)");
/// # Ok::<(), tapegrad::Error>(())
/// ```
impl<T: Float> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} of {}{}", T::DTYPE, self.shape(), beginning(self.as_slice()))?;
        match gradient(self) {
            Some(Suffix { text, .. }) => write!(f, "; {text})"),
            None => f.write_str(")"),
        }
    }
}

/// One short line: the shape and the first few integers in row-major order.
impl fmt::Debug for Indices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Indices(i64 of {}{})", self.shape(), beginning(self.as_slice()))
    }
}

/// One short line: the shape and the first few booleans in row-major order.
impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask(bool of {}{})", self.shape(), beginning(self.as_slice()))
    }
}

/// The first elements as `{:?}` shows them: with all the digits that tell them apart.
fn beginning<E: fmt::Debug>(values: &[E]) -> String {
    let mut shown: Vec<_> = values.iter().take(DEBUG_ELEMENTS).map(|value| format!("{value:?}")).collect();
    if values.len() > DEBUG_ELEMENTS {
        shown.push("..".to_owned());
    }
    if shown.is_empty() { String::new() } else { format!(": {}", shown.join(", ")) }
}

/// The text of integers or booleans, whose type shows in the elements if there are any.
fn plain<E>(shape: &Shape, values: &[E], text: impl Fn(&E) -> String, dtype: Suffix) -> String {
    let layout = Layout::new(shape);
    let shown = layout.positions().into_iter().map(|position| text(&values[position]));
    let texts = Texts::aligned(shown.collect());
    let mut suffixes = size_of_empty(shape);
    if values.is_empty() {
        suffixes.push(dtype);
    }
    finish(PREFIX.to_owned() + &layout.brackets(&texts), &suffixes)
}

/// What stands behind the numbers, and how long it is in PyTorch: line breaks go by that, so that
/// the text differs from PyTorch's in nothing but the names.
struct Suffix {
    text: String,
    length: usize,
}

impl Suffix {
    fn new(text: String) -> Self {
        let length = text.chars().count();
        Suffix { text, length }
    }

    fn dtype(name: &str, in_pytorch: &str) -> Self {
        let Suffix { text, length } = Suffix::new(format!("dtype={name}"));
        Suffix { text, length: length - name.len() + in_pytorch.len() }
    }
}

/// `[]` alone says that the shape is \[0\]; any other shape without elements is spelled out, as a tuple.
fn size_of_empty(shape: &Shape) -> Vec<Suffix> {
    if shape.len() <= 1 || shape.elements() > 0 {
        return Vec::new();
    }
    let sizes: Vec<_> = shape.iter().map(usize::to_string).collect();
    vec![Suffix::new(format!("size=({})", sizes.join(", ")))]
}

/// Where the tensor stands in the graph; nothing for a constant.
fn gradient<T: Float>(tensor: &Tensor<T>) -> Option<Suffix> {
    match tensor.grad_fn() {
        Some(name) => {
            let Suffix { text, length } = Suffix::new(format!("grad_fn=<{name}Backward>"));
            Some(Suffix { text, length: length + "0".len() })
        }
        None => tensor.is_tracked().then(|| Suffix::new("requires_grad=True".to_owned())),
    }
}

/// Adds the suffixes and the closing bracket. A suffix goes onto a new line if the last one would
/// get too long.
fn finish(mut text: String, suffixes: &[Suffix]) -> String {
    // PyTorch counts two characters more than the last line has, so its lines may end at 78.
    let mut length = text.len() - text.rfind('\n').map_or(0, |end| end + 1) + 2;
    for suffix in suffixes {
        let separator = if length + ", ".len() + suffix.length > LINE_WIDTH {
            length = PREFIX.len() + suffix.length;
            format!(",\n{:indent$}", "", indent = PREFIX.len())
        } else {
            length += ", ".len() + suffix.length;
            ", ".to_owned()
        };
        text = text + &separator + &suffix.text;
    }
    text + ")"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_first_elements_with_all_their_digits_on_one_line() {
        let x = Tensor::from([[0.1f32, 0.2], [1e-9, f32::NAN]]);
        let text = "Tensor(f32 of [2, 2]: 0.1, 0.2, 1e-9, NaN)";
        assert_eq!((format!("{x:?}"), format!("{x:#?}")), (text.to_owned(), text.to_owned()));
        let y = (x.requires_grad() * 2.0).sum(..).unwrap();
        assert_eq!(format!("{y:?}"), "Tensor(f32 of []: NaN; grad_fn=<SumBackward>)");
        assert_eq!(format!("{:?}", Tensor::<f64>::zeros([0, 3]).unwrap()), "Tensor(f64 of [0, 3])");
        let many = Indices::new([[1, 2, 3, 4], [5, 6, 7, 8]]).unwrap();
        assert_eq!(format!("{many:?}"), "Indices(i64 of [2, 4]: 1, 2, 3, 4, 5, 6, ..)");
        assert_eq!(format!("{:?}", Mask::new([true, false])), "Mask(bool of [2]: true, false)");
    }

    #[test]
    fn a_suffix_moves_to_a_new_line_when_pytorch_would_move_its_own() {
        // 80 >= line + 2 + ", " + suffix, with the suffix as long as PyTorch spells it.
        let fits = 80 - 4 - "dtype=torch.float64".len();
        for (length, separator) in [(fits, ", "), (fits + 1, ",\n       ")] {
            let line = "x".repeat(length);
            let text = finish(line.clone(), &[Suffix::dtype("f64", "torch.float64")]);
            assert_eq!(text, line + separator + "dtype=f64)");
        }
    }
}
