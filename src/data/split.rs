//! Samples to train on and samples to test with.

use super::batches::{positions, shuffle};
use crate::error::{Error, Result};
use crate::tensor::index::Indices;
use rand::Rng;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Divides samples at random into those to train on and those to test with; both in ascending order.
///
/// The test gets ceil(samples `test_share`) of them, as in scikit-learn's `train_test_split`.
///
/// # Errors
/// [`Error::Argument`] if one of the two parts would be empty, and for a share outside [0, 1];
/// [`Error::OutOfMemory`]. Nothing is drawn from the generator then.
pub fn train_test_split(
    samples: usize,
    test_share: f64,
    rng: &mut (impl Rng + ?Sized),
) -> Result<(Indices, Indices)> {
    let count = test_count("train_test_split", samples, test_share)?;
    let mut order = positions(samples)?;
    shuffle(&mut order, rng);
    Ok((ascending(&order[count..]), ascending(&order[..count])))
}

/// Like [`train_test_split`], with the classes represented in both parts as they are in the whole: for each
/// class, the number of test samples is its share rounded down or up (up where most was lost, and among
/// equals for the lower label).
///
/// # Errors
/// As [`train_test_split`]; [`Error::Shape`] for labels with more than one dim.
pub fn stratified_split(
    labels: &Indices,
    test_share: f64,
    rng: &mut (impl Rng + ?Sized),
) -> Result<(Indices, Indices)> {
    let op = "stratified_split";
    let mut classes = by_class(op, labels)?;
    let count = test_count(op, labels.len(), test_share)?;

    // Each class gets its share rounded down; what is missing goes to those that lost most.
    let share = |class: &Vec<i64>| class.len() as u128 * count as u128;
    let all = labels.len() as u128;
    let mut counts: Vec<usize> = classes.iter().map(|class| (share(class) / all) as usize).collect();
    let mut by_loss: Vec<usize> = (0..classes.len()).collect();
    by_loss.sort_by_key(|&class| Reverse(share(&classes[class]) % all)); // stable: the lower label first
    let missing = count - counts.iter().sum::<usize>();
    by_loss.iter().take(missing).for_each(|&class| counts[class] += 1);

    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (class, count) in classes.iter_mut().zip(counts) {
        shuffle(class, rng);
        test.extend(&class[..count]);
        train.extend(&class[count..]);
    }
    Ok((ascending(&train), ascending(&test)))
}

/// One of several ways to divide the samples: see [`k_folds`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// The samples to train on, in ascending order.
    pub train: Indices,
    /// The samples to test with, in ascending order.
    pub test: Indices,
}

/// Divides the samples at random into `folds` parts whose sizes differ by at most one; each fold tests with
/// one of them and trains on the others. The folds together take memory for samples times folds positions.
///
/// # Errors
/// [`Error::Argument`] for fewer than 2 folds or more folds than samples; [`Error::OutOfMemory`]. Nothing
/// is drawn from the generator then.
pub fn k_folds(samples: usize, folds: usize, rng: &mut (impl Rng + ?Sized)) -> Result<Vec<Fold>> {
    check_folds("k_folds", samples, folds)?;
    let mut order = positions(samples)?;
    shuffle(&mut order, rng);
    Ok(deal(&order, folds))
}

