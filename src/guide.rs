//! How it works, in chapters: from the scores of a classifier to its training, and to what goes on inside.
//!
//! They need some calculus, and a little Rust. Each can be read in ten minutes and ends with links to the places
//! in the source where it happens.
//!
//! Scores and losses
//!
//! 1. [From scores to probabilities](chapter_01_probabilities)
//! 2. [Picking the right one](chapter_02_gather)
//! 3. [From likelihood to loss](chapter_03_loss)
//! 4. [Why cross entropy takes logits](chapter_04_logits)
//!
//! Gradients
//!
//! 5. [The tape, step by step](chapter_05_tape)
//! 6. [Backward by hand, against backward by machine](chapter_06_backward)
//! 7. [The gradient of softmax cross entropy](chapter_07_gradient)
//! 8. [Training](chapter_08_training)
//!
//! Further
//!
//! 9. [Numerical truth](chapter_09_numerics)
//! 10. [Derivatives of derivatives](chapter_10_higher_orders)
//! 11. [Writing your own operation](chapter_11_operations)
//! 12. [Checking a gradient](chapter_12_gradcheck)
//! 13. [Coming from PyTorch](chapter_13_pytorch)
//!
//! For reference: [inside the tape](reference_tape), [differences from PyTorch](reference_differences),
//! [accuracy](reference_accuracy), [memory](reference_memory).

// The chapters are the files of `docs`, which are also read where the repository is browsed. There, links are
// relative paths; here, they lead to modules and source pages. So the files use links by reference,
// `[text][file]`, and end with the definitions that hold there. Those that hold here come first in the text, and
// the first definition of a reference counts.

/// Links to the source pages, as seen from a chapter.
macro_rules! sources {
    ($($file:literal)*) => {
        concat!($("[`src/", $file, "`]: ../../../src/tapegrad/", $file, ".html\n"),*)
    };
}

/// Where the references lead.
macro_rules! references {
    () => {
        concat!(
            "[README.md]: crate::guide\n",
            "[01-scores-to-probabilities.md]: crate::guide::chapter_01_probabilities\n",
            "[02-picking-the-right-one.md]: crate::guide::chapter_02_gather\n",
            "[03-from-likelihood-to-loss.md]: crate::guide::chapter_03_loss\n",
            "[04-why-cross-entropy-takes-logits.md]: crate::guide::chapter_04_logits\n",
            "[05-the-tape-step-by-step.md]: crate::guide::chapter_05_tape\n",
            "[06-backward-by-hand.md]: crate::guide::chapter_06_backward\n",
            "[07-the-gradient-of-softmax-cross-entropy.md]: crate::guide::chapter_07_gradient\n",
            "[08-training.md]: crate::guide::chapter_08_training\n",
            "[09-numerical-truth.md]: crate::guide::chapter_09_numerics\n",
            "[10-derivatives-of-derivatives.md]: crate::guide::chapter_10_higher_orders\n",
            "[11-writing-your-own-operation.md]: crate::guide::chapter_11_operations\n",
            "[12-checking-a-gradient.md]: crate::guide::chapter_12_gradcheck\n",
            "[13-coming-from-pytorch.md]: crate::guide::chapter_13_pytorch\n",
            "[tape.md]: crate::guide::reference_tape\n",
            "[differences.md]: crate::guide::reference_differences\n",
            "[accuracy.md]: crate::guide::reference_accuracy\n",
            "[memory.md]: crate::guide::reference_memory\n",
            sources!(
                "kernels/functions/mod.rs" "kernels/gather.rs" "kernels/rows/mod.rs"
                "kernels/rows/softmax.rs" "kernels/rows/cross_entropy.rs"
                "tensor/model.rs" "tensor/index.rs"
                "autograd/step.rs" "autograd/tape.rs" "autograd/backward.rs" "autograd/gradcheck.rs"
                "autograd/observe/mod.rs" "autograd/observe/non_finite.rs" "autograd/observe/pictures.rs"
                "ops/unary.rs" "ops/binary.rs" "ops/reduce.rs" "ops/softmax.rs" "ops/gather.rs"
                "ops/metrics.rs" "ops/loss/cross_entropy.rs" "ops/loss/nll.rs"
            ),
            "[`src/ops/`]: ../../../src/tapegrad/ops/mod.rs.html\n",
            "[`src/data/`]: crate::data\n",
            "[`src/nn/`]: crate::nn\n",
            "[`src/optim/`]: crate::optim\n",
        )
    };
}

/// A module that is a text, and the pictures that it shows. Rustdoc has no place for a text's own files: the source
/// of a picture travels in the page, and a line of script hands it to the `img` that stands where the text speaks of it.
macro_rules! chapter {
    ($name:ident, $file:literal $(, $picture:literal)*) => {
        #[doc = references!()]
        #[doc = ""]
        #[doc = include_str!(concat!("../docs/", $file))]
        // Tests and examples have no page here: what is a link in the repository looks like plain text.
        #[doc = "\n<style>.docblock a[href^='../tests'], .docblock a[href^='../examples'] \
            { color: inherit; pointer-events: none; }</style>"]
        // Long calls in tables break rather than run out of the page.
        #[doc = "\n<style>.docblock td code { overflow-wrap: anywhere; }</style>"]
        // Pictures follow `prefers-color-scheme`: let them follow the theme that is chosen here.
        #[doc = "\n<style>:root[data-theme='light'] .docblock img { color-scheme: light; } \
            :root:not([data-theme='light']) .docblock img { color-scheme: dark; }</style>"]
        $(
            #[doc = "\n<script type=\"image/svg+xml\">"]
            #[doc = include_str!(concat!("../docs/", $picture))]
            #[doc = concat!(
                "</script>\n<script>document.querySelector(\".docblock img[src='", $picture, "']\").src = ",
                "\"data:image/svg+xml,\" + encodeURIComponent(",
                "document.currentScript.previousElementSibling.textContent.trim());</script>",
            )]
        )*
        pub mod $name {}
    };
}

chapter!(chapter_01_probabilities, "01-scores-to-probabilities.md");
chapter!(chapter_02_gather, "02-picking-the-right-one.md");
chapter!(chapter_03_loss, "03-from-likelihood-to-loss.md", "nll_curve.svg");
chapter!(chapter_04_logits, "04-why-cross-entropy-takes-logits.md");
chapter!(chapter_05_tape, "05-the-tape-step-by-step.md", "tape_by_hand.svg");
chapter!(chapter_06_backward, "06-backward-by-hand.md");
chapter!(chapter_07_gradient, "07-the-gradient-of-softmax-cross-entropy.md");
chapter!(chapter_08_training, "08-training.md", "three_class_training.svg", "three_class_regions.svg");
chapter!(chapter_09_numerics, "09-numerical-truth.md", "softmax_collapse.svg");
chapter!(chapter_10_higher_orders, "10-derivatives-of-derivatives.md");
chapter!(chapter_11_operations, "11-writing-your-own-operation.md");
chapter!(chapter_12_gradcheck, "12-checking-a-gradient.md");
chapter!(chapter_13_pytorch, "13-coming-from-pytorch.md");
chapter!(reference_tape, "tape.md");
chapter!(reference_differences, "differences.md");
chapter!(reference_accuracy, "accuracy.md");
chapter!(reference_memory, "memory.md");
