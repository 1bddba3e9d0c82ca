//! Calls that PyTorch refuses, and a few that it surprisingly accepts: each is a typed error here or gives
//! PyTorch's result, unless one of the tables below says otherwise.

mod golden;

use golden::operations::{Outcome, Refusal, call, out};
use golden::store::{attributes, cases};
use golden::{Named, Value, number};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use tapegrad::{Error, GradOptions, Indices, Mask, Result, Tensor, backward, grad};

/// What this crate does otherwise on purpose; `docs/differences.md` has the reasons.
const DELIBERATE: &[(&str, Instead, &str)] = &[
    ("042", Instead::Refused, "label smoothing below 0"),
    ("043", Instead::Refused, "label smoothing below 0"),
    ("044", Instead::Refused, "label smoothing of nan"),
    ("054", Instead::Gives(&[3.307878990904057]), "labels of 32 bits"),
    (
        "072",
        Instead::Gives(&[3.3173915362054256]),
        "a target of shape (1) for a single sample works in backward too",
    ),
    ("080", Instead::Gives(&[1.16]), "labels of 32 bits"),
    ("117", Instead::Gives(&[0.0, 1.0, 0.0]), "labels of 32 bits"),
];

enum Instead {
    /// PyTorch accepts it, here it is an error.
    Refused,
    /// PyTorch refuses it, here it gives these values.
    Gives(&'static [f64]),
}

/// What PyTorch accepts because it converts an argument by itself. Here the caller converts it, and the
/// result is the same.
const CONVERTED: &[&str] = &["034", "048", "049", "097", "130", "160", "184"];

/// Calls that PyTorch refuses and that the compiler refuses here.
const RULED_OUT: &[(&str, &[&str])] = &[
    ("all tensors of a call have one precision", &["033", "146"]),
    ("Indices have no arithmetic, a Tensor holds floats", &["035", "059", "081", "089", "094", "129", "149"]),
    ("a mask holds no positions", &["055", "105"]),
    ("positions are integers", &["104", "111", "116"]),
    ("nll_loss takes classes", &["074"]),
    ("a condition is a mask", &["164"]),
    ("Reduction is an enum", &["060", "084"]),
    ("a number of classes is unsigned", &["119"]),
    ("a length is unsigned", &["193"]),
    ("only a Tensor can require a gradient, and it holds floats", &["202"]),
];

/// The errors that fit a category of refusals.
fn fits(category: &str, error: &Error) -> bool {
    use Error::*;
    match category {
        "index_range" => matches!(error, OutOfRange { .. }),
        "index_shape" | "target_shape" | "target_dtype" | "input_shape" => {
            matches!(error, Shape { .. } | Argument { .. })
        }
        "weight_shape" => matches!(error, Shape { what: "the weight", .. }),
        "label_smoothing" => matches!(error, Argument { name: "label_smoothing", .. }),
        "ignore_index_with_probabilities" => matches!(error, Argument { name: "ignore_index", .. }),
        "accepted_questionable" | "arguments" => matches!(error, Argument { .. }),
        "not_differentiable" => matches!(error, NotDifferentiable { .. }),
        "dim" => matches!(error, Dim { .. } | Shape { .. }),
        "empty" => matches!(error, EmptyReduction { .. }),
        "shape" => {
            matches!(error, Broadcast { .. } | Shape { .. } | Length { .. } | Argument { .. })
        }
        "autograd" => matches!(
            error,
            Released { .. } | NotScalar { .. } | Shape { .. } | NotTracked { .. } | Unused { .. }
        ),
        _ => false,
    }
}

/// Runs a case: an operation, with a backward pass if PyTorch's case had one, or one of the small programs
/// about the engine.
fn run(case: &Json) -> Outcome<f64> {
    let op = case["op"].as_str().expect("an operation");
    let differentiated: Vec<&str> =
        case["requires_grad"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let track = |(name, value): (String, Value<f64>)| match value {
        Value::Float(tensor) if differentiated.contains(&&name[..]) => (name, tensor.requires_grad().into()),
        value => (name, value),
    };
    let inputs = Named(inputs(case)?.0.into_iter().map(track).collect());
    if case["category"] == "autograd" || op.starts_with("backward") {
        return engine(op, &inputs);
    }
    let outputs = call(op, &attributes(case), &inputs)?;
    if !differentiated.is_empty() {
        outputs.tensor("out").backward()?;
        for name in differentiated {
            assert!(inputs.tensor(name).grad().is_some(), "no gradient for {name}");
        }
    }
    Ok(outputs)
}

/// Programs about the engine, of which the names say what they do.
fn engine(name: &str, inputs: &Named<f64>) -> Outcome<f64> {
    if name == "requires_grad_on_integers" {
        return Err(Refusal::RuledOut("only a Tensor can require a gradient, and it holds floats"));
    }
    let x = inputs.tensor("input").clone();
    let square = |x: &Tensor<f64>| -> Result<Tensor<f64>> { x.mul(x)?.sum(..) };
    match name {
        "backward_twice_without_retaining" => {
            let y = square(&x.requires_grad())?;
            y.backward()?;
            y.backward()?;
        }
        "backward_of_non_scalar_without_gradient" => x.requires_grad().mul(2.0)?.backward()?,
        "backward_with_gradient_of_wrong_shape" => {
            x.requires_grad().mul(2.0)?.backward_with(inputs.tensor("grad_output"))?
        }
        "backward_without_any_requires_grad" => square(&x)?.backward()?,
        "backward_through_detach" => square(&x.requires_grad().mul(2.0)?.detach())?.backward()?,
        "grad_of_unused_input" => {
            let (x, unused) = (x.requires_grad(), Tensor::from(1.0).requires_grad());
            grad(&[&square(&x)?], &[&unused], &GradOptions::new())?;
        }
        "backward_twice_on_fresh_graphs_accumulates" => {
            let x = x.requires_grad();
            square(&x)?.backward()?;
            square(&x)?.backward()?;
            return out(x.grad().expect("a gradient"));
        }
        "second_order_without_create_graph" => {
            let x = x.requires_grad();
            let slope = grad(&[&square(&x)?], &[&x], &GradOptions::new())?.remove(0);
            backward(&[&slope.sum(..)?], &GradOptions::new())?;
        }
        _ => return Err(Refusal::NoSuchOperation),
    }
    out(Tensor::zeros(())?) // PyTorch has stopped before this
}

/// The inputs as this crate has them: one precision, integers of any width as [`Indices`]. Where the
/// caller converts, everything becomes f64.
fn inputs(case: &Json) -> std::result::Result<Named<f64>, Refusal> {
    let is_converted = CONVERTED.iter().any(|id| case["id"] == *id);
    let inputs: BTreeMap<&String, &Json> = case["inputs"].as_object().into_iter().flatten().collect();
    let dtypes = inputs.values().filter_map(|input| input["dtype"].as_str());
    let floats: BTreeSet<&str> = dtypes.filter(|dtype| dtype.starts_with('f')).collect();
    if floats.len() > 1 && !is_converted {
        return Err(Refusal::RuledOut("all tensors of a call have one precision"));
    }
    let mut named = Vec::new();
    for (name, input) in inputs {
        let value = match (&name[..], stored(input)) {
            ("index", Value::Float(_)) => return Err(Refusal::RuledOut("positions are integers")),
            ("index" | "target", Value::Boolean(_)) => {
                return Err(Refusal::RuledOut("a mask holds no positions"));
            }
            ("condition", Value::Float(_)) => return Err(Refusal::RuledOut("a condition is a mask")),
            ("index" | "target", value) => value,
            (_, Value::Integer(indices)) if is_converted => indices.to_tensor()?.into(),
            (_, Value::Integer(_)) => {
                return Err(Refusal::RuledOut("Indices have no arithmetic, a Tensor holds floats"));
            }
            (_, value) => value,
        };
        named.push((name.clone(), value));
    }
    Ok(Named(named))
}

/// A tensor of the file.
fn stored(input: &Json) -> Value<f64> {
    let shape = sizes(&input["shape"]);
    let numbers = numbers(&input["data"]);
    match input["dtype"].as_str() {
        Some("f64") => Tensor::from_vec(numbers, shape).expect("a whole tensor").into(),
        Some("f32") => {
            let rounded = numbers.into_iter().map(|value| f64::from(value as f32)).collect();
            Tensor::from_vec(rounded, shape).expect("a whole tensor").into()
        }
        Some("bool") => Mask::from_vec(numbers.iter().map(|&value| value != 0.0).collect(), shape)
            .expect("a whole mask")
            .into(),
        _ => {
            let integers = numbers.iter().map(|&value| value as i64).collect();
            Indices::from_vec(integers, shape).expect("whole indices").into()
        }
    }
}

fn sizes(shape: &Json) -> Vec<usize> {
    shape.as_array().into_iter().flatten().map(|size| size.as_u64().expect("a size") as usize).collect()
}

fn numbers(data: &Json) -> Vec<f64> {
    let truth = |value: &Json| value.as_bool().map(|truth| f64::from(u8::from(truth)));
    let element = |value: &Json| truth(value).or(number(value)).expect("a number");
    data.as_array().into_iter().flatten().map(element).collect()
}

/// What is wrong with an output: it should be as stored, to 1e-12 of its largest entry, or to half a
/// unit in the last place if PyTorch computed it in f32.
fn difference(actual: &Value<f64>, shape: Option<&[usize]>, expected: &[f64], dtype: &str) -> Option<String> {
    let relative = if dtype == "f32" { f64::from(f32::EPSILON) / 2.0 } else { 1e-12 };
    let tolerance = relative * golden::compare::largest(expected);
    let numbers = actual.numbers();
    let close = |(actual, expected): (&f64, &f64)| {
        actual == expected || (actual.is_nan() && expected.is_nan()) || (actual - expected).abs() <= tolerance
    };
    let fits = shape.is_none_or(|shape| actual.shape()[..] == *shape) && numbers.len() == expected.len();
    let agrees = fits && numbers.iter().zip(expected).all(close);
    (!agrees).then(|| format!("expected {shape:?} {expected:?}, is {} {numbers:?}", actual.shape()))
}

/// What is wrong with a case, in words.
fn objection(case: &Json) -> Option<String> {
    let (id, torch) = (case["id"].as_str().expect("an id"), &case["torch"]);
    let deliberate = DELIBERATE.iter().find(|(other, ..)| *other == id).map(|(_, instead, _)| instead);
    let ruled_out = RULED_OUT.iter().find(|(_, ids)| ids.contains(&id)).map(|(reason, _)| *reason);
    let category = case["category"].as_str().expect("a category");
    match (run(case), deliberate, torch["accepted"] == true) {
        (Err(Refusal::RuledOut(reason)), None, false) if ruled_out == Some(reason) => None,
        (_, _, false) if ruled_out.is_some() => Some("is not ruled out by the types".to_string()),
        (Ok(outputs), Some(Instead::Gives(values)), false) => {
            difference(outputs.get("out")?, None, values, "f64")
        }
        (Ok(outputs), None, true) => {
            let expected = &torch["output"];
            // Where PyTorch converts by itself it has computed some of it in f32.
            let is_converted = CONVERTED.contains(&id);
            let dtype = if is_converted { "f32" } else { expected["dtype"].as_str().expect("a precision") };
            let (shape, values) = (sizes(&expected["shape"]), numbers(&expected["data"]));
            difference(outputs.get("out")?, Some(&shape), &values, dtype)
        }
        (Err(Refusal::Engine(error)), Some(Instead::Refused), true)
        | (Err(Refusal::Engine(error)), None, false) => {
            let message = error.to_string();
            println!("{id} {category}: {message}");
            (!fits(category, &error)).then(|| format!("{error:?} does not fit the category"))
        }
        (Ok(outputs), ..) => Some(format!("gave {:?}", outputs.0)),
        (Err(refusal), ..) => Some(format!("{refusal:?}")),
    }
}

#[test]
fn every_refusal_is_a_typed_error() {
    let cases = cases("errors/errors.json");
    let failures: Vec<String> = (cases.iter())
        .filter_map(|case| {
            let objection = objection(case)?;
            let name = |key: &str| case[key].as_str().unwrap_or_default().to_string();
            let (id, op, what, category) = (name("id"), name("op"), name("what"), name("category"));
            Some(format!("{id} {op}: {what} ({category}); PyTorch: {}\n    here: {objection}", case["torch"]))
        })
        .collect();
    println!("{} cases; on purpose otherwise:", cases.len());
    DELIBERATE.iter().for_each(|(id, _, reason)| println!("  {id}: {reason}"));
    println!("ruled out by the types:");
    RULED_OUT.iter().for_each(|(reason, ids)| println!("  {}: {reason}", ids.join(", ")));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
