//! Nothing stays behind. One test, because the counters are those of the whole process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use tapegrad::memory::{live_bytes, live_nodes};
use tapegrad::{
    Backward, Error, GradOptions, Gradients, Result, Step, StepContext, Tensor, find_non_finite, grad,
    no_grad,
};

/// What is alive: nodes and bytes.
fn alive() -> (usize, usize) {
    (live_nodes(), live_bytes())
}

#[test]
fn nothing_stays_behind() {
    let at_first = alive();
    for scenario in [
        training_holds_as_much_after_a_hundred_thousand_steps_as_after_a_thousand,
        running_forward_without_backward_holds_nothing,
        no_grad_and_constants_make_no_nodes,
        backward_frees_as_it_goes,
        a_graph_dropped_without_backward_frees_everything,
        recorded_gradients_are_freed_with_their_last_handle,
        values_that_keep_their_gradients_are_no_cycles,
        user_rules_are_freed,
        failures_free_what_they_interrupt,
        threads_leave_nothing,
        writing_copies_only_while_it_must,
    ] {
        scenario();
        assert_eq!(alive(), at_first);
    }
}

struct Model {
    weight: Tensor,
    bias: Tensor,
    momentum: Vec<f32>,
}

impl Model {
    /// One step of gradient descent with momentum; the loss before it.
    fn train(&mut self, x: &Tensor) -> Result<f32> {
        self.weight.zero_grad();
        self.bias.zero_grad();
        let loss = x.linear(&self.weight, &self.bias)?.cross_entropy([0, 1, 2, 0])?;
        loss.backward()?;
        let gradients = [self.weight.grad(), self.bias.grad()].map(|gradient| gradient.unwrap().to_vec());
        let parameters = [self.weight.as_mut_slice()?, self.bias.as_mut_slice()?].into_iter().flatten();
        for ((parameter, momentum), gradient) in parameters.zip(&mut self.momentum).zip(gradients.concat()) {
            *momentum = 0.9 * *momentum + gradient;
            *parameter -= 1e-3 * *momentum;
        }
        loss.item()
    }
}

fn training_holds_as_much_after_a_hundred_thousand_steps_as_after_a_thousand() {
    let x = Tensor::new([[1.0, 0.5, -1.0], [0.0, 2.0, 1.0], [-1.0, 0.25, 0.5], [0.5, -0.5, 0.0]]);
    let mut model = Model {
        weight: Tensor::zeros([3, 3]).unwrap().requires_grad(),
        bias: Tensor::zeros([3]).unwrap().requires_grad(),
        momentum: vec![0.0; 12],
    };
    let mut train_until = |steps: std::ops::Range<i32>| {
        let losses: f32 = steps.map(|_| model.train(&x).unwrap()).last().unwrap();
        (losses, alive())
    };
    let (first_loss, after_a_thousand) = train_until(0..1_000);
    let (last_loss, after_a_hundred_thousand) = train_until(1_000..100_000);
    assert_eq!(after_a_hundred_thousand, after_a_thousand);
    assert!(last_loss < 0.5 * first_loss, "it trains: {first_loss}, {last_loss}");
}

fn running_forward_without_backward_holds_nothing() {
    let x = Tensor::from([1.0, 2.0, 3.0]).requires_grad();
    let before = alive();
    for _ in 0..1000 {
        let loss = x.softmax(0).unwrap().log().unwrap().exp().unwrap().sum(..).unwrap();
        assert!(loss.is_tracked());
    }
    assert_eq!(alive(), before);
}

fn no_grad_and_constants_make_no_nodes() {
    let x = Tensor::from([1.0, 2.0, 3.0]).requires_grad();
    let before = alive();
    let y = no_grad(|| x.exp().unwrap().mul(&x).unwrap().log_softmax(0).unwrap());
    let z = x.detach().square().unwrap().sum(..).unwrap();
    // The results alone: what came in between is gone.
    assert_eq!((y.len(), z.len()), (3, 1));
    assert_eq!(alive(), (before.0, before.1 + 8 * 4));
}

fn backward_frees_as_it_goes() {
    let x = Tensor::<f64>::ones([1000]).unwrap().requires_grad();
    let alone = alive();
    let mut y = x.clone();
    for _ in 0..20 {
        y = y.exp().unwrap().log().unwrap();
    }
    let loss = y.sum(..).unwrap();
    drop(y);
    // Each exp saves its output and each log its input: the same buffer, once a pair.
    assert_eq!(alive(), (alone.0 + 41, alone.1 + 8 * (20 * 1000 + 1)));
    loss.backward().unwrap();
    // The loss's own node and value, and the gradient.
    assert_eq!(alive(), (alone.0 + 1, alone.1 + 8 * (1 + 1000)));
    drop(loss);
    x.zero_grad();
    assert_eq!(alive(), alone);
}

