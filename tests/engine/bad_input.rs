//! Bad input is a typed error that says what is wrong, and changes nothing; the operators panic with
//! the same words.

use std::panic::{AssertUnwindSafe, catch_unwind};
use tapegrad::{Dims, Error, Indices, Mask, NllLoss, Result, Tensor, accuracy, keepdim};

fn matrix() -> Tensor<f64> {
    Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
}

#[track_caller]
fn assert_error<T: std::fmt::Debug>(result: Result<T>, expected: impl Fn(&Error) -> bool, text: &str) {
    match result {
        Ok(value) => panic!("accepted: {value:?}"),
        Err(error) => {
            assert!(expected(&error), "{error:?}");
            assert_eq!(error.to_string(), text);
        }
    }
}

#[test]
fn shape_products_that_overflow() {
    let huge = usize::MAX / 2;
    let is_too_large = |error: &Error| matches!(error, Error::TooLarge { .. });
    let text = |op: &str, shape: &str| format!("{op}: the number of elements of shape {shape} overflows");
    let pair = format!("[{huge}, 3]");
    assert_error(Tensor::<f64>::zeros([huge, 3]), is_too_large, &text("zeros", &pair));
    assert_error(Tensor::<f64>::ones([huge, 3]), is_too_large, &text("ones", &pair).replace("ones", "full"));
    assert_error(Tensor::<f32>::full([huge, 3], 1.0), is_too_large, &text("full", &pair));
    assert_error(Tensor::<f64>::eye(huge), is_too_large, &text("eye", &format!("[{huge}, {huge}]")));
    assert_error(Tensor::from_vec(vec![1.0f64], [huge, 3]), is_too_large, &text("from_vec", &pair));
    assert_error(Indices::from_vec(vec![1], [huge, 3]), is_too_large, &text("Indices::from_vec", &pair));
    assert_error(Mask::from_vec(vec![true], [huge, 3]), is_too_large, &text("Mask::from_vec", &pair));
    assert_error(matrix().reshape([huge, 3]), is_too_large, &text("reshape", &pair));
    // A zero among the sizes does not hide that the others overflow.
    assert_error(
        Tensor::<f64>::zeros([huge, 0, 3]),
        is_too_large,
        &text("zeros", &format!("[{huge}, 0, 3]")),
    );
    // Broadcasting: no operand is large.
    let side = 1usize << 31;
    let column = Tensor::<f64>::zeros([0, 1]).unwrap();
    assert!(column.broadcast_to([0, side]).is_ok());
    assert!(matches!(
        matrix().select(0, 0).unwrap().broadcast_to([side, side, 3]),
        Err(Error::TooLarge { .. })
    ));
    assert!(matches!(Tensor::<f64>::arange(0.0, 1e30, 1.0), Err(Error::TooLarge { .. })));
    assert!(matches!(Tensor::<f64>::linspace(0.0, 1.0, usize::MAX), Err(Error::TooLarge { .. })));
    assert!(matches!(Indices::new([0]).unwrap().one_hot::<f64>(usize::MAX), Err(Error::TooLarge { .. })));
}

#[test]
fn a_long_dim_of_nothing_takes_no_time() {
    let long = 1 << 50;
    let empty = Tensor::<f64>::zeros([long, 0]).unwrap();
    assert_eq!(empty.topk(0, 1).unwrap().shape(), &[long, 0]);
    assert_eq!(Tensor::from([[0.0f64; 0]; 1 << 50]).shape(), &[long, 0]);
    let batch = Tensor::<f64>::zeros([long, 2, 0, 3]).unwrap();
    assert_eq!(batch.matmul(&Tensor::ones([1, 2, 3, 4]).unwrap()).unwrap().shape(), &[long, 2, 0, 4]);
}

