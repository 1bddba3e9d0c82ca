//! Why not use accuracy as the loss? The curve of -ln p with its slope, and what accuracy sees of the same
//! probability.
//!
//! ```text
//! cargo run --release --example nll_curve
//! ```
//!
//! One sample, two classes; p is the probability that the model gives to the right one. Training follows the
//! slope of the loss. The slope of -ln p is never 0, and it is the steeper the smaller p is. Accuracy is flat
//! on both sides of a jump: its slope is 0, so there is nothing to follow.

mod support;

use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Line, Panel};
use tapegrad::{Indices, NllLoss, Reduction, Tensor, accuracy};

/// Draw the curve of -ln p with its slope, and the accuracy below it.
#[derive(Parser)]
struct Options {
    /// Accepted as by every example; nothing here is random
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Accepted as by every example; there is nothing here that takes long
    #[arg(long)]
    quick: bool,
    /// Folder for the picture
    #[arg(long, value_name = "DIR", default_value = "out/nll_curve")]
    out: PathBuf,
}

/// The probabilities of the table.
const MARKED: [f64; 5] = [0.05, 0.2, 0.4, 0.7, 0.95];
/// The slope of accuracy is measured from this far on either side.
const STEP: f64 = 1e-3;

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

fn run(options: &Options) -> support::Result<()> {
    println!("one sample, two classes; p is the probability of the right one\n");
    println!("     p     -ln p    its slope    accuracy    its slope");
    let (losses, slopes) = loss_and_slope(&MARKED)?;
    let accuracies = accuracies(&MARKED)?;
    let accuracy_slopes = accuracy_slopes(&MARKED)?;
    for (place, p) in MARKED.iter().enumerate() {
        println!(
            "  {p:.2}  {:8.4}  {:11.4}  {:8.0} %  {:11.4}",
            losses[place],
            slopes[place],
            100.0 * accuracies[place],
            accuracy_slopes[place]
        );
    }
    println!("\nThe slope of -ln p is -1/p: it is never 0, and the smaller p is, the harder it pulls p up.");
    println!("The slope of accuracy is 0 wherever there is one: it pulls nowhere.\n");

    let path = options.out.join("nll_curve.svg");
    draw(&path)?;
    println!("picture: {}", path.display());
    println!(
        "result slope_at_0.05={:.4} slope_at_0.95={:.4} slope_of_accuracy={:.4}",
        slopes[0],
        slopes[4],
        accuracy_slopes.iter().sum::<f64>()
    );
    Ok(())
}

/// -ln p and its derivative, by the tape.
fn loss_and_slope(p: &[f64]) -> support::Result<(Vec<f64>, Vec<f64>)> {
    let right = Tensor::from(p).requires_grad();
    let wrong = right.detach().neg()?.add(1.0)?;
    let probabilities = Tensor::stack(&[&right, &wrong], 1)?;
    let losses = NllLoss::new()
        .reduction(Reduction::Unreduced)
        .forward(&probabilities.log()?, Indices::new(vec![0; p.len()])?)?;
    losses.sum(..)?.backward()?;
    let slopes = right.grad().ok_or("backward leaves a gradient")?;
    Ok((losses.to_vec(), slopes.to_vec()))
}

/// The accuracy of each single prediction: 0 or 1.
fn accuracies(p: &[f64]) -> support::Result<Vec<f64>> {
    p.iter().map(|&p| Ok(accuracy(&Tensor::from([[p, 1.0 - p]]), [0])?)).collect()
}

/// The slope of accuracy, which has no rule to differentiate it, by finite differences.
fn accuracy_slopes(p: &[f64]) -> support::Result<Vec<f64>> {
    let moved = |step: f64| accuracies(&p.iter().map(|p| p + step).collect::<Vec<_>>());
    let (up, down) = (moved(STEP)?, moved(-STEP)?);
    Ok(up.iter().zip(down).map(|(up, down)| (up - down) / (2.0 * STEP)).collect())
}

fn draw(path: &Path) -> support::Result<()> {
    let p: Vec<f64> = (25..=500).map(|i| f64::from(i) / 500.0).collect();
    let (losses, slopes) = loss_and_slope(&p)?;
    let line = |name: &str, colour, p: &[f64], values: &[f64]| {
        let points = p.iter().copied().zip(values.iter().copied()).collect();
        Line { name: name.into(), colour, dashed: false, points }
    };
    // A line on each side of the jump, and none across it.
    let jump = p.partition_point(|&p| p < 0.5 - STEP);
    let beyond = p.partition_point(|&p| p < 0.5 + STEP);
    let sides = [&p[..jump], &p[beyond..]];
    let of_sides = |names: [&str; 2], values: &dyn Fn(&[f64]) -> support::Result<Vec<f64>>| {
        let lines =
            sides.iter().zip(names).map(|(side, name)| Ok(line(name, chart::ORANGE, side, &values(side)?)));
        lines.collect::<support::Result<Vec<Line>>>()
    };
    let percent = |p: &[f64]| Ok(accuracies(p)?.iter().map(|accuracy| 100.0 * accuracy).collect());
    let panel =
        |y_label: &str, y_range, lines| Panel { y_label: y_label.into(), y_range, lines, ..Panel::default() };

    let mut both = vec![line(
        "slope of the loss, −1/p:\nnever 0, and steeper\nwhere p is small",
        chart::BLUE,
        &p,
        &slopes,
    )];
    both.extend(of_sides(["slope of the accuracy,\n0 wherever there is one", ""], &accuracy_slopes)?);
    let panels = [
        panel("the loss (nats)", (0.0, 3.2), vec![line("the loss, −ln p", chart::BLUE, &p, &losses)]),
        panel(
            "the accuracy (%)",
            (-10.0, 110.0),
            of_sides(["the accuracy: flat,\nwith one jump", ""], &percent)?,
        ),
        panel("slope", (-21.0, 1.5), both),
    ];
    chart::curves(
        path,
        &["Why not use accuracy as the loss?"],
        "p, the probability of the right class",
        &panels,
    )
}
