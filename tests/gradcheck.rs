//! The gradient check is itself checked: it finds rules that are wrong in small ways, and accepts
//! right ones in difficult places.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tapegrad::{
    Backward, Error, GradCheck, Gradients, Result, Step, StepContext, Tensor, gradcheck, gradgradcheck,
    no_grad,
};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

/// A function of one tensor, element by element, whose rule is given as a closure.
struct Custom<F>(F);

impl<F> Backward<f64> for Custom<F>
where
    F: Fn(&StepContext<f64>, &Tensor<f64>) -> Result<Tensor<f64>> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "Custom"
    }
    fn backward(&self, step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
        Ok((self.0)(&step, &grad)?.into())
    }
}

fn custom<F>(x: &Tensor<f64>, value: impl Fn(f64) -> f64, rule: F) -> Result<Tensor<f64>>
where
    F: Fn(&StepContext<f64>, &Tensor<f64>) -> Result<Tensor<f64>> + Send + Sync + 'static,
{
    let values = x.as_slice().iter().map(|&x| value(x)).collect();
    Ok(Step::new(Custom(rule)).saved_input(x).record(Tensor::from_vec(values, x.shape())?))
}

/// x^3 with this rule.
fn cube<F>(rule: F) -> impl Fn(&[Tensor<f64>]) -> Result<Tensor<f64>>
where
    F: Fn(&Tensor<f64>, &Tensor<f64>) -> Result<Tensor<f64>> + Send + Sync + Copy + 'static,
{
    move |inputs| custom(&inputs[0], |x| x * x * x, move |step, grad| rule(step.input(0)?, grad))
}

fn point() -> Tensor<f64> {
    Tensor::from([[1.0, -2.0, 0.5], [0.25, 3.0, -1.5]]).requires_grad()
}

#[test]
fn a_right_rule_passes_to_third_order() {
    let right = cube(|x, grad| grad.mul(&x.square()?.mul(3.0)?));
    GradCheck::new().order(3).check(right, &[&point()], &mut rng()).unwrap();
}

#[test]
fn a_forgotten_factor_is_found_with_its_place_and_both_numbers() {
    let wrong = cube(|x, grad| grad.mul(&x.square()?));
    let error = gradcheck(wrong, &[&point()], &mut rng()).unwrap_err();
    let Error::GradientMismatch { order: 1, input: 0, position, recorded, differences, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(position, &[0, 0]);
    assert!((differences / recorded - 3.0).abs() < 1e-9, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("gradcheck: derivative of order 1 by input 0 at [0, 0]: recorded "), "{text}");
    assert!(text.contains(&differences.to_string()) && text.contains(&recorded.to_string()), "{text}");
}

#[test]
fn a_wrong_derivative_of_one_element_is_found_where_it_is() {
    let wrong = cube(|x, grad| {
        let mut slope = x.square()?.mul(3.0)?.detach();
        slope.as_mut_slice()?[4] *= 1.0 + 1e-7;
        grad.mul(&slope)
    });
    let error = gradcheck(wrong, &[&point()], &mut rng()).unwrap_err();
    assert!(matches!(&error, Error::GradientMismatch { position, .. } if position == &[1, 1]), "{error}");
}

#[test]
fn a_rule_that_is_right_to_first_order_only_is_found_at_order_two() {
    let detached = cube(|x, grad| grad.mul(&x.detach().square()?.mul(3.0)?));
    gradcheck(&detached, &[&point()], &mut rng()).unwrap();
    let error = gradgradcheck(detached, &[&point()], &mut rng()).unwrap_err();
    // Input 0 is x; the recorded derivative by it is missing and counts as zero.
    assert!(matches!(error, Error::GradientMismatch { order: 2, input: 0, recorded: 0.0, .. }), "{error}");
}

#[test]
fn a_rule_that_forgets_the_upstream_gradients_history_is_found_at_order_two() {
    let detached = cube(|x, grad| grad.detach().mul(&x.square()?.mul(3.0)?));
    gradcheck(&detached, &[&point()], &mut rng()).unwrap();
    let error = gradgradcheck(detached, &[&point()], &mut rng()).unwrap_err();
    // Input 1 is the upstream gradient of order 1.
    assert!(matches!(error, Error::GradientMismatch { order: 2, input: 1, .. }), "{error}");
}

#[test]
fn a_rule_that_is_right_to_second_order_only_is_found_at_order_three() {
    // 3x^2 by a step whose own rule, 6x, is cut off from x.
    let wrong = cube(|x, grad| {
        let slope = custom(x, |x| 3.0 * x * x, |step, grad| grad.mul(&step.input(0)?.detach().mul(6.0)?))?;
        grad.mul(&slope)
    });
    gradgradcheck(&wrong, &[&point()], &mut rng()).unwrap();
    let error = GradCheck::new().order(3).check(wrong, &[&point()], &mut rng()).unwrap_err();
    assert!(matches!(error, Error::GradientMismatch { order: 3, input: 0, .. }), "{error}");
}

#[test]
fn a_fast_path_that_differs_from_the_recorded_one_is_found() {
    for wrong_when_recording in [false, true] {
        let function = move |inputs: &[Tensor<f64>]| {
            custom(
                &inputs[0],
                |x| x * x * x,
                move |step, grad| {
                    let factor = if step.is_recording() == wrong_when_recording { 2.0 } else { 3.0 };
                    grad.mul(&step.input(0)?.square()?.mul(factor)?)
                },
            )
        };
        let error = gradcheck(function, &[&point()], &mut rng()).unwrap_err();
        assert!(matches!(error, Error::GradientMismatch { order: 1, .. }), "{error}");
    }
}

#[test]
fn a_rule_whose_errors_cancel_in_a_sum_is_found() {
    // The softmax of a row sums to one: under a gradient of ones every derivative is zero, so a rule
    // that returns zeros would pass a check of sum(y).
    struct Zero;
    impl Backward<f64> for Zero {
        fn name(&self) -> &'static str {
            "Zero"
        }
        fn backward(&self, _step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
            Ok(grad.mul(0.0)?.into())
        }
    }
    let softmax = |inputs: &[Tensor<f64>]| {
        let powers = inputs[0].detach().exp()?;
        Ok(Step::new(Zero).input(&inputs[0]).record(powers.div(&powers.sum(..)?)?))
    };
    assert!(gradcheck(softmax, &[&point()], &mut rng()).is_err());
}

