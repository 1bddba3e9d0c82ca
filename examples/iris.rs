//! Fits softmax regression to Fisher's iris flowers by Newton's method, and compares the coefficients
//! with those that scikit-learn finds.
//!
//! ```text
//! cargo run --release --example iris
//! ```
//!
//! With a penalty on the weights, softmax regression has one best answer, so two programs that share no
//! line of code must agree on it to the last digits. Newton's method gets there in a handful of steps
//! because it knows the curvature: the second derivatives, which are the gradient of the gradient.

mod support;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Regions};
use support::fit::{Progress, draw_convergence, read_coefficients};
use support::report::ConfusionMatrix;
use support::solve::solve;
use tapegrad::{GradOptions, Indices, Result, Tensor, accuracy, grad, no_grad};

const SPECIES: [&str; 3] = ["setosa", "versicolor", "virginica"];
const FEATURES: [&str; 4] =
    ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"];
/// The weights, of shape (4, 3), and the intercepts, of shape (3), are kept in one vector.
const WEIGHTS: usize = 4 * 3;
const PARAMETERS: usize = WEIGHTS + 3;
/// scikit-learn weighs the sum of the losses by C; for C = 1 and the mean loss, that is this penalty.
const LAMBDA: f64 = 1.0 / 150.0;

/// Fit softmax regression to the iris flowers and compare it with scikit-learn's.
#[derive(Parser)]
struct Options {
    /// Where the random starting point comes from (the optimum does not depend on it)
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Stop as soon as no entry of the gradient exceeds 1e-9, instead of 1e-13
    #[arg(long)]
    quick: bool,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "out/iris")]
    out: PathBuf,
}

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

/// J(θ) = mean cross entropy of x W + b with the labels + λ/2 ΣW²
fn objective(theta: &Tensor<f64>, flowers: &Flowers) -> Result<Tensor<f64>> {
    let (weight, _) = weight_and_intercept(theta)?;
    let loss = scores(theta, &flowers.inputs)?.cross_entropy(&flowers.labels)?;
    loss.add(weight.square()?.sum(..)?.mul(LAMBDA / 2.0)?)
}

fn scores(theta: &Tensor<f64>, inputs: &Tensor<f64>) -> Result<Tensor<f64>> {
    let (weight, intercept) = weight_and_intercept(theta)?;
    inputs.matmul(&weight)?.add(intercept)
}

fn weight_and_intercept(theta: &Tensor<f64>) -> Result<(Tensor<f64>, Tensor<f64>)> {
    Ok((theta.slice(0, ..WEIGHTS)?.reshape([4, 3])?, theta.slice(0, WEIGHTS..)?))
}

fn run(options: &Options) -> support::Result<()> {
    let flowers = Flowers::read()?;
    // In the order of `coefficients`.
    let reference = read_coefficients(include_str!("data/iris_coefficients.csv"))?;
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut theta = Tensor::<f64>::randn([PARAMETERS], &mut rng)?.mul(0.1)?.requires_grad();
    let enough = if options.quick { 1e-9 } else { 1e-13 };
    let mut history = Vec::new();

    println!("{} flowers, 4 measurements, 3 species; {PARAMETERS} parameters\n", flowers.labels.len());
    println!("step   objective (nats)     largest |gradient|   largest difference from scikit-learn");
    let minimum = loop {
        let value = objective(&theta, &flowers)?;
        let gradient = grad(&[&value], &[&theta], &GradOptions::new().create_graph(true))?.remove(0);

        let progress = Progress {
            at: history.len(),
            objective: value.item()?,
            gradient: largest(gradient.as_slice()),
            difference: largest_difference(&coefficients(&theta)?, &reference),
        };
        let Progress { at, objective, gradient: slope, difference } = progress;
        println!("{at:>4}   {objective:.16}   {slope:<18.2e}   {difference:.2e}");
        history.push(progress);
        if slope <= enough {
            break objective;
        }
        if history.len() > 100 {
            return Err("Newton's method did not arrive within 100 steps".into());
        }

        let direction = newton_direction(&gradient, &theta)?;
        theta = descend(&theta, &direction, objective, &flowers)?;
    };

    println!("\ncoefficient                      this crate            scikit-learn          difference");
    let found = coefficients(&theta)?;
    for ((row, own), other) in FEATURES.iter().chain(&["intercept"]).zip(&found).zip(&reference) {
        for (class, (own, other)) in SPECIES.iter().zip(own.iter().zip(other)) {
            println!("{row:<18} {class:<10} {own:>21.16} {other:>21.16}   {:.1e}", (own - other).abs());
        }
    }
    let means: Vec<f64> = found[..4].iter().map(|row| row.iter().sum::<f64>() / 3.0).collect();
    println!(
        "Only differences between intercepts matter, so both programs' intercepts are shifted to a mean of 0."
    );
    println!(
        "The penalty does the same to the weights: the means over the classes are at most {:.1e}.\n",
        largest(&means)
    );

    let logits = no_grad(|| scores(&theta, &flowers.inputs))?;
    let (labels, predictions) = (flowers.labels.as_slice(), logits.argmax(1)?);
    println!("accuracy: {:.2} %\n", 100.0 * accuracy(&logits, &flowers.labels)?);
    println!("confusion matrix:\n{}\n", ConfusionMatrix::new(&SPECIES, labels, predictions.as_slice()));

    let convergence = options.out.join("convergence.svg");
    draw_convergence(&convergence, "Newton's method on the iris flowers", "step", -17.0, &history)?;
    for picture in [convergence, draw_regions(&options.out, &theta, &flowers, &predictions)?] {
        println!("picture: {}", picture.display());
    }
    let difference = largest_difference(&found, &reference);
    println!("result objective={minimum:.16} max_difference={difference:.2e}");
    match difference < 1e-6 {
        true => Ok(()),
        false => Err("the coefficients are not scikit-learn's".into()),
    }
}

