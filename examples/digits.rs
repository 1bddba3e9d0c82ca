//! Teaches a small convolutional network to read handwritten digits: 1797 images of 8x8 pixels.
//!
//! ```text
//! cargo run --release --example digits                 # one split into training and test images
//! cargo run --release --example digits -- --folds 5    # every image is a test image once
//! ```
//!
//! In every epoch, the training images are shifted at random, by a pixel at most: a digit is the same digit a
//! pixel further. The number of epochs and all other choices are fixed before a run: nothing is chosen by
//! a look at its test images.

mod support;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Line, Panel};
use support::images::{Picture, confusion_matrix, sheet};
use support::report::{ConfusionMatrix, finish, progress_of_images};
use tapegrad::data::{Batches, from_csv, k_folds};
use tapegrad::nn::{Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, Parameters, Relu, Sequential};
use tapegrad::optim::{AdamW, Optimizer, Schedule};
use tapegrad::{Conv2dOptions, Indices, Tensor, accuracy, no_grad};

const BATCH: usize = 64;
const LEARNING_RATE: f64 = 3e-3;
const CLASSES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
/// How many misread digits fit on their sheet.
const MOST_SHOWN: usize = 60;
/// The height and the width of an image.
const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;

/// Train a small convolutional network on images of handwritten digits.
#[derive(Parser)]
struct Options {
    /// Parts of which each is the test set once, while a new network learns from the others [default: a
    /// single network, which is tested with a fifth of the images]
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=100))]
    folds: Option<u64>,
    /// Passes over the training images [default: 30, or 12 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    epochs: Option<u64>,
    /// Where the random numbers start; the same seed gives the same results, bit for bit
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// A small run of a few seconds, with 500 of the images
    #[arg(long)]
    quick: bool,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "out/digits")]
    out: PathBuf,
}

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

fn run(options: &Options) -> support::Result<()> {
    let epochs = options.epochs.unwrap_or(if options.quick { 12 } else { 30 });
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let data = Data::read(if options.quick { 500 } else { usize::MAX })?;
    let mut folds = k_folds(data.len(), options.folds.unwrap_or(5) as usize, &mut rng)?;
    folds.truncate(options.folds.unwrap_or(1) as usize);

    println!("{} images of {SIDE}x{SIDE} pixels, {} of them to test with\n", data.len(), folds[0].test.len());
    let model = network(&mut ChaCha8Rng::seed_from_u64(options.seed))?;
    println!("the network, {} parameters:", model.parameter_count());
    for (name, parameter) in model.named_parameters() {
        println!("  {name:<10} {}", parameter.shape());
    }
    println!();

    // ---- Training ------------------------------------------------------------------------------
    let bar = progress_of_images(epochs * folds.iter().map(|fold| fold.train.len() as u64).sum::<u64>());
    let mut outcomes = Vec::new();
    for (number, fold) in folds.iter().enumerate() {
        let (train, test) = (data.select(&fold.train)?, data.select(&fold.test)?);
        let (mut model, mut training) = (network(&mut rng)?, Training::new(epochs, train.len()));
        let mut history = vec![Epoch { train: train.score(&mut model)?, test: test.score(&mut model)? }];
        for _ in 0..epochs {
            training.epoch(&mut model, &train, &mut rng, |images| bar.inc(images as u64))?;
            let scores = Epoch { train: train.score(&mut model)?, test: test.score(&mut model)? };
            let (network, of, accuracy) = (number + 1, folds.len(), 100.0 * scores.test.accuracy);
            bar.set_message(format!("network {network} of {of}: test {accuracy:.2} %"));
            history.push(scores);
        }
        outcomes.push(Outcome::new(history, test, &mut model)?);
    }
    finish(bar);

    // ---- Results -------------------------------------------------------------------------------
    println!("                 training set           test set");
    println!("                 loss       accuracy    loss       accuracy");
    for (fold, outcome) in outcomes.iter().enumerate() {
        println!("  network {:<3}    {}   {}", fold + 1, outcome.last().train, outcome.last().test);
    }
    let mean = |value: fn(&Epoch) -> f64| {
        outcomes.iter().map(|outcome| value(outcome.last())).sum::<f64>() / outcomes.len() as f64
    };
    let (train_accuracy, test_accuracy) = (mean(|e| e.train.accuracy), mean(|e| e.test.accuracy));
    if outcomes.len() > 1 {
        println!(
            "  mean                      {:6.2} %              {:6.2} %",
            100.0 * train_accuracy,
            100.0 * test_accuracy
        );
    }
    println!("loss: mean cross entropy in nats, of which a guess among ten classes costs ln 10 = 2.3026\n");

    let labels: Vec<i64> = outcomes.iter().flat_map(|outcome| outcome.test.labels.to_vec()).collect();
    let predictions: Vec<i64> = outcomes.iter().flat_map(|outcome| outcome.predictions.to_vec()).collect();
    let confusion = ConfusionMatrix::new(&CLASSES, &labels, &predictions);
    println!("confusion matrix of the test images:\n{confusion}\n");

    for picture in [
        draw_history(&options.out, &outcomes)?,
        draw_confusion(&options.out, &confusion)?,
        draw_mistakes(&options.out, &outcomes)?,
    ] {
        println!("picture: {}", picture.display());
    }
    println!(
        "result train_accuracy={train_accuracy:.6} test_accuracy={test_accuracy:.6} test_loss={:.6} mistakes={}",
        mean(|e| e.test.loss),
        labels.iter().zip(&predictions).filter(|(label, predicted)| label != predicted).count()
    );
    Ok(())
}

