//! Updates allocate nothing once the optimizer's state is there. A file of its own, because the allocator
//! that counts is that of the whole process.

#![allow(unsafe_code)] // an allocator that counts: `GlobalAlloc` has no other form

use rand::SeedableRng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tapegrad::nn::{ChaCha8Rng, Linear, Module, Parameters, Relu, Sequential};
use tapegrad::optim::{Adam, AdamW, Optimizer, Sgd, clip_grad_norm, clip_grad_value};
use tapegrad::{Result, Tensor};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
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
            let before = ALLOCATIONS.load(Relaxed);
            let norm = clip_grad_norm(&model, 0.01)?;
            clip_grad_value(&model, 0.001)?;
            optimizer.step(&mut model)?;
            let allocations = ALLOCATIONS.load(Relaxed) - before;
            assert!(norm > 0.01, "the gradients were clipped");
            // The first step makes the state: the counter works.
            assert_eq!(allocations > 0, step == 0, "optimizer {which}, step {step}: {allocations}");
        }
    }
    Ok(())
}
