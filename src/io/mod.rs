//! Models and checkpoints in files (feature `safetensors`).
//!
//! The format is [safetensors](https://github.com/huggingface/safetensors), which PyTorch reads and
//! writes with `safetensors.torch`: a header that lists names, shapes and places, then the numbers. There
//! is nothing in it to be executed.
//!
//! ```
//! use tapegrad::{io, Result, Tensor};
//!
//! # fn main() -> Result<()> {
//! # let folder = std::env::temp_dir().join(format!("tapegrad-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! # let path = folder.join("model.safetensors");
//! let trained = vec![Tensor::new([[1.0, 2.0]]).requires_grad()]; // any `Parameters` will do
//! io::save(&trained, &path)?;
//!
//! let mut model = vec![Tensor::new([[0.0, 0.0]]).requires_grad()];
//! io::load(&mut model, &path)?;
//! assert_eq!(model[0].to_vec(), [1.0, 2.0]);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! * **Saving is atomic.** The numbers go to a temporary file in the same folder, which takes the place of
//!   the old file when it is whole and on the disk. A crash or a full disk leaves the old file as it was.
//! * **Loading changes all or nothing.** Names, shapes and precision are compared first; a file that does
//!   not fit is an [`Error::StateMismatch`] that lists every difference.
//! * **A file is not trusted.** One that was cut off or tampered with is an
//!   [`Error::FileFormat`], and no more memory is asked for than the file has bytes.
//! * **Precision is not converted silently.** A file of f32 is read with [`load_tensors::<f32>`](load_tensors),
//!   converted with [`to_f64`](Tensor::to_f64), and given to a model with [`assign`].
//!
//! [`Checkpoint`] holds more than a model: everything that a run needs to continue bit for bit.

mod atomic;
mod checkpoint;
mod format;

pub use checkpoint::Checkpoint;

use crate::error::{Difference, Error, Result};
use crate::float::Float;
use crate::nn::{Name, Parameters};
use crate::tensor::model::Tensor;
use format::{Header, write};
use std::collections::BTreeMap;
use std::path::Path;

/// Saves the parameters of a model under their names.
///
/// In PyTorch, `safetensors.torch.load_file(path)` is then a state dict.
///
/// # Errors
/// [`Error::File`] if the file cannot be written; the old one is still there then.
/// [`Error::Argument`] for two parameters of one name.
pub fn save<T: Float>(model: &(impl Parameters<T> + ?Sized), path: impl AsRef<Path>) -> Result<()> {
    write("save", path.as_ref(), &model.named_parameters(), &BTreeMap::new())
}

/// Loads the parameters of a model, which was [saved](save) here or by `safetensors.torch.save_file`. The
/// values change in place: what requires a gradient still does, and gradients stay as they are.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, [`Error::FileFormat`] if it is not whole,
/// [`Error::StateMismatch`] if the names, shapes or the precision are not those of the model,
/// [`Error::NotLeaf`] if a parameter is the result of a recorded step, [`Error::Parameter`] for two parameters
/// of one name, [`Error::OutOfMemory`]. The model is unchanged then.
pub fn load<T: Float>(model: &mut (impl Parameters<T> + ?Sized), path: impl AsRef<Path>) -> Result<()> {
    let op = "load";
    let header = Header::open(op, path.as_ref())?;
    let expected = shapes(op, model)?;
    let infos = header.infos();
    let found = infos.map(|(name, info)| (name.to_string(), info.shape.clone())).collect();
    // Before anything is read.
    let mut differences = differences(expected, &found);
    differences.extend(header.other_precisions::<T>());
    refuse(op, differences)?;
    let tensors = header.read()?;
    assign(model, &tensors)
}

