//! Sums, means and variances of many numbers.

mod precise;

use precise::double_double::DoubleDouble;
use precise::{on_every_instruction_set, unit_in_the_last_place};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tapegrad::{DType, Float, Tensor};

/// How many units of the sum of all magnitudes a sum may be off.
const BOUND: f64 = 4.0;

/// A name, and the number at a position, with the help of a random one in [0, 1).
type Kind = (&'static str, fn(usize, f64) -> f32);

/// Numbers that a plain loop sums badly, each by its position.
const KINDS: [Kind; 4] = [
    ("all the same", |_, _| 0.1),
    ("uniform", |_, random| random as f32),
    ("of both signs", |_, random| random as f32 - 0.5),
    ("large and small in turn", |i, random| if i % 1000 == 0 { 1e4 } else { random as f32 }),
];

/// A number in [0, 1) for every position, all over the interval: multiples of the golden ratio.
fn scattered(i: usize) -> f64 {
    let bits = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (bits >> 40) as f64 / (1u64 << 24) as f64
}

/// The sum of numbers, and that of their magnitudes.
fn exact_sums(x: impl Iterator<Item = f64>) -> (DoubleDouble, f64) {
    x.fold((DoubleDouble::ZERO, 0.0), |(sum, magnitudes), x| {
        let next = DoubleDouble::sum(sum.high, x);
        (DoubleDouble { high: next.high, low: next.low + sum.low }, magnitudes + x.abs())
    })
}

fn off<T: Float>(actual: T, exact: DoubleDouble, scale: f64) -> f64 {
    ((actual.to_f64() - exact.high) - exact.low).abs() / unit_in_the_last_place(T::DTYPE, scale)
}

/// The sums of some of the numbers: from the first one on, every so many, up to a limit.
fn exact_parts(x: &[f32], firsts: &[usize], step: usize, limit: usize) -> Vec<(DoubleDouble, f64)> {
    let part =
        |&first: &usize| exact_sums(x[first..].iter().step_by(step).take(limit).map(|&x| f64::from(x)));
    firsts.iter().map(part).collect()
}

fn check(count: usize) {
    for (name, number) in KINDS {
        let values: Vec<f32> = (0..count).map(|i| number(i, scattered(i))).collect();
        let exact_rows = exact_parts(&values, &[0, count / 2], 1, count / 2);
        let exact_columns = exact_parts(&values, &[0, 1, 2, 3], 4, count / 4);
        let exact_all = (exact_rows[0].0 + exact_rows[1].0, exact_rows[0].1 + exact_rows[1].1);
        let in_rows = Tensor::from_vec(values, [2, count / 2]).unwrap();
        let in_columns = in_rows.reshape([count / 4, 4]).unwrap();
        on_every_instruction_set(|instructions| {
            let mut worst = [0.0f64; 2];
            let mut see = |result: usize, is: Tensor, exact: &[(DoubleDouble, f64)], n: usize| {
                for (&is, &(exact, magnitudes)) in is.as_slice().iter().zip(exact) {
                    let off = off(is, exact / DoubleDouble::from(n as f64), magnitudes / n as f64);
                    assert!(off <= BOUND, "{name}, {instructions:?}: {off} units off");
                    worst[result] = worst[result].max(off);
                }
            };
            see(0, in_rows.sum(..).unwrap(), &[exact_all], 1);
            see(0, in_rows.sum(1).unwrap(), &exact_rows, 1);
            see(0, in_columns.sum(0).unwrap(), &exact_columns, 1);
            see(1, in_rows.mean(..).unwrap(), &[exact_all], count);
            see(1, in_rows.mean(1).unwrap(), &exact_rows, count / 2);
            see(1, in_columns.mean(0).unwrap(), &exact_columns, count / 4);
            println!(
                "{count} numbers, {name}, {instructions:?}: sum {:.2}, mean {:.2} units",
                worst[0], worst[1]
            );
        });
    }
}

#[test]
fn sums_and_means_of_four_million_numbers_are_within_four_units() {
    check(4_000_000);
}

#[test]
#[ignore = "takes a gigabyte of memory and half a minute"]
fn sums_and_means_of_a_hundred_million_numbers_are_within_four_units() {
    check(100_000_000);
}

fn check_variance<T: Float>(offset: f64, deviation: f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let count = 100_000;
    let values: Vec<T> =
        (0..count).map(|_| T::from_f64(offset + deviation * (rng.random::<f64>() - 0.5))).collect();
    let n = DoubleDouble::from(count as f64);
    let precise = |x: T| DoubleDouble::from(x.to_f64());
    let mean = values.iter().map(|&x| precise(x)).sum::<DoubleDouble>() / n;
    let squares: DoubleDouble = values
        .iter()
        .map(|&x| {
            let d = precise(x) - mean;
            d * d
        })
        .sum();
    let x = Tensor::from_vec(values, [count]).unwrap();
    for (correction, exact) in [(0.0, squares / n), (1.0, squares / (n + -1.0))] {
        let off = off(x.var(.., correction).unwrap().item().unwrap(), exact, exact.high);
        println!("{}: variance at {offset}, deviations of {deviation}: {off:.2} units", T::DTYPE);
        assert!(off <= BOUND, "{} at {offset}, deviations of {deviation}: {off} units off", T::DTYPE);
    }
}

/// The textbook's mean of squares less squared mean has no digits at all here.
#[test]
fn the_variance_far_from_zero_has_all_its_digits() {
    on_every_instruction_set(|_| {
        for (offset, deviation) in [(0.0, 1.0), (1e4, 1.0), (-1e6, 3.0), (1e6, 100.0)] {
            check_variance::<f32>(offset, deviation);
        }
        for (offset, deviation) in [(0.0, 1.0), (1e8, 1.0), (-1e14, 3.0)] {
            check_variance::<f64>(offset, deviation);
        }
    });
}

#[test]
fn a_sum_of_magnitudes_is_judged_in_units_of_its_own_precision() {
    assert_eq!(unit_in_the_last_place(DType::F32, 1.0), f64::from(f32::EPSILON));
    assert_eq!(unit_in_the_last_place(DType::F64, 1.5), f64::EPSILON);
}
