//! Pictures: sheets of images, and tables of right and wrong predictions.

use super::Result;
use super::chart::{BLUE, Canvas, INK, ORANGE, PALE, TEXT, picture};
use super::report::ConfusionMatrix;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// A grey image with the text below it. The rows of pixels go from the top; 0 is paper and 1 is ink.
pub struct Picture<'a> {
    pub pixels: &'a [f32],
    pub width: usize,
    pub caption: [String; 2],
}

/// Writes images beside and below each other.
pub fn sheet(path: &Path, title: &[&str], pictures: &[Picture]) -> Result<()> {
    const COLUMNS: usize = 6;
    const SIDE: i32 = 208;
    const CELL: (i32, i32) = (SIDE + 72, SIDE + 128);
    let rows = pictures.len().div_ceil(COLUMNS).max(1) as i32;
    let size = ((COLUMNS as i32 * CELL.0 + 80) as u32, (rows * CELL.1 + 180) as u32);
    picture(path, size, title, |canvas| {
        for (index, Picture { pixels, width, caption }) in pictures.iter().enumerate() {
            let (column, row) = ((index % COLUMNS) as i32, (index / COLUMNS) as i32);
            let (left, top) = (column * CELL.0 + 56, row * CELL.1 + 24);
            let pixel = SIDE / (*width).max(1) as i32;
            rectangle(canvas, (left, top), (SIDE, SIDE), WHITE)?;
            for (i, &ink) in pixels.iter().enumerate().filter(|(_, ink)| **ink > 0.0) {
                let (x, y) = (left + (i % width) as i32 * pixel, top + (i / width) as i32 * pixel);
                rectangle(canvas, (x, y), (pixel, pixel), INK.mix(f64::from(ink)))?;
            }
            let frame =
                Rectangle::new([(left, top), (left + SIDE, top + SIDE)], INK.mix(0.4).stroke_width(2));
            canvas.draw(&frame)?;
            for (line, text) in caption.iter().enumerate() {
                text_at(canvas, text, (left + SIDE / 2, top + SIDE + 28 + 40 * line as i32), TEXT - 4, &INK)?;
            }
        }
        Ok(())
    })
}

/// Writes a table of how often each label was predicted as each class. The more often, the more blue, on one scale
/// for all; mistakes have an orange frame. A key below says so.
pub fn confusion_matrix(path: &Path, title: &[&str], matrix: &ConfusionMatrix) -> Result<()> {
    const CELL: i32 = 112;
    let classes = matrix.classes();
    let side = classes.len() as i32 * CELL;
    let most = matrix.counts().iter().flatten().copied().max().unwrap_or(0).max(1);
    picture(path, ((side + 380) as u32, (side + 480) as u32), title, |canvas| {
        let (left, top) = (200, 130);
        text_at(canvas, "predicted as", (left + side / 2, top - 92), TEXT, &INK)?;
        text_at(canvas, "label", (left - 130, top + side / 2), TEXT, &INK)?;
        for (row, (label, counts)) in classes.iter().zip(matrix.counts()).enumerate() {
            let middle = CELL / 2 + row as i32 * CELL;
            text_at(canvas, label, (left + middle, top - 36), TEXT, &INK)?;
            text_at(canvas, label, (left - 44, top + middle), TEXT, &INK)?;
            for (column, &count) in counts.iter().enumerate() {
                let at = (left + column as i32 * CELL + 2, top + row as i32 * CELL + 2);
                let share = count as f64 / most as f64;
                cell(canvas, at, (CELL - 4, CELL - 4), share, row != column && count > 0)?;
                if count > 0 {
                    let ink = if share > 0.7 { &WHITE } else { &INK };
                    let middle = (at.0 + CELL / 2 - 2, at.1 + CELL / 2 - 2);
                    text_at(canvas, &count.to_string(), middle, TEXT, ink)?;
                }
            }
        }

        let (y, size, step) = (top + side + 50, (56, 56), 56);
        text_at(canvas, "0", (left + 20, y + 28), TEXT, &INK)?;
        for i in 0..=5 {
            cell(canvas, (left + 50 + i * step, y), size, f64::from(i) / 5.0, false)?;
        }
        text_at(canvas, &format!("{most} times"), (left + 50 + 6 * step + 90, y + 28), TEXT, &INK)?;
        cell(canvas, (left + side - 300, y), size, 0.0, true)?;
        text_at(canvas, "a mistake", (left + side - 140, y + 28), TEXT, &INK)
    })
}

/// A cell that is blue to a degree, from 0 to 1.
fn cell(canvas: &Canvas, (x, y): (i32, i32), size: (i32, i32), degree: f64, framed: bool) -> Result<()> {
    rectangle(canvas, (x, y), size, PALE)?;
    rectangle(canvas, (x, y), size, BLUE.mix(0.9 * degree))?;
    if framed {
        let (left, top, right, bottom) = (x + 3, y + 3, x + size.0 - 3, y + size.1 - 3);
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top - 3)];
        canvas.draw(&PathElement::new(corners, ORANGE.stroke_width(6)))?;
    }
    Ok(())
}

fn rectangle(
    canvas: &Canvas,
    (x, y): (i32, i32),
    (width, height): (i32, i32),
    colour: impl Color,
) -> Result<()> {
    Ok(canvas.draw(&Rectangle::new([(x, y), (x + width, y + height)], colour.filled()))?)
}

fn text_at(canvas: &Canvas, text: &str, at: (i32, i32), size: i32, colour: &RGBColor) -> Result<()> {
    let font = ("sans-serif", size).into_font().color(colour).pos(Pos::new(HPos::Center, VPos::Center));
    Ok(canvas.draw_text(text, &font, at)?)
}
