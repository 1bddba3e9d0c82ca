//! ONNX operators by name, as calls to this crate or plain compositions of them.

use super::operations::Refusal;
use super::{Attributes, ReducedDims, Value};
use tapegrad::{CrossEntropyLoss, Dims, Float, Indices, NllLoss, Reduction, Result, Shape, Tensor};

/// A node: its attributes, its inputs by position (none for one that is left out), and how many outputs
/// it has.
pub struct Node<T: Float> {
    pub op: String,
    pub attributes: Attributes,
    pub inputs: Vec<Option<Value<T>>>,
    pub outputs: usize,
}

type Outcome<T> = std::result::Result<Vec<Value<T>>, Refusal>;

impl<T: Float> Node<T> {
    fn given(&self, at: usize) -> Option<&Value<T>> {
        self.inputs.get(at).and_then(Option::as_ref)
    }

    /// An input as floats, whatever it is stored as.
    fn tensor(&self, at: usize) -> Result<Tensor<T>> {
        match self.given(at).expect("an input") {
            Value::Float(tensor) => Ok(tensor.clone()),
            Value::Integer(indices) => indices.to_tensor(),
            Value::Boolean(mask) => Tensor::zeros(mask.shape())?.masked_fill(mask, 1.0),
        }
    }

    fn tensors(&self) -> Result<Vec<Tensor<T>>> {
        (0..self.inputs.len()).map(|at| self.tensor(at)).collect()
    }

    fn integers(&self, at: usize) -> Option<Vec<isize>> {
        let value = self.given(at)?;
        Some(value.numbers().into_iter().map(|number| number as isize).collect())
    }

    /// Positions along a dim of this size, the negative ones counted from its end.
    fn positions(&self, at: usize, size: usize) -> Result<Indices> {
        let value = self.given(at).expect("positions");
        let wrap = |number: f64| if number < 0.0 { number as i64 + size as i64 } else { number as i64 };
        Indices::from_vec(value.numbers().into_iter().map(wrap).collect(), value.shape())
    }

    fn integer(&self, name: &str) -> Option<isize> {
        self.attributes.integer(name).map(|value| value as isize)
    }

    fn axis(&self) -> isize {
        self.integer("axis").expect("an axis")
    }

    fn number(&self, name: &str) -> f64 {
        self.attributes.number(name).expect("a number")
    }

    /// The dims that a reduction gets as an input; none or an empty list means all.
    fn reduced(&self) -> ReducedDims {
        let axes = self.integers(1).filter(|axes| !axes.is_empty());
        ReducedDims { dims: axes, keepdim: self.attributes.flag("keepdims") }
    }

    /// The outputs that the operator gives for its inputs.
    pub fn run(&self) -> Outcome<T> {
        let value = match &self.op[..] {
            "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss" => return self.loss(),
            "Split" => return self.split(),
            op if op.starts_with("Reduce") => self.reduce(&op["Reduce".len()..])?,
            "ArgMax" | "ArgMin" => self.position_of_extreme()?.into(),
            "Greater" => self.tensor(0)?.gt(&self.tensor(1)?)?.into(),
            "Less" => self.tensor(0)?.lt(&self.tensor(1)?)?.into(),
            op @ ("Hardmax" | "Gather" | "GatherElements" | "OneHot" | "ScatterElements") => {
                self.positional(op)?.into()
            }
            op @ ("MatMul" | "Gemm" | "Einsum" | "CumSum") => self.product(op)?.into(),
            op @ ("Min" | "Max" | "Sum" | "Mean") => self.of_all_inputs(op)?.into(),
            op @ ("Concat" | "Transpose" | "Reshape" | "Expand" | "Squeeze" | "Unsqueeze" | "Slice"
            | "Flatten") => self.layout(op)?.into(),
            op => self.elementwise(op)?.into(),
        };
        Ok(vec![value])
    }

