//! What feeds a training run: tables, splits, batches, scales, synthetic data.
//!
//! Samples are named by their positions, as [`Indices`](crate::Indices), and tensors and labels are picked
//! from by those: nothing here needs to know what a sample is.
//!
//! ```
//! use rand::SeedableRng;
//! use tapegrad::data::{Batches, Standardizer, from_csv, train_test_split};
//! use tapegrad::nn::ChaCha8Rng;
//! use tapegrad::{Indices, Tensor};
//!
//! let table: Tensor = from_csv("width,height,class\n1.0,20,0\n2.0,10,1\n3.0,30,1\n4.0,20,0\n", true)?;
//! let (inputs, labels) = (table.narrow(1, 0, 2)?, Indices::new([0, 1, 1, 0])?);
//!
//! let mut rng = ChaCha8Rng::seed_from_u64(0);
//! let (train, test) = train_test_split(4, 0.25, &mut rng)?;
//! let scale = Standardizer::fit(&inputs.index_select(0, &train)?)?;
//! let (inputs, test_inputs) = (scale.apply(&inputs)?, scale.apply(&inputs.index_select(0, &test)?)?);
//! assert_eq!(test_inputs.shape(), &[1, 2]);
//!
//! for batch in Batches::shuffled(train.len(), 2, &mut rng)? {
//!     let batch = train.index_select(0, &batch)?;
//!     let (x, y) = (inputs.index_select(0, &batch)?, labels.index_select(0, &batch)?);
//!     assert_eq!(x.shape()[0], y.len());
//! }
//! # Ok::<(), tapegrad::Error>(())
//! ```
//!
//! Classes as vectors of zeros and a one are [`Indices::one_hot`](crate::Indices::one_hot).

mod batches;
mod split;
mod standardize;
mod synthetic;
mod table;

pub use batches::Batches;
pub use split::{Fold, k_folds, stratified_k_folds, stratified_split, train_test_split};
pub use standardize::Standardizer;
pub use synthetic::make_classification_logits;
pub use table::{from_csv, from_records};
