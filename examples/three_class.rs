//! Trains a linear classifier on the logits of an imaginary network: the main job of this crate, from
//! data to pictures.
//!
//! ```text
//! cargo run --release --example three_class
//! ```
//!
//! The inputs are themselves scores (logits) for the three classes, and their argmax is right in 80 % of
//! the samples. Where it is right, the top score exceeds the largest magnitude of the row by up to 4
//! nats; where it is wrong, by less than 0.1. The classifier learns how far the scores can be trusted:
//! its accuracy cannot be much better than theirs, but its loss can.

mod support;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Line, Panel, Regions};
use support::report::{ConfusionMatrix, finish, progress};
use tapegrad::data::{Batches, make_classification_logits, train_test_split};
use tapegrad::nn::{Linear, Module, Parameters};
use tapegrad::optim::{Optimizer, Sgd};
use tapegrad::{Indices, Tensor, accuracy, no_grad};

/// How often the argmax of the raw logits is the label, and by how much it then wins at most.
const PCT_CORRECT: f64 = 0.8;
const CONFIDENCE: f64 = 4.0;
/// The part of the samples that is kept for the test.
const TEST_SHARE: f64 = 0.2;
const BATCH: usize = 32;
const CLASSES: [&str; 3] = ["class 0", "class 1", "class 2"];

/// Train a linear classifier on synthetic logits of three classes.
#[derive(Parser)]
struct Options {
    /// Samples to make; four in five are trained on [default: 2000, or 600 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u64).range(10..=10_000_000))]
    samples: Option<u64>,
    /// Passes over the training samples [default: 30, or 20 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: Option<u64>,
    /// Length of a step, as a multiple of the gradient
    #[arg(long, default_value = "0.002", value_parser = positive)]
    learning_rate: f64,
    /// Where the random numbers start; the same seed gives the same results, bit for bit
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// A small run of a second or less
    #[arg(long)]
    quick: bool,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "out/three_class")]
    out: PathBuf,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        Ok(_) => Err("must be a finite number above 0".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

fn run(options: &Options) -> support::Result<()> {
    let samples = options.samples.unwrap_or(if options.quick { 600 } else { 2000 }) as usize;
    let epochs = options.epochs.unwrap_or(if options.quick { 20 } else { 30 });
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);

    let (inputs, labels) = make_classification_logits(&mut rng, 3, samples, PCT_CORRECT, CONFIDENCE)?;
    let data = Data { inputs, labels };
    let (train, test) = train_test_split(samples, TEST_SHARE, &mut rng)?;
    let (train, test) = (data.select(&train)?, data.select(&test)?);
    println!("{} samples to train on, {} to test with, 3 classes\n", train.len(), test.len());

    // ---- Training ------------------------------------------------------------------------------
    let mut model = Linear::new(3, 3, &mut rng)?;
    let mut optimizer = Sgd::new(options.learning_rate);
    let mut history = vec![Epoch { train: train.score(&model)?, test: test.score(&model)? }];
    let bar = progress(epochs, "epochs");

    for epoch in 1..=epochs {
        for (step, rows) in Batches::shuffled(train.len(), BATCH, &mut rng)?.enumerate() {
            let batch = train.select(&rows)?;
            model.zero_grad();
            let loss = model.forward(&batch.inputs)?.cross_entropy(&batch.labels)?;
            if (epoch, step) == (1, 0) {
                bar.suspend(|| {
                    println!("the tape of the first step, before it is played in reverse:\n{}", loss.tape())
                });
            }
            loss.backward()?;
            optimizer.step(&mut model).map_err(|error| format!("{error}: try a smaller --learning-rate"))?;
        }

        let scores = Epoch { train: train.score(&model)?, test: test.score(&model)? };
        bar.set_message(scores.train.in_words());
        bar.inc(1);
        history.push(scores);
    }
    finish(bar);

    // ---- Results -------------------------------------------------------------------------------
    let (untrained, trained) = (&history[0], &history[epochs as usize]);
    let raw = Epoch { train: train.score_raw()?, test: test.score_raw()? };
    println!("                          training set           test set");
    println!("                          loss       accuracy    loss       accuracy");
    for (name, Epoch { train, test }) in
        [("untrained model", untrained), ("argmax of raw logits", &raw), ("trained model", trained)]
    {
        println!("  {name:<22}  {train}   {test}");
    }
    println!("loss: mean cross entropy in nats, of which a guess among three classes costs ln 3 = 1.0986");
    println!("raw logits: the inputs themselves taken as scores; the prediction is their argmax\n");

    println!("the learned scores of the inputs x0, x1, x2:");
    let biases = model.bias.iter().flat_map(Tensor::as_slice);
    for ((name, weight), bias) in CLASSES.iter().zip(model.weight.rows()).zip(biases) {
        let [w0, w1, w2] = [weight[0], weight[1], weight[2]];
        println!("  {name}:  {w0:+.4} x0  {w1:+.4} x1  {w2:+.4} x2  {bias:+.4}");
    }
    println!();

    let predictions = no_grad(|| model.forward(&test.inputs)?.argmax(1))?;
    let confusion = ConfusionMatrix::new(&CLASSES, test.labels.as_slice(), predictions.as_slice());
    println!("confusion matrix of the test set:\n{confusion}\n");

    for picture in [
        draw_history(&options.out, &history, &raw)?,
        draw_regions(&options.out, &model, &test, &predictions)?,
    ] {
        println!("picture: {}", picture.display());
    }
    println!(
        "result train_loss={:.6} train_accuracy={:.6} test_loss={:.6} test_accuracy={:.6}",
        trained.train.loss, trained.train.accuracy, trained.test.loss, trained.test.accuracy
    );
    Ok(())
}

