//! Optimizers, schedules and clipping against the trajectories of PyTorch, and what they do when they
//! cannot go on.

use rand::SeedableRng;
use serde_json::Value as Json;
use tapegrad::nn::{ChaCha8Rng, Linear, Module, Parameters, Sequential, Tanh};
use tapegrad::optim::{
    Adam, AdamW, Optimizer, OptimizerState, Schedule, Sgd, clip_grad_norm, clip_grad_value,
};
use tapegrad::{Error, Float, Result, Tensor, parameters};

/// The model of the stored runs.
struct Model {
    w: Tensor<f64>,
    b: Tensor<f64>,
}
parameters!(Model: f64 { w, b });

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

/// A number among the options, or a default.
fn number(options: &Json, name: &str, default: f64) -> f64 {
    options.get(name).map_or(default, |value| value.as_f64().expect("a number"))
}

fn flag(options: &Json, name: &str) -> bool {
    options.get(name).is_some_and(|value| value.as_bool().expect("a flag"))
}

/// The optimizer of a stored run; none for RMSprop, which this crate does not have.
fn optimizer(case: &Json) -> Option<Box<dyn Optimizer<f64>>> {
    let options = &case["options"];
    let known =
        ["lr", "momentum", "dampening", "nesterov", "weight_decay", "betas", "eps", "amsgrad", "maximize"];
    let lr = number(options, "lr", f64::NAN);
    let betas = options.get("betas").map_or(vec![0.9, 0.999], numbers);
    macro_rules! adam {
        ($optimizer:ident, $weight_decay:expr) => {
            Box::new(
                $optimizer::new(lr)
                    .betas(betas[0], betas[1])
                    .eps(number(options, "eps", 1e-8))
                    .weight_decay(number(options, "weight_decay", $weight_decay))
                    .amsgrad(flag(options, "amsgrad"))
                    .maximize(flag(options, "maximize")),
            )
        };
    }
    let optimizer: Box<dyn Optimizer<f64>> = match case["optimizer"].as_str().expect("a name") {
        "SGD" => Box::new(
            Sgd::new(lr)
                .momentum(number(options, "momentum", 0.0))
                .dampening(number(options, "dampening", 0.0))
                .nesterov(flag(options, "nesterov"))
                .weight_decay(number(options, "weight_decay", 0.0))
                .maximize(flag(options, "maximize")),
        ),
        "Adam" => adam!(Adam, 0.0),
        "AdamW" => adam!(AdamW, 0.01),
        "RMSprop" => return None,
        other => panic!("an optimizer called {other}"),
    };
    for name in options.as_object().expect("options").keys() {
        assert!(known.contains(&&name[..]), "the option {name} is not known here");
    }
    Some(optimizer)
}

fn schedule(case: &Json) -> Schedule {
    let (lr, options) = (number(&case["options"], "lr", f64::NAN), &case["scheduler"]);
    let whole = |name| number(options, name, f64::NAN) as u64;
    match options.get("name").map(|name| name.as_str().expect("a name")) {
        None => Schedule::constant(lr),
        Some("StepLR") => Schedule::step(lr, whole("step_size"), number(options, "gamma", 0.1)),
        Some("ExponentialLR") => Schedule::exponential(lr, number(options, "gamma", f64::NAN)),
        Some("CosineAnnealingLR") => Schedule::cosine(lr, number(options, "eta_min", 0.0), whole("T_max")),
        Some("LinearLR") => {
            Schedule::linear(lr, number(options, "start_factor", 1.0 / 3.0), 1.0, whole("total_iters"))
        }
        Some("OneCycleLR") => Schedule::one_cycle(number(options, "max_lr", f64::NAN), whole("total_steps")),
        Some(other) => panic!("a schedule called {other}"),
    }
}

fn largest_difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).fold(0.0, |most, (a, b)| f64::max(most, (a - b).abs()))
}

fn golden_cases() -> Vec<Json> {
    let text = std::fs::read_to_string("tests/data/optim/optim.json").expect("the stored runs");
    let file: Json = serde_json::from_str(&text).expect("JSON");
    file["cases"].as_array().expect("a list").clone()
}