/// Saves tensors under names of their own.
///
/// ```
/// # use tapegrad::{io, Tensor};
/// # let path = std::env::temp_dir().join(format!("tapegrad-doc-tensors-{}", std::process::id()));
/// let (mean, scale) = (Tensor::new([0.5, 1.5]), Tensor::new([2.0, 4.0]));
/// io::save_tensors([("mean", &mean), ("scale", &scale)], &path)?;
/// let tensors = io::load_tensors::<f32>(&path)?;
/// assert_eq!(tensors["scale"].to_vec(), [2.0, 4.0]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), tapegrad::Error>(())
/// ```
///
/// # Errors
/// As for [`save`].
pub fn save_tensors<'a, T: Float>(
    tensors: impl IntoIterator<Item = (impl Into<String>, &'a Tensor<T>)>,
    path: impl AsRef<Path>,
) -> Result<()> {
    let tensors: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect();
    write("save_tensors", path.as_ref(), &tensors, &BTreeMap::new())
}

/// Loads all tensors of a file, as constants.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, [`Error::FileFormat`] if it is not whole,
/// [`Error::StateMismatch`] if there are tensors of another precision than `T`, [`Error::OutOfMemory`].
pub fn load_tensors<T: Float>(path: impl AsRef<Path>) -> Result<BTreeMap<String, Tensor<T>>> {
    let header = Header::open("load_tensors", path.as_ref())?;
    refuse("load_tensors", header.other_precisions::<T>().collect())?;
    header.read()
}

/// Gives every parameter of a model the values of the tensor of its name.
///
/// # Errors
/// [`Error::StateMismatch`] if the names or shapes are not those of the model, [`Error::NotLeaf`] if a
/// parameter is the result of a recorded step, [`Error::Parameter`] for two parameters of one name,
/// [`Error::OutOfMemory`]. The model is unchanged then.
pub fn assign<T: Float>(
    model: &mut (impl Parameters<T> + ?Sized),
    tensors: &BTreeMap<String, Tensor<T>>,
) -> Result<()> {
    let op = "assign";
    let expected = shapes(op, model)?;
    let found = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    refuse(op, differences(expected, &found))?;

    // Whatever can fail comes first: a value that is shared is copied, and is the same after that.
    let mut writable = Ok(());
    model.visit_mut(&Name::root(), &mut |_, parameter| {
        if writable.is_ok() {
            writable = parameter.as_mut_slice().map(|_| ());
        }
    });
    writable?;
    model.visit_mut(&Name::root(), &mut |name, parameter| {
        let tensor = tensors.get(&name.to_string()).filter(|tensor| tensor.shape() == parameter.shape());
        if let (Some(tensor), Ok(values)) = (tensor, parameter.as_mut_slice()) {
            values.copy_from_slice(tensor.as_slice());
        }
    });
    Ok(())
}

/// The shapes of a model's parameters by their names, of which no two may be the same.
fn shapes<T: Float>(
    op: &'static str,
    model: &mut (impl Parameters<T> + ?Sized),
) -> Result<BTreeMap<String, Vec<usize>>> {
    let (mut shapes, mut twice) = (BTreeMap::new(), None);
    model.visit_mut(&Name::root(), &mut |name, parameter| {
        if shapes.insert(name.to_string(), parameter.shape().to_vec()).is_some() {
            twice = Some(name.to_string());
        }
    });
    match twice {
        None => Ok(shapes),
        Some(parameter) => {
            Err(Error::Parameter { op, parameter, problem: "shares its name with an earlier one".into() })
        }
    }
}

/// What distinguishes the shapes that were found from those that were expected.
fn differences(
    expected: BTreeMap<String, Vec<usize>>,
    found: &BTreeMap<String, Vec<usize>>,
) -> Vec<Difference> {
    let unexpected = found.iter().filter(|(name, _)| !expected.contains_key(*name));
    let mut differences: Vec<_> = unexpected
        .map(|(name, shape)| Difference::Unexpected { name: name.clone(), shape: shape.clone() })
        .collect();
    differences.extend(expected.into_iter().filter_map(|(name, expected)| match found.get(&name) {
        None => Some(Difference::Missing { name, shape: expected }),
        Some(actual) if *actual != expected => {
            Some(Difference::Shape { name, expected, actual: actual.clone() })
        }
        Some(_) => None,
    }));
    differences
}

fn refuse(op: &'static str, differences: Vec<Difference>) -> Result<()> {
    match differences.is_empty() {
        true => Ok(()),
        false => Err(Error::StateMismatch { op, differences }),
    }
}
