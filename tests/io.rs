//! Models in files: written by PyTorch, written here, cut off, tampered with, and resumed from.

use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use safetensors::SafeTensors;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use tapegrad::io::{self, Checkpoint};
use tapegrad::nn::{
    ChaCha8Rng, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, Name, Parameters, Relu, Sequential,
};
use tapegrad::optim::{AdamW, Optimizer, Schedule};
use tapegrad::{Conv2dOptions, Difference, Error, Float, Result, Tensor, no_grad};

/// A path below the build's own folder that no other test uses.
fn path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("io");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoint").join(name)
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn mlp(seed: u64) -> Sequential {
    let rng = &mut rng(seed);
    let (first, second) = (Linear::new(4, 8, rng).unwrap(), Linear::new(8, 3, rng).unwrap());
    Sequential::new().with(first).with(Relu).with(second)
}

fn convolutional(seed: u64) -> Sequential<f64> {
    let rng = &mut rng(seed);
    let convolution = Conv2d::<f64>::new(1, 4, 3, Conv2dOptions::new().padding(1), rng).unwrap();
    let last = Linear::<f64>::new(64, 10, rng).unwrap();
    Sequential::new().with(convolution).with(Relu).with(MaxPool2d::new(2)).with(Flatten).with(last)
}

fn bits<T: Float>(model: &impl Parameters<T>) -> Vec<(String, Vec<u64>)> {
    let bits = |tensor: &Tensor<T>| tensor.as_slice().iter().map(|&x| x.to_f64().to_bits()).collect();
    model.named_parameters().into_iter().map(|(name, tensor)| (name, bits(tensor))).collect()
}

// ---- Files of PyTorch --------------------------------------------------------------------------

fn numbers(json: &Json) -> Vec<f64> {
    match json {
        Json::Array(rows) => rows.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

/// Loads what PyTorch saved, and compares the outputs with those of PyTorch's model.
fn assert_outputs<T: Float>(name: &str, mut model: Sequential<T>, input: &[usize], tolerance: f64) {
    let cases: Json = serde_json::from_str(&fs::read_to_string(golden("checkpoint.json")).unwrap()).unwrap();
    let case = &cases[name];
    io::load(&mut model, golden(&format!("{name}.safetensors"))).unwrap();
    let values = numbers(&case["input"]).into_iter().map(T::from_f64).collect();
    let output = no_grad(|| model.forward(&Tensor::from_vec(values, input).unwrap())).unwrap();
    let expected = numbers(&case["output"]);
    assert_eq!(output.len(), expected.len());
    for (&actual, expected) in output.as_slice().iter().zip(expected) {
        assert!((actual.to_f64() - expected).abs() <= tolerance, "{name}: {actual} and {expected}");
    }
}

#[test]
fn models_that_pytorch_saved_give_its_outputs() {
    let cases: Json = serde_json::from_str(&fs::read_to_string(golden("checkpoint.json")).unwrap()).unwrap();
    let rows = cases["torch_mlp"]["input"].as_array().unwrap().len();
    assert_outputs("torch_mlp", mlp(0), &[rows, 4], 1e-6);
    assert_outputs("torch_conv_f64", convolutional(0), &[2, 1, 8, 8], 1e-15);
}

#[test]
fn a_file_that_is_loaded_and_saved_holds_the_tensors_that_pytorch_saved() {
    let mut model = convolutional(1);
    io::load(&mut model, golden("torch_conv_f64.safetensors")).unwrap();
    let ours = path("as_pytorch.safetensors");
    io::save(&model, &ours).unwrap();
    let (theirs, ours) = (fs::read(golden("torch_conv_f64.safetensors")).unwrap(), fs::read(ours).unwrap());
    let (theirs, ours) =
        (SafeTensors::deserialize(&theirs).unwrap(), SafeTensors::deserialize(&ours).unwrap());
    assert_eq!(theirs.len(), 4);
    for (name, theirs) in theirs.iter() {
        assert_eq!(ours.tensor(name).unwrap(), theirs, "{name}");
    }
}

// ---- Round trips -------------------------------------------------------------------------------

#[test]
fn the_bytes_of_a_file() {
    let file = path("bytes.safetensors");
    io::save_tensors([("b", &Tensor::new([[1.0, -2.0]])), ("a", &Tensor::new(0.5))], &file).unwrap();
    let header = br#"{"b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}"#;
    let padded = header.len().next_multiple_of(8);
    let mut expected = (padded as u64).to_le_bytes().to_vec();
    expected.extend(header);
    expected.resize(8 + padded, b' ');
    for number in [1.0f32, -2.0, 0.5] {
        expected.extend(number.to_le_bytes());
    }
    assert_eq!(fs::read(file).unwrap(), expected);
}

#[test]
fn every_bit_survives() {
    let numbers =
        vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, 0.1, f64::MAX];
    let odd = f64::from_bits(0x7ff0_0000_0000_0001); // a signalling nan
    let tensors = BTreeMap::from([
        ("värde.0".to_string(), Tensor::from_vec([numbers, vec![odd]].concat(), [2, 5]).unwrap()),
        ("empty".to_string(), Tensor::zeros([3, 0, 2]).unwrap()),
        ("a \"name\"\n".to_string(), Tensor::from(1.5)),
    ]);
    let file = path("every_bit.safetensors");
    io::save_tensors(&tensors, &file).unwrap();
    let loaded = io::load_tensors::<f64>(&file).unwrap();
    assert_eq!(loaded.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
    for (name, tensor) in &tensors {
        assert_eq!(loaded[name].shape(), tensor.shape());
        let bits = |x: &Tensor<f64>| x.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&loaded[name]), bits(tensor), "{name}");
        assert!(!loaded[name].is_tracked());
    }
    io::save_tensors::<f32>(Vec::<(String, &Tensor)>::new(), &file).unwrap();
    assert!(io::load_tensors::<f32>(&file).unwrap().is_empty());
}

