//! What the examples that fit softmax regression to an optimum share.

use super::Result;
use super::chart::{self, Line, Panel};
use std::path::Path;

/// How near the optimum a fit is.
pub struct Progress {
    /// Steps, or evaluations of the objective.
    pub at: usize,
    pub objective: f64,
    /// The largest entry of the gradient.
    pub gradient: f64,
    /// The largest difference of a coefficient from scikit-learn's.
    pub difference: f64,
}

/// scikit-learn's coefficients: in each row, after the name of a measurement, one for each of three classes.
pub fn read_coefficients(csv: &str) -> Result<Vec<[f64; 3]>> {
    let mut rows = Vec::new();
    for row in csv::Reader::from_reader(csv.as_bytes()).deserialize() {
        let (_name, values): (String, [f64; 3]) = row?;
        rows.push(values);
    }
    Ok(rows)
}

/// Draws how a fit approaches the optimum, on an axis that ends at 10 to the power `lowest`.
pub fn draw_convergence(
    path: &Path,
    title: &str,
    x_label: &str,
    lowest: f64,
    history: &[Progress],
) -> Result<()> {
    let curve = |name: &str, colour, value: &dyn Fn(&Progress) -> f64| {
        let points = history.iter().map(|progress| (progress.at as f64, value(progress)));
        Line { name: name.into(), colour, dashed: false, points: points.collect() }
    };
    let minimum = history.iter().fold(f64::MAX, |minimum, progress| minimum.min(progress.objective));
    let height = |progress: &Progress| match progress.objective - minimum {
        rounding if rounding < 1e-15 => 0.0,
        height => height,
    };
    let panel = Panel {
        y_label: "logarithmic scale".into(),
        y_range: (lowest, 2.0),
        logarithmic: true,
        lines: vec![
            curve("coefficients:\nlargest difference\nfrom scikit-learn's", chart::ORANGE, &|p| p.difference),
            curve("gradient:\nlargest entry", chart::BLUE, &|p| p.gradient),
            curve("objective: height\nabove its minimum\n(nats)", chart::GREEN, &height),
        ],
        ..Panel::default()
    };
    chart::curves(path, &[title], x_label, &[panel])
}
