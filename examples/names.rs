//! Learns how English words are spelt, letter by letter, and makes up new ones.
//!
//! ```text
//! cargo run --release --example names
//! ```
//!
//! From the last few letters the model predicts the next one: each letter is looked up in a table of
//! vectors, and two layers turn the vectors into scores for the 26 letters and the end of the word. The
//! table is learnt with the rest (Bengio et al., "A neural probabilistic language model", JMLR 3, 2003).
//! Drawing one letter after the other from the predicted probabilities makes new words.

mod support;

use clap::Parser;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::chart::{self, Line, Panel};
use support::report::{finish, progress};
use tapegrad::data::{Batches, train_test_split};
use tapegrad::nn::{Embedding, Flatten, Linear, Module, Parameters};
use tapegrad::optim::{AdamW, Optimizer, Schedule, clip_grad_norm};
use tapegrad::{Indices, Tensor, no_grad, parameters};

/// 26 letters, and one symbol for both ends of a word.
const SYMBOLS: usize = 27;
const END: i64 = 0;
/// How many letters the model sees.
const CONTEXT: usize = 4;
/// The length of the vector that stands for a letter.
const WIDTH: usize = 12;
const HIDDEN: usize = 192;
const BATCH: usize = 64;
const LEARNING_RATE: f64 = 4e-3;
/// No made-up word is longer.
const LONGEST: usize = 24;

/// Train a next-letter model on English words and let it make up new ones.
#[derive(Parser)]
struct Options {
    /// Passes over the training words [default: 12, or 1 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    epochs: Option<u64>,
    /// Where the random numbers start; the same seed gives the same results, bit for bit
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// One pass over a third of the words
    #[arg(long)]
    quick: bool,
    /// Folder for the picture
    #[arg(long, value_name = "DIR", default_value = "out/names")]
    out: PathBuf,
}

fn main() -> ExitCode {
    support::exit(run(&Options::parse()))
}

// ---- The model ---------------------------------------------------------------------------------

struct NextLetter {
    letters: Embedding,
    hidden: Linear,
    output: Linear,
}

parameters!(NextLetter { letters, hidden, output });

impl NextLetter {
    fn new(rng: &mut impl Rng) -> tapegrad::Result<Self> {
        Ok(NextLetter {
            letters: Embedding::new(SYMBOLS, WIDTH, rng)?,
            hidden: Linear::new(CONTEXT * WIDTH, HIDDEN, rng)?,
            output: Linear::new(HIDDEN, SYMBOLS, rng)?,
        })
    }

    /// The scores of each symbol as the next one, (samples, symbols), after contexts of shape (samples,
    /// letters).
    fn forward(&self, contexts: &Indices) -> tapegrad::Result<Tensor> {
        let letters = Flatten.forward(&self.letters.lookup(contexts)?)?;
        self.output.forward(&self.hidden.forward(&letters)?.tanh()?)
    }

    fn loss(&self, samples: &Samples) -> tapegrad::Result<Tensor> {
        self.forward(&samples.contexts)?.cross_entropy(&samples.next)
    }

    /// A word whose letters are drawn, one after the other, from the predicted probabilities.
    fn word(&self, rng: &mut impl Rng) -> tapegrad::Result<String> {
        no_grad(|| {
            let (mut context, mut word) = ([END; CONTEXT], String::new());
            while word.len() < LONGEST {
                let probabilities = self.forward(&Indices::new([context])?)?.softmax(1)?;
                let mut left: f32 = rng.random();
                let chosen = probabilities.as_slice().iter().position(|probability| {
                    left -= probability;
                    left < 0.0
                });
                let next = chosen.unwrap_or(0) as i64; // the rounded sum may be less than 1
                if next == END {
                    break;
                }
                word.push(char::from(b'a' + next as u8 - 1));
                context.rotate_left(1);
                context[CONTEXT - 1] = next;
            }
            Ok(word)
        })
    }
}

// ---- The run -----------------------------------------------------------------------------------

