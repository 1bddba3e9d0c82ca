//! A user-defined operation from end to end: its formula, a fused backward that writes into the memory
//! of what it saved, the formula for derivatives of derivatives, and the checks that hold the two
//! together.
//!
//! The operation is the swish or SiLU,
//!
//! ```text
//! y = x s(x)        s(x) = 1 / (1 + e^-x)
//! dy/dx = s (1 + x (1 - s))
//! ```

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tapegrad::{
    Backward, Float, GradCheck, GradOptions, Gradients, Result, Step, StepContext, Tensor, grad, memory,
    no_grad,
};

/// 1 / (1 + e^-x) without overflow.
fn sigmoid<T: Float>(x: T) -> T {
    let e = (-x.abs()).exp();
    if x < T::zero() { e / (T::one() + e) } else { T::one() / (T::one() + e) }
}

/// x s(x), for either precision.
fn silu<T: Float>(x: &Tensor<T>) -> Result<Tensor<T>> {
    let values = x.as_slice().iter().map(|&x| x * sigmoid(x)).collect();
    Ok(Step::new(Silu).saved_input(x).record(Tensor::from_vec(values, x.shape())?))
}

struct Silu;

impl<T: Float> Backward<T> for Silu {
    fn name(&self) -> &'static str {
        "Silu"
    }

    fn backward(&self, mut step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        if step.is_recording() {
            // Operations that are recorded in turn: derivatives of any order come with them.
            let x = step.input(0)?;
            let s = x.sigmoid()?;
            let slope = s.mul(&x.mul(&s.neg()?.add(1.0)?)?.add(1.0)?)?;
            return Ok(grad.mul(&slope)?.into());
        }
        // In one pass, into the memory of x: if nobody else holds it, nothing is allocated; if somebody
        // does, as_mut_slice() copies first, and they see no change.
        let mut x = step.take_input(0)?;
        for (x, &grad) in x.as_mut_slice()?.iter_mut().zip(grad.as_slice()) {
            let s = sigmoid(*x);
            *x = grad * s * (T::one() + *x * (T::one() - s));
        }
        Ok(x.into())
    }
}

#[test]
fn value_and_gradient_are_those_of_the_formula() {
    let x = Tensor::from([-2.0, 0.0, 0.5]).requires_grad();
    let y = silu(&x).unwrap();
    assert!(y.to_string().ends_with("grad_fn=<SiluBackward>)"), "{y}");
    assert_eq!(y.tape().entries()[1].name, Some("Silu"));
    y.backward_with(&Tensor::from([1.0, 10.0, 100.0])).unwrap();
    let gradient: Vec<f64> = x.grad().unwrap().to_vec();
    for ((x, upstream), gradient) in [(-2.0f64, 1.0), (0.0, 10.0), (0.5, 100.0)].into_iter().zip(gradient) {
        let s = 1.0 / (1.0 + (-x).exp());
        assert!((gradient - upstream * s * (1.0 + x * (1.0 - s))).abs() < 1e-13, "{gradient}");
    }
    assert_eq!(x.to_vec(), [-2.0, 0.0, 0.5], "the caller's values are not what was overwritten");
}

#[test]
fn both_precisions_are_one_rule() {
    let x = Tensor::new([-2.0, 0.0, 0.5]).requires_grad();
    silu(&x).unwrap().sum(..).unwrap().backward().unwrap();
    let single = x.grad().unwrap().to_vec();
    let x = Tensor::from([-2.0f64, 0.0, 0.5]).requires_grad();
    silu(&x).unwrap().sum(..).unwrap().backward().unwrap();
    for (single, double) in single.into_iter().zip(x.grad().unwrap().to_vec()) {
        assert!((f64::from(single) - double).abs() < 1e-6);
    }
}

#[test]
fn derivatives_to_the_third_order_pass_the_gradient_check() {
    let mut rng = ChaCha8Rng::seed_from_u64(71);
    let x = Tensor::randn([3, 4], &mut rng).unwrap().requires_grad();
    // Among other steps too, where the saved value is an intermediate one and the pass overwrites it.
    GradCheck::new().order(3).check(|inputs| silu(&inputs[0]), &[&x], &mut rng).unwrap();
    let among_others = |inputs: &[Tensor<f64>]| silu(&inputs[0].mul(2.0)?.add(0.25)?)?.square();
    GradCheck::new().order(3).check(among_others, &[&x], &mut rng).unwrap();
}

