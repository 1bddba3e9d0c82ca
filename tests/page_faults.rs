//! A step of a steady training loop takes no page faults: all its memory is that of the steps before.
//!
//! Page faults belong to the whole process, so this is the only test of its binary.
#![cfg(target_os = "linux")]

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tapegrad::{Indices, Result, Tensor};

/// The minor page faults of this process so far: field 10 of the process's statistics. The second field, the
/// program's name in parentheses, may contain spaces.
fn page_faults() -> u64 {
    let statistics = std::fs::read_to_string("/proc/self/stat").expect("Linux tells about each process");
    let (_, after_name) = statistics.rsplit_once(')').expect("a name in parentheses");
    after_name.split_whitespace().nth(7).and_then(|field| field.parse().ok()).expect("a count of faults")
}

/// How many page faults each step takes, until ten in a row have taken as good as none, or 100 steps are over.
///
/// The first ones take many: the allocator has to see how large the workspace of a product is, and every thread
/// touches a stack and a workspace of its own when it takes part for the first time. Afterwards the system may
/// still move a page. Memory that every step asks for anew is dozens of pages in every step.
fn page_faults_of_steps(mut step: impl FnMut() -> Result<()>) -> Result<Vec<u64>> {
    let mut faults = Vec::with_capacity(100);
    while faults.len() < 100 && !are_none(&faults) {
        let before = page_faults();
        step()?;
        faults.push(page_faults() - before);
    }
    Ok(faults)
}

/// Whether the last ten steps took none, but for three pages.
fn are_none(faults: &[u64]) -> bool {
    faults.last_chunk::<10>().is_some_and(|last| last.iter().sum::<u64>() <= 3)
}

fn descend(parameters: &mut [Tensor]) -> Result<()> {
    for parameter in parameters {
        let gradient = parameter.grad().expect("backward reached every parameter");
        for (value, gradient) in parameter.as_mut_slice()?.iter_mut().zip(gradient.as_slice()) {
            *value -= 1e-3 * gradient;
        }
        parameter.zero_grad();
    }
    Ok(())
}

#[test]
fn a_step_of_a_steady_training_loop_takes_no_page_faults() -> Result<()> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);

    // The counter works: 64 MiB that nobody has touched are 16384 pages of 4 KiB, or 32 of 2 MiB.
    let before = page_faults();
    drop(std::hint::black_box(vec![1.0f32; 1 << 24]));
    assert!(page_faults() - before >= 16);

    // Logits of more than 32 MiB: the allocator returns such memory to the system when it is freed.
    let (rows, classes) = (256, 35_000);
    let target: Vec<usize> = (0..rows).map(|row| row * 131).collect();
    let logits = <Tensor>::randn([rows, classes], rng)?.requires_grad();
    let of_leaf = page_faults_of_steps(|| {
        logits.cross_entropy(&target)?.backward()?;
        assert!(logits.grad().is_some());
        logits.zero_grad();
        Ok(())
    })?;
    drop(logits);

    // A perceptron whose activations and gradients have many sizes.
    let x = <Tensor>::randn([128, 784], rng)?;
    let target = Indices::new((0..128).map(|row| row * 7).collect::<Vec<i64>>())?.unsqueeze(1)?;
    let mut parameters =
        [Tensor::randn([512, 784], rng)?, Tensor::randn([512], rng)?, Tensor::randn([1000, 512], rng)?]
            .map(Tensor::requires_grad);
    let of_perceptron = page_faults_of_steps(|| {
        let [weight1, bias1, weight2] = &parameters;
        let hidden = x.linear(weight1, bias1)?.relu()?;
        let loss = hidden.linear(weight2, None)?.log_softmax(1)?.gather(1, &target)?.mean(..)?.neg()?;
        drop(hidden);
        loss.backward()?;
        descend(&mut parameters)
    })?;
    assert!(
        are_none(&of_leaf) && are_none(&of_perceptron),
        "page faults of each step: cross entropy of a leaf {of_leaf:?}, a perceptron {of_perceptron:?}"
    );
    Ok(())
}
