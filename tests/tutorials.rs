//! Four well-known walk-throughs of softmax and cross entropy, with their printed numbers.
//!
//! Inputs are as printed, so they were rounded to four decimals, and so were the outputs: the two
//! agree to within 1e-4.

use approx::assert_abs_diff_eq;
use tapegrad::{CrossEntropyLoss, Indices, NllLoss, Reduction, Result, Tensor, accuracy};

/// Asserts that a tensor agrees with printed numbers, which are a tensor or a literal of one.
macro_rules! assert_printed {
    ($computed:expr, $printed:expr) => {
        assert_abs_diff_eq!($computed, Tensor::new($printed), epsilon = 1e-4)
    };
}

mod six_objects_of_three_classes {
    use super::*;

    fn logits() -> Tensor {
        Tensor::new([
            [3.8538, 2.9746, -0.9948],
            [0.8792, -1.5163, 2.1566],
            [1.6016, 3.3612, 0.7117],
            [-1.3732, 1.2209, 2.6695],
            [-0.4632, 0.0835, -0.5032],
            [1.7197, -0.6195, -0.7914],
        ])
    }
    const TARGET: [i64; 6] = [0, 1, 0, 2, 2, 0];
    const LOSSES: [f32; 6] = [0.3527, 3.9384, 1.9770, 0.2251, 1.3451, 0.1635];

    #[test]
    fn softmax_turns_scores_into_probabilities() -> Result<()> {
        let probabilities = logits().softmax(1)?;
        assert_printed!(
            probabilities,
            [
                [0.7028, 0.2917, 0.0055],
                [0.2137, 0.0195, 0.7668],
                [0.1385, 0.8046, 0.0569],
                [0.0140, 0.1876, 0.7984],
                [0.2711, 0.4684, 0.2605],
                [0.8492, 0.0819, 0.0689],
            ]
        );
        Ok(())
    }

    #[test]
    fn the_loss_is_the_negative_log_of_the_gathered_probability() -> Result<()> {
        let target = Indices::new(TARGET)?;
        let probabilities = logits().softmax(1)?;
        let gathered = probabilities.gather(1, target.unsqueeze(1)?)?.squeeze(1)?;
        assert_printed!(gathered, [0.7028, 0.0195, 0.1385, 0.7984, 0.2605, 0.8492]);
        assert_printed!(-gathered.log()?, LOSSES);
        Ok(())
    }

    #[test]
    fn log_softmax_and_nll_loss_give_the_same() -> Result<()> {
        let log_probabilities = logits().log_softmax(1)?;
        let loss = NllLoss::new().reduction(Reduction::Unreduced);
        assert_printed!(loss.forward(&log_probabilities, TARGET)?, LOSSES);
        Ok(())
    }

    #[test]
    fn cross_entropy_loss_gives_the_same() -> Result<()> {
        let loss = CrossEntropyLoss::new().reduction(Reduction::Unreduced);
        assert_printed!(loss.forward(&logits(), TARGET)?, LOSSES);
        Ok(())
    }
}

mod three_rows_of_five_classes {
    use super::*;

    fn logits() -> Tensor {
        Tensor::new([
            [-0.3139, 0.6737, -0.0143, 1.9929, -0.6949],
            [0.5285, 0.1311, 0.2628, 0.6450, 1.7745],
            [-1.7458, 2.0199, -0.1365, 1.4622, -0.0940],
        ])
    }
    const TARGET: [i64; 3] = [0, 3, 4];
    const MEAN: f32 = 2.4372;

    #[test]
    fn probabilities_are_exponentials_over_their_sum() -> Result<()> {
        let exponentials = logits().exp()?;
        let probabilities = &exponentials / exponentials.sum(tapegrad::keepdim(1))?;
        let printed = [
            [0.0635, 0.1704, 0.0856, 0.6372, 0.0433],
            [0.1421, 0.0955, 0.1089, 0.1596, 0.4939],
            [0.0126, 0.5458, 0.0632, 0.3125, 0.0659],
        ];
        assert_printed!(probabilities, printed);
        assert_printed!(logits().softmax(-1)?, printed);
        assert_printed!(probabilities.sum(1)?, [1.0, 1.0, 1.0]);
        Ok(())
    }

    #[test]
    fn the_mean_loss_comes_out_three_ways() -> Result<()> {
        let target = Indices::new(TARGET)?;
        let gathered = logits().softmax(1)?.gather(1, target.unsqueeze(1)?)?.squeeze(1)?;
        assert_printed!(gathered, [0.0635, 0.1596, 0.0659]);
        let losses = -gathered.log()?;
        assert_printed!(losses, [2.7574, 1.8349, 2.7194]);

        assert_printed!(losses.mean(..)?, MEAN);
        assert_printed!(logits().log_softmax(1)?.nll_loss(TARGET)?, MEAN);
        assert_printed!(logits().cross_entropy(TARGET)?, MEAN);
        Ok(())
    }

    /// Accuracy is what we want to be great, but it cannot teach: a small step changes the scores and
    /// not which of them is the greatest.
    #[test]
    fn accuracy_has_no_gradient_to_follow_and_the_loss_has() -> Result<()> {
        let logits = logits().to_f64()?.requires_grad();
        logits.cross_entropy(TARGET)?.backward()?;
        let gradient = logits.grad().unwrap();
        assert!(gradient.as_slice().iter().all(|slope| slope.abs() > 1e-3), "{gradient}");

        let of_accuracy = finite_differences(&logits, |logits| accuracy(logits, TARGET))?;
        assert_eq!(of_accuracy, Tensor::zeros([3, 5])?);
        let of_loss = finite_differences(&logits, |logits| logits.cross_entropy(TARGET)?.item())?;
        assert_abs_diff_eq!(of_loss, gradient, epsilon = 1e-8);
        Ok(())
    }

