//! A row has the same result wherever it lies and whatever is computed beside it.

use super::targets::{ClassTargets, ProbabilityTargets, Smoothing, Upstream};
use super::{Rows, Summary, cross_entropy, softmax};
use crate::float::Float;
use crate::kernels::compensated::two_sum;

/// Rows of so many elements, side by side.
fn rows_of<T>(x: &[T], size: usize) -> Rows {
    Rows { count: x.len() / size, size, inner: 1 }
}

/// All of it as one row.
fn row_of<T>(x: &[T]) -> Rows {
    Rows { count: 1, size: x.len(), inner: 1 }
}

fn logsumexp(x: &[f64]) -> f64 {
    let mut out = [0.0];
    softmax::logsumexp(x, row_of(x), &mut out);
    out[0]
}

fn softmax_of(x: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    softmax::softmax(x, row_of(x), &mut out);
    out
}

#[test]
fn a_confident_prediction_has_a_small_loss_and_not_none() {
    let mut out = [0.0f32; 3];
    softmax::log_softmax(&[50.0f32, 0.0, 0.0], row_of(&[0; 3]), &mut out);
    assert_eq!(out[0], -(2.0 * (-50.0f64).exp()) as f32);
}

#[test]
fn infinities_follow_pytorch() {
    let inf = f64::INFINITY;
    assert_eq!(logsumexp(&[-inf, -inf]), -inf);
    assert_eq!(logsumexp(&[1.0, inf]), inf);
    assert_eq!(logsumexp(&[]), -inf);
    assert!(softmax_of(&[-inf, -inf])[0].is_nan());
    assert!(softmax_of(&[1.0, inf])[0].is_nan());
    assert!(logsumexp(&[1.0, f64::NAN, 2.0]).is_nan());
    assert_eq!(softmax_of(&[1.0, -inf]), [1.0, 0.0]);
}

#[test]
fn several_equal_maxima_leave_out_one_of_them() {
    assert_eq!(softmax_of(&[2.0; 4]), [0.25; 4]);
    let long = softmax_of(&vec![-3.0; 4096]);
    assert!(long.iter().all(|&p| p == 1.0 / 4096.0));
}

#[test]
fn rows_of_every_length_give_what_the_formula_says() {
    for (size, count) in
        (1..40).chain([127, 128, 129, 511, 512, 513, 1500]).flat_map(|size| [(size, 3), (size, 45)])
    {
        let x: Vec<f64> = (0..count * size).map(|i| ((i * 7919) % 101) as f64 * 0.07).collect();
        let mut out = vec![0.0; x.len()];
        softmax::softmax(&x, rows_of(&x, size), &mut out);
        for (x, out) in x.chunks(size).zip(out.chunks(size)) {
            let total: f64 = x.iter().map(|x| x.exp()).sum();
            for (x, out) in x.iter().zip(out) {
                assert!((out - x.exp() / total).abs() < 1e-14 * out, "{count} rows of {size}");
            }
        }
    }
}

