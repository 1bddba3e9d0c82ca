//! Text for the terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::io::IsTerminal;

/// A bar that counts epochs, steps or whatever is named. It shows the rate, the time left and a message. Where there
/// is no terminal to draw it on, as in a pipe or a log file, it is invisible.
pub fn progress(total: u64, what: &str) -> ProgressBar {
    let target = match std::io::stdout().is_terminal() {
        true => ProgressDrawTarget::stderr(), // hides itself if that is no terminal
        false => ProgressDrawTarget::hidden(),
    };
    let template = format!("{{percent:>3}} % [{{bar:16}}] {{rate}} {what}/s, {{eta}} left; {{wide_msg}}");
    let style = ProgressStyle::with_template(&template).expect("the template is well formed");
    let style = style.with_key("rate", |state: &ProgressState, text: &mut dyn Write| {
        let digits = if state.per_sec() < 10.0 { 1 } else { 0 };
        let _ = write!(text, "{:.digits$}", state.per_sec()); // a bar that cannot be drawn is no failure
    });
    ProgressBar::with_draw_target(Some(total), target).with_style(style.progress_chars("=> "))
}

/// A bar that counts images.
pub fn progress_of_images(images: u64) -> ProgressBar {
    progress(images, "images")
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
