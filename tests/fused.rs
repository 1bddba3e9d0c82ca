//! A fused rule equals its plain formula: under random upstream gradients, for the value, for the
//! gradient as backward computes it, for the gradient as it is recorded, and for what is computed from
//! that in turn.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use tapegrad::{
    BceWithLogitsLoss, CrossEntropyLoss, GradOptions, Indices, KlDivLoss, Mask, MseLoss, NllLoss, Reduction,
    Result, Shape, Tensor, grad, keepdim,
};

const REDUCTIONS: [Reduction; 3] = [Reduction::Unreduced, Reduction::Mean, Reduction::Sum];

type Function<'a> = &'a dyn Fn(&[Tensor<f64>]) -> Result<Tensor<f64>>;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A leaf of normal random numbers.
fn normal(shape: impl Into<Shape>, rng: &mut impl Rng) -> Tensor<f64> {
    Tensor::randn(shape, rng).unwrap().requires_grad()
}

/// Within 1e-12 of the largest magnitude of the two.
#[track_caller]
fn assert_close(what: &str, actual: &Tensor<f64>, expected: &Tensor<f64>) {
    assert_eq!(actual.shape(), expected.shape(), "{what}");
    let scale = expected.as_slice().iter().fold(1e-3, |scale: f64, x| scale.max(x.abs()));
    for (a, e) in actual.as_slice().iter().zip(expected.as_slice()) {
        assert!((a - e).abs() <= 1e-12 * scale, "{what}:\n{actual}\n{expected}");
    }
}

/// The value, the played gradients, the recorded ones, and the gradients of a random combination of
/// those: all equal for both functions.
#[track_caller]
fn assert_equal_functions(fused: Function, plain: Function, inputs: &[&Tensor<f64>], rng: &mut impl Rng) {
    let arguments: Vec<Tensor<f64>> = inputs.iter().map(|&input| input.clone()).collect();
    let tracked: Vec<&Tensor<f64>> = arguments.iter().filter(|input| input.is_tracked()).collect();
    let (actual, expected) = (fused(&arguments).unwrap(), plain(&arguments).unwrap());
    assert_close("value", &actual, &expected);

    let upstream = Tensor::randn(actual.shape(), rng).unwrap().requires_grad();
    let options = |create_graph, upstream: &[Tensor<f64>]| {
        let options = GradOptions::new().grad_outputs(upstream.to_vec()).retain_graph(true);
        options.create_graph(create_graph).materialize_grads(true)
    };
    let first = |output: &Tensor<f64>, create_graph| {
        grad(&[output], &tracked, &options(create_graph, std::slice::from_ref(&upstream))).unwrap()
    };
    let expected_first = first(&expected, true);
    let actual_first = first(&actual, true);
    for ((played, recorded), expected) in first(&actual, false).iter().zip(&actual_first).zip(&expected_first)
    {
        assert_close("gradient, played", played, expected);
        assert_close("gradient, recorded", recorded, expected);
    }

    let weights: Vec<Tensor<f64>> =
        tracked.iter().map(|input| Tensor::randn(input.shape(), rng).unwrap()).collect();
    let wanted: Vec<&Tensor<f64>> = tracked.iter().copied().chain([&upstream]).collect();
    let second = |first: &[Tensor<f64>]| {
        let recorded: Vec<(&Tensor<f64>, &Tensor<f64>)> =
            first.iter().zip(&weights).filter(|(first, _)| first.is_tracked()).collect();
        let (outputs, weights): (Vec<_>, Vec<_>) = recorded.into_iter().unzip();
        let weights: Vec<Tensor<f64>> = weights.into_iter().cloned().collect();
        grad(&outputs, &wanted, &options(false, &weights)).unwrap()
    };
    for (actual, expected) in second(&actual_first).iter().zip(&second(&expected_first)) {
        assert_close("second derivative", actual, expected);
    }
}

/// Random logits' shapes with their class dim.
fn random_shape(rng: &mut impl Rng) -> (Vec<usize>, usize) {
    let rank = rng.random_range(1..=4);
    let shape: Vec<usize> = (0..rank).map(|_| rng.random_range(1..=4)).collect();
    (shape, rng.random_range(0..rank))
}

