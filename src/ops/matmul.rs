//! Products of matrices and vectors.
//!
//! For C = A B and the gradient G of C, the gradients are G B^T for A and A^T G for B. A product is
//! recorded with flags that say which operand is read transposed, so that neither [`linear`] nor any
//! rule ever copies a matrix to transpose it.
//!
//! [`linear`]: Tensor::linear

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::copies::strided::for_each_row;
use crate::kernels::matmul::matrix::Matrix;
use crate::kernels::matmul::{matmul, matmul_add_rows};
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;

compiled! { impl Tensor<T>:
    /// The matrix product, by PyTorch's rules for the ranks: for matrices (n, k) and (k, m) the result
    /// is (n, m); a vector on the left counts as (1, k) and one on the right as (k, 1), and that dim
    /// disappears again; further dims in front are batches and broadcast.
    ///
    /// # Errors
    /// [`Error::Shape`] for a single value, and if the inner sizes differ;
    /// [`Error::Broadcast`] for batches that do not fit, [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn matmul(&self, other: &Tensor<T>) -> Result<Self> {
        let op = "matmul";
        for tensor in [self, other] {
            if tensor.rank() == 0 {
                let (what, expected) = ("an operand", "at least 1 (multiply by a single value with mul)");
                return Err(Error::Shape { op, what, expected: expected.into(), actual: vec![] });
            }
        }
        let left = if self.rank() == 1 { &self.unsqueeze(0)? } else { self };
        let right = if other.rank() == 1 { &other.unsqueeze(1)? } else { other };
        let mut product = multiply(op, left, false, right, false)?;
        if other.rank() == 1 {
            product = product.squeeze(-1)?;
        }
        if self.rank() == 1 {
            product = product.squeeze(if other.rank() == 1 { -1 } else { -2 })?;
        }
        Ok(product)
    }

    /// The scalar product of two vectors of equal length, sum a b.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both have one dim and the same length.
    pub fn dot(&self, other: &Tensor<T>) -> Result<Self> {
        let op = "dot";
        for vector in [self, other] {
            if vector.rank() != 1 {
                let shape = vector.shape().to_vec();
                return Err(Error::Shape { op, what: "an operand", expected: "1".into(), actual: shape });
            }
        }
        if self.shape() != other.shape() {
            let (expected, actual) = (self.shape().to_vec(), other.shape().to_vec());
            return Err(Error::Shape { op, what: "the other vector", expected: expected.into(), actual });
        }
        self.matmul(other)
    }
}

impl<T: Float> Tensor<T> {
    /// x W^T + b: the layer of a neural network (PyTorch's `torch.nn.functional.linear`). For x of
    /// shape (.., inputs), a weight of shape (outputs, inputs) and a bias of shape (outputs), the
    /// result is (.., outputs).
    ///
    /// ```
    /// # use tapegrad::Tensor;
    /// let x = Tensor::new([[1.0, 2.0]]);
    /// let weight = Tensor::new([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
    /// let bias = Tensor::new([0.5, 0.5, 0.5]);
    /// assert_eq!(x.linear(&weight, &bias)?.to_vec(), [1.5, 2.5, 3.5]);
    /// assert_eq!(x.linear(&weight, None)?.to_vec(), [1.0, 2.0, 3.0]);
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if the weight is no matrix, if x is a single value, and if the sizes differ;
    /// [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub fn linear<'a>(&self, weight: &Tensor<T>, bias: impl Into<Option<&'a Tensor<T>>>) -> Result<Self> {
        linear(self, weight, bias.into())
    }
}

compiled! {
    fn linear<T>(x: &Tensor<T>, weight: &Tensor<T>, bias: Option<&Tensor<T>>) -> Result<Tensor<T>> {
        let op = "linear";
        let expect_rank = |tensor: &Tensor<T>, what, holds: bool, expected: &'static str| {
            if holds {
                Ok(())
            } else {
                Err(Error::Shape { op, what, expected: expected.into(), actual: tensor.shape().to_vec() })
            }
        };
        expect_rank(x, "the input", x.rank() >= 1, "at least 1")?;
        expect_rank(weight, "the weight", weight.rank() == 2, "2")?;
        if let Some(bias) = bias
            && bias.shape()[..] != weight.shape()[..1]
        {
            let (expected, actual) = (weight.shape()[..1].to_vec(), bias.shape().to_vec());
            return Err(Error::Shape { op, what: "the bias", expected: expected.into(), actual });
        }
        let (outputs, inputs) = (weight.shape()[0], weight.shape()[1]);
        let last = x.rank() - 1;
        if x.shape()[last] != inputs {
            let (expected, actual) = (vec![outputs, x.shape()[last]], weight.shape().to_vec());
            return Err(Error::Shape { op, what: "the weight", expected: expected.into(), actual });
        }
        let (shape, rows) = (x.shape().with_size(last, outputs), x.shape()[..last].iter().product());
        shape.checked_elements(op)?;
        let value = Tensor::compute(shape, |out| {
            let sizes = [rows, inputs, outputs];
            let x = matrix(x.as_slice(), rows, inputs, false);
            let transposed = matrix(weight.as_slice(), inputs, outputs, true);
            match bias {
                Some(bias) => matmul_add_rows(sizes, x, transposed, bias.as_slice(), out),
                None => matmul(sizes, x, transposed, out),
            }
        })?;
        let step = Step::new(Linear { rows, has_bias: bias.is_some() });
        let step = step.input_saved_if(weight.is_tracked(), x).input_saved_if(x.is_tracked(), weight);
        Ok(if let Some(bias) = bias { step.input(bias) } else { step }.record(value))
    }
}

