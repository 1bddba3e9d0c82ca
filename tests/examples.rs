//! Runs the examples in their quick mode, as a reader would.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that does not exist at the start of a test, below the build's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    folder
}

/// Runs an example, which is built first if it is out of date.
fn run(example: &str, options: &[&str], out: &Path) -> Output {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--quiet", "--offline", "--target-dir"]);
    command.arg(target);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.args(["--example", example, "--"]).args(options).arg("--out").arg(out).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a run printed that must succeed.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The pairs of the last line, `result key=value key=value ..`.
fn results(printed: &str) -> BTreeMap<&str, f64> {
    let line = printed.lines().last().unwrap().strip_prefix("result ").unwrap();
    let pairs = line.split(' ').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(key, value)| (key, value.parse().unwrap())).collect()
}

/// The names and contents of the files in a folder.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    paths.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn three_class_learns_and_repeats_itself_bit_for_bit() {
    let (first, second) = (folder("three_class_1"), folder("three_class_2"));
    let output = printed(&run("three_class", &["--quick"], &first));
    let result = results(&output);
    let keys: Vec<&str> = result.keys().copied().collect();
    assert_eq!(keys, ["test_accuracy", "test_loss", "train_accuracy", "train_loss"]);
    // A guess would cost 1.0986 nats and be right in 33 % of the samples; the inputs' own argmax is
    // right in 80 %.
    assert!(result["train_accuracy"] > 0.7 && result["test_accuracy"] > 0.7, "{output}");
    assert!(result["train_loss"] < 0.9 && result["test_loss"] < 0.9, "{output}");
    for part in ["CrossEntropy(%3)", "untrained model", "raw logits", "trained model", "confusion matrix"] {
        assert!(output.contains(part), "{part} is missing in\n{output}");
    }
    assert!(!output.contains(['\r', '\u{1b}']), "a progress bar was drawn into a pipe");

    let pictures = files(&first);
    assert_eq!(pictures.keys().collect::<Vec<_>>(), ["regions.svg", "training.svg"]);
    assert!(pictures["training.svg"].contains("cross entropy (nats)"));
    assert!(pictures["regions.svg"].contains("class 2"));

    let again = printed(&run("three_class", &["--quick"], &second));
    let numbers = |output: &str| {
        let lines = output.lines().filter(|line| !line.starts_with("picture: ")); // their paths differ
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&again), numbers(&output));
    assert_eq!(files(&second), pictures);
    let other = printed(&run("three_class", &["--quick", "--seed", "7"], &second));
    assert_ne!(results(&other), result);
}

#[test]
fn three_class_takes_the_smallest_run() {
    let out = folder("three_class_small");
    let output = printed(&run("three_class", &["--samples", "10", "--epochs", "1"], &out));
    assert!(output.starts_with("8 samples to train on, 2 to test with"), "{output}");
}

#[test]
fn three_class_refuses_bad_options_in_words() {
    let out = folder("three_class_refused");
    let refused = |options: &[&str], message: &str| {
        let output = run("three_class", &[&["--quick"], options].concat(), &out);
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(message), "{options:?}: {error}");
        assert!(!error.contains("panicked"), "{options:?}: {error}");
    };
    refused(&["--epochs", "0"], "invalid value '0' for '--epochs");
    refused(&["--samples", "9"], "invalid value '9' for '--samples");
    refused(&["--seed", "x"], "invalid value 'x' for '--seed");
    refused(&["--learning-rate=-1"], "must be a finite number above 0");
    refused(&["--learning-rate", "nan"], "must be a finite number above 0");
    refused(&["--learning-rate", "1e38"], "try a smaller --learning-rate");
    assert!(!out.exists(), "a run that failed wrote pictures");
    fs::write(&out, "a file where the folder should be").unwrap();
    refused(&[], "error: cannot make the folder");
    fs::remove_file(&out).unwrap();
}

#[test]
fn iris_finds_the_coefficients_of_scikit_learn_from_any_start() {
    for options in [&["--quick"][..], &["--seed", "1"], &["--seed", "2"]] {
        let out = folder("iris");
        let output = printed(&run("iris", options, &out));
        let result = results(&output);
        assert_eq!(result.keys().copied().collect::<Vec<_>>(), ["max_difference", "objective"]);
        assert!(result["max_difference"] < 1e-6, "{output}");
        assert!((result["objective"] - 0.1925754440272833).abs() < 1e-14, "{output}");
        assert!(output.contains("accuracy: 97.33 %"), "{output}"); // 146 of 150, as scikit-learn has it
        assert_eq!(files(&out).keys().collect::<Vec<_>>(), ["convergence.svg", "regions.svg"]);
    }
}
