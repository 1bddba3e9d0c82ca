use super::{between, check, check1, check2, normal};
use tapegrad::{
    BceWithLogitsLoss, CrossEntropyLoss, Indices, KlDivLoss, MseLoss, NllLoss, Reduction, Tensor,
};

const REDUCTIONS: [Reduction; 3] = [Reduction::Unreduced, Reduction::Mean, Reduction::Sum];

/// Shapes of logits, their class dim, and targets in 0..3 for every position.
fn class_cases() -> Vec<(Vec<usize>, Option<isize>, Indices)> {
    let targets = |values: &[i64], shape: &[usize]| Indices::from_vec(values.to_vec(), shape).unwrap();
    vec![
        (vec![3], None, targets(&[2], &[])),
        (vec![3, 3], None, targets(&[2, 0, 1], &[3])),
        (vec![2, 3, 2], None, targets(&[2, 0, 0, 1], &[2, 2])),
        (vec![2, 3, 1, 2], None, targets(&[1, 0, 2, 2], &[2, 1, 2])),
        (vec![3, 2], Some(0), targets(&[2, 1], &[2])),
        (vec![2, 2, 3], Some(-1), targets(&[0, 2, 1, 2], &[2, 2])),
    ]
}

/// The classes with every second position ignored, by a class (inside 0..3) or by a number outside.
fn with_ignored(target: &Indices, ignored: i64) -> Indices {
    let values = target.as_slice().iter().enumerate();
    let values = values.map(|(i, &class)| if i % 2 == 1 { ignored } else { class }).collect();
    Indices::from_vec(values, target.shape()).unwrap()
}

fn weight() -> Tensor<f64> {
    Tensor::from([0.5, 2.0, 1.25])
}

#[test]
fn cross_entropy_of_classes_in_every_combination() {
    for (shape, dim, target) in class_cases() {
        let logits = normal(&shape[..]);
        for weight in [None, Some(weight())] {
            for smoothing in [0.0, 0.1, 1.0] {
                for ignore_index in [None, Some(-100), Some(1)] {
                    let target = with_ignored(&target, ignore_index.unwrap_or(0));
                    for reduction in REDUCTIONS {
                        let mut loss = CrossEntropyLoss::new()
                            .label_smoothing(smoothing)
                            .ignore_index(ignore_index)
                            .reduction(reduction);
                        loss = weight.iter().fold(loss, |loss, weight| loss.weight(weight));
                        loss = dim.into_iter().fold(loss, |loss, dim| loss.dim(dim));
                        check1(&logits, |logits| loss.forward(logits, &target));
                    }
                }
            }
        }
    }
}

#[test]
fn cross_entropy_of_probabilities_in_every_combination() {
    let cases = [
        (vec![3], None),
        (vec![2, 3], None),
        (vec![1, 2, 2], None),
        (vec![2, 2], Some(0)),
        (vec![1, 2, 2], Some(-1)),
    ];
    for (shape, dim) in cases {
        let logits = normal(&shape[..]);
        // They need not sum to 1.
        let target = between(0.1, 0.9, &shape[..]);
        let classes = if let Some(0) = dim { shape[0] } else { *shape.get(1).unwrap_or(&shape[0]) };
        let weight = between(0.5, 2.0, [classes]);
        for smoothing in [0.0, 0.2, 1.0] {
            for reduction in REDUCTIONS {
                let mut loss = CrossEntropyLoss::new().label_smoothing(smoothing).reduction(reduction);
                loss = dim.into_iter().fold(loss, |loss, dim| loss.dim(dim));
                check2(&logits, &target, |logits, target| loss.forward(logits, target));
                // The weight has a gradient too.
                let all =
                    |inputs: &[Tensor<f64>]| loss.clone().weight(&inputs[2]).forward(&inputs[0], &inputs[1]);
                check(all, &[&logits, &target, &weight]);
                check(all, &[&logits, &target.detach(), &weight.detach()]);
                check(all, &[&logits.detach(), &target, &weight.detach()]);
                check(all, &[&logits.detach(), &target.detach(), &weight]);
            }
        }
    }
}

#[test]
fn cross_entropy_with_one_tensor_as_logits_and_target() {
    check1(&between(0.1, 0.9, [2, 3]), |x| x.cross_entropy(x));
    check1(&normal([2, 3]), |x| x.cross_entropy(x.softmax(1)?));
}

