//! The cases by this crate, through its public interface.

use super::{CLASSIFIER, Case, LEARNING_RATE, OPERAND, PERCEPTRON, Repeat, ending, normal, targets, weight};
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use tapegrad::{Backward, Gradients, Indices, Result, Step, StepContext, Tensor, no_grad};

/// The case, unless it measures the machine.
pub fn ready(case: Case) -> Option<Box<dyn Repeat>> {
    Some(match case {
        Case::CrossEntropy(rows, classes) => cross_entropy(rows, classes),
        Case::CrossEntropyOfResult(rows, classes) => Box::new(CrossEntropyOfResult::new(rows, classes)),
        Case::CrossEntropyForward(rows, classes) => cross_entropy_forward(rows, classes),
        Case::Softmax(rows, classes) => forward(normal([rows, classes]), |x| x.softmax(1)),
        Case::LogSoftmax(rows, classes) => forward(normal([rows, classes]), |x| x.log_softmax(1)),
        Case::Gather(rows, classes) => gather(rows, classes),
        Case::Operation(name) => operation(name),
        Case::ClassifierStep => classifier_step(),
        Case::PerceptronStep => perceptron_step(),
        Case::Matmul(n, k, m) => {
            let b = normal([k, m]);
            forward(normal([n, k]), move |a| a.matmul(&b))
        }
        Case::Read(..) | Case::ReadThenCopy(..) | Case::ReadThenWriteInPlace(..) => return None,
    })
}

/// A case that returns errors, as the `?` inside makes natural; there are none.
fn boxed(mut compute: impl FnMut() -> Result<Tensor> + 'static) -> Box<dyn Repeat> {
    ending(move || compute().expect("a case is a correct program"), |value| value.to_vec())
}

fn classes_of(rows: usize, classes: usize) -> Indices {
    Indices::new(targets(rows, classes)).expect("classes fit in an i64")
}

/// Reads the gradient of a leaf, and takes it away.
fn read_gradient(leaf: &Tensor) -> Tensor {
    let gradient = leaf.grad().expect("backward reached the leaf");
    leaf.zero_grad();
    black_box(gradient.as_slice()[0]);
    gradient
}

fn cross_entropy(rows: usize, classes: usize) -> Box<dyn Repeat> {
    let (logits, target) = (normal([rows, classes]).requires_grad(), classes_of(rows, classes));
    boxed(move || {
        let loss = logits.cross_entropy(&target)?;
        loss.backward()?;
        Ok(read_gradient(&logits))
    })
}

fn cross_entropy_forward(rows: usize, classes: usize) -> Box<dyn Repeat> {
    let target = classes_of(rows, classes);
    forward(normal([rows, classes]), move |logits| logits.cross_entropy(&target))
}

fn forward(x: Tensor, compute: impl Fn(&Tensor) -> Result<Tensor> + 'static) -> Box<dyn Repeat> {
    boxed(move || {
        let value = no_grad(|| compute(&x))?;
        black_box(value.as_slice()[0]);
        Ok(value)
    })
}

fn gather(rows: usize, classes: usize) -> Box<dyn Repeat> {
    let x = normal([rows, classes]).requires_grad();
    let index = classes_of(rows, classes).reshape([rows, 1]).expect("one index a row");
    boxed(move || {
        x.gather(1, &index)?.sum(..)?.backward()?;
        Ok(read_gradient(&x))
    })
}

/// An operation on one tensor.
type Operation = fn(&Tensor) -> Result<Tensor>;

/// Single operations by the names that the cases and the other libraries know them by.
pub const OPERATIONS: &[(&str, Operation)] = &[
    ("exp", |x| x.exp()),
    ("log", |x| x.log()),
    ("sqrt", |x| x.sqrt()),
    ("tanh", |x| x.tanh()),
    ("sigmoid", |x| x.sigmoid()),
    ("softplus", |x| x.softplus()),
    ("gelu", |x| x.gelu()),
    ("relu", |x| x.relu()),
    ("clamp", |x| x.clamp(0.3, 0.8)),
    ("square", |x| x.square()),
    ("broadcast", |x| x.mul(&x.narrow(0, 0, 1)?)),
    ("sum_of_rows", |x| x.sum(1)),
    ("sum_of_columns", |x| x.sum(0)),
    ("max_of_rows", |x| x.max(1)),
    ("logsumexp_of_rows", |x| x.logsumexp(1)),
    ("softmax_of_rows", |x| x.softmax(1)),
    ("softmax_of_columns", |x| x.softmax(0)),
    ("log_softmax_of_columns", |x| x.log_softmax(0)),
    ("transpose", |x| x.transpose(0, 1)?.add(1.0)),
    ("cat", |x| Tensor::cat(&[x, x], 1)),
    ("narrow", |x| x.narrow(1, 100, 800)),
    ("binary_cross_entropy", |x| x.binary_cross_entropy_with_logits(&x.detach())),
];