// ---- The model and its training ----------------------------------------------------------------

/// Three convolutions, each followed by a ReLU. The image shrinks from 8x8 to 4x4 to 2x2 pixels while the
/// number of its channels grows; a linear layer turns the last of them into a score for each digit.
fn network(rng: &mut ChaCha8Rng) -> tapegrad::Result<Sequential> {
    let same_size = Conv2dOptions::new().padding(1);
    Ok(Sequential::new()
        .with(Conv2d::new(1, 16, 3, same_size, rng)?)
        .with(Relu)
        .with(Conv2d::new(16, 32, 3, same_size, rng)?)
        .with(Relu)
        .with(MaxPool2d::new(2))
        .with(Conv2d::new(32, 64, 3, same_size, rng)?)
        .with(Relu)
        .with(MaxPool2d::new(2))
        .with(Flatten)
        .with(Dropout::new(0.3, rng)?)
        .with(Linear::new(64 * 2 * 2, 10, rng)?))
}

struct Training {
    optimizer: AdamW,
    schedule: Schedule,
    step: u64,
}

impl Training {
    fn new(epochs: u64, images: usize) -> Self {
        let steps = epochs * images.div_ceil(BATCH) as u64;
        let schedule = Schedule::cosine(LEARNING_RATE, 0.0, steps).warm_up(steps / 20, 0.1);
        Training { optimizer: AdamW::new(LEARNING_RATE), schedule, step: 0 }
    }

    /// Trains on every image once, in random order and shifted at random.
    fn epoch(
        &mut self,
        model: &mut Sequential,
        images: &Data,
        rng: &mut ChaCha8Rng,
        mut seen: impl FnMut(usize),
    ) -> support::Result<()> {
        model.train();
        for rows in Batches::shuffled(images.len(), BATCH, rng)? {
            let batch = images.select(&rows)?.shifted(rng)?;
            self.optimizer.set_learning_rate(self.schedule.at(self.step));
            model.zero_grad();
            model.forward(&batch.images)?.cross_entropy(&batch.labels)?.backward()?;
            self.optimizer.step(model)?;
            self.step += 1;
            seen(rows.len());
        }
        Ok(())
    }
}

// ---- The data ----------------------------------------------------------------------------------

/// Images of shape (N, 1, 8, 8) with grey levels from 0 to 1, and what they show.
struct Data {
    images: Tensor,
    labels: Indices,
}

impl Data {
    /// The first images of the table, which has 64 grey levels from 0 to 16 and the digit in a row.
    fn read(count: usize) -> support::Result<Self> {
        let table: Tensor = from_csv(include_str!("data/digits.csv"), false)?;
        let count = count.min(table.shape()[0]);
        let levels = table.narrow(0, 0, count)?.narrow(1, 0, PIXELS)?.div(16.0)?;
        let labels: Vec<i64> = table.rows().take(count).map(|row| row[PIXELS] as i64).collect();
        Ok(Data { images: levels.reshape([count, 1, SIDE, SIDE])?, labels: Indices::new(labels)? })
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn select(&self, rows: &Indices) -> tapegrad::Result<Self> {
        let (images, labels) = (self.images.index_select(0, rows)?, self.labels.index_select(0, rows)?);
        Ok(Data { images, labels })
    }

    /// Shifts two images in five up or down by a pixel, and two in five to a side. Pixels that come in are blank.
    fn shifted(mut self, rng: &mut ChaCha8Rng) -> tapegrad::Result<Self> {
        for image in self.images.as_mut_slice()?.chunks_exact_mut(PIXELS) {
            let [down, right] = [(); 2].map(|()| [-1, 0, 0, 0, 1].choose(rng).copied().unwrap_or(0));
            let old: [f32; PIXELS] = std::array::from_fn(|i| image[i]);
            let pixel = |row: i64, column: i64| {
                let inside = |at: i64| (0..SIDE as i64).contains(&at);
                if inside(row) && inside(column) { old[row as usize * SIDE + column as usize] } else { 0.0 }
            };
            for (i, new) in image.iter_mut().enumerate() {
                *new = pixel((i / SIDE) as i64 - down, (i % SIDE) as i64 - right);
            }
        }
        Ok(self)
    }

    fn logits(&self, model: &mut Sequential) -> tapegrad::Result<Tensor> {
        model.eval();
        no_grad(|| model.forward(&self.images))
    }

    fn score(&self, model: &mut Sequential) -> support::Result<Score> {
        let logits = self.logits(model)?;
        let loss = f64::from(logits.cross_entropy(&self.labels)?.item()?);
        Ok(Score { loss, accuracy: accuracy(&logits, &self.labels)? })
    }
}

/// How well a network does.
struct Score {
    loss: f64,
    accuracy: f64,
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

/// How the training of one network went, and what it then predicts.
struct Outcome {
    history: Vec<Epoch>,
    test: Data,
    predictions: Indices,
}

impl Outcome {
    fn new(history: Vec<Epoch>, test: Data, model: &mut Sequential) -> tapegrad::Result<Self> {
        let predictions = test.logits(model)?.argmax(1)?;
        Ok(Outcome { history, test, predictions })
    }

