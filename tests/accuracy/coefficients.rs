//! Weights, label smoothing and probability targets, against sums of twice the precision.
//!
//! Every loss is a sum of coefficients times -ln p; see `ops::loss::cross_entropy`. All terms of a loss
//! are positive. The gradient of a logit, g (p (A - a) - a (1 - p)), is a difference of two of them, and
//! is judged in units of the larger one.

use crate::precise::double_double::DoubleDouble;
use crate::precise::elementary::{exp_plain, log1p};
use crate::precise::{Failures, Scaled, Worst, on_every_instruction_set, unit_in_the_last_place};
use crate::rows::{Arrangement, Category};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tapegrad::{CrossEntropyLoss, Float, Indices, Reduction, Tensor};

/// How many units in the last place a loss may be off.
const OF_LOSSES: f64 = 2.0;

/// How many a gradient may be off.
const OF_GRADIENTS: f64 = 4.0;

/// One call: what the rows' targets are, and which classes count how much.
struct Call<T> {
    name: String,
    /// For every row and class, the target's probability.
    shares: Vec<T>,
    /// Targets as classes; `shares` has a 1 for each.
    classes: Option<Vec<i64>>,
    weight: Option<Vec<T>>,
    smoothing: f64,
}

/// Exact losses and gradients of the summed loss, and the scale of every gradient.
struct Exact {
    losses: Vec<DoubleDouble>,
    gradients: Vec<(DoubleDouble, f64)>,
    /// The derivative by every probability is w (1 - e) times -ln p: the two factors.
    of_shares: Vec<(DoubleDouble, DoubleDouble)>,
    /// What the mean divides by.
    denominator: DoubleDouble,
}

fn precise<T: Float>(x: T) -> DoubleDouble {
    DoubleDouble::from(x.to_f64())
}

/// For every term, the sum of all the others.
fn sums_of_others(terms: &[DoubleDouble]) -> Vec<DoubleDouble> {
    let mut sums = vec![DoubleDouble::ZERO; terms.len()];
    let (mut before, mut after) = (DoubleDouble::ZERO, DoubleDouble::ZERO);
    for i in 0..terms.len() {
        sums[i] = sums[i] + before;
        before = before + terms[i];
        let from_the_end = terms.len() - 1 - i;
        sums[from_the_end] = sums[from_the_end] + after;
        after = after + terms[from_the_end];
    }
    sums
}

fn exact<T: Float>(category: &Category<T>, call: &Call<T>) -> Exact {
    let size = category.classes;
    let weight = |c: usize| call.weight.as_ref().map_or(DoubleDouble::ONE, |weight| precise(weight[c]));
    let kept = DoubleDouble::ONE + -call.smoothing;
    let spread = DoubleDouble::from(call.smoothing) / DoubleDouble::from(size as f64);
    let mut exact =
        Exact { losses: vec![], gradients: vec![], of_shares: vec![], denominator: DoubleDouble::ZERO };
    for row in 0..category.rows {
        let x = category.row(row);
        let max = x.iter().fold(T::neg_infinity(), |max, &x| max.max(x));
        let differences: Vec<_> = x.iter().map(|&x| precise(x) - precise(max)).collect();
        let exponentials: Vec<_> = differences.iter().map(|&d| exp_plain(d)).collect();
        let rests = sums_of_others(&exponentials);
        let likeliest = x.iter().position(|&x| x == max).unwrap();
        let log_denominator = {
            let Scaled { value, exponent } = log1p(rests[likeliest]);
            value.times_power_of_two(exponent)
        };
        let denominator = rests[likeliest] + 1.0;
        let shares = &call.shares[row * size..(row + 1) * size];
        let coefficients: Vec<_> =
            shares.iter().enumerate().map(|(c, &q)| weight(c) * (kept * precise(q) + spread)).collect();
        let other_coefficients = sums_of_others(&coefficients);
        let negative_logs: Vec<_> = differences.iter().map(|&d| log_denominator - d).collect();
        exact.losses.push(coefficients.iter().zip(&negative_logs).map(|(&a, &l)| a * l).sum());
        for c in 0..size {
            let (p, rest) = (exponentials[c] / denominator, rests[c] / denominator);
            let (gained, lost) = (p * other_coefficients[c], coefficients[c] * rest);
            exact.gradients.push((gained - lost, gained.high.max(lost.high)));
            exact.of_shares.push((weight(c) * kept, negative_logs[c]));
        }
        exact.denominator = exact.denominator
            + match &call.classes {
                Some(classes) => weight(classes[row] as usize),
                None => DoubleDouble::ONE,
            };
    }
    exact
}

