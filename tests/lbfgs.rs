//! L-BFGS on convex fits whose minima are known, and where it must stop by itself.

mod golden;

use golden::store::{Store, cases};
use tapegrad::optim::{End, Lbfgs};
use tapegrad::{
    Backward, CrossEntropyLoss, Error, Float, Gradients, Result, Step, StepContext, Tensor, keepdim,
    parameters,
};

struct Softmax {
    w: Tensor<f64>,
    b: Tensor<f64>,
}
parameters!(Softmax: f64 { w, b });

#[test]
fn classical_fits_reach_the_optimum_of_scikit_learn_in_fewer_than_a_hundred_evaluations() -> Result<()> {
    let store = Store::open(["data", "fits"].map(|name| format!("realdata/{name}.safetensors")));
    let table = |name: &str| -> Result<Tensor<f64>> {
        let stored = store.expect(name);
        Tensor::from_vec(stored.numbers(), &stored.shape[..])
    };
    for (id, inputs, set) in [
        ("iris_l2", "iris/X", "iris"),
        ("iris_l2_class_weight", "iris/X", "iris"),
        ("wine_l2", "wine/X_standardised", "wine"),
        ("wine_l2_smoothed", "wine/X_standardised", "wine"),
    ] {
        let facts = cases("realdata/fits.json").into_iter().find(|facts| facts["id"] == id).expect("the fit");
        let fact = |name: &str| facts[name].as_f64().expect("a number");
        let x = table(inputs)?;
        let labels = store.named::<f64>(set, "", &["y".to_string()]).indices("y").clone();
        let mut criterion = CrossEntropyLoss::new().label_smoothing(fact("label_smoothing"));
        if let Some(weight) = store.get(&format!("{id}/class_weight")) {
            criterion = criterion.weight(&Tensor::from(weight.numbers()));
        }
        let mut model = Softmax {
            w: Tensor::zeros([x.shape()[1], 3])?.requires_grad(),
            b: Tensor::zeros([3])?.requires_grad(),
        };
        let minimum = Lbfgs::new().tolerance(1e-12).minimize(&mut model, |model| {
            let loss = criterion.forward(&x.matmul(&model.w)?.add(&model.b)?, &labels)?;
            loss.add(model.w.square()?.sum(..)?.mul(fact("lambda") / 2.0)?)
        })?;
        let excess = minimum.value - fact("minimum_objective");
        let off = |ours: &Tensor<f64>, name: &str| -> Result<f64> {
            let ours = ours.sub(ours.mean(keepdim(-1))?)?;
            ours.sub(table(&format!("{id}/{name}"))?)?.abs()?.max(..)?.item()
        };
        let difference = off(&model.w, "coef")?.max(off(&model.b, "intercept")?);
        println!(
            "{id}: {} evaluations, {} steps, gradient {:.1e}, excess {excess:.1e}, coefficients off by {difference:.1e}",
            minimum.evaluations,
            minimum.path.len() - 1,
            minimum.gradient
        );
        assert!(minimum.evaluations < 100, "{id}: {} evaluations", minimum.evaluations);
        assert!(excess.abs() < 1e-14, "{id}: too high by {excess:e}");
        assert!(difference < 1e-9, "{id}: coefficients off by {difference:e}");
        assert_eq!(minimum.end, End::Converged);
    }
    Ok(())
}

/// (x - 3)^2 + 10 (y + 1)^4 + x y, whose minimum no formula gives; its gradient is checked instead.
fn bowl<T: Float>(point: &[Tensor<T>; 2]) -> Result<Tensor<T>> {
    let [x, y] = point;
    let wide = x.sub(3.0)?.square()?.add(y.add(1.0)?.square()?.square()?.mul(10.0)?)?;
    wide.add(x.mul(y)?)?.sum(..)
}

fn at<T: Float>(x: f64, y: f64) -> [Tensor<T>; 2] {
    [x, y].map(|value| Tensor::from(vec![T::from_f64(value)]).requires_grad())
}

fn position<T: Float>(point: &[Tensor<T>; 2]) -> Result<[f64; 2]> {
    Ok([Float::to_f64(point[0].item()?), Float::to_f64(point[1].item()?)])
}

#[test]
fn it_stops_where_the_gradient_vanishes() -> Result<()> {
    for history in [0, 1, 50] {
        let mut point = at::<f64>(-5.0, 4.0);
        let minimum = Lbfgs::new().history(history).minimize(&mut point, bowl)?;
        assert_eq!(minimum.end, End::Converged, "{history}: {minimum:?}");
        let [x, y] = position(&point)?;
        assert!((2.0 * (x - 3.0) + y).abs() < 1e-9 && (40.0 * (y + 1.0).powi(3) + x).abs() < 1e-9);
        assert_eq!(minimum.value, bowl(&point)?.item()?);
        assert!(minimum.path.windows(2).all(|pair| pair[1].value <= pair[0].value + 1e-14));
        let last = minimum.path.last().unwrap();
        assert_eq!((last.value, last.gradient), (minimum.value, minimum.gradient));
    }
    Ok(())
}

#[test]
fn single_precision_gets_as_far_as_its_digits() -> Result<()> {
    let (mut single, mut double) = (at::<f32>(-5.0, 4.0), at::<f64>(-5.0, 4.0));
    Lbfgs::new().minimize(&mut double, bowl)?;
    let minimum = Lbfgs::new().tolerance(1e-4).minimize(&mut single, bowl)?;
    assert_eq!(minimum.end, End::Converged, "{minimum:?}");
    for (single, double) in position(&single)?.iter().zip(position(&double)?) {
        assert!((single - double).abs() < 1e-4, "{single} {double}");
    }
    let impossible = Lbfgs::new().tolerance(0.0).minimize(&mut single, bowl)?;
    assert!(impossible.evaluations < 100, "it sees that there is no progress: {impossible:?}");
    Ok(())
}

