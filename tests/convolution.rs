//! Convolution and pooling: PyTorch's numbers, and refusals in words. Their derivatives are checked by
//! finite differences beside those of the other operations.

use serde_json::Value as Json;
use tapegrad::{Conv2dOptions, Error, Float, MaxPool2dOptions, Result, Tensor};

/// Calls that were computed with PyTorch. All numbers are multiples of 1/16, so that sums are exact and
/// the results must be the same bits.
fn cases(op: &str) -> Vec<Json> {
    let all: Vec<Json> = serde_json::from_str(include_str!("data/convolution/convolution.json")).unwrap();
    all.into_iter().filter(|case| case["op"] == op).collect()
}

fn sizes(json: &Json) -> Vec<usize> {
    json.as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect()
}

fn pair(json: &Json) -> [usize; 2] {
    sizes(json).try_into().unwrap()
}

fn tensor<T: Float>(json: &Json) -> Tensor<T> {
    let values = json["values"].as_array().unwrap().iter();
    let values = values.map(|value| T::from_f64(value.as_f64().unwrap())).collect();
    Tensor::from_vec(values, sizes(&json["shape"])).unwrap()
}

#[track_caller]
fn assert_is<T: Float>(actual: &Tensor<T>, expected: &Json, what: &str) {
    let expected = tensor(expected);
    assert_eq!(actual.shape(), expected.shape(), "{what}");
    assert_eq!(actual.to_vec(), expected.to_vec(), "{what}");
}

fn conv2d_is_pytorchs<T: Float>() {
    for (number, case) in cases("conv2d").iter().enumerate() {
        let leaf = |name: &str| tensor::<T>(&case[name]).requires_grad();
        let (input, weight) = (leaf("input"), leaf("weight"));
        let bias = case.get("bias").map(|_| leaf("bias"));
        let options = Conv2dOptions::new().stride(pair(&case["stride"])).padding(pair(&case["padding"]));
        let options = options.dilation(pair(&case["dilation"]));
        let options = options.groups(case["groups"].as_u64().unwrap() as usize);
        let output = input.conv2d(&weight, bias.as_ref(), options).unwrap();
        assert_is(&output, &case["output"], &format!("output of case {number}"));
        output.backward_with(&tensor(&case["upstream"])).unwrap();
        assert_is(&input.grad().unwrap(), &case["grad_input"], &format!("input of case {number}"));
        assert_is(&weight.grad().unwrap(), &case["grad_weight"], &format!("weight of case {number}"));
        if let Some(bias) = bias {
            assert_is(&bias.grad().unwrap(), &case["grad_bias"], &format!("bias of case {number}"));
        }
    }
}

fn max_pool2d_is_pytorchs<T: Float>() {
    for (number, case) in cases("max_pool2d").iter().enumerate() {
        let input = tensor::<T>(&case["input"]).requires_grad();
        let options = MaxPool2dOptions::new(pair(&case["kernel"])).stride(pair(&case["stride"]));
        let output = input.max_pool2d(options.padding(pair(&case["padding"]))).unwrap();
        assert_is(&output, &case["output"], &format!("output of case {number}"));
        output.backward_with(&tensor(&case["upstream"])).unwrap();
        assert_is(&input.grad().unwrap(), &case["grad_input"], &format!("input of case {number}"));
    }
}

#[test]
fn values_and_gradients_are_pytorchs_in_either_precision() {
    assert_eq!((cases("conv2d").len(), cases("max_pool2d").len()), (8, 5));
    conv2d_is_pytorchs::<f64>();
    conv2d_is_pytorchs::<f32>();
    max_pool2d_is_pytorchs::<f64>();
    max_pool2d_is_pytorchs::<f32>();
}

