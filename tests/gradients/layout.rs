use super::{check1, normal};

#[test]
fn reshape_flatten_squeeze_and_unsqueeze() {
    // A different function of every element after the move, so that a wrong place is seen.
    let x = normal([2, 3, 1]);
    check1(&x, |x| x.reshape([3, -1])?.square()?.mul(normal([3, 2]).detach()));
    check1(&x, |x| x.square()?.flatten()?.mul(normal([6]).detach())?.exp());
    check1(&x, |x| x.squeeze(..)?.square()?.mul(normal([2, 3]).detach()));
    check1(&x, |x| x.squeeze(-1)?.square()?.mul(normal([2, 3]).detach()));
    check1(&x, |x| x.squeeze(0)?.square());
    for dim in [0, 1, 3, -1, -2] {
        check1(&x, |x| x.unsqueeze(dim)?.square());
    }
    check1(&normal(()), |x| x.reshape([1, 1])?.exp());
    check1(&normal([1]), |x| x.reshape([0usize; 0])?.exp());
}

#[test]
fn transpose_and_permute_of_every_order() {
    let weights = normal([4, 3, 2]).detach();
    for (dim0, dim1) in [(0, 1), (1, 2), (0, 2), (-1, 0), (1, 1)] {
        check1(&normal([2, 3, 2]), |x| x.square()?.transpose(dim0, dim1)?.exp()?.cumulative());
    }
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [-1, 0, -2]] {
        check1(&normal([2, 3, 2]), |x| x.square()?.permute(order)?.exp()?.cumulative());
    }
    check1(&normal([2, 3, 4]), |x| x.permute([2, 1, 0])?.square()?.mul(&weights));
    check1(&normal(()), |x| x.transpose(0, -1)?.square());
}

#[test]
fn broadcast_to_larger_shapes() {
    check1(&normal([3, 1]), |x| x.square()?.broadcast_to([2, 3, 2])?.cumulative());
    check1(&normal([1, 1]), |x| x.broadcast_to([2, 2])?.cumulative());
    check1(&normal(()), |x| x.broadcast_to([2, 2])?.cumulative());
    check1(&normal([2, 3]), |x| x.broadcast_to([-1, -1])?.square());
    check1(&normal([1, 2]), |x| x.broadcast_to([0, 2])?.square());
}

/// Multiplies every element by a different number and squares, so that no two places are alike.
trait Cumulative: Sized {
    fn cumulative(&self) -> tapegrad::Result<Self>;
}

impl Cumulative for tapegrad::Tensor<f64> {
    fn cumulative(&self) -> tapegrad::Result<Self> {
        let numbers = (1..=self.len()).map(|i| i as f64 * 0.1).collect();
        self.mul(&tapegrad::Tensor::from_vec(numbers, self.shape())?)?.square()
    }
}
