//! How the engine behaves, whatever the operation: what is recorded, how gradients accumulate, what is
//! released, what threads may do, and what an error leaves behind.

mod accumulation;
mod bad_input;
mod chains;
mod functional;
mod precisions;
mod properties;
mod recording;
mod release;
mod rules;
mod threads;

use tapegrad::{Float, Tensor};

/// The accumulated gradient's numbers.
#[track_caller]
fn gradient<T: Float>(x: &Tensor<T>) -> Vec<T> {
    match x.grad() {
        Some(gradient) => {
            assert_eq!(gradient.shape(), x.shape());
            assert!(!gradient.is_tracked(), "a stored gradient has no history");
            gradient.to_vec()
        }
        None => panic!("there is no gradient"),
    }
}
