//! The same program gives the same bits for any number of threads.
//!
//! How work is cut depends on its shape alone; so these tensors are larger than any piece that a thread
//! takes, in every direction.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tapegrad::{Conv2dOptions, CrossEntropyLoss, Float, Indices, Reduction, Result, Tensor};

/// What a computation leaves behind, in bits.
type Bits = Vec<u64>;

fn bits<T: Float>(tensors: &[Tensor<T>]) -> Bits {
    tensors.iter().flat_map(|tensor| tensor.as_slice().iter().map(|&x| x.to_f64().to_bits())).collect()
}

/// Runs a computation in pools of 1, 2, 3 and 4 threads, and several times outside of any: there a kernel begins
/// alone or with helpers, as they happen to be awake.
fn assert_same_bits(what: &str, compute: impl Fn() -> Result<Bits> + Sync) {
    let on_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| compute().unwrap())
    };
    let on_one = on_threads(1);
    assert!(!on_one.is_empty());
    for threads in [2, 3, 4] {
        let differences = on_one.iter().zip(on_threads(threads)).filter(|(a, b)| **a != *b).count();
        assert_eq!(differences, 0, "{what}: elements that differ on {threads} threads");
    }
    for _ in 0..3 {
        let differences = on_one.iter().zip(compute().unwrap()).filter(|(a, b)| **a != *b).count();
        assert_eq!(differences, 0, "{what}: elements that differ outside of a pool");
    }
}

