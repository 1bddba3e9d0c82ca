//! How parameters start: random numbers whose spread keeps signals and gradients of a useful size from
//! layer to layer.
//!
//! A layer adds up as many products as it has inputs (its *fan-in*), and backward as many as it has
//! outputs (its *fan-out*); each activation function then shrinks what passes through it. The standard
//! deviation of a weight makes up for both. Shapes are those of PyTorch's layers: (outputs, inputs) for a
//! matrix, and (outputs, inputs, height, width) for a convolution, whose fans count the pixels of the
//! kernel too.
//!
//! All functions return constants: call [`requires_grad`](Tensor::requires_grad) on what is to be trained.
//! Numbers are drawn in `f64` and rounded, so that from the same seed an `f32` model starts where the
//! `f64` one does.

use crate::error::{Error, Result};
use crate::float::{DType, Float, compiled};
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

/// The function that comes after a layer, for the size of the layer's weights.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Nonlinearity {
    /// None, or one that is not named here.
    Linear,
    /// 1/(1 + e^-x).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// max(x, 0).
    Relu,
    /// x for x > 0, and this slope times x below.
    LeakyRelu(f64),
    /// The scaled exponential linear unit.
    Selu,
}

impl Nonlinearity {
    /// By how much the weights before this function are larger than those before a linear layer, as in
    /// PyTorch's `calculate_gain`: 1 for linear and sigmoid, 5/3 for tanh, sqrt 2 for relu, sqrt(2/(1 + slope^2)) for its
    /// leaky form, 3/4 for selu.
    pub fn gain(self) -> f64 {
        match self {
            Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
            Nonlinearity::Tanh => 5.0 / 3.0,
            Nonlinearity::Relu => std::f64::consts::SQRT_2,
            Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Nonlinearity::Selu => 0.75,
        }
    }
}

/// Which of the two sums of a layer keeps its variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fan {
    /// The forward one: as many terms as the layer has inputs.
    #[default]
    In,
    /// The backward one: as many terms as the layer has outputs.
    Out,
}

/// The fan-in and fan-out of a weight of this shape.
///
/// # Errors
/// [`Error::Shape`] for fewer than two dims; [`Error::TooLarge`].
pub fn fans(shape: impl Into<Shape>) -> Result<(usize, usize)> {
    fans_of("fans", &shape.into())
}

pub(super) fn fans_of(op: &'static str, shape: &Shape) -> Result<(usize, usize)> {
    let product = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size.max(1)));
    if product.is_none_or(|product| product > isize::MAX as usize / 8) {
        return Err(Error::TooLarge { op, shape: shape.to_vec() });
    }
    match shape[..] {
        [outputs, inputs, ref kernel @ ..] => {
            let pixels: usize = kernel.iter().product();
            Ok((inputs * pixels, outputs * pixels))
        }
        _ => {
            let expected = "at least 2: outputs, inputs";
            Err(Error::Shape { op, what: "the weight", expected: expected.into(), actual: shape.to_vec() })
        }
    }
}