#[test]
fn more_memory_than_there_is() {
    // The product fits in a usize, and nobody has so much.
    let result = Tensor::<f64>::zeros([1usize << 40, 1 << 12]);
    assert!(matches!(result, Err(Error::OutOfMemory { bytes }) if bytes == 1 << 55), "{result:?}");
    let row = Tensor::<f64>::zeros([1]).unwrap();
    assert!(matches!(row.broadcast_to([1usize << 40, 1 << 12]), Err(Error::OutOfMemory { .. })));
}

#[test]
fn data_whose_length_does_not_fit_the_shape() {
    let is_length = |error: &Error| matches!(error, Error::Length { .. });
    assert_error(
        Tensor::from_vec(vec![1.0f32; 5], [2, 3]),
        is_length,
        "from_vec: 5 values do not fill shape [2, 3]",
    );
    assert_error(
        Indices::from_vec(vec![1; 7], [2, 3]),
        is_length,
        "Indices::from_vec: 7 values do not fill shape [2, 3]",
    );
    assert_error(Mask::from_vec(vec![], ()), is_length, "Mask::from_vec: 0 values do not fill shape []");
    assert_error(matrix().reshape([4, 2]), is_length, "reshape: 6 values do not fill shape [4, 2]");
    assert_error(matrix().reshape([4, -1]), is_length, "reshape: 6 values do not fill shape [4, -1]");
    assert!(matches!(matrix().reshape([-1, -1]), Err(Error::Argument { op: "reshape", .. })));
    assert!(matches!(matrix().reshape([-3, -2]), Err(Error::Argument { op: "reshape", .. })));
}

#[test]
fn dims_out_of_range() {
    for dims in [&[2][..], &[isize::MAX], &[0, isize::MIN], &[0, 1, 2, 3]] {
        assert!(matches!(matrix().sum(dims), Err(Error::Dim { op: "sum", .. })));
        assert!(matches!(matrix().logsumexp(dims), Err(Error::Dim { .. })));
    }
    assert!(matches!(matrix().max([1, -1]), Err(Error::Dim { op: "max", dim: 1, is_repeated: true, .. })));
    struct Wrong;
    impl Dims for Wrong {
        fn to_dims(&self, rank: usize) -> impl Iterator<Item = isize> {
            0..=rank as isize
        }
    }
    assert!(matches!(matrix().mean(keepdim(Wrong)), Err(Error::Dim { op: "mean", .. })));
    let is_dim = |error: &Error| matches!(error, Error::Dim { .. });
    let x = matrix();
    for dim in [2, -3, isize::MAX, isize::MIN] {
        let text = |op: &str| format!("{op}: dim {dim} is not in [-2, 2) for a tensor of rank 2");
        assert_error(x.sum(dim), is_dim, &text("sum"));
        assert_error(x.mean(keepdim(dim)), is_dim, &text("mean"));
        assert_error(x.var([0, dim], 1.0), is_dim, &text("var"));
        assert_error(x.max(dim), is_dim, &text("max"));
        assert_error(x.argmin(dim), is_dim, &text("argmin"));
        assert_error(x.topk(1, dim), is_dim, &text("topk"));
        assert_error(x.logsumexp(dim), is_dim, &text("logsumexp"));
        assert_error(x.softmax(dim), is_dim, &text("softmax"));
        assert_error(x.log_softmax(dim), is_dim, &text("log_softmax"));
        assert_error(x.gather(dim, [[0]]), is_dim, &text("gather"));
        assert_error(x.scatter_add(dim, [[0]], &x), is_dim, &text("scatter_add"));
        assert_error(x.index_select(dim, [0]), is_dim, &text("index_select"));
        assert_error(x.select(dim, 0), is_dim, &text("select"));
        assert_error(x.narrow(dim, 0, 1), is_dim, &text("narrow"));
        assert_error(x.slice(dim, ..), is_dim, &text("slice"));
        assert_error(x.squeeze(dim), is_dim, &text("squeeze"));
        assert_error(x.transpose(0, dim), is_dim, &text("transpose"));
        assert_error(x.permute([dim, 0]), is_dim, &text("permute"));
        assert_error(Tensor::cat(&[&x, &x], dim), is_dim, &text("cat"));
    }
    for dim in [3, -4, isize::MAX, isize::MIN] {
        assert!(x.unsqueeze(dim).is_err_and(|error| is_dim(&error)));
        assert!(Tensor::stack(&[&x, &x], dim).is_err_and(|error| is_dim(&error)));
    }
    assert_error(x.sum([1, -1]), |error| matches!(error, Error::Dim { .. }), "sum: dim 1 is named twice");
    assert_error(
        x.permute([0, 0]),
        |error| matches!(error, Error::Dim { is_repeated: true, .. }),
        "permute: dim 0 is named twice",
    );
}

