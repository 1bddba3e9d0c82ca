//! Tensors in any format that serde knows (feature `serde`).

use crate::float::Float;
use crate::tensor::model::Tensor;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `{"shape": [2, 3], "data": [..]}` with the elements in row-major order. Formats of text may lose what
/// they cannot write: JSON has neither nan nor infinity.
impl<T: Float + Serialize> Serialize for Tensor<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Saved { shape: self.shape(), data: self.as_slice() }.serialize(serializer)
    }
}

/// A constant, to be tracked with [`requires_grad`](Tensor::requires_grad); a whole model with
/// [`unfreeze`](crate::nn::Parameters::unfreeze). Data that do not fill the shape are an error.
impl<'de, T: Float + Deserialize<'de>> Deserialize<'de> for Tensor<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Loaded { shape, data } = Loaded::deserialize(deserializer)?;
        Tensor::from_vec(data, shape).map_err(D::Error::custom)
    }
}

#[derive(Serialize)]
#[serde(rename = "Tensor")]
struct Saved<'a, T> {
    shape: &'a [usize],
    data: &'a [T],
}

/// Vectors grow with what is there, whatever length the input claims for them.
#[derive(Deserialize)]
#[serde(rename = "Tensor", deny_unknown_fields)]
struct Loaded<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}