#[test]
fn a_wrong_gradient_of_one_of_several_inputs_is_named() {
    struct Product;
    impl Backward<f64> for Product {
        fn name(&self) -> &'static str {
            "Product"
        }
        fn backward(&self, step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
            let (a, b) = (step.input(0)?, step.input(1)?);
            step.gradients().input(0, || grad.mul(b))?.input(1, || grad.mul(b)?.mul(a)?.div(b)?.neg())
        }
    }
    let product = |inputs: &[Tensor<f64>]| {
        let value = inputs[0].detach().mul(inputs[1].detach())?;
        Ok(Step::new(Product).saved_input(&inputs[0]).saved_input(&inputs[1]).record(value))
    };
    let (a, b) = (point(), point());
    let error = gradcheck(product, &[&a, &b], &mut rng()).unwrap_err();
    assert!(matches!(error, Error::GradientMismatch { input: 1, .. }), "{error}");
    // Without a gradient for b, the wrong half of the rule is not asked for.
    gradcheck(product, &[&a, &b.detach()], &mut rng()).unwrap();
}

#[test]
fn inputs_without_a_gradient_are_passed_as_they_are() {
    let constant = Tensor::from([2.0, 3.0, 4.0]);
    let function = |inputs: &[Tensor<f64>]| {
        assert!(!inputs[0].is_tracked());
        assert_eq!(inputs[0].to_vec(), [2.0, 3.0, 4.0]);
        inputs[0].mul(&inputs[1])
    };
    gradgradcheck(function, &[&constant, &point()], &mut rng()).unwrap();
}

#[test]
fn a_gradient_that_is_nan_is_found() {
    let wrong = cube(|x, grad| grad.mul(x)?.mul(f64::NAN));
    let error = gradcheck(wrong, &[&point()], &mut rng()).unwrap_err();
    assert!(matches!(error, Error::GradientMismatch { recorded, .. } if recorded.is_nan()), "{error}");
}

#[test]
fn a_function_without_finite_values_is_reported() {
    let x = Tensor::from([-1.0]).requires_grad();
    let error = gradcheck(|inputs| inputs[0].log(), &[&x], &mut rng()).unwrap_err();
    assert!(matches!(error, Error::GradientMismatch { differences, .. } if differences.is_nan()), "{error}");
}

#[test]
fn a_function_that_hides_its_input_has_gradient_zero() {
    let x = point();
    assert!(gradcheck(|inputs| inputs[0].detach().square(), &[&x], &mut rng()).is_err());
    gradgradcheck(|inputs| Tensor::ones(inputs[0].shape()), &[&x], &mut rng()).unwrap();
}

