//! A small GPT that learns to continue a text, written against the public interface alone.
//!
//! It prints how long a step takes. `user_crate [steps]`

use rand::SeedableRng;
use std::time::Instant;
use tapegrad::nn::{ChaCha8Rng, Embedding, Linear, Module, Parameters, init};
use tapegrad::optim::{AdamW, Optimizer, clip_grad_norm};
use tapegrad::{Mask, Result, Tensor, keepdim, no_grad, parameters};

const LAYERS: usize = 4;
const HEADS: usize = 4;
const WIDTH: usize = 128;
const CONTEXT: usize = 64;
const BATCH: usize = 8;

const TEXT: &str = "\
the chain rule is a product of derivatives. a tape holds the steps of a computation in the order in which they ran, \
and backward plays it in reverse: every step turns the gradient of its output into those of its inputs. where a \
value was used twice, its gradients are added. nothing else is needed, for sums and products as for networks. ";

/// Mean 0 and variance 1 along the last dim, then a scale and a shift that are trained.
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}
parameters!(LayerNorm { weight, bias });

impl LayerNorm {
    fn new() -> Result<Self> {
        let (weight, bias) = (Tensor::ones([WIDTH])?, Tensor::zeros([WIDTH])?);
        Ok(LayerNorm { weight: weight.requires_grad(), bias: bias.requires_grad() })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.sub(x.mean(keepdim(-1))?)?;
        let variance = centred.square()?.mean(keepdim(-1))?;
        centred.div(variance.add(1e-5)?.sqrt()?)?.mul(&self.weight)?.add(&self.bias)
    }
}

/// Every position looks at those before it, with several heads side by side.
struct Attention {
    queries_keys_values: Linear,
    output: Linear,
}
parameters!(Attention { queries_keys_values, output });

impl Attention {
    fn new(rng: &mut ChaCha8Rng) -> Result<Self> {
        let queries_keys_values = Linear::new(WIDTH, 3 * WIDTH, rng)?;
        Ok(Attention { queries_keys_values, output: Linear::new(WIDTH, WIDTH, rng)? })
    }

    fn forward(&self, x: &Tensor, future: &Mask) -> Result<Tensor> {
        let (batch, time) = (x.shape()[0], x.shape()[1]);
        let size = WIDTH / HEADS;
        let all = self.queries_keys_values.forward(x)?.reshape([batch, time, 3, HEADS, size])?;
        let part = |i: isize| all.select(2, i)?.transpose(1, 2); // batch, heads, time, size
        let (queries, keys, values) = (part(0)?, part(1)?, part(2)?);
        let scores = queries.matmul(&keys.transpose(-1, -2)?)?.mul(1.0 / (size as f64).sqrt())?;
        let weights = scores.masked_fill(future, f64::NEG_INFINITY)?.softmax(-1)?;
        let heads = weights.matmul(&values)?.transpose(1, 2)?;
        self.output.forward(&heads.reshape([batch, time, WIDTH])?)
    }
}

struct Block {
    attention_norm: LayerNorm,
    attention: Attention,
    network_norm: LayerNorm,
    hidden: Linear,
    output: Linear,
}
parameters!(Block { attention_norm, attention, network_norm, hidden, output });

impl Block {
    fn new(rng: &mut ChaCha8Rng) -> Result<Self> {
        Ok(Block {
            attention_norm: LayerNorm::new()?,
            attention: Attention::new(rng)?,
            network_norm: LayerNorm::new()?,
            hidden: Linear::new(WIDTH, 4 * WIDTH, rng)?,
            output: Linear::new(4 * WIDTH, WIDTH, rng)?,
        })
    }

    fn forward(&self, x: &Tensor, future: &Mask) -> Result<Tensor> {
        let x = x.add(self.attention.forward(&self.attention_norm.forward(x)?, future)?)?;
        let hidden = self.hidden.forward(&self.network_norm.forward(&x)?)?.gelu()?;
        x.add(self.output.forward(&hidden)?)
    }
}

struct Gpt {
    characters: Embedding,
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    scores: Linear,
}
parameters!(Gpt { characters, positions, blocks, norm, scores });

impl Gpt {
    fn new(vocabulary: usize, rng: &mut ChaCha8Rng) -> Result<Self> {
        Ok(Gpt {
            characters: Embedding::new(vocabulary, WIDTH, rng)?,
            positions: init::normal([CONTEXT, WIDTH], 0.0, 0.02, rng)?.requires_grad(),
            blocks: (0..LAYERS).map(|_| Block::new(rng)).collect::<Result<_>>()?,
            norm: LayerNorm::new()?,
            scores: Linear::new(WIDTH, vocabulary, rng)?,
        })
    }

    /// The scores of the next character after each position, for ids of shape (batch, time).
    fn forward(&self, ids: &[Vec<i64>]) -> Result<Tensor> {
        let (batch, time) = (ids.len(), ids[0].len());
        let ids = tapegrad::Indices::from_vec(ids.concat(), [batch, time])?;
        let future = (0..time * time).map(|i| i % time > i / time).collect();
        let future = Mask::from_vec(future, [time, time])?;
        let mut x = self.characters.lookup(&ids)?.add(self.positions.narrow(0, 0, time)?)?;
        for block in &self.blocks {
            x = block.forward(&x, &future)?;
        }
        self.scores.forward(&self.norm.forward(&x)?)
    }
}

fn main() -> Result<()> {
    let steps: usize = std::env::args().nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(20);
    let mut vocabulary: Vec<char> = TEXT.chars().collect();
    vocabulary.sort();
    vocabulary.dedup();
    let ids: Vec<i64> = TEXT.chars().filter_map(|c| vocabulary.binary_search(&c).ok()).map(|i| i as i64).collect();

    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let start = Instant::now();
    let mut model = Gpt::new(vocabulary.len(), &mut rng)?;
    println!("{} parameters, made in {:.1} ms", model.parameter_count(), start.elapsed().as_secs_f64() * 1e3);

    let mut optimizer = AdamW::new(1e-3);
    let (mut times, mut losses) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let begin = |row: usize| (step * 37 + row * 53) % (ids.len() - CONTEXT - 1);
        let inputs: Vec<Vec<i64>> = (0..BATCH).map(|row| ids[begin(row)..][..CONTEXT].to_vec()).collect();
        let targets: Vec<i64> = (0..BATCH).flat_map(|row| ids[begin(row) + 1..][..CONTEXT].to_vec()).collect();

        let start = Instant::now();
        model.zero_grad();
        let scores = model.forward(&inputs)?.reshape([BATCH * CONTEXT, vocabulary.len()])?;
        let loss = scores.cross_entropy(targets)?;
        loss.backward()?;
        clip_grad_norm(&model, 1.0)?;
        optimizer.step(&mut model)?;
        losses.push(loss.item()?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }

    // The likeliest character, again and again.
    let mut text = ids[..16].to_vec();
    let start = Instant::now();
    no_grad(|| -> Result<()> {
        for _ in 0..32 {
            let context = text[text.len().saturating_sub(CONTEXT)..].to_vec();
            let scores = model.forward(&[context])?.select(0, 0)?.select(0, -1)?;
            text.push(scores.argmax(0)?.as_slice()[0]);
        }
        Ok(())
    })?;
    let text: String = text.iter().map(|&id| vocabulary[id as usize]).collect();
    println!("{text:?}, 32 characters in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);

    times.sort_by(f64::total_cmp);
    println!("loss {:.4} -> {:.4}", losses[0], losses[losses.len() - 1]);
    println!("step {:.2} ms (median), {:.2} ms (least)", times[times.len() / 2], times[0]);
    Ok(())
}