/// Uniform between `low` and `high`.
///
/// # Errors
/// [`Error::Argument`] for bounds that are not finite in the tensor's precision, that cross, or whose distance
/// overflows;
/// [`Error::TooLarge`], [`Error::OutOfMemory`]. Nothing is drawn from the generator then.
pub fn uniform<T: Float>(
    shape: impl Into<Shape>,
    low: f64,
    high: f64,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Tensor<T>> {
    uniform_from(shape.into(), low, high, &mut &mut *rng)
}

/// Refuses what is infinite or nan in the precision of the result.
fn expect_finite<T: Float>(op: &'static str, name: &'static str, value: f64) -> Result<()> {
    let allowed = match T::DTYPE {
        DType::F32 => "finite in f32",
        DType::F64 => "finite",
    };
    match T::from_f64(value).is_finite() {
        true => Ok(()),
        false => Err(Error::Argument { op, name, value: value.to_string(), allowed }),
    }
}

/// Normal with this mean and standard deviation.
///
/// # Errors
/// [`Error::Argument`] for a mean that is not finite and a standard deviation that is negative or not
/// finite; [`Error::TooLarge`], [`Error::OutOfMemory`]. Nothing is drawn from the generator then.
pub fn normal<T: Float>(
    shape: impl Into<Shape>,
    mean: f64,
    std: f64,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Tensor<T>> {
    normal_from(shape.into(), mean, std, &mut &mut *rng)
}

/// Uniform between -b and b for b = gain sqrt(3 / fan), so that the variance of the chosen sum is kept
/// through the nonlinearity (He et al., "Delving deep into rectifiers", ICCV 2015; PyTorch's
/// `kaiming_uniform_`).
///
/// # Errors
/// Those of [`fans`]; [`Error::Argument`] for a slope that is not finite; [`Error::OutOfMemory`].
pub fn kaiming_uniform<T: Float>(
    shape: impl Into<Shape>,
    nonlinearity: Nonlinearity,
    fan: Fan,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Tensor<T>> {
    let shape = shape.into();
    let bound = 3f64.sqrt() * kaiming_std("init::kaiming_uniform", &shape, nonlinearity, fan)?;
    uniform(shape, -bound, bound, rng)
}

/// Normal with the standard deviation gain / sqrt(fan): see [`kaiming_uniform`] (PyTorch's
/// `kaiming_normal_`).
///
/// # Errors
/// Those of [`kaiming_uniform`].
pub fn kaiming_normal<T: Float>(
    shape: impl Into<Shape>,
    nonlinearity: Nonlinearity,
    fan: Fan,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Tensor<T>> {
    let shape = shape.into();
    let std = kaiming_std("init::kaiming_normal", &shape, nonlinearity, fan)?;
    normal(shape, 0.0, std, rng)
}

/// Uniform between -b and b for b = gain sqrt(6 / (fan-in + fan-out)), a compromise between the
/// two sums (Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
/// networks", AISTATS 2010; PyTorch's `xavier_uniform_`). The gain is usually
/// [that of a nonlinearity](Nonlinearity::gain), or 1.
///
/// # Errors
/// Those of [`fans`]; [`Error::Argument`] for a gain that is negative or not finite; [`Error::OutOfMemory`].
pub fn xavier_uniform<T: Float>(
    shape: impl Into<Shape>,
    gain: f64,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Tensor<T>> {
    let shape = shape.into();
    let bound = 3f64.sqrt() * xavier_std("init::xavier_uniform", &shape, gain)?;
    uniform(shape, -bound, bound, rng)
}

/// Normal with the standard deviation gain sqrt(2 / (fan-in + fan-out)): see [`xavier_uniform`] (PyTorch's
/// `xavier_normal_`).
///
/// # Errors
/// Those of [`xavier_uniform`].
pub fn xavier_normal<T: Float>(
    shape: impl Into<Shape>,
    gain: f64,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Tensor<T>> {
    let shape = shape.into();
    let std = xavier_std("init::xavier_normal", &shape, gain)?;
    normal(shape, 0.0, std, rng)
}

/// gain / sqrt(fan), and 0 for a weight without elements, whose fan may be 0.
fn kaiming_std(op: &'static str, shape: &Shape, nonlinearity: Nonlinearity, fan: Fan) -> Result<f64> {
    let (inputs, outputs) = fans_of(op, shape)?;
    if let Nonlinearity::LeakyRelu(slope) = nonlinearity
        && !slope.is_finite()
    {
        return Err(Error::Argument { op, name: "slope", value: slope.to_string(), allowed: "finite" });
    }
    let fan = if fan == Fan::In { inputs } else { outputs };
    Ok(if shape.contains(&0) { 0.0 } else { nonlinearity.gain() / (fan as f64).sqrt() })
}

fn xavier_std(op: &'static str, shape: &Shape, gain: f64) -> Result<f64> {
    let (inputs, outputs) = fans_of(op, shape)?;
    if !gain.is_finite() || gain < 0.0 {
        let allowed = "finite and at least 0";
        return Err(Error::Argument { op, name: "gain", value: gain.to_string(), allowed });
    }
    let fans = inputs as f64 + outputs as f64;
    Ok(if shape.contains(&0) { 0.0 } else { gain * (2.0 / fans).sqrt() })
}

compiled! {
    fn uniform_from<T>(shape: Shape, low: f64, high: f64, rng: &mut dyn Rng) -> Result<Tensor<T>> {
        let op = "init::uniform";
        expect_finite::<T>(op, "low", low)?;
        expect_finite::<T>(op, "high", high)?;
        expect_finite::<f64>(op, "high - low", high - low)?;
        if low > high {
            let (name, value, allowed) = ("low, high", format!("{low}, {high}"), "in ascending order");
            return Err(Error::Argument { op, name, value, allowed });
        }
        filled(shape, || low + (high - low) * rng.random::<f64>())
    }

    fn normal_from<T>(shape: Shape, mean: f64, std: f64, rng: &mut dyn Rng) -> Result<Tensor<T>> {
        let op = "init::normal";
        expect_finite::<T>(op, "mean", mean)?;
        expect_finite::<T>(op, "std", std)?;
        if std < 0.0 {
            return Err(Error::Argument { op, name: "std", value: std.to_string(), allowed: "at least 0" });
        }
        filled(shape, || {
            let sample: f64 = StandardNormal.sample(rng);
            mean + std * sample
        })
    }
}

fn filled<T: Float>(shape: Shape, mut sample: impl FnMut() -> f64) -> Result<Tensor<T>> {
    let mut tensor = Tensor::zeros(shape)?;
    tensor.as_mut_slice()?.fill_with(|| T::from_f64(sample()));
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    /// Mean and standard deviation, and the largest magnitude.
    fn moments(values: &[f64]) -> (f64, f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        (mean, variance.sqrt(), values.iter().fold(0.0, |most, x| most.max(x.abs())))
    }

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(3)
    }

    #[test]
    fn fans_count_the_pixels_of_a_kernel() {
        assert_eq!(fans([5, 3]), Ok((3, 5)));
        assert_eq!(fans([16, 8, 3, 2]), Ok((48, 96)));
        assert_eq!(fans([4, 0]), Ok((0, 4)));
        assert_eq!(
            fans([4]).unwrap_err().to_string(),
            "fans: the weight of shape [4] has rank 1, expected at least 2: outputs, inputs"
        );
        assert!(matches!(fans([usize::MAX, 4]), Err(Error::TooLarge { op: "fans", .. })));
        assert!(matches!(fans([0, 3, usize::MAX]), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn gains_are_those_of_pytorch() {
        let gains = [
            (Nonlinearity::Linear, 1.0),
            (Nonlinearity::Sigmoid, 1.0),
            (Nonlinearity::Tanh, 1.6666666666666667),
            (Nonlinearity::Relu, std::f64::consts::SQRT_2),
            (Nonlinearity::LeakyRelu(0.01), 1.4141428569978354),
            (Nonlinearity::LeakyRelu(5f64.sqrt()), 0.5773502691896257),
            (Nonlinearity::Selu, 0.75),
        ];
        for (nonlinearity, gain) in gains {
            assert!((nonlinearity.gain() - gain).abs() < 1e-15, "{nonlinearity:?}");
        }
    }

    #[test]
    fn samples_have_the_spread_of_the_formula() {
        // 120 outputs, 300 inputs of one pixel each: 36,000 samples, whose standard deviation is known to
        // 0.4 % (one standard error for a normal distribution; less for a uniform one).
        let shape = [120, 300];
        let relu = Nonlinearity::Relu;
        let cases: [(Tensor<f64>, f64, bool); 6] = [
            (kaiming_uniform(shape, relu, Fan::In, &mut rng()).unwrap(), (2.0 / 300f64).sqrt(), true),
            (kaiming_uniform(shape, relu, Fan::Out, &mut rng()).unwrap(), (2.0 / 120f64).sqrt(), true),
            (kaiming_normal(shape, relu, Fan::In, &mut rng()).unwrap(), (2.0 / 300f64).sqrt(), false),
            (xavier_uniform(shape, 5.0 / 3.0, &mut rng()).unwrap(), 5.0 / 3.0 * (2.0 / 420f64).sqrt(), true),
            (xavier_normal(shape, 1.0, &mut rng()).unwrap(), (2.0 / 420f64).sqrt(), false),
            (uniform(shape, -0.25, 0.25, &mut rng()).unwrap(), 0.25 / 3f64.sqrt(), true),
        ];
        for (case, (tensor, expected, uniform)) in cases.iter().enumerate() {
            assert_eq!(tensor.shape(), &shape);
            let (mean, std, largest) = moments(tensor.as_slice());
            assert!(mean.abs() < 5.0 * expected / 36000f64.sqrt(), "case {case}: mean {mean}");
            assert!((std / expected - 1.0).abs() < 0.02, "case {case}: {std} for {expected}");
            let bound = 3f64.sqrt() * expected;
            assert_eq!(largest < bound, *uniform, "case {case}: {largest} for {bound}");
            assert!(largest > 0.999 * bound, "case {case}: {largest} for {bound}");
        }
        let shifted: Tensor<f64> = normal(shape, 2.0, 0.5, &mut rng()).unwrap();
        let (mean, std, _) = moments(shifted.as_slice());
        assert!((mean - 2.0).abs() < 0.015 && (std - 0.5).abs() < 0.01, "{mean} {std}");
    }

    #[test]
    fn both_precisions_start_from_the_same_numbers() {
        let single: Tensor = xavier_normal([4, 5], 1.0, &mut rng()).unwrap();
        let double: Tensor<f64> = xavier_normal([4, 5], 1.0, &mut rng()).unwrap();
        let rounded: Vec<f32> = double.as_slice().iter().map(|&x| x as f32).collect();
        assert_eq!(single.to_vec(), rounded);
    }

    #[test]
    fn bad_arguments_are_refused_and_draw_nothing() {
        let mut rng = rng();
        let refused: [Result<Tensor>; 11] = [
            uniform([2], 1.0, 0.0, &mut rng),
            uniform([2], 0.0, 1e39, &mut rng),
            normal([2], 1e39, 1.0, &mut rng),
            uniform([2], f64::NAN, 0.0, &mut rng),
            uniform([2], -f64::MAX, f64::MAX, &mut rng),
            normal([2], 0.0, -1.0, &mut rng),
            normal([2], f64::INFINITY, 1.0, &mut rng),
            normal([2], 0.0, f64::NAN, &mut rng),
            kaiming_uniform([2, 2], Nonlinearity::LeakyRelu(f64::NAN), Fan::In, &mut rng),
            xavier_uniform([2, 2], -1.0, &mut rng),
            xavier_normal([2, 2], f64::INFINITY, &mut rng),
        ];
        for error in refused {
            assert!(matches!(error, Err(Error::Argument { .. })), "{error:?}");
        }
        let error = kaiming_normal::<f32>([2], Nonlinearity::Relu, Fan::In, &mut rng).unwrap_err();
        assert!(matches!(error, Error::Shape { op: "init::kaiming_normal", .. }));
        assert_eq!(rng, self::rng());
        let empty: Tensor = kaiming_uniform([3, 0], Nonlinearity::Relu, Fan::In, &mut rng).unwrap();
        assert_eq!(empty.shape(), &[3, 0]);
    }
}