#[test]
fn loading_changes_values_in_place_and_nothing_else() {
    let file = path("in_place.safetensors");
    let trained = mlp(1);
    io::save(&trained, &file).unwrap();

    let mut model = mlp(2);
    let input = Tensor::new([[1.0, 2.0, 3.0, 4.0]]);
    model.forward(&input).unwrap().sum(..).unwrap().backward().unwrap();
    let gradients = |model: &Sequential| -> Vec<_> {
        model.named_parameters().iter().map(|(_, parameter)| parameter.grad().map(|x| x.to_vec())).collect()
    };
    let before = gradients(&model);
    let snapshot = model.named_parameters()[0].1.clone();
    let kept = snapshot.to_vec();
    io::load(&mut model, &file).unwrap();
    assert_eq!(bits(&model), bits(&trained));
    assert_eq!(gradients(&model), before);
    assert_eq!(snapshot.to_vec(), kept, "a clone is a snapshot");
    assert!(
        model.named_parameters().iter().all(|(_, parameter)| parameter.is_leaf() && parameter.is_tracked())
    );

    let mut frozen = mlp(3);
    frozen.freeze();
    io::load(&mut frozen, &file).unwrap();
    assert_eq!(bits(&frozen), bits(&trained));
    assert!(frozen.named_parameters().iter().all(|(_, parameter)| !parameter.is_tracked()));
}

// ---- What does not fit -------------------------------------------------------------------------

#[track_caller]
fn assert_refused<M: Parameters>(model: &mut M, file: &PathBuf, text: &str) {
    let before = bits(model);
    let error = io::load(model, file).unwrap_err();
    assert_eq!(error.to_string().replace(&file.display().to_string(), "FILE"), text);
    assert_eq!(bits(model), before);
}

