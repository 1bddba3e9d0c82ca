//! One model, several threads: each records a graph of its own over a part of the batch. The result is the
//! same, bit for bit, for any number of threads.
//!
//! ```text
//! cargo run --release --example data_parallel
//! ```
//!
//! Floating-point sums depend on the order of their terms. So the batch is cut into eight shards, however many
//! threads there are; a thread computes the gradients of one shard after another; and the eight results are
//! added in the order of the shards.

mod support;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;
use support::chart::{self, Line, Panel};
use support::report::{finish, progress};
use tapegrad::nn::{Linear, Module, Parameters};
use tapegrad::optim::{Optimizer, Sgd};
use tapegrad::{CrossEntropyLoss, GradOptions, Indices, Reduction, Result, Tensor, grad, parameters};

/// Train one model on several threads, and compare the results bit by bit.
#[derive(Parser)]
struct Options {
    /// Numbers of threads to compare
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,8", value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: Vec<u64>,
    /// Steps of training [default: 60, or 5 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps: Option<u64>,
    /// Where the random numbers start
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// A small run of a second or less
    #[arg(long)]
    quick: bool,
    /// Folder for the picture
    #[arg(long, value_name = "DIR", default_value = "out/data_parallel")]
    out: PathBuf,
}

/// How many parts the batch is cut into, whatever the number of threads.
const SHARDS: usize = 8;
const FEATURES: usize = 64;
const CLASSES: usize = 10;

struct Mlp {
    hidden: Linear,
    output: Linear,
}
parameters!(Mlp { hidden, output });