#[test]
fn trajectories_are_those_of_pytorch() -> Result<()> {
    let (mut compared, mut left_out) = (0, Vec::new());
    for (index, case) in golden_cases().iter().enumerate() {
        let Some(mut optimizer) = optimizer(case) else {
            left_out.push(case["optimizer"].as_str().unwrap().to_string());
            continue;
        };
        let schedule = schedule(case);
        let mut model = Model {
            w: Tensor::from_vec(numbers(&case["w0"]), [2, 3])?.requires_grad(),
            b: Tensor::from_vec(numbers(&case["b0"]), [3])?.requires_grad(),
        };
        for step in 0..12 {
            let what = format!("case {index}, step {step}: {} {}", case["optimizer"], case["options"]);
            optimizer.set_learning_rate(schedule.at(step as u64));
            let rate = case["lr"][step].as_f64().unwrap();
            assert!(
                (optimizer.learning_rate() - rate).abs() < 1e-15,
                "{what}: {}",
                optimizer.learning_rate()
            );

            model.w.set_grad(Tensor::from_vec(numbers(&case["grad_w"][step]), [2, 3])?)?;
            model.b.set_grad(Tensor::from_vec(numbers(&case["grad_b"][step]), [3])?)?;
            match case["clip"][0].as_str() {
                None => {}
                Some("norm") => {
                    let norm = clip_grad_norm(&model, case["clip"][1].as_f64().unwrap())?;
                    let theirs = case["grad_norm"][step].as_f64().unwrap();
                    assert!((norm - theirs).abs() < 1e-12, "{what}: norm {norm}, {theirs}");
                }
                Some("value") => clip_grad_value(&model, case["clip"][1].as_f64().unwrap())?,
                Some(other) => panic!("clipping by {other}"),
            }
            optimizer.step(&mut model)?;
            for (ours, theirs) in [(&model.w, &case["w"][step]), (&model.b, &case["b"][step])] {
                let difference = largest_difference(ours.as_slice(), &numbers(theirs));
                assert!(difference < 1e-12, "{what}: off by {difference:e}");
            }
        }
        compared += 1;
    }
    assert_eq!((compared, left_out), (24, vec!["RMSprop".to_string(); 3]));
    Ok(())
}

/// PyTorch turns the sign of the gradient before it adds the decay, which shrinks weights either way.
#[test]
fn to_maximize_is_to_descend_along_the_negative_gradient_with_the_same_decay() -> Result<()> {
    let after = |mut optimizer: Box<dyn Optimizer<f64>>, gradient: f64| -> Result<f64> {
        let mut x = Tensor::from([1.0f64]).requires_grad();
        for _ in 0..3 {
            x.set_grad(Tensor::from([gradient]))?;
            optimizer.step(&mut x)?;
        }
        x.item()
    };
    let sgd = |maximize| Box::new(Sgd::new(0.1).momentum(0.9).weight_decay(0.5).maximize(maximize));
    let adam = |maximize| Box::new(Adam::new(0.1).weight_decay(0.5).maximize(maximize));
    let adam_w = |maximize| Box::new(AdamW::new(0.1).weight_decay(0.5).maximize(maximize));
    // What PyTorch 2.15 gives.
    for (climbing, descending, expected) in [
        (after(sgd(true), 2.0)?, after(sgd(false), -2.0)?, 1.8058750000000001),
        (after(adam(true), 2.0)?, after(adam(false), -2.0)?, 1.2996184750280217),
        (after(adam_w(true), 2.0)?, after(adam_w(false), -2.0)?, 1.142624998573749),
    ] {
        assert_eq!(climbing, descending);
        assert!((climbing - expected).abs() < 1e-12, "{climbing}, {expected}");
    }
    Ok(())
}

#[test]
fn single_precision_follows_double_precision() -> Result<()> {
    fn run<T: Float>(mut optimizer: impl Optimizer<T>) -> Result<Vec<f64>> {
        let mut x =
            Tensor::from_vec([1.0, -2.0, 0.5].map(<T as Float>::from_f64).to_vec(), [3])?.requires_grad();
        for _ in 0..20 {
            x.zero_grad();
            x.square()?.square()?.sum(..)?.backward()?;
            optimizer.step(&mut x)?;
        }
        Ok(x.as_slice().iter().map(|&x| Float::to_f64(x)).collect())
    }
    let pairs = [
        (run::<f32>(Sgd::new(0.01).momentum(0.9))?, run::<f64>(Sgd::new(0.01).momentum(0.9))?),
        (run::<f32>(Adam::new(0.01))?, run::<f64>(Adam::new(0.01))?),
        (run::<f32>(AdamW::new(0.01).amsgrad(true))?, run::<f64>(AdamW::new(0.01).amsgrad(true))?),
    ];
    for (single, double) in pairs {
        assert!(largest_difference(&single, &double) < 1e-5 * double[1].abs(), "{single:?} {double:?}");
    }
    Ok(())
}