fn run(options: &Options) -> support::Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let words: Vec<&str> = include_str!("data/words.txt").lines().collect();
    let words: Vec<&str> = words.into_iter().step_by(if options.quick { 3 } else { 1 }).collect();
    let known: BTreeSet<&str> = words.iter().copied().collect();
    let (train, test) = train_test_split(words.len(), 0.1, &mut rng)?;
    let [train, test] = [&train, &test].map(|part| {
        let part = part.as_slice().iter().map(|&word| words[word as usize]);
        Samples::new(part)
    });
    let (train, test) = (train?, test?);

    let mut model = NextLetter::new(&mut rng)?;
    println!(
        "{} words; {} letters to train on, {} to test with; {} parameters\n",
        words.len(),
        train.len(),
        test.len(),
        model.parameter_count()
    );
    let (uniform, pairs) = ((SYMBOLS as f64).ln(), loss_of_pairs(&train, &test));
    println!("cross entropy per letter, in nats:");
    println!("  {uniform:.4}  all symbols equally likely: ln {SYMBOLS}");
    println!("  {pairs:.4}  pairs of letters, counted in the training words\n");

    let epochs = options.epochs.unwrap_or(if options.quick { 1 } else { 12 });
    let batches = (train.len() / BATCH) as u64;
    let schedule =
        Schedule::cosine(LEARNING_RATE, LEARNING_RATE / 100.0, epochs * batches).warm_up(100, 0.01);
    let mut optimizer = AdamW::new(LEARNING_RATE);
    let bar = progress(epochs * batches, "batches");

    println!("epoch   training   test     made up");
    let mut history: Vec<(f64, f64)> = Vec::new();
    let mut step = 0;
    for epoch in 1..=epochs {
        let mut sum = 0.0;
        for batch in Batches::shuffled(train.len(), BATCH, &mut rng)?.drop_last(true) {
            model.zero_grad();
            let loss = model.loss(&train.select(&batch)?)?;
            loss.backward()?;
            clip_grad_norm(&model, 1.0)?;
            optimizer.set_learning_rate(schedule.at(step));
            optimizer.step(&mut model)?;
            sum += f64::from(loss.item()?);
            step += 1;
            bar.inc(1);
        }
        let losses = (sum / batches as f64, f64::from(no_grad(|| model.loss(&test))?.item()?));
        history.push(losses);
        bar.set_message(format!("test loss {:.4}", losses.1));
        let words: Vec<String> = (0..6).map(|_| model.word(&mut rng)).collect::<tapegrad::Result<_>>()?;
        bar.suspend(|| println!("{epoch:>5}     {:.4}   {:.4}   {}", losses.0, losses.1, words.join(" ")));
    }
    finish(bar);

    let words: Vec<String> = (0..200).map(|_| model.word(&mut rng)).collect::<tapegrad::Result<_>>()?;
    println!("\nmade up by the trained model (* for words of the list):");
    let marked = |word: &String| format!("{word}{}", if known.contains(&word[..]) { "*" } else { "" });
    for row in words[..40].chunks(8) {
        println!("  {}", row.iter().map(marked).collect::<Vec<_>>().join(" "));
    }
    let new = words.iter().filter(|word| !known.contains(&word[..])).count();
    println!("\nof {} words, {new} are not in the list\n", words.len());

    println!("picture: {}", draw_history(&options.out, &history, uniform, pairs)?.display());
    let (train, test) = history[history.len() - 1];
    println!(
        "result new={} pairs_loss={pairs:.6} test_loss={test:.6} train_loss={train:.6}",
        new as f64 / 200.0
    );
    Ok(())
}

// ---- The data ----------------------------------------------------------------------------------

/// Contexts of letters, (samples, letters), and the symbol that follows each.
struct Samples {
    contexts: Indices,
    next: Indices,
}

impl Samples {
    /// Every letter of every word, and its end, after the letters before it.
    fn new<'a>(words: impl Iterator<Item = &'a str>) -> tapegrad::Result<Self> {
        let (mut contexts, mut next) = (Vec::new(), Vec::new());
        for word in words {
            let mut context = [END; CONTEXT];
            for symbol in word.bytes().map(|letter| i64::from(letter - b'a') + 1).chain([END]) {
                contexts.extend(context);
                next.push(symbol);
                context.rotate_left(1);
                context[CONTEXT - 1] = symbol;
            }
        }
        let contexts = Indices::from_vec(contexts, [next.len(), CONTEXT])?;
        Ok(Samples { contexts, next: Indices::new(next)? })
    }

    fn len(&self) -> usize {
        self.next.len()
    }

    fn select(&self, batch: &Indices) -> tapegrad::Result<Self> {
        Ok(Samples {
            contexts: self.contexts.index_select(0, batch)?,
            next: self.next.index_select(0, batch)?,
        })
    }

    /// The letter before each symbol, with the symbol.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let last = self.contexts.as_slice().iter().skip(CONTEXT - 1).step_by(CONTEXT);
        last.zip(self.next.as_slice()).map(|(&last, &next)| (last as usize, next as usize))
    }
}

/// The cross entropy of the test letters when each is predicted from the one before it, by how often the
/// two follow each other in the training words. Every count starts at 1, so that no probability is 0.
fn loss_of_pairs(train: &Samples, test: &Samples) -> f64 {
    let mut counts = [[1.0; SYMBOLS]; SYMBOLS];
    train.pairs().for_each(|(last, next)| counts[last][next] += 1.0);
    let loss = |(last, next): (usize, usize)| {
        let row: &[f64; SYMBOLS] = &counts[last];
        -(row[next] / row.iter().sum::<f64>()).ln()
    };
    test.pairs().map(loss).sum::<f64>() / test.len() as f64
}

// ---- The picture -------------------------------------------------------------------------------

fn draw_history(out: &Path, history: &[(f64, f64)], uniform: f64, pairs: f64) -> support::Result<PathBuf> {
    let curve = |name: &str, colour, dashed, value: &dyn Fn(usize) -> f64| {
        let points = (0..=history.len()).map(|epoch| (epoch as f64, value(epoch))).collect();
        Line { name: name.into(), colour, dashed, points }
    };
    // Before the first epoch the model knows nothing.
    let at = |epoch: usize, loss: &dyn Fn(&(f64, f64)) -> f64| match epoch {
        0 => uniform,
        _ => loss(&history[epoch - 1]),
    };
    let panel = Panel {
        y_label: "cross entropy per letter (nats)".into(),
        y_range: (1.6, 3.4),
        lines: vec![
            curve("all symbols\nequally likely", chart::GREY, true, &|_| uniform),
            curve("pairs of letters,\ncounted", chart::ORANGE, true, &|_| pairs),
            curve("training words", chart::BLUE, false, &|epoch| at(epoch, &|losses| losses.0)),
            curve("test words", chart::GREEN, false, &|epoch| at(epoch, &|losses| losses.1)),
        ],
        ..Panel::default()
    };
    let path = out.join("training.svg");
    chart::curves(&path, &["Learning to spell"], "epoch", &[panel])?;
    Ok(path)
}
