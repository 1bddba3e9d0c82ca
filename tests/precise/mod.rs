//! What the accuracy tests share: an oracle of twice the precision, distances in units of the last
//! place, and a loop over the instruction sets.
#![allow(dead_code)] // each test program uses a part of it

pub mod double_double;
pub mod elementary;

use double_double::DoubleDouble;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tapegrad::instructions::{self, Instructions};
use tapegrad::{DType, Float};

/// Which instructions the kernels use is a setting of the whole process: one test at a time.
static SETTING: Mutex<()> = Mutex::new(());

/// Runs a test with every set of instructions that this processor has, and leaves the best one chosen.
pub fn on_every_instruction_set(mut test: impl FnMut(Instructions)) {
    let _guard: MutexGuard<()> = SETTING.lock().unwrap_or_else(PoisonError::into_inner);
    for instructions in Instructions::available() {
        instructions::choose(instructions).unwrap();
        test(instructions);
    }
}

/// How many representable numbers one is away from the other; `u64::MAX` if one of them is nan.
pub fn representable_between<T: Float>(a: T, b: T) -> u64 {
    // Numbers in the order of their values, with both zeros at 0.
    let place = |x: T| {
        let (bits, sign) = match T::DTYPE {
            DType::F32 => (i64::from((x.to_f64() as f32).abs().to_bits()), x.to_f64()),
            DType::F64 => (x.to_f64().abs().to_bits() as i64, x.to_f64()),
        };
        if sign < 0.0 { -bits } else { bits }
    };
    match (a.is_nan(), b.is_nan()) {
        (false, false) => place(a).abs_diff(place(b)),
        (true, true) => 0,
        _ => u64::MAX,
    }
}

/// The exponent of the unit in the last place of a magnitude: that of the smallest normal number at least.
pub fn unit_exponent(precision: DType, magnitude: f64) -> i32 {
    let (digits, lowest) = match precision {
        DType::F32 => (23, -126),
        DType::F64 => (52, -1022),
    };
    exponent(magnitude).max(lowest) - digits
}

/// The distance of the representable numbers around a magnitude.
pub fn unit_in_the_last_place(precision: DType, magnitude: f64) -> f64 {
    times_power_of_two(1.0, unit_exponent(precision, magnitude))
}

/// floor(log2 |x|), for subnormal numbers too; -1075 for 0.
fn exponent(x: f64) -> i32 {
    let biased = |x: f64| ((x.to_bits() >> 52) & 0x7ff) as i32;
    match biased(x) {
        0 if x == 0.0 => -1075,
        0 => biased(x * 2f64.powi(64)) - 64 - 1023,
        e => e - 1023,
    }
}

/// x 2^n in steps that stay in range, so that only the last one can round.
pub fn times_power_of_two(x: f64, n: i32) -> f64 {
    let step = n.clamp(-900, 900);
    let x = x * 2f64.powi(step);
    if n == step { x } else { times_power_of_two(x, n - step) }
}

/// An exact result as value 2^exponent, so that what lies below the normal numbers keeps its digits.
#[derive(Debug, Clone, Copy)]
pub struct Scaled {
    pub value: DoubleDouble,
    pub exponent: i32,
}

impl From<DoubleDouble> for Scaled {
    fn from(value: DoubleDouble) -> Self {
        Scaled { value, exponent: 0 }
    }
}

impl Scaled {
    /// How far a result is from this exact one, in units in the last place of the exact one. Infinity
    /// counts as the power of two beyond the largest number, so that rounding up to it is an error of
    /// half a unit at most, and an exact result beyond that must be infinite.
    pub fn units_off<T: Float>(self, actual: T) -> f64 {
        let (actual, precision) = (actual.to_f64(), T::DTYPE);
        let overflow = match precision {
            DType::F32 => 128,
            DType::F64 => 1024,
        };
        let Scaled { value: DoubleDouble { high, low }, exponent: scale } = self;
        if high.is_nan() || actual.is_nan() {
            return if high.is_nan() && actual.is_nan() { 0.0 } else { f64::INFINITY };
        }
        let magnitude = if high.is_infinite() { overflow } else { exponent(high) + scale };
        if magnitude >= overflow {
            return if actual.is_infinite() && (actual > 0.0) == (high > 0.0) { 0.0 } else { f64::INFINITY };
        }
        // All in units of the last place: the exact result becomes a number below 2^53.
        let (digits, lowest) = if precision == DType::F32 { (23, -126) } else { (52, -1022) };
        let unit = magnitude.max(lowest) - digits;
        let actual = if actual.is_infinite() {
            times_power_of_two(actual.signum(), overflow - unit)
        } else {
            times_power_of_two(actual, -unit)
        };
        let part = |x: f64| times_power_of_two(x, scale - unit);
        ((actual - part(high)) - part(low)).abs()
    }
}

/// The largest of many errors, and where it was.
#[derive(Debug, Clone, Default)]
pub struct Worst {
    pub error: f64,
    pub place: String,
}

impl Worst {
    pub fn see(&mut self, error: f64, place: impl FnOnce() -> String) {
        // Negated so that nan counts as an error.
        if !(error <= self.error) {
            *self = Worst { error, place: place() };
        }
    }
}

/// Entries that are not as they should be, collected so that a test names all of them at once.
#[derive(Debug, Default)]
pub struct Failures(Vec<String>);

impl Failures {
    pub fn add(&mut self, what: String) {
        self.0.push(what);
    }

    #[track_caller]
    pub fn assert_none(&self) {
        let mut text = String::new();
        for what in self.0.iter().take(30) {
            writeln!(text, "  {what}").unwrap();
        }
        assert!(self.0.is_empty(), "{} entries are too far off:\n{text}", self.0.len());
    }
}
