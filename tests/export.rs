//! What is noted of a tape's steps, and the pictures that show it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use tapegrad::{Conv2dOptions, Error, Indices, Result, Tape, Tensor, ValueRange, grad, no_grad};

fn logits() -> Tensor<f64> {
    Tensor::from([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]).requires_grad()
}

fn range(min: f64, max: f64) -> Option<ValueRange> {
    Some(ValueRange { min, max, nans: 0 })
}

/// The loss of a tutorial, step by step.
fn by_hand(logits: &Tensor<f64>) -> Result<Tensor<f64>> {
    let target = Indices::new([0, 1])?.unsqueeze(1)?;
    logits.softmax(1)?.gather(1, &target)?.log()?.mean(..)?.neg()
}

#[test]
fn every_step_is_observed_with_its_values_and_the_norm_of_its_gradient() -> Result<()> {
    let logits = logits();
    let tape = Tape::observe(|| by_hand(&logits))?.named("logits", &logits);

    // The same computation, with every value and gradient in hand.
    let p = logits.softmax(1)?;
    let right = p.gather(1, [[0], [1]])?;
    let log = right.log()?;
    let mean = log.mean(..)?;
    let loss = mean.neg()?;
    let values = [&logits, &p, &right, &log, &mean, &loss];
    let gradients = grad(&[&loss], &values, &Default::default())?;
    assert_eq!(tape.len(), values.len());
    for ((entry, value), gradient) in tape.entries().iter().zip(values).zip(gradients) {
        let sorted = |x: &Tensor<f64>| {
            let mut x = x.to_vec();
            x.sort_by(f64::total_cmp);
            x
        };
        let (found, expected) = (entry.values.unwrap(), sorted(value));
        assert_eq!((found.min, found.max, found.nans), (expected[0], expected[expected.len() - 1], 0));
        let norm = gradient.to_vec().iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!((entry.gradient_norm.unwrap() / norm - 1.0).abs() < 1e-14, "{entry:?}");
    }
    let formulas: Vec<&str> = tape.entries().iter().map(|entry| entry.formula).collect();
    let expected = ["", "yᵢ = exp xᵢ / Σⱼ exp xⱼ", "yᵢ = x[i, indexᵢ]", "y = ln x", "y = Σ xᵢ / n", "y = −x"];
    assert_eq!(formulas, expected);
    Ok(())
}

#[test]
fn observing_changes_no_gradient_and_keeps_none() -> Result<()> {
    let x = Tensor::from([3.0, -4.0]).requires_grad();
    x.square()?.sum(..)?.backward()?;
    let mut middle = None;
    let tape = Tape::observe(|| {
        let square = x.square()?;
        middle = Some(square.clone());
        square.sum(..)
    })?;
    assert_eq!(tape.entries()[0].gradient_norm, Some(10.0));
    assert_eq!(x.grad().unwrap().to_vec(), [6.0, -8.0], "of the first backward alone");
    let middle = middle.unwrap();
    assert!(middle.grad().is_none());
    assert_eq!(middle.sum(..)?.backward(), Err(Error::Released { op: "backward", step: "Square" }));

    // A value that was told to keep its gradient does so afterwards, and no other.
    let (kept, other) = (x.mul(2.0)?, x.mul(3.0)?);
    kept.retain_grad()?;
    let failed = Tape::observe(|| kept.add(&other)); // two values: not a loss
    assert!(matches!(failed, Err(Error::NotScalar { op: "observe", .. })), "{failed:?}");
    assert!(Tape::observe(|| kept.add(&other)?.square()?.sum(..)).is_ok());
    let (kept, other) = (x.mul(2.0)?, x.mul(3.0)?);
    kept.retain_grad()?;
    kept.add(&other)?.sum(..)?.backward()?;
    assert_eq!(kept.grad().unwrap().to_vec(), [1.0, 1.0]);
    assert!(other.grad().is_none());
    Ok(())
}

