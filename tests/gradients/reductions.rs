use super::{apart, check1, normal, rng};
use tapegrad::{Dims, Tensor, gradcheck, keepdim};

/// Every choice of dims of a tensor of rank 3, with and without keeping them, given to a generic check.
macro_rules! for_all_dims {
    ($x:expr, |$tensor:ident, $dims:ident| $result:expr) => {
        let x = $x;
        for_all_dims!(@each x, |$tensor, $dims| $result;
            .., 0, 1, 2, -1, -3, [0, 1], [1, 2], [0, 2], [-1, 0], [0, 1, 2]);
    };
    (@each $x:ident, |$tensor:ident, $dims:ident| $result:expr; $($choice:expr),*) => {$(
        check1(&$x, |$tensor| { let $dims = $choice; $result });
        check1(&$x, |$tensor| { let $dims = keepdim($choice); $result });
    )*};
}

#[test]
fn sums_over_every_choice_of_dims() {
    for_all_dims!(normal([2, 3, 2]), |x, dims| x.square()?.sum(dims));
    for_all_dims!(normal([2, 1, 2]), |x, dims| x.sum(dims)?.square());
}

#[test]
fn means_over_every_choice_of_dims() {
    for_all_dims!(normal([2, 3, 2]), |x, dims| x.square()?.mean(dims));
    for_all_dims!(normal([2, 1, 2]), |x, dims| x.mean(dims)?.square());
}

#[test]
fn variances_over_every_choice_of_dims() {
    for_all_dims!(normal([2, 3, 2]), |x, dims| x.var(dims, 1.0));
    for_all_dims!(normal([2, 3, 2]), |x, dims| x.var(dims, 0.0)?.exp());
    check1(&normal([5]), |x| x.var(.., 2.0));
    check1(&normal([2, 3]), |x| x.var(1, 0.5)?.sqrt());
    // A variance with a large mean: the rule uses centred values.
    let shifted = normal([6]).detach().add(1e4).unwrap().requires_grad();
    check1(&shifted, |x| x.var(.., 1.0));
}

#[test]
fn extremes_over_every_choice_of_dims() {
    for_all_dims!(apart([2, 3, 2]), |x, dims| x.max(dims)?.exp());
    for_all_dims!(apart([2, 3, 2]), |x, dims| x.min(dims)?.square());
}

#[test]
fn extremes_with_their_positions() {
    for dim in [0, 1, 2, -1] {
        check1(&apart([2, 3, 2]), |x| x.max_with_indices(dim)?.0.square());
        check1(&apart([2, 3, 2]), |x| x.min_with_indices(keepdim(dim))?.0.exp());
    }
    check1(&apart(()), |x| x.max_with_indices(0)?.0.exp());
}

#[test]
fn tied_extremes_share_the_gradient_when_there_are_two() {
    // The symmetric difference of a maximum of two equal elements is one half for each.
    let x = Tensor::from([[1.0, 1.0, -2.0], [0.5, 3.0, 3.0]]).requires_grad();
    gradcheck(|inputs| inputs[0].max(1), &[&x], &mut rng(2)).unwrap();
    let x = x.detach().neg().unwrap().requires_grad();
    gradcheck(|inputs| inputs[0].min(1), &[&x], &mut rng(2)).unwrap();
}

#[test]
fn log_sums_of_exponentials_over_every_choice_of_dims() {
    for_all_dims!(normal([2, 3, 2]), |x, dims| x.logsumexp(dims));
    check1(&normal([4]), |x| x.logsumexp(0)?.square());
    check1(&normal(()), |x| x.logsumexp(..)?.square());
}

#[test]
fn reductions_of_single_values() {
    let value = normal(());
    check1(&value, |x| x.square()?.sum(..));
    check1(&value, |x| x.square()?.mean(0));
    check1(&value, |x| x.max(-1)?.exp());
    check1(&normal([1, 1]), |x| x.var(.., 0.0)?.add(&x.square()?.sum(..)?));
}

#[test]
fn reductions_over_no_dims_change_nothing() {
    fn none() -> [isize; 0] {
        []
    }
    fn check_none<D: Dims + Copy>(dims: D) {
        check1(&apart([2, 2]), |x| x.sum(dims)?.square());
        check1(&apart([2, 2]), |x| x.mean(dims)?.square());
        check1(&apart([2, 2]), |x| x.max(dims)?.square());
        check1(&apart([2, 2]), |x| x.logsumexp(dims)?.square());
    }
    check_none(none());
    check_none(keepdim(none()));
}

#[test]
fn centring_and_scaling_rows() {
    // As in a layer that normalises: mean and variance of the same rows, together.
    check1(&normal([2, 4]), |x| {
        let centred = x.sub(&x.mean(keepdim(-1))?)?;
        centred.div(&x.var(keepdim(-1), 0.0)?.add(1e-3)?.sqrt()?)
    });
}
