//! Windows that slide over images: laying them out as columns, adding columns back, and picking the largest element
//! of each window.
//!
//! The shape of an image is (channels, height, width), that of a batch (images, channels, height, width). A window
//! starts every `stride` elements; the first one starts `padding` elements outside the image. It looks at `kernel`
//! elements that are `dilation` apart:
//!
//! ```text
//! element k of window o  =  position o * stride + k * dilation - padding of the image
//! ```

use super::copies::strided::copy_strided;
use super::elementwise::add_assign;
use super::parallel::{for_each_chunk, rows_in_chunk};
use crate::float::Float;
use std::ops::Range;

/// How windows slide along the height or the width of an image. The dilated kernel is no larger than the padded
/// image, and the sum of any two of these numbers fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
}

impl Axis {
    /// The windows whose `k`-th element lies inside the image, not in the padding.
    fn windows_inside(&self, k: usize) -> Range<usize> {
        let shift = k * self.dilation;
        let first = self.padding.saturating_sub(shift).div_ceil(self.stride).min(self.output);
        let beyond = (self.input + self.padding).saturating_sub(shift).div_ceil(self.stride);
        first..beyond.clamp(first, self.output)
    }

    /// The elements of a window that lie inside the image.
    fn elements_inside(&self, window: usize) -> Range<usize> {
        let start = window * self.stride;
        let first = self.padding.saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        let beyond = (self.input + self.padding).saturating_sub(start).div_ceil(self.dilation);
        first..beyond.clamp(first, self.kernel)
    }

    /// Where element `k` of a window lies in the image.
    fn position(&self, window: usize, k: usize) -> usize {
        window * self.stride + k * self.dilation - self.padding
    }
}

/// The windows over a batch of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pub images: usize,
    pub channels: usize,
    pub height: Axis,
    pub width: Axis,
}

impl Windows {
    /// The elements of one channel of an image.
    pub fn plane(&self) -> usize {
        self.height.input * self.width.input
    }

    /// The windows over one image.
    pub fn count(&self) -> usize {
        self.height.output * self.width.output
    }

    /// The elements of a window, over all channels: the rows of the unfolded matrix.
    pub fn rows(&self) -> usize {
        self.channels * self.height.kernel * self.width.kernel
    }

    /// The channel and the place in the kernel that a row of the unfolded matrix stands for.
    fn row(&self, row: usize) -> (usize, usize, usize) {
        let (rest, kw) = (row / self.width.kernel, row % self.width.kernel);
        (rest / self.height.kernel, rest % self.height.kernel, kw)
    }
}

/// Calls `f` with the number and the elements of every plane of `out`, each of which takes about `work` steps.
fn for_each_plane<A: Send>(out: &mut [A], plane: usize, work: usize, f: impl Fn(usize, &mut [A]) + Sync) {
    if out.is_empty() {
        return;
    }
    let together = rows_in_chunk(work);
    for_each_chunk(out, together * plane, |chunk, out| {
        let first = chunk * together;
        out.chunks_exact_mut(plane).enumerate().for_each(|(index, out)| f(first + index, out));
    });
}

/// Lays the windows over a batch of images out as the columns of a matrix, with zeros for the padding:
/// `out[(channel, kh, kw), (image, oh, ow)] = x[image, channel, position(oh, kh), position(ow, kw)]`.
/// A convolution is then a product of matrices.
pub(crate) fn unfold<T: Float>(x: &[T], windows: &Windows, out: &mut [T]) {
    let Windows { images, channels, height, width } = *windows;
    let (plane, count) = (windows.plane(), windows.count());
    let columns = images * count;
    for_each_plane(out, columns, columns, |row, out| {
        let (channel, kh, kw) = windows.row(row);
        let (inside_h, inside_w) = (height.windows_inside(kh), width.windows_inside(kw));
        for (image, out) in out.chunks_exact_mut(count).enumerate() {
            let x = &x[(image * channels + channel) * plane..][..plane];
            for (oh, out) in out.chunks_exact_mut(width.output).enumerate() {
                if !inside_h.contains(&oh) || inside_w.is_empty() {
                    out.fill(T::zero());
                    continue;
                }
                out[..inside_w.start].fill(T::zero());
                out[inside_w.end..].fill(T::zero());
                let first = height.position(oh, kh) * width.input + width.position(inside_w.start, kw);
                copy_strided(&x[first..], width.stride, &mut out[inside_w.clone()]);
            }
        }
    });
}

/// The adjoint of [`unfold`]: adds every column to the place of its window in the image, without what lies in the
/// padding. The contributions to an element are added in the order of the kernel's places.
pub(crate) fn fold<T: Float>(columns: &[T], windows: &Windows, out: &mut [T]) {
    let Windows { images, channels, height, width } = *windows;
    let (plane, count) = (windows.plane(), windows.count());
    for_each_plane(out, plane, height.kernel * width.kernel * count, |index, out| {
        let (image, channel) = (index / channels, index % channels);
        out.fill(T::zero());
        for kh in 0..height.kernel {
            for kw in 0..width.kernel {
                let row = (channel * height.kernel + kh) * width.kernel + kw;
                let x = &columns[(row * images + image) * count..][..count];
                let inside_w = width.windows_inside(kw);
                if inside_w.is_empty() {
                    continue;
                }
                for oh in height.windows_inside(kh) {
                    let first = height.position(oh, kh) * width.input + width.position(inside_w.start, kw);
                    let x = &x[oh * width.output..][inside_w.clone()];
                    add_strided(x, width.stride, &mut out[first..]);
                }
            }
        }
    });
}

/// `out[i * stride] += x[i]`
fn add_strided<T: Float>(x: &[T], stride: usize, out: &mut [T]) {
    match stride {
        1 => add_assign(&mut out[..x.len()], x),
        _ => out.iter_mut().step_by(stride).zip(x).for_each(|(out, &x)| *out += x),
    }
}

/// For every window of every channel, the position of its largest element in the plane (height, width): the first of
/// equal ones, and the last nan if there is one. The padding never wins; every window has an element inside the image.
pub(crate) fn argmax_of_windows<T: Float>(x: &[T], windows: &Windows, out: &mut [i64]) {
    let Windows { height, width, .. } = *windows;
    let (plane, count) = (windows.plane(), windows.count());
    // With a large padding, a kernel may be far larger than the image.
    let looked_at = height.kernel.saturating_mul(width.kernel).saturating_mul(count);
    for_each_plane(out, count, looked_at, |index, out| {
        let x = &x[index * plane..][..plane];
        for (oh, out) in out.chunks_exact_mut(width.output).enumerate() {
            let inside_h = height.elements_inside(oh);
            for (ow, out) in out.iter_mut().enumerate() {
                let inside_w = width.elements_inside(ow);
                let first = |kh| height.position(oh, kh) * width.input + width.position(ow, inside_w.start);
                let mut largest = first(inside_h.start);
                for kh in inside_h.clone() {
                    for position in (first(kh)..).step_by(width.dilation).take(inside_w.len()) {
                        // Not `!(x <= largest)`: a nan that was found stays.
                        if x[position] > x[largest] || x[position].is_nan() {
                            largest = position;
                        }
                    }
                }
                *out = largest as i64;
            }
        }
    });
}
