//! What the examples share besides the library: a progress bar, tables and pictures.

#![allow(dead_code)] // each example is a program of its own and uses a part of this

pub mod chart;
pub mod report;
pub mod solve;

use std::error::Error;
use std::process::ExitCode;

/// The result of an example: errors of the library, of files and of the examples themselves alike.
pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Ends a program: an error is printed in its own words, and the exit code tells of it.
pub fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