fn a_graph_dropped_without_backward_frees_everything() {
    let before = alive();
    let x = Tensor::from([[1.0, 2.0], [3.0, 4.0]]).requires_grad();
    let loss = {
        let h = x.matmul(&x).unwrap().tanh().unwrap(); // tanh saves its own output
        let p = h.softmax(1).unwrap();
        let parts = [p.select(0, 0).unwrap(), p.max(0).unwrap()];
        Tensor::stack(&[&parts[0], &parts[1]], 0).unwrap().logsumexp(..).unwrap()
    };
    assert!(live_nodes() > before.0 + 8);
    drop(x); // the graph keeps its leaf
    assert!(live_nodes() > before.0 + 8);
    drop(loss);
    assert_eq!(alive(), before);
}

fn recorded_gradients_are_freed_with_their_last_handle() {
    let before = alive();
    {
        let x = Tensor::from([1.0, 2.0]).requires_grad();
        let loss = x.exp().unwrap().mul(&x).unwrap().sum(..).unwrap();
        let recorded = GradOptions::new().create_graph(true);
        let first = grad(&[&loss], &[&x], &recorded).unwrap().remove(0);
        let second = grad(&[&first.sum(..).unwrap()], &[&x], &recorded).unwrap().remove(0);
        assert!(second.is_tracked());
        // Stored, the gradient has no history, so that x does not own itself.
        second.sum(..).unwrap().backward().unwrap();
    }
    assert_eq!(alive(), before);
}

fn values_that_keep_their_gradients_are_no_cycles() {
    let before = alive();
    {
        let x = Tensor::from([1.0, 2.0]).requires_grad();
        let middle = x.exp().unwrap();
        middle.retain_grad().unwrap();
        let loss = middle.square().unwrap().sum(..).unwrap();
        loss.retain_grad().unwrap();
        loss.backward_retain_graph().unwrap();
        loss.backward_retain_graph().unwrap();
        assert!(middle.grad().is_some());
        assert_eq!(find_non_finite(|| x.log()?.sum(..)).unwrap(), None);
    }
    assert_eq!(alive(), before);
}

/// A rule that holds a tensor and fails, panics or answers.
struct Moody {
    held: Tensor<f64>,
    mood: u8,
}

impl Backward<f64> for Moody {
    fn name(&self) -> &'static str {
        "Moody"
    }
    fn backward(&self, step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
        match self.mood {
            0 => Ok(grad.mul(step.output()?)?.mul(&self.held)?.into()),
            1 => Err(Error::Operation { op: "moody", message: "not today".to_string() }),
            _ => panic!("on purpose"),
        }
    }
}

fn moody(x: &Tensor<f64>, mood: u8) -> Tensor<f64> {
    let step = Step::new(Moody { held: x.exp().unwrap(), mood });
    step.saved_input(x).saving_output().record(x.detach().exp().unwrap())
}

fn user_rules_are_freed() {
    let before = alive();
    {
        let x = Tensor::from([1.0, 2.0]).requires_grad();
        let dropped = moody(&moody(&x, 0), 0);
        assert!(live_nodes() >= before.0 + 5);
        drop(dropped);
        moody(&moody(&x, 0), 0).sum(..).unwrap().backward().unwrap();
        assert_eq!(live_nodes(), before.0 + 1);
    }
    assert_eq!(alive(), before);
}

fn failures_free_what_they_interrupt() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let before = alive();
    for mood in [1, 2] {
        let loss = moody(&x, mood).square().unwrap().add(&x).unwrap().sum(..).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| loss.backward()));
        assert!(!matches!(outcome, Ok(Ok(()))));
        assert!(x.grad().is_none());
        drop(loss);
        drop(outcome);
        assert_eq!(alive(), before, "mood {mood}");
    }
    assert!(x.add(Tensor::from([1.0; 3])).is_err());
    assert!(x.exp().unwrap().backward().is_err());
    assert_eq!(alive(), before);
}

fn threads_leave_nothing() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    x.exp().unwrap().square().unwrap().sum(..).unwrap().backward().unwrap();
                    x.zero_grad();
                }
            });
        }
    });
    let shared = x.exp().unwrap();
    let handles: Vec<_> = (0..4).map(|_| shared.square().unwrap()).collect();
    // The last handles fall on several threads at once.
    drop(shared);
    std::thread::scope(|scope| {
        handles.into_iter().for_each(|handle| drop(scope.spawn(move || drop(handle))))
    });
    x.zero_grad();
    assert_eq!(live_nodes(), 1);
}

fn writing_copies_only_while_it_must() {
    let mut x = Tensor::<f64>::ones([100]).unwrap().requires_grad();
    let alone = alive();
    let loss = x.square().unwrap().sum(..).unwrap();
    let recorded = alive();
    x.as_mut_slice().unwrap()[0] = 2.0; // the step still needs the old values
    assert_eq!(live_bytes(), recorded.1 + 800);
    x.as_mut_slice().unwrap()[0] = 3.0;
    assert_eq!(live_bytes(), recorded.1 + 800);
    drop(loss);
    assert_eq!(alive(), alone);
}