impl Mlp {
    fn new(width: usize, seed: u64) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Ok(Mlp {
            hidden: Linear::new(FEATURES, width, &mut rng)?,
            output: Linear::new(width, CLASSES, &mut rng)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.output.forward(&self.hidden.forward(x)?.relu()?)
    }
}

/// A part of the batch.
struct Shard {
    inputs: Tensor,
    labels: Indices,
}

/// The result of a shard: the sum of its losses, and the gradient of that sum with respect to each parameter.
struct Contribution {
    loss: Tensor,
    gradients: Vec<Tensor>,
}

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

fn run(options: &Options) -> support::Result<()> {
    let (batch, width, steps) = if options.quick { (256, 32, 5) } else { (2048, 256, 60) };
    let steps = options.steps.unwrap_or(steps);
    let shards = make_shards(batch, options.seed)?;
    println!(
        "{batch} samples in {SHARDS} shards, {steps} steps of gradient descent, from the same start each time\n"
    );
    println!("  threads    loss after      time a step    fingerprint of the parameters");

    let bar = progress(steps * options.threads.len() as u64, "steps");
    let (mut prints, mut curves) = (Vec::new(), Vec::new());
    let mut last_loss = f32::NAN;
    for &threads in &options.threads {
        let mut model = Mlp::new(width, options.seed)?;
        let mut optimizer = Sgd::new(0.1).momentum(0.9);
        let mut losses = Vec::new();
        let start = Instant::now();
        for _ in 0..steps {
            last_loss = step(&mut model, &mut optimizer, &shards, batch, threads as usize)?;
            losses.push(last_loss);
            bar.inc(1);
        }
        let milliseconds = start.elapsed().as_secs_f64() * 1e3 / steps as f64;
        let print = fingerprint(&model);
        bar.suspend(|| println!("  {threads:>7}    {last_loss:.6}    {milliseconds:8.2} ms    {print:016x}"));
        prints.push(print);
        curves.push(losses);
    }
    finish(bar);

    let identical = prints.iter().all(|print| *print == prints[0]);
    println!(
        "\n{}",
        if identical { "every bit of every parameter is the same" } else { "the results differ" }
    );
    let picture = options.out.join("losses.svg");
    draw(&picture, &options.threads, &curves)?;
    println!("picture: {}", picture.display());
    println!("result identical={} loss={last_loss:.6}", u8::from(identical));
    if identical { Ok(()) } else { Err("the bits depend on the number of threads".into()) }
}

/// One step of training: the gradients of the shards, computed on several threads and added in the shards' order.
fn step(
    model: &mut Mlp,
    optimizer: &mut Sgd,
    shards: &[Shard],
    batch: usize,
    threads: usize,
) -> support::Result<f32> {
    let mut found: Vec<Option<Contribution>> = shards.iter().map(|_| None).collect();
    thread::scope(|scope| -> support::Result<()> {
        let shared: &Mlp = model;
        // Thread t takes the shards t, t + threads, ..; a model can be read by all of them at once.
        let work = |first: usize| -> Result<Vec<(usize, Contribution)>> {
            let own = shards.iter().enumerate().skip(first).step_by(threads);
            own.map(|(place, shard)| Ok((place, contribution(shared, shard)?))).collect()
        };
        let workers: Vec<_> =
            (0..threads.min(SHARDS)).map(|first| scope.spawn(move || work(first))).collect();
        for worker in workers {
            for (place, contribution) in worker.join().map_err(|_| "a thread has panicked")?? {
                found[place] = Some(contribution);
            }
        }
        Ok(())
    })?;

    let mut contributions = found.into_iter().flatten();
    let mut total = contributions.next().ok_or("there is no shard")?;
    for next in contributions {
        total.loss = total.loss.add(&next.loss)?;
        for (sum, gradient) in total.gradients.iter_mut().zip(&next.gradients) {
            *sum = sum.add(gradient)?;
        }
    }
    let scale = 1.0 / batch as f64;
    for ((_, parameter), gradient) in model.named_parameters().into_iter().zip(&total.gradients) {
        parameter.set_grad(gradient.mul(scale)?)?;
    }
    optimizer.step(model)?;
    Ok(total.loss.mul(scale)?.item()?)
}

/// Forward and backward over one shard, with a graph of the thread's own. `grad` returns the gradients; `backward`
/// would add them to the parameters, in the order in which the threads happen to finish.
fn contribution(model: &Mlp, shard: &Shard) -> Result<Contribution> {
    let sum = CrossEntropyLoss::new().reduction(Reduction::Sum);
    let loss = sum.forward(&model.forward(&shard.inputs)?, &shard.labels)?;
    let parameters: Vec<&Tensor> =
        model.named_parameters().into_iter().map(|(_, parameter)| parameter).collect();
    let gradients = grad(&[&loss], &parameters, &GradOptions::new())?;
    Ok(Contribution { loss: loss.detach(), gradients })
}

/// Random inputs, labelled by a random linear classifier.
fn make_shards(batch: usize, seed: u64) -> Result<Vec<Shard>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1));
    let inputs = Tensor::randn([batch, FEATURES], &mut rng)?;
    let labels = inputs.matmul(&Tensor::randn([FEATURES, CLASSES], &mut rng)?)?.argmax(1)?;
    let size = batch / SHARDS;
    let shard = |shard: usize| {
        let rows = shard * size..(shard + 1) * size;
        let labels = Indices::new(&labels.as_slice()[rows.clone()])?;
        Ok(Shard { inputs: inputs.narrow(0, (shard * size) as isize, size)?, labels })
    };
    (0..SHARDS).map(shard).collect()
}

/// The losses with the first and with the last number of threads; the second curve is dashed, over the first.
fn draw(path: &Path, threads: &[u64], curves: &[Vec<f32>]) -> support::Result<()> {
    let line = |place: usize, colour, dashed| {
        let points = curves[place].iter().enumerate().map(|(step, &loss)| (step as f64, f64::from(loss)));
        let threads = match threads[place] {
            1 => "1 thread".to_string(),
            several => format!("{several} threads"),
        };
        Line { name: format!("the loss on\n{threads}"), colour, dashed, points: points.collect() }
    };
    let highest = curves.iter().flatten().fold(0.0, |highest: f32, &loss| highest.max(loss));
    let panel = Panel {
        y_label: "cross entropy (nats)".into(),
        y_range: (0.0, 1.1 * f64::from(highest)),
        lines: vec![line(0, chart::BLUE, false), line(curves.len() - 1, chart::ORANGE, true)],
        ..Panel::default()
    };
    chart::curves(path, &["The same bits for any number of threads"], "step", &[panel])
}

/// A hash of all bits of all parameters, after Fowler, Noll and Vo: two models with the same hash are almost surely
/// the same.
fn fingerprint(model: &Mlp) -> u64 {
    let parameters = model.named_parameters();
    let bits = parameters.iter().flat_map(|(_, parameter)| parameter.as_slice()).map(|value| value.to_bits());
    bits.fold(0xcbf2_9ce4_8422_2325, |hash, bits| {
        (hash ^ u64::from(bits)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
