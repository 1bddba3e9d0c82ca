//! The small compositions and the training runs of the golden data. Each follows the text of its
//! case.

use super::operations::{Outcome, Refusal, out};
use super::{Attributes, Named};
use tapegrad::{CrossEntropyLoss, Float, GradOptions, NllLoss, Reduction, Result, Tensor, grad, keepdim};

pub fn program<T: Float>(attributes: &Attributes, inputs: &Named<T>) -> Outcome<T> {
    let x = |name: &str| inputs.tensor(name);
    let input = || inputs.tensor("input");
    let target = || inputs.indices("target");
    let column = || target().unsqueeze(1);
    out(match attributes.text("name").unwrap_or_default() {
        "mlp_relu_ce" => {
            let hidden = x("X").matmul(x("W1"))?.add(x("b1"))?.relu()?;
            hidden.matmul(x("W2"))?.add(x("b2"))?.cross_entropy(target())?
        }
        "mlp_tanh_ce_smooth" => {
            let hidden = x("X").matmul(x("W1"))?.add(x("b1"))?.tanh()?;
            let logits = hidden.matmul(x("W2"))?.add(x("b2"))?;
            CrossEntropyLoss::new().label_smoothing(0.1).forward(&logits, target())?
        }
        "mean_neg_log_gather_softmax" => input().softmax(1)?.gather(1, &column()?)?.log()?.mean(..)?.neg()?,
        "mean_neg_gather_log_softmax" => input().log_softmax(1)?.gather(1, &column()?)?.mean(..)?.neg()?,
        "nll_of_log_of_softmax_sum" => {
            let log_probabilities = input().softmax(1)?.log()?;
            NllLoss::new().reduction(Reduction::Sum).forward(&log_probabilities, target())?
        }
        "focal" => {
            let log_probability = input().log_softmax(1)?.gather(1, &column()?)?;
            let missing = log_probability.exp()?.neg()?.add(1.0)?;
            missing.square()?.mul(&log_probability)?.mean(..)?.neg()?
        }
        "z_loss" => {
            let z = input().logsumexp(1)?.square()?.mean(..)?;
            input().cross_entropy(target())?.add(z.mul(0.01)?)?
        }
        "grad_penalty_ce" => {
            let loss = input().cross_entropy(target())?;
            let recorded = GradOptions::new().create_graph(true);
            let slope = grad(&[&loss], &[input()], &recorded)?.remove(0);
            loss.add(slope.square()?.sum(..)?.mul(0.5)?)?
        }
        "kl_batchmean" => {
            let (p, q) = (x("p"), x("q"));
            let difference = p.log_softmax(1)?.sub(q.log_softmax(1)?)?;
            p.softmax(1)?.mul(difference)?.sum(..)?.div(p.shape()[0] as f64)?
        }
        "entropy_mean" => {
            let terms = input().softmax(-1)?.mul(input().log_softmax(-1)?)?;
            terms.sum(-1)?.mean(..)?.neg()?
        }
        "attention" => attention_scores(x("q"), x("k"))?.softmax(-1)?.matmul(x("v"))?,
        "causal_attention" => {
            let scores = attention_scores(x("q"), x("k"))?;
            let seen = scores.where_cond(inputs.mask("mask"), f64::NEG_INFINITY)?;
            seen.softmax(-1)?.matmul(x("v"))?
        }
        "temperature_ce" => input().div(x("T"))?.cross_entropy(target())?,
        "ce_class_last" => {
            let loss = CrossEntropyLoss::new().reduction(Reduction::Unreduced);
            loss.forward(&input().permute([0, 2, 1])?, target())?
        }
        "log_softmax_of_transpose" => input().transpose(0, 1)?.log_softmax(0)?,
        "shared_input_ce" => input().matmul(&input().transpose(0, 1)?)?.cross_entropy(target())?,
        "ce_of_expanded_row" => {
            let rows = x("row").broadcast_to([target().len(), x("row").len()])?;
            CrossEntropyLoss::new().reduction(Reduction::Sum).forward(&rows, target())?
        }
        "layernorm_ce" => {
            let deviation = input().sub(input().mean(keepdim(-1))?)?;
            let spread = input().var(keepdim(-1), 0.0)?.add(1e-5)?.sqrt()?;
            deviation.div(spread)?.mul(x("gain"))?.add(x("bias"))?.cross_entropy(target())?
        }
        "weighted_sum_of_two_losses" => {
            let weighted = CrossEntropyLoss::new().weight(x("weight")).reduction(Reduction::Sum);
            let ignoring = NllLoss::new().ignore_index(Some(0));
            let first = weighted.forward(input(), target())?.mul(0.3)?;
            let log_probabilities = input().mul(2.0)?.log_softmax(1)?;
            first.add(ignoring.forward(&log_probabilities, target())?.mul(0.7)?)?
        }
        "soft_target_from_softmax" => input().cross_entropy(&x("teacher").div(2.0)?.softmax(1)?)?,
        "embedding_ce" => {
            let embedding = x("E");
            let rows = embedding.index_select(0, inputs.indices("tokens"))?;
            rows.matmul(&embedding.transpose(0, 1)?)?.cross_entropy(target())?
        }
        "diamond_reuse" => {
            let h = input().tanh()?;
            let quotient = h.div(h.mul(&h)?.add(1.0)?)?;
            h.mul(h.exp()?)?.add(quotient)?.sum(0)?.mean(..)?
        }
        _ => return Err(Refusal::NoSuchOperation),
    })
}