#[test]
fn the_fused_pass_equals_the_recorded_formula() {
    let mut rng = ChaCha8Rng::seed_from_u64(73);
    for _ in 0..20 {
        let x = Tensor::<f64>::randn([7], &mut rng).unwrap().mul(4.0).unwrap().requires_grad();
        let upstream = Tensor::randn([7], &mut rng).unwrap();
        let options =
            |create_graph| GradOptions::new().grad_outputs([upstream.clone()]).create_graph(create_graph);
        let fused = grad(&[&silu(&x).unwrap()], &[&x], &options(false)).unwrap().remove(0);
        let recorded = grad(&[&silu(&x).unwrap()], &[&x], &options(true)).unwrap().remove(0);
        for (fused, recorded) in fused.to_vec().into_iter().zip(recorded.to_vec()) {
            assert!((fused - recorded).abs() < 1e-14);
        }
    }
}

/// A rule that reports where its saved input lay and where its gradient went.
struct Watched {
    places: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Backward<f64> for Watched {
    fn name(&self) -> &'static str {
        "Watched"
    }
    fn backward(&self, mut step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
        let mut x = step.take_input(0)?;
        let before = x.as_slice().as_ptr() as usize;
        x.as_mut_slice()?.iter_mut().zip(grad.as_slice()).for_each(|(x, &grad)| *x *= 2.0 * grad);
        if let Ok(mut places) = self.places.lock() {
            places.push((before, x.as_slice().as_ptr() as usize));
        }
        Ok(x.into())
    }
}

#[test]
fn a_saved_value_that_nobody_else_holds_is_overwritten_in_place() {
    let places = Arc::new(Mutex::new(vec![]));
    let square = |x: &Tensor<f64>| {
        let value = x.detach().square().unwrap();
        Step::new(Watched { places: places.clone() }).saved_input(x).record(value)
    };
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let upstream = Tensor::from([1.0, 10.0]);

    // Of an intermediate value, only the step holds the memory.
    let middle = x.mul(3.0).unwrap();
    let y = square(&middle);
    drop(middle);
    y.backward_with(&upstream).unwrap();
    assert_eq!(x.grad().unwrap().to_vec(), [18.0, 360.0]);
    // The caller holds the leaf's.
    x.zero_grad();
    square(&x).backward_with(&upstream).unwrap();
    assert_eq!(x.grad().unwrap().to_vec(), [2.0, 40.0]);
    assert_eq!(x.to_vec(), [1.0, 2.0]);
    // So does a graph that is kept: the second pass finds what the first one found.
    x.zero_grad();
    let y = square(&x.mul(3.0).unwrap()).sum(..).unwrap();
    y.backward_retain_graph().unwrap();
    y.backward_retain_graph().unwrap();
    y.backward().unwrap();
    assert_eq!(x.grad().unwrap().to_vec(), [54.0, 108.0]);

    let in_place: Vec<bool> = places.lock().unwrap().iter().map(|(before, after)| before == after).collect();
    assert_eq!(in_place, [true, false, false, false, true]);
}

#[test]
fn nothing_is_kept_where_nothing_is_recorded() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
    impl Backward<f64> for Counted {
        fn name(&self) -> &'static str {
            "Counted"
        }
        fn backward(&self, _step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
            Ok(grad.into())
        }
    }
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let step = |x: &Tensor<f64>| Step::new(Counted).saved_input(x).record(x.detach());
    let y = no_grad(|| step(&x));
    assert_eq!((y.is_tracked(), DROPPED.load(Relaxed)), (false, 1));
    let y = step(&x.detach());
    assert_eq!((y.is_tracked(), DROPPED.load(Relaxed)), (false, 2));
    let y = step(&x);
    assert_eq!((y.is_tracked(), DROPPED.load(Relaxed)), (true, 2));
    y.sum(..).unwrap().backward().unwrap();
    assert_eq!(DROPPED.load(Relaxed), 3, "played, and released with its rule");
    assert!(memory::live_bytes() > 0);
}
