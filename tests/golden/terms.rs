//! The largest term behind a tensor: what an f32 result can be held against.
//!
//! A rounding error is as large as a unit in the last place of the numbers that are added, not of
//! their sum: 1000.1 - 1000 cannot be right to 7 digits in f32. By the chain rule every stored tensor
//! is such a sum, and its terms follow from first and second derivatives alone, whatever the
//! operation. With J the derivatives of the outputs f by the inputs x, H the second derivatives of
//! <u, f>, u the upstream gradient and v the direction:
//!
//! | tensor | is the sum over i (or k) of | |
//! |---|---|---|
//! | `output` | J[k, i] x[i] | exactly so for sums, means, products of matrices and losses; otherwise what a relative error of x[i] does to f[k] |
//! | `grad` | u[k] J[k, i] | over the outputs k |
//! | `hvp` | H[i, j] v[j] | |
//! | `jvp` | J[k, i] v[i] | |
//!
//! The largest term is one number a tensor, the greatest magnitude among these. Sums of magnitudes,
//! which would allow more the longer a sum is, are not used.

use super::Named;
use super::operations::Refusal;
use std::collections::BTreeMap;
use tapegrad::{GradOptions, Result, Tensor, grad};

/// What the derivatives are taken of.
pub struct Differentiated<'a> {
    pub output: &'a Tensor<f64>,
    pub upstream: &'a Tensor<f64>,
    /// The inputs with a gradient, by name.
    pub leaves: &'a [(String, &'a Tensor<f64>)],
    /// The directions of the second order, if there is one.
    pub directions: Option<&'a Named<f64>>,
}

impl Differentiated<'_> {
    /// The largest term of every tensor, under the names that the manifests use; all outputs share
    /// one, under `output` and `jvp`.
    pub fn largest_terms(&self) -> std::result::Result<BTreeMap<String, f64>, Refusal> {
        let mut terms = BTreeMap::new();
        let mut note = |name: &str, products: Vec<f64>| {
            let finite = products.into_iter().map(f64::abs).filter(|term| term.is_finite());
            let entry = terms.entry(name.to_string()).or_insert(0.0);
            *entry = finite.fold(*entry, f64::max);
        };
        for (k, &upstream) in self.upstream.as_slice().iter().enumerate() {
            for ((name, leaf), row) in self.leaves.iter().zip(self.rows(self.output, k, false)?) {
                note("output", products(row.as_slice(), leaf.as_slice()));
                note(&format!("grad/{name}"), row.as_slice().iter().map(|slope| slope * upstream).collect());
                if let Some(directions) = self.directions {
                    note("jvp", products(row.as_slice(), directions.tensor(name).as_slice()));
                }
            }
        }
        if let Some(directions) = self.directions {
            let inputs: Vec<&Tensor<f64>> = self.leaves.iter().map(|(_, leaf)| *leaf).collect();
            let options = GradOptions::new().grad_outputs([self.upstream.clone()]);
            let options = options.create_graph(true).materialize_grads(true);
            let gradients = grad(&[self.output], &inputs, &options)?;
            for ((name, _), gradient) in self.leaves.iter().zip(&gradients) {
                for i in 0..gradient.len() {
                    for ((other, _), row) in self.leaves.iter().zip(self.rows(gradient, i, true)?) {
                        let along = directions.tensor(other);
                        note(&format!("hvp/{name}"), products(row.as_slice(), along.as_slice()));
                    }
                }
            }
        }
        Ok(terms)
    }

    /// The derivatives of one element by every leaf.
    fn rows(&self, of: &Tensor<f64>, element: usize, may_be_constant: bool) -> Result<Vec<Tensor<f64>>> {
        if may_be_constant && !of.is_tracked() {
            return self.leaves.iter().map(|(_, leaf)| Tensor::zeros(leaf.shape())).collect();
        }
        let mut one = vec![0.0; of.len()];
        one[element] = 1.0;
        let inputs: Vec<&Tensor<f64>> = self.leaves.iter().map(|(_, leaf)| *leaf).collect();
        let options = GradOptions::new().grad_outputs([Tensor::from_vec(one, of.shape())?]);
        grad(&[of], &inputs, &options.retain_graph(true).materialize_grads(true))
    }
}

fn products(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}
