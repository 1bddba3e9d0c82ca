//! The cases by burn, with its backend `flex`.

use crate::cases::{CLASSIFIER, Case, LEARNING_RATE, PERCEPTRON, Repeat, ending, normal, targets, weight};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::tensor::activation::{log_softmax, relu, softmax};
use burn::tensor::module::linear;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};

/// The case, if burn has it.
pub fn ready(case: Case) -> Option<Box<dyn Repeat>> {
    Some(match case {
        Case::CrossEntropy(rows, classes) => {
            let (loss, target) = (loss(&recording()), classes_of(rows, classes, &recording()));
            gradient_of([rows, classes], move |logits| loss.forward(logits, target.clone()))
        }
        Case::CrossEntropyForward(rows, classes) => {
            let (loss, target) = (loss(&plain()), classes_of(rows, classes, &plain()));
            forward([rows, classes], move |logits| loss.forward(logits, target.clone()))
        }
        Case::Softmax(rows, classes) => forward([rows, classes], |x| softmax(x, 1)),
        Case::LogSoftmax(rows, classes) => forward([rows, classes], |x| log_softmax(x, 1)),
        Case::Gather(rows, classes) => {
            let index = classes_of(rows, classes, &recording()).reshape([rows, 1]);
            gradient_of([rows, classes], move |x| x.gather(1, index.clone()).sum())
        }
        Case::ClassifierStep => {
            let [objects, features, classes] = CLASSIFIER;
            let (x, target) = data(objects, features, classes);
            let (mut weight, mut bias) = layer(normal([classes, features]));
            let loss = loss(&recording());
            ending(
                move || {
                    let logits = linear(x.clone(), weight.clone(), Some(bias.clone()));
                    let loss = loss.forward(logits, target.clone());
                    let mut gradients = loss.backward();
                    descend(&mut weight, &mut gradients);
                    descend(&mut bias, &mut gradients);
                    loss.into_scalar::<f32>()
                },
                |loss| vec![loss],
            )
        }
        Case::PerceptronStep => {
            let [objects, inputs, hidden, classes] = PERCEPTRON;
            let (x, target) = data(objects, inputs, classes);
            let (mut weight1, mut bias1) = layer(weight(hidden, inputs));
            let (mut weight2, mut bias2) = layer(weight(classes, hidden));
            let loss = loss(&recording());
            ending(
                move || {
                    let hidden = relu(linear(x.clone(), weight1.clone(), Some(bias1.clone())));
                    let logits = linear(hidden, weight2.clone(), Some(bias2.clone()));
                    let loss = loss.forward(logits, target.clone());
                    let mut gradients = loss.backward();
                    descend(&mut weight1, &mut gradients);
                    descend(&mut bias1, &mut gradients);
                    descend(&mut weight2, &mut gradients);
                    descend(&mut bias2, &mut gradients);
                    loss.into_scalar::<f32>()
                },
                |loss| vec![loss],
            )
        }
        Case::Matmul(n, k, m) => {
            let b = constant(normal([k, m]), [k, m], &plain());
            forward([n, k], move |a| a.matmul(b.clone()))
        }
        _ => return None,
    })
}

fn plain() -> Device {
    Device::flex()
}

fn recording() -> Device {
    Device::flex().autodiff()
}

fn loss(device: &Device) -> CrossEntropyLoss {
    CrossEntropyLossConfig::new().init(device)
}

fn constant<const RANK: usize>(
    values: tapegrad::Tensor,
    shape: [usize; RANK],
    device: &Device,
) -> Tensor<RANK> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn classes_of(rows: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(targets(rows, classes), [rows]), device)
}

fn data(objects: usize, features: usize, classes: usize) -> (Tensor<2>, Tensor<1, Int>) {
    let x = constant(normal([objects, features]), [objects, features], &recording());
    (x, classes_of(objects, classes, &recording()))
}

/// A weight and a bias, from a weight that is (outputs, inputs): burn's is (inputs, outputs).
fn layer(weight: tapegrad::Tensor) -> (Tensor<2>, Tensor<1>) {
    let &[outputs, inputs] = &weight.shape()[..] else { panic!("a weight is a matrix") };
    let weight = weight.transpose(0, 1).expect("a matrix has two dimensions");
    (
        constant(weight, [inputs, outputs], &recording()).require_grad(),
        constant(normal([outputs]), [outputs], &recording()).require_grad(),
    )
}

fn numbers<const RANK: usize>(value: Tensor<RANK>) -> Vec<f32> {
    value.into_data().try_into_vec().expect("all values are f32")
}

fn gradient_of(shape: [usize; 2], compute: impl Fn(Tensor<2>) -> Tensor<1> + 'static) -> Box<dyn Repeat> {
    let leaf = constant(normal(shape), shape, &recording()).require_grad();
    ending(
        move || {
            let mut gradients = compute(leaf.clone()).backward();
            leaf.grad_remove(&mut gradients).expect("backward reached the leaf")
        },
        numbers,
    )
}

fn forward<const RANK: usize>(
    shape: [usize; 2],
    compute: impl Fn(Tensor<2>) -> Tensor<RANK> + 'static,
) -> Box<dyn Repeat> {
    let x = constant(normal(shape), shape, &plain());
    ending(move || compute(x.clone()), numbers)
}

/// Gradient descent, outside the graph.
fn descend<const RANK: usize>(parameter: &mut Tensor<RANK>, gradients: &mut Gradients) {
    let gradient = parameter.grad_remove(gradients).expect("backward reached every parameter");
    let value = parameter.clone().inner() - gradient * LEARNING_RATE;
    *parameter = Tensor::from_inner(value).require_grad();
}
