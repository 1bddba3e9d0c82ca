//! How fast the cases are on this machine: `cargo bench --bench speed`.
//!
//! `RAYON_NUM_THREADS=1` keeps everything on one thread; an argument picks cases by name, as in
//! `cargo bench --bench speed -- softmax`. `benches/peers/run` compares with other libraries.
#![allow(missing_docs)]

mod cases;

use cases::{CASES, Case, Repeat, hardware, ours};
use divan::Bencher;
use std::cell::RefCell;

fn main() {
    divan::main();
}

fn of_ours() -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(|&&case| !is_of_hardware(case))
}

fn of_hardware() -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(|&&case| is_of_hardware(case))
}

fn is_of_hardware(case: Case) -> bool {
    matches!(case, Case::Read(..) | Case::ReadThenCopy(..) | Case::ReadThenWriteInPlace(..))
}

#[divan::bench(name = "tapegrad", args = of_ours(), max_time = 3)]
fn time_ours(bencher: Bencher, case: &Case) {
    time(bencher, ours::ready(*case));
}

#[divan::bench(name = "hardware", args = of_hardware(), max_time = 3)]
fn time_hardware(bencher: Bencher, case: &Case) {
    time(bencher, hardware::ready(*case));
}

fn time(bencher: Bencher, case: Option<Box<dyn Repeat>>) {
    let mut case = case.expect("the case is of this kind");
    if !case.needs_preparation() {
        return bencher.bench_local(|| case.repeat());
    }
    let case = RefCell::new(case);
    bencher.with_inputs(|| case.borrow_mut().prepare()).bench_local_values(|()| case.borrow_mut().repeat());
}
