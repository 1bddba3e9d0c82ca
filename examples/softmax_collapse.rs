//! How a network stops learning because a sum has been rounded: "softmax collapse", after Prieto, Barsbey,
//! Mediano and Birdal, "Grokking at the Edge of Numerical Stability", ICLR 2025 (arXiv 2501.04697), in small.
//!
//! ```text
//! cargo run --release --example softmax_collapse
//! ```
//!
//! A network with one hidden layer learns addition modulo 53 in f32, without weight decay. Once it is right
//! everywhere, it becomes more and more confident. The plain formula for the loss is
//!
//! ```text
//! -ln p = ln(1 + e^-d + ..) - 0
//! ```
//!
//! where d is the lead of the right score. As soon as the terms after the 1 are below 6e-8 together, f32 rounds
//! the sum to 1. The loss of such a sample is then exactly 0, and so is the gradient of its right score,
//! p - 1. Two networks are trained here from the same start, one with the plain formula and one with this crate's.

mod support;

use clap::Parser;
use rand::rngs::ChaCha8Rng;
use rand::{SeedableRng, seq::SliceRandom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Line, Panel};
use support::report::{finish, progress};
use tapegrad::nn::{Linear, Module, Parameters};
use tapegrad::optim::{Adam, Optimizer};
use tapegrad::{Indices, NllLoss, Reduction, Result, Tensor, keepdim, no_grad, parameters};

/// Train on addition modulo 53 until the plain softmax rounds its losses to 0.
#[derive(Parser)]
struct Options {
    /// Passes over the training pairs, for each of two networks [default: 600, or 440 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u64).range(40..=1_000_000))]
    epochs: Option<u64>,
    /// Where the random numbers start; the same seed gives the same results, bit for bit
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// A smaller network, for a few seconds
    #[arg(long)]
    quick: bool,
    /// Folder for the picture
    #[arg(long, value_name = "DIR", default_value = "out/softmax_collapse")]
    out: PathBuf,
}

const MODULUS: usize = 53;
/// Of all pairs, two in five are trained on.
const TRAINED: usize = MODULUS * MODULUS * 2 / 5;

// ---- The two formulas --------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq)]
enum Formula {
    Plain,
    Ours,
}

impl Formula {
    /// -ln p of the right class, one a row.
    fn losses(self, logits: &Tensor, labels: &Indices) -> Result<Tensor> {
        let log_probabilities = match self {
            Formula::Plain => plain_log_softmax(logits)?,
            Formula::Ours => logits.log_softmax(1)?,
        };
        NllLoss::new().reduction(Reduction::Unreduced).forward(&log_probabilities, labels)
    }
}

/// The formula of the textbooks, step by step: x - max, then minus the logarithm of the sum of the exponentials.
fn plain_log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.sub(&logits.detach().max(keepdim(1))?)?;
    shifted.sub(&shifted.exp()?.sum(keepdim(1))?.log()?)
}

// ---- The network -------------------------------------------------------------------------------

struct Network {
    hidden: Linear,
    output: Linear,
}
parameters!(Network { hidden, output });