#[test]
fn cross_entropy_where_nothing_is_kept_or_nothing_is_there() {
    let all_ignored = [-100, -100];
    for reduction in [Reduction::Unreduced, Reduction::Sum] {
        let loss = CrossEntropyLoss::new().reduction(reduction);
        check1(&normal([2, 3]), |x| loss.forward(x, all_ignored));
        check1(&normal([0, 3]), |x| loss.forward(x, Vec::<i64>::new()));
        check1(&normal([2, 1]), |x| loss.forward(x, [0, 0]));
    }
}

#[test]
fn confident_predictions_keep_the_digits_of_their_gradients() {
    // By hand: with d = x - max, p[c] = exp(d[c]) / (1 + others), and at the target minus the sum of the
    // other probabilities. The target's 1 - p as a difference would have no digit right at 40.
    for margin in [5.0f64, 20.0, 40.0, 300.0] {
        let others = (-margin).exp() + (-margin - 1.0).exp();
        let p = [others, (-margin).exp(), (-margin - 1.0).exp()].map(|share| share / (1.0 + others));
        let logits = Tensor::from([margin, 0.0, -1.0]).requires_grad();
        logits.cross_entropy(0).unwrap().backward().unwrap();
        logits.cross_entropy(Tensor::from([1.0, 0.0, 0.0])).unwrap().backward().unwrap();
        for (gradient, expected) in logits.grad().unwrap().to_vec().into_iter().zip([-p[0], p[1], p[2]]) {
            assert!((gradient / (2.0 * expected) - 1.0).abs() < 1e-13, "{margin}: {gradient} {expected}");
        }
    }
}

#[test]
fn nll_loss_in_every_combination() {
    for (shape, dim, target) in class_cases() {
        let x = normal(&shape[..]);
        for weight in [None, Some(weight())] {
            for ignore_index in [None, Some(-100), Some(1)] {
                let target = with_ignored(&target, ignore_index.unwrap_or(0));
                for reduction in REDUCTIONS {
                    let mut loss = NllLoss::new().ignore_index(ignore_index).reduction(reduction);
                    loss = weight.iter().fold(loss, |loss, weight| loss.weight(weight));
                    loss = dim.into_iter().fold(loss, |loss, dim| loss.dim(dim));
                    // Linear in its input; squared, so that there are higher derivatives.
                    check1(&x, |x| loss.forward(&x.square()?, &target));
                }
            }
        }
    }
    check1(&normal([3, 2]), |x| x.log_softmax(1)?.nll_loss([1, 0, 1]));
}

#[test]
fn squared_errors() {
    for reduction in REDUCTIONS {
        let loss = MseLoss::new().reduction(reduction);
        check2(&normal([2, 3]), &normal([2, 3]), |x, y| loss.forward(x, &y.exp()?));
        check2(&normal([2, 1]), &normal([3]), |x, y| loss.forward(x, y));
    }
}

#[test]
fn binary_cross_entropies() {
    for reduction in REDUCTIONS {
        let loss =
            |x: &Tensor<f64>, y: &Tensor<f64>| BceWithLogitsLoss::new().reduction(reduction).forward(x, y);
        check2(&normal([2, 3]), &between(0.1, 0.9, [2, 3]), loss);
        check2(&normal([2, 1]), &between(0.1, 0.9, [3]), loss);
        check(|inputs| loss(&inputs[0], &inputs[1]), &[&normal([2]), &Tensor::from([0.0, 1.0])]);
    }
}

#[test]
fn kullback_leibler_divergences() {
    for reduction in REDUCTIONS {
        let loss =
            |log_q: &Tensor<f64>, p: &Tensor<f64>| KlDivLoss::new().reduction(reduction).forward(log_q, p);
        check2(&normal([2, 3]), &between(0.1, 0.9, [2, 3]), loss);
        check2(&normal([2, 1]), &between(0.1, 0.9, [3]), loss);
    }
    let sum = KlDivLoss::new().reduction(Reduction::Sum);
    check1(&normal([2, 3]), |x| sum.forward(&x.log_softmax(1)?, &x.softmax(0)?));
}
