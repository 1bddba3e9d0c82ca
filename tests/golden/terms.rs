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
//! One kind of term does not show in J and H: the 1 in a derivative such as 1 - y^2, computed from a
//! saved y that is itself rounded. It counts for tanh, sigmoid and softplus, see [`Derivatives::beside_one`].
//!
//! The largest term is one number a tensor, the greatest magnitude among these. Sums of magnitudes,
//! which would allow more the longer a sum is, are not used.

use super::Named;
use super::compare::largest;
use super::operations::Refusal;
use tapegrad::{GradOptions, Result, Tensor, grad};

/// What the terms follow from.
pub struct Derivatives<'a> {
    pub op: &'a str,
    pub output: &'a Tensor<f64>,
    pub upstream: &'a Tensor<f64>,
    /// The inputs with a gradient, by name.
    pub leaves: &'a [(String, &'a Tensor<f64>)],
    /// The directions of the second order, if there is one.
    pub directions: Option<&'a Named<f64>>,
}

impl Derivatives<'_> {
    /// The largest term of a tensor: `output/out`, `grad/input`, `hvp/weight`, `jvp/out`.
    pub fn largest_term(&self, tensor: &str) -> std::result::Result<f64, Refusal> {
        let (role, name) = tensor.split_once('/').expect("a role and a name");
        let terms = match role {
            "output" => self.over_outputs(|_, row, leaf| products(row, self.leaf(leaf).as_slice()))?,
            "jvp" => self.over_outputs(|_, row, leaf| products(row, self.direction(leaf)))?,
            "grad" => self.over_outputs(|k, row, leaf| {
                let upstream = if leaf == name { self.upstream.as_slice()[k] } else { 0.0 };
                row.iter().map(|slope| slope * upstream).collect()
            })?,
            _ => self.of_hessian_product(name)?,
        };
        Ok(largest(&terms).max(self.beside_one(role)))
    }

    fn leaf(&self, name: &str) -> &Tensor<f64> {
        self.leaves.iter().find(|(other, _)| other == name).map(|(_, leaf)| *leaf).expect("an input")
    }

    fn direction(&self, name: &str) -> &[f64] {
        self.directions.map_or(&[], |directions| directions.tensor(name).as_slice())
    }

    /// All terms, from every output k and every leaf's row of J.
    fn over_outputs(&self, terms: impl Fn(usize, &[f64], &str) -> Vec<f64>) -> Result<Vec<f64>> {
        let mut all = Vec::new();
        for k in 0..self.output.len() {
            for ((leaf, _), row) in self.leaves.iter().zip(self.rows(self.output, k)?) {
                all.extend(terms(k, row.as_slice(), leaf));
            }
        }
        Ok(all)
    }

    /// H[i, j] v[j] for the entries i of one leaf.
    fn of_hessian_product(&self, name: &str) -> Result<Vec<f64>> {
        let options = GradOptions::new().grad_outputs([self.upstream.clone()]);
        let options = options.create_graph(true).materialize_grads(true);
        let gradient = grad(&[self.output], &[self.leaf(name)], &options)?.remove(0);
        let mut all = Vec::new();
        for i in 0..gradient.len() {
            for ((other, _), row) in self.leaves.iter().zip(self.rows(&gradient, i)?) {
                all.extend(products(row.as_slice(), self.direction(other)));
            }
        }
        Ok(all)
    }

    /// The largest term that stands beside a 1: in u (1 - y^2) for tanh, u y (1 - y) for sigmoid, and in
    /// the second derivatives of both and of softplus.
    fn beside_one(&self, role: &str) -> f64 {
        if !["tanh", "sigmoid", "softplus"].contains(&self.op) {
            return 0.0;
        }
        let (upstream, direction) = (self.upstream.as_slice(), self.direction("input"));
        match role {
            "grad" => largest(upstream),
            "jvp" => largest(direction),
            "hvp" => largest(&products(upstream, direction)),
            _ => 0.0,
        }
    }

    /// The derivatives of one element by every leaf.
    fn rows(&self, of: &Tensor<f64>, element: usize) -> Result<Vec<Tensor<f64>>> {
        if !of.is_tracked() {
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
