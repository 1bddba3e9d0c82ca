//! Layers for images.

use rand::SeedableRng;
use tapegrad::nn::{ChaCha8Rng, Conv2d, Flatten, Linear, MaxPool2d, Module, Parameters, Relu, Sequential};
use tapegrad::{Conv2dOptions, Error, HeightWidth, MaxPool2dOptions, Result, Tensor};

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

#[test]
fn a_convolution_starts_uniform_between_bounds_that_its_windows_set() -> Result<()> {
    let options = Conv2dOptions::new().groups(2);
    let layer: Conv2d<f64> = Conv2d::new(16, 50, [2, 1], options, &mut rng(1))?;
    let names: Vec<String> = layer.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["weight", "bias"]);
    assert_eq!(layer.weight.shape(), &[50, 8, 2, 1]);
    let bound = 1.0 / 4.0; // a result has 8 * 2 * 1 terms
    for (values, share) in [(&layer.weight, 0.99), (layer.bias.as_ref().unwrap(), 0.9)] {
        assert!(values.is_tracked() && values.is_leaf());
        let largest = values.as_slice().iter().fold(0.0f64, |most, x| most.max(x.abs()));
        assert!(largest <= bound && largest > share * bound, "{largest}");
        let mean_square = values.square()?.mean(..)?.item()?;
        assert!((mean_square / (bound * bound / 3.0) - 1.0).abs() < 0.4, "{mean_square}");
    }
    let bare: Conv2d = Conv2d::without_bias(3, 4, 5, Conv2dOptions::new(), &mut rng(1))?;
    assert_eq!(bare.parameter_count(), 3 * 4 * 25);
    Ok(())
}

#[test]
fn layers_for_images_compute_what_the_operations_do() -> Result<()> {
    let options = Conv2dOptions::new().padding(1).stride([2, 1]);
    let layer: Conv2d = Conv2d::new(2, 3, 3, options, &mut rng(2))?;
    let images = Tensor::randn([4, 2, 6, 5], &mut rng(3))?;
    let pool = MaxPool2d::new(MaxPool2dOptions::new(2).stride(1));
    let by_hand = images.conv2d(&layer.weight, &layer.bias, options)?;
    assert_eq!(layer.forward(&images)?.to_vec(), by_hand.to_vec());
    let by_hand = by_hand.max_pool2d(MaxPool2dOptions::new(2).stride(1))?;
    assert_eq!(pool.forward(&layer.forward(&images)?)?.to_vec(), by_hand.to_vec());
    assert_eq!(MaxPool2d::new([2, 3]).options.kernel, HeightWidth { height: 2, width: 3 });
    Ok(())
}

#[test]
fn a_clone_of_a_convolution_has_gradients_of_its_own() -> Result<()> {
    let layer: Conv2d = Conv2d::new(1, 1, 2, Conv2dOptions::new(), &mut rng(4))?;
    let copy = layer.clone();
    copy.forward(&Tensor::new([[[1.0, 2.0], [3.0, 4.0]]]))?.sum(..)?.backward()?;
    assert_eq!(copy.weight.grad().unwrap().to_vec(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(copy.bias.unwrap().grad().unwrap().to_vec(), [1.0]);
    assert!(layer.weight.grad().is_none());
    Ok(())
}

#[test]
fn a_convolutional_network_in_a_list_of_layers() -> Result<()> {
    let rng = &mut rng(5);
    let model: Sequential = Sequential::new()
        .with(Conv2d::new(1, 4, 3, Conv2dOptions::new().padding(1), rng)?)
        .with(Relu)
        .with(MaxPool2d::new(2))
        .with(Flatten)
        .with(Linear::new(64, 10, rng)?);
    let images = Tensor::randn([2, 1, 8, 8], rng)?;
    model.forward(&images)?.cross_entropy([3, 7])?.backward()?;
    let names: Vec<_> = model.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["0.weight", "0.bias", "4.weight", "4.bias"]);
    for (name, parameter) in model.named_parameters() {
        let gradient = parameter.grad().unwrap();
        assert_eq!(gradient.shape(), parameter.shape());
        assert!(gradient.as_slice().iter().any(|&slope| slope != 0.0), "{name}");
    }
    Ok(())
}

#[test]
fn groups_that_do_not_divide_the_channels_are_refused_before_anything_is_drawn() {
    let mut rng = rng(6);
    for (channels, outputs, groups) in [(3, 4, 2), (4, 3, 2), (4, 4, 0)] {
        let layer = Conv2d::<f32>::new(channels, outputs, 3, Conv2dOptions::new().groups(groups), &mut rng);
        assert!(matches!(layer, Err(Error::Argument { op: "Conv2d", name: "groups", .. })), "{layer:?}");
    }
    let huge = usize::MAX / 2;
    let layer = Conv2d::<f32>::new(1, 1, [huge, 3], Conv2dOptions::new(), &mut rng);
    assert!(matches!(layer, Err(Error::TooLarge { .. })), "{layer:?}");
    assert_eq!(rng, ChaCha8Rng::seed_from_u64(6));
}