/// q k^T / 2
fn attention_scores<T: Float>(q: &Tensor<T>, k: &Tensor<T>) -> Result<Tensor<T>> {
    q.matmul(&k.transpose(-1, -2)?)?.div(2.0)
}

/// Full-batch gradient descent with momentum and weight decay: the loss before each step, and the
/// parameters after the last.
pub fn train<T: Float>(attributes: &Attributes, inputs: &Named<T>) -> Outcome<T> {
    let setting = |name| attributes.number(name).expect("a number");
    let (rate, momentum, decay) = (setting("lr"), setting("momentum"), setting("weight_decay"));
    let (x, target) = (inputs.tensor("X"), inputs.indices("target"));
    let names: Vec<&str> = ["W1", "b1", "W2", "b2"].into_iter().filter(|name| inputs.has(name)).collect();
    let mut parameters: Vec<Tensor<T>> =
        names.iter().map(|name| inputs.tensor(name).clone().requires_grad()).collect();
    let mut velocities: Vec<Option<Vec<T>>> = vec![None; names.len()];
    let criterion = CrossEntropyLoss::new().label_smoothing(setting("label_smoothing"));

    let mut losses = Vec::new();
    for _ in 0..setting("steps") as usize {
        let mut logits = x.matmul(&parameters[0])?.add(&parameters[1])?;
        if parameters.len() == 4 {
            logits = logits.relu()?.matmul(&parameters[2])?.add(&parameters[3])?;
        }
        let loss = criterion.forward(&logits, target)?;
        loss.backward()?;
        losses.push(loss.item()?);
        for (parameter, velocity) in parameters.iter_mut().zip(&mut velocities) {
            let slope = parameter.grad().expect("a gradient");
            parameter.zero_grad();
            let step = |(&slope, &value): (&T, &T)| slope + T::from_f64(decay) * value;
            let step: Vec<T> = slope.as_slice().iter().zip(parameter.as_slice()).map(step).collect();
            let moved = match velocity.take() {
                None => step,
                Some(old) => {
                    old.iter().zip(&step).map(|(&old, &step)| T::from_f64(momentum) * old + step).collect()
                }
            };
            for (value, &moved) in parameter.as_mut_slice()?.iter_mut().zip(&moved) {
                *value -= T::from_f64(rate) * moved;
            }
            *velocity = Some(moved);
        }
    }
    let count = losses.len();
    let mut results = vec![("losses".to_string(), Tensor::from_vec(losses, [count])?.into())];
    for (name, parameter) in names.iter().zip(parameters) {
        results.push((name.to_string(), parameter.into()));
    }
    Ok(Named(results))
}
