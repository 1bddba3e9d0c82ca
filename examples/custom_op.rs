//! A custom operation: its formula, its derivative, and the check that the one is the derivative of the other.
//!
//! ```text
//! cargo run --release --example custom_op
//! ```
//!
//! The operation is ln cosh x, a penalty for errors that is x²/2 for small ones and |x| - ln 2 for large ones.
//! Its derivative is tanh x.

mod support;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Line, Panel};
use tapegrad::{
    Backward, Error, Float, GradCheck, GradOptions, Gradients, Result, Step, StepContext, Tape, Tensor, grad,
    gradcheck,
};

/// Define an operation, record it, and check its gradient against finite differences.
#[derive(Parser)]
struct Options {
    /// Where the random numbers start
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Fewer numbers to check
    #[arg(long)]
    quick: bool,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "out/custom_op")]
    out: PathBuf,
}

// ---- The operation -----------------------------------------------------------------------------

/// ln cosh x, element by element. Written as |x| + ln(1 + e^(-2|x|)) - ln 2, it does not overflow: cosh 90 is
/// more than an f32 can hold, its logarithm is 89.3.
fn log_cosh<T: Float>(x: &Tensor<T>) -> Result<Tensor<T>> {
    let (two, ln_2) = (T::from_f64(2.0), T::from_f64(std::f64::consts::LN_2));
    let of = |x: T| x.abs() + (-two * x.abs()).exp().ln_1p() - ln_2;
    let value = Tensor::from_vec(x.as_slice().iter().map(|&x| of(x)).collect(), x.shape())?;
    // The rule needs x, so the step saves it. Nothing is recorded if x requires no gradient.
    Ok(Step::new(LogCosh).saved_input(x).record(value))
}

/// The rule: d ln cosh x / dx = sinh x / cosh x = tanh x.
struct LogCosh;

impl<T: Float> Backward<T> for LogCosh {
    fn name(&self) -> &'static str {
        "LogCosh"
    }

    fn formula(&self) -> &'static str {
        "y = ln cosh x"
    }

    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        // Operations on tensors are recorded when the gradient itself is (`create_graph`), so this rule also
        // gives the higher derivatives.
        Ok(grad.mul(&step.input(0)?.tanh()?)?.into())
    }
}

// ---- The same with a mistake in it ---------------------------------------------------------------

fn mistaken_log_cosh(x: &Tensor<f64>) -> Result<Tensor<f64>> {
    let value = log_cosh(&x.detach())?;
    Ok(Step::new(Mistaken).saved_input(x).record(value))
}

struct Mistaken;

impl Backward<f64> for Mistaken {
    fn name(&self) -> &'static str {
        "Mistaken"
    }

    fn backward(&self, step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
        Ok(grad.mul(&step.input(0)?.sigmoid()?)?.into())
    }
}

// ---- What to do with it ----------------------------------------------------------------------------

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

fn run(options: &Options) -> support::Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);

    println!("the operation on three numbers, in f32:");
    let x = Tensor::new([-0.5, 0.0, 90.0]).requires_grad();
    let y = log_cosh(&x)?;
    println!("  x      {}\n  y      {y}", x.detach());
    let loss = y.sum(..)?;
    println!("\nits tape:\n{}", loss.tape());
    loss.backward()?;
    let gradient = x.grad().ok_or("backward leaves a gradient")?;
    println!("dy/dx, which is tanh x:\n  {gradient}\n");

    let count = if options.quick { 8 } else { 64 };
    let x = Tensor::randn([count], &mut rng)?.mul(2.0)?.requires_grad();
    println!("the gradient check, at {count} random numbers in f64:");
    gradcheck(|inputs| log_cosh(&inputs[0]), &[&x], &mut rng)?;
    println!("  the rule agrees with finite differences");
    GradCheck::new().order(3).check(|inputs| log_cosh(&inputs[0]), &[&x], &mut rng)?;
    println!("  so do its derivatives, to the third order");
    match gradcheck(|inputs| mistaken_log_cosh(&inputs[0]), &[&x], &mut rng) {
        Err(error @ Error::GradientMismatch { .. }) => {
            println!("  a rule with a mistake does not pass:\n    {error}")
        }
        other => return Err(format!("the check should have found the mistake, it said {other:?}").into()),
    }

    let x = Tensor::from([1.0f64]).requires_grad();
    let record = GradOptions::new().create_graph(true);
    let first = grad(&[&log_cosh(&x)?], &[&x], &record)?.remove(0);
    let second = grad(&[&first], &[&x], &GradOptions::new())?.remove(0);
    println!(
        "\nat x = 1 the slope is {:.6}, the curvature 1 - tanh² x = {:.6}",
        first.item()?,
        second.item()?
    );

    let (curves, tape) = (options.out.join("log_cosh.svg"), options.out.join("tape.svg"));
    draw(&curves)?;
    let x = Tensor::from([-0.5, 0.0, 1.0]).requires_grad();
    support::write(&tape, &Tape::observe(|| log_cosh(&x)?.sum(..))?.named("x", &x).to_svg())?;
    println!("\npicture: {}\npicture: {}", curves.display(), tape.display());
    println!("result slope={:.6} curvature={:.6}", first.item()?, second.item()?);
    Ok(())
}

/// The operation for x from 0 to 4 with its first two derivatives, all of them by the tape.
fn draw(path: &Path) -> support::Result<()> {
    let x = Tensor::linspace(0.0f64, 4.0, 201)?.requires_grad();
    let record = GradOptions::new().create_graph(true);
    let y = log_cosh(&x)?;
    let slope = grad(&[&y.sum(..)?], &[&x], &record)?.remove(0);
    let curvature = grad(&[&slope.sum(..)?], &[&x], &GradOptions::new())?.remove(0);
    let line = |name: &str, colour, values: &Tensor<f64>| {
        let points = x.as_slice().iter().copied().zip(values.as_slice().iter().copied()).collect();
        Line { name: name.into(), colour, dashed: false, points }
    };
    let panel = Panel {
        y_label: "value".into(),
        y_range: (0.0, 3.5),
        lines: vec![
            line("ln cosh x: like x²/2,\nthen like x − ln 2", chart::BLUE, &y),
            line("its slope, tanh x", chart::ORANGE, &slope),
            line("its curvature,\n1 − tanh² x", chart::GREEN, &curvature),
        ],
        ..Panel::default()
    };
    chart::curves(path, &["A custom operation with its derivatives"], "x", &[panel])
}