/// A network with a loss that trains it.
fn network() -> Result<Sequential> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    Ok(Sequential::new().with(Linear::new(2, 8, rng)?).with(Tanh).with(Linear::new(8, 2, rng)?))
}

fn backward(model: &Sequential) -> Result<f32> {
    let inputs = Tensor::new([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]);
    model.zero_grad();
    let loss = model.forward(&inputs)?.cross_entropy([0, 1, 1, 0])?;
    loss.backward()?;
    loss.item()
}

fn values(model: &dyn Parameters) -> Vec<f32> {
    model.named_parameters().iter().flat_map(|(_, parameter)| parameter.to_vec()).collect()
}

fn state_values(state: &OptimizerState) -> Vec<(String, u64, Vec<Vec<f32>>)> {
    let buffers = |buffers: &[Tensor]| buffers.iter().map(Tensor::to_vec).collect();
    state.parameters.iter().map(|entry| (entry.name.clone(), entry.steps, buffers(&entry.buffers))).collect()
}

fn optimizers() -> Vec<Box<dyn Optimizer>> {
    vec![
        Box::new(Sgd::new(0.2)),
        Box::new(Sgd::new(0.1).momentum(0.9).nesterov(true)),
        Box::new(Adam::new(0.05)),
        Box::new(Adam::new(0.05).amsgrad(true).weight_decay(0.001)),
        Box::new(AdamW::new(0.05)),
    ]
}

#[test]
fn a_network_learns_exclusive_or_under_every_optimizer() -> Result<()> {
    for (which, mut optimizer) in optimizers().into_iter().enumerate() {
        let mut model = network()?;
        for _ in 0..500 {
            backward(&model)?;
            optimizer.step(&mut model)?;
        }
        let loss = backward(&model)?;
        assert!(loss < 0.2, "optimizer {which}: loss {loss}"); // ln 2 = 0.69 for a guess
    }
    Ok(())
}

/// Runs five steps, then one that must fail and must change nothing.
fn refuses(
    optimizer: &mut dyn Optimizer,
    spoil: impl Fn(&mut Sequential) -> Result<()>,
    expected: &str,
) -> Result<()> {
    let mut model = network()?;
    for _ in 0..5 {
        backward(&model)?;
        optimizer.step(&mut model)?;
    }
    backward(&model)?;
    spoil(&mut model)?;
    let before = (values(&model), state_values(optimizer.state()));
    let error = optimizer.step(&mut model).unwrap_err().to_string();
    assert!(error.ends_with(expected), "{error}");
    assert!(before == (values(&model), state_values(optimizer.state())), "{expected}");
    Ok(())
}

/// The last parameter: everything before it would have been updated already.
fn last(model: &mut Sequential, change: impl Fn(&mut Tensor) -> Result<()>) -> Result<()> {
    let mut outcome = Ok(());
    model.visit_mut(&tapegrad::nn::Name::root(), &mut |name, parameter| {
        if *name == "2.bias" {
            outcome = change(parameter);
        }
    });
    outcome
}

#[test]
fn a_missing_gradient_is_named_and_nothing_is_updated() -> Result<()> {
    for mut optimizer in optimizers() {
        let spoil = |model: &mut Sequential| {
            last(model, |bias| {
                bias.zero_grad();
                Ok(())
            })
        };
        let expected = "parameter \"2.bias\" has no gradient: the loss does not depend on it, or backward has not run (freeze() excludes it)";
        refuses(&mut *optimizer, spoil, expected)?;
    }
    Ok(())
}

#[test]
fn a_gradient_that_is_not_finite_is_named_and_nothing_is_updated() -> Result<()> {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for mut optimizer in optimizers() {
            let spoil = |model: &mut Sequential| last(model, |bias| bias.set_grad(Tensor::new([0.0, value])));
            let expected = format!("the gradient of parameter \"2.bias\" at [1] is {value}");
            refuses(&mut *optimizer, spoil, &expected)?;
        }
    }
    Ok(())
}

#[test]
fn a_parameter_that_does_not_fit_is_named_and_nothing_is_updated() -> Result<()> {
    for mut optimizer in optimizers() {
        let recorded = |model: &mut Sequential| {
            last(model, |bias| {
                *bias = bias.square()?;
                Ok(())
            })
        };
        let expected = "parameter \"2.bias\" is the result of a recorded Square; detach() it first";
        refuses(&mut *optimizer, recorded, expected)?;
    }
    for mut optimizer in optimizers().into_iter().skip(1) {
        let reshaped = |model: &mut Sequential| {
            last(model, |bias| {
                *bias = Tensor::new([1.0]).requires_grad();
                bias.set_grad(Tensor::new([1.0]))
            })
        };
        refuses(&mut *optimizer, reshaped, "parameter \"2.bias\" has shape [1], its state has [2]")?;
    }
    Ok(())
}

