//! exp, expm1, log, log1p, tanh and sigmoid to the last digit: at most 1.1 units off, with every set of
//! instructions that this processor has.
//!
//! The normal run takes samples. The full one, about half an hour on two cores:
//! `cargo test --release --test functions -- --ignored --nocapture`

mod precise;

use precise::double_double::DoubleDouble;
use precise::{Scaled, Worst, elementary, on_every_instruction_set};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use rayon::prelude::*;
use tapegrad::{Float, Result, Tensor};

/// How many units in the last place a result may be off.
const BOUND: f64 = 1.1;

struct Function<T: Float> {
    name: &'static str,
    apply: fn(&Tensor<T>) -> Result<Tensor<T>>,
    /// In twice the precision.
    exact: fn(f64) -> Scaled,
    /// The system's own, which is good enough to judge results in f32.
    in_f64: fn(f64) -> f64,
    /// Where results in f64 are hardest, or most used.
    inputs: &'static [Inputs],
}

#[derive(Debug, Clone, Copy)]
enum Inputs {
    /// Uniform between two numbers.
    Between(f64, f64),
    /// Of either sign, with exponents between two numbers and any digits.
    Exponents(i32, i32),
    /// A number plus or minus a power of two between 2^-53 and 1.
    Around(f64),
    /// Any 64 bits.
    Bits,
}

impl Inputs {
    fn sample(self, rng: &mut impl Rng) -> f64 {
        let sign = |rng: &mut _| if RngExt::random(rng) { 1.0 } else { -1.0 };
        match self {
            Inputs::Between(low, high) => rng.random_range(low..high),
            Inputs::Exponents(low, high) => {
                let digits = sign(rng) * rng.random_range(1.0..2.0);
                precise::times_power_of_two(digits, rng.random_range(low..=high))
            }
            Inputs::Around(centre) => centre + sign(rng) * 2f64.powf(rng.random_range(-53.0..0.0)),
            Inputs::Bits => f64::from_bits(rng.random()),
        }
    }
}

fn functions<T: Float>() -> [Function<T>; 6] {
    use Inputs::{Around, Between, Bits, Exponents};
    [
        Function {
            name: "exp",
            apply: Tensor::exp,
            exact: |x| elementary::exp(DoubleDouble::from(x)),
            in_f64: f64::exp,
            inputs: &[
                Between(-745.2, 709.8),
                Between(-1.0, 1.0),
                Between(-745.2, -708.0),
                Between(709.0, 709.79),
                Exponents(-70, 9),
                Bits,
            ],
        },
        Function {
            name: "expm1",
            apply: Tensor::expm1,
            exact: |x| elementary::expm1(DoubleDouble::from(x)),
            in_f64: f64::exp_m1,
            inputs: &[
                Between(-60.0, 709.8),
                Between(-1.1, 1.1),
                Between(0.34, 0.36),
                Between(-0.36, -0.34),
                Exponents(-1074, -1),
                Exponents(-20, 3),
                Bits,
            ],
        },
        Function {
            name: "log",
            apply: Tensor::log,
            exact: |x| elementary::log(DoubleDouble::from(x)).into(),
            in_f64: f64::ln,
            inputs: &[Between(0.0, 10.0), Between(0.7, 1.42), Around(1.0), Exponents(-1074, -1022), Bits],
        },
        Function {
            name: "log1p",
            apply: Tensor::log1p,
            exact: |x| elementary::log1p(DoubleDouble::from(x)),
            in_f64: f64::ln_1p,
            inputs: &[
                Between(-1.0, 1.0),
                Between(0.0, 100.0),
                Around(-1.0),
                Exponents(-1074, -1),
                Exponents(-60, 3),
                Bits,
            ],
        },
        Function {
            name: "tanh",
            apply: Tensor::tanh,
            exact: elementary::tanh,
            in_f64: f64::tanh,
            inputs: &[
                Between(-22.0, 22.0),
                Between(-1.0, 1.0),
                Exponents(-1074, -1),
                Exponents(-40, 3),
                Bits,
            ],
        },
        Function {
            name: "sigmoid",
            apply: Tensor::sigmoid,
            exact: elementary::sigmoid,
            in_f64: |x| 1.0 / (1.0 + (-x).exp()),
            inputs: &[
                Between(-745.2, 40.0),
                Between(-2.0, 2.0),
                Between(-745.2, -708.0),
                Between(-41.0, -39.0),
                Exponents(-60, 9),
                Bits,
            ],
        },
    ]
}

