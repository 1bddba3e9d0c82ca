//! Tensors go from thread to thread; leaves may be shared; nothing is lost.

use super::gradient;
use std::sync::Barrier;
use std::thread;
use tapegrad::{
    CrossEntropyLoss, Error, GradCheck, GradOptions, Indices, Mask, NllLoss, NonFinite, Shape, Tape, Tensor,
    no_grad,
};

#[test]
fn everything_is_send_and_sync() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Tensor<f32>>();
    check::<Tensor<f64>>();
    check::<Indices>();
    check::<Mask>();
    check::<Shape>();
    check::<Tape>();
    check::<Error>();
    check::<NonFinite>();
    check::<GradOptions<f32>>();
    check::<GradCheck>();
    check::<CrossEntropyLoss<f32>>();
    check::<NllLoss<f64>>();
}

#[test]
fn a_leaf_used_on_several_threads_gets_the_right_sum() {
    let x = Tensor::from([1.0, 2.0, 3.0]).requires_grad();
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for id in 0..8 {
            let (x, start) = (&x, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..200 {
                    // Whole numbers: no order of the additions changes the sum.
                    let loss = x.square().unwrap().mul(f64::from(id * 200 + round)).unwrap().sum(..).unwrap();
                    loss.backward().unwrap();
                }
            });
        }
    });
    let total = f64::from((0..1600).sum::<i32>());
    assert_eq!(gradient(&x), [2.0 * total, 4.0 * total, 6.0 * total]);
}

#[test]
fn independent_graphs_run_on_separate_threads() {
    let handles: Vec<_> = (1..=4)
        .map(|factor| {
            thread::spawn(move || {
                let x = Tensor::from([f64::from(factor), 1.0]).requires_grad();
                for _ in 0..100 {
                    x.zero_grad();
                    x.square().unwrap().mul(&x).unwrap().sum(..).unwrap().backward().unwrap();
                }
                x
            })
        })
        .collect();
    for (factor, handle) in (1..=4).map(f64::from).zip(handles) {
        assert_eq!(gradient(&handle.join().unwrap()), [3.0 * factor * factor, 3.0]);
    }
}

#[test]
fn a_graph_built_on_several_threads_is_played_on_another() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let parts: Vec<Tensor<f64>> = thread::scope(|scope| {
        let spawn = |power: i32| {
            let x = &x;
            scope.spawn(move || x.pow(f64::from(power)).unwrap().mul(f64::from(power)).unwrap())
        };
        let handles: Vec<_> = (1..=4).map(spawn).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let sum = parts.iter().skip(1).fold(parts[0].clone(), |sum, part| sum.add(part).unwrap());
    thread::spawn(move || sum.sum(..).unwrap().backward().unwrap()).join().unwrap();
    // 1 + 4 x + 9 x^2 + 16 x^3
    assert_eq!(gradient(&x), [30.0, 1.0 + 8.0 + 36.0 + 128.0]);
}

#[test]
fn of_several_threads_that_play_one_graph_exactly_one_succeeds() {
    for _ in 0..50 {
        let x = Tensor::from([1.0f64, 2.0]).requires_grad();
        let loss = x.exp().unwrap().log().unwrap().square().unwrap().sum(..).unwrap();
        let start = Barrier::new(4);
        let results: Vec<_> = thread::scope(|scope| {
            let spawn = |_| {
                scope.spawn(|| {
                    start.wait();
                    loss.backward()
                })
            };
            let handles: Vec<_> = (0..4).map(spawn).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        let refused = results.iter().filter_map(|result| result.as_ref().err());
        refused.for_each(|error| assert!(matches!(error, Error::Released { .. }), "{error}"));
        let found = gradient(&x);
        assert!((found[0] - 2.0).abs() < 1e-14 && (found[1] - 4.0).abs() < 1e-14, "added once: {found:?}");
    }
}

#[test]
fn several_threads_may_play_a_retained_graph() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    let loss = x.square().unwrap().mul(&x).unwrap().sum(..).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| loss.backward_retain_graph().unwrap()));
        }
    });
    assert_eq!(gradient(&x), [400.0 * 3.0, 400.0 * 12.0]);
}

#[test]
fn no_grad_holds_for_its_own_thread_only() {
    let x = Tensor::from([1.0, 2.0]).requires_grad();
    no_grad(|| {
        thread::scope(|scope| {
            scope.spawn(|| assert!(x.square().unwrap().is_tracked()));
        });
        assert!(!x.square().unwrap().is_tracked());
    });
}

#[test]
fn gradients_may_be_read_and_zeroed_while_others_add() {
    let x = Tensor::from([1.0]).requires_grad();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..300).for_each(|_| x.mul(2.0).unwrap().sum(..).unwrap().backward().unwrap()));
        }
        scope.spawn(|| {
            for _ in 0..300 {
                if let Some(gradient) = x.grad() {
                    assert_eq!(gradient.item().unwrap() % 2.0, 0.0);
                }
                x.zero_grad();
            }
        });
    });
    x.zero_grad();
    x.sum(..).unwrap().backward().unwrap();
    assert_eq!(gradient(&x), [1.0]);
}
