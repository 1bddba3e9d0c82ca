use super::{Binary, Unary, apart, between, check, check1, check2, normal, rng};
use tapegrad::{GradCheck, Mask, Tensor, gradcheck};

#[test]
fn smooth_functions_of_one_tensor() {
    let functions: [Unary; 9] = [
        Tensor::neg,
        Tensor::exp,
        Tensor::expm1,
        Tensor::square,
        Tensor::tanh,
        Tensor::sigmoid,
        Tensor::softplus,
        Tensor::gelu,
        |x| x.clamp(-100.0, 100.0),
    ];
    for function in functions {
        check1(&normal([2, 3]), function);
        check1(&normal(()), function);
        check1(&normal([0, 2]), function);
    }
}

#[test]
fn functions_with_a_pole_or_an_edge_at_zero() {
    for function in [Tensor::log, Tensor::sqrt, Tensor::reciprocal] {
        check1(&between(0.5, 3.0, [2, 3]), function);
    }
    check1(&between(-3.0, -0.5, [2, 3]), Tensor::reciprocal);
    check1(&between(-0.5, 2.0, [2, 3]), Tensor::log1p);
}

#[test]
fn the_far_tails_of_saturating_functions() {
    // One element at a time: elsewhere the tolerance is relative to larger derivatives.
    let functions: [Unary; 4] = [Tensor::softplus, Tensor::gelu, Tensor::sigmoid, Tensor::tanh];
    for function in functions {
        for x in [-30.0, -12.0, -6.0, 6.0, 12.0, 19.0, 21.0] {
            let x = Tensor::from([x]).requires_grad();
            gradcheck(|inputs| function(&inputs[0]), &[&x], &mut rng(3)).unwrap();
        }
        check1(&Tensor::from([-4.0]).requires_grad(), function);
        check1(&Tensor::from([4.0]).requires_grad(), function);
    }
}

#[test]
fn functions_with_kinks() {
    // Multiplied by x, so that the higher derivatives are not all zero.
    for function in [Tensor::abs, Tensor::relu] {
        check1(&apart([2, 3]), |x| function(x)?.mul(x));
    }
    check1(&apart([2, 3]), |x| x.clamp(-0.5, 0.25)?.mul(x));
    check1(&apart([2, 3]), |x| x.clamp(-0.5, None)?.mul(x));
    check1(&apart([2, 3]), |x| x.clamp(None, 0.25)?.mul(x));
}

#[test]
fn arithmetic_of_two_tensors_in_all_broadcasting_forms() {
    let functions: [Binary; 4] = [|a, b| a.add(b), |a, b| a.sub(b), |a, b| a.mul(b), |a, b| a.div(b)];
    let shapes: [(&[usize], &[usize]); 9] = [
        (&[2, 3], &[2, 3]),
        (&[2, 3], &[3]),
        (&[3], &[2, 3]),
        (&[2, 1], &[1, 3]),
        (&[], &[2, 2]),
        (&[2, 2], &[]),
        (&[2, 1, 2], &[3, 1]),
        (&[1], &[]),
        (&[0, 2], &[1, 2]),
    ];
    for function in functions {
        for (a, b) in shapes {
            check2(&normal(a), &between(0.5, 2.0, b), function);
        }
    }
}

#[test]
fn arithmetic_with_numbers_on_either_side() {
    let x = between(0.5, 2.0, [2, 2]);
    check1(&x, |x| x.add(2.5));
    check1(&x, |x| x.sub(2.5));
    check1(&x, |x| x.mul(2.5));
    check1(&x, |x| x.div(2.5));
    check1(&x, |x| Ok(2.5 + x));
    check1(&x, |x| Ok(2.5 - x));
    check1(&x, |x| Ok(2.5 * x));
    check1(&x, |x| Ok(2.5 / x));
    check1(&x, |x| Ok(-(x * x) / (x + 1.0)));
}

#[test]
fn the_same_tensor_on_both_sides() {
    let x = between(0.5, 2.0, [2, 3]);
    let functions: [Binary; 7] = [
        |a, b| a.add(b),
        |a, b| a.sub(b),
        |a, b| a.mul(b),
        |a, b| a.div(b),
        |a, b| a.pow(b),
        |a, b| a.maximum(b)?.mul(a),
        |a, b| a.minimum(b)?.mul(a),
    ];
    for function in functions {
        check1(&x, |x| function(x, x));
    }
}

#[test]
fn powers_with_a_number_as_exponent() {
    for exponent in [-2.0, -0.5, 0.5, 1.0, 2.0, 2.5, 3.0, 5.0] {
        check1(&between(0.5, 2.0, [2, 2]), |x| x.pow(exponent));
    }
    // Integer powers of negative numbers.
    for exponent in [-1.0, 1.0, 2.0, 3.0, 4.0] {
        check1(&between(-2.0, -0.5, [2, 2]), |x| x.pow(exponent));
    }
    check1(&normal([2, 2]), |x| x.pow(0.0)?.mul(x));
}