/// What PyTorch's documentation writes down, with log_softmax, gather, sums and divisions.
fn plain_cross_entropy(
    logits: &Tensor<f64>,
    dim: usize,
    target: &Indices,
    weight: &Tensor<f64>,
    smoothing: f64,
    ignore_index: Option<i64>,
    reduction: Reduction,
) -> Result<Tensor<f64>> {
    let shape = logits.shape();
    let classes = shape[dim];
    let is_ignored = |class: &i64| Some(*class) == ignore_index;
    let ignored = Mask::from_vec(target.as_slice().iter().map(is_ignored).collect(), target.shape())?;
    let safe = target.as_slice().iter().map(|class| if is_ignored(class) { 0 } else { *class }).collect();
    let safe = Indices::from_vec(safe, target.shape())?;
    let log_p = logits.log_softmax(dim as isize)?;
    let weights = weight.index_select(0, safe.reshape(safe.len())?)?.reshape(target.shape())?;
    let picked = log_p.gather(dim as isize, safe.unsqueeze(dim as isize)?)?.squeeze(dim as isize)?;
    let of_target = picked.neg()?.mul(&weights)?.masked_fill(&ignored, 0.0)?;
    let per_class: Shape = std::iter::once(classes).chain(shape[dim + 1..].iter().map(|_| 1)).collect();
    let of_all =
        log_p.neg()?.mul(&weight.reshape(per_class)?)?.sum(dim as isize)?.masked_fill(&ignored, 0.0)?;
    let losses = of_target.mul(1.0 - smoothing)?.add(&of_all.mul(smoothing / classes as f64)?)?;
    match reduction {
        Reduction::Unreduced => Ok(losses),
        Reduction::Sum => losses.sum(..),
        Reduction::Mean => losses.sum(..)?.div(&weights.masked_fill(&ignored, 0.0)?.sum(..)?),
    }
}

#[test]
fn cross_entropy_of_classes_equals_its_composition() {
    let mut rng = rng(41);
    for round in 0..300 {
        let (shape, dim) = random_shape(&mut rng);
        let logits =
            normal(&shape[..], &mut rng).detach().mul(rng.random_range(0.1..5.0)).unwrap().requires_grad();
        let positions: Shape = shape.iter().enumerate().filter(|&(i, _)| i != dim).map(|(_, &n)| n).collect();
        let classes = shape[dim] as i64;
        let ignore_index = [None, Some(-100), Some(0), Some(classes - 1)][rng.random_range(0..4)];
        let count = positions.elements();
        let mut target: Vec<i64> = (0..count).map(|_| rng.random_range(0..classes)).collect();
        if ignore_index == Some(-100) {
            target.iter_mut().filter(|_| rng.random_bool(0.3)).for_each(|class| *class = -100);
        }
        let target = Indices::from_vec(target, positions).unwrap();
        let is_weighted = rng.random_bool(0.5);
        let weight = if is_weighted {
            Tensor::rand([classes as usize], &mut rng).unwrap()
        } else {
            Tensor::ones([classes as usize]).unwrap()
        };
        let smoothing = [0.0, 0.1, 0.5, 1.0][rng.random_range(0..4)];
        for reduction in REDUCTIONS {
            let all_ignored = target.as_slice().iter().all(|&class| Some(class) == ignore_index);
            if all_ignored && reduction == Reduction::Mean {
                continue; // nan, as another test says
            }
            let mut loss = CrossEntropyLoss::new().dim(dim as isize).label_smoothing(smoothing);
            loss = loss.ignore_index(ignore_index).reduction(reduction);
            if is_weighted {
                loss = loss.weight(&weight);
            }
            let fused = |inputs: &[Tensor<f64>]| loss.forward(&inputs[0], &target);
            let plain = |inputs: &[Tensor<f64>]| {
                plain_cross_entropy(&inputs[0], dim, &target, &weight, smoothing, ignore_index, reduction)
            };
            println!(
                "round {round}: {shape:?} dim {dim} {target:?} {ignore_index:?} {weight:?} {smoothing} {reduction:?}"
            );
            assert_equal_functions(&fused, &plain, &[&logits], &mut rng);
        }
    }
}

