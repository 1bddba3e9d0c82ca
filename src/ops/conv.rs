//! Convolution of images, as a product of matrices.
//!
//! A convolution slides a window over an image and multiplies what it sees with a weight. [`unfold`] lays
//! the windows out as the columns of a matrix X, so that all of them are one product, Y = W X, with the
//! derivatives of a product: for the gradient G of Y, those are G X^T for the weight and W^T G for the
//! columns, which [`fold`] adds back to where they came from. Unfolding is linear and folding is its
//! adjoint, each the derivative of the other; with both recorded there are derivatives of any order.

use crate::autograd::step::{Backward, Gradients, Step, StepContext};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::convolution::{self, Axis, Windows};
use crate::tensor::model::Tensor;
use crate::tensor::shape::Shape;

/// A number for the height of an image and one for its width. A single number stands for both.
///
/// ```
/// # use tapegrad::HeightWidth;
/// assert_eq!(HeightWidth::from(2), HeightWidth { height: 2, width: 2 });
/// assert_eq!(HeightWidth::from([2, 1]), HeightWidth { height: 2, width: 1 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeightWidth {
    /// Along the height, the last dim but one.
    pub height: usize,
    /// Along the width, the last dim.
    pub width: usize,
}

impl From<usize> for HeightWidth {
    fn from(both: usize) -> Self {
        HeightWidth { height: both, width: both }
    }
}

impl From<[usize; 2]> for HeightWidth {
    fn from([height, width]: [usize; 2]) -> Self {
        HeightWidth { height, width }
    }
}

/// How the windows of [`conv2d`](Tensor::conv2d) lie: PyTorch's `stride`, `padding`, `dilation` and `groups`.
///
/// ```
/// # use tapegrad::Conv2dOptions;
/// let same_size = Conv2dOptions::new().padding(1); // for a kernel of 3
/// let halved = Conv2dOptions::new().stride(2).padding([1, 0]);
/// # assert_ne!(same_size, halved);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// How far apart windows begin.
    pub stride: HeightWidth,
    /// How many zeros surround the image on each side.
    pub padding: HeightWidth,
    /// How far apart the elements are that a window looks at.
    pub dilation: HeightWidth,
    /// Into how many groups the channels are divided.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions { stride: 1.into(), padding: 0.into(), dilation: 1.into(), groups: 1 }
    }
}

impl Conv2dOptions {
    /// A window at every element, no padding, neighbouring elements, one group.
    pub fn new() -> Self {
        Conv2dOptions::default()
    }

    /// How far apart windows begin.
    pub fn stride(mut self, stride: impl Into<HeightWidth>) -> Self {
        self.stride = stride.into();
        self
    }

    /// How many zeros surround the image on each side.
    pub fn padding(mut self, padding: impl Into<HeightWidth>) -> Self {
        self.padding = padding.into();
        self
    }

