//! Layers: their values, how they start, and dropout.

use rand::SeedableRng;
use tapegrad::nn::{
    ChaCha8Rng, Dropout, Embedding, Flatten, Gelu, Linear, Module, Name, Parameters, Relu, Sequential,
    Sigmoid, Softplus, Tanh,
};
use tapegrad::{Error, Indices, Result, Tensor, gradcheck, parameters};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

#[test]
fn linear_is_the_product_with_the_transposed_weight_plus_the_bias() -> Result<()> {
    let mut layer = Linear::new(2, 3, &mut rng(0))?;
    layer.weight = Tensor::new([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).requires_grad();
    layer.bias = Some(Tensor::new([0.5, -0.5, 1.5]).requires_grad());
    let y = layer.forward(&Tensor::new([[1.0, 10.0], [-1.0, 1.0]]))?;
    assert_eq!(y.to_vec(), [21.5, 42.5, 66.5, 1.5, 0.5, 2.5]);
    y.sum(0)?.mul(Tensor::new([1.0, 2.0, 3.0]))?.sum(..)?.backward()?;
    assert_eq!(layer.weight.grad().unwrap().to_vec(), [0.0, 11.0, 0.0, 22.0, 0.0, 33.0]);
    assert_eq!(layer.bias.unwrap().grad().unwrap().to_vec(), [2.0, 4.0, 6.0]);
    Ok(())
}

#[test]
fn linear_starts_uniform_between_bounds_that_its_inputs_set() -> Result<()> {
    let layer: Linear<f64> = Linear::new(400, 50, &mut rng(1))?;
    let names: Vec<String> = layer.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["weight", "bias"]);
    assert_eq!(layer.weight.shape(), &[50, 400]);
    let bound = 1.0 / 20.0;
    for (values, share) in [(&layer.weight, 0.999), (layer.bias.as_ref().unwrap(), 0.9)] {
        assert!(values.is_tracked() && values.is_leaf());
        let largest = values.as_slice().iter().fold(0.0f64, |most, x| most.max(x.abs()));
        assert!(largest <= bound && largest > share * bound, "{largest}");
        let mean_square = values.square()?.mean(..)?.item()?;
        assert!((mean_square / (bound * bound / 3.0) - 1.0).abs() < 0.4, "{mean_square}");
    }
    let bare: Linear = Linear::without_bias(4, 2, &mut rng(1))?;
    assert_eq!(bare.parameter_count(), 8);
    assert!(bare.bias.is_none());
    let constant: Linear = Linear::new(0, 2, &mut rng(1))?;
    assert_eq!(constant.forward(&Tensor::zeros([3, 0])?)?.to_vec(), [0.0; 6]);
    Ok(())
}

#[test]
fn a_clone_of_a_layer_has_gradients_of_its_own() -> Result<()> {
    let mut layer = Linear::new(2, 1, &mut rng(2))?;
    layer.bias = None;
    let copy = layer.clone();
    assert_eq!(copy.weight.to_vec(), layer.weight.to_vec());
    copy.forward(&Tensor::new([[1.0, 2.0]]))?.sum(..)?.backward()?;
    assert_eq!(copy.weight.grad().unwrap().to_vec(), [1.0, 2.0]);
    assert!(layer.weight.grad().is_none());
    layer.freeze();
    assert!(!layer.clone().weight.is_tracked());
    Ok(())
}

#[test]
fn an_embedding_looks_up_rows_for_indices_of_any_shape() -> Result<()> {
    let mut table: Embedding = Embedding::new(4, 2, &mut rng(3))?;
    table.weight = Tensor::new([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0], [30.0, 31.0]]).requires_grad();
    let rows = table.lookup([[3, 0, 3]])?;
    assert_eq!(rows.shape(), &[1, 3, 2]);
    assert_eq!(rows.to_vec(), [30.0, 31.0, 0.0, 1.0, 30.0, 31.0]);
    rows.mul(Tensor::new([[1.0], [2.0], [4.0]]))?.sum(..)?.backward()?;
    assert_eq!(table.weight.grad().unwrap().to_vec(), [2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 5.0, 5.0]);
    assert_eq!(table.lookup(2)?.shape(), &[2]);
    assert_eq!(table.lookup(Indices::from_vec(vec![], [0, 3])?)?.shape(), &[0, 3, 2]);
    assert_eq!(table.forward(&Tensor::new([1.0, 2.0]))?.to_vec(), [10.0, 11.0, 20.0, 21.0]);
    Ok(())
}