/// y = x W^T + b: dx = G W, dW = G^T x, and db is the sum of the rows of G.
struct Linear {
    /// How many vectors x holds, whatever its shape.
    rows: usize,
    has_bias: bool,
}

impl<T: Float> Backward<T> for Linear {
    fn name(&self) -> &'static str {
        "Linear"
    }
    fn formula(&self) -> &'static str {
        if self.has_bias { "y = x Wᵀ + b" } else { "y = x Wᵀ" }
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let (last, shape) = (grad.rank() - 1, grad.shape().clone());
        let rows = |tensor: &Tensor<T>| match tensor.rank() {
            2 => Ok(tensor.clone()),
            rank => tensor.reshape([self.rows, tensor.shape()[rank - 1]]),
        };
        let grad = rows(&grad)?;
        let gradients = step
            .gradients()
            .input(0, || {
                let weight = step.input(1)?;
                let dx = multiply("linear", &grad, false, weight, false)?;
                if last == 1 { Ok(dx) } else { dx.reshape(shape.with_size(last, weight.shape()[1])) }
            })?
            .input(1, || multiply("linear", &grad, true, &rows(step.input(0)?)?, false))?;
        if self.has_bias { gradients.input(2, || grad.sum(0)) } else { Ok(gradients) }
    }
}

/// The product of two batches of matrices, each read transposed if its flag says so.
fn multiply<T: Float>(
    op: &'static str,
    a: &Tensor<T>,
    a_transposed: bool,
    b: &Tensor<T>,
    b_transposed: bool,
) -> Result<Tensor<T>> {
    let (a_batch, (rows, depth)) = matrix_shape(a, a_transposed);
    let (b_batch, (b_depth, columns)) = matrix_shape(b, b_transposed);
    if depth != b_depth {
        let mut expected = b.shape().to_vec();
        expected[b.rank() - if b_transposed { 1 } else { 2 }] = depth;
        return Err(Error::Shape {
            op,
            what: "the right operand",
            expected: expected.into(),
            actual: b.shape().to_vec(),
        });
    }
    // One matrix on the right serves all rows of a batch: a single large product.
    if b.rank() == 2 && a.rank() > 2 && !a_transposed {
        let flat = a.reshape([a_batch.elements() * rows, depth])?;
        let shape: Shape = a_batch.iter().copied().chain([rows, columns]).collect();
        return multiply(op, &flat, false, b, b_transposed)?.reshape(shape);
    }
    let batch = a_batch.broadcast_of(op, &b_batch)?;
    let shape: Shape = batch.iter().copied().chain([rows, columns]).collect();
    shape.checked_elements(op)?;
    let a_strides: Vec<usize> =
        a_batch.broadcast_strides(&batch).iter().map(|stride| stride * rows * depth).collect();
    let b_strides: Vec<usize> =
        b_batch.broadcast_strides(&batch).iter().map(|stride| stride * depth * columns).collect();
    let value = Tensor::compute(shape, |out| {
        if out.is_empty() {
            return; // even if the batch has many, empty, products
        }
        let mut products = out.chunks_exact_mut((rows * columns).max(1));
        for_each_row(&batch, [&a_strides, &b_strides], |count, starts, strides| {
            for i in 0..count {
                let Some(out) = products.next() else { return };
                let a = matrix(&a.as_slice()[starts[0] + i * strides[0]..], rows, depth, a_transposed);
                let b = matrix(&b.as_slice()[starts[1] + i * strides[1]..], depth, columns, b_transposed);
                matmul([rows, depth, columns], a, b, out);
            }
        });
    })?;
    let step = Step::new(MatMul { a_transposed, b_transposed });
    Ok(step.input_saved_if(b.is_tracked(), a).input_saved_if(a.is_tracked(), b).record(value))
}

