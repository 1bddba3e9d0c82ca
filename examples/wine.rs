//! Tells three cultivars of vine apart by the chemistry of their wine: softmax regression, fitted by
//! L-BFGS, and compared with the coefficients that scikit-learn finds.
//!
//! ```text
//! cargo run --release --example wine
//! ```
//!
//! Example `iris` does the same by Newton's method, which computes the curvature. L-BFGS needs only gradients,
//! and estimates the curvature from their changes.

mod support;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Regions};
use support::fit::{Progress, draw_convergence, read_coefficients};
use support::report::ConfusionMatrix;
use tapegrad::data::{Standardizer, from_csv};
use tapegrad::nn::{Linear, Module, Parameters};
use tapegrad::optim::{End, Lbfgs};
use tapegrad::{Indices, Result, Tensor, accuracy, keepdim, no_grad};

const CULTIVARS: [&str; 3] = ["cultivar 1", "cultivar 2", "cultivar 3"];
/// scikit-learn weighs the sum of the losses by C; for C = 1 and the mean loss, that is this penalty.
const LAMBDA: f64 = 1.0 / 178.0;
/// The two measurements that the picture of the regions has as axes.
const AXES: [&str; 2] = ["flavanoids", "color_intensity"];

/// Fit softmax regression to the wines by L-BFGS and compare it with scikit-learn's.
#[derive(Parser)]
struct Options {
    /// Where the random starting point comes from (the optimum does not depend on it)
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Stop as soon as no entry of the gradient exceeds 1e-9, instead of 1e-12
    #[arg(long)]
    quick: bool,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "out/wine")]
    out: PathBuf,
}

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

/// J(W, b) = mean cross entropy of x W^T + b with the labels + λ/2 ΣW²
fn objective(model: &Linear<f64>, wines: &Wines) -> Result<Tensor<f64>> {
    let loss = model.forward(&wines.standardized)?.cross_entropy(&wines.labels)?;
    loss.add(model.weight.square()?.sum(..)?.mul(LAMBDA / 2.0)?)
}

fn run(options: &Options) -> support::Result<()> {
    let wines = Wines::read()?;
    // In the order of `coefficients`.
    let reference = read_coefficients(include_str!("data/wine_coefficients.csv"))?;
    let reference = Tensor::from_vec(reference.concat(), [reference.len(), 3])?;
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut model = Linear::new(wines.names.len(), CULTIVARS.len(), &mut rng)?;
    println!(
        "{} wines, {} measurements, {} cultivars; {} parameters\n",
        wines.labels.len(),
        wines.names.len(),
        CULTIVARS.len(),
        model.parameter_count()
    );

    // How far each evaluation is from scikit-learn's coefficients. The minimizer itself does not know them.
    let mut differences = Vec::new();
    let tolerance = if options.quick { 1e-9 } else { 1e-12 };
    let minimum = Lbfgs::new().tolerance(tolerance).max_evaluations(200).minimize(&mut model, |model| {
        differences.push(largest_difference(&coefficients(model)?, &reference)?);
        objective(model, &wines)
    })?;

    println!("step   evaluations   objective (nats)     largest |gradient|   difference from scikit-learn");
    let progress = minimum.path.iter().map(|point| Progress {
        at: point.evaluations,
        objective: point.value,
        gradient: point.gradient,
        difference: differences[point.evaluations - 1],
    });
    let history: Vec<Progress> = progress.collect();
    for (step, Progress { at, objective, gradient, difference }) in history.iter().enumerate() {
        println!("{step:>4} {at:>13}   {objective:.16}   {gradient:<18.2e}   {difference:.2e}");
    }

    println!("\ncoefficients               {}", CULTIVARS.map(|name| format!("{name:>12}")).concat());
    let found = coefficients(&model)?;
    for (name, row) in wines.names.iter().map(String::as_str).chain(["intercept"]).zip(found.rows()) {
        println!("{name:<28}{}", row.iter().map(|entry| format!("{entry:>12.6}")).collect::<String>());
    }
    println!(
        "\nThe measurements are in units of their standard deviations. Only differences between intercepts"
    );
    println!("matter, so they are shifted to a mean of 0.\n");

    let logits = no_grad(|| model.forward(&wines.standardized))?;
    let predictions = logits.argmax(1)?;
    let labels = wines.labels.as_slice();
    println!("accuracy: {:.2} %\n", 100.0 * accuracy(&logits, &wines.labels)?);
    println!("confusion matrix:\n{}\n", ConfusionMatrix::new(&CULTIVARS, labels, predictions.as_slice()));

    let convergence = options.out.join("convergence.svg");
    let x_label = "evaluations of the objective and its gradient";
    draw_convergence(&convergence, "L-BFGS on the wines", x_label, -16.0, &history)?;
    for picture in [convergence, draw_regions(&options.out, &model, &wines, &predictions)?] {
        println!("picture: {}", picture.display());
    }
    let difference = largest_difference(&found, &reference)?;
    println!(
        "result evaluations={} max_difference={difference:.2e} objective={:.16}",
        minimum.evaluations, minimum.value
    );
    match minimum.end == End::Converged && difference < 1e-6 {
        true => Ok(()),
        false => Err("the coefficients are not scikit-learn's".into()),
    }
}

