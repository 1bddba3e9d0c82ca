use super::{apart, check, check1, check2, normal};
use tapegrad::{Conv2dOptions, MaxPool2dOptions};

#[test]
fn convolutions_with_all_options() {
    let plain = Conv2dOptions::new();
    let cases: [([usize; 4], [usize; 4], Conv2dOptions); 6] = [
        ([2, 2, 3, 3], [2, 2, 2, 2], plain),
        ([1, 1, 3, 2], [2, 1, 3, 3], plain.padding(1)),
        ([1, 2, 4, 3], [1, 2, 2, 1], plain.stride([2, 1]).dilation([2, 1])),
        ([1, 4, 2, 2], [2, 2, 2, 1], plain.groups(2).padding([0, 1])),
        ([2, 2, 2, 2], [2, 1, 1, 2], plain.groups(2).stride(2).padding(1)),
        ([0, 1, 2, 2], [1, 1, 2, 2], plain),
    ];
    for (input, weight, options) in cases {
        check2(&normal(input), &normal(weight), |x, weight| x.conv2d(weight, None, options));
    }
}

#[test]
fn convolutions_that_are_used_further() {
    let (x, weight, bias) = (normal([1, 2, 3, 3]), normal([2, 2, 2, 2]), normal([2]));
    let options = Conv2dOptions::new().padding([1, 0]);
    check(|inputs| inputs[0].conv2d(&inputs[1], &inputs[2], options)?.tanh(), &[&x, &weight, &bias]);
    check(
        |inputs| inputs[0].conv2d(&inputs[1], &inputs[2], options),
        &[&x.detach(), &weight.detach(), &bias],
    );
    check2(&normal([1, 3, 2]), &normal([1, 1, 1, 2]), |x, weight| {
        x.exp()?.mul(0.1)?.conv2d(weight, None, Conv2dOptions::new())?.square()
    });
    // The input is its own weight.
    check1(&normal([1, 1, 2, 2]), |x| x.conv2d(x, None, Conv2dOptions::new().padding(1)));
}

#[test]
fn largest_elements_of_windows() {
    let cases: [([usize; 4], MaxPool2dOptions); 4] = [
        ([2, 2, 4, 4], 2.into()),
        ([1, 2, 4, 3], MaxPool2dOptions::new([3, 2]).stride(1).padding([1, 0])),
        ([1, 1, 5, 5], MaxPool2dOptions::new(2).stride(3).padding(1)),
        ([0, 1, 2, 2], 2.into()),
    ];
    for (shape, options) in cases {
        check1(&apart(shape), |x| x.max_pool2d(options));
        check1(&apart(shape), |x| x.max_pool2d(options)?.tanh());
    }
    check1(&apart([1, 2, 2]), |x| x.max_pool2d([1, 2])?.square());
}

#[test]
fn a_small_convolutional_network() {
    let (x, kernel, weight) = (normal([2, 1, 4, 4]).detach(), normal([2, 1, 3, 3]), normal([3, 8]));
    check(
        |inputs| {
            let features = inputs[0].conv2d(&inputs[1], None, Conv2dOptions::new().padding(1))?;
            let features = features.tanh()?.max_pool2d(2)?.reshape([2, 8])?;
            features.linear(&inputs[2], None)?.cross_entropy([0, 2])
        },
        &[&x, &kernel, &weight],
    );
}