/// The dims of the batch and the (rows, columns) of the matrices as they enter the product.
fn matrix_shape<T: Float>(tensor: &Tensor<T>, transposed: bool) -> (Shape, (usize, usize)) {
    let (batch, matrix) = tensor.shape().split_at(tensor.rank() - 2);
    let sizes = if transposed { (matrix[1], matrix[0]) } else { (matrix[0], matrix[1]) };
    (batch.into(), sizes)
}

/// A (rows, columns) matrix that is stored in row-major order, as it is or transposed.
fn matrix<T>(values: &[T], rows: usize, columns: usize, transposed: bool) -> Matrix<'_, T> {
    let (row_stride, column_stride) = if transposed { (1, rows) } else { (columns, 1) };
    Matrix { values, row_stride, column_stride }
}

struct MatMul {
    a_transposed: bool,
    b_transposed: bool,
}

impl<T: Float> Backward<T> for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }
    fn formula(&self) -> &'static str {
        match (self.a_transposed, self.b_transposed) {
            (false, false) => "y = A B",
            (true, false) => "y = Aᵀ B",
            (false, true) => "y = A Bᵀ",
            (true, true) => "y = Aᵀ Bᵀ",
        }
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let (op, a_transposed, b_transposed) = ("matmul", self.a_transposed, self.b_transposed);
        step.gradients()
            .input(0, || {
                let b = step.input(1)?;
                if a_transposed {
                    multiply(op, b, b_transposed, &grad, true) // C = A^T B: dA = B G^T
                } else {
                    multiply(op, &grad, false, b, !b_transposed) // C = A B: dA = G B^T
                }
            })?
            .input(1, || {
                let a = step.input(0)?;
                if b_transposed {
                    multiply(op, &grad, true, a, a_transposed) // C = A B^T: dB = G^T A
                } else {
                    multiply(op, a, !a_transposed, &grad, false) // C = A B: dB = A^T G
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_pytorch() {
        let shape = |a: &[usize], b: &[usize]| {
            let (a, b) = (Tensor::<f64>::ones(a).unwrap(), Tensor::<f64>::ones(b).unwrap());
            a.matmul(&b).map(|product| product.shape().to_vec())
        };
        assert_eq!(shape(&[3], &[3]).unwrap(), Vec::<usize>::new());
        assert_eq!(shape(&[3], &[3, 2]).unwrap(), [2]);
        assert_eq!(shape(&[2, 3], &[3]).unwrap(), [2]);
        assert_eq!(shape(&[2, 3], &[3, 4]).unwrap(), [2, 4]);
        assert_eq!(shape(&[5, 2, 3], &[3, 4]).unwrap(), [5, 2, 4]);
        assert_eq!(shape(&[5, 2, 3], &[3]).unwrap(), [5, 2]);
        assert_eq!(shape(&[3], &[5, 3, 4]).unwrap(), [5, 4]);
        assert_eq!(shape(&[5, 1, 2, 3], &[7, 3, 4]).unwrap(), [5, 7, 2, 4]);
        assert_eq!(shape(&[0, 3], &[3, 2]).unwrap(), [0, 2]);
        assert_eq!(shape(&[2, 0], &[0, 2]).unwrap(), [2, 2]);
        assert_eq!(shape(&[1 << 40, 2, 0, 3], &[1, 2, 3, 4]).unwrap(), [1 << 40, 2, 0, 4]);
        assert_eq!(shape(&[1, 2, 3, 4], &[1 << 40, 2, 4, 0]).unwrap(), [1 << 40, 2, 3, 0]);
        assert!(shape(&[], &[3]).is_err());
        assert_eq!(
            shape(&[2, 3], &[2, 3]).unwrap_err().to_string(),
            "matmul: the right operand has shape [2, 3], expected [3, 3]"
        );
        assert!(shape(&[2, 3, 4], &[3, 4, 5]).is_err());
    }

    #[test]
    fn linear_is_the_product_with_the_transposed_weight() {
        let x = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
        let weight = Tensor::from([[1.0, -1.0], [0.5, 2.0], [3.0, 0.0]]);
        let plain = x.matmul(&weight.transpose(0, 1).unwrap()).unwrap();
        assert_eq!(x.linear(&weight, None).unwrap().to_vec(), plain.to_vec());
        assert_eq!(x.select(0, 1).unwrap().linear(&weight, None).unwrap().to_vec(), [-1.0, 9.5, 9.0]);
        assert!(x.linear(&weight, &Tensor::from([1.0, 2.0])).is_err());
    }
}