fn random<T: Float>(shape: &[usize], seed: u64) -> Tensor<T> {
    // Drawn in f64 and rounded, so that both precisions see the same numbers.
    let x = Tensor::<f64>::randn(shape, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
    Tensor::from_vec(x.as_slice().iter().map(|&x| T::from_f64(3.0 * x)).collect(), shape).unwrap()
}

/// Many short rows, rows that fit a block, and few long ones.
const SHAPES: [[usize; 2]; 4] = [[14_011, 10], [1_003, 130], [140, 1_000], [3, 40_001]];

fn softmax_family<T: Float>() {
    for shape in SHAPES {
        for dim in [0, 1] {
            let x = random::<T>(&shape, 1).requires_grad();
            let upstream = random::<T>(&shape, 2);
            let name = format!("softmax and its relatives of {shape:?} along {dim} in {}", T::DTYPE);
            assert_same_bits(&name, || {
                x.zero_grad();
                let (p, log_p) = (x.softmax(dim)?, x.log_softmax(dim)?);
                let lse = x.logsumexp(dim)?;
                p.mul(&upstream)?.add(&log_p)?.sum(..)?.add(lse.sum(..)?)?.backward()?;
                Ok(bits(&[p.detach(), log_p.detach(), lse.detach(), x.grad().unwrap()]))
            });
        }
    }
}

#[test]
fn softmax_and_its_relatives_in_f32() {
    softmax_family::<f32>();
}

#[test]
fn softmax_and_its_relatives_in_f64() {
    softmax_family::<f64>();
}

fn cross_entropy<T: Float>() {
    for [rows, classes] in SHAPES {
        let x = random::<T>(&[rows, classes], 3).requires_grad();
        let target =
            Indices::from_vec((0..rows).map(|i| (i * 7919 % classes) as i64).collect(), rows).unwrap();
        let probabilities = random::<T>(&[rows, classes], 4).softmax(1).unwrap();
        let weight = random::<T>(&[classes], 5).exp().unwrap();
        for (reduction, smoothing) in
            [(Reduction::Mean, 0.0), (Reduction::Sum, 0.1), (Reduction::Unreduced, 0.0)]
        {
            let name =
                format!("cross entropy of ({rows}, {classes}) in {}, {reduction:?}, {smoothing}", T::DTYPE);
            let loss = CrossEntropyLoss::new().reduction(reduction).label_smoothing(smoothing);
            assert_same_bits(&name, || {
                let mut all = Vec::new();
                for loss in [loss.clone(), loss.clone().weight(&weight)] {
                    for loss in [loss.forward(&x, &target)?, loss.forward(&x, &probabilities)?] {
                        x.zero_grad();
                        loss.backward_with(&loss.detach())?;
                        all.extend([loss.detach(), x.grad().unwrap()]);
                    }
                }
                // The gradient overwrites logits that nobody else holds.
                x.zero_grad();
                let logits = x.mul(0.5)?;
                let of_intermediate = loss.forward(&logits, &target)?;
                drop(logits);
                of_intermediate.sum(..)?.backward()?;
                all.push(x.grad().unwrap());
                Ok(bits(&all))
            });
        }
    }
}

#[test]
fn cross_entropy_in_f32() {
    cross_entropy::<f32>();
}

#[test]
fn cross_entropy_in_f64() {
    cross_entropy::<f64>();
}

fn products<T: Float>() {
    for (rows, depth, columns) in [
        (257, 200, 301),
        (1, 70_000, 3),
        (33, 10_000, 2),
        (1_000, 3, 200),
        (1_021, 1_333, 517), // several steps along the depth, and tiles that are not full
        (64, 3_000, 129),
        (127, 128, 256), // one block, two, as many as there are, and what the library shares out by itself
        (128, 128, 256),
        (511, 128, 256),
        (1025, 128, 256),
        (70, 30_000, 3), // blocks that are narrower than a vector
        (70_001, 4, 3),  // without the library, many rows
    ] {
        let a = random::<T>(&[rows, depth], 6).requires_grad();
        let b = random::<T>(&[depth, columns], 7).requires_grad();
        let name = format!("product of ({rows}, {depth}) and ({depth}, {columns}) in {}", T::DTYPE);
        assert_same_bits(&name, || {
            a.zero_grad();
            b.zero_grad();
            let product = a.matmul(&b)?;
            product.backward_with(&product.detach())?;
            Ok(bits(&[product.detach(), a.grad().unwrap(), b.grad().unwrap()]))
        });
    }
}

#[test]
fn products_of_matrices_in_f32() {
    products::<f32>();
}

#[test]
fn products_of_matrices_in_f64() {
    products::<f64>();
}

#[test]
fn linear_layers() {
    for (rows, inputs, outputs) in [(64, 784, 128), (33, 700, 100), (300, 784, 128), (10, 4_000, 130)] {
        let x = random::<f32>(&[rows, inputs], 11).requires_grad();
        let weight = random::<f32>(&[outputs, inputs], 12).requires_grad();
        let bias = random::<f32>(&[outputs], 13).requires_grad();
        assert_same_bits(
            &format!("layer of {inputs} inputs and {outputs} outputs for {rows} vectors"),
            || {
                for leaf in [&x, &weight, &bias] {
                    leaf.zero_grad();
                }
                let y = x.linear(&weight, &bias)?;
                y.backward_with(&y.detach())?;
                Ok(bits(&[y.detach(), x.grad().unwrap(), weight.grad().unwrap(), bias.grad().unwrap()]))
            },
        );
    }
}

#[test]
fn convolutions_and_pooling() {
    for (images, channels, side, groups) in [(3, 2, 150, 1), (300, 4, 14, 2), (1, 40, 40, 1)] {
        let x = random::<f32>(&[images, channels, side, side], 9).requires_grad();
        let weight = random::<f32>(&[6, channels / groups, 3, 3], 10).requires_grad();
        let options = Conv2dOptions::new().padding(1).groups(groups);
        assert_same_bits(&format!("convolution of {images} images of {channels} channels"), || {
            x.zero_grad();
            weight.zero_grad();
            let y = x.conv2d(&weight, None, options)?.max_pool2d(2)?;
            y.backward_with(&y.detach())?;
            Ok(bits(&[y.detach(), x.grad().unwrap(), weight.grad().unwrap()]))
        });
    }
}

#[test]
fn sums_means_and_elementwise_functions() {
    for shape in [[150_007, 1], [3, 50_001], [50_001, 3]] {
        let x = random::<f32>(&shape, 8).requires_grad();
        assert_same_bits(&format!("reductions of {shape:?}"), || {
            x.zero_grad();
            let y = x.tanh()?.mul(&x)?.add(&x.exp()?)?;
            let sums = [y.sum(..)?, y.sum(0)?, y.sum(1)?, y.mean(..)?, y.var(0, 0.0)?, y.var(.., 1.0)?];
            let mut total = sums[0].clone();
            for sum in &sums[1..] {
                total = total.add(&sum.square()?.sum(..)?)?;
            }
            total.backward()?;
            let mut all: Vec<_> = sums.iter().map(Tensor::detach).collect();
            all.extend([y.detach(), total.detach(), x.grad().unwrap()]);
            Ok(bits(&all))
        });
    }
}