/// Two parameters under one name, which only a hand-written walk can have.
struct Twins([Tensor; 2]);

impl Parameters for Twins {
    fn visit<'a>(
        &'a self,
        name: &tapegrad::nn::Name<'_>,
        visitor: &mut dyn FnMut(&tapegrad::nn::Name<'_>, &'a Tensor),
    ) {
        self.0.iter().for_each(|twin| visitor(&name.field("twin"), twin));
    }
    fn visit_mut(
        &mut self,
        name: &tapegrad::nn::Name<'_>,
        visitor: &mut dyn FnMut(&tapegrad::nn::Name<'_>, &mut Tensor),
    ) {
        self.0.iter_mut().for_each(|twin| visitor(&name.field("twin"), twin));
    }
}

#[test]
fn two_parameters_of_one_name_are_refused() -> Result<()> {
    let mut model = Twins([1.0, 2.0].map(|value| Tensor::new([value]).requires_grad()));
    model.0[0].add(&model.0[1])?.sum(..)?.backward()?;
    let mut optimizer = Adam::new(0.1);
    let error = optimizer.step(&mut model).unwrap_err().to_string();
    assert_eq!(error, "Adam: parameter \"twin\" shares its name with an earlier one");
    assert!(optimizer.state().parameters.is_empty());
    assert_eq!(model.0[0].to_vec(), [1.0]);
    Ok(())
}

#[test]
fn options_outside_their_range_are_refused() -> Result<()> {
    let refused: Vec<(Box<dyn Optimizer>, &str)> = vec![
        (Box::new(Sgd::new(-0.1)), "learning_rate"),
        (Box::new(Sgd::new(f64::NAN)), "learning_rate"),
        (Box::new(Sgd::new(0.1).momentum(-1.0)), "momentum"),
        (Box::new(Sgd::new(0.1).dampening(f64::INFINITY)), "dampening"),
        (Box::new(Sgd::new(0.1).weight_decay(f64::NAN)), "weight_decay"),
        (Box::new(Sgd::new(0.1).nesterov(true)), "nesterov"),
        (Box::new(Sgd::new(0.1).momentum(0.9).dampening(0.1).nesterov(true)), "nesterov"),
        (Box::new(Adam::new(f64::INFINITY)), "learning_rate"),
        (Box::new(Adam::new(0.1).betas(1.0, 0.9)), "beta1"),
        (Box::new(Adam::new(0.1).betas(0.9, -0.1)), "beta2"),
        (Box::new(AdamW::new(0.1).eps(-1e-8)), "eps"),
        (Box::new(AdamW::new(0.1).weight_decay(-1.0)), "weight_decay"),
    ];
    let mut model = network()?;
    backward(&model)?;
    let before = values(&model);
    for (mut optimizer, option) in refused {
        match optimizer.step(&mut model) {
            Err(Error::Argument { name, .. }) => assert_eq!(name, option),
            other => panic!("{option}: {other:?}"),
        }
        assert_eq!(values(&model), before);
    }
    Ok(())
}

#[test]
fn frozen_parameters_stay_and_go_on_later_with_their_state() -> Result<()> {
    let mut model = network()?;
    let mut optimizer = Adam::new(0.05);
    let mut steps = |model: &mut Sequential, count: usize| -> Result<Vec<(String, u64)>> {
        for _ in 0..count {
            backward(model)?;
            optimizer.step(model)?;
        }
        Ok(optimizer.state().parameters.iter().map(|entry| (entry.name.clone(), entry.steps)).collect())
    };
    let entry = |name: &str, steps| (name.to_string(), steps);
    last(&mut model, |bias| {
        *bias = bias.detach();
        Ok(())
    })?;
    let frozen = values(&model)[values(&model).len() - 2..].to_vec();
    assert_eq!(steps(&mut model, 3)?, [entry("0.weight", 3), entry("0.bias", 3), entry("2.weight", 3)]);
    assert_eq!(values(&model)[values(&model).len() - 2..], frozen);

    model.unfreeze();
    let expected = [entry("0.weight", 5), entry("0.bias", 5), entry("2.weight", 5), entry("2.bias", 2)];
    assert_eq!(steps(&mut model, 2)?, expected);
    assert_ne!(values(&model)[values(&model).len() - 2..], frozen);

    let mut first = None;
    model.visit_mut(&tapegrad::nn::Name::root(), &mut |name, parameter| {
        if *name == "0.weight" {
            *parameter = parameter.detach();
            first = Some(parameter.to_vec());
        }
    });
    let expected = [entry("0.weight", 5), entry("0.bias", 6), entry("2.weight", 6), entry("2.bias", 3)];
    assert_eq!(steps(&mut model, 1)?, expected);
    assert_eq!(model.named_parameters()[0].1.to_vec(), first.unwrap());
    Ok(())
}

