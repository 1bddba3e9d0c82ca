//! Every case that was computed with PyTorch: values, gradients, Hessian-vector products, and the
//! small programs and training runs.

mod golden;

use golden::compare::Check;
use golden::differences::{DELIBERATE, Difference, EXCEPTIONS, Instead};
use golden::operations::{Refusal, call};
use golden::store::{Case, Store, torch_cases};
use golden::terms::Derivatives;
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

/// The largest term of a tensor of a case; see [`golden::terms`].
fn largest_term(case: &Case, store: &Store, tensor: &str) -> std::result::Result<f64, Refusal> {
    let inputs = tracked(store.named::<f64>(&case.id, "input", &case.inputs), &case.differentiated);
    let outputs = call(&case.op, &case.attributes, &inputs)?;
    if case.differentiated.is_empty() {
        return Ok(0.0);
    }
    let output = outputs.tensor(&case.outputs[0]);
    let leaves: Vec<(String, &Tensor<f64>)> =
        case.differentiated.iter().map(|name| (name.clone(), inputs.tensor(name))).collect();
    let directions = case.second_order.then(|| store.named(&case.id, "hvp_v", &case.differentiated));
    let upstream = upstream(case, store, output)?;
    let derivatives = Derivatives {
        op: &case.op,
        output,
        upstream: &upstream,
        leaves: &leaves,
        directions: directions.as_ref(),
    };
    derivatives.largest_term(tensor)
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

/// What came of all the cases.
#[derive(Default)]
struct Report {
    failures: Vec<String>,
    left_out: BTreeSet<String>,
    /// Tensors compared, by name.
    checked: BTreeSet<String>,
    /// The largest error in each family and role, as a share of the tolerance, and where it is.
    worst: BTreeMap<String, (f64, String)>,
    /// The places in the tables that were needed: case, precision and tensor.
    excused: BTreeSet<(String, String, String)>,
}

impl Report {
    fn fail(&mut self, case: &Case, precision: DType, what: String) {
        let Case { id, op, attributes, tags, .. } = case;
        let arguments: Vec<String> =
            attributes.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.failures.push(format!("{id} {precision} {op}({}) {tags:?} {what}", arguments.join(", ")));
    }

    fn run(&mut self, case: &Case, store: &Store, precision: DType) {
        let checks = match precision {
            DType::F64 => evaluate::<f64>(case, store),
            DType::F32 => evaluate::<f32>(case, store),
        };
        match checks {
            Ok(checks) => checks.into_iter().for_each(|check| self.judge(check, case, store, precision)),
            Err(Refusal::NoSuchOperation) => drop(self.left_out.insert(case.id.clone())),
            Err(refusal) => self.fail(case, precision, format!("{refusal:?}")),
        }
    }

    fn judge(&mut self, mut check: Check, case: &Case, store: &Store, precision: DType) {
        self.checked.insert(format!("{}/{}", case.id, check.tensor));
        if precision == DType::F32 && check.difference(precision).is_some() {
            let term = largest_term(case, store, &check.tensor).expect("derivatives in f64");
            check.largest_term = check.largest_term.max(term);
        }
        let tables = DELIBERATE.iter().chain(EXCEPTIONS);
        let mut difference = check.difference(precision);
        if difference.is_some()
            && let Some(entry) =
                tables.into_iter().find(|entry| entry.covers(&case.id, precision, &check.tensor))
        {
            self.excused.insert((case.id.clone(), precision.to_string(), entry.tensor.to_string()));
            difference = entry.objection(&mut check, case, store, precision);
        }
        if let Some(difference) = difference {
            self.fail(case, precision, format!("{}: {difference}", check.tensor));
            return;
        }
        let role = check.tensor.split('/').next().unwrap_or_default();
        let entry = self.worst.entry(format!("{:13} {precision} {role}", case.family)).or_default();
        let share = check.share(precision);
        if share > entry.0 {
            *entry = (share, format!("{} {}", case.id, check.tensor));
        }
    }

    /// Every place in the tables must be needed, and every case in them exist.
    fn complain_of_unused_entries(&mut self, tables: &[Difference]) {
        for entry in tables.iter().filter(|entry| !matches!(entry.instead, Instead::Within(_))) {
            for (case, precision) in
                entry.cases.iter().flat_map(|case| entry.precisions.iter().map(move |p| (case, p)))
            {
                let place = (case.to_string(), precision.to_string(), entry.tensor.to_string());
                if !self.excused.contains(&place) {
                    self.failures
                        .push(format!("{place:?} agrees: take it out of the table ({})", entry.reason));
                }
            }
        }
    }
}

#[test]
fn every_case_agrees_with_pytorch() {
    let cases = torch_cases();
    let families: BTreeSet<&str> = cases.iter().map(|case| &case.family[..]).collect();
    let store = Store::open(families.iter().map(|family| format!("torch/{family}.f64.safetensors")));
    let mut report = Report::default();
    for case in &cases {
        report.run(case, &store, DType::F64);
        if case.in_f32 {
            report.run(case, &store, DType::F32);
        }
    }
    report.complain_of_unused_entries(DELIBERATE);
    report.complain_of_unused_entries(EXCEPTIONS);

    let excepted: BTreeSet<&str> = EXCEPTIONS.iter().flat_map(|entry| entry.cases).copied().collect();
    let deliberate: BTreeSet<&str> = DELIBERATE.iter().flat_map(|entry| entry.cases).copied().collect();
    println!("{} cases, {} tensors", cases.len(), report.checked.len());
    println!("{} differ on purpose, {} are excepted", deliberate.len(), excepted.len());
    println!("{} left out, having no counterpart: {:?}", report.left_out.len(), report.left_out);
    println!("largest errors, as a share of what is allowed:");
    for (group, (share, place)) in &report.worst {
        println!("  {group:30} {share:.2}  {place}");
    }
    assert!(
        report.failures.is_empty(),
        "{} failures:\n{}",
        report.failures.len(),
        report.failures.join("\n")
    );
    assert!(excepted.len() * 100 <= cases.len() * 2, "more than 2 % of the cases are excepted");

    let is_result =
        |name: &&str| ["output", "grad", "hvp", "jvp"].contains(&name.split('/').nth(1).unwrap_or_default());
    let stored = store.names().filter(is_result);
    let unchecked: Vec<&str> = stored.filter(|name| !report.checked.contains(*name)).collect();
    assert!(unchecked.is_empty(), "never compared: {unchecked:?}");
}