    /// The second output of a cross entropy is log_softmax over dim 1.
    fn loss(&self) -> Outcome<T> {
        let reduction = match self.attributes.text("reduction") {
            Some("none") => Reduction::Unreduced,
            Some("sum") => Reduction::Sum,
            _ => Reduction::Mean,
        };
        let ignored = self.attributes.integer("ignore_index");
        let weight = self.given(2).map(|_| self.tensor(2)).transpose()?;
        let (input, target) = (self.tensor(0)?, self.positions(1, 0)?);
        if self.op == "NegativeLogLikelihoodLoss" {
            let loss = NllLoss::new().reduction(reduction).ignore_index(ignored);
            let loss = weight.iter().fold(loss, |loss, weight| loss.weight(weight));
            return Ok(vec![loss.forward(&input, &target)?.into()]);
        }
        let loss = CrossEntropyLoss::new().reduction(reduction).ignore_index(ignored);
        let loss = weight.iter().fold(loss, |loss, weight| loss.weight(weight));
        let mut outputs = vec![loss.forward(&input, &target)?.into()];
        if self.outputs == 2 {
            outputs.push(input.log_softmax(1)?.into());
        }
        Ok(outputs)
    }

    fn reduce(&self, kind: &str) -> std::result::Result<Value<T>, Refusal> {
        let (x, dims) = (self.tensor(0)?, self.reduced());
        if dims.dims.is_none() && self.attributes.flag("noop_with_empty_axes") {
            return Ok(x.into());
        }
        let is_empty = x.is_empty();
        Ok(match kind {
            "Sum" => x.sum(dims)?.into(),
            "Mean" => x.mean(dims)?.into(),
            // PyTorch, and so this crate, has no extreme of nothing.
            "Max" | "Min" if is_empty => return Err(Refusal::NoSuchOperation),
            "Max" => x.max(dims)?.into(),
            "Min" => x.min(dims)?.into(),
            "LogSumExp" => x.logsumexp(dims)?.into(),
            "LogSum" => x.sum(dims)?.log()?.into(),
            "SumSquare" => x.square()?.sum(dims)?.into(),
            "L2" => x.square()?.sum(dims)?.sqrt()?.into(),
            "Prod" => self.product_along(&x, dims)?.into(),
            _ => return Err(Refusal::NoSuchOperation),
        })
    }

    /// The product of the entries along one dim.
    fn product_along(&self, x: &Tensor<T>, dims: ReducedDims) -> Result<Tensor<T>> {
        let dim = x.shape().dim(dims.to_dims(x.rank()).next().expect("a dim"))? as isize;
        let first = x.select(dim, 0)?;
        let entries = 1..x.shape()[dim as usize] as isize;
        let product = entries.into_iter().try_fold(first, |product, i| product.mul(x.select(dim, i)?))?;
        if dims.keepdim { product.unsqueeze(dim) } else { Ok(product) }
    }

    fn position_of_extreme(&self) -> Result<Indices> {
        let mut x = self.tensor(0)?;
        let dim = self.axis();
        let last = x.shape()[x.shape().dim(dim)?] as i64 - 1;
        let from_the_end = self.attributes.flag("select_last_index");
        if from_the_end {
            x = x.index_select(dim, (0..=last).rev().collect::<Vec<i64>>())?;
        }
        let dims = ReducedDims { dims: Some(vec![dim]), keepdim: self.attributes.flag("keepdims") };
        let places = if self.op == "ArgMax" { x.argmax(dims)? } else { x.argmin(dims)? };
        if !from_the_end {
            return Ok(places);
        }
        Indices::from_vec(places.as_slice().iter().map(|place| last - place).collect(), places.shape())
    }

    /// Operators whose arguments or results are positions.
    fn positional(&self, op: &str) -> std::result::Result<Tensor<T>, Refusal> {
        let axis = self.axis();
        if op == "OneHot" {
            let depth = self.tensor(1)?.item()?.to_f64() as usize;
            let (off, on) = (self.tensor(2)?.select(0, 0)?, self.tensor(2)?.select(0, 1)?);
            let hot = last_dim_to(self.positions(0, depth)?.one_hot(depth)?, axis)?;
            return Ok(hot.mul(on.sub(&off)?)?.add(&off)?);
        }
        let x = self.tensor(0)?;
        let dim = x.shape().dim(axis)?;
        let size = x.shape()[dim];
        Ok(match op {
            "Hardmax" => last_dim_to(x.argmax(axis)?.one_hot(size)?, axis)?,
            "Gather" => {
                let index = self.positions(1, size)?;
                let rows = x.index_select(axis, index.reshape(index.len())?)?;
                let (before, after) = (&x.shape()[..dim], &x.shape()[dim + 1..]);
                rows.reshape([before, index.shape(), after].concat())?
            }
            "GatherElements" => x.gather(axis, self.positions(1, size)?)?,
            _ => {
                if self.attributes.text("reduction") != Some("none") {
                    return Err(Refusal::NoSuchOperation);
                }
                let (index, updates) = (self.positions(1, size)?, self.tensor(2)?);
                let written = Tensor::<T>::zeros(x.shape())?.scatter_add(
                    axis,
                    &index,
                    &Tensor::ones(updates.shape())?,
                )?;
                x.masked_fill(&written.gt(0.0)?, 0.0)?.scatter_add(axis, &index, &updates)?
            }
        })
    }

