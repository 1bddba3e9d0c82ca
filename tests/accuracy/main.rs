//! The losses, probabilities and gradients of classification against correctly rounded answers: in both
//! precisions, along every dim, with every set of instructions that this processor has.
//!
//! `cargo test --test accuracy -- --nocapture tables` prints the tables of `docs/accuracy.md`.

mod coefficients;
#[path = "../golden/mod.rs"]
mod golden;
#[path = "../precise/mod.rs"]
mod precise;
mod rows;
mod table;

use precise::double_double::DoubleDouble;
use precise::{Failures, Worst, on_every_instruction_set, representable_between, unit_in_the_last_place};
use rows::{Arrangement, Category};
use table::Table;
use tapegrad::{CrossEntropyLoss, Float, GradOptions, Indices, NllLoss, Reduction, Result, Tensor, grad};

/// A quantity that has stored answers, the way in which it was computed, and its values row by row.
type Computed<T> = (&'static str, &'static str, Vec<T>);

/// The way that stands in the tables; the others are held to the same bounds.
const DIRECT: &str = "directly";

/// Everything that the answers speak of, computed from rows that lie in an arrangement.
fn compute<T: Float>(category: &Category<T>, arrangement: Arrangement) -> Result<Vec<Computed<T>>> {
    let (rows, classes, dim) = (category.rows, category.classes, arrangement.dim());
    let shape = arrangement.shape(rows, classes);
    let x = Tensor::from_vec(arrangement.arrange(&category.logits, rows, classes), shape.clone())?
        .requires_grad();
    let target = Indices::from_vec(category.target.clone(), arrangement.shape_of_rows(rows))?;
    let one_hot: Vec<T> = (0..rows * classes)
        .map(|i| if category.target[i / classes] == (i % classes) as i64 { T::one() } else { T::zero() })
        .collect();
    let one_hot = Tensor::from_vec(arrangement.arrange(&one_hot, rows, classes), shape)?;

    let by_class = |x: &Tensor<T>| arrangement.restore(x.as_slice(), rows, classes);
    let loss = |reduction| CrossEntropyLoss::new().dim(dim).reduction(reduction);
    let soft = |reduction| loss(reduction).forward(&x, &one_hot);
    let hard = |reduction| loss(reduction).forward(&x, &target);
    let nll = |reduction| NllLoss::new().dim(dim).reduction(reduction).forward(&x.log_softmax(dim)?, &target);
    let gradient = |sum: Tensor<T>, recorded: bool| -> Result<Vec<T>> {
        Ok(by_class(&grad(&[&sum], &[&x], &GradOptions::new().create_graph(recorded))?[0]))
    };

    let mut computed = vec![
        ("lse", DIRECT, x.logsumexp(dim)?.to_vec()),
        ("log_softmax", DIRECT, by_class(&x.log_softmax(dim)?)),
        ("softmax", DIRECT, by_class(&x.softmax(dim)?)),
    ];
    #[allow(clippy::type_complexity)] // three closures, each of a type of its own
    let ways: [(&str, &dyn Fn(Reduction) -> Result<Tensor<T>>); 3] =
        [(DIRECT, &hard), ("with probabilities as targets", &soft), ("by log_softmax and nll_loss", &nll)];
    for (way, loss) in ways {
        computed.push(("loss", way, loss(Reduction::Unreduced)?.to_vec()));
        computed.push(("loss_sum", way, loss(Reduction::Sum)?.to_vec()));
        computed.push(("loss_mean", way, loss(Reduction::Mean)?.to_vec()));
        computed.push(("grad", way, gradient(loss(Reduction::Sum)?, false)?));
    }
    computed.push(("grad", "recorded", gradient(hard(Reduction::Sum)?, true)?));
    computed.push((
        "grad",
        "recorded, with probabilities as targets",
        gradient(soft(Reduction::Sum)?, true)?,
    ));
    computed.push(("grad", "recorded, by log_softmax and nll_loss", gradient(nll(Reduction::Sum)?, true)?));
    // Gradients that are computed in backward and not along with the loss, because the losses' own gradients are
    // not known before: of a leaf, and over logits that nobody else holds.
    let late = |x: &Tensor<T>| loss(Reduction::Unreduced).forward(x, &target)?.sum(..);
    computed.push(("grad", "computed in backward", gradient(late(&x)?, false)?));
    computed.push(("grad", "computed over the logits", gradient(late(&x.add(0.0)?)?, false)?));
    Ok(computed)
}

/// The same of a few rows at a time, row by row: short rows are processed many together, and these are too few.
fn compute_apart<T: Float>(category: &Category<T>, arrangement: Arrangement) -> Result<Vec<Computed<T>>> {
    const FEW: usize = 3;
    let mut all: Vec<Computed<T>> = Vec::new();
    for first in (0..category.rows).step_by(FEW) {
        let mut of_part = compute(&category.part(first, FEW), arrangement)?;
        of_part.retain(|(quantity, ..)| !["loss_sum", "loss_mean"].contains(quantity));
        if all.is_empty() {
            all = of_part;
        } else {
            all.iter_mut().zip(of_part).for_each(|(all, of_part)| all.2.extend(of_part.2));
        }
    }
    Ok(all)
}