#[test]
fn indices_out_of_range_negative_ones_too() {
    let is_range = |error: &Error| matches!(error, Error::OutOfRange { .. });
    let x = matrix();
    for bad in [3, -1, i64::MAX, i64::MIN] {
        let text = |op: &str, at: &str| format!("{op}: index {bad} at {at} is not a position of [0, 3)");
        assert_error(x.gather(1, [[0, bad]]), is_range, &text("gather", "[0, 1]"));
        assert_error(x.scatter_add(1, [[0], [bad]], &x), is_range, &text("scatter_add", "[1, 0]"));
        assert_error(x.index_select(1, [0, 0, bad]), is_range, &text("index_select", "[2]"));
        let text = |op: &str| format!("{op}: target {bad} at [1] is not a class of [0, 3)");
        assert_error(x.cross_entropy([0, bad]), is_range, &text("cross_entropy"));
        assert_error(x.nll_loss([0, bad]), is_range, &text("nll_loss"));
        assert_error(accuracy(&x, [0, bad]), is_range, &text("accuracy"));
        let strict = NllLoss::new().ignore_index(None);
        assert_error(strict.forward(&x, [0, bad]), is_range, &text("nll_loss"));
        assert!(Indices::new([bad]).unwrap().one_hot::<f64>(3).is_err_and(|error| is_range(&error)));
    }
    assert_error(
        NllLoss::new().ignore_index(None).forward(&x, [-100, 0]),
        is_range,
        "nll_loss: target -100 at [0] is not a class of [0, 3)",
    );
    for index in [2, -3, isize::MAX, isize::MIN] {
        assert!(x.select(0, index).is_err_and(|error| is_range(&error)));
    }
    assert_error(x.get([1, 3]), is_range, "get: coordinate 3 at [1] is not a position of [0, 3)");
    for (start, length) in [(0, 3), (2, 1), (-3, 1), (isize::MIN, 0), (1, usize::MAX)] {
        assert!(matches!(x.narrow(0, start, length), Err(Error::Argument { op: "narrow", .. })));
    }
}

#[test]
fn an_empty_reduction_with_no_identity() {
    let is_empty = |error: &Error| matches!(error, Error::EmptyReduction { .. });
    let empty = Tensor::<f64>::zeros([2, 0]).unwrap();
    let text =
        |op: &str, dims: &str| format!("{op}: shape [2, 0] has no elements to reduce over dims {dims}");
    assert_error(empty.max(..), is_empty, &text("max", "[0, 1]"));
    assert_error(empty.min(1), is_empty, &text("min", "[1]"));
    assert_error(empty.argmax(..), is_empty, &text("argmax", "[0, 1]"));
    assert_error(empty.argmin(-1), is_empty, &text("argmin", "[1]"));
    assert_error(empty.max_with_indices(1), is_empty, &text("max_with_indices", "[1]"));
    assert_error(empty.min_with_indices(keepdim(1)), is_empty, &text("min_with_indices", "[1]"));
    // Those with an identity, and those of which nothing is asked, have a value.
    assert_eq!(empty.max(0).unwrap().shape(), &[0]);
    assert_eq!(empty.sum(1).unwrap().to_vec(), [0.0, 0.0]);
    assert_eq!(empty.logsumexp(..).unwrap().item().unwrap(), f64::NEG_INFINITY);
    assert!(empty.mean(..).unwrap().item().unwrap().is_nan());
}

