//! The stored rows of logits with their correctly rounded answers.

use crate::golden::store::{Store, cases};
use serde_json::Value as Json;
use tapegrad::{DType, Float};

/// Rows of logits, one after the other, and what is known of them.
pub struct Category<T> {
    /// `f32/confident_1e-30`, say.
    pub name: String,
    pub rows: usize,
    pub classes: usize,
    pub logits: Vec<T>,
    pub target: Vec<i64>,
    /// The classes of the only row that answers are stored for; all of every row if there is no list.
    sample: Option<Vec<usize>>,
    answers: Vec<(String, Vec<T>)>,
    /// How far the libraries are off: what the manifest says.
    pub libraries: Json,
}

/// The quantities that have an answer for every class of a row.
pub const OF_CLASSES: [&str; 3] = ["log_softmax", "softmax", "grad"];

impl<T: Float> Category<T> {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let store = Store::open([format!("accuracy/accuracy.{}.safetensors", T::DTYPE)]);
        let dtype = T::DTYPE.to_string();
        let stored = cases("accuracy/manifest.json");
        stored
            .iter()
            .filter(|case| case["dtype"] == dtype.as_str())
            .map(|case| Self::new(case, &store))
            .collect()
    }

    fn new(case: &Json, store: &Store) -> Self {
        let name = case["id"].as_str().unwrap().to_string();
        let category = name.split_once('/').unwrap().1;
        let size = |name: &str| case[name].as_u64().unwrap() as usize;
        let values = |tensor: &str| -> Vec<T> {
            store.expect(&format!("{category}/{tensor}")).numbers().into_iter().map(T::from_f64).collect()
        };
        let integers = |tensor: &str| -> Option<Vec<i64>> {
            Some(
                store.get(&format!("{category}/{tensor}"))?.numbers().into_iter().map(|x| x as i64).collect(),
            )
        };
        let quantities = case["tensors"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let logits = match case["input_formula_seed"].as_u64() {
            Some(seed) => (0..size("C") as u64).map(|i| formula(seed, i)).collect(),
            None => values("input/logits"),
        };
        Category {
            rows: size("N"),
            classes: size("C"),
            logits,
            target: integers("input/target").unwrap(),
            sample: integers("sample_index").map(|classes| classes.into_iter().map(|c| c as usize).collect()),
            answers: quantities.map(|name| (name.to_string(), values(&format!("exact/{name}")))).collect(),
            libraries: case["library_ulps"].clone(),
            name,
        }
    }

    /// The answers for a quantity, and of `computed` the entries that they belong to; none if nothing is
    /// stored.
    pub fn answers(&self, quantity: &str, computed: &[T]) -> Option<(&[T], Vec<T>)> {
        let (_, exact) = self.answers.iter().find(|(name, _)| name == quantity)?;
        let computed = match &self.sample {
            Some(sample) if OF_CLASSES.contains(&quantity) => sample.iter().map(|&c| computed[c]).collect(),
            _ => computed.to_vec(),
        };
        assert_eq!(exact.len(), computed.len(), "{} {quantity}", self.name);
        Some((exact, computed))
    }

    /// The logits and targets of some rows, without answers.
    pub fn part(&self, first: usize, count: usize) -> Self {
        let rows = count.min(self.rows - first);
        Category {
            name: self.name.clone(),
            rows,
            logits: self.logits[first * self.classes..(first + rows) * self.classes].to_vec(),
            target: self.target[first..first + rows].to_vec(),
            answers: Vec::new(),
            sample: None,
            libraries: Json::Null,
            ..*self
        }
    }

    pub fn row(&self, row: usize) -> &[T] {
        &self.logits[row * self.classes..(row + 1) * self.classes]
    }
}

/// The logits of a row that is too long to be stored: uniform in [-8, 8), and exact in `T`.
fn formula<T: Float>(seed: u64, i: u64) -> T {
    let mut z = seed.wrapping_mul(1_000_003).wrapping_add(i).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    T::from_f64(match T::DTYPE {
        DType::F32 => (z >> 40) as f64 * 2f64.powi(-20) - 8.0,
        DType::F64 => (z >> 11) as f64 * 2f64.powi(-49) - 8.0,
    })
}

/// How rows of classes lie in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// (N, C), classes along dim 1
    Rows,
    /// (C, N), classes along dim 0
    Columns,
    /// (1, C, N), classes along dim 1
    Positions,
}

impl Arrangement {
    pub const ALL: [Arrangement; 3] = [Arrangement::Rows, Arrangement::Columns, Arrangement::Positions];

    pub fn dim(self) -> isize {
        match self {
            Arrangement::Rows | Arrangement::Positions => 1,
            Arrangement::Columns => 0,
        }
    }

    pub fn shape(self, rows: usize, classes: usize) -> Vec<usize> {
        match self {
            Arrangement::Rows => vec![rows, classes],
            Arrangement::Columns => vec![classes, rows],
            Arrangement::Positions => vec![1, classes, rows],
        }
    }

    /// The shape of what has one value a row.
    pub fn shape_of_rows(self, rows: usize) -> Vec<usize> {
        match self {
            Arrangement::Rows | Arrangement::Columns => vec![rows],
            Arrangement::Positions => vec![1, rows],
        }
    }

    /// Rows, moved to where this arrangement has them.
    pub fn arrange<A: Copy>(self, values: &[A], rows: usize, classes: usize) -> Vec<A> {
        match self {
            Arrangement::Rows => values.to_vec(),
            _ => (0..classes * rows).map(|i| values[i % rows * classes + i / rows]).collect(),
        }
    }

    /// The opposite of [`arrange`](Arrangement::arrange).
    pub fn restore<A: Copy>(self, values: &[A], rows: usize, classes: usize) -> Vec<A> {
        self.arrange(values, classes, rows)
    }
}
