//! What the examples share besides the library: a progress bar, tables and pictures.

#![allow(dead_code)] // each example is a program of its own and uses a part of this

pub mod chart;
pub mod fit;
pub mod images;
pub mod report;
pub mod solve;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The result of an example: errors of the library, of files and of the examples themselves alike.
pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Ends a program. If there was an error, it is printed, and the exit code is that of a failure.
pub fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes a file, and makes its folder if there is none.
pub fn write(path: &Path, content: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    fs::write(path, content).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
