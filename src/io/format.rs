//! Reading and writing safetensors files: eight bytes with the length of a header, the header in JSON, the
//! numbers in little-endian order.

use super::atomic;
use crate::error::{Difference, Error, Result};
use crate::float::{DType, Float};
use crate::tensor::model::Tensor;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::Path;

/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;
/// The key of the header under which text is kept.
const METADATA: &str = "__metadata__";

/// Saves tensors, in their order, and texts beside them.
pub(super) fn write<T: Float>(
    op: &'static str,
    path: &Path,
    tensors: &[(String, &Tensor<T>)],
    texts: &BTreeMap<String, String>,
) -> Result<()> {
    let mut names = BTreeSet::from([METADATA]);
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(name)) {
        let (what, allowed) = ("the name of a tensor", "used once, and not __metadata__");
        return Err(Error::Argument { op, name: what, value: format!("{name:?}"), allowed });
    }
    let mut entries = Vec::new();
    if !texts.is_empty() {
        entries.push(entry(METADATA, texts));
    }
    let mut offset = 0;
    for (name, tensor) in tensors {
        let end = offset + size_of_val(tensor.as_slice());
        let (dtype, shape) = (dtype::<T>(), tensor.shape().to_vec());
        entries.push(entry(name, &TensorInfo { dtype, shape, data_offsets: (offset, end) }));
        offset = end;
    }
    let entries = entries.into_iter().collect::<serde_json::Result<Vec<_>>>();
    let entries = entries.map_err(|error| file_error(op, path, error.into()))?;
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' '); // so that the numbers are aligned in memory
    if header.len() as u64 > LONGEST_HEADER {
        let (what, allowed) = ("the header", "at most 100,000,000 bytes long: fewer or shorter names");
        return Err(Error::Argument { op, name: what, value: format!("{} bytes", header.len()), allowed });
    }
    let written = atomic::replace(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| file.write_all(&little_endian(tensor.as_slice())))
    });
    written.map_err(|error| file_error(op, path, error))
}

/// A name and what belongs to it, as JSON. Entry by entry, so that they stand in the order of the numbers.
fn entry(name: &str, value: &impl Serialize) -> serde_json::Result<String> {
    Ok(format!("{}:{}", serde_json::to_string(name)?, serde_json::to_string(value)?))
}

/// A file whose header has been read, and describes exactly the bytes that follow.
pub(super) struct Header<'a> {
    op: &'static str,
    path: &'a Path,
    file: BufReader<File>,
    metadata: Metadata,
}

impl<'a> Header<'a> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::FileFormat`].
    pub fn open(op: &'static str, path: &'a Path) -> Result<Self> {
        let of_system = |error| file_error(op, path, error);
        let malformed = |message: String| format_error(op, path, message);
        let status = fs::metadata(path).map_err(of_system)?;
        if !status.is_file() {
            // Opening a pipe would wait for somebody to write to it.
            return Err(file_error(op, path, io::Error::new(ErrorKind::InvalidInput, "not a regular file")));
        }
        let mut file = BufReader::new(File::open(path).map_err(of_system)?);
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|error| read_error(op, path, error))?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER || length > status.len() {
            return Err(malformed(format!("a header of {length} bytes in a file of {}", status.len())));
        }
        let mut header = Vec::new();
        file.by_ref().take(length).read_to_end(&mut header).map_err(of_system)?;
        if (header.len() as u64) < length {
            return Err(malformed("it ends in the middle of its header".into()));
        }
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| malformed(error.to_string()))?;
        let (described, present) = (metadata.data_len() as u64, status.len().saturating_sub(8 + length));
        if described != present {
            return Err(malformed(format!(
                "its header describes {described} bytes of numbers, and {present} follow"
            )));
        }
        Ok(Header { op, path, file, metadata })
    }

    /// The names of the tensors and what is known of them, in the order in which they are stored.
    pub fn infos(&self) -> impl Iterator<Item = (String, &TensorInfo)> {
        let names = self.metadata.offset_keys().into_iter();
        names.filter_map(|name| self.metadata.info(&name).map(|info| (name.clone(), info)))
    }

    /// The texts.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let texts = self.metadata.metadata().iter().flatten();
        texts.map(|(name, text)| (name.clone(), text.clone())).collect()
    }

    /// The tensors that hold other numbers than `T`.
    pub fn other_precisions<T: Float>(&self) -> impl Iterator<Item = Difference> {
        self.infos().filter(|(_, info)| info.dtype != dtype::<T>()).map(|(name, info)| Difference::DType {
            name,
            expected: T::DTYPE,
            actual: info.dtype.to_string(),
        })
    }

    /// All tensors, which were checked to be of precision `T`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::FileFormat`], [`Error::OutOfMemory`].
    pub fn read<T: Float>(mut self) -> Result<BTreeMap<String, Tensor<T>>> {
        let infos: Vec<_> = self.infos().map(|(name, info)| (name, info.shape.clone())).collect();
        let mut tensors = BTreeMap::new();
        for (name, shape) in infos {
            let malformed = |error: Error| format_error(self.op, self.path, format!("{name}: {error}"));
            // The header was compared with the length of the file, so there are as many bytes to be read.
            let tensor = Tensor::zeros(&shape[..]);
            let mut tensor: Tensor<T> = tensor.map_err(|error| match error {
                Error::OutOfMemory { .. } => error,
                _ => malformed(error),
            })?;
            let values = tensor.as_mut_slice()?;
            let bytes = bytemuck::cast_slice_mut::<T, u8>(values);
            self.file.read_exact(bytes).map_err(|error| read_error(self.op, self.path, error))?;
            if cfg!(target_endian = "big") {
                bytes.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
            }
            tensors.insert(name, tensor);
        }
        Ok(tensors)
    }
}

fn dtype<T: Float>() -> Dtype {
    match T::DTYPE {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

fn little_endian<T: Float>(values: &[T]) -> Cow<'_, [u8]> {
    let bytes = bytemuck::cast_slice::<T, u8>(values);
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(bytes);
    }
    let mut bytes = bytes.to_vec();
    bytes.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
    Cow::Owned(bytes)
}

/// A file that ends too early is malformed; any other error comes from the system.
fn read_error(op: &'static str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => format_error(op, path, "it ends too early".into()),
        _ => file_error(op, path, error),
    }
}

fn file_error(op: &'static str, path: &Path, error: io::Error) -> Error {
    Error::File { op, path: path.display().to_string(), kind: error.kind(), message: error.to_string() }
}

pub(super) fn format_error(op: &'static str, path: &Path, message: String) -> Error {
    Error::FileFormat { op, path: path.display().to_string(), message }
}
