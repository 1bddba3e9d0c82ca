use super::{check, check1, check2, normal};
use tapegrad::{Indices, Tensor};

#[test]
fn gather_along_every_dim_with_duplicates() {
    // Squared before and after, so that both the picking and its opposite are differentiated.
    let x = normal([2, 3, 2]);
    let along_0 = Indices::from_vec(vec![0, 1, 1, 1, 0, 0], [1, 3, 2]).unwrap();
    let along_1 = Indices::from_vec(vec![2, 0, 2, 2, 1, 0, 0, 1], [2, 2, 2]).unwrap();
    let along_2 = Indices::from_vec(vec![1, 1, 1, 0, 0, 1, 0, 0, 0], [1, 3, 3]).unwrap();
    for (dim, index) in [(0, &along_0), (1, &along_1), (-2, &along_1), (2, &along_2), (-1, &along_2)] {
        check1(&x, |x| x.square()?.gather(dim, index)?.exp());
    }
    check1(&normal([3]), |x| x.gather(0, [2, 2, 0, 2])?.square());
    check1(&normal(()), |x| x.gather(0, 0)?.square());
    check1(&normal([2, 3]), |x| x.gather(1, [[1], [1]])?.square());
}

#[test]
fn scatter_add_along_every_dim_with_duplicates() {
    for dim in [0, 1, -1] {
        let index = [[1, 0, 1], [1, 1, 0]];
        check2(&normal([2, 3]), &normal([2, 3]), |x, source| {
            x.square()?.scatter_add(dim, index, &source.exp()?)?.square()
        });
        // A source that is larger than the index, and an index that is smaller than the tensor.
        check2(&normal([3, 4]), &normal([2, 3]), |x, source| {
            x.scatter_add(dim, [[0, 1], [0, 0]], source)?.square()
        });
    }
    check2(&normal([2, 3, 2]), &normal([1, 3, 1]), |x, source| {
        x.scatter_add(1, [[[2], [2], [0]]], source)?.square()
    });
    check1(&normal([3]), |x| x.scatter_add(0, [2, 2, 1], x)?.square());
    check2(&normal([2, 2]), &normal([2, 2]), |x, source| {
        let nothing = Indices::from_vec(vec![], [0]).unwrap();
        x.square()?.scatter_add(0, nothing, source)?.square()
    });
}

#[test]
fn index_select_along_every_dim_with_duplicates() {
    for (dim, index) in [(0, vec![1, 1, 0]), (1, vec![2, 0, 2]), (2, vec![0]), (-1, vec![1, 1, 1])] {
        check1(&normal([2, 3, 2]), |x| x.square()?.index_select(dim, &index)?.exp());
    }
    check1(&normal([3]), |x| x.index_select(0, Vec::<i64>::new())?.square());
    check1(&normal([3]), |x| x.index_select(0, 1)?.square());
    check1(&normal([4, 2]), |table| table.index_select(0, [3, 0, 3, 3])?.tanh());
}

#[test]
fn narrow_select_and_slices() {
    for dim in [0, 1, 2, -1] {
        check1(&normal([2, 3, 2]), |x| x.square()?.narrow(dim, 1, 1)?.exp());
        check1(&normal([2, 3, 2]), |x| x.square()?.narrow(dim, -2, 2)?.square());
        check1(&normal([2, 3, 2]), |x| x.square()?.select(dim, 1)?.exp());
        check1(&normal([2, 3, 2]), |x| x.select(dim, -1)?.square());
        check1(&normal([2, 3, 2]), |x| x.slice(dim, 1..)?.square());
    }
    check1(&normal([5]), |x| x.slice(0, ..=2)?.mul(&x.slice(0, 2..)?));
    check1(&normal([5]), |x| x.narrow(0, 2, 0)?.square());
}

#[test]
fn cat_along_every_dim() {
    let parts: [(isize, [usize; 3]); 4] = [(0, [1, 3, 2]), (1, [2, 2, 2]), (2, [2, 3, 1]), (-1, [2, 3, 3])];
    for (dim, other) in parts {
        check2(&normal([2, 3, 2]), &normal(other), |a, b| Tensor::cat(&[a, &b.exp()?], dim)?.square());
    }
    let (a, b, c) = (normal([2]), normal([3]), normal([0]));
    check(
        |inputs| Tensor::cat(&[&inputs[0], &inputs[2], &inputs[1], &inputs[0]], 0)?.square(),
        &[&a, &b, &c],
    );
    check1(&normal([2, 2]), |x| Tensor::cat(&[x], 0)?.square());
    // A skipped tensor of shape [0] has its gradient too: an empty one.
    check2(&normal([2, 2]), &normal([0]), |a, empty| Tensor::cat(&[empty, a], 1)?.square());
}

#[test]
fn stack_along_every_dim() {
    for dim in [0, 1, 2, -1, -3] {
        check2(&normal([2, 3]), &normal([2, 3]), |a, b| Tensor::stack(&[a, &b.exp()?, a], dim)?.square());
    }
    check2(&normal(()), &normal(()), |a, b| Tensor::stack(&[a, &b.exp()?], 0)?.square());
}

#[test]
fn rows_that_are_taken_apart_and_put_together_again() {
    check1(&normal([3, 2]), |x| {
        let rows =
            (0..3).map(|i| x.select(0, i)?.mul(i as f64 + 1.0)?.tanh()).collect::<Result<Vec<_>, _>>()?;
        Tensor::stack(&rows.iter().rev().collect::<Vec<_>>(), 0)
    });
}