// ---- The data ----------------------------------------------------------------------------------

struct Data {
    inputs: Tensor,
    labels: Indices,
}

impl Data {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn select(&self, rows: &Indices) -> tapegrad::Result<Self> {
        Ok(Data { inputs: self.inputs.index_select(0, rows)?, labels: self.labels.index_select(0, rows)? })
    }

    fn score(&self, model: &Linear) -> support::Result<Score> {
        Score::of(&no_grad(|| model.forward(&self.inputs))?, &self.labels)
    }

    /// The inputs are logits themselves, so that they can be scored without a model.
    fn score_raw(&self) -> support::Result<Score> {
        Score::of(&self.inputs, &self.labels)
    }
}

/// How well logits predict labels.
struct Score {
    loss: f64,
    accuracy: f64,
}

impl Score {
    fn of(logits: &Tensor, labels: &Indices) -> support::Result<Self> {
        let loss = f64::from(logits.cross_entropy(labels)?.item()?);
        match loss.is_finite() {
            true => Ok(Score { loss, accuracy: accuracy(logits, labels)? }),
            false => Err(format!("the loss has become {loss}: try a smaller --learning-rate").into()),
        }
    }

    fn in_words(&self) -> String {
        format!("loss {:.4} nats, accuracy {:.2} %", self.loss, 100.0 * self.accuracy)
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.4}     {:6.2} %", self.loss, 100.0 * self.accuracy)
    }
}

struct Epoch {
    train: Score,
    test: Score,
}

// ---- Pictures ----------------------------------------------------------------------------------

/// Where the curves settle they are close together, so the axes show those values; the first epochs lie outside.
fn draw_history(out: &Path, history: &[Epoch], raw: &Epoch) -> support::Result<PathBuf> {
    let panel = |y_label: &str, value: fn(&Score) -> f64| {
        let curve = |name: &str, colour, set: fn(&Epoch) -> &Score| {
            let points = history.iter().enumerate().map(|(epoch, scores)| (epoch as f64, value(set(scores))));
            Line { name: name.into(), colour, dashed: false, points: points.collect() }
        };
        let last = (history.len() - 1) as f64;
        let points = vec![(0.0, value(&raw.test)), (last, value(&raw.test))];
        let raw = Line { name: "test set, raw logits".into(), colour: chart::GREY, dashed: true, points };
        let lines = vec![
            raw,
            curve("training set", chart::BLUE, |e| &e.train),
            curve("test set", chart::ORANGE, |e| &e.test),
        ];
        let settled = |line: &Line| line.points[line.points.len() / 6..].to_vec();
        let y_range = chart::padded(lines.iter().flat_map(settled).map(|point| point.1));
        Panel { y_label: y_label.into(), y_range, lines, ..Panel::default() }
    };
    let panels = [
        panel("cross entropy (nats)", |score| score.loss),
        panel("accuracy (%)", |score| 100.0 * score.accuracy),
    ];
    let start = format!("before training: {} on the test set", history[0].test.in_words());
    let title = ["Training a linear classifier on three-class logits", &start];
    let path = out.join("training.svg");
    chart::curves(&path, &title, "epoch", &panels)?;
    Ok(path)
}

/// The inputs have three dims, but adding one number to all three logits changes no probability. So the
/// picture looks along that direction, (1, 1, 1), and shows the differences from x2. The trained model may
/// still depend a little on the mean of the three logits. The regions are its decisions at the average of
/// that mean, and the subtitle says for how many samples the model decides the same.
fn draw_regions(out: &Path, model: &Linear, test: &Data, predictions: &Indices) -> support::Result<PathBuf> {
    let mean = test.inputs.mean(..)?.item()?;
    let on_plane =
        |u: f32, v: f32| [mean + (2.0 * u - v) / 3.0, mean + (2.0 * v - u) / 3.0, mean - (u + v) / 3.0];
    let corners = Tensor::from([on_plane(0.0, 0.0), on_plane(1.0, 0.0), on_plane(0.0, 1.0)]);
    let scores = chart::scores_on_plane(&no_grad(|| model.forward(&corners))?)?;

    const SHOWN: usize = 1000;
    let samples = test.inputs.rows().zip(test.labels.as_slice()).take(SHOWN);
    let difference = |x: &[f32], class: usize| f64::from(x[class] - x[2]);
    let points: Vec<_> =
        samples.map(|(x, &label)| (difference(x, 0), difference(x, 1), label as usize)).collect();
    let agreement = chart::agreement(&scores, &points, predictions.as_slice());

    let path = out.join("regions.svg");
    let average = format!("{mean:.2}").replace('-', "−");
    let subtitle = [
        format!("{} test samples, projected along (1, 1, 1).", points.len()),
        format!("The shades are the decisions at the average logit, {average}."),
        format!("For {agreement} of the samples, the model decides as the shade behind them says."),
    ];
    let picture = Regions {
        title: &["What the trained classifier decides", &subtitle[0], &subtitle[1], &subtitle[2]],
        axes: ("x₀ − x₂ (nats)", "x₁ − x₂ (nats)"),
        classes: &CLASSES,
        scores: &scores,
        points: &points,
    };
    chart::regions(&path, &picture)?;
    Ok(path)
}
