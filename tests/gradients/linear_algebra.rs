use super::{check, check1, check2, normal};

#[test]
fn matrix_products_of_all_ranks() {
    let shapes: [(&[usize], &[usize]); 15] = [
        (&[3], &[3]),
        (&[2], &[2, 3]),
        (&[2, 3], &[3]),
        (&[2, 3], &[3, 2]),
        (&[2, 2, 3], &[3]),
        (&[2], &[2, 2, 3]),
        (&[2, 2, 3], &[3, 2]),
        (&[2, 3], &[2, 3, 2]),
        (&[2, 2, 3], &[2, 3, 1]),
        (&[1, 2, 2], &[3, 2, 2]),
        (&[3, 1, 2], &[1, 2, 2]),
        (&[2, 1, 1, 2], &[2, 2, 1]),
        (&[2, 1, 2], &[1, 2, 2, 1]),
        (&[1, 1], &[1, 1]),
        (&[2, 1, 2, 1], &[1]),
    ];
    for (a, b) in shapes {
        check2(&normal(a), &normal(b).detach().add(0.5).unwrap().requires_grad(), |a, b| a.matmul(b));
    }
}

#[test]
fn products_that_are_used_further() {
    // A product alone has no third derivative by one operand; with its functions it has.
    check2(&normal([2, 2]), &normal([2, 3]), |a, b| a.matmul(b)?.tanh());
    check2(&normal([2, 1, 2]), &normal([2, 2]), |a, b| a.tanh()?.matmul(b)?.exp());
    check1(&normal([2, 2]), |x| x.matmul(x));
    check1(&normal([2, 2]), |x| x.matmul(x)?.matmul(x));
    check1(&normal([2, 3]), |x| x.matmul(&x.transpose(0, 1)?)?.exp()?.mul(0.1));
    check1(&normal([3]), |x| x.matmul(x)?.tanh());
}

#[test]
fn scalar_products() {
    check2(&normal([3]), &normal([3]), |a, b| a.dot(&b.exp()?));
    check1(&normal([3]), |x| x.dot(x)?.square());
}

#[test]
fn products_with_empty_operands() {
    check2(&normal([2, 0]), &normal([0, 3]), |a, b| a.matmul(b));
    check2(&normal([0, 2]), &normal([2, 3]), |a, b| a.matmul(b));
    check2(&normal([0, 2, 2]), &normal([2, 2]), |a, b| a.matmul(b)?.square());
}

#[test]
fn linear_layers_of_all_ranks() {
    let (weight, bias) = (normal([3, 2]), normal([3]));
    for shape in [&[2][..], &[2, 2], &[2, 1, 2], &[1, 2, 1, 2], &[0, 2]] {
        let x = normal(shape);
        check2(&x, &weight, |x, weight| x.linear(weight, None));
        check2(&x, &weight, |x, weight| x.linear(weight, None)?.tanh());
        check(|inputs| inputs[0].linear(&inputs[1], &inputs[2])?.tanh(), &[&x, &weight, &bias]);
        check(|inputs| inputs[0].linear(&inputs[1], &inputs[2]), &[&x.detach(), &weight.detach(), &bias]);
    }
}

#[test]
fn a_network_of_two_layers() {
    let (x, first, second) = (normal([3, 2]).detach(), normal([3, 2]), normal([2, 3]));
    check(
        |inputs| inputs[0].linear(&inputs[1], None)?.tanh()?.linear(&inputs[2], None)?.log_softmax(-1),
        &[&x, &first, &second],
    );
}

#[test]
fn a_weight_that_is_used_in_two_layers() {
    let (x, weight) = (normal([2, 2]), normal([2, 2]));
    check2(&x, &weight, |x, weight| x.linear(weight, None)?.tanh()?.linear(weight, None));
}
