//! The tables of `docs/accuracy.md`.

use crate::rows::Category;
use std::collections::BTreeMap;
use tapegrad::{Float, Instructions};

/// Distances from the correctly rounded answers, in representable numbers, by category and quantity.
#[derive(Default)]
pub struct Table(BTreeMap<(String, String), Cell>);

#[derive(Default, Clone)]
struct Cell {
    distances: Vec<u64>,
    worst_of: BTreeMap<String, u64>,
}

/// What the tables are called, in their order.
const QUANTITIES: [(&str, &str); 5] = [
    ("loss", "cross entropy of one row"),
    ("grad", "gradient of the cross entropy of one row"),
    ("log_softmax", "log_softmax"),
    ("softmax", "softmax"),
    ("lse", "logsumexp"),
];

impl Table {
    pub fn enter(&mut self, category: &str, quantity: &str, instructions: Instructions, distances: &[u64]) {
        let cell = self.0.entry((category.to_string(), quantity.to_string())).or_default();
        cell.distances.extend(distances);
        let worst = cell.worst_of.entry(format!("{instructions:?}")).or_default();
        *worst = distances.iter().fold(*worst, |worst, &distance| worst.max(distance));
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
                let Some(cell) = self.0.get(&key) else { continue };
                let mut line = vec![
                    category.name.split_once('/').unwrap().1.to_string(),
                    format!("{} x {}", category.rows, category.classes),
                ];
                for library in ["torch", "jax", "scipy"] {
                    let ulps = &category.libraries[library][quantity];
                    line.push(format!("{} ({})", short(ulps[0].as_f64()), short(ulps[1].as_f64())));
                }
                let mut sorted = cell.distances.clone();
                sorted.sort_unstable();
                let (worst, median) = (sorted[sorted.len() - 1], sorted[(sorted.len() - 1) / 2]);
                line.push(format!("{} ({})", short(Some(worst as f64)), short(Some(median as f64))));
                println!("| {} |", line.join(" | "));
            }
        }
        println!("\nWorst of all categories by instruction set ({}):", T::DTYPE);
        for quantity in ["loss", "loss_sum", "loss_mean", "grad", "log_softmax", "softmax"] {
            let mut worst: BTreeMap<&str, u64> = BTreeMap::new();
            let of_type = format!("{}/", T::DTYPE);
            for ((_, _), cell) in
                self.0.iter().filter(|((name, other), _)| name.starts_with(&of_type) && other == quantity)
            {
                for (instructions, &distance) in &cell.worst_of {
                    let so_far = worst.entry(instructions).or_default();
                    *so_far = distance.max(*so_far);
                }
            }
            println!("  {quantity}: {worst:?}");
        }
    }
}

/// A number as the other libraries' are given: two digits beyond 10,000.
fn short(number: Option<f64>) -> String {
    match number {
        None => "-".to_string(),
        Some(number) if number < 1e4 => format!("{number:.0}"),
        Some(number) => format!("{number:.0e}"),
    }
}
