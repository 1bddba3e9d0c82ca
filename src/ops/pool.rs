//! The largest element of every window of an image.

use super::conv::{HeightWidth, axis, expect_positive};
use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::convolution::{Windows, argmax_of_windows};
use crate::tensor::index::{Indices, indices_of_zero};
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;

/// How the windows of [`max_pool2d`](Tensor::max_pool2d) lie: PyTorch's `kernel_size`, `stride` and
/// `padding`. A single number, or one for the height and one for the width, is a kernel with the other
/// options at their defaults.
///
/// ```
/// # use tapegrad::MaxPool2dOptions;
/// let overlapping = MaxPool2dOptions::new(3).stride(2).padding(1);
/// assert_ne!(overlapping, 3.into());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2dOptions {
    /// The size of a window.
    pub kernel: HeightWidth,
    /// How far apart windows begin.
    pub stride: HeightWidth,
    /// How far the windows reach out of the image on each side.
    pub padding: HeightWidth,
}

impl MaxPool2dOptions {
    /// Windows of this size beside each other, without padding.
    pub fn new(kernel: impl Into<HeightWidth>) -> Self {
        let kernel = kernel.into();
        MaxPool2dOptions { kernel, stride: kernel, padding: 0.into() }
    }

    /// How far apart windows begin; the size of the kernel unless set.
    pub fn stride(mut self, stride: impl Into<HeightWidth>) -> Self {
        self.stride = stride.into();
        self
    }

    /// How far the windows reach out of the image on each side, at most half of the kernel. What lies
    /// outside is never the largest.
    pub fn padding(mut self, padding: impl Into<HeightWidth>) -> Self {
        self.padding = padding.into();
        self
    }
}

impl<K: Into<HeightWidth>> From<K> for MaxPool2dOptions {
    fn from(kernel: K) -> Self {
        MaxPool2dOptions::new(kernel)
    }
}

impl<T: Float> Tensor<T> {
    /// The largest element of every window, a channel at a time: PyTorch's
    /// `torch.nn.functional.max_pool2d`.
    ///
    /// The input has the shape (images, channels, height, width), or without the first dim for a single
    /// image. The result is (images, channels, height', width') with height' = floor((height + 2 padding -
    /// kernel) / stride) + 1, and the width likewise. A window with a nan gives nan. The gradient goes to
    /// the largest element, the first in row-major order where several are equal, and the last nan where
    /// there are any, as in PyTorch.
    ///
    /// ```
    /// # use tapegrad::{MaxPool2dOptions, Tensor};
    /// let image = Tensor::new([[[1.0, 2.0, 0.0], [4.0, 3.0, 9.0], [5.0, 8.0, 7.0]]]);
    /// assert_eq!(image.max_pool2d(2)?.to_vec(), [4.0]);
    /// assert_eq!(image.max_pool2d(MaxPool2dOptions::new(2).stride(1))?.to_vec(), [4.0, 9.0, 8.0, 9.0]);
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for an input of another rank; [`Error::Argument`] for a kernel or a stride of 0, for
    /// a padding of more than half of the kernel, and for images without height or width;
    /// [`Error::KernelSize`] if the kernel is larger than the padded image; [`Error::TooLarge`],
    /// [`Error::OutOfMemory`].
    pub fn max_pool2d(&self, options: impl Into<MaxPool2dOptions>) -> Result<Self> {
        self.max_pooled(options.into())
    }
}

compiled! { impl Tensor<T>:
    fn max_pooled(&self, options: MaxPool2dOptions) -> Result<Self> {
        if self.rank() == 3 {
            return self.unsqueeze(0)?.max_pool2d(options)?.squeeze(0);
        }
        let windows = windows(self.shape(), options)?;
        let Windows { images, channels, height, width } = windows;
        let shape = Shape::from([images, channels, height.output, width.output]);
        let count = shape.checked_elements("max_pool2d")?;

        let mut positions = indices_of_zero(count)?;
        argmax_of_windows(self.as_slice(), &windows, &mut positions);
        let value = Tensor::compute(shape, |out| {
            let planes =
                positions.chunks_exact(windows.count()).zip(self.as_slice().chunks_exact(windows.plane()));
            for (out, (positions, x)) in out.chunks_exact_mut(windows.count()).zip(planes) {
                out.iter_mut().zip(positions).for_each(|(out, &position)| *out = x[position as usize]);
            }
        })?;
        let positions = Indices::from_parts([images * channels, windows.count()].into(), positions);
        Ok(Step::new(MaxPool2d { windows, positions }).input(self).record(value))
    }
}

