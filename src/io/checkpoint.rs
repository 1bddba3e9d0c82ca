//! Everything that a run needs to go on where it stopped.

use super::format::{Header, format_error, write};
use super::{assign, differences, refuse, shapes};
use crate::error::{Difference, Error, Result};
use crate::float::Float;
use crate::nn::{ChaCha8Rng, Name, Parameters};
use crate::optim::{Optimizer, OptimizerState, ParameterState};
use crate::tensor::model::Tensor;
use rand::SeedableRng;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

/// A run at one moment: models with their generators, optimizers, generators, numbers and other tensors, each under a
/// name; saved in one file. What is restored from it goes on bit for bit as the run would have.
///
/// It holds the values as they were when they were put in; later changes to the model do not reach it.
///
/// ```
/// use rand::{RngExt, SeedableRng};
/// use tapegrad::io::Checkpoint;
/// use tapegrad::nn::{ChaCha8Rng, Linear};
/// use tapegrad::optim::AdamW;
///
/// # fn main() -> tapegrad::Result<()> {
/// # let path = std::env::temp_dir().join(format!("tapegrad-doc-run-{}", std::process::id()));
/// let mut rng = ChaCha8Rng::seed_from_u64(42);
/// let mut model: Linear = Linear::new(3, 2, &mut rng)?;
/// let optimizer = AdamW::new(1e-3);
/// // .. train, then:
/// let mut checkpoint = Checkpoint::new();
/// checkpoint.insert("model", &mut model)?;
/// checkpoint.insert_optimizer("optimizer", &optimizer)?;
/// checkpoint.insert_generator("shuffling", &rng)?;
/// checkpoint.insert_value("epoch", 7)?;
/// checkpoint.save(&path)?;
///
/// // In another process:
/// let checkpoint: Checkpoint = Checkpoint::load(&path)?;
/// let mut resumed: Linear = Linear::new(3, 2, &mut ChaCha8Rng::seed_from_u64(0))?;
/// checkpoint.restore("model", &mut resumed)?;
/// let mut optimizer = AdamW::new(0.0);
/// checkpoint.restore_optimizer("optimizer", &mut optimizer)?;
/// let mut generator = checkpoint.generator("shuffling")?;
/// let epoch: u32 = checkpoint.value("epoch")?;
///
/// assert_eq!(resumed.weight.to_vec(), model.weight.to_vec());
/// assert_eq!(generator.random::<u64>(), rng.random::<u64>());
/// assert_eq!(epoch, 7);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok(())
/// # }
/// ```
///
/// The tensors of the model are in the file as `model.weight` and so on; the rest is text in the file's
/// metadata.
#[derive(Debug, Clone)]
pub struct Checkpoint<T: Float = f32> {
    tensors: BTreeMap<String, Tensor<T>>,
    texts: BTreeMap<String, String>,
}

impl<T: Float> Default for Checkpoint<T> {
    fn default() -> Self {
        Checkpoint { tensors: BTreeMap::new(), texts: BTreeMap::new() }
    }
}

impl<T: Float> Checkpoint<T> {
    /// Nothing yet.
    pub fn new() -> Self {
        Checkpoint::default()
    }

    /// Puts in the parameters of a model and the states of the generators that it owns. The model is not
    /// changed.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is taken.
    pub fn insert(&mut self, name: &str, model: &mut (impl Parameters<T> + ?Sized)) -> Result<()> {
        let root = Name::root();
        let root = root.field(name);
        let mut new = Checkpoint::default();
        let mut outcome = Ok(());
        let mut keep = |result: Result<()>| {
            if outcome.is_ok() {
                outcome = result;
            }
        };
        model.visit(&root, &mut |name, parameter| keep(new.put_tensor(&name.to_string(), parameter)));
        model.visit_generators(&root, &mut |name, rng| keep(new.insert_generator(&name.to_string(), rng)));
        outcome?;
        self.merge(new)
    }

    /// Puts in tensors that belong together, each under a name of its own.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is taken.
    pub fn insert_tensors<'a>(
        &mut self,
        name: &str,
        tensors: impl IntoIterator<Item = (impl Display, &'a Tensor<T>)>,
    ) -> Result<()> {
        let mut new = Checkpoint::default();
        for (inner, tensor) in tensors {
            new.put_tensor(&format!("{name}.{inner}"), tensor)?;
        }
        self.merge(new)
    }

