use super::{check1, normal};
use tapegrad::Tensor;

#[test]
fn softmax_over_every_dim() {
    for dim in [0, 1, 2, -1, -2, -3] {
        check1(&normal([2, 3, 2]), |x| x.softmax(dim));
        check1(&normal([2, 3, 2]), |x| x.log_softmax(dim));
    }
}

#[test]
fn softmax_of_vectors_single_values_and_single_classes() {
    for function in [Tensor::softmax, Tensor::log_softmax] {
        check1(&normal([4]), |x| function(x, 0));
        check1(&normal(()), |x| function(x, 0));
        check1(&normal([3, 1]), |x| function(x, 1));
        check1(&normal([0, 3]), |x| function(x, 1));
        check1(&normal([3, 0]), |x| function(x, 1));
    }
}

#[test]
fn softmax_inside_other_functions() {
    check1(&normal([2, 3]), |x| x.softmax(1)?.log());
    check1(&normal([2, 3]), |x| x.log_softmax(1)?.exp()?.mul(&x.log_softmax(0)?));
    check1(&normal([2, 3]), |x| x.softmax(1)?.softmax(0));
    check1(&normal([3, 3]), |x| x.softmax(1)?.matmul(x));
}

#[test]
fn shifted_logits_have_the_same_derivatives() {
    for shift in [1e3, -1e6, 1e6] {
        check1(&normal([2, 3]), |x| x.add(shift)?.sub(shift)?.log_softmax(1));
    }
}