/// How far a result in f32 is from one that is exact to 1e-8 units; infinity counts as 2^128.
fn units_off(actual: f32, exact: f64) -> f64 {
    const OVERFLOW: f64 = (1u128 << 127) as f64 * 2.0;
    if exact.is_nan() || actual.is_nan() {
        return if exact.is_nan() && actual.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let actual = f64::from(actual).clamp(-OVERFLOW, OVERFLOW);
    if exact.abs() >= OVERFLOW {
        return if actual == OVERFLOW.copysign(exact) { 0.0 } else { f64::INFINITY };
    }
    let exponent = ((exact.to_bits() >> 52) & 0x7ff).max(1023 - 126);
    // The unit is 2^(exponent - 1023 - 23).
    let units_in_one = f64::from_bits((2 * 1023 + 23 - exponent) << 52);
    ((actual - exact) * units_in_one).abs()
}

/// Errors of a function on the f32 numbers whose bits are `first`, `first + step`, ..
fn worst_in_f32(function: &Function<f32>, first: u32, step: u32, count: u32) -> Worst {
    let bits = |i: u32| first.wrapping_add(i.wrapping_mul(step));
    let x: Vec<f32> = (0..count).map(|i| f32::from_bits(bits(i))).collect();
    let y = (function.apply)(&Tensor::from_vec(x.clone(), [x.len()]).unwrap()).unwrap();
    let mut worst = Worst::default();
    for (&x, &y) in x.iter().zip(y.as_slice()) {
        worst.see(units_off(y, (function.in_f64)(f64::from(x))), || {
            format!("{x:e} ({:#x}) gives {y:e}", x.to_bits())
        });
    }
    worst
}

/// Errors of a function on random f64 numbers.
fn worst_in_f64(function: &Function<f64>, inputs: Inputs, seed: u64, count: usize) -> Worst {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let x: Vec<f64> = (0..count).map(|_| inputs.sample(&mut rng)).collect();
    let y = (function.apply)(&Tensor::from_vec(x.clone(), [count]).unwrap()).unwrap();
    let mut worst = Worst::default();
    for (&x, &y) in x.iter().zip(y.as_slice()) {
        worst.see((function.exact)(x).units_off(y), || format!("{x:e} ({:#x}) gives {y:e}", x.to_bits()));
    }
    worst
}

fn worse(a: Worst, b: Worst) -> Worst {
    // Negated so that nan counts as an error.
    if !(b.error <= a.error) { b } else { a }
}

/// Every f32 number whose bits are a multiple of `step`, which is 1 or odd and large.
fn check_f32(step: u32) {
    on_every_instruction_set(|instructions| {
        for function in functions::<f32>() {
            let count = (1u64 << 32) / u64::from(step);
            let chunk = 1 << 16;
            let worst = (0..count.div_ceil(chunk))
                .into_par_iter()
                .map(|i| {
                    let first = (i * chunk) as u32;
                    worst_in_f32(
                        &function,
                        first.wrapping_mul(step),
                        step,
                        chunk.min(count - i * chunk) as u32,
                    )
                })
                .reduce(Worst::default, worse);
            println!("f32 {:8} {instructions:?}: {:.4} ulp at {}", function.name, worst.error, worst.place);
            assert!(worst.error <= BOUND, "{}, {instructions:?}: {worst:?}", function.name);
        }
    });
}

/// Many random f64 numbers for every function.
fn check_f64(count: usize) {
    on_every_instruction_set(|instructions| {
        for function in functions::<f64>() {
            let mut of_all = Worst::default();
            for (kind, &inputs) in function.inputs.iter().enumerate() {
                let chunk = 1 << 14;
                let chunks = (count / function.inputs.len()).div_ceil(chunk) as u64;
                let worst = (0..chunks)
                    .into_par_iter()
                    .map(|seed| worst_in_f64(&function, inputs, seed << 8 | kind as u64, chunk))
                    .reduce(Worst::default, worse);
                assert!(worst.error <= BOUND, "{}, {inputs:?}, {instructions:?}: {worst:?}", function.name);
                of_all = worse(of_all, worst);
            }
            println!("f64 {:8} {instructions:?}: {:.4} ulp at {}", function.name, of_all.error, of_all.place);
        }
    });
}

#[test]
fn a_million_f32_numbers_are_within_the_bound() {
    check_f32(4099);
}

#[test]
fn a_million_f64_numbers_are_within_the_bound() {
    check_f64(170_000);
}

#[test]
#[ignore = "every f32 number for six functions and every instruction set takes many minutes"]
fn all_f32_numbers_are_within_the_bound() {
    check_f32(1);
}

#[test]
#[ignore = "a hundred million f64 numbers for six functions and every instruction set take many minutes"]
fn a_hundred_million_f64_numbers_are_within_the_bound() {
    check_f64(100_000_000);
}

/// Arguments with an exact result.
fn special_values() -> Vec<(&'static str, f64, f64)> {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let mut table = vec![
        ("exp", 0.0, 1.0),
        ("exp", -0.0, 1.0),
        ("exp", inf, inf),
        ("exp", -inf, 0.0),
        ("exp", 1e9, inf),
        ("exp", -1e9, 0.0),
        ("expm1", 0.0, 0.0),
        ("expm1", -0.0, -0.0),
        ("expm1", inf, inf),
        ("expm1", -inf, -1.0),
        ("expm1", 1e9, inf),
        ("expm1", -1e9, -1.0),
        ("log", 0.0, -inf),
        ("log", -0.0, -inf),
        ("log", 1.0, 0.0),
        ("log", -1.0, nan),
        ("log", -1e-40, nan),
        ("log", inf, inf),
        ("log", -inf, nan),
        ("log1p", 0.0, 0.0),
        ("log1p", -0.0, -0.0),
        ("log1p", -1.0, -inf),
        ("log1p", -1.5, nan),
        ("log1p", inf, inf),
        ("log1p", -inf, nan),
        ("tanh", 0.0, 0.0),
        ("tanh", -0.0, -0.0),
        ("tanh", inf, 1.0),
        ("tanh", -inf, -1.0),
        ("tanh", 1e9, 1.0),
        ("tanh", -1e9, -1.0),
        ("sigmoid", 0.0, 0.5),
        ("sigmoid", -0.0, 0.5),
        ("sigmoid", inf, 1.0),
        ("sigmoid", -inf, 0.0),
        ("sigmoid", 1e9, 1.0),
        ("sigmoid", -1e9, 0.0),
    ];
    table.extend(["exp", "expm1", "log", "log1p", "tanh", "sigmoid"].map(|name| (name, nan, nan)));
    table
}