/// A row of weights for each measurement and one of intercepts, a column for each cultivar. The mean of
/// every row is 0; the penalty does that to the weights by itself.
fn coefficients(model: &Linear<f64>) -> Result<Tensor<f64>> {
    no_grad(|| {
        let intercept = model.bias.clone().unwrap_or(Tensor::zeros([CULTIVARS.len()])?);
        let intercept = intercept.sub(intercept.mean(keepdim(0))?)?;
        Tensor::cat(&[&model.weight.transpose(0, 1)?, &intercept.unsqueeze(0)?], 0)
    })
}

fn largest_difference(a: &Tensor<f64>, b: &Tensor<f64>) -> Result<f64> {
    a.sub(b)?.abs()?.max(..)?.item()
}

// ---- The data ----------------------------------------------------------------------------------

struct Wines {
    /// The names of the measurements.
    names: Vec<String>,
    inputs: Tensor<f64>,
    scale: Standardizer<f64>,
    standardized: Tensor<f64>,
    labels: Indices,
}

impl Wines {
    fn read() -> support::Result<Self> {
        let text = include_str!("data/wine.csv");
        let header = text.lines().next().unwrap_or_default();
        let names: Vec<String> = header.split(',').skip(1).map(str::to_string).collect();
        let table: Tensor<f64> = from_csv(text, true)?;
        let labels = table.select(1, 0)?.as_slice().iter().map(|&cultivar| cultivar as i64 - 1).collect();
        let inputs = table.slice(1, 1..)?;
        let scale = Standardizer::fit(&inputs)?;
        Ok(Wines { names, standardized: scale.apply(&inputs)?, inputs, scale, labels })
    }

    fn column(&self, name: &str) -> support::Result<usize> {
        self.names.iter().position(|other| other == name).ok_or("no such measurement".into())
    }
}

// ---- Pictures ----------------------------------------------------------------------------------

/// The plane of two measurements, through the mean of the others.
fn draw_regions(
    out: &Path,
    model: &Linear<f64>,
    wines: &Wines,
    predictions: &Indices,
) -> support::Result<PathBuf> {
    let [u, v] = [wines.column(AXES[0])?, wines.column(AXES[1])?];
    let corner = |at_u: f64, at_v: f64| {
        let mut wine = wines.scale.mean.to_vec();
        (wine[u], wine[v]) = (at_u, at_v);
        wine
    };
    let corners = [corner(0.0, 0.0), corner(1.0, 0.0), corner(0.0, 1.0)].concat();
    let corners = wines.scale.apply(&Tensor::from_vec(corners, [3, wines.names.len()])?)?;
    let scores = chart::scores_on_plane(&no_grad(|| model.forward(&corners))?)?;

    let points = wines.inputs.rows().zip(wines.labels.as_slice());
    let points: Vec<_> = points.map(|(x, &label)| (x[u], x[v], label as usize)).collect();
    let agreement = chart::agreement(&scores, &points, predictions.as_slice());

    let path = out.join("regions.svg");
    let subtitle = [
        "The shades are the decisions where all other measurements are at their mean.".to_string(),
        format!(
            "For {agreement} of the {} wines, the model decides as the shade behind them says.",
            points.len()
        ),
    ];
    let picture = Regions {
        title: &["What softmax regression decides", &subtitle[0], &subtitle[1]],
        axes: (AXES[0], AXES[1]),
        classes: &CULTIVARS,
        scores: &scores,
        points: &points,
    };
    chart::regions(&path, &picture)?;
    Ok(path)
}