    fn product(&self, op: &str) -> std::result::Result<Tensor<T>, Refusal> {
        let x = self.tensor(0)?;
        Ok(match op {
            "MatMul" => x.matmul(&self.tensor(1)?)?,
            "Gemm" => {
                let turned =
                    |x: Tensor<T>, name| if self.attributes.flag(name) { x.transpose(0, 1) } else { Ok(x) };
                let (a, b) = (turned(x, "transA")?, turned(self.tensor(1)?, "transB")?);
                let product = a.matmul(&b)?.mul(self.number("alpha"))?;
                match self.given(2) {
                    Some(_) => product.add(self.tensor(2)?.mul(self.number("beta"))?)?,
                    None => product,
                }
            }
            "CumSum" => {
                let axis = self.integers(1).expect("an axis")[0];
                let n = x.shape()[x.shape().dim(axis)?];
                let places = Tensor::<T>::arange(T::zero(), T::from_f64(n as f64), T::one())?;
                let (from, to) = (places.unsqueeze(1)?, &places);
                let counts = if self.attributes.flag("exclusive") { from.lt(to)? } else { from.le(to)? };
                let counts = Tensor::zeros([n, n])?.masked_fill(&counts, 1.0)?;
                let last = x.rank() as isize - 1;
                x.transpose(axis, last)?.matmul(&counts)?.transpose(axis, last)?
            }
            _ => match self.attributes.text("equation") {
                Some("i,i") => x.dot(&self.tensor(1)?)?,
                Some("...ii ->...i") => {
                    let (rows, size) = (x.len() / x.shape()[x.rank() - 1], x.shape()[x.rank() - 1]);
                    let mut shape = x.shape().to_vec();
                    shape[x.rank() - 1] = 1;
                    let diagonal = (0..rows).map(|row| (row % size) as i64).collect();
                    x.gather(-1, Indices::from_vec(diagonal, shape)?)?.squeeze(-1)?
                }
                _ => return Err(Refusal::NoSuchOperation),
            },
        })
    }

    fn of_all_inputs(&self, op: &str) -> Result<Tensor<T>> {
        let inputs = self.tensors()?;
        let combine = |a: Tensor<T>, b: &Tensor<T>| match op {
            "Min" => a.minimum(b),
            "Max" => a.maximum(b),
            _ => a.add(b),
        };
        let result = inputs[1..].iter().try_fold(inputs[0].clone(), combine)?;
        if op == "Mean" { result.div(inputs.len() as f64) } else { Ok(result) }
    }

    fn layout(&self, op: &str) -> std::result::Result<Tensor<T>, Refusal> {
        let x = self.tensor(0)?;
        let sizes = || self.integers(1).expect("a list of integers");
        Ok(match op {
            "Concat" => Tensor::cat(&self.tensors()?.iter().collect::<Vec<_>>(), self.axis())?,
            "Transpose" => {
                let backwards = (0..x.rank() as isize).rev().collect();
                x.permute(self.attributes.list("perm").unwrap_or(backwards))?
            }
            "Reshape" => {
                let own = |(at, size)| if size == 0 { x.shape()[at] as isize } else { size };
                x.reshape(sizes().into_iter().enumerate().map(own).collect::<Vec<_>>())?
            }
            "Expand" => {
                let asked: Shape = sizes().into_iter().map(|size| size as usize).collect();
                x.broadcast_to(x.shape().broadcast(&asked)?)?
            }
            "Squeeze" => x.squeeze(&sizes()[..])?,
            "Unsqueeze" => {
                let mut axes = sizes();
                axes.sort_unstable();
                axes.into_iter().try_fold(x, |x, axis| x.unsqueeze(axis))?
            }
            "Slice" => self.slice(x)?,
            _ => {
                let axis = x.shape().dim(self.axis())?;
                let rows: usize = x.shape()[..axis].iter().product();
                x.reshape([rows, x.len() / rows])?
            }
        })
    }