#[test]
fn a_convolution_with_one_window_is_a_scalar_product_and_with_a_kernel_of_one_a_linear_layer() {
    let x = Tensor::new([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]);
    let weight = Tensor::new([[[[1.0, 0.5], [2.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]]]);
    let y = x.conv2d(&weight, &Tensor::new([100.0]), Conv2dOptions::new()).unwrap();
    assert_eq!((y.shape().to_vec(), y.to_vec()), (vec![1, 1, 1], vec![100.0 + 1.0 + 1.0 + 6.0 + 6.0 - 8.0]));
    let mix = Tensor::new([[[[1.0]], [[-1.0]]]]);
    let y = x.conv2d(&mix, None, Conv2dOptions::new()).unwrap();
    assert_eq!(y.to_vec(), [-4.0; 4]);
}

#[test]
fn the_tape_names_the_steps() {
    let x = Tensor::new([[[[1.0, 2.0], [3.0, 4.0]]]]);
    let weight = Tensor::new([[[[1.0]]]]).requires_grad();
    let y = x.conv2d(&weight, None, Conv2dOptions::new()).unwrap().max_pool2d(2).unwrap();
    assert_eq!(
        y.tape().to_string(),
        "%0  leaf                [1, 1, 1, 1]\n%1  Conv2d(const, %0)   [1, 1, 2, 2]\n%2  MaxPool2d(%1)       [1, 1, 1, 1]\n"
    );
}

#[track_caller]
fn assert_refused(result: Result<Tensor<f64>>, text: &str) {
    assert_eq!(result.err().map(|error| error.to_string()).as_deref(), Some(text));
}

#[test]
fn convolutions_that_make_no_sense_are_refused_in_words() {
    let zeros = |shape: &[usize]| Tensor::<f64>::zeros(shape).unwrap();
    let plain = Conv2dOptions::new();
    let conv =
        |input: &[usize], weight: &[usize], options| zeros(input).conv2d(&zeros(weight), None, options);
    assert_refused(
        conv(&[3, 3], &[1, 1, 1, 1], plain),
        "conv2d: the input of shape [3, 3] has rank 2, expected 4 (images, channels, height, width), or 3 for a single image",
    );
    assert_refused(
        conv(&[1, 1, 3, 3], &[1, 1, 1], plain),
        "conv2d: the weight of shape [1, 1, 1] has rank 3, expected 4 (outputs, channels, height, width)",
    );
    assert_refused(
        conv(&[1, 2, 3, 3], &[4, 3, 1, 1], plain),
        "conv2d: the weight has shape [4, 3, 1, 1], expected [4, 2, 1, 1]",
    );
    assert_refused(
        zeros(&[1, 2, 3, 3]).conv2d(&zeros(&[4, 2, 1, 1]), &zeros(&[1, 4]), plain),
        "conv2d: the bias has shape [1, 4], expected [4]",
    );
    assert_refused(
        conv(&[1, 1, 2, 9], &[1, 1, 3, 3], plain.dilation([2, 1]).padding([1, 0])),
        "conv2d: a kernel of 3 with dilation 2 does not fit a height of 2 with a padding of 1 on each side",
    );
    assert_refused(
        conv(&[1, 4, 3, 3], &[6, 2, 1, 1], plain.groups(4)),
        "conv2d: groups is 4 for 4 channels in and 6 out, it must be a divisor of both numbers of channels",
    );
    assert_refused(
        conv(&[1, 1, 3, 3], &[1, 1, 1, 1], plain.stride([0, 1])),
        "conv2d: stride is 0 along the height and 1 along the width, it must be at least 1",
    );
    for bad in [
        conv(&[1, 1, 3, 3], &[1, 1, 1, 1], plain.dilation(0)),
        conv(&[1, 1, 3, 3], &[1, 1, 1, 1], plain.groups(0)),
        conv(&[1, 1, 3, 3], &[1, 1, 0, 1], plain),
    ] {
        assert!(matches!(bad, Err(Error::Argument { op: "conv2d", .. })), "{bad:?}");
    }
}

#[test]
fn convolutions_beyond_all_bounds_are_refused() {
    let x = Tensor::<f64>::zeros([1, 1, 3, 3]).unwrap();
    let weight = Tensor::<f64>::zeros([2, 1, 2, 2]).unwrap();
    let conv = |options| x.conv2d(&weight, None, options);
    let plain = Conv2dOptions::new();
    for padding in [usize::MAX, usize::MAX / 2, isize::MAX as usize] {
        assert!(matches!(conv(plain.padding(padding)), Err(Error::KernelSize { .. })), "{padding}");
        assert!(matches!(conv(plain.dilation(padding)), Err(Error::KernelSize { .. })), "{padding}");
    }
    // Fits in a number, and no memory has it.
    assert!(matches!(conv(plain.padding(isize::MAX as usize / 4)), Err(Error::TooLarge { .. })));
    assert!(matches!(conv(plain.padding(1 << 25)), Err(Error::OutOfMemory { .. })));
    // A stride beyond the image leaves the one window that fits.
    assert_eq!(conv(plain.stride(usize::MAX)).unwrap().shape(), &[1, 2, 1, 1]);
    assert!(matches!(conv(plain.groups(usize::MAX)), Err(Error::Argument { .. })));
}

#[test]
fn pooling_that_makes_no_sense_is_refused_in_words() {
    let pool =
        |shape: &[usize], options: MaxPool2dOptions| Tensor::<f64>::zeros(shape).unwrap().max_pool2d(options);
    assert_refused(
        pool(&[3, 3], 2.into()),
        "max_pool2d: the input of shape [3, 3] has rank 2, expected 4 (images, channels, height, width), or 3 for a single image",
    );
    assert_refused(
        pool(&[1, 1, 3, 3], MaxPool2dOptions::new([3, 2]).padding([1, 2])),
        "max_pool2d: padding is 1 along the height and 2 along the width, it must be at most half of the kernel",
    );
    assert_refused(
        pool(&[1, 1, 3, 3], [2, 4].into()),
        "max_pool2d: a kernel of 4 with dilation 1 does not fit a width of 3 with a padding of 0 on each side",
    );
    for bad in [
        pool(&[1, 1, 3, 3], 0.into()),
        pool(&[1, 1, 3, 3], MaxPool2dOptions::new(2).stride(0)),
        pool(&[1, 1, 0, 3], MaxPool2dOptions::new(2).padding(1)),
        pool(&[1, 1, 3, 3], MaxPool2dOptions::new(usize::MAX).padding(usize::MAX / 2)).map_err(|error| {
            assert!(matches!(error, Error::KernelSize { .. }), "{error:?}");
            Error::Argument { op: "max_pool2d", name: "", value: String::new(), allowed: "" }
        }),
    ] {
        assert!(matches!(bad, Err(Error::Argument { op: "max_pool2d", .. })), "{bad:?}");
    }
    assert_eq!(pool(&[0, 2, 3, 3], 2.into()).unwrap().shape(), &[0, 2, 1, 1]);
    assert_eq!(pool(&[1, 1, 3, 3], MaxPool2dOptions::new(2).stride(usize::MAX)).unwrap().len(), 1);
    // A kernel that is far larger than the image, where the padding is too.
    let vast = MaxPool2dOptions::new(1 << 61).padding(1 << 60).stride(usize::MAX);
    assert_eq!(pool(&[1, 1, 3, 3], vast).unwrap().len(), 1);
}
