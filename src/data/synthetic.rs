//! Synthetic data for classification.

use crate::error::{Error, Result};
use crate::tensor::index::Indices;
use crate::tensor::model::Tensor;
use rand::{Rng, RngExt};

/// Logits of an imaginary classifier that is right with a chosen probability, and the true labels.
///
/// Returns logits of shape (n_samples, n_classes) and labels of shape (n_samples). For each sample:
///
/// 1. every logit is drawn uniformly from [-5, 5), and the label uniformly from the classes; m is the
///    largest |logit|, so that nothing in the row is above m;
/// 2. with probability `pct_correct` the label's logit is set to m + u `confidence`, where u is drawn
///    uniformly from [0, 1). Otherwise a class other than the label, all of them equally likely, gets
///    the logit m + u / 10: a mistake, by a narrow margin.
///
/// So the argmax of a row is its label with probability `pct_correct`, and the larger `confidence` is, the
/// further ahead is the logit of a right prediction. The raised logit can tie with another one that is itself
/// m. That is rare unless `confidence` is 0, or so small that u `confidence` is lost to rounding. With 0, one
/// in three rows of three classes has such a tie, and [`argmax`](Tensor::argmax) then takes the first of the
/// two classes.
///
/// Samples are drawn one after the other: from the same seed, a smaller data set is the beginning of a
/// larger one.
///
/// ```
/// # use rand::SeedableRng;
/// # use rand::rngs::ChaCha8Rng;
/// # use tapegrad::data::make_classification_logits;
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let (logits, labels) = make_classification_logits(&mut rng, 3, 1000, 0.8, 2.0)?;
/// assert_eq!((logits.shape(), labels.shape()), (&[1000, 3].into(), &[1000].into()));
///
/// let predicted = logits.argmax(1)?;
/// let right = (predicted.as_slice().iter().zip(labels.as_slice())).filter(|(p, l)| p == l).count();
/// assert!((760..840).contains(&right));    // 800 expected, with a standard deviation of 13
/// # Ok::<(), tapegrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] for fewer than two classes, a `pct_correct` outside [0, 1] and a `confidence`
/// that is negative, not finite or too large for `f32`, nan included; [`Error::TooLarge`],
/// [`Error::OutOfMemory`]. Nothing is drawn from the generator then.
pub fn make_classification_logits(
    rng: &mut (impl Rng + ?Sized),
    n_classes: usize,
    n_samples: usize,
    pct_correct: f64,
    confidence: f64,
) -> Result<(Tensor, Indices)> {
    let op = "make_classification_logits";
    let refuse = |name, value: String, allowed| Err(Error::Argument { op, name, value, allowed });
    if n_classes < 2 {
        return refuse("n_classes", n_classes.to_string(), "at least 2");
    }
    if !(0.0..=1.0).contains(&pct_correct) {
        return refuse("pct_correct", pct_correct.to_string(), "in [0, 1]");
    }
    if !(0.0..=f64::from(f32::MAX)).contains(&confidence) {
        return refuse(
            "confidence",
            confidence.to_string(),
            "at least 0, finite, and within the range of f32",
        );
    }

    let mut logits = Tensor::zeros([n_samples, n_classes])?;
    let mut labels = Vec::new();
    let bytes = n_samples.saturating_mul(size_of::<i64>());
    labels.try_reserve_exact(n_samples).map_err(|_| Error::OutOfMemory { bytes })?;
    for row in logits.as_mut_slice()?.chunks_exact_mut(n_classes) {
        row.fill_with(|| 10.0 * rng.random::<f32>() - 5.0); // below 5 after rounding, too
        let largest = row.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
        let label = rng.random_range(0..n_classes);
        let (raised, spread) = if rng.random_bool(pct_correct) {
            (label, confidence as f32)
        } else {
            let other = rng.random_range(0..n_classes - 1); // all classes but the label, renumbered
            (if other < label { other } else { other + 1 }, 0.1)
        };
        row[raised] = largest + rng.random::<f32>() * spread;
        labels.push(label as i64);
    }
    Ok((logits, Indices::from_vec(labels, [n_samples])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    /// A row and its label.
    type Sample = (Vec<f32>, usize);

    fn samples(seed: u64, classes: usize, count: usize, pct_correct: f64, confidence: f64) -> Vec<Sample> {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (logits, labels) =
            make_classification_logits(rng, classes, count, pct_correct, confidence).unwrap();
        assert_eq!((logits.shape(), labels.shape()), (&[count, classes].into(), &[count].into()));
        logits.rows().zip(labels.as_slice()).map(|(row, &label)| (row.to_vec(), label as usize)).collect()
    }

    fn argmax(row: &[f32]) -> usize {
        (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
    }

    /// The class that was raised above the others, and the largest magnitude among the others: m, unless
    /// the raised class had it.
    fn raised(row: &[f32]) -> (usize, f32) {
        let top = argmax(row);
        let others = (0..row.len()).filter(|&class| class != top).map(|class| row[class].abs());
        (top, others.fold(0.0, f32::max))
    }

    /// Whether a count of successes is within five standard deviations of a binomial distribution.
    fn plausible(successes: usize, trials: usize, probability: f64) -> bool {
        let (n, p) = (trials as f64, probability);
        (successes as f64 - n * p).abs() <= 5.0 * (n * p * (1.0 - p)).sqrt()
    }

    /// Whether values fall into ten equal bins of [0, 1) as uniform ones would.
    fn uniform(values: impl Iterator<Item = f64>) -> bool {
        let mut bins = [0; 10];
        for value in values {
            assert!((0.0..1.0).contains(&value), "{value}");
            bins[(10.0 * value) as usize] += 1;
        }
        let total = bins.iter().sum();
        total >= 1000 && bins.iter().all(|&count| plausible(count, total, 0.1))
    }

    #[test]
    fn the_argmax_is_the_label_as_often_as_asked() {
        for (seed, classes, pct_correct) in
            [(1, 3, 0.85), (2, 2, 0.5), (3, 10, 0.1), (4, 3, 0.0), (5, 3, 1.0)]
        {
            let data = samples(seed, classes, 20_000, pct_correct, 2.0);
            let right = data.iter().filter(|(row, label)| argmax(row) == *label).count();
            // At the bounds of 0 and 1 the standard deviation is 0: a single tie would show.
            assert!(plausible(right, data.len(), pct_correct), "{right} right for {pct_correct}");
        }
    }

    #[test]
    fn labels_are_uniform() {
        let data = samples(6, 5, 20_000, 0.7, 1.0);
        for class in 0..5 {
            let count = data.iter().filter(|(_, label)| *label == class).count();
            assert!(plausible(count, data.len(), 0.2), "{count} of class {class}");
        }
    }

    #[test]
    fn logits_that_were_not_raised_are_uniform_below_the_raised_one() {
        // In a row of many classes, hardly any logit is the raised one.
        let data = samples(7, 500, 200, 0.5, 3.0);
        let rest = data.iter().flat_map(|(row, _)| {
            let (top, _) = raised(row);
            (0..row.len()).filter(move |&class| class != top).map(|class| row[class])
        });
        assert!(rest.clone().all(|logit| (-5.0..5.0).contains(&logit)));
        assert!(rest.clone().any(|logit| logit < -4.99) && rest.clone().any(|logit| logit > 4.99));
        assert!(uniform(rest.map(|logit| (f64::from(logit) + 5.0) / 10.0)));
        let largest_draw = 1.0 - f32::EPSILON / 2.0;
        assert!(10.0 * largest_draw - 5.0 < 5.0);
    }

    #[test]
    fn a_right_label_stands_above_every_magnitude_by_up_to_the_confidence() {
        // Of 500 classes, the others' largest magnitude is m in all but one row in 500.
        let data = samples(8, 500, 5000, 1.0, 3.0);
        let margins: Vec<f64> = (data.iter())
            .map(|(row, label)| {
                let (top, others) = raised(row);
                assert_eq!(top, *label);
                assert!(row[top] >= others && row[top] < 5.0 + 3.0);
                f64::from(row[top] - others)
            })
            .filter(|&margin| margin < 3.0)
            .collect();
        assert!(margins.len() > 4980);
        assert!(uniform(margins.iter().map(|margin| margin / 3.0)));
    }

    #[test]
    fn a_mistake_is_narrow_and_falls_on_every_other_class_alike() {
        let (classes, count) = (4, 30_000);
        let data = samples(9, classes, count, 0.0, 3.0);
        let mut counts = [[0; 4]; 4];
        for (row, label) in &data {
            let (top, others) = raised(row);
            assert_ne!(top, *label);
            assert!(row[top] >= others && row[top] < 5.1);
            counts[*label][top] += 1;
        }
        for (label, row) in counts.iter().enumerate() {
            for (class, &mistakes) in row.iter().enumerate().filter(|(class, _)| *class != label) {
                assert!(plausible(mistakes, count, 0.25 / 3.0), "{mistakes} of {label} as {class}");
            }
        }
        // The raised logit is m + u / 10, and ten times the margin is u where another class has m. (A
        // bound just below 0.1, because the margin was rounded.)
        let margins = samples(10, 500, 5000, 0.0, 3.0).into_iter().map(|(row, _)| {
            let (top, others) = raised(&row);
            10.0 * f64::from(row[top] - others)
        });
        let margins: Vec<f64> = margins.filter(|&margin| margin < 0.99999).collect();
        assert!(margins.len() > 4900);
        assert!(uniform(margins.into_iter()));
    }

    #[test]
    fn without_confidence_the_label_ties_with_the_largest_logit_in_a_third_of_the_rows() {
        let data = samples(11, 3, 20_000, 1.0, 0.0);
        let largest = |row: &[f32]| row.iter().fold(f32::MIN, |a, &b| a.max(b));
        assert!(data.iter().all(|(row, label)| row[*label] == largest(row)));
        let ties =
            data.iter().filter(|(row, _)| row.iter().filter(|&&x| x == largest(row)).count() > 1).count();
        // m comes from another class (2/3) whose logit is positive (1/2).
        assert!(plausible(ties, data.len(), 1.0 / 3.0), "{ties}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_and_a_smaller_set_is_a_prefix() {
        let all = samples(12, 3, 100, 0.8, 1.0);
        assert_eq!(samples(12, 3, 100, 0.8, 1.0), all);
        assert_eq!(samples(12, 3, 40, 0.8, 1.0), all[..40]);
        assert_ne!(samples(13, 3, 100, 0.8, 1.0), all);
    }

    #[test]
    fn no_samples_are_an_empty_data_set() {
        assert_eq!(samples(14, 3, 0, 0.8, 1.0), []);
    }

    #[test]
    fn bad_arguments_are_refused_by_name_and_draw_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(15);
        let mut refused = |n_classes, pct_correct, confidence| match make_classification_logits(
            &mut rng,
            n_classes,
            4,
            pct_correct,
            confidence,
        ) {
            Err(Error::Argument { name, .. }) => name,
            other => panic!("{:?}", other.map(|(logits, _)| logits.to_vec())),
        };
        for n_classes in [0, 1] {
            assert_eq!(refused(n_classes, 0.5, 1.0), "n_classes");
        }
        for pct_correct in [-1e-9, 1.0 + 1e-9, 85.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(refused(3, pct_correct, 1.0), "pct_correct");
        }
        for confidence in [-1e-9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39] {
            assert_eq!(refused(3, 0.5, confidence), "confidence");
        }
        let too_large = make_classification_logits(&mut rng, 3, usize::MAX, 0.5, 1.0);
        assert!(matches!(too_large, Err(Error::TooLarge { .. })));
        assert_eq!(rng, ChaCha8Rng::seed_from_u64(15));

        let (logits, _) = make_classification_logits(&mut rng, 2, 100, 1.0, f64::from(f32::MAX)).unwrap();
        assert!(logits.as_slice().iter().all(|logit| logit.is_finite()));
        let message = make_classification_logits(&mut rng, 3, 4, 1.5, 1.0).err().unwrap().to_string();
        assert_eq!(message, "make_classification_logits: pct_correct is 1.5, it must be in [0, 1]");
    }
}