#[test]
fn shapes_that_do_not_go_together() {
    let (x, y) = (matrix(), Tensor::from([1.0, 2.0]));
    let text = |op: &str| {
        format!(
            "{op}: shapes [2, 3] and [2] do not broadcast: sizes must be equal or 1, counted from the last dim"
        )
    };
    let is_broadcast = |error: &Error| matches!(error, Error::Broadcast { .. });
    assert_error(x.add(&y), is_broadcast, &text("add"));
    assert_error(x.sub(&y), is_broadcast, &text("sub"));
    assert_error(x.mul(&y), is_broadcast, &text("mul"));
    assert_error(x.div(&y), is_broadcast, &text("div"));
    assert_error(x.pow(&y), is_broadcast, &text("pow"));
    assert_error(x.maximum(&y), is_broadcast, &text("maximum"));
    assert_error(x.minimum(&y), is_broadcast, &text("minimum"));
    assert_error(x.lt(&y), is_broadcast, &text("lt"));
    assert_error(x.kl_div(&y), is_broadcast, &text("kl_div"));
    assert_error(x.where_cond(&Mask::new([true; 2]), &x), is_broadcast, &text("where_cond"));
    assert_error(x.masked_fill(&Mask::new([true; 2]), 0.0), is_broadcast, &text("masked_fill"));
    assert!(matches!(y.masked_fill(&Mask::new([[true; 2]; 2]), 0.0), Err(Error::Shape { .. })));
    assert!(x.broadcast_to([2, 2]).is_err_and(|error| is_broadcast(&error)));
    assert!(matches!(x.matmul(&x), Err(Error::Shape { op: "matmul", .. })));
    assert!(matches!(x.matmul(&Tensor::from(1.0)), Err(Error::Shape { op: "matmul", .. })));
    assert!(matches!(y.dot(&x.flatten().unwrap()), Err(Error::Shape { op: "dot", .. })));
    assert!(matches!(x.linear(&y, None), Err(Error::Shape { op: "linear", .. })));
    assert!(matches!(x.linear(&x, &Tensor::from([1.0; 3])), Err(Error::Shape { op: "linear", .. })));
    assert!(matches!(Tensor::cat(&[&x, &y], 0), Err(Error::Shape { op: "cat", .. })));
    assert!(matches!(Tensor::stack(&[&x, &y], 0), Err(Error::Shape { op: "stack", .. })));
    assert!(matches!(Tensor::<f64>::cat(&[], 0), Err(Error::Argument { op: "cat", .. })));
    assert!(matches!(x.cross_entropy([0, 1, 2]), Err(Error::Shape { op: "cross_entropy", .. })));
    assert!(matches!(x.cross_entropy(&y), Err(Error::Shape { op: "cross_entropy", .. })));
    assert!(matches!(Tensor::from(1.0).cross_entropy(0), Err(Error::Shape { op: "cross_entropy", .. })));
    let without_classes = Tensor::<f64>::zeros([1 << 56, 0]).unwrap();
    assert!(matches!(without_classes.cross_entropy(&without_classes), Err(Error::OutOfMemory { .. })));
    assert!(matches!(x.gather(1, [0, 1]), Err(Error::Shape { op: "gather", .. })));
    assert!(matches!(x.gather(0, [[0, 0, 0, 0]]), Err(Error::Shape { op: "gather", .. })));
    let value = Tensor::from(1.0);
    assert!(matches!(value.index_select(0, [0, 0]), Err(Error::Shape { op: "index_select", .. })));
    assert!(matches!(value.index_select(0, Vec::<i64>::new()), Err(Error::Shape { op: "index_select", .. })));
    assert_eq!(value.index_select(0, [0]).unwrap().item().unwrap(), 1.0);
    assert_eq!(value.topk(0, 0).unwrap().item().unwrap(), 0);
    assert!(matches!(value.topk(2, 0), Err(Error::Argument { op: "topk", .. })));
    assert!(matches!(x.permute([0]), Err(Error::Shape { op: "permute", .. })));
    assert!(matches!(x.get([1]), Err(Error::Shape { op: "get", .. })));
}