#[test]
fn what_cannot_be_observed_is_an_error_or_unknown() -> Result<()> {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let untracked = Tape::observe(|| no_grad(|| x.sum(..)));
    assert_eq!(untracked.err(), Some(Error::NotTracked { op: "observe", input: None }));
    let failed = Tape::observe(|| x.gather(0, [7])?.sum(..));
    assert!(matches!(failed, Err(Error::OutOfRange { .. })));
    let caught = catch_unwind(AssertUnwindSafe(|| Tape::observe::<f64>(|| panic!("on purpose"))));
    assert!(caught.is_err());

    // Recorded before: the value is not known, the gradient is.
    let before = x.square()?;
    let tape = Tape::observe(|| before.sum(..))?;
    assert_eq!(tape.entries()[0].values, None);
    assert_eq!((tape.entries()[1].values, tape.entries()[1].gradient_norm), (None, Some(2.0f64.sqrt())));
    assert_eq!(tape.entries()[2].values, range(5.0, 5.0));

    // Without observing nothing is known but what is named.
    let y = x.square()?;
    let loss = y.sum(..)?;
    let tape = loss.tape().named("y", &y).named("a stranger", &Tensor::from([9.0]).requires_grad());
    assert_eq!(
        tape.to_string(),
        "%0  leaf             [2]\n%1  y = Square(%0)   [2]\n%2  Sum(%1)          []\n"
    );
    assert_eq!(tape.entries()[1].values, range(1.0, 4.0));
    assert!(tape.entries().iter().all(|entry| entry.gradient_norm.is_none()));
    loss.backward()?;
    let tape = x.tape().named("x", &x);
    assert_eq!(tape.entries()[0].gradient_norm, Some(20.0f64.sqrt()));
    Ok(())
}

#[test]
fn both_precisions_are_observed_in_one_tape() -> Result<()> {
    let x = Tensor::new([1.0, f32::NAN, 4.0]).requires_grad();
    let tape = Tape::observe(|| x.sqrt()?.to_f64()?.sum(..))?;
    let values = tape.entries()[1].values.unwrap();
    assert_eq!((values.min, values.max, values.nans), (1.0, 2.0, 1));
    assert_eq!(values.to_string(), "1 .. 2, 1 nan");
    assert_eq!(tape.entries()[1].gradient_norm, Some(3.0f64.sqrt()));
    assert!(tape.entries()[0].gradient_norm.unwrap().is_nan());
    assert_eq!(tape.entries()[2].formula, "y = x in another precision");
    Ok(())
}

#[test]
fn every_built_in_step_says_its_formula() -> Result<()> {
    let x = Tensor::from([[0.3, 0.6], [0.2, 0.9]]).requires_grad();
    let labels = Indices::new([0, 1])?;
    let all = [
        x.add(&x)?.sub(&x)?.mul(&x)?.div(&x)?.pow(&x)?.maximum(&x)?.minimum(&x)?,
        x.neg()?.exp()?.expm1()?.log()?.log1p()?.sqrt()?.square()?.reciprocal()?.abs()?.relu()?.gelu()?,
        x.tanh()?.sigmoid()?.softplus()?.clamp(0.0, 1.0)?.where_cond(&x.gt(0.0)?, &x)?,
        x.masked_fill(&x.gt(0.5)?, 0.0)?.sum(0)?.mean(..)?,
        x.max(0)?.min(..)?,
        x.var(0, 1.0)?.logsumexp(0)?,
        x.softmax(0)?.log_softmax(0)?.gather(0, [[0, 1]])?.scatter_add(0, [[0, 0]], &x)?,
        x.index_select(0, [1, 1])?.reshape([4])?.unsqueeze(0)?.transpose(0, 1)?.broadcast_to([4, 3])?,
        x.narrow(0, 0, 1)?.select(0, 0)?,
        Tensor::cat(&[&x, &x], 0)?.matmul(&x)?.linear(&x, None)?,
        x.cross_entropy(&labels)?,
        x.cross_entropy(&x)?,
        x.nll_loss(&labels)?,
        x.mse_loss(&x)?,
        x.binary_cross_entropy_with_logits(&x)?,
        x.kl_div(&x)?,
        x.reshape([1, 1, 2, 2])?.conv2d(&x.reshape([1, 1, 2, 2])?, None, Conv2dOptions::new())?,
        x.reshape([1, 1, 2, 2])?.max_pool2d(2)?,
    ];
    for tape in all.iter().map(Tensor::tape) {
        for entry in tape.entries().iter().filter(|entry| entry.name.is_some()) {
            assert!(entry.formula.contains("y"), "{entry:?}");
        }
    }
    assert_eq!(x.linear(&x, None)?.tape().entries()[1].formula, "y = x Wᵀ");
    assert_eq!(x.linear(&x, &x.select(0, 0)?)?.tape().entries()[2].formula, "y = x Wᵀ + b");
    Ok(())
}