/// Like [`k_folds`], with the samples of each class divided among the parts, too, so that their numbers
/// differ by at most one.
///
/// # Errors
/// As [`k_folds`]; [`Error::Shape`] for labels with more than one dim.
pub fn stratified_k_folds(
    labels: &Indices,
    folds: usize,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Vec<Fold>> {
    let op = "stratified_k_folds";
    let mut classes = by_class(op, labels)?;
    check_folds(op, labels.len(), folds)?;
    classes.iter_mut().for_each(|class| shuffle(class, rng));
    Ok(deal(&classes.concat(), folds))
}

/// Deals samples to the parts like cards, one to each in turn; then makes a fold of each part.
fn deal(order: &[i64], folds: usize) -> Vec<Fold> {
    let fold = |fold: usize| {
        let belongs = |place: usize| place % folds == fold;
        let part = |test: bool| -> Vec<i64> {
            let chosen = order.iter().enumerate().filter(|(place, _)| belongs(*place) == test);
            chosen.map(|(_, &sample)| sample).collect()
        };
        Fold { train: ascending(&part(false)), test: ascending(&part(true)) }
    };
    (0..folds).map(fold).collect()
}

fn ascending(samples: &[i64]) -> Indices {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    samples.into_iter().collect()
}

/// The samples of each class, in the order of the labels.
fn by_class(op: &'static str, labels: &Indices) -> Result<Vec<Vec<i64>>> {
    if labels.rank() != 1 {
        let shape = labels.shape().to_vec();
        return Err(Error::Shape { op, what: "the tensor of labels", expected: "1".into(), actual: shape });
    }
    let mut classes = BTreeMap::<i64, Vec<i64>>::new();
    for (sample, &label) in labels.as_slice().iter().enumerate() {
        classes.entry(label).or_default().push(sample as i64);
    }
    Ok(classes.into_values().collect())
}

fn test_count(op: &'static str, samples: usize, share: f64) -> Result<usize> {
    let refuse = |value, allowed| Err(Error::Argument { op, name: "test_share", value, allowed });
    if !(0.0..=1.0).contains(&share) {
        return refuse(share.to_string(), "in [0, 1]");
    }
    let count = (samples as f64 * share).ceil() as usize;
    if count == 0 || count >= samples {
        let value = format!("{share} of {samples} samples");
        return refuse(value, "such that there are samples both to train on and to test with");
    }
    Ok(count)
}

fn check_folds(op: &'static str, samples: usize, folds: usize) -> Result<()> {
    if (2..=samples).contains(&folds) {
        // Asked for at once and given back, so that too many are refused before any work is done.
        let bytes = samples.saturating_mul(folds).saturating_mul(size_of::<i64>());
        return Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::OutOfMemory { bytes });
    }
    let value = format!("{folds} for {samples} samples");
    Err(Error::Argument { op, name: "folds", value, allowed: "at least 2 and at most one a sample" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(5)
    }

    /// That two parts are in ascending order and make up all samples.
    fn complete(train: &Indices, test: &Indices, samples: usize) {
        let sorted = |part: &Indices| part.as_slice().windows(2).all(|pair| pair[0] < pair[1]);
        assert!(sorted(train) && sorted(test));
        let mut all = [train.to_vec(), test.to_vec()].concat();
        all.sort();
        assert_eq!(all, (0..samples as i64).collect::<Vec<_>>());
    }

    fn count(part: &Indices, labels: &Indices, label: i64) -> usize {
        part.as_slice().iter().filter(|&&sample| labels.as_slice()[sample as usize] == label).count()
    }

    #[test]
    fn a_split_takes_the_share_rounded_up() {
        for (samples, share, expected) in
            [(10, 0.25, 3), (10, 0.3, 3), (2, 0.5, 1), (2, 0.01, 1), (100, 0.2, 20)]
        {
            let (train, test) = train_test_split(samples, share, &mut rng()).unwrap();
            assert_eq!(test.len(), expected);
            complete(&train, &test, samples);
        }
    }

    #[test]
    fn every_sample_is_as_likely_to_be_tested_with() {
        let (mut counts, mut rng) = ([0; 10], rng());
        for _ in 0..10_000 {
            let (_, test) = train_test_split(10, 0.3, &mut rng).unwrap();
            test.as_slice().iter().for_each(|&sample| counts[sample as usize] += 1);
        }
        // 3000 expected, with a standard deviation of 46.
        assert!(counts.iter().all(|count| (2770..3230).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_stratified_split_keeps_the_proportions() {
        // 50 of class 2, 30 of class 7, 11 of class -1, mixed.
        let labels: Indices = (0..91)
            .map(|i| {
                if i % 9 == 0 {
                    -1
                } else if i % 3 == 0 || i % 9 == 1 {
                    7
                } else {
                    2
                }
            })
            .collect();
        let all: Indices = (0..91).collect();
        for share in [0.1, 0.25, 0.5, 0.9] {
            let (train, test) = stratified_split(&labels, share, &mut rng()).unwrap();
            complete(&train, &test, 91);
            assert_eq!(test.len(), (91.0 * share).ceil() as usize);
            for label in [-1, 2, 7] {
                let exact = count(&all, &labels, label) as f64 * test.len() as f64 / 91.0;
                let part = count(&test, &labels, label) as f64;
                assert!((part - exact).abs() < 1.0, "{part} of {label} for {exact}");
            }
        }
    }

    #[test]
    fn splits_that_leave_a_part_empty_are_refused() {
        let mut generator = rng();
        let labels: Indices = [0, 1, 1].into_iter().collect();
        for share in [0.0, 1.0, 0.7, -0.5, 1.5, f64::NAN] {
            for result in
                [train_test_split(3, share, &mut generator), stratified_split(&labels, share, &mut generator)]
            {
                assert!(matches!(result, Err(Error::Argument { name: "test_share", .. })), "{share}");
            }
        }
        assert!(train_test_split(0, 0.5, &mut generator).is_err());
        let table = labels.reshape([3, 1]).unwrap();
        assert!(matches!(stratified_split(&table, 0.3, &mut generator), Err(Error::Shape { .. })));
        assert_eq!(generator, rng());
    }

    #[test]
    fn folds_test_with_every_sample_once() {
        for (samples, count) in [(10, 3), (9, 3), (5, 5), (11, 2)] {
            let labels: Indices = (0..samples as i64).map(|i| i % 2).collect();
            let plain = k_folds(samples, count, &mut rng()).unwrap();
            let stratified = stratified_k_folds(&labels, count, &mut rng()).unwrap();
            for folds in [plain, stratified] {
                assert_eq!(folds.len(), count);
                for fold in &folds {
                    complete(&fold.train, &fold.test, samples);
                    assert!(fold.test.len() == samples / count || fold.test.len() == samples.div_ceil(count));
                }
                let mut tested: Vec<i64> = folds.iter().flat_map(|fold| fold.test.to_vec()).collect();
                tested.sort();
                assert_eq!(tested, (0..samples as i64).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn stratified_folds_share_out_each_class() {
        let labels: Indices = (0..40)
            .map(|i| {
                if i < 13 {
                    0
                } else if i < 20 {
                    1
                } else {
                    2
                }
            })
            .collect();
        for fold in stratified_k_folds(&labels, 5, &mut rng()).unwrap() {
            assert!([2, 3].contains(&count(&fold.test, &labels, 0)));
            assert!([1, 2].contains(&count(&fold.test, &labels, 1)));
            assert_eq!(count(&fold.test, &labels, 2), 4);
        }
    }

    #[test]
    fn folds_are_random_and_refused_where_there_are_too_many_or_too_few() {
        let mut generator = rng();
        assert_ne!(k_folds(20, 4, &mut generator).unwrap(), k_folds(20, 4, &mut generator).unwrap());
        let mut generator = rng();
        for folds in [0, 1, 6] {
            let error = k_folds(5, folds, &mut generator).unwrap_err().to_string();
            let expected = format!(
                "k_folds: folds is {folds} for 5 samples, it must be at least 2 and at most one a sample"
            );
            assert_eq!(error, expected);
        }
        let labels: Indices = (0..3_000_000).map(|_| 0).collect();
        for folds in [
            k_folds(3_000_000, 3_000_000, &mut generator),
            stratified_k_folds(&labels, 3_000_000, &mut generator),
        ] {
            assert_eq!(folds, Err(Error::OutOfMemory { bytes: 72_000_000_000_000 }));
        }
        assert_eq!(generator, rng());
    }
}
