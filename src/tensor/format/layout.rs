//! Which elements of a tensor are shown, and the brackets and lines around them.

use super::numbers::Texts;
use super::{LINE_WIDTH, PREFIX};
use crate::tensor::shape::Shape;

/// The most elements that are all shown.
const THRESHOLD: usize = 1000;
/// How many are shown at either end of a dim if not all are.
const EDGE: usize = 3;

/// The elements of a shape that are shown, row by row.
pub(super) struct Layout<'a> {
    shape: &'a Shape,
    summarized: bool,
    rows: Vec<Row>,
}

/// A line of numbers in the innermost brackets.
struct Row {
    /// The position of its first element.
    start: usize,
    /// The dim whose index is different in the next row, and whether it skips some; none behind the
    /// last row.
    next: Option<(usize, bool)>,
}

impl<'a> Layout<'a> {
    pub fn new(shape: &'a Shape) -> Self {
        let mut layout = Layout { shape, summarized: shape.elements() > THRESHOLD, rows: Vec::new() };
        if shape.elements() > 0 {
            layout.rows = layout.rows();
        }
        layout
    }

    /// The index that is shown after this one, along a dim of this size.
    fn after(&self, index: usize, size: usize) -> usize {
        let skip = self.summarized && size > 2 * EDGE && index + 1 == EDGE;
        if skip { size - EDGE } else { index + 1 }
    }

    /// Counts through the outer dims like an odometer, the last of them fastest.
    fn rows(&self) -> Vec<Row> {
        let strides = self.shape.strides();
        let outer = self.shape.len().saturating_sub(1);
        let mut index = vec![0; outer];
        let mut rows = Vec::new();
        loop {
            let start = index.iter().zip(&strides).map(|(&index, &stride)| index * stride).sum();
            let mut next = None;
            for dim in (0..outer).rev() {
                let (current, following) = (index[dim], self.after(index[dim], self.shape[dim]));
                if following < self.shape[dim] {
                    index[dim] = following;
                    next = Some((dim, following > current + 1));
                    break;
                }
                index[dim] = 0;
            }
            let last = next.is_none();
            rows.push(Row { start, next });
            if last {
                return rows;
            }
        }
    }

    /// The indices that are shown along the last dim; a single value counts as a row of one.
    fn columns(&self) -> Vec<usize> {
        let size = self.shape.last().copied().unwrap_or(1);
        let all = std::iter::successors(Some(0), |&index| Some(self.after(index, size)));
        all.take_while(|&index| index < size).collect()
    }

    /// The positions of the elements that are shown, in row-major order.
    pub fn positions(&self) -> Vec<usize> {
        let columns = self.columns();
        self.rows.iter().flat_map(|row| columns.iter().map(move |column| row.start + column)).collect()
    }

    /// The texts of those elements in brackets.
    pub fn brackets(&self, Texts { texts, width }: &Texts) -> String {
        let rank = self.shape.len();
        if texts.is_empty() {
            return "[]".to_owned();
        }
        if rank == 0 {
            return texts.concat();
        }
        let columns = self.columns();
        let skipped = columns.windows(2).position(|pair| pair[1] > pair[0] + 1);
        // A line is filled by the width alone; its end may stick out by a comma and a bracket.
        let room = LINE_WIDTH.saturating_sub(PREFIX.len() + rank - 1);
        let per_line = (room / (width + ", ".len())).max(1);

        let mut out = "[".repeat(rank);
        for (row, texts) in self.rows.iter().zip(texts.chunks(columns.len())) {
            let mut items: Vec<_> = texts.iter().map(|text| format!("{text:>width$}")).collect();
            if let Some(before) = skipped {
                items.insert(before + 1, " ...".to_owned());
            }
            let lines: Vec<_> = items.chunks(per_line).map(|line| line.join(", ")).collect();
            out += &lines.join(&separator(rank, rank - 1));
            if let Some((dim, skips)) = row.next {
                let inside = rank - 1 - dim;
                out += &"]".repeat(inside);
                out += &separator(rank, dim);
                if skips {
                    out += "...";
                    out += &separator(rank, dim);
                }
                out += &"[".repeat(inside);
            }
        }
        out + &"]".repeat(rank)
    }
}

/// What stands between two entries of a dim that do not share a line: matrices have a blank line
/// between them, blocks of matrices have two, and so on.
fn separator(rank: usize, dim: usize) -> String {
    let breaks = "\n".repeat((rank - 1 - dim).max(1));
    // Not a width of format!, which may be 65,535 at most.
    format!(",{breaks}{}", " ".repeat(PREFIX.len() + dim + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(shape: impl Into<Shape>) -> Vec<usize> {
        Layout::new(&shape.into()).positions()
    }

    #[test]
    fn a_thousand_elements_are_all_shown_and_one_more_leaves_six() {
        assert_eq!(shown([1000]).len(), 1000);
        assert_eq!(shown([1001]), [0, 1, 2, 998, 999, 1000]);
    }

    #[test]
    fn only_dims_longer_than_six_are_cut() {
        assert_eq!(shown([6, 1000]).len(), 36);
        let cut = shown([1000, 2]);
        assert_eq!(cut, [0, 1, 2, 3, 4, 5, 1994, 1995, 1996, 1997, 1998, 1999]);
        assert_eq!(shown([0, 5]), Vec::<usize>::new());
        assert_eq!(shown([]), [0]);
    }
}
