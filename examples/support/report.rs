//! Text for the terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::io::IsTerminal;

/// A bar that counts epochs and has room for a message; invisible where there is no terminal to draw it
/// on, as in a pipe or a log file.
pub fn progress(epochs: u64) -> ProgressBar {
    let target = match std::io::stdout().is_terminal() {
        true => ProgressDrawTarget::stderr(), // hides itself if that is no terminal
        false => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template("epoch {pos} of {len} [{bar:30}] {msg}");
    let style = style.expect("the template is well formed").progress_chars("=> ");
    ProgressBar::with_draw_target(Some(epochs), target).with_style(style)
}

/// A bar that counts images, with how many a second and how long it will take; invisible where there is no
/// terminal.
pub fn progress_of_images(images: u64) -> ProgressBar {
    let template = "{percent:>3} % [{bar:16}] {rate} images/s, {eta} left; {wide_msg}";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let style = style.with_key("rate", |state: &ProgressState, text: &mut dyn Write| {
        let _ = write!(text, "{:.0}", state.per_sec()); // a bar that cannot be drawn is no failure
    });
    progress(images).with_style(style.progress_chars("=> "))
}

/// Leaves the bar as it is, with an empty line below.
pub fn finish(bar: ProgressBar) {
    bar.finish();
    if !bar.is_hidden() {
        println!("\n");
    }
}

/// How often each label was predicted as each class: one row a label, one column a prediction.
pub struct ConfusionMatrix {
    classes: Vec<String>,
    counts: Vec<Vec<usize>>,
}

impl ConfusionMatrix {
    /// Counts pairs of a label and a prediction.
    pub fn new(classes: &[&str], labels: &[i64], predictions: &[i64]) -> Self {
        let mut counts = vec![vec![0; classes.len()]; classes.len()];
        for (&label, &prediction) in labels.iter().zip(predictions) {
            counts[label as usize][prediction as usize] += 1;
        }
        ConfusionMatrix { classes: classes.iter().map(|class| class.to_string()).collect(), counts }
    }

    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// One row a label, one column a prediction.
    pub fn counts(&self) -> &[Vec<usize>] {
        &self.counts
    }

    /// How many predictions are the label.
    pub fn right(&self) -> usize {
        (0..self.counts.len()).map(|class| self.counts[class][class]).sum()
    }

    pub fn total(&self) -> usize {
        self.counts.iter().flatten().sum()
    }
}

impl std::fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let longest = self.classes.iter().map(String::len).max().unwrap_or(0);
        let (first, width) = (longest.max("label".len()), longest.max(5) + 2);
        writeln!(f, "  {:<first$}    predicted as", "")?;
        write!(f, "  {:<first$}  ", "label")?;
        for class in &self.classes {
            write!(f, "{class:>width$}")?;
        }
        for (class, counts) in self.classes.iter().zip(&self.counts) {
            write!(f, "\n  {class:<first$}  ")?;
            for count in counts {
                write!(f, "{count:>width$}")?;
            }
        }
        Ok(())
    }
}