/// Solves H s = g, with the gradient g and the Hessian H. Newton's method subtracts the step s, which leads
/// to the minimum of the parabola that approximates the objective around here.
fn newton_direction(gradient: &Tensor<f64>, theta: &Tensor<f64>) -> support::Result<Tensor<f64>> {
    // Row i of the Hessian H is the gradient of entry i of the gradient.
    let keep_graph = GradOptions::new().retain_graph(true);
    let mut hessian = Vec::new();
    for i in 0..PARAMETERS {
        let row = grad(&[&gradient.select(0, i as isize)?], &[theta], &keep_graph)?.remove(0);
        hessian.push(row.to_vec());
    }
    // Raising all intercepts by the same number changes nothing: in that direction the slope and the
    // curvature are 0, so H is singular. With some curvature added there, the step has no part in that
    // direction, and is the same in all others.
    for row in &mut hessian[WEIGHTS..] {
        row[WEIGHTS..].iter_mut().for_each(|entry| *entry += 1.0);
    }
    let step = solve(hessian, gradient.to_vec()).ok_or("the Hessian is singular")?;
    Ok(Tensor::from(step))
}

/// Newton's step, halved until the objective falls. Only the first steps after a bad start need that.
fn descend(
    theta: &Tensor<f64>,
    direction: &Tensor<f64>,
    value: f64,
    flowers: &Flowers,
) -> Result<Tensor<f64>> {
    const ROUNDING: f64 = 1e-14;
    let mut length = 1.0;
    loop {
        let candidate = no_grad(|| theta.sub(direction.mul(length)?))?;
        if objective(&candidate, flowers)?.item()? <= value + ROUNDING {
            return Ok(candidate.requires_grad());
        }
        length /= 2.0;
    }
}

/// Four rows of weights and one of intercepts, a column for each species; the intercepts' mean is 0.
fn coefficients(theta: &Tensor<f64>) -> Result<Vec<[f64; 3]>> {
    let (weight, intercept) = no_grad(|| weight_and_intercept(theta))?;
    let intercept = intercept.sub(intercept.mean(..)?)?;
    let rows = weight.rows().chain([intercept.as_slice()]);
    Ok(rows.map(|row| [row[0], row[1], row[2]]).collect())
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

fn largest_difference(a: &[[f64; 3]], b: &[[f64; 3]]) -> f64 {
    let pairs = a.as_flattened().iter().zip(b.as_flattened());
    largest(&pairs.map(|(a, b)| a - b).collect::<Vec<_>>())
}

// ---- The data ----------------------------------------------------------------------------------

struct Flowers {
    inputs: Tensor<f64>,
    labels: Indices,
}

impl Flowers {
    fn read() -> support::Result<Self> {
        let mut table = csv::Reader::from_reader(include_str!("data/iris.csv").as_bytes());
        let (mut inputs, mut labels) = (Vec::new(), Vec::new());
        for flower in table.deserialize() {
            let (measurements, species): ([f64; 4], String) = flower?;
            inputs.extend(measurements);
            labels.push(SPECIES.iter().position(|name| *name == species).ok_or("an unknown species")?);
        }
        let inputs = Tensor::from_vec(inputs, [labels.len(), 4])?;
        Ok(Flowers { inputs, labels: Indices::new(labels)? })
    }
}

// ---- Pictures ----------------------------------------------------------------------------------

/// The plane of the petals' length and width, through the mean of the sepals' two measurements.
fn draw_regions(
    out: &Path,
    theta: &Tensor<f64>,
    flowers: &Flowers,
    predictions: &Indices,
) -> support::Result<PathBuf> {
    let means = flowers.inputs.mean(0)?.to_vec();
    let on_plane = |length, width| [means[0], means[1], length, width];
    let corners = Tensor::from([on_plane(0.0, 0.0), on_plane(1.0, 0.0), on_plane(0.0, 1.0)]);
    let scores = chart::scores_on_plane(&no_grad(|| scores(theta, &corners))?)?;

    let points = flowers.inputs.rows().zip(flowers.labels.as_slice());
    let points: Vec<_> = points.map(|(x, &label)| (x[2], x[3], label as usize)).collect();
    let agreement = chart::agreement(&scores, &points, predictions.as_slice());

    let path = out.join("regions.svg");
    let subtitle = [
        format!(
            "The shades are the decisions for sepals of mean size ({:.2} cm by {:.2} cm).",
            means[0], means[1]
        ),
        format!(
            "For {agreement} of the {} flowers, the model decides as the shade behind them says.",
            points.len()
        ),
    ];
    let picture = Regions {
        title: &["What softmax regression decides", &subtitle[0], &subtitle[1]],
        axes: (FEATURES[2], FEATURES[3]),
        classes: &SPECIES,
        scores: &scores,
        points: &points,
    };
    chart::regions(&path, &picture)?;
    Ok(path)
}