/// What stands between `>` and `</text>`, in order.
fn texts(svg: &str) -> Vec<&str> {
    let ends = svg.match_indices("</text>").map(|(end, _)| &svg[..end]);
    ends.map(|before| &before[before.rfind('>').unwrap() + 1..]).collect()
}

#[test]
fn the_picture_has_every_fact_of_every_step() -> Result<()> {
    let logits = logits();
    let tape = Tape::observe(|| by_hand(&logits))?.named("logits", &logits);
    let svg = tape.to_svg();
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" ") && svg.ends_with("</svg>\n"));
    assert_eq!(
        texts(&svg),
        [
            "step",
            "formula",
            "shape",
            "values",
            "|gradient|",
            "forward ↓",
            "↑ backward",
            "%0 logits = leaf",
            "[2, 3]",
            "0 .. 3",
            "0.2193",
            "%1 Softmax(%0)",
            "yᵢ = exp xᵢ / Σⱼ exp xⱼ",
            "[2, 3]",
            "0.04528 .. 0.9094",
            "0.9312",
            "%2 Gather(%1)",
            "yᵢ = x[i, indexᵢ]",
            "[2, 1]",
            "0.6652 .. 0.9094",
            "0.9312",
            "%3 Log(%2)",
            "y = ln x",
            "[2, 1]",
            "−0.4076 .. −0.09492",
            "0.7071",
            "%4 Mean(%3)",
            "y = Σ xᵢ / n",
            "[]",
            "−0.2513",
            "1",
            "%5 Neg(%4)",
            "y = −x",
            "[]",
            "0.2513",
            "1",
            "logarithmic scale",
            "10⁻⁴",
            "1",
            "10⁴",
        ]
    );
    assert_eq!(svg.matches("class=\"bar\"").count(), 6);
    assert_eq!(svg.matches("class=\"edge").count(), 5, "each value is used by the next step");
    assert_eq!(svg.matches("@media (prefers-color-scheme: dark)").count(), 1);
    assert_eq!(svg.matches("row leaf").count(), 1);
    for outside in ["href", "url(", "@import", "<script"] {
        assert!(!svg.contains(outside), "{outside}: the picture needs other files");
    }

    let page = tape.to_html("A loss <by hand>");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<h1>A loss &lt;by hand&gt;</h1>"));
    assert!(page.contains(&svg));
    Ok(())
}