fn windows(input: &Shape, MaxPool2dOptions { kernel, stride, padding }: MaxPool2dOptions) -> Result<Windows> {
    let op = "max_pool2d";
    let &[images, channels, height, width] = &input[..] else {
        let expected = "4 (images, channels, height, width), or 3 for a single image";
        return Err(Error::Shape {
            op,
            what: "the input",
            expected: expected.into(),
            actual: input.to_vec(),
        });
    };
    for (name, sizes) in [("the kernel", kernel), ("stride", stride)] {
        expect_positive(op, name, sizes)?;
    }
    if padding.height > kernel.height / 2 || padding.width > kernel.width / 2 {
        let value = format!("{} along the height and {} along the width", padding.height, padding.width);
        return Err(Error::Argument { op, name: "padding", value, allowed: "at most half of the kernel" });
    }
    // A window over nothing has no largest element.
    expect_positive(op, "the size of the images", HeightWidth { height, width })?;
    let along_height = [height, kernel.height, stride.height, padding.height, 1];
    let along_width = [width, kernel.width, stride.width, padding.width, 1];
    let (height, width) = (axis(op, "height", along_height)?, axis(op, "width", along_width)?);
    Ok(Windows { images, channels, height, width })
}

/// The gradient of every window is added to its largest element. The position of that element counts as a constant.
struct MaxPool2d {
    windows: Windows,
    /// The position in its plane of the largest element of each window, as (images and channels, windows).
    positions: Indices,
}

impl<T: Float> Backward<T> for MaxPool2d {
    fn name(&self) -> &'static str {
        "MaxPool2d"
    }
    fn formula(&self) -> &'static str {
        "y = max of each window of x"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let Windows { images, channels, height, width } = self.windows;
        let planes = Tensor::zeros([images * channels, self.windows.plane()])?;
        let gradient = planes.scatter_add(1, &self.positions, &grad.reshape(self.positions.shape())?)?;
        Ok(gradient.reshape([images, channels, height.input, width.input])?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_elements_gets_the_gradient_and_the_last_nan() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let x = Tensor::from([[
            [1.0, nan, 2.0, nan],
            [5.0, nan, 3.0, 1.0],
            [-inf, -inf, 4.0, 4.0],
            [-inf, -inf, 4.0, 4.0],
        ]]);
        let x = x.requires_grad();
        let y = x.max_pool2d(2).unwrap();
        assert!(y.as_slice()[0].is_nan() && y.as_slice()[1].is_nan());
        assert_eq!(y.as_slice()[2..], [-inf, 4.0]);
        y.backward_with(&Tensor::from([[[1.0, 2.0], [3.0, 4.0]]])).unwrap();
        let gradient = x.grad().unwrap().to_vec();
        let expected = [(5, 1.0), (3, 2.0), (8, 3.0), (10, 4.0)];
        for (at, value) in gradient.iter().enumerate() {
            let expected = expected.iter().find(|entry| entry.0 == at).map_or(0.0, |entry| entry.1);
            assert_eq!(*value, expected, "at {at}");
        }
        // Windows that reach out of the image, and overlap: one element gets several gradients.
        x.zero_grad();
        let y = x.max_pool2d(MaxPool2dOptions::new(3).stride(2).padding(1)).unwrap();
        assert!(y.as_slice().iter().all(|y| y.is_nan()));
        y.backward_with(&Tensor::from([[[1.0, 2.0], [4.0, 8.0]]])).unwrap();
        assert_eq!(x.grad().unwrap().as_slice()[5], 15.0);
    }
}