#[test]
fn a_state_taken_out_and_put_back_continues_bit_for_bit() -> Result<()> {
    for (mut through, mut resumed) in optimizers().into_iter().zip(optimizers()) {
        let mut model = network()?;
        for _ in 0..7 {
            backward(&model)?;
            through.step(&mut model)?;
        }
        let saved = through.state().clone();
        let saved_values = state_values(&saved);
        let mut copy = network()?;
        let parameters: Vec<Tensor> =
            model.named_parameters().iter().map(|(_, parameter)| parameter.detach()).collect();
        let mut next = parameters.into_iter();
        copy.visit_mut(&tapegrad::nn::Name::root(), &mut |_, parameter| {
            *parameter = next.next().unwrap().requires_grad();
        });
        resumed.set_state(saved.clone())?;
        for _ in 0..7 {
            for (model, optimizer) in [(&mut model, &mut through), (&mut copy, &mut resumed)] {
                backward(model)?;
                optimizer.step(model)?;
            }
        }
        assert_eq!(values(&copy), values(&model));
        assert_eq!(state_values(resumed.state()), state_values(through.state()));
        assert_eq!(state_values(&saved), saved_values, "a snapshot does not change");
    }
    Ok(())
}

#[test]
fn a_state_that_the_optimizer_cannot_have_written_is_refused() -> Result<()> {
    let mut model = network()?;
    let mut adam = Adam::new(0.05);
    backward(&model)?;
    adam.step(&mut model)?;
    let good = adam.state().clone();

    let mut with_momentum = Sgd::new(0.1).momentum(0.9);
    let error = Optimizer::<f32>::set_state(&mut with_momentum, good.clone()).unwrap_err().to_string();
    assert_eq!(error, "Sgd: parameter \"0.weight\" has 2 buffers in the state, these options take 1");

    let mut twice = good.clone();
    twice.parameters[1].name = "0.weight".into();
    let error = adam.set_state(twice).unwrap_err().to_string();
    assert_eq!(error, "Adam: parameter \"0.weight\" has two entries in the state");

    let mut uneven = good.clone();
    uneven.parameters[2].buffers[1] = Tensor::new([1.0]);
    let error = adam.set_state(uneven).unwrap_err().to_string();
    assert_eq!(error, "Adam: parameter \"2.weight\" has buffers of different shapes in the state");
    assert_eq!(state_values(adam.state()), state_values(&good));

    let mut tracked = good.clone();
    tracked.parameters[0].buffers[0] = tracked.parameters[0].buffers[0].square()?.requires_grad().square()?;
    adam.set_state(tracked)?;
    backward(&model)?;
    adam.step(&mut model)?;

    let mut old = good;
    old.parameters[0].steps = u64::MAX; // a number of steps that cannot be counted on from
    adam.set_state(old)?;
    adam.step(&mut model)?;
    assert!(values(&model).iter().all(|value| value.is_finite()));
    Ok(())
}

#[test]
fn clipping_leaves_small_gradients_as_they_are() -> Result<()> {
    let model = [Tensor::new([3.0]).requires_grad(), Tensor::new([0.0]).requires_grad()];
    model[0].set_grad(Tensor::new([3.0]))?;
    model[1].set_grad(Tensor::new([-4.0]))?;
    assert_eq!(clip_grad_norm(&model, 5.1)?, 5.0);
    assert_eq!(model[1].grad().unwrap().to_vec(), [-4.0]);
    assert_eq!(clip_grad_norm(&model, 2.5)?, 5.0);
    assert!((model[0].grad().unwrap().item()? - 1.5).abs() < 1e-6);
    clip_grad_value(&model, 1.75)?;
    assert_eq!(model[1].grad().unwrap().to_vec(), [-1.75]);
    let norm = clip_grad_norm(&model, 0.0)?;
    assert!((norm - 1.5f64.hypot(1.75)).abs() < 1e-6, "{norm}");
    assert_eq!(model.map(|leaf| leaf.grad().unwrap().item().unwrap().abs()), [0.0, 0.0]);
    Ok(())
}

