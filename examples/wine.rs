//! Tells three cultivars of vine apart by the chemistry of their wine: softmax regression, fitted by
//! L-BFGS, and compared with the coefficients that scikit-learn finds.
//!
//! ```text
//! cargo run --release --example wine
//! ```
//!
//! Example `iris` does the same by Newton's method, which computes the curvature. L-BFGS needs nothing but
//! gradients and learns the curvature on the way: no step costs more than one pass forward and back.

mod support;

use clap::Parser;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Line, Panel, Regions};
use support::report::ConfusionMatrix;
use tapegrad::data::{Standardizer, from_csv};
use tapegrad::nn::{Linear, Module, Parameters};
use tapegrad::optim::{End, Lbfgs, Minimum};
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
    let reference: Tensor<f64> = read_coefficients()?;
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut model = Linear::new(wines.names.len(), CULTIVARS.len(), &mut rng)?;
    println!(
        "{} wines, {} measurements, {} cultivars; {} parameters\n",
        wines.labels.len(),
        wines.names.len(),
        CULTIVARS.len(),
        model.parameter_count()
    );

    // What the minimiser cannot know: how far from scikit-learn's coefficients each evaluation was.
    let mut differences = Vec::new();
    let tolerance = if options.quick { 1e-9 } else { 1e-12 };
    let minimum = Lbfgs::new().tolerance(tolerance).max_evaluations(200).minimize(&mut model, |model| {
        differences.push(largest_difference(&coefficients(model)?, &reference)?);
        objective(model, &wines)
    })?;

    println!("step   evaluations   objective (nats)     largest |gradient|   difference from scikit-learn");
    for (step, progress) in minimum.path.iter().enumerate() {
        let difference = differences[progress.evaluations - 1];
        println!(
            "{step:>4} {:>13}   {:.16}   {:<18.2e}   {difference:.2e}",
            progress.evaluations, progress.value, progress.gradient
        );
    }

    println!("\ncoefficients               {}", CULTIVARS.map(|name| format!("{name:>12}")).concat());
    let found = coefficients(&model)?;
    for (name, row) in wines.names.iter().map(String::as_str).chain(["intercept"]).zip(found.rows()) {
        println!("{name:<28}{}", row.iter().map(|entry| format!("{entry:>12.6}")).collect::<String>());
    }
    println!("\nMeasurements are in units of their standard deviations. Only differences between cultivars");
    println!("matter to the intercepts, so that they have been shifted to a mean of 0.\n");

    let logits = no_grad(|| model.forward(&wines.standardized))?;
    let predictions = logits.argmax(1)?;
    let labels = wines.labels.as_slice();
    println!("accuracy: {:.2} %\n", 100.0 * accuracy(&logits, &wines.labels)?);
    println!("confusion matrix:\n{}\n", ConfusionMatrix::new(&CULTIVARS, labels, predictions.as_slice()));

    for picture in [
        draw_convergence(&options.out, &minimum, &differences)?,
        draw_regions(&options.out, &model, &wines, &predictions)?,
    ] {
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

/// scikit-learn's coefficients, in the order of [`coefficients`].
fn read_coefficients() -> support::Result<Tensor<f64>> {
    let mut table = csv::Reader::from_reader(include_str!("data/wine_coefficients.csv").as_bytes());
    let mut rows = Vec::new();
    for row in table.deserialize() {
        let (_name, values): (String, [f64; 3]) = row?;
        rows.extend(values);
    }
    Ok(Tensor::from_vec(rows.clone(), [rows.len() / 3, 3])?)
}

// ---- Pictures ----------------------------------------------------------------------------------

fn draw_convergence(out: &Path, minimum: &Minimum, differences: &[f64]) -> support::Result<PathBuf> {
    let curve = |name: &str, colour, value: &dyn Fn(usize) -> f64| {
        let points = (minimum.path.iter().enumerate())
            .map(|(step, progress)| (progress.evaluations as f64, value(step)))
            .collect();
        Line { name: name.into(), colour, dashed: false, points }
    };
    let height = |step: usize| match minimum.path[step].value - minimum.value {
        rounding if rounding < 1e-15 => 0.0,
        height => height,
    };
    let panel = Panel {
        y_label: "logarithmic scale".into(),
        y_range: (-16.0, 2.0),
        logarithmic: true,
        lines: vec![
            curve("coefficients:\nlargest difference\nfrom scikit-learn's\n ", chart::ORANGE, &|step| {
                differences[minimum.path[step].evaluations - 1]
            }),
            curve("gradient:\nlargest entry\n ", chart::BLUE, &|step| minimum.path[step].gradient),
            curve("objective: height\nabove its minimum\n(nats)", chart::GREEN, &height),
        ],
    };
    let path = out.join("convergence.svg");
    chart::curves(&path, "L-BFGS on the wines", "evaluations of the objective and its gradient", &[panel])?;
    Ok(path)
}

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
        "The shades are the decisions where all other measurements are at their mean;".to_string(),
        format!(
            "with their own, {agreement} of the {} wines are decided as the shade behind them.",
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