/// The lengths of the bars that are rectangles, and the ends of those that are not.
#[test]
fn bars_have_the_same_scale_in_every_picture() -> Result<()> {
    let bar = |slope: f64| -> Result<String> {
        let x = Tensor::from([1.0]).requires_grad();
        let svg = Tape::observe(|| x.mul(slope)?.sum(..))?.to_svg();
        let bars: Vec<&str> = svg.lines().filter(|line| line.contains("class=\"bar\"")).collect();
        assert_eq!(bars.len(), if slope == 0.0 { 2 } else { 3 }, "a bar an entry, but for a gradient of 0");
        Ok(bars[0].to_string())
    };
    let width = |slope| -> Result<f64> {
        let bar = bar(slope)?;
        Ok(bar.split("width=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().parse().unwrap())
    };
    let decade = width(1.0)? - width(0.1)?;
    assert!(decade > 10.0 && width(-0.1)? == width(0.1)?);
    for exponent in [-3, -2, 0, 2, 3] {
        let expected = width(1.0)? + decade * f64::from(exponent);
        assert!((width(10f64.powi(exponent))? - expected).abs() < 0.11, "1e{exponent}");
    }
    for beyond in [1e-5, 1e-300, 1e5, 1e300] {
        assert!(bar(beyond)?.starts_with("<path"), "{beyond}: a bar with a point");
    }
    bar(0.0)?;
    Ok(())
}

#[test]
fn what_is_not_known_is_left_empty() -> Result<()> {
    let svg = by_hand(&logits())?.tape().to_svg();
    assert_eq!(texts(&svg)[7..11], ["%0 leaf", "[2, 3]", "%1 Softmax(%0)", "yᵢ = exp xᵢ / Σⱼ exp xⱼ"]);
    assert!(!svg.contains("class=\"bar\""));
    let loss = by_hand(&logits())?;
    loss.backward()?;
    assert!(texts(&loss.tape().to_svg()).contains(&"%0 Neg (released)"));
    let empty = Tensor::from([1.0]).tape();
    assert_eq!((empty.len(), empty.to_svg().matches("<rect").count()), (0, 1));
    assert_eq!(empty.to_dot(), "digraph tape {\n  rankdir=LR;\n}\n");
    Ok(())
}

#[test]
fn names_cannot_break_the_picture() -> Result<()> {
    let x = Tensor::from([1.0]).requires_grad();
    let long = "x".repeat(5000);
    for name in ["</text><script>\"&'", "a\nb\0", long.as_str(), "größe", ""] {
        let svg = x.tape().named(name, &x).to_svg();
        assert_eq!((svg.matches("<text").count(), svg.matches("<script").count()), (7 + 2 + 1, 0), "{name}");
        assert!(!svg.contains('\0'));
        assert!(svg.len() < 12_000, "{name}");
    }
    let dot = x.tape().named("a \"quoted\" \\ name\nin lines", &x).to_dot();
    assert!(
        dot.contains("label=\"%0 a \\\"quoted\\\" \\\\ name in lines = leaf\\n[1]\\nvalues 1\""),
        "{dot}"
    );
    Ok(())
}

#[test]
fn the_middle_of_a_long_tape_is_left_out() -> Result<()> {
    let x = Tensor::from(0.5).requires_grad();
    let chain = |length: usize| {
        Tape::observe(|| {
            let mut y = x.clone();
            for _ in 0..length {
                y = y.mul(&x)?;
            }
            Ok(y)
        })
    };
    let tape = chain(399)?;
    assert_eq!((tape.len(), tape.to_svg().matches("class=\"row").count()), (400, 400));
    let svg = chain(100_000)?.to_svg();
    assert_eq!(svg.matches("class=\"row").count(), 400);
    let texts = texts(&svg);
    for text in [
        "%199 Mul(%198, %0)",
        "(99601 entries are left out)",
        "%99801 Mul(%99800, %0)",
        "%100000 Mul(%99999, %0)",
    ] {
        assert!(texts.contains(&text), "{text}");
    }
    assert!(!texts.contains(&"%200 Mul(%199, %0)") && !texts.contains(&"%99800 Mul(%99799, %0)"));
    assert!(svg.len() < 400_000, "{}", svg.len());
    Ok(())
}

#[test]
fn dot_has_the_same_facts() -> Result<()> {
    let x = Tensor::from([3.0, -4.0]).requires_grad();
    let tape = Tape::observe(|| x.square()?.mean(..))?.named("x", &x);
    assert_eq!(
        tape.to_dot(),
        "digraph tape {
  rankdir=LR;
  n0 [label=\"%0 x = leaf\\n[2]\\nvalues −4 .. 3\\n|gradient| 5\", shape=ellipse];
  n1 [label=\"%1 Square\\n[2]\\ny = x²\\nvalues 9 .. 16\\n|gradient| 0.7071\", shape=box];
  n0 -> n1;
  n2 [label=\"%2 Mean\\n[]\\ny = Σ xᵢ / n\\nvalues 12.5\\n|gradient| 1\", shape=box];
  n1 -> n2;
}
"
    );
    Ok(())
}

#[test]
fn a_call_with_very_many_inputs_prints() -> Result<()> {
    let count = 20_000;
    let x = Tensor::new([1.0]).requires_grad();
    let tape = Tensor::cat(&vec![&x; count], 0)?.tape().named("x".repeat(100_000), &x);
    let text = tape.to_string();
    assert!(text.lines().last().is_some_and(|line| line.ends_with(&format!("%0)   [{count}]"))), "{text}");
    assert!(text.len() < 300_000 && tape.to_dot().len() > count && tape.to_svg().len() < 300_000);
    Ok(())
}