#[test]
fn an_embedding_names_the_index_that_is_no_row() -> Result<()> {
    let table: Embedding = Embedding::new(4, 2, &mut rng(3))?;
    let message = |result: Result<Tensor>| result.unwrap_err().to_string();
    assert_eq!(
        message(table.lookup([[0, 1], [4, 0]])),
        "Embedding: index 4 at [1, 0] is not a row of [0, 4)"
    );
    assert_eq!(message(table.lookup([-1])), "Embedding: index -1 at [0] is not a row of [0, 4)");
    for value in [0.5, f32::NAN, f32::INFINITY, -0.25] {
        let error = table.forward(&Tensor::new([0.0, value])).unwrap_err();
        assert!(matches!(error, Error::Argument { op: "Embedding", .. }), "{error}");
    }
    assert!(matches!(table.forward(&Tensor::new([1e15])), Err(Error::OutOfRange { .. })));
    let single = Embedding { weight: Tensor::new(1.0) };
    assert!(matches!(single.lookup([0]), Err(Error::Shape { .. })));
    Ok(())
}

#[test]
fn an_embedding_starts_standard_normal() -> Result<()> {
    let table: Embedding<f64> = Embedding::new(200, 50, &mut rng(4))?;
    let mean = table.weight.mean(..)?.item()?;
    let mean_square = table.weight.square()?.mean(..)?.item()?;
    assert!(mean.abs() < 0.05 && (mean_square - 1.0).abs() < 0.07, "{mean} {mean_square}");
    assert!(table.weight.as_slice().iter().any(|x| x.abs() > 3.0));
    Ok(())
}

#[test]
fn activations_are_the_functions_of_their_names() -> Result<()> {
    let x = Tensor::new([[-1.5, 0.25, 2.0]]);
    let same = |layer: &dyn Module, expected: Tensor| {
        assert_eq!(layer.forward(&x).unwrap().to_vec(), expected.to_vec());
    };
    same(&Relu, x.relu()?);
    same(&Tanh, x.tanh()?);
    same(&Sigmoid, x.sigmoid()?);
    same(&Gelu, x.gelu()?);
    same(&Softplus, x.softplus()?);
    assert_eq!(Parameters::<f32>::parameter_count(&Relu), 0);
    Ok(())
}

#[test]
fn flatten_keeps_the_first_dim() -> Result<()> {
    let shape_of =
        |shape: &[usize]| Flatten.forward(&Tensor::<f32>::zeros(shape)?).map(|x| x.shape().to_vec());
    assert_eq!(shape_of(&[2, 3, 4, 5]), Ok(vec![2, 60]));
    assert_eq!(shape_of(&[2, 3]), Ok(vec![2, 3]));
    assert_eq!(shape_of(&[0, 3, 2]), Ok(vec![0, 6]));
    assert_eq!(shape_of(&[3, 0, 2]), Ok(vec![3, 0]));
    assert!(matches!(shape_of(&[3]), Err(Error::Shape { op: "Flatten", .. })));
    assert!(matches!(shape_of(&[]), Err(Error::Shape { op: "Flatten", .. })));
    Ok(())
}

fn perceptron(seed: u64) -> Result<Sequential<f64>> {
    let rng = &mut rng(seed);
    let layers = Sequential::new().with(Linear::new(3, 5, rng)?).with(Tanh);
    Ok(layers.with(Dropout::new(0.5, rng)?).with(Linear::new(5, 2, rng)?))
}

#[test]
fn a_sequence_applies_its_layers_in_order() -> Result<()> {
    let mut model = perceptron(5)?;
    model.eval();
    let x: Tensor<f64> = Tensor::randn([4, 3], &mut rng(6))?;
    let by_name: Vec<(String, &Tensor<f64>)> = model.named_parameters();
    let names: Vec<&str> = by_name.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["0.weight", "0.bias", "3.weight", "3.bias"]);
    let [w1, b1, w2, b2] = [0, 1, 2, 3].map(|i| by_name[i].1);
    let by_hand = x.linear(w1, b1)?.tanh()?.linear(w2, b2)?;
    assert_eq!(model.forward(&x)?.to_vec(), by_hand.to_vec());
    assert_eq!(Sequential::new().forward(&x)?.to_vec(), x.to_vec());
    assert_eq!((model.len(), model.is_empty()), (4, false));
    Ok(())
}

#[test]
fn the_gradients_of_a_sequence_are_right() -> Result<()> {
    let mut model = perceptron(7)?;
    model.eval();
    let x = Tensor::<f64>::randn([4, 3], &mut rng(8))?.requires_grad();
    gradcheck(|inputs| model.forward(&inputs[0])?.cross_entropy([0, 1, 1, 0]), &[&x], &mut rng(9))
}

#[test]
fn dropout_zeroes_with_its_probability_and_scales_what_it_keeps() -> Result<()> {
    for probability in [0.1, 0.5, 0.8] {
        let dropout = Dropout::new(probability, &mut rng(9))?;
        let x = Tensor::<f64>::full([200, 100], 3.0)?.requires_grad();
        let y = dropout.forward(&x)?;
        let kept = 3.0 * (1.0 / (1.0 - probability));
        assert!(y.as_slice().iter().all(|&value| value == 0.0 || value == kept));
        let dropped = y.as_slice().iter().filter(|&&value| value == 0.0).count() as f64;
        let deviation = (20000.0 * probability * (1.0 - probability)).sqrt();
        assert!((dropped - 20000.0 * probability).abs() < 5.0 * deviation, "{dropped}");
        y.sum(..)?.backward()?;
        let gradient = x.grad().unwrap();
        let same = gradient.as_slice().iter().zip(y.as_slice()).all(|(g, y)| (g * 3.0 - y).abs() < 1e-12);
        assert!(same, "the gradient passes where the value did");
    }
    Ok(())
}