#[test]
fn cross_entropy_of_probabilities_equals_its_composition() {
    let mut rng = rng(43);
    for _ in 0..150 {
        let (shape, dim) = random_shape(&mut rng);
        let logits = normal(&shape[..], &mut rng);
        let mut target = Tensor::rand(&shape[..], &mut rng).unwrap();
        if rng.random_bool(0.5) {
            target = target.div(target.sum(keepdim(dim as isize)).unwrap()).unwrap();
        }
        let target = target.requires_grad();
        let weight = Tensor::rand([shape[dim]], &mut rng).unwrap().requires_grad();
        let smoothing = [0.0, 0.1, 1.0][rng.random_range(0..3)];
        for reduction in REDUCTIONS {
            let loss =
                CrossEntropyLoss::new().dim(dim as isize).label_smoothing(smoothing).reduction(reduction);
            let fused =
                |inputs: &[Tensor<f64>]| loss.clone().weight(&inputs[2]).forward(&inputs[0], &inputs[1]);
            let plain = |inputs: &[Tensor<f64>]| {
                let per_class: Shape =
                    std::iter::once(shape[dim]).chain(shape[dim + 1..].iter().map(|_| 1)).collect();
                let smoothed = inputs[1].mul(1.0 - smoothing)?.add(smoothing / shape[dim] as f64)?;
                let terms = inputs[0].log_softmax(dim as isize)?.neg()?.mul(&smoothed)?;
                let losses = terms.mul(&inputs[2].reshape(per_class)?)?.sum(dim as isize)?;
                match reduction {
                    Reduction::Unreduced => Ok(losses),
                    Reduction::Sum => losses.sum(..),
                    Reduction::Mean => losses.mean(..),
                }
            };
            assert_equal_functions(&fused, &plain, &[&logits, &target, &weight], &mut rng);
            assert_equal_functions(&fused, &plain, &[&logits, &target.detach(), &weight.detach()], &mut rng);
        }
    }
}

#[test]
fn an_ignored_row_of_nan_or_infinities_changes_nothing_and_gets_zeros() {
    let mut rng = rng(47);
    let kept = normal([2, 3], &mut rng).detach();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let bad = Tensor::full([1, 3], value).unwrap();
        let logits =
            Tensor::cat(&[&kept, &bad], 0).unwrap().index_select(0, [0, 2, 1]).unwrap().requires_grad();
        let alone = kept.clone().requires_grad();
        for smoothing in [0.0, 0.2] {
            for reduction in [Reduction::Mean, Reduction::Sum] {
                let loss = CrossEntropyLoss::new().label_smoothing(smoothing).reduction(reduction);
                let with = loss.forward(&logits, [2, -100, 0]).unwrap();
                let without = loss.forward(&alone, [2, 0]).unwrap();
                assert_eq!(with.item().unwrap(), without.item().unwrap());
                let recorded = GradOptions::new().create_graph(true);
                let expected = grad(&[&without], &[&alone], &recorded).unwrap().remove(0);
                let played =
                    grad(&[&with], &[&logits], &GradOptions::new().retain_graph(true)).unwrap().remove(0);
                let first = grad(&[&with], &[&logits], &recorded).unwrap().remove(0);
                for gradient in [&played, &first] {
                    assert_eq!(gradient.select(0, 1).unwrap().to_vec(), [0.0; 3], "{value}");
                    assert_close("gradient", &gradient.index_select(0, [0, 2]).unwrap(), &expected);
                }
                let v = Tensor::randn([3, 3], &mut rng).unwrap();
                let second = GradOptions::new().grad_outputs([v]);
                let second = grad(&[&first], &[&logits], &second).unwrap().remove(0);
                assert_eq!(second.select(0, 1).unwrap().to_vec(), [0.0; 3], "{value}");
                assert!(second.as_slice().iter().all(|value| value.is_finite()));
            }
        }
    }
}

