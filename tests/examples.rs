//! Runs the examples in their quick mode, as a reader would.

mod running;

use running::{files, folder, printed, results, run, run_without_out, text};
use std::fs;

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
    for part in ["CrossEntropy(%2)", "untrained model", "raw logits", "trained model", "confusion matrix"] {
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

#[test]
fn cross_entropy_by_hand_and_fused_agree_to_the_last_digits() {
    let out = folder("cross_entropy_by_hand");
    let output = printed(&run("cross_entropy_by_hand", &["--quick"], &out));
    let result = results(&output);
    assert_eq!((result["loss"], result["fused_loss"]), (1.333651, 1.333651));
    assert!(result["gradient_difference"] < 1e-7, "{output}");
    let told = [
        "softmax(1) gives the same",
        "Gather",
        "minus the logarithm",
        "The mean",
        "fused loss",
        "The gradient",
    ];
    let places: Vec<usize> =
        told.iter().map(|part| output.find(part).unwrap_or_else(|| panic!("{part}\n{output}"))).collect();
    assert!(places.is_sorted(), "in the order of a tutorial: {places:?}");
    let pages = files(&out);
    let names = ["tape_by_hand.html", "tape_by_hand.svg", "tape_fused.html", "tape_fused.svg"];
    assert_eq!(pages.keys().collect::<Vec<_>>(), names);
}

#[test]
fn nll_curve_shows_a_slope_where_accuracy_has_none() {
    let out = folder("nll_curve");
    let output = printed(&run("nll_curve", &["--quick"], &out));
    let result = results(&output);
    assert_eq!((result["slope_at_0.05"], result["slope_at_0.95"]), (-20.0, -1.0526));
    assert_eq!(result["slope_of_accuracy"], 0.0);
    assert!(files(&out)["nll_curve.svg"].contains("slope of the accuracy,"));
}

#[test]
fn custom_op_passes_the_check_and_its_mistaken_twin_does_not() {
    for seed in ["42", "7"] {
        let out = folder("custom_op");
        let output = printed(&run("custom_op", &["--quick", "--seed", seed], &out));
        let result = results(&output);
        assert_eq!((result["slope"], result["curvature"]), (0.761594, 0.419974)); // tanh 1, 1 - tanh² 1
        assert!(output.contains("a rule with a mistake does not pass"), "{output}");
        let pictures = files(&out);
        assert_eq!(pictures.keys().collect::<Vec<_>>(), ["log_cosh.svg", "tape.svg"]);
        assert!(pictures["tape.svg"].contains("y = ln cosh x"));
    }
}

#[test]
fn data_parallel_gives_the_same_bits_on_any_number_of_threads() {
    let out = folder("data_parallel");
    let output = printed(&run("data_parallel", &["--quick", "--threads", "1,2,3,5,8,16"], &out));
    let result = results(&output);
    assert_eq!(result["identical"], 1.0, "{output}");
    let prints: Vec<&str> = (output.lines().filter(|line| line.contains(" ms ")))
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    assert!(
        prints.len() == 6 && prints.iter().all(|print| print.len() == 16 && *print == prints[0]),
        "{output}"
    );
    assert!(files(&out)["losses.svg"].contains("16 threads"));
    let refused = run("data_parallel", &["--threads", "0"], &out);
    assert!(!refused.status.success() && text(&refused.stderr).contains("invalid value '0' for '--threads"));
}

#[test]
fn softmax_collapse_stops_the_plain_formula_and_not_ours() {
    let out = folder("softmax_collapse");
    let output = printed(&run("softmax_collapse", &["--quick"], &out));
    let result = results(&output);
    assert!(result["plain_zero"] > 0.3 && result["ours_lossless_by_plain"] > 0.9, "{output}");
    assert_eq!(result["ours_zero"], 0.0);
    assert!(result["ours_loss"] < 5e-8 && result["ours_loss"] > 0.0, "{output}");
    assert!(result["plain_loss"] > result["ours_loss"], "{output}");
    assert_eq!(files(&out).keys().collect::<Vec<_>>(), ["softmax_collapse.svg"]);
}

#[test]
fn wine_finds_the_coefficients_of_scikit_learn_in_fewer_than_a_hundred_evaluations() {
    for options in [&["--quick"][..], &["--seed", "1"], &["--seed", "2"]] {
        let out = folder("wine");
        let output = printed(&run("wine", options, &out));
        let result = results(&output);
        let keys: Vec<&str> = result.keys().copied().collect();
        assert_eq!(keys, ["evaluations", "max_difference", "objective"]);
        let difference = if options == ["--quick"] { 1e-6 } else { 1e-9 };
        assert!(result["max_difference"] < difference, "{output}");
        assert!(result["evaluations"] < 100.0, "{output}");
        assert!((result["objective"] - 0.06792323468457989).abs() < 1e-14, "{output}");
        assert!(output.contains("accuracy: 100.00 %"), "{output}"); // 178 of 178, as scikit-learn has it
        assert_eq!(files(&out).keys().collect::<Vec<_>>(), ["convergence.svg", "regions.svg"]);
    }
    let refused = run("wine", &["--seed", "x"], &folder("wine"));
    assert!(!refused.status.success() && text(&refused.stderr).contains("invalid value 'x' for '--seed"));
}

#[test]
fn names_learns_more_than_pairs_of_letters_tell_and_repeats_itself_bit_for_bit() {
    let (first, second) = (folder("names_1"), folder("names_2"));
    let output = printed(&run("names", &["--quick"], &first));
    let result = results(&output);
    // ln 27 = 3.2958 for a guess.
    assert!(result["test_loss"] < result["pairs_loss"] - 0.05 && result["pairs_loss"] < 2.6, "{output}");
    assert!(result["new"] > 0.5, "{output}");
    assert!(!output.contains(['\r', '\u{1b}']), "a progress bar was drawn into a pipe");
    assert_eq!(files(&first).keys().collect::<Vec<_>>(), ["training.svg"]);

    let again = printed(&run("names", &["--quick"], &second));
    let words = |output: &str| output.lines().filter(|line| !line.starts_with("picture")).collect::<String>();
    assert_eq!(words(&again), words(&output));
    assert_eq!(files(&second), files(&first));
    assert_ne!(results(&printed(&run("names", &["--quick", "--seed", "7"], &second))), result);
    let refused = run("names", &["--epochs", "0"], &second);
    assert!(!refused.status.success() && text(&refused.stderr).contains("invalid value '0' for '--epochs"));
}

#[test]
fn every_example_helps() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = (fs::read_dir(folder).unwrap())
        .filter_map(|file| Some(file.unwrap().file_name().to_str()?.strip_suffix(".rs")?.to_string()))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    let ci = fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    for name in &names {
        let help = printed(&run_without_out(name, &["--help"]));
        for option in ["Usage:", "--seed", "--quick", "--out"] {
            assert!(help.contains(option), "{name}: {help}");
        }
        assert!(
            ci.split_whitespace().any(|word| word.trim_end_matches(';') == name),
            "{name} is not run by .ci/run"
        );
    }
}

