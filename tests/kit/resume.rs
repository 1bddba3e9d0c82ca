//! A run that is interrupted at any step, in the middle of an epoch too, and goes on from what it wrote
//! down, is the run that was never interrupted.

use rand::{Rng, SeedableRng};
use tapegrad::data::Batches;
use tapegrad::nn::{ChaCha8Rng, Dropout, Linear, Module, Name, Parameters, Relu, Sequential};
use tapegrad::optim::{AdamW, Optimizer, OptimizerState, Schedule, clip_grad_norm};
use tapegrad::{Indices, Result, Tensor};

const SAMPLES: usize = 20;
const BATCH: usize = 6;

struct Run {
    model: Sequential,
    optimizer: AdamW,
    rng: ChaCha8Rng,
    /// The state of the generator when the present epoch began.
    epoch: GeneratorState,
    batches: Batches,
    step: u64,
}

/// Seed, stream and position.
type GeneratorState = ([u8; 32], u64, u128);

/// What is written down: plain values.
struct Saved {
    parameters: Vec<Vec<f32>>,
    generators: Vec<GeneratorState>,
    optimizer: OptimizerState,
    step: u64,
}

fn state(rng: &ChaCha8Rng) -> GeneratorState {
    (rng.get_seed(), rng.get_stream(), rng.get_word_pos())
}

fn generator((seed, stream, position): GeneratorState) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::from_seed(seed);
    rng.set_stream(stream);
    rng.set_word_pos(position);
    rng
}

impl Run {
    fn new(seed: u64) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let model = Sequential::new()
            .with(Linear::new(3, 8, &mut rng)?)
            .with(Relu)
            .with(Dropout::new(0.4, &mut rng)?)
            .with(Linear::new(8, 2, &mut rng)?);
        let epoch = state(&rng);
        let batches = Batches::shuffled(SAMPLES, BATCH, &mut rng)?;
        Ok(Run { model, optimizer: AdamW::new(0.0), rng, epoch, batches, step: 0 })
    }

    fn train(&mut self, steps: u64) -> Result<()> {
        let schedule = Schedule::cosine(0.05, 0.001, 20).warm_up(3, 0.1);
        let inputs = Tensor::arange(0.0, 60.0, 1.0)?.mul(0.7)?.reshape([SAMPLES as isize, 3])?.tanh()?;
        let labels: Indices = (0..SAMPLES as i64).map(|i| i % 2).collect();
        for _ in 0..steps {
            let batch = match self.batches.next() {
                Some(batch) => batch,
                None => {
                    self.epoch = state(&self.rng);
                    self.batches = Batches::shuffled(SAMPLES, BATCH, &mut self.rng)?;
                    self.batches.next().expect("an epoch has a batch")
                }
            };
            self.optimizer.set_learning_rate(schedule.at(self.step));
            self.model.zero_grad();
            let logits = self.model.forward(&inputs.index_select(0, &batch)?)?;
            logits.cross_entropy(labels.index_select(0, &batch)?)?.backward()?;
            clip_grad_norm(&self.model, 0.5)?;
            self.optimizer.step(&mut self.model)?;
            self.step += 1;
        }
        Ok(())
    }

    fn save(&mut self) -> Saved {
        let mut generators = vec![self.epoch];
        self.model.visit_generators(&Name::root(), &mut |_, rng| generators.push(state(rng)));
        Saved {
            parameters: self.model.named_parameters().iter().map(|(_, value)| value.to_vec()).collect(),
            generators,
            optimizer: self.optimizer.state().clone(),
            step: self.step,
        }
    }

    /// A run that starts from another seed and then takes over what was saved.
    fn resume(saved: &Saved) -> Result<Self> {
        let mut run = Run::new(99)?;
        let mut parameters = saved.parameters.iter();
        run.model.visit_mut(&Name::root(), &mut |_, parameter| {
            parameter.as_mut_slice().unwrap().copy_from_slice(parameters.next().unwrap());
        });
        let mut generators = saved.generators.iter().copied();
        run.epoch = generators.next().expect("the generator of the batches");
        run.model.visit_generators(&Name::root(), &mut |_, rng| *rng = generator(generators.next().unwrap()));
        run.optimizer.set_state(saved.optimizer.clone())?;
        run.step = saved.step;
        // The epoch's order again, without the batches that are done; 4 batches make an epoch.
        run.rng = generator(run.epoch);
        run.batches = Batches::shuffled(SAMPLES, BATCH, &mut run.rng)?;
        let done = if saved.step == 0 { 0 } else { (saved.step - 1) % 4 + 1 };
        (0..done).for_each(|_| drop(run.batches.next()));
        Ok(run)
    }
}

#[test]
fn a_run_goes_on_bit_for_bit_wherever_it_was_interrupted() -> Result<()> {
    let mut whole = Run::new(1)?;
    whole.train(14)?;
    let expected = whole.save();
    for interrupted_at in 0..14 {
        let mut run = Run::new(1)?;
        run.train(interrupted_at)?;
        let saved = run.save();
        run.train(2)?; // what was saved does not change with it
        let mut resumed = Run::resume(&saved)?;
        resumed.train(14 - interrupted_at)?;
        let end = resumed.save();
        assert_eq!(end.parameters, expected.parameters, "interrupted at {interrupted_at}");
        assert_eq!(end.generators, expected.generators);
        assert_eq!(state(&resumed.rng), state(&whole.rng));
        for (ours, theirs) in end.optimizer.parameters.iter().zip(&expected.optimizer.parameters) {
            assert_eq!((&ours.name, ours.steps), (&theirs.name, theirs.steps));
            for (ours, theirs) in ours.buffers.iter().zip(&theirs.buffers) {
                assert_eq!(ours.to_vec(), theirs.to_vec());
            }
        }
    }
    Ok(())
}

#[test]
fn the_generator_is_chacha8_as_published() {
    // The keystream of eight rounds for a key and a nonce of zeros.
    let mut stream = [0; 32];
    ChaCha8Rng::from_seed([0; 32]).fill_bytes(&mut stream);
    let digits: String = stream.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e");
}
