//! Times the cases of tapegrad's benchmarks beside other libraries, in turns and in one process, and
//! prints one JSON line for each case and library. `run` in this folder calls it.
//!
//! ```text
//! tapegrad-peers [WORD]              only the cases whose name contains the word
//! tapegrad-peers --list [WORD]       their names, nothing timed
//! tapegrad-peers --numbers           the numbers that all data begin with, as little-endian f32
//! ```

mod burn_flex;
mod candle;
#[path = "../../cases/mod.rs"]
mod cases;
mod dfdx_cpu;
mod measure;

use cases::{CASES, Case, Repeat, normal};
use std::error::Error;
use std::io::Write;

/// A library, the crate that tells its version, and its form of a case, if it has one.
type Library = (&'static str, &'static str, fn(Case) -> Option<Box<dyn Repeat>>);

const LIBRARIES: [Library; 5] = [
    ("tapegrad", "tapegrad", cases::ours::ready),
    ("hardware", "", cases::hardware::ready),
    ("candle", "candle-core", candle::ready),
    ("burn", "burn", burn_flex::ready),
    ("dfdx", "dfdx", dfdx_cpu::ready),
];

/// No case has more numbers in one place.
const MOST: usize = 256 * 128_256;

/// The version that the lock file holds.
fn version(package: &str) -> &'static str {
    let entry = format!("name = \"{package}\"\nversion = \"");
    let after = include_str!("../Cargo.lock").split_once(&entry).map_or("", |(_, after)| after);
    after.split('"').next().unwrap_or("")
}

/// Two numbers that tell whether libraries computed the same: the norm, and the product with the numbers
/// that all data begin with, which depends on what stands where.
fn digest(outcome: &[f32], numbers: &[f32]) -> [f64; 2] {
    let product =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    [product(outcome, outcome).sqrt(), product(outcome, numbers)]
}

fn main() -> Result<(), Box<dyn Error>> {
    let (options, words): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let asked = |wanted: &str| options.iter().any(|option| option == wanted);
    let chosen = |case: &&Case| words.iter().all(|word| case.to_string().contains(word.as_str()));
    let cases = CASES.iter().copied().filter(|case| chosen(&case));
    if asked("--list") {
        cases.for_each(|case| println!("{case}"));
        return Ok(());
    }
    let numbers = normal([MOST]);
    if asked("--numbers") {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        numbers.as_slice().iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))?;
        return Ok(out.flush()?);
    }
    for case in cases {
        let (libraries, mut repeats): (Vec<_>, Vec<_>) = LIBRARIES
            .iter()
            .filter_map(|&(name, package, ready)| Some(((name, package), ready(case)?)))
            .unzip();
        let digests: Vec<_> =
            repeats.iter_mut().map(|repeat| digest(&repeat.outcome(), numbers.as_slice())).collect();
        let seconds = measure::in_turns(&mut repeats);
        for (((library, package), digest), seconds) in libraries.into_iter().zip(digests).zip(seconds) {
            println!(
                "{}",
                serde_json::json!({
                    "case": case.to_string(),
                    "library": library,
                    "version": version(package),
                    "threads": rayon::current_num_threads(),
                    "ms": 1e3 * seconds,
                    "digest": digest,
                })
            );
        }
    }
    Ok(())
}
