use super::{check1, normal, rng};
use tapegrad::{GradOptions, Tensor, grad};

#[test]
fn a_cast_to_the_same_precision_is_the_tensor_itself() {
    check1(&normal([2, 3]), |x| x.to_f64()?.exp());
}

/// An f32 computation in the middle of an f64 one has the digits of f32, too few for differences. So the
/// derivative by way of f32 is held against the one in f64.
#[test]
fn gradients_through_a_cast_are_those_without_it_to_the_digits_of_f32() {
    let x = normal([3, 2]);
    let upstream = Tensor::<f64>::randn([3, 2], &mut rng(6)).unwrap();
    let options = || GradOptions::new().grad_outputs([upstream.clone()]);
    // No function in between loses digits to cancellation.
    let there_and_back =
        x.square().unwrap().to_f32().unwrap().exp().unwrap().to_f64().unwrap().log1p().unwrap();
    let in_f64 = x.square().unwrap().exp().unwrap().log1p().unwrap();
    let actual = grad(&[&there_and_back], &[&x], &options()).unwrap().remove(0);
    let expected = grad(&[&in_f64], &[&x], &options()).unwrap().remove(0);
    for (actual, expected) in actual.to_vec().into_iter().zip(expected.to_vec()) {
        assert!(
            (actual - expected).abs() <= 4.0 * f64::from(f32::EPSILON) * expected.abs(),
            "{actual} {expected}"
        );
        assert_ne!(actual, expected, "the path went through f32");
    }
}

#[test]
fn second_derivatives_pass_casts_too() {
    let x = Tensor::from([0.5, -1.25, 2.0]).requires_grad();
    let y = x.to_f32().unwrap().square().unwrap().to_f64().unwrap().mul(&x).unwrap(); // x^3
    let recorded = GradOptions::new().create_graph(true).grad_outputs([Tensor::from([1.0, 2.0, 3.0])]);
    let first = grad(&[&y], &[&x], &recorded).unwrap().remove(0);
    let second = grad(&[&first], &[&x], &recorded).unwrap().remove(0);
    // The numbers are short enough for f32: 3 x^2 v and 6 x v^2 exactly.
    assert_eq!(first.to_vec(), [0.75, 9.375, 36.0]);
    assert_eq!(second.to_vec(), [3.0, -30.0, 108.0]);
}