fn check_special_values<T: Float>() {
    for function in functions::<T>() {
        // Among others, so that they go through the vectorised part of a loop as well as through its end.
        for (name, x, expected) in special_values().into_iter().filter(|(name, ..)| *name == function.name) {
            let y = (function.apply)(&Tensor::full([37], T::from_f64(x)).unwrap()).unwrap();
            for &y in y.as_slice() {
                let is_same = y.to_f64().to_bits() == expected.to_bits() || (y.is_nan() && expected.is_nan());
                assert!(is_same, "{name}({x}) in {} is {y}, expected {expected}", T::DTYPE);
            }
        }
    }
}

#[test]
fn zeros_infinities_and_nans_are_exact() {
    on_every_instruction_set(|_| {
        check_special_values::<f32>();
        check_special_values::<f64>();
    });
}

fn check_subnormals<T: Float>() {
    let smallest = T::from_f64(precise::unit_in_the_last_place(T::DTYPE, 0.0));
    for function in functions::<T>() {
        for multiple in [1.0, -1.0, 5.0, -1000.0] {
            let x = smallest * T::from_f64(multiple);
            let y = (function.apply)(&Tensor::full([9], x).unwrap()).unwrap().as_slice()[8];
            match function.name {
                // Each is its own result.
                "expm1" | "log1p" | "tanh" => assert_eq!(y, x, "{} in {}", function.name, T::DTYPE),
                "log" if multiple < 0.0 => assert!(y.is_nan()),
                "log" => {
                    let exact = elementary::log(DoubleDouble::from(x.to_f64()));
                    assert!(Scaled::from(exact).units_off(y) <= BOUND);
                }
                _ => assert_eq!(y.to_f64(), (function.exact)(0.0).value.high),
            }
        }
    }
}

