//! Every case that was computed with PyTorch: values, gradients, Hessian-vector products, and the
//! small programs and training runs.

mod golden;

use golden::compare::Check;
use golden::operations::{Refusal, call};
use golden::store::{Case, Store, torch_cases};
use golden::terms::Differentiated;
use golden::{Named, Value};
use std::collections::{BTreeMap, BTreeSet};
use tapegrad::{DType, Float, GradOptions, Result, Tensor, grad};

/// Everything that is stored for a case, computed by the engine.
fn evaluate<T: Float>(case: &Case, store: &Store) -> std::result::Result<Vec<Check>, Refusal> {
    let inputs = tracked(store.named::<T>(&case.id, "input", &case.inputs), &case.differentiated);
    let outputs = call(&case.op, &case.attributes, &inputs)?;
    let mut checks = Vec::new();
    let mut check = |role: &str, name: &str, actual: &Value<T>| {
        let tensor = format!("{role}/{name}");
        let expected = store.expect(&format!("{}/{tensor}", case.id));
        checks.push(Check::new(tensor, expected, actual));
    };
    for name in &case.outputs {
        check("output", name, outputs.get(name).unwrap_or_else(|| panic!("{}: no output {name}", case.id)));
    }
    if case.differentiated.is_empty() {
        return Ok(checks);
    }

    let output = outputs.tensor(&case.outputs[0]);
    let upstream = upstream(case, store, output)?;
    let leaves: Vec<&Tensor<T>> = case.differentiated.iter().map(|name| inputs.tensor(name)).collect();
    let once = GradOptions::new().grad_outputs([upstream.clone()]).retain_graph(true).materialize_grads(true);
    for (name, gradient) in case.differentiated.iter().zip(grad(&[output], &leaves, &once)?) {
        check("grad", name, &gradient.into());
    }
    if case.second_order {
        // With f the output and u the upstream gradient, g(u) = J^T u is linear in u, so that the
        // derivative of <g(u), v> by u is J v: the directional derivative of the output.
        let upstream = upstream.requires_grad();
        let recorded = GradOptions::new().grad_outputs([upstream.clone()]);
        let recorded = recorded.create_graph(true).materialize_grads(true);
        let gradients = grad(&[output], &leaves, &recorded)?;
        let directions = store.named::<T>(&case.id, "hvp_v", &case.differentiated);
        let along = products(&gradients, &directions)?;
        let by: Vec<&Tensor<T>> = leaves.into_iter().chain([&upstream]).collect();
        let mut second = grad(&[&along], &by, &GradOptions::new().materialize_grads(true))?;
        let directional = second.pop().expect("the derivative by the upstream gradient");
        for ((name, gradient), product) in case.differentiated.iter().zip(gradients).zip(second) {
            check("grad", name, &gradient.into());
            check("hvp", name, &product.into());
        }
        if case.stored_upstream {
            check("jvp", &case.outputs[0], &directional.into());
        }
    }
    Ok(checks)
}

/// The largest term of every tensor of a case; see [`golden::terms`].
fn largest_terms(case: &Case, store: &Store) -> std::result::Result<BTreeMap<String, f64>, Refusal> {
    let inputs = tracked(store.named::<f64>(&case.id, "input", &case.inputs), &case.differentiated);
    let outputs = call(&case.op, &case.attributes, &inputs)?;
    if case.differentiated.is_empty() {
        return Ok(BTreeMap::new());
    }
    let output = outputs.tensor(&case.outputs[0]);
    let leaves: Vec<(String, &Tensor<f64>)> =
        case.differentiated.iter().map(|name| (name.clone(), inputs.tensor(name))).collect();
    let directions = case.second_order.then(|| store.named(&case.id, "hvp_v", &case.differentiated));
    let upstream = upstream(case, store, output)?;
    Differentiated { output, upstream: &upstream, leaves: &leaves, directions: directions.as_ref() }
        .largest_terms()
}

/// The stored upstream gradient of the output, or ones.
fn upstream<T: Float>(case: &Case, store: &Store, output: &Tensor<T>) -> Result<Tensor<T>> {
    match case.stored_upstream {
        true => Ok(store.named(&case.id, "grad_output", &["out".to_string()]).tensor("out").clone()),
        false => Tensor::ones(output.shape()),
    }
}

/// The inputs, with a gradient required of some.
fn tracked<T: Float>(inputs: Named<T>, names: &[String]) -> Named<T> {
    let track = |(name, value): (String, Value<T>)| match value {
        Value::Float(tensor) if names.contains(&name) => (name, Value::Float(tensor.requires_grad())),
        value => (name, value),
    };
    Named(inputs.0.into_iter().map(track).collect())
}

/// The sum over all names of sum(gradient * direction).
fn products<T: Float>(gradients: &[Tensor<T>], directions: &Named<T>) -> Result<Tensor<T>> {
    let mut total = Tensor::zeros(())?;
    for (gradient, direction) in gradients.iter().zip(directions.tensors()) {
        total = total.add(gradient.mul(direction)?.sum(..)?)?;
    }
    Ok(total)
}

#[test]
fn every_torch_case_agrees() {
    let cases = torch_cases();
    let families: BTreeSet<&str> = cases.iter().map(|case| &case.family[..]).collect();
    let store = Store::open(families.iter().map(|family| format!("torch/{family}.f64.safetensors")));
    let mut failures = Vec::new();
    let mut left_out = Vec::new();
    let mut worst: BTreeMap<String, (f64, String)> = BTreeMap::new();
    for case in &cases {
        let precisions = [DType::F64, DType::F32];
        for precision in precisions.into_iter().filter(|&precision| precision == DType::F64 || case.in_f32) {
            let checks = match precision {
                DType::F64 => evaluate::<f64>(case, &store),
                DType::F32 => evaluate::<f32>(case, &store),
            };
            let checks = match checks {
                Ok(checks) => checks,
                Err(Refusal::NoSuchOperation) => {
                    left_out.push(&case.id);
                    continue;
                }
                Err(refusal) => {
                    failures.push(format!(
                        "{} {precision} {} {:?}: {refusal:?}",
                        case.id, case.op, case.attributes.0
                    ));
                    continue;
                }
            };
            let mut terms = None;
            for mut check in checks {
                if precision == DType::F32 && check.difference(precision).is_some() {
                    let terms = terms.get_or_insert_with(|| largest_terms(case, &store).expect("terms"));
                    let name = match check.tensor.split('/').next() {
                        Some("output") => "output",
                        Some("jvp") => "jvp",
                        _ => &check.tensor,
                    };
                    check.largest_term = check.largest_term.max(terms.get(name).copied().unwrap_or(0.0));
                }
                let role = check.tensor.split('/').next().unwrap_or_default();
                let group = format!("{:13} {precision} {role}", case.family);
                let excess = check.excess(precision);
                let entry = worst.entry(group).or_insert((0.0, String::new()));
                if excess > entry.0 && excess.is_finite() {
                    *entry = (excess, format!("{} {}", case.id, check.tensor));
                }
                if let Some(difference) = check.difference(precision) {
                    failures.push(format!(
                        "{} {precision} {} {:?} {:?} {}: {difference}",
                        case.id, case.op, case.attributes.0, case.tags, check.tensor
                    ));
                }
            }
        }
    }
    println!("{} left out: {left_out:?}", left_out.len());
    for (group, (excess, case)) in &worst {
        println!("{group:30} worst {excess:.2} of the tolerance ({case})");
    }
    for failure in &failures {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} failures, listed above", failures.len());
}