#[test]
fn a_file_of_another_model_is_refused_with_all_differences() {
    let file = path("another.safetensors");
    let tensors = [
        ("0.weight", Tensor::zeros([8, 5])),
        ("0.bias", Tensor::zeros([8])),
        ("1.weight", Tensor::zeros([3, 8])),
    ];
    let tensors = tensors.map(|(name, tensor)| (name, tensor.unwrap()));
    io::save_tensors::<f32>(tensors.iter().map(|(name, tensor)| (*name, tensor)), &file).unwrap();
    assert_refused(
        &mut mlp(0),
        &file,
        "load: the saved state does not fit: 1.weight [3, 8] is unexpected; 0.weight is [8, 5], expected [8, 4]; 2.bias [3] is missing; 2.weight [3, 8] is missing",
    );
    let mut many: Vec<Tensor> = (0..30).map(|_| Tensor::new(0.0)).collect();
    let error = io::load(&mut many, &file).unwrap_err();
    assert!(matches!(&error, Error::StateMismatch { differences, .. } if differences.len() == 33));
    assert!(error.to_string().ends_with("; and 23 more"), "{error}");
}

#[test]
fn another_precision_is_refused_and_can_be_converted_by_the_caller() {
    let file = path("precision.safetensors");
    io::save(&[Tensor::new([0.1, 0.2])], &file).unwrap();
    let mut model = [Tensor::from([1.0, 2.0])];
    let error = io::load(&mut model, &file).unwrap_err();
    assert_eq!(error.to_string(), "load: the saved state does not fit: 0 is F32, expected f64");
    assert!(io::load_tensors::<f64>(&file).is_err());

    let tensors = io::load_tensors::<f32>(&file).unwrap();
    let converted = tensors.into_iter().map(|(name, tensor)| (name, tensor.to_f64().unwrap())).collect();
    io::assign(&mut model, &converted).unwrap();
    assert_eq!(model[0].to_vec(), [f64::from(0.1f32), f64::from(0.2f32)]);

    // What this crate has no tensors of.
    let data = [1u8, 2];
    let half = safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, vec![1], &data).unwrap();
    fs::write(&file, safetensors::serialize([("0", half)], None).unwrap()).unwrap();
    let differences = vec![
        Difference::Shape { name: "0".into(), expected: vec![2], actual: vec![1] },
        Difference::DType { name: "0".into(), expected: tapegrad::DType::F64, actual: "BF16".into() },
    ];
    assert_eq!(io::load(&mut model, &file), Err(Error::StateMismatch { op: "load", differences }));
}

#[test]
fn a_parameter_that_is_a_result_is_not_overwritten() {
    let file = path("result.safetensors");
    io::save(&[Tensor::new([1.0]), Tensor::new([2.0])], &file).unwrap();
    let leaf = Tensor::new([5.0]).requires_grad();
    let mut model = [leaf.clone(), leaf.exp().unwrap()];
    assert!(matches!(io::load(&mut model, &file), Err(Error::NotLeaf { step: "Exp", .. })));
    assert_eq!(model[0].to_vec(), [5.0]);
}

#[test]
fn names_that_a_file_cannot_hold_are_refused_and_the_old_file_stays() {
    let file = path("names.safetensors");
    let tensor = Tensor::new([1.0]);
    io::save_tensors([("kept", &tensor)], &file).unwrap();
    for names in [["same", "same"], ["__metadata__", "x"]] {
        let error = io::save_tensors(names.map(|name| (name, &tensor)), &file).unwrap_err();
        assert!(matches!(error, Error::Argument { name: "the name of a tensor", .. }), "{error}");
    }
    assert!(io::load_tensors::<f32>(&file).unwrap().contains_key("kept"));
}

/// Two parameters of one name, the first of another shape than the second.
struct Twins([Tensor; 2]);

impl Parameters for Twins {
    fn visit<'a>(&'a self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &'a Tensor)) {
        self.0.iter().for_each(|twin| visitor(&name.field("twin"), twin));
    }
    fn visit_mut(&mut self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &mut Tensor)) {
        self.0.iter_mut().for_each(|twin| visitor(&name.field("twin"), twin));
    }
}