#[test]
fn the_norm_neither_overflows_nor_vanishes() -> Result<()> {
    for scale in [1e200, 1e-200, 1e-320, 0.0] {
        let model = vec![Tensor::from([0.0, 0.0]).requires_grad(), Tensor::from([0.0]).requires_grad()];
        model[0].set_grad(Tensor::from([2.0 * scale, -3.0 * scale]))?;
        model[1].set_grad(Tensor::from([6.0 * scale]))?;
        let norm = clip_grad_norm(&model, 1.0)?;
        assert!(
            (norm - 7.0 * scale).abs() <= 1e-3f64.min(scale) * 1e-14 + 1e-15 * norm,
            "{norm:e} at {scale:e}"
        );
    }
    Ok(())
}

#[test]
fn clipping_names_a_bad_gradient_and_changes_none() -> Result<()> {
    let model = [Tensor::new([3.0]).requires_grad(), Tensor::new([0.0]).requires_grad()];
    model[0].set_grad(Tensor::new([3.0]))?;
    let message = "parameter \"1\" has no gradient: the loss does not depend on it, or backward has not run (freeze() excludes it)";
    for result in [clip_grad_norm(&model, 1.0).map(drop), clip_grad_value(&model, 1.0)] {
        assert!(result.unwrap_err().to_string().ends_with(message));
    }
    model[1].set_grad(Tensor::new([f32::NAN]))?;
    for result in [clip_grad_norm(&model, 1.0).map(drop), clip_grad_value(&model, 1.0)] {
        assert!(matches!(result, Err(Error::NotFinite { .. })));
    }
    model[1].set_grad(Tensor::new([4.0]))?;
    for bad in [-1.0, f64::NAN] {
        assert!(matches!(clip_grad_norm(&model, bad), Err(Error::Argument { name: "max_norm", .. })));
        assert!(matches!(clip_grad_value(&model, bad), Err(Error::Argument { name: "limit", .. })));
    }
    assert_eq!(model[0].grad().unwrap().to_vec(), [3.0]);

    let kept = model[0].grad().unwrap(); // somebody else's handle does not change
    clip_grad_value(&model, 1.0)?;
    assert_eq!((kept.to_vec(), model[0].grad().unwrap().to_vec()), (vec![3.0], vec![1.0]));
    Ok(())
}

#[test]
fn schedules_follow_their_formulas_at_and_beyond_their_ends() {
    let close = |a: f64, b: f64| (a - b).abs() < 1e-15;
    let step = Schedule::step(1.0, 3, 0.5);
    assert_eq!([0, 2, 3, 5, 6].map(|n| step.at(n)), [1.0, 1.0, 0.5, 0.5, 0.25]);
    let cosine = Schedule::cosine(1.0, 0.5, 4);
    assert!(close(cosine.at(2), 0.75) && close(cosine.at(4), 0.5) && close(cosine.at(8), 1.0));
    let linear = Schedule::linear(2.0, 0.5, 0.0, 4);
    assert_eq!([0, 2, 4, 100].map(|n| linear.at(n)), [1.0, 0.5, 0.0, 0.0]);
    let warm = Schedule::exponential(0.5, 0.1).warm_up(5, 0.2);
    assert!(
        close(warm.at(0), 0.1)
            && close(warm.at(4), 0.42)
            && close(warm.at(5), 0.5)
            && close(warm.at(6), 0.05)
    );
    let cycle = Schedule::one_cycle(1.0, 10);
    assert!(close(cycle.at(0), 0.04) && close(cycle.at(2), 1.0) && close(cycle.at(9), 4e-6));
    assert_eq!(cycle.at(10), cycle.at(9));
    for degenerate in [
        Schedule::step(1.0, 0, 0.5),
        Schedule::cosine(1.0, 0.0, 0),
        Schedule::linear(1.0, 0.0, 1.0, 0),
        Schedule::one_cycle(1.0, 0),
        Schedule::one_cycle(1.0, 1),
        Schedule::constant(1.0).then(0, Schedule::constant(0.5)),
    ] {
        for n in [0, 1, 2, u64::MAX] {
            assert!((0.0..=1.0).contains(&degenerate.at(n)), "{degenerate:?} at {n}: {}", degenerate.at(n));
        }
    }
}
