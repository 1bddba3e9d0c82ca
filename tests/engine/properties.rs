//! Properties that hold for all shapes, against oracles that go index by index.

use proptest::prelude::*;
use proptest::sample::subsequence;
use tapegrad::{Error, Indices, Mask, Shape, Tensor, keepdim};

/// Sizes of 0 to 3, up to rank 4.
fn any_shape() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..4, 0..5)
}

/// Whole numbers from -8 to 8, so that sums are exact in any order.
fn tensor_of(shape: Vec<usize>) -> impl Strategy<Value = Tensor<f64>> {
    let count: usize = shape.iter().product();
    let values = prop::collection::vec((-8i32..=8).prop_map(f64::from), count);
    values.prop_map(move |values| Tensor::from_vec(values, shape.clone()).unwrap())
}

/// A tensor that has dims.
fn array() -> impl Strategy<Value = Tensor<f64>> {
    prop::collection::vec(0usize..4, 1..5).prop_flat_map(tensor_of)
}

fn any_tensor() -> impl Strategy<Value = Tensor<f64>> {
    any_shape().prop_flat_map(tensor_of)
}

/// A tensor that mostly broadcasts to the shape: sizes replaced by 1, leading ones left out, sometimes a
/// size that does not fit.
fn operand_for(shape: Vec<usize>) -> impl Strategy<Value = Tensor<f64>> {
    let sizes: Vec<_> =
        shape.iter().map(|&size| prop_oneof![6 => Just(size), 3 => Just(1), 1 => Just(2usize)]).collect();
    let rank = shape.len();
    (sizes, 0..=rank).prop_flat_map(|(sizes, skipped)| tensor_of(sizes[skipped..].to_vec()))
}

fn any_pair() -> impl Strategy<Value = (Tensor<f64>, Tensor<f64>)> {
    let pair = |shape: Vec<usize>| (operand_for(shape.clone()), operand_for(shape));
    any_shape().prop_flat_map(pair)
}

/// All coordinates of a shape in row-major order, by counting.
fn all_coordinates(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |all, &size| {
        let extended = all.iter().flat_map(|head| (0..size).map(move |i| [&head[..], &[i]].concat()));
        extended.collect()
    })
}

/// The common shape by the rule as NumPy states it; none if there is none.
fn common_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], dim: usize| {
        if dim + shape.len() < rank { 1 } else { shape[dim + shape.len() - rank] }
    };
    (0..rank)
        .map(|dim| match (size(a, dim), size(b, dim)) {
            (a, b) if a == b => Some(a),
            (1, size) | (size, 1) => Some(size),
            _ => None,
        })
        .collect()
}