#[test]
fn two_parameters_of_one_name_are_refused() {
    let file = path("twins.safetensors");
    let saved = Tensor::new([5.0, 6.0]);
    io::save_tensors([("twin", &saved)], &file).unwrap();
    let mut twins = Twins([Tensor::new([1.0]), Tensor::new([2.0, 3.0])]);
    assert_refused(&mut twins, &file, "load: parameter \"twin\" shares its name with an earlier one");
    let error = io::assign(&mut twins, &[("twin".to_string(), saved.clone())].into()).unwrap_err();
    assert!(matches!(error, Error::Parameter { op: "assign", .. }), "{error}");
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert_tensors("model", [("twin", &saved)]).unwrap();
    let error = checkpoint.restore("model", &mut twins).unwrap_err();
    assert!(matches!(error, Error::Parameter { op: "restore", .. }), "{error}");
    assert_eq!(twins.0[1].to_vec(), [2.0, 3.0]);
}

#[test]
fn what_is_no_file_is_refused() {
    let kind = |result: Result<()>| match result {
        Err(Error::File { kind, .. }) => kind,
        other => panic!("{other:?}"),
    };
    let missing = path("no").join("such").join("file");
    assert_eq!(kind(io::load(&mut mlp(0), &missing)), std::io::ErrorKind::NotFound);
    assert_eq!(kind(io::save(&mlp(0), &missing)), std::io::ErrorKind::NotFound);
    let folder = path("folder");
    fs::create_dir_all(&folder).unwrap();
    assert_eq!(kind(io::load(&mut mlp(0), &folder)), std::io::ErrorKind::InvalidInput);
    assert_eq!(kind(io::save(&mlp(0), &folder)), std::io::ErrorKind::InvalidInput);
    assert!(io::save(&mlp(0), "").is_err());
    if cfg!(unix) {
        assert_eq!(kind(io::load(&mut mlp(0), "/dev/zero")), std::io::ErrorKind::InvalidInput);
    }
    let error = io::load(&mut mlp(0), &missing).unwrap_err().to_string();
    assert!(error.starts_with(&format!("load: {}: ", missing.display())), "{error}");
}

// ---- Hostile files -----------------------------------------------------------------------------

