//! Samples in groups, in order or shuffled.

use crate::error::{Error, Result};
use crate::tensor::index::Indices;
use rand::Rng;
use std::iter::FusedIterator;

/// The positions of samples in batches: an iterator over [`Indices`], each of which picks a batch from
/// tensors and labels with `index_select(0, &batch)`.
///
/// ```
/// # use tapegrad::data::Batches;
/// let batches: Vec<Vec<i64>> = Batches::in_order(5, 2)?.map(|batch| batch.to_vec()).collect();
/// assert_eq!(batches, [vec![0, 1], vec![2, 3], vec![4]]);
/// assert_eq!(Batches::in_order(5, 2)?.drop_last(true).len(), 2);
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Batches {
    order: Vec<i64>,
    size: usize,
    start: usize,
    drop_last: bool,
}

impl Batches {
    /// The samples 0, 1, .. in this order.
    ///
    /// # Errors
    /// [`Error::Argument`] for batches of 0 samples; [`Error::OutOfMemory`].
    pub fn in_order(samples: usize, batch_size: usize) -> Result<Self> {
        let op = "Batches";
        if batch_size == 0 {
            let (name, allowed) = ("batch_size", "at least 1");
            return Err(Error::Argument { op, name, value: batch_size.to_string(), allowed });
        }
        Ok(Batches { order: positions(samples)?, size: batch_size, start: 0, drop_last: false })
    }

    /// The samples in random order, all orders equally likely: one epoch. Take a new one for each epoch,
    /// from the same generator. A run that is to be resumed in the middle of an epoch saves the generator as
    /// it was before the epoch, and skips the batches that were done.
    ///
    /// # Errors
    /// As [`Batches::in_order`]; nothing is drawn from the generator then.
    pub fn shuffled(samples: usize, batch_size: usize, rng: &mut (impl Rng + ?Sized)) -> Result<Self> {
        let mut batches = Batches::in_order(samples, batch_size)?;
        shuffle(&mut batches.order, rng);
        Ok(batches)
    }

    /// Whether a last batch that is smaller than the others is left out.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }
}

impl Iterator for Batches {
    type Item = Indices;

    fn next(&mut self) -> Option<Indices> {
        if self.len() == 0 {
            return None;
        }
        let rest = &self.order[self.start..];
        let batch = &rest[..self.size.min(rest.len())];
        self.start += batch.len();
        Some(batch.iter().copied().collect())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.order.len() - self.start;
        let count = if self.drop_last { rest / self.size } else { rest.div_ceil(self.size) };
        (count, Some(count))
    }
}

impl ExactSizeIterator for Batches {}
impl FusedIterator for Batches {}

/// 0, 1, .., one for each sample.
pub(super) fn positions(samples: usize) -> Result<Vec<i64>> {
    let mut positions = Vec::new();
    let bytes = samples.saturating_mul(size_of::<i64>());
    positions.try_reserve_exact(samples).map_err(|_| Error::OutOfMemory { bytes })?;
    positions.extend(0..samples as i64);
    Ok(positions)
}

/// Puts a list into random order (Fisher and Yates). Each choice takes one number of 64 bits from the
/// generator, so that the order follows from the generator's numbers alone, in every version of this crate
/// and of its dependencies.
pub(super) fn shuffle<I>(list: &mut [I], rng: &mut (impl Rng + ?Sized)) {
    for last in (1..list.len()).rev() {
        let choices = last as u128 + 1;
        let chosen = (u128::from(rng.next_u64()) * choices) >> 64; // uniform but for one part in 2^64
        list.swap(last, chosen as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;
    use std::collections::BTreeMap;

    fn collected(batches: Batches) -> Vec<Vec<i64>> {
        batches.map(|batch| batch.to_vec()).collect()
    }

    #[test]
    fn batches_cover_every_sample_once() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (samples, size) in [(0, 3), (1, 3), (3, 3), (7, 3), (9, 3), (4, usize::MAX)] {
            for drop_last in [false, true] {
                let batches = Batches::shuffled(samples, size, &mut rng).unwrap().drop_last(drop_last);
                let count = batches.len();
                let batches = collected(batches);
                assert_eq!(batches.len(), count);
                let whole = samples / size * size;
                let mut seen = batches.concat();
                seen.sort();
                seen.dedup();
                assert_eq!(seen.len(), if drop_last { whole } else { samples });
                assert!(batches.iter().rev().skip(1).all(|batch| batch.len() == size));
                assert!(batches.iter().all(|batch| batch.len() == size || !drop_last));
            }
        }
    }

    #[test]
    fn every_order_is_equally_likely() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut counts = BTreeMap::new();
        for _ in 0..24_000 {
            *counts.entry(collected(Batches::shuffled(4, 4, &mut rng).unwrap()).concat()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 24);
        // 1000 expected, with a standard deviation of 31.
        assert!(counts.values().all(|&count| (845..1155).contains(&count)), "{counts:?}");
    }

    #[test]
    fn the_order_follows_from_the_generator_alone() {
        let order = |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            collected(Batches::shuffled(8, 8, &mut rng).unwrap()).concat()
        };
        assert_eq!(order(0), order(0));
        assert_ne!(order(0), order(1));
    }

    #[test]
    fn batches_of_nothing_are_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let error = Batches::shuffled(5, 0, &mut rng).unwrap_err().to_string();
        assert_eq!(error, "Batches: batch_size is 0, it must be at least 1");
        assert!(matches!(Batches::shuffled(usize::MAX, 1, &mut rng), Err(Error::OutOfMemory { .. })));
        assert_eq!(rng, ChaCha8Rng::seed_from_u64(3));
    }
}