/// Where an element of the common shape comes from.
fn source_of(coordinates: &[usize], shape: &[usize]) -> Vec<usize> {
    let own = &coordinates[coordinates.len() - shape.len()..];
    own.iter().zip(shape).map(|(&i, &size)| if size == 1 { 0 } else { i }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn binary_operations_broadcast_element_by_element((a, b) in any_pair()) {
        let Some(shape) = common_shape(a.shape(), b.shape()) else {
            prop_assert!(matches!(a.mul(&b), Err(Error::Broadcast { op: "mul", .. })), "{:?} {:?}", a, b);
            prop_assert!(a.lt(&b).is_err() && a.maximum(&b).is_err());
            return Ok(());
        };
        let at = |x: &Tensor<f64>, c: &[usize]| x.get(source_of(c, x.shape())).unwrap();
        let oracle = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
            all_coordinates(&shape).iter().map(|c| f(at(&a, c), at(&b, c))).collect()
        };
        let sum = a.add(&b).unwrap();
        prop_assert_eq!(&sum.shape()[..], &shape[..]);
        prop_assert_eq!(sum.to_vec(), oracle(&|a, b| a + b));
        prop_assert_eq!(a.sub(&b).unwrap().to_vec(), oracle(&|a, b| a - b));
        prop_assert_eq!(a.mul(&b).unwrap().to_vec(), oracle(&|a, b| a * b));
        prop_assert_eq!(a.maximum(&b).unwrap().to_vec(), oracle(&f64::max));
        prop_assert_eq!(a.minimum(&b).unwrap().to_vec(), oracle(&f64::min));
        let less = oracle(&|a, b| f64::from(u8::from(a < b)));
        prop_assert_eq!(a.lt(&b).unwrap().to_vec(), less.iter().map(|&less| less == 1.0).collect::<Vec<_>>());
        let mask = a.ge(&b).unwrap();
        prop_assert_eq!(a.where_cond(&mask, &b).unwrap().to_vec(), oracle(&|a, b| if a >= b { a } else { b }));
    }

    #[test]
    fn the_gradient_of_broadcasting_is_the_sum_over_the_copies((a, b) in any_pair()) {
        let Some(shape) = common_shape(a.shape(), b.shape()) else { return Ok(()) };
        let (a, b) = (a.requires_grad(), b.requires_grad());
        let upstream: Vec<f64> = (0..shape.iter().product()).map(|i: usize| (i % 7) as f64 - 3.0).collect();
        let upstream = Tensor::from_vec(upstream, shape.clone()).unwrap();
        a.mul(&b).unwrap().backward_with(&upstream).unwrap();
        for (own, other) in [(&a, &b), (&b, &a)] {
            let mut expected = vec![0.0; own.len()];
            let places = all_coordinates(own.shape());
            for (c, g) in all_coordinates(&shape).iter().zip(upstream.as_slice()) {
                let place = places.iter().position(|place| *place == source_of(c, own.shape())).unwrap();
                expected[place] += g * other.get(source_of(c, other.shape())).unwrap();
            }
            prop_assert_eq!(own.grad().unwrap().to_vec(), expected);
        }
    }

    #[test]
    fn broadcast_to_repeats_elements(shape in any_shape(), x in any_shape().prop_flat_map(operand_for)) {
        let fits = common_shape(x.shape(), &shape).is_some_and(|common| common == shape);
        match x.broadcast_to(&shape) {
            Ok(repeated) => {
                prop_assert!(fits);
                let expected: Vec<f64> =
                    all_coordinates(&shape).iter().map(|c| x.get(source_of(c, x.shape())).unwrap()).collect();
                prop_assert_eq!(repeated.to_vec(), expected);
            }
            Err(error) => prop_assert!(!fits && matches!(error, Error::Broadcast { .. }), "{}", error),
        }
    }

    #[test]
    fn reshape_keeps_the_order_and_comes_back(x in any_tensor(), cut in 0usize..5) {
        let flat = x.flatten().unwrap();
        prop_assert_eq!(flat.shape(), &Shape::from(x.len()));
        prop_assert_eq!(flat.to_vec(), x.to_vec());
        let back = flat.reshape(x.shape()).unwrap();
        prop_assert_eq!(back.shape(), x.shape());
        // Any neighbouring dims may be joined into one, and its size inferred.
        let cut = cut.min(x.rank());
        let rest: usize = x.shape()[cut..].iter().product();
        let mut sizes: Vec<isize> = x.shape()[..cut].iter().map(|&size| size as isize).collect();
        sizes.push(-1);
        let known: usize = x.shape()[..cut].iter().product();
        if known > 0 {
            let joined = x.reshape(&sizes).unwrap();
            prop_assert_eq!(joined.shape().last().copied(), Some(rest));
            prop_assert_eq!(joined.to_vec(), x.to_vec());
        } else {
            prop_assert!(x.reshape(&sizes).is_err(), "nothing says what -1 is");
        }
    }

    #[test]
    fn permute_moves_every_element_and_its_inverse_comes_back(
        (x, order) in any_tensor().prop_flat_map(|x| {
            let dims: Vec<isize> = (0..x.rank() as isize).collect();
            (Just(x), Just(dims).prop_shuffle())
        })
    ) {
        let permuted = x.permute(&order).unwrap();
        for c in all_coordinates(permuted.shape()) {
            let mut source = vec![0; x.rank()];
            order.iter().zip(&c).for_each(|(&dim, &i)| source[dim as usize] = i);
            prop_assert_eq!(permuted.get(&c).unwrap(), x.get(&source).unwrap());
        }
        let mut inverse = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, &from)| inverse[from as usize] = to as isize);
        let back = permuted.permute(&inverse).unwrap();
        prop_assert_eq!(back.shape(), x.shape());
        prop_assert_eq!(back.to_vec(), x.to_vec());
    }

    #[test]
    fn reductions_equal_naive_ones(
        (x, dims) in any_tensor().prop_flat_map(|x| {
            let dims: Vec<isize> = (0..x.rank() as isize).collect();
            let count = 0..=dims.len();
            (Just(x), subsequence(dims, count).prop_shuffle())
        }),
        from_the_end in any::<bool>(),
    ) {
        let is_reduced = |dim: usize| dims.contains(&(dim as isize));
        let kept_shape: Vec<usize> =
            x.shape().iter().enumerate().map(|(dim, &size)| if is_reduced(dim) { 1 } else { size }).collect();
        let groups: Vec<Vec<f64>> = all_coordinates(&kept_shape)
            .iter()
            .map(|kept| {
                let belongs = |c: &&Vec<usize>| (0..x.rank()).all(|dim| is_reduced(dim) || c[dim] == kept[dim]);
                all_coordinates(x.shape()).iter().filter(belongs).map(|c| x.get(c).unwrap()).collect()
            })
            .collect();
        let rank = x.rank() as isize;
        let dims: Vec<isize> = dims.iter().map(|dim| if from_the_end { dim - rank } else { *dim }).collect();

        let sum = x.sum(&dims[..]).unwrap();
        let expected: Vec<f64> = groups.iter().map(|group| group.iter().sum()).collect();
        prop_assert_eq!(sum.to_vec(), expected);
        let kept = x.sum(keepdim(&dims[..])).unwrap();
        prop_assert_eq!(&kept.shape()[..], &kept_shape[..]);
        prop_assert_eq!(kept.to_vec(), sum.to_vec());
        for (mean, group) in x.mean(&dims[..]).unwrap().to_vec().into_iter().zip(&groups) {
            let expected = group.iter().sum::<f64>() / group.len() as f64;
            prop_assert!(mean == expected || (mean.is_nan() && expected.is_nan()));
        }
        let fold = |start: f64, f: fn(f64, f64) -> f64| groups.iter().map(|group| group.iter().copied().fold(start, f)).collect::<Vec<_>>();
        match x.max(&dims[..]) {
            Ok(max) => {
                prop_assert_eq!(max.to_vec(), fold(f64::NEG_INFINITY, f64::max));
                prop_assert_eq!(x.min(&dims[..]).unwrap().to_vec(), fold(f64::INFINITY, f64::min));
            }
            Err(error) => {
                prop_assert!(matches!(error, Error::EmptyReduction { .. }), "{}", error);
                prop_assert!(!groups.is_empty() && groups.iter().all(Vec::is_empty));
            }
        }
        for (found, group) in x.logsumexp(&dims[..]).unwrap().to_vec().into_iter().zip(&groups) {
            let expected = group.iter().map(|x| x.exp()).sum::<f64>().ln();
            prop_assert!(found == expected || (found - expected).abs() < 1e-13, "{} {}", found, expected);
        }
        for (found, group) in x.var(&dims[..], 0.0).unwrap().to_vec().into_iter().zip(&groups) {
            let mean = group.iter().sum::<f64>() / group.len() as f64;
            let expected = group.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / group.len() as f64;
            prop_assert!((found.is_nan() && expected.is_nan()) || (found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn parts_put_together_again_are_the_whole(x in array(), dim in 0usize..4, cut in 0usize..4) {
        let dim = dim % x.rank();
        let (size, dim) = (x.shape()[dim], dim as isize);
        let cut = cut.min(size);
        let (head, tail) = (x.slice(dim, ..cut).unwrap(), x.narrow(dim, cut as isize, size - cut).unwrap());
        let whole = Tensor::cat(&[&head, &tail], dim).unwrap();
        prop_assert_eq!(whole.shape(), x.shape());
        prop_assert_eq!(whole.to_vec(), x.to_vec());
        if size > 0 {
            let entries: Vec<_> = (0..size as isize).map(|i| x.select(dim, i).unwrap()).collect();
            let stacked = Tensor::stack(&entries.iter().collect::<Vec<_>>(), dim).unwrap();
            prop_assert_eq!(stacked.to_vec(), x.to_vec());
        }
    }

    #[test]
    fn picking_and_adding_by_position_equal_naive_loops(
        (x, dim, index) in array().prop_flat_map(|x| {
            let rank = x.rank();
            (Just(x), 0..rank)
        }).prop_flat_map(|(x, dim)| {
            let size = x.shape()[dim];
            let index = prop::collection::vec(0..size.max(1) as i64, if size == 0 { 0..=0 } else { 0..=4 });
            (Just(x), Just(dim), index)
        })
    ) {
        let picked = x.index_select(dim as isize, &index).unwrap();
        for c in all_coordinates(picked.shape()) {
            let mut source = c.clone();
            source[dim] = index[c[dim]] as usize;
            prop_assert_eq!(picked.get(&c).unwrap(), x.get(&source).unwrap());
        }
        // The same picks as a gather: an index of the picked shape.
        let spread: Vec<i64> = all_coordinates(picked.shape()).iter().map(|c| index[c[dim]]).collect();
        let spread = Indices::from_vec(spread, picked.shape().clone()).unwrap();
        let gathered = x.gather(dim as isize, &spread).unwrap();
        prop_assert_eq!(gathered.to_vec(), picked.to_vec());
        // And added back: what was picked k times is there k times more.
        let back = x.scatter_add(dim as isize, &spread, &picked).unwrap();
        for c in all_coordinates(x.shape()) {
            let times = index.iter().filter(|&&i| i as usize == c[dim]).count() as f64;
            prop_assert_eq!(back.get(&c).unwrap(), x.get(&c).unwrap() * (1.0 + times));
        }
    }

    #[test]
    fn matrix_products_equal_naive_ones(
        (a, b) in (0usize..4, 0usize..4, 0usize..4, any::<[bool; 2]>(), 1usize..3, 1usize..3).prop_flat_map(
            |(n, k, m, batched, outer, inner)| {
                let a = if batched[0] { vec![outer, 1, n, k] } else { vec![n, k] };
                let b = if batched[1] { vec![inner, k, m] } else { vec![k, m] };
                (tensor_of(a), tensor_of(b))
            }
        )
    ) {
        let product = a.matmul(&b).unwrap();
        let (a_rank, b_rank) = (a.rank(), b.rank());
        let batch = common_shape(&a.shape()[..a_rank - 2], &b.shape()[..b_rank - 2]).unwrap();
        let (n, k, m) = (a.shape()[a_rank - 2], a.shape()[a_rank - 1], b.shape()[b_rank - 1]);
        prop_assert_eq!(&product.shape()[..], &[&batch[..], &[n, m]].concat()[..]);
        for c in all_coordinates(product.shape()) {
            let (head, tail) = c.split_at(batch.len());
            let at = |x: &Tensor<f64>, i: usize, j: usize| {
                let outer = source_of(head, &x.shape()[..x.rank() - 2]);
                x.get([&outer[..], &[i, j]].concat()).unwrap()
            };
            let expected: f64 = (0..k).map(|l| at(&a, tail[0], l) * at(&b, l, tail[1])).sum();
            prop_assert_eq!(product.get(&c).unwrap(), expected);
        }
        let transposed = b.transpose(-1, -2).unwrap();
        if transposed.rank() == 2 {
            prop_assert_eq!(a.linear(&transposed, None).unwrap().to_vec(), product.to_vec());
        }
    }

    #[test]
    fn the_greatest_elements_come_first(x in array(), dim in 0usize..4, k in 0usize..4) {
        let dim = dim % x.rank();
        let size = x.shape()[dim];
        let Ok(top) = x.topk(k, dim as isize) else {
            prop_assert!(k > size);
            return Ok(());
        };
        let values = x.gather(dim as isize, &top).unwrap();
        for c in all_coordinates(&x.shape().iter().enumerate().map(|(d, &n)| if d == dim { n.min(1) } else { n }).collect::<Vec<_>>()) {
            let line = |x: &Tensor<f64>| -> Vec<f64> {
                (0..x.shape()[dim]).map(|i| { let mut c = c.clone(); c[dim] = i; x.get(&c).unwrap() }).collect()
            };
            let mut sorted = line(&x);
            sorted.sort_by(|a, b| b.total_cmp(a));
            prop_assert_eq!(line(&values), &sorted[..k]);
        }
    }

    #[test]
    fn masks_fill_where_they_hold(
        (x, mask) in any_shape().prop_flat_map(|shape| {
            let count: usize = shape.iter().product();
            let mask = prop::collection::vec(any::<bool>(), count);
            let of = shape.clone();
            (tensor_of(shape), mask.prop_map(move |mask| Mask::from_vec(mask, of.clone()).unwrap()))
        })
    ) {
        let filled = x.masked_fill(&mask, 50.0).unwrap();
        let expected: Vec<f64> =
            x.as_slice().iter().zip(mask.as_slice()).map(|(&x, &masked)| if masked { 50.0 } else { x }).collect();
        prop_assert_eq!(filled.to_vec(), expected);
        prop_assert_eq!(mask.not().count() + mask.count(), x.len());
        prop_assert_eq!(filled.eq(50.0).unwrap(), mask);
    }

    /// Any numbers as sizes and dims: an answer or an error, never a panic or a wrong size.
    #[test]
    fn no_shape_and_no_dim_makes_anything_panic(
        x in any_tensor(),
        sizes in prop::collection::vec(prop_oneof![0usize..4, Just(usize::MAX), Just(1usize << 33), any::<usize>()], 0..5),
        signed in prop::collection::vec(prop_oneof![-2isize..5, Just(isize::MIN), Just(isize::MAX), any::<isize>()], 0..5),
        dim in prop_oneof![-5isize..5, Just(isize::MIN), Just(isize::MAX)],
        index in prop::collection::vec(prop_oneof![-2i64..4, any::<i64>()], 0..5),
    ) {
        let mib = 1usize << 20;
        let small = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).is_some_and(|product| product < mib);
        if small || sizes.iter().any(|&size| size > mib) {
            for result in [Tensor::<f32>::zeros(&sizes[..]).map(|x| x.len()), Tensor::<f64>::ones(&sizes[..]).map(|x| x.len())] {
                match result {
                    Ok(length) => prop_assert_eq!(Some(length), sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size))),
                    Err(error) => prop_assert!(matches!(error, Error::TooLarge { .. } | Error::OutOfMemory { .. }), "{}", error),
                }
            }
        }
        let _ = Tensor::from_vec(x.to_vec(), &sizes[..]);
        let _ = x.reshape(&signed);
        if small {
            let _ = x.broadcast_to(&sizes);
        }
        let _ = x.permute(&signed);
        let _ = (x.sum(dim), x.mean(&signed[..]), x.var(dim, 1.0), x.max(&signed[..]), x.argmax(dim), x.logsumexp(&signed[..]));
        let _ = (x.softmax(dim), x.log_softmax(dim), x.squeeze(dim), x.unsqueeze(dim), x.transpose(dim, 0));
        let _ = (x.select(dim, dim), x.narrow(dim, signed.first().copied().unwrap_or(0), sizes.first().copied().unwrap_or(1)));
        let _ = (x.slice(dim, sizes.first().copied().unwrap_or(0)..), x.topk(sizes.first().copied().unwrap_or(1), dim));
        let _ = (x.gather(dim, &index), x.index_select(dim, &index), x.scatter_add(dim, &index, &x));
        let _ = (Tensor::cat(&[&x, &x], dim), Tensor::stack(&[&x, &x], dim));
        let _ = (x.matmul(&x), x.dot(&x), x.linear(&x, None), x.get(&sizes));
        let _ = (x.cross_entropy(&index), x.nll_loss(&index), x.cross_entropy(&x));
    }
}