    /// How far apart the elements are that a window looks at.
    pub fn dilation(mut self, dilation: impl Into<HeightWidth>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Into how many groups the channels are divided; each group of outputs sees its own group of inputs.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

/// Refuses an argument of 0.
pub(super) fn expect_positive(
    op: &'static str,
    name: &'static str,
    HeightWidth { height, width }: HeightWidth,
) -> Result<()> {
    match height > 0 && width > 0 {
        true => Ok(()),
        false => {
            let value = format!("{height} along the height and {width} along the width");
            Err(Error::Argument { op, name, value, allowed: "at least 1" })
        }
    }
}

/// The windows along one dim of an image.
///
/// # Errors
/// [`Error::KernelSize`] if not even one fits. The other arguments were checked.
pub(super) fn axis(
    op: &'static str,
    along: &'static str,
    [input, kernel, stride, padding, dilation]: [usize; 5],
) -> Result<Axis> {
    let refused = || Error::KernelSize { op, along, kernel, dilation, size: input, padding };
    let fits = |padded: &usize| *padded <= isize::MAX as usize;
    let padded = padding.checked_mul(2).and_then(|padding| padding.checked_add(input)).filter(fits);
    let extent = (kernel - 1).checked_mul(dilation).and_then(|last| last.checked_add(1));
    match (padded, extent) {
        (Some(padded), Some(extent)) if extent <= padded => {
            Ok(Axis { input, output: (padded - extent) / stride + 1, kernel, stride, padding, dilation })
        }
        _ => Err(refused()),
    }
}

/// The sizes of a convolution, checked.
#[derive(Clone, Copy)]
struct Geometry {
    windows: Windows,
    groups: usize,
    /// The channels of the result.
    outputs: usize,
}

impl Geometry {
    fn new<T: Float>(
        op: &'static str,
        input: &Tensor<T>,
        weight: &Tensor<T>,
        options: &Conv2dOptions,
    ) -> Result<Self> {
        let Conv2dOptions { stride, padding, dilation, groups } = *options;
        let (&[images, channels, height, width], &[outputs, weight_channels, kernel_height, kernel_width]) =
            (&input.shape()[..], &weight.shape()[..])
        else {
            let (what, expected, shape) = match weight.rank() {
                4 => (
                    "the input",
                    "4 (images, channels, height, width), or 3 for a single image",
                    input.shape(),
                ),
                _ => ("the weight", "4 (outputs, channels, height, width)", weight.shape()),
            };
            return Err(Error::Shape { op, what, expected: expected.into(), actual: shape.to_vec() });
        };
        let kernel = HeightWidth { height: kernel_height, width: kernel_width };
        for (name, sizes) in [("the kernel", kernel), ("stride", stride), ("dilation", dilation)] {
            expect_positive(op, name, sizes)?;
        }
        let divides = |number: usize| groups > 0 && number.is_multiple_of(groups);
        if !divides(channels) || !divides(outputs) {
            let value = format!("{groups} for {channels} channels in and {outputs} out");
            let allowed = "a divisor of both numbers of channels";
            return Err(Error::Argument { op, name: "groups", value, allowed });
        }
        if weight_channels != channels / groups {
            let expected = vec![outputs, channels / groups, kernel_height, kernel_width];
            let actual = weight.shape().to_vec();
            return Err(Error::Shape { op, what: "the weight", expected: expected.into(), actual });
        }
        let height = [height, kernel.height, stride.height, padding.height, dilation.height];
        let width = [width, kernel.width, stride.width, padding.width, dilation.width];
        let (height, width) = (axis(op, "height", height)?, axis(op, "width", width)?);
        let windows = Windows { images, channels, height, width };
        // All products of sizes below are parts of this one, so none overflows.
        let columns = [channels, kernel.height, kernel.width, images, height.output, width.output];
        Shape::from(columns).checked_elements(op)?;
        let geometry = Geometry { windows, groups, outputs };
        geometry.output().checked_elements(op)?;
        Ok(geometry)
    }

    fn input(&self) -> Shape {
        let Windows { images, channels, height, width } = self.windows;
        Shape::from([images, channels, height.input, width.input])
    }

    fn output(&self) -> Shape {
        let Windows { images, height, width, .. } = self.windows;
        Shape::from([images, self.outputs, height.output, width.output])
    }

    fn weight(&self) -> Shape {
        let Windows { channels, height, width, .. } = self.windows;
        Shape::from([self.outputs, channels / self.groups, height.kernel, width.kernel])
    }

    /// The weight, as one matrix per group: (groups, outputs of one, elements of its windows).
    fn weight_matrices(&self) -> [usize; 3] {
        [self.groups, self.outputs / self.groups, self.windows.rows() / self.groups]
    }

    /// The unfolded input: (groups, elements of a window, images and windows).
    fn columns(&self) -> [usize; 3] {
        [self.groups, self.windows.rows() / self.groups, self.windows.images * self.windows.count()]
    }

    /// The product of both: (groups, outputs of one, images and windows).
    fn product(&self) -> [usize; 3] {
        let ([groups, outputs, _], [_, _, columns]) = (self.weight_matrices(), self.columns());
        [groups, outputs, columns]
    }
}

impl<T: Float> Tensor<T> {
    /// The convolution of images with a weight, as the layers of a network have it (strictly speaking a
    /// cross-correlation): PyTorch's `torch.nn.functional.conv2d`.
    ///
    /// ```text
    /// y[n, o, i, j] = bias[o] + sum over c, k, l of
    ///                 weight[o, c, k, l] x[n, c, i stride + k dilation - padding, j stride + l dilation - padding]
    /// ```
    ///
    /// where x is 0 outside the image. The input has the shape (images, channels, height, width), or
    /// without the first dim for a single image; the weight (outputs, channels / groups, kernel height,
    /// kernel width), the bias (outputs), and the result (images, outputs, height', width') with
    ///
    /// ```text
    /// height' = floor((height + 2 padding - dilation (kernel height - 1) - 1) / stride) + 1
    /// ```
    ///
    /// and the width likewise. With several groups, the channels and the outputs are divided into as many
    /// runs of equal length, and each run of outputs sees the run of channels of the same number.
    ///
    /// ```
    /// # use tapegrad::{Conv2dOptions, Tensor};
    /// let image = Tensor::new([[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]]);
    /// let slope = Tensor::new([[[[-1.0, 1.0]]]]); // how much brighter the right neighbour is
    /// let y = image.conv2d(&slope, None, Conv2dOptions::new())?;
    /// assert_eq!(y.shape(), &[1, 3, 2]);
    /// assert_eq!(y.to_vec(), [1.0; 6]);
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for arguments of other shapes; [`Error::Argument`] for a kernel,
    /// a stride or a dilation of 0 and for groups that do not divide the channels;
    /// [`Error::KernelSize`] if the kernel is larger than the padded image; [`Error::TooLarge`],
    /// [`Error::OutOfMemory`]: the windows of all images are held in memory at once.
    pub fn conv2d<'a>(
        &self,
        weight: &Tensor<T>,
        bias: impl Into<Option<&'a Tensor<T>>>,
        options: Conv2dOptions,
    ) -> Result<Self> {
        self.convolved(weight, bias.into(), options)
    }
}

compiled! { impl Tensor<T>:
    fn convolved(
        &self,
        weight: &Tensor<T>,
        bias: Option<&Tensor<T>>,
        options: Conv2dOptions,
    ) -> Result<Self> {
        let op = "conv2d";
        if self.rank() == 3 {
            return self.unsqueeze(0)?.conv2d(weight, bias, options)?.squeeze(0);
        }
        let geometry = Geometry::new(op, self, weight, &options)?;
        if let Some(bias) = bias
            && *bias.shape() != [geometry.outputs]
        {
            let (expected, actual) = (vec![geometry.outputs], bias.shape().to_vec());
            return Err(Error::Shape { op, what: "the bias", expected: expected.into(), actual });
        }
        let value = convolve(&self.detach(), &weight.detach(), &geometry)?;
        let step = Step::new(Conv2d { geometry });
        let step = step.input_saved_if(weight.is_tracked(), self).input_saved_if(self.is_tracked(), weight);
        let result = step.record(value);
        match bias {
            Some(bias) => result.add(bias.reshape([geometry.outputs, 1, 1])?),
            None => Ok(result),
        }
    }
}

/// Y = W X, from constants.
fn convolve<T: Float>(input: &Tensor<T>, weight: &Tensor<T>, geometry: &Geometry) -> Result<Tensor<T>> {
    let columns = unfold(input, geometry)?;
    let product = weight.reshape(geometry.weight_matrices())?.matmul(&columns)?;
    let (images, windows) = (geometry.windows.images, geometry.windows.count());
    product.reshape([geometry.outputs, images, windows])?.permute([1, 0, 2])?.reshape(geometry.output())
}

struct Conv2d {
    geometry: Geometry,
}

impl<T: Float> Backward<T> for Conv2d {
    fn name(&self) -> &'static str {
        "Conv2d"
    }
    fn formula(&self) -> &'static str {
        "yₒ = Σ wₒ · window of x"
    }
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        let geometry = &self.geometry;
        let (images, windows) = (geometry.windows.images, geometry.windows.count());
        let grad = grad.reshape([images, geometry.outputs, windows])?.permute([1, 0, 2])?;
        let grad = grad.reshape(geometry.product())?;
        step.gradients()
            .input(0, || {
                let weight = step.input(1)?.reshape(geometry.weight_matrices())?;
                fold(&weight.transpose(1, 2)?.matmul(&grad)?, geometry)
            })?
            .input(1, || {
                let columns = unfold(step.input(0)?, geometry)?;
                let product = if geometry.groups == 1 {
                    grad.squeeze(0)?.linear(&columns.squeeze(0)?, None)? // reads the columns transposed
                } else {
                    grad.matmul(&columns.transpose(1, 2)?)?
                };
                product.reshape(geometry.weight())
            })
    }
}