#[test]
fn single_values_asked_of_many() {
    let x = matrix().requires_grad();
    assert_error(
        x.item(),
        |error| matches!(error, Error::NotScalar { .. }),
        "item: a tensor of shape [2, 3] is not a single value; read it with to_vec()",
    );
    assert!(matches!(Tensor::<f64>::zeros(0).unwrap().item(), Err(Error::NotScalar { .. })));
    assert!(matches!(Indices::new([1, 2]).unwrap().item(), Err(Error::NotScalar { .. })));
    assert_eq!(Tensor::from([[[7.0]]]).item().unwrap(), 7.0);
    let y = x.square().unwrap();
    assert_error(
        y.backward(),
        |error| matches!(error, Error::NotScalar { op: "backward", .. }),
        "backward: a tensor of shape [2, 3] is not a single value; pass its upstream gradient",
    );
    assert!(x.grad().is_none());
    // One element is enough, whatever the rank.
    x.sum(keepdim([0, 1])).unwrap().backward().unwrap();
    // Nothing was released by the refusal.
    y.backward_with(&matrix()).unwrap();
}

#[test]
fn gradients_asked_of_constants() {
    let text = "backward: this tensor was not computed from any tensor that requires a gradient (or was, inside no_grad)";
    let is_untracked = |error: &Error| matches!(error, Error::NotTracked { .. });
    assert_error(Tensor::from(1.0).backward(), is_untracked, text);
    assert_error(matrix().backward_with(&matrix()), is_untracked, text);
    assert_error(Tensor::from(1.0).retain_grad(), is_untracked, &text.replace("backward:", "retain_grad:"));
    Tensor::from(1.0).zero_grad(); // no gradient, nothing to forget
    assert!(Tensor::from(1.0).grad().is_none());
}

#[test]
fn the_value_of_a_recorded_result_cannot_be_written() {
    let x = matrix().requires_grad();
    let mut y = x.square().unwrap();
    assert_error(
        y.as_mut_slice().map(|_| ()),
        |error| matches!(error, Error::NotLeaf { .. }),
        "as_mut_slice: the value of a recorded Square cannot be changed; detach() it first",
    );
    let mut detached = y.detach();
    detached.as_mut_slice().unwrap()[0] = 100.0;
    assert_eq!(y.as_slice()[0], 1.0);
}

/// What a panic says.
fn message_of(panicking: impl FnOnce() -> Tensor<f64>) -> String {
    let payload = catch_unwind(AssertUnwindSafe(panicking)).unwrap_err();
    *payload.downcast::<String>().unwrap()
}

#[test]
fn operators_panic_with_the_message_of_the_error() {
    let (x, y) = (matrix(), Tensor::from([1.0, 2.0]));
    assert_eq!(message_of(|| &x + &y), x.add(&y).unwrap_err().to_string());
    assert_eq!(message_of(|| &x - y.clone()), x.sub(&y).unwrap_err().to_string());
    assert_eq!(message_of(|| x.clone() * &y), x.mul(&y).unwrap_err().to_string());
    assert_eq!(message_of(|| x.clone() / y.clone()), x.div(&y).unwrap_err().to_string());
    let masks = catch_unwind(|| Mask::new([true; 2]) & Mask::new([true; 3])).unwrap_err();
    let expected = Mask::new([true; 2]).and(&Mask::new([true; 3])).unwrap_err().to_string();
    assert_eq!(*masks.downcast::<String>().unwrap(), expected);
}
