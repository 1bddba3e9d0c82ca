//! How far results are from the correctly rounded answers, in units of representable numbers: losses,
//! log_softmax, softmax, log-sum-exp and gradients, in both precisions, from random logits to losses of
//! 1e-42 and classes by the hundred thousand.

mod golden;

use golden::store::{Store, cases};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use tapegrad::{CrossEntropyLoss, DType, Float, Indices, NllLoss, Reduction, Result, Tensor};

/// How many representable numbers lie between two.
fn distance<T: Float>(a: T, b: T) -> u64 {
    // Ascending with the number, the two zeros at the same place.
    let place = |x: T| -> i64 {
        let (bits, sign) = match T::DTYPE {
            DType::F32 => {
                let bits = (x.to_f64() as f32).to_bits();
                (i64::from(bits & 0x7fff_ffff), bits >> 31 == 1)
            }
            DType::F64 => {
                let bits = x.to_f64().to_bits();
                ((bits & (u64::MAX >> 1)) as i64, bits >> 63 == 1)
            }
        };
        if sign { -bits } else { bits }
    };
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() && b.is_nan() { 0 } else { u64::MAX };
    }
    place(a).abs_diff(place(b))
}

/// The logits and targets of a category; those with very many classes follow from a seed.
fn problem<T: Float>(case: &Json, store: &Store) -> Result<(Tensor<T>, Indices)> {
    let id = name(case);
    let classes = case["C"].as_u64().expect("a number of classes");
    let target = store.named::<T>(id, "input", &["target".to_string()]).indices("target").clone();
    let Some(seed) = case["input_formula_seed"].as_u64() else {
        let logits = store.named(id, "input", &["logits".to_string()]).tensor("logits").clone();
        return Ok((logits, target));
    };
    let logit = |i: u64| {
        let z = split_mix(seed.wrapping_mul(1_000_003).wrapping_add(i));
        T::from_f64(match T::DTYPE {
            DType::F32 => (z >> 40) as f64 * 2f64.powi(-20) - 8.0,
            DType::F64 => (z >> 11) as f64 * 2f64.powi(-49) - 8.0,
        })
    };
    Ok((Tensor::from_vec((0..classes).map(logit).collect(), [1, classes as usize])?, target))
}

/// The generator SplitMix64: one number from a state.
fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The name within the file, without the precision in front.
fn name(case: &Json) -> &str {
    let id = case["id"].as_str().expect("an id");
    id.split_once('/').map_or(id, |(_, name)| name)
}

/// Everything that is computed for a category, under the names of the exact values. The gradient is
/// computed twice: by the loss in one step, and by log_softmax and nll_loss.
fn results<T: Float>(logits: &Tensor<T>, target: &Indices) -> Result<Vec<(&'static str, Tensor<T>)>> {
    let leaf = logits.detach().requires_grad();
    let loss = |reduction| CrossEntropyLoss::new().reduction(reduction).forward(&leaf, target);
    let gradient = |loss: Tensor<T>| -> Result<Tensor<T>> {
        leaf.zero_grad();
        loss.backward()?;
        Ok(leaf.grad().expect("a gradient"))
    };
    let composed = NllLoss::new().reduction(Reduction::Sum).forward(&leaf.log_softmax(1)?, target)?;
    Ok(vec![
        ("loss", loss(Reduction::None)?),
        ("loss_sum", loss(Reduction::Sum)?),
        ("loss_mean", loss(Reduction::Mean)?),
        ("lse", logits.logsumexp(1)?),
        ("log_softmax", logits.log_softmax(1)?),
        ("softmax", logits.softmax(1)?),
        ("grad", gradient(loss(Reduction::Sum)?)?),
        ("grad", gradient(composed)?),
    ])
}

/// The largest distance allowed.
const UNITS: u64 = 4;

fn judge<T: Float>(case: &Json, store: &Store, worst: &mut BTreeMap<String, u64>) -> Result<Vec<String>> {
    let id = name(case);
    let (logits, target) = problem::<T>(case, store)?;
    let mut failures = Vec::new();
    for (order, (what, actual)) in results(&logits, &target)?.into_iter().enumerate() {
        let Some(exact) = store.get(&format!("{id}/exact/{what}")) else { continue };
        let exact: Vec<T> = exact.numbers().into_iter().map(T::from_f64).collect();
        let sampled = store.get(&format!("{id}/sample_index")).filter(|_| actual.len() > exact.len());
        let actual: Vec<T> = match sampled {
            Some(index) => index.numbers().iter().map(|&at| actual.as_slice()[at as usize]).collect(),
            None => actual.to_vec(),
        };
        assert_eq!(actual.len(), exact.len(), "{id} {what}");
        // A log-sum-exp near 0 is the difference of large numbers; its absolute error counts.
        let is_ill_conditioned =
            what == "lse" && ["normalised_log_probabilities", "logsumexp_near_zero"].contains(&id);
        let error = |(&a, &e): (&T, &T)| {
            if is_ill_conditioned {
                let near = T::from_f64(8.0);
                distance(near + (a - e), near)
            } else {
                distance(a, e)
            }
        };
        let largest = actual.iter().zip(&exact).map(error).max().unwrap_or(0);
        let path = if order == 7 { "grad (composed)" } else { what };
        let entry = worst.entry(format!("{} {path}", T::DTYPE)).or_default();
        *entry = (*entry).max(largest);
        if largest > UNITS {
            let at = actual.iter().zip(&exact).position(|pair| error(pair) == largest).unwrap_or(0);
            failures.push(format!(
                "{} {path}: {largest} units off at {at}: {:e}, exact {:e}",
                case["id"], actual[at], exact[at]
            ));
        }
    }
    Ok(failures)
}

#[test]
fn results_are_within_four_units_of_the_correctly_rounded_ones() -> Result<()> {
    let mut worst = BTreeMap::new();
    let mut failures = Vec::new();
    let stores = ["f32", "f64"].map(|dtype| Store::open([format!("accuracy/accuracy.{dtype}.safetensors")]));
    for case in cases("accuracy/manifest.json") {
        failures.extend(match case["dtype"].as_str() {
            Some("f32") => judge::<f32>(&case, &stores[0], &mut worst)?,
            _ => judge::<f64>(&case, &stores[1], &mut worst)?,
        });
    }
    println!("largest distance from the correctly rounded result:");
    worst.iter().for_each(|(what, units)| println!("  {what:20} {units}"));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}
