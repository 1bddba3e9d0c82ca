//! Cross entropy in the order in which a tutorial tells it, beside the fused loss: scores, probabilities,
//! the probability of the right class, its logarithm, the mean; then the gradients, by hand and by machine.
//!
//! ```text
//! cargo run --release --example cross_entropy_by_hand
//! ```

mod support;

use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::write;
use tapegrad::{CrossEntropyLoss, Indices, Reduction, Tape, Tensor, keepdim};

/// Compute a cross entropy step by step, and compare with the fused loss.
#[derive(Parser)]
struct Options {
    /// Accepted as by every example; nothing here is random
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Accepted as by every example; there is nothing here that takes long
    #[arg(long)]
    quick: bool,
    /// Folder for the pictures of the two tapes
    #[arg(long, value_name = "DIR", default_value = "out/cross_entropy_by_hand")]
    out: PathBuf,
}

/// What a network might say of six objects: a row an object, a column a class.
const SCORES: [[f32; 3]; 6] = [
    [3.8538, 2.9746, -0.9948],
    [0.8792, -1.5163, 2.1566],
    [1.6016, 3.3612, 0.7117],
    [-1.3732, 1.2209, 2.6695],
    [-0.4632, 0.0835, -0.5032],
    [1.7197, -0.6195, -0.7914],
];
const TARGET: [i64; 6] = [0, 1, 0, 2, 2, 0];

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

fn run(options: &Options) -> support::Result<()> {
    let logits = Tensor::new(SCORES).requires_grad();
    let target = Indices::new(TARGET)?;
    println!(
        "Six objects, three classes. The scores (logits), one row for each object:\n{}\n",
        logits.detach()
    );
    println!("The right classes:\n{target}\n");

    println!("1. Make the scores positive: e to the power of each.");
    let exponentials = logits.exp()?;
    println!("{}\n", exponentials.detach());

    println!("2. Divide by the sum of the row: probabilities, which sum to 1. This is softmax.");
    let probabilities = exponentials.div(&exponentials.sum(keepdim(1))?)?;
    println!("{}\n", probabilities.detach());
    let softmax = logits.detach().softmax(1)?;
    println!("   softmax(1) gives the same, to {:.0e}.\n", largest_difference(&probabilities, &softmax));

    println!("3. Gather from each row the probability of the right class.");
    let right = probabilities.gather(1, &target.unsqueeze(1)?)?.squeeze(1)?;
    println!("{}\n", right.detach());

    println!("4. The loss of an object is minus the logarithm of that: 0 for a sure and right prediction.");
    let losses = right.log()?.neg()?;
    println!("{}\n", losses.detach());

    println!("5. The mean over the objects is the cross entropy, in nats.");
    let by_hand = losses.mean(..)?;
    println!("{by_hand}\n");

    println!("The fused loss does it all in one step:");
    let fused_losses = CrossEntropyLoss::new().reduction(Reduction::Unreduced).forward(&logits, &target)?;
    println!("{}", fused_losses.detach());
    let fused = logits.cross_entropy(&target)?;
    println!("{fused}\n");

    println!("The gradient, three ways.");
    println!("By hand, (probability - 1 where the class is right) / 6:");
    let one_hot = target.one_hot(3)?;
    let derived = softmax.sub(&one_hot)?.div(SCORES.len() as f64)?;
    println!("{derived}");
    println!("By machine, backward through the steps above:");
    by_hand.backward()?;
    let through_steps = gradient(&logits)?;
    println!("{through_steps}");
    println!("By machine, backward through the fused loss:");
    fused.backward()?;
    let through_fused = gradient(&logits)?;
    println!("{through_fused}\n");

    println!("What was recorded, with the range of each value and the norm of each gradient:\n");
    let steps = Tape::observe(|| {
        let exponentials = logits.exp()?;
        let probabilities = exponentials.div(&exponentials.sum(keepdim(1))?)?;
        probabilities.gather(1, &target.unsqueeze(1)?)?.squeeze(1)?.log()?.neg()?.mean(..)
    })?;
    let one_step = Tape::observe(|| logits.cross_entropy(&target))?;
    for (tape, name) in [(steps, "tape_by_hand"), (one_step, "tape_fused")] {
        let tape = tape.named("logits", &logits);
        print_facts(&tape);
        for (file, content) in [
            (format!("{name}.svg"), tape.to_svg()),
            (format!("{name}.html"), tape.to_html("The tape of a cross entropy")),
        ] {
            write_picture(&options.out, &file, &content)?;
        }
        println!();
    }

    println!(
        "result loss={:.6} fused_loss={:.6} gradient_difference={:.2e}",
        by_hand.item()?,
        fused.item()?,
        largest_difference(&through_steps, &through_fused).max(largest_difference(&derived, &through_fused))
    );
    Ok(())
}

/// Takes the gradient out of a leaf, so that the next backward does not add to it.
fn gradient(leaf: &Tensor) -> support::Result<Tensor> {
    let gradient = leaf.grad().ok_or("backward leaves a gradient")?;
    leaf.zero_grad();
    Ok(gradient)
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    a.as_slice().iter().zip(b.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn print_facts(tape: &Tape) {
    for (line, entry) in tape.to_string().lines().zip(tape.entries()) {
        let values = entry.values.map(|values| values.to_string()).unwrap_or_default();
        let norm = entry.gradient_norm.unwrap_or(f64::NAN);
        println!("{line:<36}{values:<22}|gradient| {norm:.4}");
    }
}

fn write_picture(folder: &Path, file: &str, content: &str) -> support::Result<()> {
    let path = folder.join(file);
    write(&path, content)?;
    println!("picture: {}", path.display());
    Ok(())
}
