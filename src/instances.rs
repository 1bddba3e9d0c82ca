//! The operations for both precisions, compiled with this crate.
//!
//! Generic code is compiled where its type is chosen, in the crate that uses it. In a build with little
//! optimisation (`cargo test`), the compiler takes what it needs from here instead, which spares every
//! test and example minutes of compiling the kernels again. Nothing calls these functions.

use crate::{
    Conv2dOptions, GradOptions, Indices, NllLoss, Reduction, Result, Tensor, float::Float, grad, keepdim,
};

/// Keeps the instances from being dropped as unused.
#[doc(hidden)]
pub fn instances() -> [usize; 2] {
    [use_operations::<f32> as *const () as usize, use_operations::<f64> as *const () as usize]
}

fn use_operations<T: Float>(x: &Tensor<T>, labels: &Indices) -> Result<Tensor<T>> {
    let y = x.add(x)?.sub(x)?.mul(x)?.div(x)?.pow(x)?.maximum(x)?.minimum(x)?;
    let y = y.add(1.0)?.mul(2.0)?.neg()?.exp()?.expm1()?.log()?.log1p()?.sqrt()?.square()?.reciprocal()?;
    let y = y.abs()?.relu()?.gelu()?.tanh()?.sigmoid()?.softplus()?.clamp(T::zero(), T::one())?;
    let y = y.where_cond(&x.gt(0.0)?.and(&x.le(x)?)?, x)?.masked_fill(&x.eq(x)?, 0.0)?;
    let y = y.sum(keepdim(0))?.mean(..)?.max(0)?.min(..)?.var(0, 1.0)?.logsumexp([0, 1])?;
    let (y, _) = y.softmax(0)?.log_softmax(0)?.max_with_indices(0)?;
    let y = y.gather(0, &y.argmax(0)?)?.scatter_add(0, labels, x)?.index_select(0, labels)?;
    let y = y.reshape([-1])?.flatten()?.squeeze(0)?.unsqueeze(0)?.transpose(0, 1)?.permute([0, 1])?;
    let y = y.broadcast_to(x.shape())?.narrow(0, 0, 1)?.select(0, 0)?;
    let y = Tensor::cat(&[&y, x], 0)?.matmul(&Tensor::stack(&[x, x], 0)?)?.linear(x, x)?.dot(x)?;
    let y = y.conv2d(x, x, Conv2dOptions::new())?.max_pool2d(2)?;
    let losses = [
        y.cross_entropy(labels)?,
        y.cross_entropy(x)?,
        NllLoss::new().reduction(Reduction::Unreduced).forward(&y, labels)?,
        y.mse_loss(x)?,
        y.binary_cross_entropy_with_logits(x)?,
        y.kl_div(x)?,
    ];
    losses[0].backward()?;
    println!("{} {:?} {}", losses[1], losses[2], losses[3].tape());
    Ok(grad(&[&losses[4]], &[x], &GradOptions::new().create_graph(true))?.remove(0))
}
