//! Every ONNX operator test that is a call to this crate or a plain composition of calls.

mod golden;

use golden::Value;
use golden::onnx::Node;
use golden::operations::Refusal;
use golden::store::{Store, Stored, attributes, cases};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use tapegrad::Float;

/// What is not done here, and why; all of it belongs to operators that the crate does not have.
const LEFT_OUT: &[(&str, &str)] = &[
    ("scatter_elements_with_reduction_mul", "no scatter that multiplies"),
    ("scatter_elements_with_reduction_max", "no scatter that takes the maximum"),
    ("reduce_max_empty_set_bool", "the maximum of nothing is an error here, as in PyTorch"),
    ("reduce_min_empty_set", "the minimum of nothing is an error here, as in PyTorch"),
];

/// Names in a list of strings.
fn names(list: &Json) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_string).collect()
}

/// The tensors that the operator gives for a case.
fn evaluate<T: Float>(case: &Json, store: &Store) -> Result<Vec<Value<T>>, Refusal> {
    let id = case["id"].as_str().expect("an id");
    let input =
        |name: &String| (!name.is_empty()).then(|| store.expect(&format!("{id}/input/{name}")).value());
    let node = Node {
        op: case["op"].as_str().expect("an operator").to_string(),
        attributes: attributes(case),
        inputs: names(&case["node_inputs"]).iter().map(input).collect(),
        outputs: names(&case["node_outputs"]).len(),
    };
    node.run()
}

/// What is wrong with a tensor, in words. Floats are within atol + rtol |expected|.
fn difference<T: Float>(expected: &Stored, actual: &Value<T>, rtol: f64, atol: f64) -> Option<String> {
    if expected.shape != actual.shape().to_vec() {
        return Some(format!("has shape {:?}, expected {:?}", actual.shape(), expected.shape));
    }
    let (expected, actual) = (expected.numbers(), actual.numbers());
    let agrees = |(&expected, &actual): (&f64, &f64)| {
        expected == actual
            || (expected.is_nan() && actual.is_nan())
            || (expected - actual).abs() <= atol + rtol * expected.abs()
    };
    let at = expected.iter().zip(&actual).position(|pair| !agrees(pair))?;
    Some(format!("entry {at}: expected {:e}, is {:e}", expected[at], actual[at]))
}

#[test]
fn every_onnx_case_agrees() {
    let cases = cases("onnx/manifest.json");
    let files: BTreeSet<&str> = cases.iter().filter_map(|case| case["file"].as_str()).collect();
    let store = Store::open(files.into_iter().map(|file| format!("onnx/{file}")));
    let mut failures = Vec::new();
    let mut left_out = BTreeSet::new();
    let mut compared = 0;
    for case in &cases {
        let id = case["id"].as_str().expect("an id");
        let in_f64 = case["inputs"].as_array().into_iter().flatten().any(|input| input["dtype"] == "f64");
        // Far below what the ONNX runner allows, which is rtol = 1e-3: the expected f32 values have errors
        // of their own.
        let narrowed = if in_f64 { 1e-9 } else { 1e-2 };
        let tolerance = |name: &str| narrowed * case[name].as_f64().expect("a tolerance");
        let mut compare = |expected: &Stored, wrong: Option<String>, name: &str| {
            compared += 1;
            if let Some(wrong) = wrong {
                failures.push(format!("{id} ({}) {name} {:?}: {wrong}", case["op"], expected.shape));
            }
        };
        macro_rules! run {
            ($float:ty) => {
                match evaluate::<$float>(case, &store) {
                    Ok(outputs) => {
                        for (name, actual) in names(&case["node_outputs"]).iter().zip(&outputs) {
                            let expected = store.expect(&format!("{id}/output/{name}"));
                            let wrong = difference(expected, actual, tolerance("rtol"), tolerance("atol"));
                            compare(expected, wrong, name);
                        }
                    }
                    Err(Refusal::NoSuchOperation) => drop(left_out.insert(id)),
                    Err(refusal) => failures.push(format!("{id} ({}): {refusal:?}", case["op"])),
                }
            };
        }
        if in_f64 {
            run!(f64);
        } else {
            run!(f32);
        }
    }
    println!("{} cases, {compared} tensors compared; left out:", cases.len());
    for (id, reason) in LEFT_OUT {
        println!("  {id}: {reason}");
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(left_out, LEFT_OUT.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>());
}