#[test]
fn kinks_and_poles_near_the_point_do_not_disturb() {
    // The first steps of the differences reach beyond 0.
    let near = Tensor::from([0.003, 0.01, 0.04, -0.002]).requires_grad();
    GradCheck::new()
        .order(2)
        .check(|inputs| inputs[0].relu()?.mul(&inputs[0]), &[&near], &mut rng())
        .unwrap();
    gradcheck(|inputs| inputs[0].abs(), &[&near], &mut rng()).unwrap();
    let positive = Tensor::from([0.01, 0.04, 2.0, 700.0]).requires_grad();
    for function in [Tensor::log, Tensor::sqrt, Tensor::reciprocal] {
        // One element at a time: the tolerance is relative to the largest derivative of an input.
        for position in 0..4 {
            let x = positive.detach().narrow(0, position, 1).unwrap().requires_grad();
            gradgradcheck(|inputs| function(&inputs[0]), &[&x], &mut rng()).unwrap();
        }
    }
}

#[test]
fn the_magnitude_of_function_and_point_does_not_matter() {
    for scale in [1e-12, 1.0, 1e12] {
        let right = |inputs: &[Tensor<f64>]| inputs[0].square()?.mul(scale);
        gradgradcheck(right, &[&point()], &mut rng()).unwrap();
        let wrong = |inputs: &[Tensor<f64>]| {
            let rule =
                move |step: &StepContext<f64>, grad: &Tensor<f64>| grad.mul(step.input(0)?)?.mul(scale);
            custom(&inputs[0], |x| scale * x * x, rule)
        };
        assert!(gradcheck(wrong, &[&point()], &mut rng()).is_err());
    }
    let far = Tensor::from([1e6, 1e6 + 1.0, -1e9]).requires_grad();
    gradcheck(|inputs| inputs[0].square(), &[&far], &mut rng()).unwrap();
}

#[test]
fn the_tolerance_can_be_chosen() {
    let rough = cube(|x, grad| grad.mul(&x.square()?.mul(3.0 * (1.0 + 1e-5))?));
    assert!(gradcheck(&rough, &[&point()], &mut rng()).is_err());
    GradCheck::new().tolerance(1e-4).check(rough, &[&point()], &mut rng()).unwrap();
}

#[test]
fn terms_that_cancel_to_zero_may_leave_their_rounding_errors() {
    let nothing = |inputs: &[Tensor<f64>]| inputs[0].div(&inputs[0]);
    let x = Tensor::from([0.7, 1.3]).requires_grad();
    gradgradcheck(nothing, &[&x], &mut rng()).unwrap();
    assert!(GradCheck::new().order(2).absolute_tolerance(0.0).check(nothing, &[&x], &mut rng()).is_err());
}

#[test]
fn gradients_are_checked_inside_no_grad_too() {
    let wrong = cube(|x, grad| grad.mul(&x.square()?));
    no_grad(|| assert!(gradcheck(wrong, &[&point()], &mut rng()).is_err()));
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let x = point();
    let square = |inputs: &[Tensor<f64>]| inputs[0].square();
    let none = gradcheck(square, &[&x.detach()], &mut rng());
    assert!(matches!(none, Err(Error::NotTracked { op: "gradcheck", .. })));
    for check in [
        GradCheck::new().order(0),
        GradCheck::new().order(usize::MAX),
        GradCheck::new().tolerance(0.0),
        GradCheck::new().tolerance(f64::NAN),
        GradCheck::new().absolute_tolerance(-1e-9),
        GradCheck::new().step(-1.0),
    ] {
        let refused = check.check(square, &[&x], &mut rng());
        assert!(matches!(refused, Err(Error::Argument { op: "gradcheck", .. })), "{check:?}");
    }
}

#[test]
fn an_error_of_the_function_is_passed_on() {
    let misfit = |inputs: &[Tensor<f64>]| inputs[0].add(Tensor::from([1.0; 4]));
    assert!(matches!(gradcheck(misfit, &[&point()], &mut rng()), Err(Error::Broadcast { .. })));
}

#[test]
fn the_check_leaves_the_inputs_gradients_alone() {
    let x = point();
    gradgradcheck(|inputs| inputs[0].square(), &[&x], &mut rng()).unwrap();
    assert!(x.grad().is_none());
}
