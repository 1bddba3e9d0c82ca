//! The cases by candle.

use crate::cases::{CLASSIFIER, Case, LEARNING_RATE, PERCEPTRON, Repeat, ending, normal, targets, weight};
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, SGD, loss, ops};
use std::hint::black_box;

/// The case, if candle has it.
pub fn ready(case: Case) -> Option<Box<dyn Repeat>> {
    Some(match case {
        Case::CrossEntropy(rows, classes) => {
            let (logits, target) = (leaf(normal([rows, classes])), classes_of(rows, classes));
            gradient_of(logits, move |logits| loss::cross_entropy(logits, &target))
        }
        Case::CrossEntropyForward(rows, classes) => {
            let target = classes_of(rows, classes);
            forward([rows, classes], move |x| loss::cross_entropy(x, &target))
        }
        Case::Softmax(rows, classes) => forward([rows, classes], ops::softmax_last_dim),
        Case::LogSoftmax(rows, classes) => forward([rows, classes], |x| ops::log_softmax(x, 1)),
        Case::Gather(rows, classes) => {
            let index = classes_of(rows, classes).reshape((rows, 1)).ok()?;
            gradient_of(leaf(normal([rows, classes])), move |x| x.gather(&index, 1)?.sum_all())
        }
        Case::ClassifierStep => {
            let [objects, features, classes] = CLASSIFIER;
            let parameters = [normal([classes, features]), normal([classes])].map(leaf);
            let layer = linear(&parameters);
            step([objects, features], classes, parameters.to_vec(), move |x| layer.forward(x))
        }
        Case::PerceptronStep => {
            let [objects, inputs, hidden, classes] = PERCEPTRON;
            let first = [weight(hidden, inputs), normal([hidden])].map(leaf);
            let second = [weight(classes, hidden), normal([classes])].map(leaf);
            let layers = [&first, &second].map(linear);
            step([objects, inputs], classes, [first, second].concat(), move |x| {
                layers[1].forward(&layers[0].forward(x)?.relu()?)
            })
        }
        Case::Matmul(n, k, m) => {
            let b = constant(normal([k, m]));
            forward([n, k], move |a| a.matmul(&b))
        }
        _ => return None,
    })
}

fn boxed(mut compute: impl FnMut() -> Result<Tensor> + 'static) -> Box<dyn Repeat> {
    ending(
        move || compute().expect("a case is a correct program"),
        |value| value.flatten_all().and_then(|value| value.to_vec1()).expect("all values are f32"),
    )
}

fn constant(values: tapegrad::Tensor) -> Tensor {
    Tensor::from_vec(values.to_vec(), &values.shape()[..], &Device::Cpu).expect("the values fill the shape")
}

fn leaf(values: tapegrad::Tensor) -> Var {
    Var::from_tensor(&constant(values)).expect("a constant can be copied")
}

fn classes_of(rows: usize, classes: usize) -> Tensor {
    let target: Vec<u32> = targets(rows, classes).into_iter().map(|class| class as u32).collect();
    Tensor::from_vec(target, rows, &Device::Cpu).expect("one class a row")
}

fn linear([weight, bias]: &[Var; 2]) -> Linear {
    Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()))
}

fn gradient_of(leaf: Var, compute: impl Fn(&Tensor) -> Result<Tensor> + 'static) -> Box<dyn Repeat> {
    boxed(move || {
        let mut gradients = compute(&leaf)?.backward()?;
        Ok(gradients.remove(&leaf).expect("backward reached the leaf"))
    })
}

fn forward(shape: [usize; 2], compute: impl Fn(&Tensor) -> Result<Tensor> + 'static) -> Box<dyn Repeat> {
    let x = constant(normal(shape));
    boxed(move || compute(&x))
}

fn step(
    shape: [usize; 2],
    classes: usize,
    parameters: Vec<Var>,
    logits: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Box<dyn Repeat> {
    let (x, target) = (constant(normal(shape)), classes_of(shape[0], classes));
    let mut descent = SGD::new(parameters, LEARNING_RATE.into()).expect("parameters are floats");
    boxed(move || {
        let loss = loss::cross_entropy(&logits(&x)?, &target)?;
        descent.backward_step(&loss)?;
        black_box(loss.to_scalar::<f32>()?);
        Ok(loss)
    })
}
