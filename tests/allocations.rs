//! How often the allocator is asked for memory: not at all by updates once the optimizer's state is there, and
//! a few times by a small step. A file of its own, because the allocator that counts is that of the whole
//! process.

#![allow(unsafe_code)] // an allocator that counts: `GlobalAlloc` has no other form

use rand::SeedableRng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tapegrad::nn::{ChaCha8Rng, Linear, Module, Parameters, Relu, Sequential};
use tapegrad::optim::{Adam, AdamW, Optimizer, Sgd, clip_grad_norm, clip_grad_value};
use tapegrad::{Result, Tensor};

struct Counting;

thread_local! {
    /// Those of each thread by itself: tests run at the same time.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn steps_and_clips_allocate_nothing_in_the_steady_state() -> Result<()> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let inputs: Tensor = Tensor::randn([16, 20], rng)?;
    let labels: Vec<i64> = (0..16).map(|i| i % 4).collect();
    let optimizers: Vec<Box<dyn Optimizer>> = vec![
        Box::new(Sgd::new(0.01)),
        Box::new(Sgd::new(0.01).momentum(0.9).nesterov(true).weight_decay(0.1)),
        Box::new(Adam::new(0.01)),
        Box::new(Adam::new(0.01).amsgrad(true)),
        Box::new(AdamW::new(0.01)),
    ];
    for (which, mut optimizer) in optimizers.into_iter().enumerate() {
        let mut model =
            Sequential::new().with(Linear::new(20, 30, rng)?).with(Relu).with(Linear::new(30, 4, rng)?);
        for step in 0..5 {
            model.zero_grad();
            let loss = model.forward(&inputs)?.cross_entropy(&labels)?;
            loss.backward()?;
            let before = ALLOCATIONS.get();
            let norm = clip_grad_norm(&model, 0.01)?;
            clip_grad_value(&model, 0.001)?;
            optimizer.step(&mut model)?;
            let allocations = ALLOCATIONS.get() - before;
            assert!(norm > 0.01, "the gradients were clipped");
            // The first step makes the state: the counter works.
            assert_eq!(allocations > 0, step == 0, "optimizer {which}, step {step}: {allocations}");
        }
    }
    Ok(())
}

/// A recorded step takes a node, its rule, a buffer and the buffer's memory; a single value lies in the buffer
/// itself. Backward takes one allocation for its walk, the rest is what the rules compute.
#[test]
fn a_small_step_makes_a_handful_of_allocations() -> Result<()> {
    let x: Tensor = Tensor::ones([64])?.requires_grad();
    let allocations_of = |step: &dyn Fn() -> Result<()>| -> Result<usize> {
        let before = ALLOCATIONS.get();
        step()?;
        Ok(ALLOCATIONS.get() - before)
    };
    tapegrad::instructions::chosen(); // once in a process, lists what the processor has
    let forward = allocations_of(&|| x.square()?.sum(..).map(|_| ()))?;
    assert!(forward <= 7, "{forward}");
    let both = allocations_of(&|| x.square()?.sum(..)?.backward())?;
    assert!(both <= 17, "{both}");
    x.zero_grad();
    Ok(())
}