/// The calls for a category's rows.
fn calls<T: Float>(category: &Category<T>, rng: &mut ChaCha8Rng) -> Vec<Call<T>> {
    let (rows, size) = (category.rows, category.classes);
    let of = |values: Vec<f64>| -> Vec<T> { values.into_iter().map(T::from_f64).collect() };
    let even: Vec<T> = of((0..size).map(|_| rng.random_range(0.5..2.0)).collect());
    // One class counts a million times more than another.
    let uneven: Vec<T> =
        of((0..size).map(|c| [1.0, 1e3, 1e-3][c % 3] * rng.random_range(0.5..2.0)).collect());
    let one_hot: Vec<T> =
        of((0..rows * size).map(|i| f64::from(category.target[i / size] == (i % size) as i64)).collect());
    let normalised = |values: Vec<f64>| {
        let lines = values.chunks(size).flat_map(|line| {
            let total: f64 = line.iter().sum();
            line.iter().map(move |x| x / total)
        });
        of(lines.collect())
    };
    let soft = normalised((0..rows * size).map(|_| rng.random_range(0.0..1.0)).collect());
    // All but 1e-5 or 1e-12 of each on one class, and half of the others with nothing.
    let confident = normalised(
        (0..rows * size)
            .map(|i| match category.target[i / size] == (i % size) as i64 {
                true => 1.0,
                false => [1e-5, 1e-12][i / size % 2] * f64::from(i as u32 % 2) * rng.random_range(0.0..1.0),
            })
            .collect(),
    );
    let mut calls = Vec::new();
    for (weights, weight) in [("no", None), ("even", Some(even)), ("uneven", Some(uneven))] {
        for smoothing in [0.0, 0.1, 1.0] {
            for (targets, shares) in [("class", &one_hot), ("soft", &soft), ("confident", &confident)] {
                let name = format!("{targets} targets, {weights} weights, smoothing {smoothing}");
                let classes = (targets == "class").then(|| category.target.clone());
                calls.push(Call { name, shares: shares.clone(), classes, weight: weight.clone(), smoothing });
            }
        }
    }
    calls
}

/// What the engine computes for a call: losses, their sum, their mean, the gradient of the sum by the
/// logits, and by the probabilities.
struct Computed<T> {
    losses: Vec<T>,
    sum: T,
    mean: T,
    gradients: Vec<T>,
    of_shares: Option<Vec<T>>,
}

fn compute<T: Float>(category: &Category<T>, call: &Call<T>, arrangement: Arrangement) -> Computed<T> {
    let (rows, size) = (category.rows, category.classes);
    let tensor = |values: &[T]| {
        let values = arrangement.arrange(values, rows, size);
        Tensor::from_vec(values, arrangement.shape(rows, size)).unwrap().requires_grad()
    };
    let (x, shares) = (tensor(&category.logits), tensor(&call.shares));
    let loss = |reduction| {
        let mut loss = CrossEntropyLoss::new()
            .dim(arrangement.dim())
            .label_smoothing(call.smoothing)
            .reduction(reduction);
        if let Some(weight) = &call.weight {
            loss = loss.weight(&Tensor::from_vec(weight.clone(), [size]).unwrap());
        }
        match &call.classes {
            Some(classes) => {
                let target = Indices::from_vec(classes.clone(), arrangement.shape_of_rows(rows)).unwrap();
                loss.forward(&x, target).unwrap()
            }
            None => loss.forward(&x, &shares).unwrap(),
        }
    };
    let sum = loss(Reduction::Sum);
    sum.backward().unwrap();
    let by_class = |x: Tensor<T>| arrangement.restore(x.as_slice(), rows, size);
    Computed {
        losses: loss(Reduction::Unreduced).to_vec(),
        sum: sum.item().unwrap(),
        mean: loss(Reduction::Mean).item().unwrap(),
        gradients: by_class(x.grad().unwrap()),
        of_shares: shares.grad().map(by_class),
    }
}

