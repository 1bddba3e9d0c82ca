//! Running the examples as a reader would.

#![allow(dead_code)] // two test programs use a part each

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that does not exist at the start of a test, below the build's own.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    folder
}

/// Runs an example, which is built first if it is out of date, with a folder for what it writes.
pub fn run(example: &str, options: &[&str], out: &Path) -> Output {
    command(example, options).arg("--out").arg(out).output().unwrap()
}

/// Runs an example without naming a folder.
pub fn run_without_out(example: &str, options: &[&str]) -> Output {
    command(example, options).output().unwrap()
}

fn command(example: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--quiet", "--offline", "--target-dir"]);
    command.arg(target);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.args(["--example", example, "--"]).args(options);
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a run printed that must succeed.
pub fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The pairs of the last line, `result key=value key=value ..`.
pub fn results(printed: &str) -> BTreeMap<&str, f64> {
    let line = printed.lines().last().unwrap().strip_prefix("result ").unwrap();
    let pairs = line.split(' ').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(key, value)| (key, value.parse().unwrap())).collect()
}

/// The names and contents of the files in a folder.
pub fn files(folder: &Path) -> BTreeMap<String, String> {
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    paths.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}