#[test]
fn dropout_of_everything_and_of_nothing() -> Result<()> {
    let x = Tensor::new([1.0, -2.0]);
    assert_eq!(Dropout::new(1.0, &mut rng(10))?.forward(&x)?.to_vec(), [0.0, 0.0]);
    assert_eq!(Dropout::new(0.0, &mut rng(10))?.forward(&x)?.to_vec(), [1.0, -2.0]);
    let mut generator = rng(10);
    for probability in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(Dropout::new(probability, &mut generator), Err(Error::Argument { .. })));
    }
    assert_eq!(generator, rng(10));
    Ok(())
}

#[test]
fn dropout_in_evaluation_returns_its_input_and_draws_nothing() -> Result<()> {
    let mut model = perceptron(11)?;
    let x: Tensor<f64> = Tensor::randn([4, 3], &mut rng(12))?;
    let before = generators(&mut model);
    model.eval();
    assert_eq!(model.forward(&x)?.to_vec(), model.forward(&x)?.to_vec());
    assert_eq!(generators(&mut model), before);
    model.train();
    assert_ne!(model.forward(&x)?.to_vec(), model.forward(&x)?.to_vec());
    assert_ne!(generators(&mut model), before);
    Ok(())
}

fn generators<T: tapegrad::Float>(model: &mut dyn Parameters<T>) -> Vec<(String, ChaCha8Rng)> {
    let mut states = Vec::new();
    model.visit_generators(&Name::root(), &mut |name, generator| {
        let copy = ChaCha8Rng::deserialize_state(&generator.serialize_state());
        states.push((name.to_string(), copy));
    });
    states
}

#[test]
fn the_state_of_dropout_can_be_read_and_set() -> Result<()> {
    let mut model = perceptron(13)?;
    let x: Tensor<f64> = Tensor::randn([4, 3], &mut rng(14))?;
    model.forward(&x)?;
    let saved = generators(&mut model);
    assert_eq!(saved[0].0, "2");
    let next = model.forward(&x)?.to_vec();
    assert_ne!(model.forward(&x)?.to_vec(), next);
    let (seed, stream, position) =
        (saved[0].1.get_seed(), saved[0].1.get_stream(), saved[0].1.get_word_pos());
    model.visit_generators(&Name::root(), &mut |_, generator| {
        *generator = ChaCha8Rng::from_seed(seed);
        generator.set_stream(stream);
        generator.set_word_pos(position);
    });
    assert_eq!(model.forward(&x)?.to_vec(), next);
    Ok(())
}

#[test]
fn two_layers_from_one_generator_drop_independently() -> Result<()> {
    let generator = &mut rng(15);
    let (first, second) = (Dropout::new(0.5, generator)?, Dropout::new(0.5, generator)?);
    let x = Tensor::<f32>::ones([1000])?;
    let (a, b) = (first.forward(&x)?, second.forward(&x)?);
    let agree = a.as_slice().iter().zip(b.as_slice()).filter(|(a, b)| a == b).count();
    assert!((400..600).contains(&agree), "{agree}");
    assert_eq!(first.clone().forward(&x)?.to_vec(), first.forward(&x)?.to_vec());
    Ok(())
}

#[test]
fn a_struct_of_layers_switches_all_of_them() -> Result<()> {
    struct Tower {
        layers: Vec<Sequential<f64>>,
        noise: Option<Dropout>,
    }
    parameters!(Tower: f64 { layers, noise });
    let mut tower =
        Tower { layers: vec![perceptron(1)?, perceptron(2)?], noise: Some(Dropout::new(0.1, &mut rng(3))?) };
    let states: Vec<String> = generators(&mut tower).into_iter().map(|(name, _)| name).collect();
    assert_eq!(states, ["layers.0.2", "layers.1.2", "noise"]);
    tower.eval();
    assert!(!tower.noise.as_ref().unwrap().is_training());
    let x = Tensor::from([[1.0, 2.0, 3.0]]);
    assert_eq!(tower.layers[1].forward(&x)?.to_vec(), tower.layers[1].forward(&x)?.to_vec());
    tower.train();
    assert!(tower.noise.as_ref().unwrap().is_training());
    Ok(())
}

#[test]
fn models_can_be_shared_between_threads() {
    fn shared<M: Send + Sync>() {}
    shared::<Sequential>();
    shared::<Dropout>();
    shared::<Linear<f64>>();
}