    fn last(&self) -> &Epoch {
        &self.history[self.history.len() - 1]
    }
}

// ---- Pictures ----------------------------------------------------------------------------------

/// The mean over the networks.
fn draw_history(out: &Path, outcomes: &[Outcome]) -> support::Result<PathBuf> {
    let epochs = outcomes[0].history.len() - 1;
    let curve = |name: &str, colour, value: &dyn Fn(&Epoch) -> f64| {
        let mean = |epoch: usize| {
            outcomes.iter().map(|outcome| value(&outcome.history[epoch])).sum::<f64>() / outcomes.len() as f64
        };
        let points = (0..=epochs).map(|epoch| (epoch as f64, mean(epoch))).collect();
        Line { name: name.into(), colour, dashed: false, points }
    };
    let panel = |y_label: &str, value: fn(&Score) -> f64| {
        let lines = vec![
            curve("training set", chart::BLUE, &|epoch| value(&epoch.train)),
            curve("test set", chart::ORANGE, &|epoch| value(&epoch.test)),
        ];
        Panel { y_label: y_label.into(), y_range: (0.0, 1.0), lines, ..Panel::default() }
    };
    let mut loss = panel("cross entropy (nats)", |score| score.loss);
    let values = || loss.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    // Whole powers of ten around all values.
    let (low, high) =
        values().fold((f64::MAX, f64::MIN), |(low, high), loss| (low.min(loss), high.max(loss)));
    (loss.y_range, loss.logarithmic) = ((low.max(1e-9).log10().floor(), high.max(1e-9).log10().ceil()), true);
    let mut accuracy = panel("accuracy (%)", |score| 100.0 * score.accuracy);
    // Where the curves end is of more interest than the first epochs, so the axis may leave those out.
    let last = |line: &Line| line.points[line.points.len() - 1].1;
    let floor = if accuracy.lines.iter().map(last).fold(100.0, f64::min) > 95.0 { 90.0 } else { 0.0 };
    accuracy.y_range = (floor, 100.0);

    let path = out.join("training.svg");
    let title = match outcomes.len() {
        1 => "Learning to read digits".to_string(),
        count => format!("Learning to read digits: the mean of {count} networks"),
    };
    chart::curves(&path, &[&title], "epoch (0: untrained)", &[loss, accuracy])?;
    Ok(path)
}

fn draw_confusion(out: &Path, confusion: &ConfusionMatrix) -> support::Result<PathBuf> {
    let path = out.join("confusion.svg");
    let (right, all) = (confusion.right(), confusion.total());
    let subtitle = format!("{right} of {all} test images are read right, on the diagonal");
    confusion_matrix(&path, &["What digits are taken for", &subtitle], confusion)?;
    Ok(path)
}

fn draw_mistakes(out: &Path, outcomes: &[Outcome]) -> support::Result<PathBuf> {
    let mut pictures = Vec::new();
    for Outcome { test, predictions, .. } in outcomes {
        let answers = test.labels.as_slice().iter().zip(predictions.as_slice());
        for (pixels, (label, predicted)) in test.images.rows().zip(answers) {
            if label != predicted {
                pictures.push(Picture {
                    pixels,
                    width: SIDE,
                    caption: [format!("label {label}"), format!("read as {predicted}")],
                });
            }
        }
    }
    let (shown, tested) =
        (pictures.len().min(MOST_SHOWN), outcomes.iter().map(|o| o.test.len()).sum::<usize>());
    let subtitle = match pictures.len() {
        0 => format!("none of {tested} test images"),
        mistakes if mistakes == shown => format!("{mistakes} of {tested} test images"),
        mistakes => format!("the first {shown} of {mistakes} mistakes in {tested} test images"),
    };
    let path = out.join("mistakes.svg");
    sheet(&path, &["Digits that were misread", &subtitle], &pictures[..shown])?;
    Ok(path)
}