fn file_of(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn headers_that_lie_are_refused_before_memory_is_asked_for() {
    let file = path("lies.safetensors");
    let one = |shape: &str, offsets: &str| {
        format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let huge = 1u64 << 46;
    let lies = [
        vec![],
        vec![1, 0, 0],
        u64::MAX.to_le_bytes().to_vec(),
        100_000_001u64.to_le_bytes().to_vec(),
        99_000_000u64.to_le_bytes().to_vec(),
        file_of("", &[]),
        file_of("[]", &[]),
        file_of("{", &[]),
        file_of(&"[".repeat(100_000), &[]),
        file_of(r#"{"x":1}"#, &[]),
        file_of(&one(&format!("[{huge}]"), &format!("[0,{}]", huge * 4)), &[0; 16]),
        file_of(&one("[4294967296,4294967296]", "[0,0]"), &[]),
        file_of(&one("[18446744073709551615,2]", "[0,16]"), &[0; 16]),
        file_of(&one("[9223372036854775807,0,9223372036854775807]", "[0,0]"), &[]),
        file_of(&one("[0,9223372036854775807,9223372036854775807]", "[0,0]"), &[]),
        file_of(&one("[-1]", "[0,4]"), &[0; 4]),
        file_of(&one("[1]", "[4,8]"), &[0; 8]),
        file_of(&one("[1]", "[4,0]"), &[0; 4]),
        file_of(&one("[2]", "[0,4]"), &[0; 4]),
        file_of(&one("[1]", "[0,4]"), &[0; 3]),
        file_of(&one("[1]", "[0,4]"), &[0; 5]),
        file_of(&one("[1]", "[0,4]").replace("F32", "F33"), &[0; 4]),
        file_of(
            "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
            &[0; 4],
        ),
    ];
    for lie in lies {
        fs::write(&file, &lie).unwrap();
        let shown = String::from_utf8_lossy(&lie[..lie.len().min(200)]).into_owned();
        let mut model = [Tensor::new([3.0])];
        assert!(matches!(io::load_tensors::<f32>(&file), Err(Error::FileFormat { .. })), "{shown}");
        assert!(io::load(&mut model, &file).is_err(), "{shown}");
        assert!(matches!(Checkpoint::<f32>::load(&file), Err(Error::FileFormat { .. })), "{shown}");
        assert_eq!(model[0].to_vec(), [3.0]);
    }
    let honest = file_of(&one("[1]", "[0,4]"), &1.5f32.to_le_bytes());
    fs::write(&file, honest).unwrap();
    assert_eq!(io::load_tensors::<f32>(&file).unwrap()["x"].to_vec(), [1.5]);
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_refused() {
    let whole = fs::read(golden("torch_mlp.safetensors")).unwrap();
    let file = path("cut_off.safetensors");
    let mut model = mlp(0);
    let before = bits(&model);
    for length in 0..whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        let error = io::load(&mut model, &file).unwrap_err();
        assert!(matches!(error, Error::FileFormat { op: "load", .. }), "{length}: {error}");
    }
    assert_eq!(bits(&model), before);
    fs::write(&file, &whole).unwrap();
    io::load(&mut model, &file).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is done to a file, loading it ends in a whole model or in an error and the old model.
    #[test]
    fn a_file_that_was_tampered_with_changes_all_or_nothing(
        changes in prop::collection::vec((0usize..600, any::<u8>(), 0u8..4), 1..6),
        number in any::<u32>(),
    ) {
        let mut bytes = fs::read(golden("torch_mlp.safetensors")).unwrap();
        for (at, byte, kind) in changes {
            let at = at % bytes.len().max(1);
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"[]{}\":,0123456789-eE "[usize::from(byte) % 21]),
            }
        }
        let file = path(&format!("tampered_{number}.safetensors"));
        fs::write(&file, &bytes).unwrap();
        let mut model = mlp(0);
        let before = bits(&model);
        let loaded = io::load(&mut model, &file);
        let _ = io::load_tensors::<f64>(&file);
        let _ = Checkpoint::<f32>::load(&file);
        fs::remove_file(&file).unwrap();
        match loaded {
            Ok(()) => prop_assert_ne!(bits(&model), before),
            Err(Error::FileFormat { .. } | Error::StateMismatch { .. }) => prop_assert_eq!(bits(&model), before),
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }
}

// ---- Checkpoints -------------------------------------------------------------------------------

/// A run whose every part is random: the order of the samples, dropout, the start.
struct Run {
    model: Sequential,
    optimizer: AdamW,
    schedule: Schedule,
    rng: ChaCha8Rng,
    steps: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = rng(seed);
        let (first, dropout) = (Linear::new(4, 16, &mut rng).unwrap(), Dropout::new(0.3, &mut rng).unwrap());
        let last = Linear::new(16, 3, &mut rng).unwrap();
        let model = Sequential::new().with(first).with(Relu).with(dropout).with(last);
        Run { model, optimizer: AdamW::new(0.05), schedule: Schedule::cosine(0.05, 0.0, 20), rng, steps: 0 }
    }

    fn train(&mut self, steps: u64) -> Result<()> {
        for _ in 0..steps {
            let mut order: Vec<i64> = (0..12).collect();
            order.shuffle(&mut self.rng);
            let inputs = Tensor::arange(0.0, 48.0, 1.0)?.mul(0.05)?.reshape([12, 4])?;
            let labels: Vec<i64> = order.iter().map(|row| row % 3).collect();
            let logits = self.model.forward(&inputs.index_select(0, &order)?)?;
            self.model.zero_grad();
            logits.cross_entropy(labels)?.backward()?;
            self.optimizer.set_learning_rate(self.schedule.at(self.steps as _));
            self.optimizer.step(&mut self.model)?;
            self.steps += 1;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("model", &mut self.model)?;
        checkpoint.insert_optimizer("optimizer", &self.optimizer)?;
        checkpoint.insert_generator("order", &self.rng)?;
        checkpoint.insert_value("steps", self.steps)?;
        Ok(checkpoint)
    }

    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.restore("model", &mut self.model)?;
        checkpoint.restore_optimizer("optimizer", &mut self.optimizer)?;
        self.rng = checkpoint.generator("order")?;
        self.steps = checkpoint.value("steps")?;
        Ok(())
    }
}

#[test]
fn a_run_that_is_resumed_goes_on_bit_for_bit() -> Result<()> {
    let mut whole = Run::new(1);
    whole.train(10)?;
    let mut first_half = Run::new(1);
    first_half.train(4)?;
    let file = path("run.safetensors");
    let checkpoint = first_half.checkpoint()?;
    first_half.train(3)?; // what was put in stays as it was
    checkpoint.save(&file)?;

    let mut second_half = Run::new(2);
    second_half.resume(&Checkpoint::load(&file)?)?;
    second_half.train(6)?;
    assert_eq!(bits(&second_half.model), bits(&whole.model));
    assert!(second_half.rng == whole.rng);

    // Without any one part of it, it is another run.
    let fresh = || Run::new(2);
    let without: [fn(&mut Run, Run); 4] = [
        |run, fresh| run.optimizer = fresh.optimizer,
        |run, fresh| run.rng = fresh.rng,
        |run, fresh| run.steps = fresh.steps,
        |run, mut fresh| {
            // The same parameters, and another state of the dropout.
            let parameters = run.model.named_parameters().into_iter();
            let parameters = parameters.map(|(name, value)| (name, value.clone())).collect();
            io::assign(&mut fresh.model, &parameters).unwrap();
            run.model = fresh.model;
        },
    ];
    for (part, take_away) in without.iter().enumerate() {
        let mut other = fresh();
        other.resume(&Checkpoint::load(&file)?)?;
        take_away(&mut other, fresh());
        other.train(6)?;
        assert_ne!(bits(&other.model), bits(&whole.model), "part {part}");
    }
    Ok(())
}

#[test]
fn the_state_of_an_optimizer_survives_and_only_its_own_kind_takes_it() -> Result<()> {
    let mut run = Run::new(3);
    run.train(3)?;
    run.optimizer.set_learning_rate(0.1 + 0.2);
    let file = path("optimizer.safetensors");
    run.checkpoint()?.save(&file)?;
    let checkpoint = Checkpoint::load(&file)?;
    let mut resumed = AdamW::new(1.0);
    checkpoint.restore_optimizer("optimizer", &mut resumed)?;
    assert_eq!(resumed.learning_rate(), 0.1 + 0.2);
    let (state, expected) = (&resumed.state().parameters, &run.optimizer.state().parameters);
    assert_eq!(state.len(), 4);
    for (entry, expected) in state.iter().zip(expected) {
        assert_eq!((&entry.name, entry.steps), (&expected.name, 3));
        for (buffer, expected) in entry.buffers.iter().zip(&expected.buffers) {
            assert_eq!((buffer.shape(), buffer.to_vec()), (expected.shape(), expected.to_vec()));
        }
    }

    let mut other = AdamW::new(1.0).amsgrad(true);
    let refused = checkpoint.restore_optimizer("optimizer", &mut other);
    assert!(matches!(refused, Err(Error::Parameter { .. })), "{refused:?}");
    assert_eq!((other.learning_rate(), other.state().parameters.len()), (1.0, 0));
    assert!(matches!(checkpoint.restore_optimizer("model", &mut other), Err(Error::Argument { .. })));

    for summary in
        [r#"[\"x\",[]]"#, r#"[\"1\",[[\"w\",1,1000000000000]]]"#, r#"[\"1\",[[\"w\",-1,0]]]"#, "{}"]
    {
        fs::write(&file, file_of(&format!(r#"{{"__metadata__":{{"optimizer o":"{summary}"}}}}"#), &[]))
            .unwrap();
        let refused = Checkpoint::load(&file)?.restore_optimizer("o", &mut other);
        assert!(matches!(refused, Err(Error::Argument { .. })), "{summary}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_generator_continues_from_any_position_and_stream() -> Result<()> {
    let file = path("generators.safetensors");
    let mut rng = rng(7);
    rng.set_stream(u64::MAX - 1);
    rng.set_word_pos((1 << 68) - 5); // near the end of what it can count
    let _: u8 = rng.random();
    let mut checkpoint = Checkpoint::<f32>::new();
    checkpoint.insert_generator("rng", &rng)?;
    checkpoint.insert_value("best loss", 0.1 + 0.2)?;
    checkpoint.save(&file)?;
    let checkpoint = Checkpoint::<f32>::load(&file)?;
    let mut resumed = checkpoint.generator("rng")?;
    for _ in 0..40 {
        assert_eq!(resumed.random::<u32>(), rng.random::<u32>());
    }
    assert_eq!(checkpoint.value::<f64>("best loss")?, 0.1 + 0.2);
    Ok(())
}

#[test]
fn a_checkpoint_refuses_what_is_not_in_it() -> Result<()> {
    let mut run = Run::new(1);
    let mut checkpoint = run.checkpoint()?;
    let refused = |result: Result<()>| result.unwrap_err().to_string();
    assert_eq!(
        refused(checkpoint.insert("model", &mut mlp(0))),
        "Checkpoint::insert: the name is \"model.0.bias\", it must be used once"
    );
    assert!(checkpoint.insert_value("steps", 1).is_err());
    assert_eq!(
        refused(checkpoint.generator("shuffling").map(drop)),
        "Checkpoint: the name is \"shuffling\", it must be the name of a generator in the checkpoint"
    );
    assert_eq!(
        refused(checkpoint.value::<u8>("model").map(drop)),
        "Checkpoint: the name is \"model\", it must be the name of a value in the checkpoint"
    );
    checkpoint.insert_value("text", "seven")?;
    assert_eq!(
        refused(checkpoint.value::<u8>("text").map(drop)),
        r#"Checkpoint::value: the value is "seven" under "text", it must be readable as the type that is asked for"#
    );
    let mut other = mlp(0);
    let before = bits(&other);
    assert_eq!(
        refused(checkpoint.restore("model", &mut other)),
        "restore: the saved state does not fit: 3.bias [3] is unexpected; 3.weight [3, 16] is unexpected; 0.bias is [16], expected [8]; 0.weight is [16, 4], expected [8, 4]; 2.bias [3] is missing; 2.weight [3, 8] is missing; the generator 2 is unexpected"
    );
    assert_eq!(bits(&other), before);
    let mut without = Checkpoint::new();
    without.insert_tensors("model", checkpoint.tensors("model").iter())?;
    let text = refused(without.restore("model", &mut run.model));
    assert_eq!(text, "restore: the saved state does not fit: the generator 2 is missing");
    Ok(())
}

#[test]
fn a_generator_whose_state_makes_no_sense_is_refused() {
    let file = path("generator_lies.safetensors");
    let seed = "0".repeat(64);
    let state = |state: &str| file_of(&format!(r#"{{"__metadata__":{{"generator x":"{state}"}}}}"#), &[]);
    fs::write(&file, state(&format!("chacha8 {seed} 0 0"))).unwrap();
    assert!(Checkpoint::<f32>::load(&file).unwrap().generator("x").is_ok());
    for lie in [
        String::new(),
        format!("chacha8 {seed} 0"),
        format!("chacha8 {seed} 0 0 0"),
        format!("chacha8 {seed} -1 0"),
        format!("chacha8 {seed} 0 {}0", u128::MAX),
        format!("chacha20 {seed} 0 0"),
        format!("chacha8 {}ä 0 0", &seed[2..]),
        format!("chacha8 +{} 0 0", &seed[1..]),
    ] {
        fs::write(&file, state(&lie)).unwrap();
        let error = Checkpoint::<f32>::load(&file).unwrap_err();
        assert!(matches!(error, Error::FileFormat { .. }), "{lie}: {error}");
    }
}

#[test]
fn a_single_tensor_is_a_model_of_its_own() -> Result<()> {
    let file = path("single.safetensors");
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("temperature", &mut Tensor::new([1.5]).requires_grad())?;
    checkpoint.save(&file)?;
    let mut temperature: Tensor = Tensor::zeros([1])?.requires_grad();
    Checkpoint::load(&file)?.restore("temperature", &mut temperature)?;
    assert_eq!(temperature.to_vec(), [1.5]);
    io::save(&temperature, &file)?;
    temperature.as_mut_slice()?[0] = 0.0;
    io::load(&mut temperature, &file)?;
    assert_eq!(temperature.to_vec(), [1.5]);
    Ok(())
}