#[test]
fn digits_learns_to_read_and_repeats_itself_bit_for_bit() {
    let (first, second) = (folder("digits_1"), folder("digits_2"));
    let output = printed(&run("digits", &["--quick"], &first));
    let result = results(&output);
    let keys: Vec<&str> = result.keys().copied().collect();
    assert_eq!(keys, ["mistakes", "test_accuracy", "test_loss", "train_accuracy"]);
    // A guess is right in 10 % of the images.
    assert!(result["test_accuracy"] > 0.8 && result["train_accuracy"] > 0.85, "{output}");
    assert_eq!(result["mistakes"], (100.0 * (1.0 - result["test_accuracy"])).round());
    assert!(output.contains("500 images of 8x8 pixels, 100 of them to test with"), "{output}");
    assert!(output.contains("2.weight   [32, 16, 3, 3]"), "{output}");
    assert!(!output.contains(['\r', '\u{1b}']), "a progress bar was drawn into a pipe");
    let pictures = files(&first);
    assert_eq!(pictures.keys().collect::<Vec<_>>(), ["confusion.svg", "mistakes.svg", "training.svg"]);
    let squares = pictures["mistakes.svg"].matches("read as").count();
    assert_eq!(squares as f64, result["mistakes"]);

    let again = printed(&run("digits", &["--quick"], &second));
    assert_eq!(again.lines().last(), output.lines().last());
    assert_eq!(files(&second), pictures);

    // In folds, every image is tested once.
    let output =
        printed(&run("digits", &["--quick", "--folds", "3", "--epochs", "1", "--seed", "7"], &second));
    assert!(output.contains("network 3") && output.contains("mean"), "{output}");
    assert!(files(&second)["confusion.svg"].contains("of 500 test images"), "{output}");
    let refused = run("digits", &["--folds", "1"], &folder("digits_2"));
    assert!(!refused.status.success() && text(&refused.stderr).contains("invalid value '1' for '--folds"));
}
