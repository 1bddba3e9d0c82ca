//! The tables of `docs/accuracy.md`.

use crate::rows::Category;
use std::collections::BTreeMap;
use tapegrad::Float;

/// Distances from the correctly rounded answers, in representable numbers, by category and quantity.
#[derive(Default)]
pub struct Table(BTreeMap<(String, String), Vec<u64>>);

/// What the tables are called, in their order.
const QUANTITIES: [(&str, &str); 5] = [
    ("loss", "cross entropy of one row"),
    ("grad", "gradient of the cross entropy of one row"),
    ("log_softmax", "log_softmax"),
    ("softmax", "softmax"),
    ("lse", "logsumexp"),
];

impl Table {
    pub fn enter(&mut self, category: &str, quantity: &str, distances: &[u64]) {
        self.0.entry((category.to_string(), quantity.to_string())).or_default().extend(distances);
    }

    /// The worst and, in brackets, the median over all entries, arrangements and instruction sets.
    pub fn print<T: Float>(&self) {
        for (quantity, title) in QUANTITIES {
            println!("\n### {}: {title}\n", T::DTYPE);
            println!(
                "| category | rows x classes | torch | jax | scipy | tapegrad |\n|---|---|---|---|---|---|"
            );
            for category in Category::<T>::all() {
                let key = (category.name.clone(), quantity.to_string());
                let Some(distances) = self.0.get(&key) else { continue };
                let mut line = vec![
                    category.name.split_once('/').unwrap().1.to_string(),
                    format!("{} x {}", category.rows, category.classes),
                ];
                for library in ["torch", "jax", "scipy"] {
                    let ulps = &category.libraries[library][quantity];
                    line.push(format!("{} ({})", short(ulps[0].as_f64()), short(ulps[1].as_f64())));
                }
                let mut sorted = distances.clone();
                sorted.sort_unstable();
                let (worst, median) = (sorted[sorted.len() - 1], sorted[(sorted.len() - 1) / 2]);
                line.push(format!("{} ({})", short(Some(worst as f64)), short(Some(median as f64))));
                println!("| {} |", line.join(" | "));
            }
        }
    }

    /// The worst of all categories for each quantity.
    pub fn print_summary<T: Float>(&self) {
        println!("\n### {}: the worst of all categories\n", T::DTYPE);
        println!("| | torch | jax | scipy | tapegrad |\n|---|---|---|---|---|");
        for (quantity, title) in QUANTITIES {
            let mut line = vec![title.to_string()];
            let mut categories = Category::<T>::all();
            categories.retain(|category| !is_ill_conditioned(&category.name, quantity));
            for library in ["torch", "jax", "scipy"] {
                let worst_of = |category: &Category<T>| category.libraries[library][quantity][0].as_f64();
                let worst = categories.iter().filter_map(worst_of).fold(0.0, f64::max);
                line.push(short(Some(worst)));
            }
            let own = categories.iter().filter_map(|category| {
                self.0.get(&(category.name.clone(), quantity.to_string()))?.iter().max()
            });
            let worst = own.max();
            line.push(short(worst.map(|&worst| worst as f64)));
            println!("| {} |", line.join(" | "));
        }
    }
}

/// Whether a log-sum-exp here is the small difference of large numbers, so that only its absolute error
/// says something.
fn is_ill_conditioned(name: &str, quantity: &str) -> bool {
    quantity == "lse"
        && ["normalised_log_probabilities", "logsumexp_near_zero"].contains(&name.split_once('/').unwrap().1)
}

/// A number as the other libraries' are given: two digits beyond 10,000.
fn short(number: Option<f64>) -> String {
    match number {
        None => "-".to_string(),
        Some(number) if number < 1e4 => format!("{number:.0}"),
        Some(number) => format!("{number:.0e}"),
    }
}