    /// Puts in what an optimizer remembers, and its learning rate.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is taken.
    pub fn insert_optimizer(&mut self, name: &str, optimizer: &(impl Optimizer<T> + ?Sized)) -> Result<()> {
        let mut new = Checkpoint::default();
        let mut entries = Vec::new();
        for ParameterState { name: parameter, steps, buffers } in &optimizer.state().parameters {
            for (index, buffer) in buffers.iter().enumerate() {
                new.put_tensor(&buffer_name(name, parameter, index), buffer)?;
            }
            entries.push((&parameter[..], *steps, buffers.len()));
        }
        // As text, which keeps every digit.
        let summary: SummaryOf<&str> = (optimizer.learning_rate().to_string(), entries);
        new.put_text(format!("{OPTIMIZER}{name}"), serde_json::json!(summary).to_string())?;
        self.merge(new)
    }

    /// Gives an optimizer of the same kind and options what it remembered, and its learning rate.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is none of this name or its state makes no sense, [`Error::Parameter`]
    /// if this optimizer cannot have written it. The optimizer is unchanged then.
    pub fn restore_optimizer(&self, name: &str, optimizer: &mut (impl Optimizer<T> + ?Sized)) -> Result<()> {
        let text = self.text(OPTIMIZER, name, "the name of an optimizer in the checkpoint")?;
        let (learning_rate, parameters) =
            self.optimizer_state(name, text).ok_or_else(|| Error::Argument {
                op: "Checkpoint::restore_optimizer",
                name: "the state of the optimizer",
                value: format!("{text:?}"),
                allowed: "[learning rate, [[parameter, steps, buffers], ..]], with as many tensors",
            })?;
        optimizer.set_state(OptimizerState { parameters })?;
        optimizer.set_learning_rate(learning_rate);
        Ok(())
    }

    /// The learning rate and the state that a summary describes.
    fn optimizer_state(&self, name: &str, summary: &str) -> Option<(f64, Vec<ParameterState<T>>)> {
        let (learning_rate, entries): SummaryOf<String> = serde_json::from_str(summary).ok()?;
        let parameters = entries.into_iter().map(|(parameter, steps, count)| {
            let buffers =
                (0..count).map(|index| self.tensors.get(&buffer_name(name, &parameter, index)).cloned());
            let buffers = buffers.collect::<Option<Vec<_>>>()?;
            Some(ParameterState { name: parameter, steps, buffers })
        });
        Some((learning_rate.parse().ok()?, parameters.collect::<Option<_>>()?))
    }

    /// Puts in the state of a generator.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is taken.
    pub fn insert_generator(&mut self, name: &str, rng: &ChaCha8Rng) -> Result<()> {
        let seed: String = rng.get_seed().iter().map(|byte| format!("{byte:02x}")).collect();
        let state = format!("chacha8 {seed} {} {}", rng.get_stream(), rng.get_word_pos());
        self.put_text(format!("{GENERATOR}{name}"), state)
    }

    /// Puts in a number or any other value that can be written as text and read again: an epoch, a
    /// position, a best loss.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is taken.
    pub fn insert_value(&mut self, name: &str, value: impl Display) -> Result<()> {
        self.put_text(format!("{VALUE}{name}"), value.to_string())
    }

    /// Gives a model the values that its parameters and generators had.
    ///
    /// # Errors
    /// [`Error::StateMismatch`] if the names and shapes below `name` are not those of the model,
    /// [`Error::NotLeaf`] if a parameter is the result of a recorded step, [`Error::Argument`] for a state of
    /// a generator that makes no sense, [`Error::OutOfMemory`]. The model is unchanged then.
    pub fn restore(&self, name: &str, model: &mut (impl Parameters<T> + ?Sized)) -> Result<()> {
        let op = "restore";
        let expected = shapes(op, model)?;
        let mut generators = Vec::new();
        model.visit_generators(&Name::root(), &mut |name, _| generators.push(name.to_string()));

        let tensors = self.tensors(name);
        let found = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
        let mut differences = differences(expected, &found);
        let mut states = BTreeMap::new();
        let prefix = format!("{GENERATOR}{name}");
        for (key, state) in self.texts.range(prefix.clone()..) {
            let Some(inner) = below(&key[..], &prefix) else { continue };
            match generators.iter().any(|name| name == inner) {
                true => drop(states.insert(inner.to_string(), generator(state)?)),
                false => differences.push(Difference::UnexpectedGenerator { name: inner.into() }),
            }
        }
        let missing = generators.into_iter().filter(|name| !states.contains_key(name));
        differences.extend(missing.map(|name| Difference::MissingGenerator { name }));
        refuse(op, differences)?;

        assign(model, &tensors)?;
        model.visit_generators(&Name::root(), &mut |name, rng| {
            if let Some(state) = states.remove(&name.to_string()) {
                *rng = state;
            }
        });
        Ok(())
    }

    /// The tensors that were put in under a name, under their own names: those of
    /// [`insert_tensors`](Checkpoint::insert_tensors), or the parameters of a model.
    pub fn tensors(&self, name: &str) -> BTreeMap<String, Tensor<T>> {
        let inner = self.tensors.range(name.to_string()..).map(|(key, tensor)| (below(key, name), tensor));
        inner.filter_map(|(key, tensor)| Some((key?.to_string(), tensor.clone()))).collect()
    }

