//! The cases by dfdx. Its cross entropy takes probabilities, so the classes become one-hot rows.

use crate::cases::{CLASSIFIER, Case, LEARNING_RATE, PERCEPTRON, Repeat, ending, normal, targets, weight};
use dfdx::nn::builders::{Linear, ReLU};
use dfdx::optim::{Sgd, SgdConfig};
use dfdx::prelude::*;
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;

/// Numbers on the processor.
type Numbers<S> = Tensor<S, f32, Cpu>;

/// Numbers on the processor, with the tape that leads to them.
type Traced<S> = Tensor<S, f32, Cpu, OwnedTape<f32, Cpu>>;

// The sizes of what has a gradient are types.
const _: () = assert!(matches!(CLASSIFIER, [100, 2, 3]) && matches!(PERCEPTRON, [64, 784, 128, 10]));

/// The case, if dfdx has it.
pub fn ready(case: Case) -> Option<Box<dyn Repeat>> {
    let device = Cpu::default();
    Some(match case {
        Case::CrossEntropy(64, 3) => cross_entropy::<64, 3>(),
        Case::CrossEntropy(1024, 10) => cross_entropy::<1024, 10>(),
        Case::CrossEntropy(512, 1000) => cross_entropy::<512, 1000>(),
        Case::CrossEntropy(256, 32_000) => cross_entropy::<256, 32_000>(),
        Case::CrossEntropy(256, 128_256) => cross_entropy::<256, 128_256>(),
        Case::CrossEntropyForward(rows, classes) => {
            let target = one_hot((rows, classes));
            forward((rows, classes), move |x| cross_entropy_with_logits_loss(x, target.clone()))
        }
        Case::Softmax(rows, classes) => forward((rows, classes), |x| x.softmax::<Axis<1>>()),
        Case::LogSoftmax(rows, classes) => forward((rows, classes), |x| x.log_softmax::<Axis<1>>()),
        Case::Gather(4096, 1000) => {
            let index = targets(4096, 1000).into_iter().map(|class| class as usize).collect();
            let index = device.tensor_from_vec(index, Rank1::<4096>::default());
            gradient_of::<4096, 1000>(move |x| x.select::<Rank1<4096>, Rank1<4096>>(index.clone()).sum())
        }
        Case::ClassifierStep => {
            let mut model = device.build_module::<Linear<2, 3>, f32>();
            model.weight = constant(normal([3, 2]), Rank2::default());
            model.bias = constant(normal([3]), Rank1::default());
            step(model, Rank2::<100, 2>::default(), Rank2::<100, 3>::default())
        }
        Case::PerceptronStep => {
            let mut model = device.build_module::<((Linear<784, 128>, ReLU), Linear<128, 10>), f32>();
            model.0.0.weight = constant(weight(128, 784), Rank2::default());
            model.0.0.bias = constant(normal([128]), Rank1::default());
            model.1.weight = constant(weight(10, 128), Rank2::default());
            model.1.bias = constant(normal([10]), Rank1::default());
            step(model, Rank2::<64, 784>::default(), Rank2::<64, 10>::default())
        }
        Case::Matmul(n, k, m) => {
            let b = matrix((k, m));
            forward((n, k), move |a| a.matmul(b.clone()))
        }
        _ => return None,
    })
}

fn constant<S: Shape>(values: tapegrad::Tensor, shape: S) -> Numbers<S> {
    Cpu::default().tensor_from_vec(values.to_vec(), shape)
}

fn matrix<S: Shape<Concrete = [usize; 2]>>(shape: S) -> Numbers<S> {
    constant(normal(shape.concrete()), shape)
}

fn one_hot<S: Shape<Concrete = [usize; 2]>>(shape: S) -> Numbers<S> {
    let [rows, classes] = shape.concrete();
    let mut probabilities = vec![0.0; rows * classes];
    for (row, class) in targets(rows, classes).into_iter().enumerate() {
        probabilities[row * classes + class as usize] = 1.0;
    }
    Cpu::default().tensor_from_vec(probabilities, shape)
}

fn cross_entropy<const ROWS: usize, const CLASSES: usize>() -> Box<dyn Repeat> {
    let target = one_hot(Rank2::<ROWS, CLASSES>::default());
    gradient_of::<ROWS, CLASSES>(move |logits| cross_entropy_with_logits_loss(logits, target.clone()))
}

/// The gradient is read, and used again by the next repeat after it has become zero.
fn gradient_of<const ROWS: usize, const CLASSES: usize>(
    compute: impl Fn(Traced<Rank2<ROWS, CLASSES>>) -> Traced<Rank0> + 'static,
) -> Box<dyn Repeat> {
    let leaf = matrix(Rank2::<ROWS, CLASSES>::default());
    let gradients = Rc::new(RefCell::new(Some(leaf.alloc_grads())));
    let (kept, source) = (gradients.clone(), leaf.clone());
    ending(
        move || {
            let mut last = gradients.borrow_mut().take().expect("the last repeat left it");
            leaf.zero_grads(&mut last);
            let mut fresh = compute(leaf.trace(last)).backward();
            black_box(fresh.get_or_alloc_mut(&leaf).map(|gradient| gradient[0]).ok());
            *gradients.borrow_mut() = Some(fresh);
        },
        move |()| kept.borrow().as_ref().map_or(Vec::new(), |gradients| gradients.get(&source).as_vec()),
    )
}

fn forward<S: Shape>(
    shape: (usize, usize),
    compute: impl Fn(Numbers<(usize, usize)>) -> Numbers<S> + 'static,
) -> Box<dyn Repeat> {
    let x = matrix(shape);
    ending(move || compute(x.clone()), |value| value.as_vec())
}

fn step<X, Y, M>(mut model: M, inputs: X, outputs: Y) -> Box<dyn Repeat>
where
    X: Shape<Concrete = [usize; 2]>,
    Y: Shape<Concrete = [usize; 2]>,
    M: TensorCollection<f32, Cpu> + ModuleMut<Traced<X>, Output = Traced<Y>> + 'static,
{
    let (x, target) = (matrix(inputs), one_hot(outputs));
    let mut descent =
        Sgd::new(&model, SgdConfig { lr: LEARNING_RATE.into(), momentum: None, weight_decay: None });
    let mut gradients = Some(model.alloc_grads());
    ending(
        move || {
            let logits = model.forward_mut(x.trace(gradients.take().expect("the last repeat left it")));
            let loss = cross_entropy_with_logits_loss(logits, target.clone());
            let value = loss.array();
            let mut fresh = loss.backward();
            descent.update(&mut model, &fresh).expect("every parameter is used");
            model.zero_grads(&mut fresh);
            gradients = Some(fresh);
            value
        },
        |loss| vec![loss],
    )
}
