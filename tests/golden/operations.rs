//! PyTorch's operations by name, as calls to this crate.

use super::{Attributes, Named, Value, programs};
use tapegrad::{CrossEntropyLoss, Error, Float, NllLoss, Tensor};

/// Why a call gave no result.
#[derive(Debug)]
pub enum Refusal {
    /// The crate has no such operation, and it is no plain composition.
    NoSuchOperation,
    /// The call cannot be written: the types rule it out.
    RuledOut(&'static str),
    /// The crate returned an error.
    Engine(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Engine(error)
    }
}

pub type Outcome<T> = Result<Named<T>, Refusal>;

/// A single result under the name that the manifests use.
pub fn out<T: Float>(value: impl Into<Value<T>>) -> Outcome<T> {
    Ok(Named(vec![("out".to_string(), value.into())]))
}

/// Calls the operation that PyTorch has under this name.
pub fn call<T: Float>(op: &str, attributes: &Attributes, inputs: &Named<T>) -> Outcome<T> {
    match op {
        "cross_entropy" => cross_entropy(attributes, inputs),
        "nll_loss" => nll_loss(attributes, inputs),
        "add" | "sub" | "mul" | "div" | "pow" | "maximum" | "minimum" => binary(op, attributes, inputs),
        "cat" => out(Tensor::cat(&inputs.tensors(), attributes.integer("dim").unwrap_or(0) as isize)?),
        "stack" => out(Tensor::stack(&inputs.tensors(), attributes.dim())?),
        "one_hot" => one_hot(attributes, inputs),
        "program" => programs::program(attributes, inputs),
        "train" => programs::train(attributes, inputs),
        _ => on_input(op, attributes, inputs, inputs.tensor("input")),
    }
}

/// Operations whose first operand is called `input`.
fn on_input<T: Float>(op: &str, attributes: &Attributes, inputs: &Named<T>, input: &Tensor<T>) -> Outcome<T> {
    let sizes = || attributes.list("shape").expect("a shape");
    match op {
        "softmax" => out(input.softmax(attributes.dim())?),
        "log_softmax" => out(input.log_softmax(attributes.dim())?),
        "logsumexp" => out(input.logsumexp(attributes.dims())?),
        "sum" => out(input.sum(attributes.dims())?),
        "mean" => out(input.mean(attributes.dims())?),
        "amax" => out(input.max(attributes.dims())?),
        "var" => out(input.var(attributes.dims(), attributes.number("correction").unwrap_or(1.0))?),
        "argmax" => out(input.argmax(attributes.dims())?),
        "max_all" => out(input.max(..)?),
        "max_dim" => {
            let (values, indices) = input.max_with_indices(attributes.dims())?;
            Ok(Named(vec![("values".into(), values.into()), ("indices".into(), indices.into())]))
        }
        "gather" => out(input.gather(attributes.dim(), inputs.indices("index"))?),
        "index_select" => out(input.index_select(attributes.dim(), inputs.indices("index"))?),
        "where" => out(input.where_cond(inputs.mask("condition"), inputs.tensor("other"))?),
        "clamp" => clamp(attributes, inputs),
        "matmul" => out(input.matmul(inputs.tensor("other"))?),
        "exp" => out(input.exp()?),
        "log" => out(input.log()?),
        "relu" => out(input.relu()?),
        "tanh" => out(input.tanh()?),
        "sigmoid" => out(input.sigmoid()?),
        "neg" => out(input.neg()?),
        "sqrt" => out(input.sqrt()?),
        "abs" => out(input.abs()?),
        "log1p" => out(input.log1p()?),
        "expm1" => out(input.expm1()?),
        "square" => out(input.square()?),
        "reciprocal" => out(input.reciprocal()?),
        "softplus" => out(input.softplus()?),
        "transpose" => {
            let dim = |name| attributes.integer(name).expect("a dim") as isize;
            out(input.transpose(dim("dim0"), dim("dim1"))?)
        }
        "permute" => out(input.permute(attributes.list("dims").expect("dims"))?),
        "reshape" => out(input.reshape(sizes())?),
        "expand" => out(input.broadcast_to(sizes())?),
        "squeeze" if attributes.has("dim") => out(input.squeeze(attributes.dim())?),
        "squeeze" => out(input.squeeze(..)?),
        "unsqueeze" => out(input.unsqueeze(attributes.dim())?),
        "narrow" => {
            let start = attributes.integer("start").expect("a start") as isize;
            match usize::try_from(attributes.integer("length").expect("a length")) {
                Ok(length) => out(input.narrow(attributes.dim(), start, length)?),
                Err(_) => Err(Refusal::RuledOut("a length is unsigned")),
            }
        }
        _ => Err(Refusal::NoSuchOperation),
    }
}

/// The second operand is a tensor if there is one, otherwise a number.
fn binary<T: Float>(op: &str, attributes: &Attributes, inputs: &Named<T>) -> Outcome<T> {
    let name = if op == "pow" { "exponent" } else { "other" };
    let a = inputs.tensor("input");
    let number = attributes.number(name);
    macro_rules! with_either {
        ($method:ident) => {
            match number {
                Some(number) => a.$method(number)?,
                None => a.$method(inputs.tensor(name))?,
            }
        };
    }
    out(match op {
        "add" => with_either!(add),
        "sub" => with_either!(sub),
        "mul" => with_either!(mul),
        "div" => with_either!(div),
        "pow" => with_either!(pow),
        "maximum" => with_either!(maximum),
        _ => with_either!(minimum),
    })
}

/// Between two numbers this is `clamp`; tensor bounds are a composition, in which a nan stays itself.
fn clamp<T: Float>(attributes: &Attributes, inputs: &Named<T>) -> Outcome<T> {
    let input = inputs.tensor("input");
    if !inputs.has("min") && !inputs.has("max") {
        let bound = |name| attributes.number(name).map(T::from_f64);
        return out(input.clamp(bound("min"), bound("max"))?);
    }
    let mut result = input.clone();
    if inputs.has("min") {
        result = result.maximum(inputs.tensor("min"))?;
    }
    if inputs.has("max") {
        result = result.minimum(inputs.tensor("max"))?;
    }
    let is_number = input.eq(input)?;
    out(result.where_cond(&is_number, input)?)
}

fn one_hot<T: Float>(attributes: &Attributes, inputs: &Named<T>) -> Outcome<T> {
    let classes = match attributes.integer("num_classes") {
        None | Some(-1) => None,
        Some(classes) => {
            Some(usize::try_from(classes).map_err(|_| Refusal::RuledOut("a number of classes is unsigned"))?)
        }
    };
    out(inputs.indices("index").one_hot::<T>(classes)?)
}

const UNKNOWN_REDUCTION: Refusal = Refusal::RuledOut("Reduction is an enum");

fn cross_entropy<T: Float>(attributes: &Attributes, inputs: &Named<T>) -> Outcome<T> {
    let mut loss = CrossEntropyLoss::new()
        .reduction(attributes.reduction().ok_or(UNKNOWN_REDUCTION)?)
        .label_smoothing(attributes.number("label_smoothing").unwrap_or(0.0));
    if inputs.has("weight") {
        loss = loss.weight(inputs.tensor("weight"));
    }
    if let Some(index) = attributes.integer("ignore_index") {
        loss = loss.ignore_index(Some(index));
    }
    let input = inputs.tensor("input");
    out(match inputs.get("target") {
        Some(Value::Float(probabilities)) => loss.forward(input, probabilities)?,
        Some(Value::Integer(classes)) => loss.forward(input, classes)?,
        _ => return Err(Refusal::RuledOut("a mask is no target")),
    })
}

fn nll_loss<T: Float>(attributes: &Attributes, inputs: &Named<T>) -> Outcome<T> {
    let mut loss = NllLoss::new().reduction(attributes.reduction().ok_or(UNKNOWN_REDUCTION)?);
    if inputs.has("weight") {
        loss = loss.weight(inputs.tensor("weight"));
    }
    if let Some(index) = attributes.integer("ignore_index") {
        loss = loss.ignore_index(Some(index));
    }
    match inputs.get("target") {
        Some(Value::Integer(classes)) => out(loss.forward(inputs.tensor("input"), classes)?),
        _ => Err(Refusal::RuledOut("nll_loss takes classes")),
    }
}