#[test]
fn it_keeps_the_lowest_point_when_the_evaluations_are_used_up() -> Result<()> {
    let whole = Lbfgs::new().minimize(&mut at::<f64>(-5.0, 4.0), bowl)?;
    let mut seen = f64::INFINITY;
    for evaluations in 1..whole.evaluations {
        let mut point = at::<f64>(-5.0, 4.0);
        let minimum = Lbfgs::new().max_evaluations(evaluations).minimize(&mut point, bowl)?;
        assert_eq!((minimum.end, minimum.evaluations), (End::OutOfEvaluations, evaluations));
        assert_eq!(minimum.value, bowl(&point)?.item()?);
        assert!(minimum.value <= seen);
        seen = minimum.value;
    }
    Ok(())
}

#[test]
fn it_stops_when_the_gradient_is_not_that_of_the_objective() -> Result<()> {
    let mut point = at::<f64>(1.0, 1.0);
    let minimum = Lbfgs::new().minimize(&mut point, |[x, y]| {
        let wrong = x.square()?.add(y.square()?)?.sum(..)?; // its gradient leads the wrong way
        wrong.detach().neg()?.add(wrong.sub(wrong.detach())?)
    })?;
    assert_eq!(minimum.end, End::NoProgress);
    assert_eq!(position(&point)?, [1.0, 1.0]);
    Ok(())
}

#[test]
fn frozen_parameters_and_stored_gradients_stay() -> Result<()> {
    let mut point = at::<f64>(-5.0, 4.0);
    point[1] = point[1].detach();
    point[0].set_grad(Tensor::from([7.0]))?;
    let minimum = Lbfgs::new().minimize(&mut point, bowl)?;
    assert_eq!(minimum.end, End::Converged);
    let [x, y] = position(&point)?;
    assert_eq!((y, point[0].grad().unwrap().to_vec()), (4.0, vec![7.0]));
    assert!((2.0 * (x - 3.0) + 4.0).abs() < 1e-9, "{x}");

    point[0] = point[0].detach();
    let nothing = Lbfgs::new().minimize(&mut point, bowl)?;
    assert_eq!((nothing.end, nothing.evaluations, nothing.gradient), (End::Converged, 1, 0.0));
    Ok(())
}

#[test]
fn a_step_into_numbers_that_are_not_finite_is_shortened() -> Result<()> {
    // x - ln x: nan for x <= 0, and the first steps from 0.01 are far too long.
    let mut point = [Tensor::from([0.01f64]).requires_grad()];
    let minimum = Lbfgs::new().minimize(&mut point, |[x]| x.sub(x.log()?.mul(50.0)?)?.sum(..))?;
    assert_eq!(minimum.end, End::Converged);
    assert!((point[0].item()? - 50.0).abs() < 1e-6);
    Ok(())
}

/// A rule that fails with an error about an input that there is not.
struct Failing;

impl Backward<f64> for Failing {
    fn name(&self) -> &'static str {
        "Failing"
    }
    fn backward(&self, _step: StepContext<f64>, _grad: Tensor<f64>) -> Result<Gradients> {
        Err(Error::Unused { op: "failing", index: 7 })
    }
}

#[test]
fn an_error_leaves_the_parameters_where_they_were() -> Result<()> {
    let mut point = at::<f64>(-5.0, 4.0);
    let mut count = 0;
    let failed = Lbfgs::new().minimize(&mut point, |point| {
        count += 1;
        if count == 4 { bowl(point)?.reshape([2, 2]) } else { bowl(point) }
    });
    assert!(matches!(failed, Err(Error::Length { .. })), "{failed:?}");
    assert_eq!(position(&point)?, [-5.0, 4.0]);

    let unused = Lbfgs::new().minimize(&mut point, |[x, _]| x.square()?.sum(..));
    assert_eq!(
        unused.unwrap_err().to_string(),
        "Lbfgs: parameter \"1\" has no gradient: the loss does not depend on it, or backward has not run \
         (freeze() excludes it)"
    );
    let failing =
        Lbfgs::new().minimize(&mut point, |[x, _]| Ok(Step::new(Failing).input(x).record(x.sum(..)?)));
    assert!(matches!(failing, Err(Error::Unused { op: "failing", index: 7 })), "{failing:?}");
    let infinite = Lbfgs::new().minimize(&mut point, |[x, y]| x.log()?.add(y)?.sum(..));
    assert!(matches!(infinite, Err(Error::Argument { name: "the objective", .. })), "{infinite:?}");
    let several = Lbfgs::new().minimize(&mut point, |[x, y]| Tensor::cat(&[x, y], 0));
    assert!(matches!(several, Err(Error::NotScalar { .. })), "{several:?}");
    for (options, name) in [
        (Lbfgs::new().tolerance(-1.0), "tolerance"),
        (Lbfgs::new().tolerance(f64::NAN), "tolerance"),
        (Lbfgs::new().max_evaluations(0), "max_evaluations"),
    ] {
        match options.minimize(&mut point, bowl) {
            Err(Error::Argument { name: refused, .. }) => assert_eq!(refused, name),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(position(&point)?, [-5.0, 4.0]);
    Ok(())
}