    /// A generator in the state in which it was put in.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is none of this name, or its state makes no sense.
    pub fn generator(&self, name: &str) -> Result<ChaCha8Rng> {
        generator(self.text(GENERATOR, name, "the name of a generator in the checkpoint")?)
    }

    /// A value, read from the text of what was put in.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is none of this name, or it cannot be read as this type.
    pub fn value<V: FromStr>(&self, name: &str) -> Result<V> {
        let text = self.text(VALUE, name, "the name of a value in the checkpoint")?;
        text.parse().map_err(|_| Error::Argument {
            op: "Checkpoint::value",
            name: "the value",
            value: format!("{text:?} under {name:?}"),
            allowed: "readable as the type that is asked for",
        })
    }

    /// Saves all of it in one file, [atomically](crate::io).
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written; the old one is still there then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let tensors: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
        write("Checkpoint::save", path.as_ref(), &tensors, &self.texts)
    }

    /// Loads what was [saved](Checkpoint::save).
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, [`Error::FileFormat`] if it is not whole,
    /// [`Error::StateMismatch`] if there are tensors of another precision than `T`, [`Error::OutOfMemory`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let (op, path) = ("Checkpoint::load", path.as_ref());
        let header = Header::open(op, path)?;
        refuse(op, header.other_precisions::<T>().collect())?;
        let texts = header.texts();
        for (name, state) in texts.iter().filter(|(name, _)| name.starts_with(GENERATOR)) {
            generator(state).map_err(|error| format_error(op, path, format!("{name}: {error}")))?;
        }
        Ok(Checkpoint { tensors: header.read()?, texts })
    }

    fn put_tensor(&mut self, name: &str, tensor: &Tensor<T>) -> Result<()> {
        match self.tensors.insert(name.to_string(), tensor.detach()) {
            None => Ok(()),
            Some(_) => Err(taken(name)),
        }
    }

    fn put_text(&mut self, key: String, text: String) -> Result<()> {
        match self.texts.contains_key(&key) {
            true => Err(taken(&key)),
            false => {
                self.texts.insert(key, text);
                Ok(())
            }
        }
    }

    /// Adds what another one holds: all of it or nothing.
    fn merge(&mut self, new: Checkpoint<T>) -> Result<()> {
        let taken_tensor = new.tensors.keys().find(|name| self.tensors.contains_key(*name));
        if let Some(name) = taken_tensor.or(new.texts.keys().find(|name| self.texts.contains_key(*name))) {
            return Err(taken(name));
        }
        self.tensors.extend(new.tensors);
        self.texts.extend(new.texts);
        Ok(())
    }

    fn text(&self, kind: &str, name: &str, allowed: &'static str) -> Result<&str> {
        let (op, what, value) = ("Checkpoint", "the name", format!("{name:?}"));
        let text = self.texts.get(&format!("{kind}{name}")).map(String::as_str);
        text.ok_or(Error::Argument { op, name: what, value, allowed })
    }
}

/// What the keys of the metadata begin with.
const GENERATOR: &str = "generator ";
const VALUE: &str = "value ";
const OPTIMIZER: &str = "optimizer ";

/// The learning rate of an optimizer; for each parameter its name, its steps, and the number of its tensors.
type SummaryOf<N> = (String, Vec<(N, u64, usize)>);

/// Under what name a tensor of an optimizer is kept.
fn buffer_name(optimizer: &str, parameter: &str, index: usize) -> String {
    format!("{optimizer}.{parameter}.{index}")
}

/// The rest of a path below another one: nothing if they are the same.
fn below<'a>(path: &'a str, parent: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(parent)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('.') }
}

fn taken(name: &str) -> Error {
    let (op, what, value) = ("Checkpoint::insert", "the name", format!("{name:?}"));
    Error::Argument { op, name: what, value, allowed: "used once" }
}

/// A generator from the text of its state: "chacha8", the seed in hexadecimal digits, the stream, the
/// position in words of 32 bits.
fn generator(state: &str) -> Result<ChaCha8Rng> {
    let parse = || {
        let mut parts = state.split(' ');
        let (kind, digits, stream, position) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hexadecimal = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if kind != "chacha8" || !hexadecimal || parts.next().is_some() {
            return None;
        }
        let mut seed = [0; 32];
        for (i, byte) in seed.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()?;
        }
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(stream.parse().ok()?);
        rng.set_word_pos(position.parse().ok()?);
        Some(rng)
    };
    let (op, name, allowed) =
        ("Checkpoint", "the state of a generator", "\"chacha8 <seed> <stream> <position>\"");
    parse().ok_or_else(|| Error::Argument { op, name, value: format!("{state:?}"), allowed })
}