fn check<T: Float>() {
    // Where exponentials are subnormal, this oracle has no more digits than the engine; the stored
    // answers have them all.
    let without_digits = ["f64/confident_1e-315", "f64/subnormal_probabilities", "f64/confident_1e-300"];
    let categories: Vec<_> = Category::<T>::all()
        .into_iter()
        .filter(|category| category.rows * category.classes < 10_000)
        .filter(|category| !without_digits.contains(&category.name.as_str()))
        .collect();
    assert!(categories.len() > 20);
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let calls: Vec<_> = categories
        .iter()
        .flat_map(|category| calls(category, &mut rng).into_iter().map(move |call| (category, call)))
        .map(|(category, call)| (category, exact(category, &call), call))
        .collect();
    let mut failures = Failures::default();
    let mut worst = [(); 5].map(|()| Worst::default());
    on_every_instruction_set(|instructions| {
        for (i, (category, exact, call)) in calls.iter().enumerate() {
            let arrangement = Arrangement::ALL[i % 3];
            let computed = compute(category, call, arrangement);
            let mut see = |quantity: usize, what: &str, off: f64, entry: usize| {
                let place = || {
                    format!(
                        "{what}[{entry}] of {}, {}, {arrangement:?}, {instructions:?}",
                        category.name, call.name
                    )
                };
                worst[quantity].see(off, place);
                if !(off <= if quantity < 3 { OF_LOSSES } else { OF_GRADIENTS }) {
                    failures.add(format!("{}: {off:.2} ulp", place()));
                }
            };
            for (entry, (&exact, &loss)) in exact.losses.iter().zip(&computed.losses).enumerate() {
                see(0, "loss", Scaled::from(exact).units_off(loss), entry);
            }
            let sum: DoubleDouble = exact.losses.iter().copied().sum();
            see(1, "sum", Scaled::from(sum).units_off(computed.sum), 0);
            see(2, "mean", Scaled::from(sum / exact.denominator).units_off(computed.mean), 0);
            for (entry, (&(exact, scale), &is)) in exact.gradients.iter().zip(&computed.gradients).enumerate()
            {
                let error = (precise(is) - exact).high.abs();
                see(3, "gradient", error / unit_in_the_last_place(T::DTYPE, scale), entry);
            }
            for (entry, &is) in computed.of_shares.iter().flatten().enumerate() {
                // A composition: -ln p is rounded before it is multiplied, and below the normal numbers
                // that costs more digits than the product has lost.
                let (factor, negative_log) = exact.of_shares[entry];
                let product = factor * negative_log;
                let unit = unit_in_the_last_place(T::DTYPE, product.high)
                    .max(factor.high * unit_in_the_last_place(T::DTYPE, negative_log.high) / 2.0);
                let off = if T::from_f64(product.high) == is {
                    0.0
                } else {
                    (precise(is) - product).high.abs() / unit
                };
                see(4, "gradient by the target", off, entry);
            }
        }
    });
    println!("{}, weights, smoothing and probabilities:", T::DTYPE);
    for Worst { error, place } in worst {
        println!("  {error:.2} ulp: {place}");
    }
    failures.assert_none();
}

#[test]
fn losses_with_weights_smoothing_and_probabilities_are_within_their_bounds_in_f32() {
    check::<f32>();
}

#[test]
fn losses_with_weights_smoothing_and_probabilities_are_within_their_bounds_in_f64() {
    check::<f64>();
}