    /// Positions from start to end by steps along each axis; bounds beyond the ends are drawn in.
    fn slice(&self, x: Tensor<T>) -> Result<Tensor<T>> {
        let (starts, ends) = (self.integers(1).expect("starts"), self.integers(2).expect("ends"));
        let axes = self.integers(3).unwrap_or_else(|| (0..starts.len() as isize).collect());
        let steps = self.integers(4).unwrap_or_else(|| vec![1; starts.len()]);
        let mut part = x;
        for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
            let size = part.shape()[part.shape().dim(axis)?] as isize;
            let from_front = |at: isize| if at < 0 { at + size } else { at };
            let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
            let (mut at, end) = (from_front(start).clamp(0, high), from_front(end).clamp(low, high));
            let mut places = Vec::new();
            while (step > 0 && at < end) || (step < 0 && at > end) {
                places.push(at);
                at += step;
            }
            part = part.index_select(axis, places)?;
        }
        Ok(part)
    }

    fn split(&self) -> Outcome<T> {
        let x = self.tensor(0)?;
        let size = x.shape()[x.shape().dim(self.axis())?] as isize;
        let lengths = self.integers(1).unwrap_or_else(|| vec![size / self.outputs as isize; self.outputs]);
        let mut start = 0;
        let mut parts = Vec::new();
        for length in lengths {
            parts.push(x.narrow(self.axis(), start, length as usize)?.into());
            start += length;
        }
        Ok(parts)
    }

    fn elementwise(&self, op: &str) -> std::result::Result<Tensor<T>, Refusal> {
        if op == "Where" {
            let Some(Value::Boolean(condition)) = self.given(0) else { unreachable!("a mask") };
            return Ok(self.tensor(1)?.where_cond(condition, &self.tensor(2)?)?);
        }
        let x = self.tensor(0)?;
        let second = || self.tensor(1);
        Ok(match op {
            "Add" => x.add(second()?)?,
            "Sub" => x.sub(second()?)?,
            "Mul" => x.mul(second()?)?,
            "Div" => x.div(second()?)?,
            "Pow" => x.pow(second()?)?,
            "Log" => x.log()?,
            "Exp" => x.exp()?,
            "Neg" => x.neg()?,
            "Tanh" => x.tanh()?,
            "Sigmoid" => x.sigmoid()?,
            "Sqrt" => x.sqrt()?,
            "Reciprocal" => x.reciprocal()?,
            "Softplus" => x.softplus()?,
            "Softmax" => x.softmax(self.axis())?,
            "LogSoftmax" => x.log_softmax(self.axis())?,
            "Identity" => x,
            "Clip" => {
                let bound = |at| self.given(at).map(|_| self.tensor(at)?.item()).transpose();
                match (bound(1)?, bound(2)?) {
                    (None, None) => x,
                    (minimum, maximum) => x.clamp(minimum, maximum)?,
                }
            }
            "LeakyRelu" => x.where_cond(&x.ge(0.0)?, x.mul(self.number("alpha"))?)?,
            "Elu" => x.where_cond(&x.ge(0.0)?, x.expm1()?.mul(self.number("alpha"))?)?,
            "Gelu" if self.attributes.text("approximate") == Some("tanh") => {
                let cubic = x.mul(&x)?.mul(&x)?.mul(0.044715)?.add(&x)?;
                let bounded = cubic.mul((2.0 / std::f64::consts::PI).sqrt())?.tanh()?;
                x.mul(0.5)?.mul(bounded.add(1.0)?)?
            }
            _ => return Err(Refusal::NoSuchOperation),
        })
    }
}

/// Moves the last dim to another place.
fn last_dim_to<T: Float>(x: Tensor<T>, axis: isize) -> Result<Tensor<T>> {
    let last = x.rank() as isize - 1;
    let axis = x.shape().dim(axis)?;
    let mut order: Vec<isize> = (0..last).collect();
    order.insert(axis, last);
    x.permute(order)
}
