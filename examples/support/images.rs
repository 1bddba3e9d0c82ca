//! Pictures of images and of how often they are taken for something else.

use super::Result;
use super::chart::{BLUE, Canvas, INK, ORANGE, TEXT, picture};
use super::report::ConfusionMatrix;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// A grey image of rows from the top, 0 for paper and 1 for ink, and what stands below it.
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
            for (i, &ink) in pixels.iter().enumerate() {
                let (x, y) = (left + (i % width) as i32 * pixel, top + (i / width) as i32 * pixel);
                rectangle(canvas, (x, y), (pixel, pixel), mixed(WHITE, INK, f64::from(ink)))?;
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

/// Writes a table of how often each label was predicted as each class. Right predictions are shaded blue by
/// their share of the label, wrong ones orange; one mistake in twenty is as dark as it gets.
pub fn confusion_matrix(path: &Path, title: &[&str], matrix: &ConfusionMatrix) -> Result<()> {
    const CELL: i32 = 112;
    const DARK_MISTAKES: f64 = 0.05;
    let classes = matrix.classes();
    let side = classes.len() as i32 * CELL;
    picture(path, ((side + 380) as u32, (side + 320) as u32), title, |canvas| {
        let (left, top) = (200, 130);
        text_at(canvas, "predicted as", (left + side / 2, top - 92), TEXT, &INK)?;
        text_at(canvas, "label", (left - 130, top + side / 2), TEXT, &INK)?;
        for (row, (label, counts)) in classes.iter().zip(matrix.counts()).enumerate() {
            let (middle, total) = (CELL / 2 + row as i32 * CELL, counts.iter().sum::<usize>().max(1));
            text_at(canvas, label, (left + middle, top - 36), TEXT, &INK)?;
            text_at(canvas, label, (left - 44, top + middle), TEXT, &INK)?;
            for (column, &count) in counts.iter().enumerate() {
                let (x, y) = (left + column as i32 * CELL, top + row as i32 * CELL);
                let share = count as f64 / total as f64;
                let (colour, depth) = match row == column {
                    true => (BLUE, share * share), // so that 95 % and 100 % differ
                    false => (ORANGE, (share / DARK_MISTAKES).sqrt()),
                };
                let depth = 0.9 * depth.min(1.0);
                rectangle(
                    canvas,
                    (x + 2, y + 2),
                    (CELL - 4, CELL - 4),
                    mixed(RGBColor(244, 244, 244), colour, depth),
                )?;
                if count > 0 {
                    let ink = if depth > 0.55 { &WHITE } else { &INK };
                    text_at(canvas, &count.to_string(), (x + CELL / 2, y + CELL / 2), TEXT, ink)?;
                }
            }
        }
        Ok(())
    })
}

fn rectangle(
    canvas: &Canvas,
    (x, y): (i32, i32),
    (width, height): (i32, i32),
    colour: RGBColor,
) -> Result<()> {
    Ok(canvas.draw(&Rectangle::new([(x, y), (x + width, y + height)], colour.filled()))?)
}

fn text_at(canvas: &Canvas, text: &str, at: (i32, i32), size: i32, colour: &RGBColor) -> Result<()> {
    let font = ("sans-serif", size).into_font().color(colour).pos(Pos::new(HPos::Center, VPos::Center));
    Ok(canvas.draw_text(text, &font, at)?)
}

/// The colour on the way from one to another.
fn mixed(from: RGBColor, to: RGBColor, way: f64) -> RGBColor {
    let channel =
        |from: u8, to: u8| (f64::from(from) + way * (f64::from(to) - f64::from(from))).round() as u8;
    RGBColor(channel(from.0, to.0), channel(from.1, to.1), channel(from.2, to.2))
}