fn operation(name: &str) -> Box<dyn Repeat> {
    let (_, compute) = OPERATIONS.iter().find(|(known, _)| *known == name).expect("a case names one of them");
    let positive = normal(OPERAND).abs().and_then(|x| x.add(0.1)).expect("numbers fit every shape");
    let x = positive.requires_grad();
    let value = compute(&x).expect("a case is a correct program");
    let gradient = normal([value.len()]).reshape(value.shape()).expect("so many numbers fill the shape");
    boxed(move || {
        compute(&x)?.backward_with(&gradient)?;
        Ok(read_gradient(&x))
    })
}

/// Gradient descent: each parameter less a share of its gradient, where it is.
fn update(parameters: &mut [Tensor]) -> Result<()> {
    for parameter in parameters {
        let gradient = parameter.grad().expect("backward reached every parameter");
        for (value, gradient) in parameter.as_mut_slice()?.iter_mut().zip(gradient.as_slice()) {
            *value -= LEARNING_RATE * gradient;
        }
        parameter.zero_grad();
    }
    Ok(())
}

fn classifier_step() -> Box<dyn Repeat> {
    let [objects, features, classes] = CLASSIFIER;
    let (x, target) = (normal([objects, features]), classes_of(objects, classes));
    let mut parameters = [normal([classes, features]), normal([classes])].map(Tensor::requires_grad);
    boxed(move || {
        let [weight, bias] = &parameters;
        let loss = x.linear(weight, bias)?.cross_entropy(&target)?;
        loss.backward()?;
        black_box(loss.item()?);
        update(&mut parameters)?;
        Ok(loss)
    })
}

fn perceptron_step() -> Box<dyn Repeat> {
    let [objects, inputs, hidden, classes] = PERCEPTRON;
    let (x, target) = (normal([objects, inputs]), classes_of(objects, classes));
    let mut parameters =
        [weight(hidden, inputs), normal([hidden]), weight(classes, hidden), normal([classes])]
            .map(Tensor::requires_grad);
    boxed(move || {
        let [weight1, bias1, weight2, bias2] = &parameters;
        let logits = x.linear(weight1, bias1)?.relu()?.linear(weight2, bias2)?;
        let loss = logits.cross_entropy(&target)?;
        drop(logits); // nobody needs them: backward may overwrite them
        loss.backward()?;
        black_box(loss.item()?);
        update(&mut parameters)?;
        Ok(loss)
    })
}

/// Logits that are the result of a step, over and over in the same memory.
///
/// The step hands out a buffer as its output, and its rule takes the gradient as the next buffer. If the
/// gradient has overwritten the logits, as it may, that is the same memory again; so what is timed is cross
/// entropy alone.
struct CrossEntropyOfResult {
    source: Tensor,
    parameter: Tensor,
    target: Indices,
    logits: Option<Tensor>,
    gradient: Arc<Mutex<Option<Tensor>>>,
}

/// y is given, dx = dy[0]: some gradient of the step's only input, which has one element.
struct Given {
    gradient: Arc<Mutex<Option<Tensor>>>,
}

impl Backward<f32> for Given {
    fn name(&self) -> &'static str {
        "Given"
    }
    fn backward(&self, _step: StepContext<f32>, grad: Tensor) -> Result<Gradients> {
        let first = grad.as_slice()[0];
        if let Ok(mut slot) = self.gradient.lock() {
            *slot = Some(grad);
        }
        Ok(Tensor::from(first).into())
    }
}

impl CrossEntropyOfResult {
    fn new(rows: usize, classes: usize) -> Self {
        let source = normal([rows, classes]);
        CrossEntropyOfResult {
            gradient: Arc::new(Mutex::new(Some(source.clone()))),
            source,
            parameter: Tensor::new(1.0).requires_grad(),
            target: classes_of(rows, classes),
            logits: None,
        }
    }

    fn forward_backward(&mut self) -> Result<()> {
        let value = self.logits.take().expect("a repeat is prepared");
        let logits =
            Step::new(Given { gradient: self.gradient.clone() }).input(&self.parameter).record(value);
        let loss = logits.cross_entropy(&self.target)?;
        drop(logits);
        loss.backward()?;
        read_gradient(&self.parameter);
        Ok(())
    }
}

impl Repeat for CrossEntropyOfResult {
    fn needs_preparation(&self) -> bool {
        true
    }

    fn prepare(&mut self) {
        let last = self.gradient.lock().ok().and_then(|mut slot| slot.take());
        let mut logits = last.expect("the rule leaves the gradient");
        let values = logits.as_mut_slice().expect("a gradient is no recorded step");
        values.copy_from_slice(self.source.as_slice());
        self.logits = Some(logits);
    }

    fn repeat(&mut self) {
        self.forward_backward().expect("a case is a correct program");
    }

    fn outcome(&mut self) -> Vec<f32> {
        self.prepare();
        self.repeat();
        let gradient = self.gradient.lock().ok().and_then(|slot| slot.as_ref().map(Tensor::to_vec));
        gradient.expect("the rule leaves the gradient")
    }
}
