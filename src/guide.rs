//! How it works, in chapters: from the scores of a classifier to its training, and to what goes on inside.
//!
//! They need some calculus, and a little Rust. Each can be read in ten minutes and ends with the places in the
//! source where it happens. All code in them is run by the tests, and so are the numbers in the text.
//!
//! Scores and losses
//!
//! 1. [From scores to probabilities](scores_to_probabilities)
//! 2. [Picking the right one](picking_the_right_one)
//! 3. [From likelihood to loss](likelihood_to_loss)
//! 4. [Why cross entropy takes logits](why_logits)
//!
//! Gradients
//!
//! 5. [The tape, step by step](tape_step_by_step)
//! 6. [Backward by hand, against backward by machine](backward_by_hand)
//! 7. [The gradient of softmax cross entropy](gradient_of_cross_entropy)
//! 8. [Training](training)
//!
//! Further
//!
//! 9. [Numerical truth](numerical_truth)
//! 10. [Derivatives of derivatives](derivatives_of_derivatives)
//! 11. [Writing your own operation](your_own_operation)
//! 12. [Checking a gradient](checking_a_gradient)
//! 13. [Coming from PyTorch](coming_from_pytorch)
//!
//! For reference: [how the tape works](tape), [differences from PyTorch](differences), [accuracy], [memory].

/// Where the names lead by which texts refer to each other: the files end with definitions of their own, and the
/// first definition counts.
macro_rules! references {
    () => {
        concat!(
            "[01-scores-to-probabilities.md]: crate::guide::scores_to_probabilities\n",
            "[02-picking-the-right-one.md]: crate::guide::picking_the_right_one\n",
            "[03-from-likelihood-to-loss.md]: crate::guide::likelihood_to_loss\n",
            "[04-why-cross-entropy-takes-logits.md]: crate::guide::why_logits\n",
            "[05-the-tape-step-by-step.md]: crate::guide::tape_step_by_step\n",
            "[06-backward-by-hand.md]: crate::guide::backward_by_hand\n",
            "[07-the-gradient-of-softmax-cross-entropy.md]: crate::guide::gradient_of_cross_entropy\n",
            "[08-training.md]: crate::guide::training\n",
            "[09-numerical-truth.md]: crate::guide::numerical_truth\n",
            "[10-derivatives-of-derivatives.md]: crate::guide::derivatives_of_derivatives\n",
            "[11-writing-your-own-operation.md]: crate::guide::your_own_operation\n",
            "[12-checking-a-gradient.md]: crate::guide::checking_a_gradient\n",
            "[13-coming-from-pytorch.md]: crate::guide::coming_from_pytorch\n",
            "[tape.md]: crate::guide::tape\n",
            "[differences.md]: crate::guide::differences\n",
            "[accuracy.md]: crate::guide::accuracy\n",
            "[memory.md]: crate::guide::memory\n",
        )
    };
}

/// A module that is a text, and the pictures that it shows. Rustdoc has no place for a text's own files, so its
/// images are hidden and the pictures stand at the end.
macro_rules! chapter {
    ($name:ident, $file:literal $(, $picture:literal)*) => {
        #[doc = references!()]
        #[doc = ""]
        #[doc = include_str!(concat!("../docs/", $file))]
        $(
            #[doc = concat!("\n<style>.docblock img[src='", $picture, "'] { display: none; }</style>\n")]
            #[doc = include_str!(concat!("../docs/", $picture))]
        )*
        pub mod $name {}
    };
}

chapter!(scores_to_probabilities, "01-scores-to-probabilities.md");
chapter!(picking_the_right_one, "02-picking-the-right-one.md");
chapter!(likelihood_to_loss, "03-from-likelihood-to-loss.md", "nll_curve.svg");
chapter!(why_logits, "04-why-cross-entropy-takes-logits.md");
chapter!(tape_step_by_step, "05-the-tape-step-by-step.md", "tape_by_hand.svg");
chapter!(backward_by_hand, "06-backward-by-hand.md");
chapter!(gradient_of_cross_entropy, "07-the-gradient-of-softmax-cross-entropy.md");
chapter!(training, "08-training.md", "three_class_training.svg", "three_class_regions.svg");
chapter!(numerical_truth, "09-numerical-truth.md", "softmax_collapse.svg");
chapter!(derivatives_of_derivatives, "10-derivatives-of-derivatives.md");
chapter!(your_own_operation, "11-writing-your-own-operation.md");
chapter!(checking_a_gradient, "12-checking-a-gradient.md");
chapter!(coming_from_pytorch, "13-coming-from-pytorch.md");
chapter!(tape, "tape.md");
chapter!(differences, "differences.md");
chapter!(accuracy, "accuracy.md");
chapter!(memory, "memory.md");