#[test]
fn powers_with_a_tensor_as_exponent() {
    check2(&between(0.5, 2.0, [2, 3]), &normal([2, 3]), |a, b| a.pow(b));
    check2(&between(0.5, 2.0, [2, 1]), &normal([3]), |a, b| a.pow(b));
    check2(&between(0.5, 2.0, ()), &normal([2, 2]), |a, b| a.pow(b));
    let exponents = Tensor::from([2.0, 3.0, -1.0]);
    check(|inputs| inputs[0].pow(&inputs[1]), &[&between(-2.0, -0.5, [2, 3]), &exponents]);
}

#[test]
fn powers_of_zero_have_their_derivatives() {
    // Without a nan from 0 times infinity, at any order.
    let zero = Tensor::from([0.0, 0.5]).requires_grad();
    for exponent in [0.0, 1.0, 2.0, 3.0, 4.0] {
        check1(&zero, |x| x.pow(exponent)?.mul(&x.add(1.0)?));
    }
    // By the exponent, 0^b is flat. By both, a^b needs room on either side of a.
    let exponents = Tensor::from([1.5, 2.0]).requires_grad();
    check(|inputs| inputs[0].pow(&inputs[1]), &[&zero.detach(), &exponents]);
    // x^0 does not change with x, but its derivative changes with the exponent.
    let exponents = Tensor::from([0.0, 0.0]).requires_grad();
    check2(&between(0.5, 2.0, [2]), &exponents, |a, b| a.pow(b));
}

#[test]
fn the_greater_and_the_lesser_of_two_tensors() {
    let functions: [Binary; 2] = [|a, b| a.maximum(b)?.mul(a)?.mul(b), |a, b| a.minimum(b)?.mul(a)?.mul(b)];
    for function in functions {
        let b = Tensor::from([[0.0, 0.25, -0.5], [0.5, 0.0, -0.25]]).requires_grad();
        check2(&apart([2, 3]), &b, function);
        check2(&apart([2, 3]), &Tensor::from(0.25).requires_grad(), function);
        check2(&apart([2, 1]), &Tensor::from([0.0, 0.5]).requires_grad(), function);
    }
    check1(&apart([2, 3]), |x| x.maximum(0.25)?.mul(x));
}

#[test]
fn equal_operands_of_maximum_share_the_gradient() {
    // At a tie the symmetric difference quotient gives half, and so does the rule. Only with the first
    // derivative: the second one does not exist there.
    let a = Tensor::from([1.0, -0.5]).requires_grad();
    let functions: [Binary; 2] = [|a, b| a.maximum(b), |a, b| a.minimum(b)];
    for function in functions {
        gradcheck(|inputs| function(&inputs[0], &inputs[1]), &[&a, &a], &mut rng(7)).unwrap();
    }
}

#[test]
fn choosing_by_a_mask() {
    let mask = Mask::new([[true, false, true], [false, false, true]]);
    let row = Mask::new([true, false, true]);
    let shapes: [(&[usize], &[usize]); 4] =
        [(&[2, 3], &[2, 3]), (&[3], &[2, 1]), (&[], &[2, 3]), (&[1, 3], &[])];
    for (a, b) in shapes {
        for mask in [&mask, &row] {
            // Squared, so that the higher derivatives are not all zero.
            check2(&normal(a), &normal(b), |a, b| a.square()?.where_cond(mask, &b.exp()?));
        }
    }
    check1(&normal([2, 3]), |x| x.where_cond(&mask, 1.5)?.mul(x));
    check1(&normal([2, 3]), |x| x.masked_fill(&mask, 1.5)?.square());
    check1(&normal([2, 3]), |x| x.masked_fill(&row, -2.0)?.square());
    check1(&normal([2, 3]), |x| x.square()?.masked_fill(&Mask::new([[true], [false]]), 0.0));
}

#[test]
fn a_filled_element_has_no_gradient_even_where_the_function_has_no_value() {
    let x = Tensor::from([-1.0, 0.5, 2.0]).requires_grad();
    check1(&x, |x| {
        let negative = x.lt(0.0)?;
        x.masked_fill(&negative, 1.0)?.log()
    });
}

#[test]
fn a_long_expression() {
    let functions = |x: &Tensor<f64>, y: &Tensor<f64>| {
        let z = (x * y).tanh()? + x.sigmoid()? / (y.square()? + 1.0);
        z.exp()?.mul(&(x - y).gelu()?)?.sub(&z.softplus()?.log1p()?)
    };
    check2(&normal([2, 2]), &normal([2]), functions);
    // To the fifth order, for once.
    let x = normal([2]);
    GradCheck::new().order(5).tolerance(1e-8).check(|x| x[0].tanh()?.exp(), &[&x], &mut rng(1)).unwrap();
}
