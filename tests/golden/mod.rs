//! What the golden tests share: reading the files in `tests/data`, calling an operation by its
//! name, and comparing tensors.
#![allow(dead_code)] // each test program uses a part of it

pub mod compare;
pub mod differences;
pub mod onnx;
pub mod operations;
pub mod programs;
pub mod store;
pub mod terms;

use serde_json::{Map, Value as Json};
use tapegrad::{Dims, Float, Indices, Mask, Reduction, Shape, Tensor};

/// A float, integer or boolean tensor: the arguments and results of an operation.
#[derive(Clone, Debug)]
pub enum Value<T: Float> {
    Float(Tensor<T>),
    Integer(Indices),
    Boolean(Mask),
}

impl<T: Float> Value<T> {
    pub fn shape(&self) -> &Shape {
        match self {
            Value::Float(tensor) => tensor.shape(),
            Value::Integer(indices) => indices.shape(),
            Value::Boolean(mask) => mask.shape(),
        }
    }

    /// The elements as numbers.
    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Value::Float(tensor) => tensor.as_slice().iter().map(|&x| x.to_f64()).collect(),
            Value::Integer(indices) => indices.as_slice().iter().map(|&i| i as f64).collect(),
            Value::Boolean(mask) => mask.as_slice().iter().map(|&b| f64::from(u8::from(b))).collect(),
        }
    }
}

impl<T: Float> From<Tensor<T>> for Value<T> {
    fn from(tensor: Tensor<T>) -> Self {
        Value::Float(tensor)
    }
}

impl<T: Float> From<Indices> for Value<T> {
    fn from(indices: Indices) -> Self {
        Value::Integer(indices)
    }
}

impl<T: Float> From<Mask> for Value<T> {
    fn from(mask: Mask) -> Self {
        Value::Boolean(mask)
    }
}

/// Named tensors in the order of the manifest: what goes into an operation, or what comes out.
#[derive(Clone, Debug)]
pub struct Named<T: Float>(pub Vec<(String, Value<T>)>);

impl<T: Float> Named<T> {
    pub fn get(&self, name: &str) -> Option<&Value<T>> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn tensor(&self, name: &str) -> &Tensor<T> {
        match self.get(name) {
            Some(Value::Float(tensor)) => tensor,
            other => panic!("{name} should be a float tensor, is {other:?}"),
        }
    }

    pub fn indices(&self, name: &str) -> &Indices {
        match self.get(name) {
            Some(Value::Integer(indices)) => indices,
            other => panic!("{name} should be an integer tensor, is {other:?}"),
        }
    }

    pub fn mask(&self, name: &str) -> &Mask {
        match self.get(name) {
            Some(Value::Boolean(mask)) => mask,
            other => panic!("{name} should be a mask, is {other:?}"),
        }
    }

    /// All float tensors, in order: the operands of `cat` and the like.
    pub fn tensors(&self) -> Vec<&Tensor<T>> {
        let floats = self.0.iter().filter_map(|(_, value)| match value {
            Value::Float(tensor) => Some(tensor),
            _ => None,
        });
        floats.collect()
    }
}

/// The keyword arguments of a call.
#[derive(Clone, Debug, Default)]
pub struct Attributes(pub Map<String, Json>);

impl Attributes {
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name).map(|value| value.as_i64().unwrap_or_else(|| panic!("{name} is {value}")))
    }

    /// A number; those that JSON cannot hold are written as "nan", "inf" and "-inf".
    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|value| number(value).unwrap_or_else(|| panic!("{name} is {value}")))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Json::as_str)
    }

    pub fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Json::Bool(flag)) => *flag,
            Some(Json::Number(number)) => number.as_i64() == Some(1),
            _ => false,
        }
    }

    pub fn list(&self, name: &str) -> Option<Vec<isize>> {
        self.0.get(name).and_then(integers)
    }

    pub fn dim(&self) -> isize {
        self.integer("dim").expect("a dim") as isize
    }

    /// `dim` and `keepdim` of a reduction.
    pub fn dims(&self) -> ReducedDims {
        let dims = self.0.get("dim").map(|dim| match dim {
            Json::Number(dim) => vec![dim.as_i64().expect("an integer dim") as isize],
            dims => integers(dims).expect("a list of dims"),
        });
        ReducedDims { dims, keepdim: self.flag("keepdim") }
    }

    /// `reduction`, the mean if absent; none if it is a word that PyTorch does not know.
    pub fn reduction(&self) -> Option<Reduction> {
        match self.text("reduction") {
            Some("none") => Some(Reduction::Unreduced),
            Some("sum") => Some(Reduction::Sum),
            Some("mean") | None => Some(Reduction::Mean),
            Some(_) => None,
        }
    }
}

pub fn number(value: &Json) -> Option<f64> {
    match value.as_str() {
        Some("nan") => Some(f64::NAN),
        Some("inf") => Some(f64::INFINITY),
        Some("-inf") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

fn integers(list: &Json) -> Option<Vec<isize>> {
    list.as_array()?.iter().map(|size| size.as_i64().map(|size| size as isize)).collect()
}

/// The dims of a reduction as the manifests give them: absent for all.
#[derive(Clone, Debug)]
pub struct ReducedDims {
    pub dims: Option<Vec<isize>>,
    pub keepdim: bool,
}

impl Dims for ReducedDims {
    fn to_dims(&self, rank: usize) -> impl Iterator<Item = isize> {
        let all = || (..).to_dims(rank).collect();
        self.dims.clone().unwrap_or_else(all).into_iter()
    }
    fn is_keepdim(&self) -> bool {
        self.keepdim
    }
}