    /// It does change, all at once, where two scores are equal: hence "almost everywhere".
    #[test]
    fn accuracy_jumps_where_the_right_class_overtakes() -> Result<()> {
        let with_first_score = |score: f32| {
            let mut logits = logits();
            logits.as_mut_slice()?[0] = score;
            accuracy(&logits, TARGET)
        };
        assert_eq!(with_first_score(-0.3139)?, 0.0);
        assert_eq!(with_first_score(1.9928)?, 0.0);
        assert_eq!(with_first_score(1.9930)?, 1.0 / 3.0);
        Ok(())
    }

    /// The slope of `f` along each coordinate of `x`, from its values on both sides.
    fn finite_differences(x: &Tensor<f64>, f: impl Fn(&Tensor<f64>) -> Result<f64>) -> Result<Tensor<f64>> {
        let step = 1e-4;
        let value_at = |coordinate: usize, change: f64| {
            let mut moved = x.detach();
            moved.as_mut_slice()?[coordinate] += change;
            f(&moved)
        };
        let slope =
            |coordinate| Ok((value_at(coordinate, step)? - value_at(coordinate, -step)?) / (2.0 * step));
        let slopes: Vec<f64> = (0..x.len()).map(slope).collect::<Result<_>>()?;
        Tensor::from_vec(slopes, x.shape())
    }
}

mod distributions_and_ten_rows {
    use super::*;

    fn logits() -> Tensor {
        Tensor::new([
            [4.2177, -4.0934, 0.0668],
            [-0.7385, 2.6636, 3.4101],
            [-4.0501, 1.9145, 4.6214],
            [4.8040, 1.1541, -2.3394],
            [2.5674, -2.1252, 1.5663],
            [-2.0453, 3.3044, 0.0779],
            [4.1436, 5.1625, 4.5696],
            [4.2516, 3.3550, -0.4895],
            [-0.7235, -0.0780, 2.7425],
            [-4.7485, 0.8806, 5.0635],
        ])
    }
    const LABELS: [i64; 10] = [0, 2, 2, 1, 0, 1, 1, 0, 1, 2];

    #[test]
    fn cross_entropy_compares_two_distributions() -> Result<()> {
        let p = Tensor::new([0.1, 0.7, 0.2]);
        let q = Tensor::new([0.0, 1.0, 0.0]);
        assert_printed!(-(q * p.log()?).sum(..)?, 0.3567);
        Ok(())
    }

    #[test]
    fn the_loss_of_several_rows_is_their_average() -> Result<()> {
        let p = Tensor::new([[0.7502, 0.0828, 0.1670], [0.3724, 0.2735, 0.3541], [0.0895, 0.8934, 0.0171]]);
        let labels = Indices::new([0, 2, 0])?;
        let q = labels.one_hot(3)?;
        let losses = -(q * p.log()?).sum(1)?;
        assert_printed!(losses.mean(..)?, 1.2463);
        assert_printed!(p.log()?.nll_loss(&labels)?, 1.2463);
        Ok(())
    }

    #[test]
    fn confident_probabilities_print_in_scientific_form() -> Result<()> {
        let probabilities = logits().softmax(1)?;
        assert_printed!(probabilities.narrow(0, 0, 1)?, [[9.8426e-01, 2.4190e-04, 1.5502e-02]]);
        let text = probabilities.to_string();
        assert!(text.starts_with("tensor([[9.8426e-01, 2.4190e-04, 1.5502e-02],\n        ["), "{text}");
        Ok(())
    }

    #[test]
    fn the_loss_object_the_method_and_the_single_rows_agree() -> Result<()> {
        assert_printed!(CrossEntropyLoss::new().forward(&logits(), LABELS)?, 0.8439);
        let loss = logits().cross_entropy(LABELS)?;
        assert_printed!(loss, 0.8439);
        assert_eq!(loss.to_string(), "tensor(0.8439)");

        let mut sum = Tensor::new(0.0);
        for (row, label) in LABELS.into_iter().enumerate() {
            sum = sum + logits().select(0, row as isize)?.cross_entropy(label)?;
        }
        assert_printed!(sum / 10.0, 0.8439);
        Ok(())
    }
}

mod three_reductions {
    use super::*;

    fn logits() -> Tensor {
        Tensor::new([
            [1.0491, 0.3516, -1.2480, 0.4829, -1.2766],
            [1.0018, -0.7298, 0.8515, -0.5951, 1.3111],
            [0.3726, -0.6266, -1.1043, 0.6200, 0.3317],
        ])
    }
    const TARGET: [i64; 3] = [0, 4, 3];

    #[test]
    fn the_mean_the_sum_and_each_loss() -> Result<()> {
        let loss = |reduction| CrossEntropyLoss::new().reduction(reduction).forward(&logits(), TARGET);
        assert_printed!(loss(Reduction::Mean)?, 0.9622);
        assert_printed!(loss(Reduction::Sum)?, 2.8866);
        assert_printed!(loss(Reduction::Unreduced)?, [0.8170, 0.9723, 1.0973]);
        Ok(())
    }
}
