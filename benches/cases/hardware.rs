//! What the machine itself needs for the memory that a case must touch: the floor under every library.

use super::{Case, Repeat, normal};
use rayon::prelude::*;
use std::hint::black_box;

/// The case, if it measures the machine.
pub fn ready(case: Case) -> Option<Box<dyn Repeat>> {
    match case {
        Case::Read(rows, classes) => {
            let x = normal([rows, classes]).to_vec();
            Some(Box::new(move || read(&x)))
        }
        Case::ReadThenCopy(rows, classes) => {
            let x = normal([rows, classes]).to_vec();
            let mut copy = x.clone();
            Some(Box::new(move || {
                read(&x);
                let size = share(x.len());
                copy.par_chunks_mut(size)
                    .zip(x.par_chunks(size))
                    .for_each(|(copy, x)| copy.copy_from_slice(x));
                black_box(&copy);
            }))
        }
        Case::ReadThenWriteInPlace(rows, classes) => {
            let mut x = normal([rows, classes]).to_vec();
            Some(Box::new(move || {
                read(&x);
                let (size, sign) = (share(x.len()), black_box(-1.0));
                x.par_chunks_mut(size).for_each(|x| x.iter_mut().for_each(|x| *x *= sign));
                black_box(&x);
            }))
        }
        _ => None,
    }
}

/// Each thread takes one contiguous share.
fn share(length: usize) -> usize {
    length.div_ceil(rayon::current_num_threads())
}

fn read(x: &[f32]) {
    black_box(x.par_chunks(share(x.len())).map(sum).sum::<f32>());
}

/// A sum in so many independent lanes that memory, and not the latency of an addition, sets the pace.
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0; 32];
    let (chunks, rest) = x.as_chunks::<32>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x);
    }
    lanes.iter().chain(rest).sum()
}