/// Short rows are processed many at a time; none of them sees the others.
fn is_the_same_alone_and_among_many<T: Float>() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for size in [1, 2, 3, 5, 10, 16, 17, 100] {
        let usual: Vec<f64> = (0..size).map(|i| ((i * 7919) % 101) as f64 * 0.07 - 3.0).collect();
        let kinds: [&dyn Fn(usize) -> f64; 12] = [
            &|_| -inf,
            &|_| inf,
            &|_| nan,
            &|_| 0.7,
            &|i| if i == size / 2 { 50.0 } else { 0.0 },
            &|i| if i == size / 2 { 1e30 } else { -1e30 },
            &|i| if i == size / 2 { inf } else { i as f64 },
            &|i| if i == size / 2 { -inf } else { i as f64 },
            &|i| if i == size / 2 { nan } else { i as f64 },
            &|i| 5000.0 + 0.125 * i as f64,
            &|i| -90.0 * i as f64,
            &|i| 1e-40 * i as f64,
        ];
        let mut x = Vec::new();
        for kind in kinds {
            x.extend((0..3 * size).map(|i| T::from_f64(usual[i % size])));
            x.extend((0..size).map(|i| T::from_f64(kind(i))));
        }
        for function in [softmax::softmax, softmax::log_softmax] {
            let mut together = vec![T::zero(); x.len()];
            function(&x, rows_of(&x, size), &mut together);
            for (row, (x, together)) in x.chunks(size).zip(together.chunks(size)).enumerate() {
                let mut alone = vec![T::zero(); size];
                function(x, rows_of(x, size), &mut alone);
                for (&alone, &together) in alone.iter().zip(together) {
                    let difference = (alone - together).abs().to_f64();
                    let limit = 2.0 * T::epsilon().to_f64() * alone.abs().to_f64();
                    let is_same = alone == together || alone.is_nan() && together.is_nan();
                    assert!(is_same || difference <= limit, "row {row} of {size}: {alone} {together}");
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_many() {
    is_the_same_alone_and_among_many::<f32>();
    is_the_same_alone_and_among_many::<f64>();
}

/// Rows of several blocks in f32, whose maximum is not the one that was guessed, beside the same numbers in
/// f64, where nothing is guessed.
#[test]
fn a_maximum_after_the_first_block_is_as_good_as_one_in_it() {
    let ulps = |found: f32, exact: f64| {
        let spacing = f64::from(exact.abs() as f32).max(f64::from(f32::MIN_POSITIVE)).log2().floor() - 23.0;
        (f64::from(found) - exact).abs() / spacing.exp2()
    };
    for distance in [0.0f32, 0.01, 1.0, 3.7, 10.0, 13.9, 14.6, 20.5, 43.7, 44.4, 88.0, 4000.0, 1e30] {
        for (place, offset) in [(1024, 0.0f32), (3_000, -70.3), (5_000, 4094.0)] {
            let mut x: Vec<f32> = (0..5_001).map(|i| offset - ((i * 7919) % 1000) as f32 * 0.01).collect();
            x[place] = offset + distance;
            let double: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            let (mut p, mut exact) = (vec![0.0f32; 5_001], vec![0.0f64; 5_001]);
            softmax::softmax(&x, row_of(&x), &mut p);
            softmax::softmax(&double, row_of(&x), &mut exact);
            let worst = p.iter().zip(&exact).map(|(&p, &exact)| ulps(p, exact)).fold(0.0, f64::max);
            assert!(worst < 1.7, "softmax at a distance of {distance}, {place}: {worst} ulp");
            let (mut log_p, mut exact) = (vec![0.0f32; 5_001], vec![0.0f64; 5_001]);
            softmax::log_softmax(&x, row_of(&x), &mut log_p);
            softmax::log_softmax(&double, row_of(&x), &mut exact);
            let worst = log_p.iter().zip(&exact).map(|(&p, &exact)| ulps(p, exact)).fold(0.0, f64::max);
            assert!(worst < 1.0, "log_softmax at a distance of {distance}, {place}: {worst} ulp");
        }
    }
}

#[test]
fn what_comes_after_the_first_block_may_be_infinite_or_nan() {
    let row = |first: f32, place: usize, late: f32| {
        let mut x = vec![first; 2_100];
        x[place] = late;
        let mut p = vec![0.0; x.len()];
        softmax::softmax(&x, row_of(&x), &mut p);
        let mut lse = [0.0];
        softmax::logsumexp(&x, row_of(&x), &mut lse);
        (p, lse[0])
    };
    let inf = f32::INFINITY;
    let (p, lse) = row(-inf, 2_000, 5.0);
    assert!(p.iter().enumerate().all(|(i, &p)| p == if i == 2_000 { 1.0 } else { 0.0 }) && lse == 5.0);
    let (p, lse) = row(5.0, 1_024, -inf);
    assert!(p[1_024] == 0.0 && p.iter().filter(|&&p| p == 1.0 / 2_099.0).count() == 2_099);
    assert_eq!(lse, (5.0 + 2_099f64.ln()) as f32);
    for first in [0.0, -inf] {
        let (p, lse) = row(first, 1_500, inf);
        assert!(p[1_500].is_nan() && lse == inf);
        let (p, lse) = row(first, 1_500, f32::NAN);
        assert!(p.iter().all(|p| p.is_nan()) && lse.is_nan());
    }
}

/// Rows of every kind: ordinary, infinite, nan, confident, huge, equal.
fn block_of<T: Float>(outer: usize, size: usize, inner: usize) -> Vec<T> {
    let element = |i: usize| {
        let (c, row) = (i / inner % size, i % inner + i / (size * inner));
        let ordinary = ((i * 7919) % 1013) as f64 * 0.01 - 5.0;
        match row % 11 {
            3 if c == 1 => f64::INFINITY,
            4 if c == size - 1 => f64::NAN,
            5 => ordinary * 10.0,
            6 if c == row % size => 40.0,
            7 => 1e6 + ordinary,
            8 => f64::NEG_INFINITY,
            9 => 1.0,
            _ => ordinary,
        }
    };
    (0..outer * size * inner).map(|i| T::from_f64(element(i))).collect()
}

/// The same with the elements of each row one after the other.
fn turned<T: Copy>(x: &[T], size: usize, inner: usize) -> Vec<T> {
    let at = |i: usize| i / (size * inner) * size * inner + i % size * inner + i / size % inner;
    (0..x.len()).map(|i| x[at(i)]).collect()
}

fn assert_close<T: Float>(across: &[T], along: &[T], case: &str) {
    assert_rows_are_close(across, along, 1, case);
}

/// Each element is as close as the greatest of its row makes rounding errors: p A - a is a difference.
fn assert_rows_are_close<T: Float>(across: &[T], along: &[T], size: usize, case: &str) {
    for (row, (across, along)) in across.chunks(size).zip(along.chunks(size)).enumerate() {
        let greatest = along.iter().fold(T::min_positive_value(), |max, x| max.max(x.abs())).to_f64();
        for (&a, &b) in across.iter().zip(along) {
            let (a, b) = (a.to_f64(), b.to_f64());
            let is_close = (a - b).abs() <= 8.0 * T::epsilon().to_f64() * greatest;
            assert!(a == b || is_close || a.is_nan() && b.is_nan(), "{case}, row {row}: {a} and {b}");
        }
    }
}

/// All formulas over rows that lie across, beside the same rows along; short ones and long ones, few and many.
fn is_the_same_across_and_along<T: Float>() {
    let shapes =
        [(2, 1, 64), (2, 3, 32), (3, 21, 100), (1, 150, 40), (2, 256, 33), (1, 2, 20_000), (1, 20, 37)];
    for (outer, size, inner) in shapes {
        let case = format!("{outer} x {size} x {inner}, {:?}", T::DTYPE);
        let count = outer * inner;
        let (strided, side_by_side) = (Rows { count, size, inner }, Rows { count, size, inner: 1 });
        let x = block_of::<T>(outer, size, inner);
        let along = turned(&x, size, inner);
        let g: Vec<T> = (0..x.len()).map(|i| T::from_f64((i * 31 % 17) as f64 - 8.0)).collect();
        let g_along = turned(&g, size, inner);
        let (mut a, mut b) = (x.clone(), x.clone());
        softmax::softmax(&x, strided, &mut a);
        softmax::softmax(&along, side_by_side, &mut b);
        assert_close(&turned(&a, size, inner), &b, &case);
        let p = a.clone();
        softmax::softmax_gradient(&p, &g, strided, &mut a);
        softmax::softmax_gradient(&turned(&p, size, inner), &g_along, side_by_side, &mut b);
        assert_close(&turned(&a, size, inner), &b, &case);
        softmax::log_softmax(&x, strided, &mut a);
        softmax::log_softmax(&along, side_by_side, &mut b);
        assert_close(&turned(&a, size, inner), &b, &case);
        softmax::log_softmax_gradient(&x, &g, strided, &mut a);
        softmax::log_softmax_gradient(&along, &g_along, side_by_side, &mut b);
        assert_close(&turned(&a, size, inner), &b, &case);

        let rounded = |losses: &[f64]| losses.iter().map(|&loss| T::from_f64(loss)).collect::<Vec<_>>();
        let of_rows: Vec<T> = (0..count).map(|i| T::from_f64(i as f64 - 3.0)).collect();
        let class = |i: usize| if i.is_multiple_of(7) { -100 } else { (i % size) as i64 };
        let classes: Vec<i64> = (0..count).map(class).collect();
        let uneven: Vec<T> = (0..size).map(|c| T::from_f64(1.0 + c as f64)).collect();
        for (weight, e) in [(None, 0.0), (Some(&uneven[..]), 0.0), (None, 0.1), (Some(&uneven[..]), 0.1)] {
            let case = format!("{case}, weights: {}, smoothing {e}", weight.is_some());
            let total_weight = weight.map_or_else(
                || [size as f64].into_iter().collect(),
                |weight| weight.iter().map(|&w| w.to_f64()).collect(),
            );
            let (target, target_low) = two_sum(1.0, -e);
            let smoothing = Smoothing { target, target_low, every: e / size as f64, total_weight };
            let targets = ClassTargets { classes: &classes, ignored: -100, weight, smoothing };
            let upstream = Upstream { factor: 0.3, of_rows: weight.map(|_| &of_rows[..]) };
            let (mut losses_a, mut losses_b) = (vec![7.0; count], vec![7.0; count]);
            let (mut read_a, mut read_b) = (vec![Summary::default(); count], vec![Summary::default(); count]);
            cross_entropy::class_losses(&x, strided, targets, &mut read_a, &mut losses_a);
            cross_entropy::class_losses(&along, side_by_side, targets, &mut read_b, &mut losses_b);
            assert_close(&rounded(&losses_a), &rounded(&losses_b), &case);
            cross_entropy::class_gradients(Some(&x), strided, targets, &read_a, upstream, &mut a);
            cross_entropy::class_gradients(Some(&along), side_by_side, targets, &read_b, upstream, &mut b);
            assert_rows_are_close(&turned(&a, size, inner), &b, size, &case);
            a.copy_from_slice(&x);
            cross_entropy::class_gradients(None, strided, targets, &read_a, upstream, &mut a);
            assert_rows_are_close(&turned(&a, size, inner), &b, size, &case);
            a.copy_from_slice(&along);
            cross_entropy::class_gradients(None, side_by_side, targets, &read_b, upstream, &mut a);
            assert_close(&a, &b, &case);
            if e == 0.0 {
                let mut again = vec![7.0; count];
                let (c, d) = (&mut again, &mut a);
                cross_entropy::class_losses_and_gradients(&x, strided, targets, upstream, c, d);
                assert_close(&rounded(c), &rounded(&losses_b), &case);
                assert_close(&turned(d, size, inner), &b, &case);
                cross_entropy::class_losses_and_gradients(&along, side_by_side, targets, upstream, c, d);
                assert_close(&rounded(c), &rounded(&losses_b), &case);
                assert_close(d, &b, &case);
            }
            let q: Vec<T> = (0..x.len()).map(|i| T::from_f64((i * 13 % 7) as f64 * 0.25)).collect();
            let q_along = turned(&q, size, inner);
            let ones = vec![T::one(); size];
            let weight = weight.unwrap_or(&ones);
            let across = ProbabilityTargets { probabilities: &q, weight, smoothing };
            let targets = ProbabilityTargets { probabilities: &q_along, ..across };
            cross_entropy::probability_losses(&x, strided, across, &mut read_a, &mut losses_a);
            cross_entropy::probability_losses(&along, side_by_side, targets, &mut read_b, &mut losses_b);
            assert_close(&rounded(&losses_a), &rounded(&losses_b), &case);
            cross_entropy::probability_gradients(Some(&x), strided, across, &read_a, upstream, &mut a);
            cross_entropy::probability_gradients(
                Some(&along),
                side_by_side,
                targets,
                &read_b,
                upstream,
                &mut b,
            );
            assert_rows_are_close(&turned(&a, size, inner), &b, size, &case);
            a.copy_from_slice(&x);
            cross_entropy::probability_gradients(None, strided, across, &read_a, upstream, &mut a);
            assert_rows_are_close(&turned(&a, size, inner), &b, size, &case);
        }
    }
}

#[test]
fn rows_that_lie_across_are_processed_like_others() {
    is_the_same_across_and_along::<f32>();
    is_the_same_across_and_along::<f64>();
}