/// The windows over the input as columns, of shape [`Geometry::columns`].
fn unfold<T: Float>(input: &Tensor<T>, geometry: &Geometry) -> Result<Tensor<T>> {
    let windows = geometry.windows;
    let columns = Tensor::compute(geometry.columns().into(), |out| {
        convolution::unfold(input.as_slice(), &windows, out)
    })?;
    Ok(Step::new(Unfold { geometry: *geometry }).input(input).record(columns))
}

/// Adds every column to the place of its window in the input.
fn fold<T: Float>(columns: &Tensor<T>, geometry: &Geometry) -> Result<Tensor<T>> {
    let windows = geometry.windows;
    let input =
        Tensor::compute(geometry.input(), |out| convolution::fold(columns.as_slice(), &windows, out))?;
    Ok(Step::new(Fold { geometry: *geometry }).input(columns).record(input))
}

struct Unfold {
    geometry: Geometry,
}

impl<T: Float> Backward<T> for Unfold {
    fn name(&self) -> &'static str {
        "Unfold"
    }
    fn formula(&self) -> &'static str {
        "y = the windows of x, one a column"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(fold(&grad, &self.geometry)?.into())
    }
}

struct Fold {
    geometry: Geometry,
}

impl<T: Float> Backward<T> for Fold {
    fn name(&self) -> &'static str {
        "Fold"
    }
    fn formula(&self) -> &'static str {
        "y = windows added up in their places"
    }
    fn backward(&self, _step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients> {
        Ok(unfold(&grad, &self.geometry)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_is_the_adjoint_of_unfolding() {
        // <unfold(x), c> = <x, fold(c)> in whole numbers, so that both sums are exact.
        let weight = Tensor::<f64>::zeros([1, 2, 2, 3]).unwrap();
        for (stride, padding, dilation) in [
            ([1, 1], [0, 0], [1, 1]),
            ([2, 1], [1, 2], [1, 2]),
            ([3, 2], [0, 3], [2, 1]),
            ([1, 3], [4, 0], [3, 1]),
        ] {
            let x = Tensor::<f64>::arange(1.0, 141.0, 1.0).unwrap().reshape([2, 2, 7, 5]).unwrap();
            let options = Conv2dOptions::new().stride(stride).padding(padding).dilation(dilation);
            let geometry = Geometry::new("conv2d", &x, &weight, &options).unwrap();
            let columns = unfold(&x, &geometry).unwrap();
            let numbers = (0..columns.len()).map(|i| (i * 7 % 23) as f64).collect();
            let other = Tensor::from_vec(numbers, columns.shape()).unwrap();
            let folded = fold(&other, &geometry).unwrap();
            let dot = |a: &Tensor<f64>, b: &Tensor<f64>| a.mul(b).unwrap().sum(..).unwrap().item().unwrap();
            assert_eq!(dot(&columns, &other), dot(&x, &folded));
            assert!(dot(&columns, &other) > 0.0);
        }
    }

    #[test]
    fn sizes_follow_the_formula() {
        let shape = |input: [usize; 4], kernel: [usize; 2], options| {
            let x = Tensor::<f64>::ones(input).unwrap();
            let weight = Tensor::ones([3, input[1], kernel[0], kernel[1]]).unwrap();
            x.conv2d(&weight, None, options).map(|y| y.shape().to_vec())
        };
        let plain = Conv2dOptions::new();
        assert_eq!(shape([2, 1, 8, 8], [3, 3], plain.padding(1)), Ok(vec![2, 3, 8, 8]));
        assert_eq!(shape([2, 1, 8, 7], [3, 2], plain.stride([2, 3])), Ok(vec![2, 3, 3, 2]));
        assert_eq!(shape([1, 1, 7, 7], [3, 3], plain.dilation([3, 2])), Ok(vec![1, 3, 1, 3]));
        assert_eq!(shape([0, 2, 3, 3], [2, 2], plain), Ok(vec![0, 3, 2, 2]));
        assert_eq!(shape([1, 0, 3, 3], [1, 1], plain), Ok(vec![1, 3, 3, 3]));
        assert_eq!(shape([1, 1, 0, 1], [1, 1], plain.padding(1)), Ok(vec![1, 3, 2, 3]));
    }
}