#[test]
fn a_backward_in_place_is_seen_by_nobody() {
    // Cross entropy writes its gradient over the logits if it alone holds them.
    let mut rng = rng(71);
    let x = normal([5, 3], &mut rng);
    let (values, target) = (x.to_vec(), [2, 0, 1, 1, 2]);
    let by_hand = || {
        let p = x.detach().softmax(1).unwrap();
        p.sub(Indices::new(target).unwrap().one_hot::<f64>(3).unwrap()).unwrap().div(5.0).unwrap()
    };
    let probabilities = Indices::new(target).unwrap().one_hot::<f64>(3).unwrap();
    type Loss<'a> = &'a dyn Fn(&Tensor<f64>) -> Result<Tensor<f64>>;
    let losses: [Loss<'_>; 2] =
        [&|logits| logits.cross_entropy(target), &|logits| logits.cross_entropy(&probabilities)];
    for loss in losses {
        // A leaf, which the caller holds.
        let loss_of_leaf = loss(&x).unwrap();
        loss_of_leaf.backward_retain_graph().unwrap();
        loss_of_leaf.backward().unwrap();
        assert_eq!(x.to_vec(), values);
        assert_close("leaf", &x.grad().unwrap().div(2.0).unwrap(), &by_hand());
        x.zero_grad();
        // A value in the middle: held by the caller, or shared with another step, or by the graph alone.
        let middle = x.mul(1.0).unwrap();
        loss(&middle).unwrap().backward().unwrap();
        assert_eq!(middle.to_vec(), values);
        x.zero_grad();
        let middle = x.mul(1.0).unwrap();
        let sum = loss(&middle).unwrap().add(&loss(&middle).unwrap()).unwrap();
        drop(middle);
        sum.backward_retain_graph().unwrap();
        sum.backward().unwrap();
        assert_close("middle", &x.grad().unwrap().div(4.0).unwrap(), &by_hand());
        assert_eq!(x.to_vec(), values);
        x.zero_grad();
    }
}

#[test]
fn softmax_and_its_relatives_equal_their_formulas() {
    let mut rng = rng(53);
    for _ in 0..60 {
        let (shape, dim) = random_shape(&mut rng);
        let x = normal(&shape[..], &mut rng);
        let dim = dim as isize;
        let softmax = |x: &Tensor<f64>| {
            let powers = x.sub(&x.detach().max(keepdim(dim))?)?.exp()?;
            powers.div(&powers.sum(keepdim(dim))?)
        };
        let logsumexp = |x: &Tensor<f64>| x.exp()?.sum(dim)?.log();
        assert_equal_functions(&|x| x[0].softmax(dim), &|x| softmax(&x[0]), &[&x], &mut rng);
        assert_equal_functions(&|x| x[0].log_softmax(dim), &|x| softmax(&x[0])?.log(), &[&x], &mut rng);
        assert_equal_functions(&|x| x[0].logsumexp(dim), &|x| logsumexp(&x[0]), &[&x], &mut rng);
        assert_equal_functions(&|x| x[0].logsumexp(..), &|x| x[0].exp()?.sum(..)?.log(), &[&x], &mut rng);
    }
}

#[test]
fn negative_log_likelihood_equals_its_formula() {
    let mut rng = rng(59);
    for reduction in REDUCTIONS {
        let x = normal([4, 3], &mut rng);
        let weight = Tensor::rand([3], &mut rng).unwrap();
        let (target, safe) = ([2, -7, 0, 2], [2, 0, 0, 2]);
        let loss = NllLoss::new().weight(&weight).ignore_index(-7).reduction(reduction);
        let plain = |inputs: &[Tensor<f64>]| {
            let ignored = Mask::new([false, true, false, false]);
            let weights = weight.index_select(0, safe)?.masked_fill(&ignored, 0.0)?;
            let picked = inputs[0].gather(1, Indices::new(safe)?.unsqueeze(1)?)?.squeeze(1)?;
            let losses = picked.neg()?.mul(&weights)?;
            match reduction {
                Reduction::Unreduced => Ok(losses),
                Reduction::Sum => losses.sum(..),
                Reduction::Mean => losses.sum(..)?.div(&weights.sum(..)?),
            }
        };
        assert_equal_functions(&|x| loss.forward(&x[0], target), &plain, &[&x], &mut rng);
    }
}

#[test]
fn pointwise_losses_equal_their_formulas() {
    let mut rng = rng(61);
    let reduce = |losses: Tensor<f64>, reduction| match reduction {
        Reduction::Unreduced => Ok(losses),
        Reduction::Sum => losses.sum(..),
        Reduction::Mean => losses.mean(..),
    };
    for reduction in REDUCTIONS {
        let x = normal([2, 3], &mut rng);
        let y = Tensor::rand([2, 3], &mut rng).unwrap().mul(0.9).unwrap().add(0.05).unwrap().requires_grad();
        let mse = |x: &[Tensor<f64>]| reduce((&x[0] - &x[1]).mul(&(&x[0] - &x[1]))?, reduction);
        assert_equal_functions(
            &|x| MseLoss::new().reduction(reduction).forward(&x[0], &x[1]),
            &mse,
            &[&x, &y],
            &mut rng,
        );
        let binary = |x: &[Tensor<f64>]| {
            let p = x[0].sigmoid()?;
            let losses = -(&x[1] * p.log()?) - (1.0 - &x[1]) * (1.0 - &p).log()?;
            reduce(losses, reduction)
        };
        let loss = BceWithLogitsLoss::new().reduction(reduction);
        let fused = |x: &[Tensor<f64>]| loss.forward(&x[0], &x[1]);
        assert_equal_functions(&fused, &binary, &[&x, &y], &mut rng);
        let divergence = |x: &[Tensor<f64>]| reduce(&x[1] * (x[1].log()? - &x[0]), reduction);
        assert_equal_functions(
            &|x| KlDivLoss::new().reduction(reduction).forward(&x[0], &x[1]),
            &divergence,
            &[&x, &y],
            &mut rng,
        );
    }
}

#[test]
fn variance_and_linear_equal_their_formulas() {
    let mut rng = rng(67);
    let x = normal([3, 4, 2], &mut rng);
    for correction in [0.0, 1.0] {
        let plain = |x: &[Tensor<f64>]| {
            x[0].sub(&x[0].mean(keepdim([0, 2]))?)?.square()?.sum([0, 2])?.div(6.0 - correction)
        };
        assert_equal_functions(&|x| x[0].var([0, 2], correction), &plain, &[&x], &mut rng);
    }
    let (weight, bias) = (normal([5, 2], &mut rng), normal([5], &mut rng));
    let plain = |x: &[Tensor<f64>]| x[0].matmul(&x[1].transpose(0, 1)?)?.add(&x[2]);
    assert_equal_functions(&|x| x[0].linear(&x[1], &x[2]), &plain, &[&x, &weight, &bias], &mut rng);
}

/// Short lines are processed many at a time where there are enough, and a last group may be incomplete; long and
/// few ones have kernels of their own, and so have gradients that are computed along with the loss and those that come later.
#[test]
fn cross_entropy_in_f32_equals_its_composition_for_every_number_of_rows_and_classes() {
    let mut rng = rng(83);
    for classes in (1..=20).chain([63, 128, 129, 1025]) {
        for rows in [1, 2, 7, 31, 32, 33, 70] {
            let x = Tensor::<f32>::randn([rows, classes], &mut rng).unwrap().mul(3.0).unwrap();
            let mut values = x.to_vec();
            let mut target: Vec<i64> = (0..rows).map(|_| rng.random_range(0..classes as i64)).collect();
            if rows > 2 {
                // An ignored row, and one of an infinite margin.
                target[rows / 2] = -100;
                values[rows / 2 * classes] = f32::NAN;
                values[(rows / 2 + 1) * classes..][..classes].fill(f32::NEG_INFINITY);
                values[(rows / 2 + 1) * classes + target[rows / 2 + 1] as usize] = 2.5;
            }
            let x = Tensor::from_vec(values, [rows, classes]).unwrap();
            let weight = Tensor::<f64>::rand([classes], &mut rng).unwrap().add(0.5).unwrap();
            let ones = Tensor::ones([classes]).unwrap();
            let target = Indices::new(target).unwrap();
            for (smoothing, reduction) in [(0.0, 1), (0.0, 2), (0.0, 0), (0.2, 1)] {
                if smoothing > 0.0 && rows > 2 && classes > 1 {
                    continue; // smoothing of an infinite margin is infinite
                }
                for weight in [&ones, &weight] {
                    let reduction = REDUCTIONS[reduction];
                    let mut loss = CrossEntropyLoss::new().label_smoothing(smoothing).reduction(reduction);
                    if !std::ptr::eq(weight, &ones) {
                        loss = loss.weight(&weight.to_f32().unwrap());
                    }
                    let leaf = x.clone().requires_grad();
                    let value = loss.forward(&leaf, &target).unwrap();
                    value.sum(..).unwrap().backward().unwrap();
                    let later = x.clone().requires_grad();
                    let kept = loss
                        .reduction(Reduction::Unreduced)
                        .forward(&later.mul(1.0).unwrap(), &target)
                        .unwrap();
                    let divisor = match reduction {
                        Reduction::Mean => {
                            let weights = weight.as_slice();
                            let of = |&class: &i64| if class < 0 { 0.0 } else { weights[class as usize] };
                            target.as_slice().iter().map(of).sum::<f64>()
                        }
                        _ => 1.0,
                    };
                    kept.sum(..).unwrap().div(divisor).unwrap().backward().unwrap();

                    // The formula in f64, row by row.
                    let mut total = 0.0;
                    for (row, (&class, x)) in target.as_slice().iter().zip(x.rows()).enumerate() {
                        let gradients = [&leaf, &later].map(|x| x.grad().unwrap());
                        let gradients =
                            gradients.each_ref().map(|gradient| gradient.rows().nth(row).unwrap());
                        if class < 0 {
                            assert!(gradients.into_iter().flatten().all(|&gradient| gradient == 0.0));
                            assert_eq!(kept.as_slice()[row], 0.0);
                            continue;
                        }
                        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        let p: Vec<f64> = x.iter().map(|&x| f64::from(x - max).exp()).collect();
                        let sum: f64 = p.iter().sum();
                        let share = |c: usize| {
                            let own = if c == class as usize { 1.0 - smoothing } else { 0.0 };
                            weight.as_slice()[c] * (own + smoothing / classes as f64)
                        };
                        let all: f64 = (0..classes).map(share).sum();
                        let terms =
                            (0..classes).filter(|&c| share(c) != 0.0).map(|c| share(c) * (sum / p[c]).ln());
                        let expected: f64 = terms.sum();
                        total += expected;
                        let actual = f64::from(kept.as_slice()[row]);
                        let what = format!("{rows} x {classes}, row {row}, {reduction:?}, {smoothing}");
                        assert!((actual - expected).abs() <= 2e-6 * expected.max(1e-3), "{what}: {actual}");
                        for c in 0..classes {
                            let expected = (p[c] / sum * all - share(c)) / divisor;
                            for gradient in gradients {
                                let difference = (f64::from(gradient[c]) - expected).abs();
                                assert!(
                                    difference <= 2e-6 * (p[c] / sum * all + share(c)) / divisor,
                                    "{what}, {c}"
                                );
                            }
                        }
                    }
                    let actual = value.to_vec().into_iter().map(f64::from).sum::<f64>() * divisor;
                    assert!((actual - total).abs() <= 1e-5 * total.max(1e-3), "{rows} x {classes}: {actual}");
                }
            }
        }
    }
}

/// Long lines are read with a guess of their maximum. Wherever that stands, and however far from the guess it is,
/// loss and gradient have the digits that the same logits give in f64, where nothing is guessed.
#[test]
fn long_lines_have_all_digits_wherever_their_maximum_stands() {
    let ulps = |actual: f32, exact: f64| {
        let spacing = exact.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() - 23.0;
        (f64::from(actual) - exact).abs() / spacing.exp2()
    };
    let (classes, mut rng) = (4_100, rng(89));
    for margin in [0.0, 0.3, 2.0, 6.0, 11.0, 16.0, 17.5, 19.9, 20.1, 35.0, 60.0, 95.0, 3e4] {
        for place in [0, 1_023, 1_024, 2_500, classes - 1] {
            let mut logits = Tensor::<f32>::randn([4, classes], &mut rng).unwrap().to_vec();
            (0..4).for_each(|row| logits[row * classes + place] = margin);
            let target = Indices::new([place, 7, (place + 1) % classes, 3_000]).unwrap();
            let leaf = Tensor::from_vec(logits, [4, classes]).unwrap().requires_grad();
            let result = leaf.detach().requires_grad();
            let exact = leaf.detach().to_f64().unwrap().requires_grad();
            let losses =
                CrossEntropyLoss::new().reduction(Reduction::Unreduced).forward(&leaf, &target).unwrap();
            let exact_losses =
                CrossEntropyLoss::new().reduction(Reduction::Unreduced).forward(&exact, &target).unwrap();
            for (&loss, &exact) in losses.as_slice().iter().zip(exact_losses.as_slice()) {
                assert!(ulps(loss, exact) <= 2.0, "margin {margin}, {place}: loss {loss}, exact {exact}");
            }
            // The gradient of a sum may be computed along with it, that of a result later and in place.
            let sum = CrossEntropyLoss::new().reduction(Reduction::Sum);
            sum.forward(&leaf, &target).unwrap().backward().unwrap();
            let of_result = CrossEntropyLoss::new()
                .reduction(Reduction::Unreduced)
                .forward(&result.mul(1.0).unwrap(), &target);
            of_result.unwrap().sum(..).unwrap().backward().unwrap();
            exact_losses.sum(..).unwrap().backward().unwrap();
            for gradient in [&leaf, &result].map(|x| x.grad().unwrap()) {
                let pairs = gradient.as_slice().iter().zip(exact.grad().unwrap().to_vec());
                for (i, (&gradient, exact)) in pairs.enumerate() {
                    let what = format!("margin {margin}, {place}, element {i}");
                    assert!(ulps(gradient, exact) <= 4.0, "{what}: gradient {gradient}, exact {exact}");
                }
            }
        }
    }
}
