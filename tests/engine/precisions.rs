//! Casts join both precisions in one graph.

use super::gradient;
use tapegrad::{GradOptions, Tensor, grad};

#[test]
fn a_cast_joins_precisions_in_one_graph() {
    let single = Tensor::new([1.5, -2.0]).requires_grad();
    let double = Tensor::from([0.1, 0.2]).requires_grad();
    let loss = single.to_f64().unwrap().mul(&double).unwrap().sum(..).unwrap();
    assert!(loss.tape().entries().iter().any(|entry| entry.name == Some("Cast")));
    loss.backward().unwrap();
    assert_eq!(gradient(&double), [1.5f64, -2.0]);
    assert_eq!(gradient(&single), [0.1f32, 0.2], "rounded on the way back");
}

#[test]
fn contributions_by_way_of_both_precisions_add_up() {
    let x = Tensor::new([1.0, 2.0]).requires_grad();
    let in_f32 = x.square().unwrap().sum(..).unwrap();
    let in_f64 = x.to_f64().unwrap().mul(10.0).unwrap().sum(..).unwrap();
    in_f64.add(in_f32.to_f64().unwrap()).unwrap().backward().unwrap();
    assert_eq!(gradient(&x), [12.0f32, 14.0]);
}

#[test]
fn there_and_back_again() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let y = x.to_f32().unwrap().square().unwrap().to_f64().unwrap();
    y.backward_with(&Tensor::from([0.5, 1.0 + 1e-12])).unwrap();
    assert_eq!(gradient(&x), [1.0, 4.0], "the upstream gradient too went through f32");
}

#[test]
fn inputs_of_the_other_precision_are_unknown_to_a_functional_gradient() {
    // grad() returns gradients of one precision; the leaf of the other one is reached by backward().
    let single = Tensor::new([1.0, 2.0]).requires_grad();
    let double = single.to_f64().unwrap();
    let loss = double.square().unwrap().sum(..).unwrap();
    let found = grad(&[&loss], &[&double], &GradOptions::new().retain_graph(true)).unwrap().remove(0);
    assert_eq!(found.to_vec(), [2.0f64, 4.0]);
    loss.backward().unwrap();
    assert_eq!(gradient(&single), [2.0f32, 4.0]);
}

#[test]
fn a_model_in_f32_with_a_loss_in_f64() {
    let weight = Tensor::new([[0.5, -1.0], [0.25, 2.0]]).requires_grad();
    let x = Tensor::new([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]);
    let logits = x.linear(&weight, None).unwrap();
    logits.to_f64().unwrap().cross_entropy([0, 1, 1]).unwrap().backward().unwrap();
    let by_way_of_f64 = gradient(&weight);
    weight.zero_grad();
    x.linear(&weight, None).unwrap().cross_entropy([0, 1, 1]).unwrap().backward().unwrap();
    for (wide, narrow) in by_way_of_f64.iter().zip(gradient(&weight)) {
        assert!((wide - narrow).abs() <= 4.0 * f32::EPSILON, "{wide} {narrow}");
    }
}

#[test]
fn number_operands_take_the_tensors_precision() {
    let single = Tensor::new([1.0, 2.0]).requires_grad();
    let loss = (2.0 * &single).add(0.1).unwrap().square().unwrap().sum(..).unwrap();
    let expected: f32 = (2.0f32 + 0.1).powi(2) + (4.0f32 + 0.1).powi(2);
    assert_eq!(loss.item().unwrap(), expected);
}
