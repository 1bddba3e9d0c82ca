//! Trains a linear classifier on the logits of an imaginary network: the main job of this crate, from
//! data to pictures.
//!
//! ```text
//! cargo run --release --example three_class
//! ```
//!
//! The inputs are themselves scores (logits) for the three classes, and their argmax is right in 80 % of
//! the samples. Where it is right, the top score exceeds the largest magnitude of the row by up to 4
//! nats; where it is wrong, by less than 0.1. The classifier learns how far the scores are to be
//! trusted: its accuracy cannot be much better than theirs, but its loss can.

mod support;

use clap::Parser;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng, seq::SliceRandom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Line, Panel, Regions};
use support::report::{ConfusionMatrix, finish, progress};
use tapegrad::data::make_classification_logits;
use tapegrad::{Indices, Tensor, accuracy, no_grad};

/// How often the argmax of the raw logits is the label, and by how much it then wins at most.
const PCT_CORRECT: f64 = 0.8;
const CONFIDENCE: f64 = 4.0;
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
    learning_rate: f32,
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

fn positive(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
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

    // Rows are independent of each other, so the last fifth is as good a test set as any.
    let data = Data::make(samples, &mut rng)?;
    let (train, test) = (data.rows(0..samples * 4 / 5)?, data.rows(samples * 4 / 5..samples)?);
    println!("{} samples to train on, {} to test with, 3 classes\n", train.len(), test.len());

    // ---- Training ------------------------------------------------------------------------------
    let mut model = Linear::new(3, 3, &mut rng)?;
    let mut history = vec![Epoch { train: train.score(&model)?, test: test.score(&model)? }];
    let mut order: Vec<i64> = (0..train.len() as i64).collect();
    let bar = progress(epochs, "epochs");

    for epoch in 1..=epochs {
        order.shuffle(&mut rng);
        for (step, rows) in order.chunks(BATCH).enumerate() {
            let batch = train.select(rows)?;
            let loss = model.forward(&batch.inputs)?.cross_entropy(&batch.labels)?;
            if (epoch, step) == (1, 0) {
                bar.suspend(|| {
                    println!("the tape of the first step, before it is played in reverse:\n{}", loss.tape())
                });
            }
            loss.backward()?;
            model.descend(options.learning_rate)?;
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
    for ((name, weight), bias) in CLASSES.iter().zip(model.weight.rows()).zip(model.bias.as_slice()) {
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

// ---- The model ---------------------------------------------------------------------------------

/// y = x Wᵀ + b
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Random parameters, uniform in ±1/√inputs.
    fn new(inputs: usize, outputs: usize, rng: &mut impl Rng) -> tapegrad::Result<Self> {
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut uniform = |shape: &[usize]| -> tapegrad::Result<Tensor> {
            Ok(Tensor::rand(shape, rng)?.mul(2.0 * bound)?.sub(bound)?.requires_grad())
        };
        Ok(Linear { weight: uniform(&[outputs, inputs])?, bias: uniform(&[outputs])? })
    }

    fn forward(&self, x: &Tensor) -> tapegrad::Result<Tensor> {
        x.linear(&self.weight, &self.bias)
    }

    /// A step of gradient descent: parameter -= rate * gradient.
    fn descend(&mut self, rate: f32) -> tapegrad::Result<()> {
        for parameter in [&mut self.weight, &mut self.bias] {
            if let Some(gradient) = parameter.grad() {
                let values = parameter.as_mut_slice()?.iter_mut();
                values.zip(gradient.as_slice()).for_each(|(value, slope)| *value -= rate * slope);
            }
            parameter.zero_grad();
        }
        Ok(())
    }
}

// ---- The data ----------------------------------------------------------------------------------

struct Data {
    inputs: Tensor,
    labels: Indices,
}

impl Data {
    fn make(samples: usize, rng: &mut impl Rng) -> tapegrad::Result<Self> {
        let (inputs, labels) = make_classification_logits(rng, 3, samples, PCT_CORRECT, CONFIDENCE)?;
        Ok(Data { inputs, labels })
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn select(&self, rows: &[i64]) -> tapegrad::Result<Self> {
        let labels = rows.iter().map(|&row| self.labels.as_slice()[row as usize]).collect::<Vec<_>>();
        Ok(Data { inputs: self.inputs.index_select(0, rows)?, labels: Indices::new(labels)? })
    }

    fn rows(&self, range: std::ops::Range<usize>) -> tapegrad::Result<Self> {
        self.select(&range.map(|row| row as i64).collect::<Vec<_>>())
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

fn draw_history(out: &Path, history: &[Epoch], raw: &Epoch) -> support::Result<PathBuf> {
    let panel = |y_label: &str, y_range, value: fn(&Score) -> f64| {
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
        Panel { y_label: y_label.into(), y_range, logarithmic: false, lines }
    };
    let highest =
        history.iter().map(|scores| scores.train.loss.max(scores.test.loss)).fold(raw.test.loss, f64::max);
    let panels = [
        panel("cross entropy (nats)", (0.0, 1.05 * highest), |score| score.loss),
        panel("accuracy (%)", (0.0, 100.0), |score| 100.0 * score.accuracy),
    ];
    let path = out.join("training.svg");
    chart::curves(
        &path,
        "Training a linear classifier on three-class logits",
        "epoch (0: untrained)",
        &panels,
    )?;
    Ok(path)
}

/// The inputs have three dims, but adding one number to all three logits changes no probability that
/// they stand for. The picture looks along that direction, (1, 1, 1): it shows the differences to x2.
/// The trained model may take some notice of the mean logit all the same; the regions are those at its
/// average, and the subtitle says how many decisions that gets right.
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
    let subtitle = [
        format!(
            "{} test samples, projected along (1, 1, 1). The shades are the decisions at the mean",
            points.len()
        ),
        format!(
            "logit, {mean:.2}; at their own mean, {agreement} samples are decided as the shade behind them."
        ),
    ];
    let picture = Regions {
        title: &["What the trained classifier decides", &subtitle[0], &subtitle[1]],
        axes: ("x₀ − x₂ (nats)", "x₁ − x₂ (nats)"),
        classes: &CLASSES,
        scores: &scores,
        points: &points,
    };
    chart::regions(&path, &picture)?;
    Ok(path)
}
