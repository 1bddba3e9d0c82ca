//! Reading manifests and safetensors files.

use super::{Attributes, Named, Value};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tapegrad::{Float, Indices, Mask, Tensor};

/// A tensor as stored; floats are widened to f64, which is exact.
#[derive(Clone, Debug)]
pub struct Stored {
    pub shape: Vec<usize>,
    pub values: StoredValues,
}

#[derive(Clone, Debug)]
pub enum StoredValues {
    Float(Vec<f64>),
    Integer(Vec<i64>),
    Boolean(Vec<bool>),
}

impl Stored {
    /// The elements as numbers.
    pub fn numbers(&self) -> Vec<f64> {
        match &self.values {
            StoredValues::Float(values) => values.clone(),
            StoredValues::Integer(values) => values.iter().map(|&i| i as f64).collect(),
            StoredValues::Boolean(values) => values.iter().map(|&b| f64::from(u8::from(b))).collect(),
        }
    }

    /// The tensor as the engine has it; floats are rounded to `T`.
    pub fn value<T: Float>(&self) -> Value<T> {
        let shape = &self.shape[..];
        match &self.values {
            StoredValues::Float(values) => {
                let values = values.iter().map(|&x| T::from_f64(x)).collect();
                Tensor::from_vec(values, shape).expect("a whole tensor").into()
            }
            StoredValues::Integer(values) => {
                Indices::from_vec(values.clone(), shape).expect("a whole tensor").into()
            }
            StoredValues::Boolean(values) => {
                Mask::from_vec(values.clone(), shape).expect("a whole tensor").into()
            }
        }
    }
}

/// The tensors of safetensors files, by name.
pub struct Store(BTreeMap<String, Stored>);

impl Store {
    pub fn open(files: impl IntoIterator<Item = String>) -> Self {
        let mut tensors = BTreeMap::new();
        for file in files {
            let bytes = std::fs::read(path(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let parsed = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
            for (name, view) in parsed.iter() {
                let values = decode(view.dtype(), view.data());
                tensors.insert(name.to_string(), Stored { shape: view.shape().to_vec(), values });
            }
        }
        Store(tensors)
    }

    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.0.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn expect(&self, name: &str) -> &Stored {
        self.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// The stored tensors of one role of a case (or none), in the order of these names.
    pub fn named<T: Float>(&self, id: &str, role: &str, names: &[String]) -> Named<T> {
        let path = if role.is_empty() { id.to_string() } else { format!("{id}/{role}") };
        let one = |name: &String| (name.clone(), self.expect(&format!("{path}/{name}")).value());
        Named(names.iter().map(one).collect())
    }
}

fn decode(dtype: Dtype, data: &[u8]) -> StoredValues {
    fn words<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> {
        data.chunks_exact(N).map(|word| word.try_into().expect("a whole word"))
    }
    match dtype {
        Dtype::F32 => StoredValues::Float(words(data).map(|word| f32::from_le_bytes(word).into()).collect()),
        Dtype::F64 => StoredValues::Float(words(data).map(f64::from_le_bytes).collect()),
        Dtype::I64 => StoredValues::Integer(words(data).map(i64::from_le_bytes).collect()),
        Dtype::U8 => StoredValues::Integer(data.iter().map(|&byte| byte.into()).collect()),
        Dtype::BOOL => StoredValues::Boolean(data.iter().map(|&byte| byte != 0).collect()),
        other => panic!("the golden files have no tensors of {other:?}"),
    }
}

/// One case of `torch/manifest.json`.
pub struct Case {
    pub id: String,
    pub family: String,
    pub op: String,
    pub attributes: Attributes,
    pub in_f32: bool,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// The inputs with a stored gradient.
    pub differentiated: Vec<String>,
    pub stored_upstream: bool,
    pub second_order: bool,
    pub tags: Vec<String>,
}

impl Case {
    pub fn tagged(&self, tag: &str) -> bool {
        self.tags.iter().any(|other| other == tag)
    }
}

pub fn torch_cases() -> Vec<Case> {
    cases("torch/manifest.json").iter().map(torch_case).collect()
}

fn torch_case(case: &Json) -> Case {
    let text = |name: &str| case[name].as_str().unwrap_or_default().to_string();
    let words = |name: &str| -> Vec<String> {
        let list = case[name].as_array().into_iter().flatten();
        list.filter_map(Json::as_str).map(str::to_string).collect()
    };
    let first_words = |name: &str| -> Vec<String> {
        let list = case[name].as_array().into_iter().flatten();
        list.filter_map(|entry| entry[0].as_str()).map(str::to_string).collect()
    };
    Case {
        id: text("id"),
        family: text("family"),
        op: text("op"),
        attributes: attributes(case),
        in_f32: words("dtypes").iter().any(|dtype| dtype == "f32"),
        inputs: first_words("inputs"),
        outputs: first_words("outputs"),
        differentiated: words("grad"),
        stored_upstream: case["upstream"] == "stored",
        second_order: case["second"] == true,
        tags: words("tags"),
    }
}

/// The list of cases of a manifest.
pub fn cases(file: &str) -> Vec<Json> {
    let mut manifest = read_json(file);
    match manifest["cases"].take() {
        Json::Array(cases) => cases,
        other => panic!("{file}: the cases should be a list, are {other}"),
    }
}

pub fn attributes(case: &Json) -> Attributes {
    Attributes(case["attrs"].as_object().cloned().unwrap_or_default())
}

fn read_json(file: &str) -> Json {
    let text = std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file)
}