/// How many units in the last place a quantity may be off.
fn bound(quantity: &str) -> u64 {
    if quantity.starts_with("loss") || quantity == "lse" { 2 } else { 4 }
}

fn check_all<T: Float>(table: &mut Table) {
    let mut failures = Failures::default();
    let categories = Category::<T>::all();
    assert_eq!(categories.len(), if size_of::<T>() == 4 { 25 } else { 27 });
    on_every_instruction_set(|instructions| {
        for category in &categories {
            for arrangement in Arrangement::ALL {
                let together = compute(category, arrangement).unwrap().into_iter().map(|one| (true, one));
                let apart = compute_apart(category, arrangement).unwrap().into_iter().map(|one| (false, one));
                for (are_together, (quantity, way, values)) in together.chain(apart) {
                    let Some((exact, values)) = category.answers(quantity, &values) else { continue };
                    let distances: Vec<u64> =
                        exact.iter().zip(&values).map(|(&e, &v)| representable_between(e, v)).collect();
                    if way == DIRECT && are_together {
                        table.enter(&category.name, quantity, &distances);
                    }
                    for (at, (&exact, &value)) in exact.iter().zip(&values).enumerate() {
                        let off = if quantity == "lse" {
                            // A sum of the maximum and a logarithm, which may cancel.
                            let terms = category.row(at).iter().fold(T::neg_infinity(), |max, &x| max.max(x));
                            let scale = terms.abs().max(exact.abs()).to_f64();
                            (value.to_f64() - exact.to_f64()).abs() / unit_in_the_last_place(T::DTYPE, scale)
                        } else {
                            distances[at] as f64
                        };
                        // Negated so that nan fails too.
                        if !(off <= bound(quantity) as f64) {
                            failures.add(format!(
                                "{} {quantity}[{at}] {way}, together: {are_together}, {arrangement:?}, {instructions:?}: expected {exact:e}, is {value:e}, {off} ulp",
                                category.name
                            ));
                        }
                    }
                }
            }
        }
    });
    failures.assert_none();
}

#[test]
fn every_stored_answer_is_met_as_the_tables_say() {
    let mut table = Table::default();
    check_all::<f32>(&mut table);
    check_all::<f64>(&mut table);
    table.print_summary::<f32>();
    table.print_summary::<f64>();
    table.print::<f32>();
    table.print::<f64>();
}

/// In f32 every entry is rounded once. In f64 the arithmetic is that of the result, and an entry has been
/// rounded twice.
fn check_gradients<T: Float>(roundings: f64) {
    let mut failures = Failures::default();
    let mut worst = Worst::default();
    let smallest = unit_in_the_last_place(T::DTYPE, 0.0) / T::epsilon().to_f64();
    let categories = Category::<T>::all();
    on_every_instruction_set(|instructions| {
        for category in &categories {
            let x = Tensor::from_vec(category.logits.clone(), [category.rows, category.classes]).unwrap();
            let (x, target) = (x.requires_grad(), &category.target[..]);
            CrossEntropyLoss::new()
                .reduction(Reduction::Sum)
                .forward(&x, target)
                .unwrap()
                .backward()
                .unwrap();
            let gradient = x.grad().unwrap().to_vec();
            for (row, of_row) in gradient.chunks(category.classes).enumerate() {
                let place = || format!("{} row {row}, {instructions:?}", category.name);
                let total: DoubleDouble = of_row.iter().map(|&g| DoubleDouble::from(g.to_f64())).sum();
                let roundings = of_row.iter().map(|&g| unit_in_the_last_place(T::DTYPE, g.to_f64()) / 2.0);
                worst.see(total.high.abs() / roundings.sum::<f64>(), place);
            }
            if let Some((exact, gradient)) = category.answers("grad", &gradient) {
                for (at, (&exact, is)) in exact.iter().zip(gradient).enumerate() {
                    if exact.to_f64().abs() >= smallest && is == T::zero() {
                        failures.add(format!("{} [{at}], {instructions:?}: {exact:e} is 0", category.name));
                    }
                }
            }
        }
    });
    failures.assert_none();
    println!(
        "{}: the sum of a row's gradient is at most {:.3} times one rounding of each entry ({})",
        T::DTYPE,
        worst.error,
        worst.place
    );
    assert!(worst.error <= roundings, "{worst:?}");
}

#[test]
fn the_gradient_of_a_row_sums_to_zero_and_has_no_zeros() {
    check_gradients::<f32>(1.0);
    check_gradients::<f64>(2.0);
}