#[test]
fn subnormal_arguments_and_results_are_honoured() {
    on_every_instruction_set(|_| {
        check_subnormals::<f32>();
        check_subnormals::<f64>();
        let results = Tensor::new([-100.0, -103.9, -104.0]).exp().unwrap().to_vec();
        assert_eq!(results, [(-100f64).exp() as f32, f32::from_bits(1), 0.0]);
        let results = Tensor::from([-745.13, -745.2, -740.0]).sigmoid().unwrap().to_vec();
        assert_eq!(results, [f64::from_bits(1), 0.0, (-740f64).exp()]);
    });
}

#[test]
fn a_result_does_not_depend_on_its_neighbours() {
    on_every_instruction_set(|instructions| {
        let x: Vec<f64> = (0..41).map(|i| f64::from(i) * 0.37 + 0.01).collect();
        for function in functions::<f64>() {
            let all = (function.apply)(&Tensor::from(x.clone())).unwrap();
            for length in 1..x.len() {
                let some = (function.apply)(&Tensor::from(x[..length].to_vec())).unwrap();
                assert_eq!(some.as_slice(), &all.as_slice()[..length], "{}, {instructions:?}", function.name);
            }
        }
    });
}

/// The oracle itself, against constants from tables and against its own inverses.
#[test]
fn the_oracle_has_thirty_digits() {
    let close =
        |a: DoubleDouble, b: DoubleDouble| assert!((a - b).abs().high <= 1e-30 * b.abs().high, "{a:?} {b:?}");
    let e = DoubleDouble { high: std::f64::consts::E, low: 1.445_646_891_729_250_2e-16 };
    let ln_10 = DoubleDouble { high: std::f64::consts::LN_10, low: -2.170_756_223_382_249_4e-16 };
    close(elementary::exp_plain(DoubleDouble::ONE), e);
    close(elementary::log(DoubleDouble::from(10.0)), ln_10);
    for x in [1e-12, 0.3, 0.347, 1.7, 20.0, 300.0] {
        let x = DoubleDouble::from(x);
        let plain = |Scaled { value, exponent }: Scaled| value.times_power_of_two(exponent);
        if x.high > 0.1 {
            close(elementary::log(elementary::exp_plain(x)), x);
        }
        close(plain(elementary::log1p(plain(elementary::expm1(x)))), x);
        close(plain(elementary::expm1(-x)), -(plain(elementary::expm1(x)) * elementary::exp_plain(-x)));
        // tanh(x) = 2 sigmoid(2 x) - 1 where neither cancels
        if (1.0..20.0).contains(&x.high) {
            let sigmoid = plain(elementary::sigmoid(2.0 * x.high));
            close(plain(elementary::tanh(x.high)), sigmoid * 2.0 + -1.0);
        }
    }
}