impl Network {
    fn new(width: usize, seed: u64) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Ok(Network {
            hidden: Linear::new(2 * MODULUS, width, &mut rng)?,
            output: Linear::new(width, MODULUS, &mut rng)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.output.forward(&self.hidden.forward(x)?.relu()?)
    }
}

/// Pairs (a, b), each number as a one-hot vector, and (a + b) mod 53.
struct Pairs {
    inputs: Tensor,
    labels: Indices,
}

impl Pairs {
    fn some(count: usize, seed: u64) -> Result<Self> {
        let mut all: Vec<usize> = (0..MODULUS * MODULUS).collect();
        all.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (a, b): (Vec<usize>, Vec<usize>) =
            all[..count].iter().map(|pair| (pair / MODULUS, pair % MODULUS)).unzip();
        let one_hot = |numbers: &[usize]| Indices::new(numbers)?.one_hot(MODULUS);
        let inputs = Tensor::cat(&[&one_hot(&a)?, &one_hot(&b)?], 1)?;
        let sums = a.iter().zip(&b).map(|(a, b)| (a + b) % MODULUS).collect::<Vec<_>>();
        Ok(Pairs { inputs, labels: Indices::new(sums)? })
    }
}

// ---- Training ----------------------------------------------------------------------------------

/// What is measured of a network after some epochs.
struct Point {
    epoch: u64,
    /// The mean loss, without the rounding.
    loss: f64,
    /// The share of samples whose right score gets a gradient of exactly 0, by the two formulas.
    zero_plain: f64,
    zero_ours: f64,
    /// The share of samples whose loss is exactly 0 by the plain formula.
    lossless: f64,
}

fn train(formula: Formula, options: &Options, pairs: &Pairs, epochs: u64) -> support::Result<Vec<Point>> {
    let mut network = Network::new(if options.quick { 32 } else { 128 }, options.seed)?;
    // Adam's usual ε of 1e-8 would stop both networks once the gradients are that small.
    let mut optimizer = Adam::new(if options.quick { 0.02 } else { 0.01 }).betas(0.9, 0.9).eps(1e-20);
    let mut points = Vec::new();
    let bar = progress(epochs, "epochs");
    for epoch in 0..=epochs {
        if epoch % (epochs / 40) == 0 || epoch == epochs {
            let point = measure(&network, pairs, epoch)?;
            bar.set_message(format!("loss {:.1e}", point.loss));
            points.push(point);
        }
        if epoch < epochs {
            network.zero_grad();
            formula.losses(&network.forward(&pairs.inputs)?, &pairs.labels)?.mean(..)?.backward()?;
            optimizer.step(&mut network)?;
            bar.inc(1);
        }
    }
    finish(bar);
    Ok(points)
}

fn measure(network: &Network, pairs: &Pairs, epoch: u64) -> support::Result<Point> {
    let logits = no_grad(|| network.forward(&pairs.inputs))?;
    let share = |count: usize| count as f64 / pairs.labels.len() as f64;
    let zero_gradients = |formula: Formula| -> support::Result<f64> {
        let logits = logits.detach().requires_grad();
        formula.losses(&logits, &pairs.labels)?.sum(..)?.backward()?;
        let gradient = logits.grad().ok_or("backward leaves a gradient")?;
        let of_right_score = gradient.gather(1, &pairs.labels.unsqueeze(1)?)?;
        Ok(share(of_right_score.as_slice().iter().filter(|slope| **slope == 0.0).count()))
    };
    let plain_losses = Formula::Plain.losses(&logits, &pairs.labels)?;
    Ok(Point {
        epoch,
        loss: Formula::Ours.losses(&logits, &pairs.labels)?.to_f64()?.mean(..)?.item()?,
        zero_plain: zero_gradients(Formula::Plain)?,
        zero_ours: zero_gradients(Formula::Ours)?,
        lossless: share(plain_losses.as_slice().iter().filter(|loss| **loss == 0.0).count()),
    })
}

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

fn run(options: &Options) -> support::Result<()> {
    let epochs = options.epochs.unwrap_or(if options.quick { 440 } else { 600 });
    let pairs = Pairs::some(TRAINED, options.seed)?;
    println!(
        "a + b modulo {MODULUS}, {TRAINED} of {} pairs, {epochs} epochs of Adam in f32, no weight decay",
        MODULUS * MODULUS
    );
    println!("share: of the samples whose right score gets a gradient of exactly 0\n");
    let plain = train(Formula::Plain, options, &pairs, epochs)?;
    let ours = train(Formula::Ours, options, &pairs, epochs)?;

    println!("          trained with the plain formula           trained with ours");
    println!("  epoch   mean loss   share, plain   share, ours   mean loss   share, plain   share, ours");
    for (a, b) in plain.iter().zip(&ours).step_by(2) {
        let columns = |point: &Point| {
            format!(
                "{:9.1e}   {:9.1} %   {:8.1} %",
                point.loss,
                100.0 * point.zero_plain,
                100.0 * point.zero_ours
            )
        };
        println!("  {:>5}   {}    {}", a.epoch, columns(a), columns(b));
    }
    println!("\nmean loss: computed without the rounding of the plain formula");

    let path = options.out.join("softmax_collapse.svg");
    draw(&path, &plain, &ours)?;
    println!("\npicture: {}", path.display());
    let (plain, ours) = (&plain[plain.len() - 1], &ours[ours.len() - 1]);
    println!(
        "result plain_zero={:.4} plain_loss={:.2e} ours_zero={:.4} ours_loss={:.2e} ours_lossless_by_plain={:.4}",
        plain.zero_plain, plain.loss, ours.zero_ours, ours.loss, ours.lossless
    );
    Ok(())
}

// ---- The picture -------------------------------------------------------------------------------

fn draw(path: &Path, plain: &[Point], ours: &[Point]) -> support::Result<()> {
    let line = |name: &str, colour, dashed, points: &[Point], value: &dyn Fn(&Point) -> f64| {
        let points = points.iter().map(|point| (point.epoch as f64, value(point))).collect();
        Line { name: name.into(), colour, dashed, points }
    };
    let worse = |(a, b): (&Point, &Point)| Point { zero_ours: a.zero_ours.max(b.zero_ours), ..*a };
    let either: Vec<Point> = plain.iter().zip(ours).map(worse).collect();
    let lowest = plain.iter().chain(ours).map(|point| point.loss).fold(f64::INFINITY, f64::min);
    let panels = [
        Panel {
            title: "Samples whose right score gets a gradient of exactly 0",
            y_label: "share (%)".into(),
            y_range: (-5.0, 105.0),
            lines: vec![
                line("plain formula, on the\nnetwork that it trains", chart::ORANGE, false, plain, &|p| {
                    100.0 * p.zero_plain
                }),
                line("plain formula, on the\nnetwork that ours trains", chart::ORANGE, true, ours, &|p| {
                    100.0 * p.zero_plain
                }),
                line("ours, on either network", chart::BLUE, false, &either, &|p| 100.0 * p.zero_ours),
            ],
            ..Panel::default()
        },
        Panel {
            title: "The mean loss, computed without the rounding",
            y_label: "mean loss (nats)".into(),
            y_range: (lowest.log10().floor(), 1.0),
            logarithmic: true,
            lines: vec![
                line("trained with the\nplain formula", chart::ORANGE, false, plain, &|p| p.loss),
                line("trained with ours", chart::BLUE, false, ours, &|p| p.loss),
            ],
        },
    ];
    let title = ["Softmax collapse: two networks from the same start"];
    chart::curves(path, &title, "epoch", &panels)
}
