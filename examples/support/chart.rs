//! Pictures, written as SVG: curves that share their horizontal axis, and the regions of the plane in
//! which a linear classifier decides for each class.

use super::Result;
use plotters::coord::{Shift, types::RangedCoordf64};
use plotters::element::{DashedPathElement, DynElement, IntoDynElement};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;
use tapegrad::{Float, Tensor};

/// Colours that stay apart for colour-blind readers (the palette of Okabe and Ito).
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
pub const ORANGE: RGBColor = RGBColor(213, 94, 0);
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
pub const GREY: RGBColor = RGBColor(120, 120, 120);
const CLASS_COLOURS: [RGBColor; 3] = [BLUE, ORANGE, GREEN];
pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
/// Behind images and cells of tables.
pub(super) const PALE: RGBColor = RGBColor(240, 240, 240);

/// Colours, and what they become where the reader's system asks for dark pages.
const DARK: [(RGBColor, RGBColor); 11] = [
    (WHITE, RGBColor(22, 25, 29)),
    (PALE, RGBColor(38, 43, 49)),
    (GREY, RGBColor(160, 160, 160)),
    (INK, RGBColor(226, 226, 226)),
    (BLACK, WHITE),
    (BLUE, RGBColor(86, 180, 233)),
    (ORANGE, RGBColor(255, 145, 71)),
    (GREEN, RGBColor(47, 201, 155)),
    (light(BLUE), RGBColor(26, 56, 75)),
    (light(ORANGE), RGBColor(74, 46, 27)),
    (light(GREEN), RGBColor(22, 60, 50)),
];

/// The backend rounds positions to whole units. With two units to a pixel, curves are smooth.
const UNITS_PER_PIXEL: u32 = 2;
const TITLE: i32 = 52;
pub(super) const TEXT: i32 = 36;
const LEGEND_WIDTH: u32 = 440;
/// In a legend, lines of one entry stand closer together than entries.
const LINE_HEIGHT: i32 = 40;
const ENTRY_GAP: i32 = 30;

pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
/// Something to draw, in the coordinates of a diagram or of the canvas.
type Element<'a, C> = DynElement<'static, SVGBackend<'a>, C>;

/// What stands before a name in the legend.
enum Key {
    Heading,
    Line(RGBColor, bool),
    Marker(usize),
}

/// A curve through points, with its name in the legend (where it may take several lines; no name, no entry).
pub struct Line {
    pub name: String,
    pub colour: RGBColor,
    pub dashed: bool,
    pub points: Vec<(f64, f64)>,
}

impl Line {
    fn entry(&self) -> (Key, &str) {
        (Key::Line(self.colour, self.dashed), &self.name)
    }
}

/// One of several diagrams above each other.
#[derive(Default)]
pub struct Panel {
    /// What stands above it, if anything.
    pub title: &'static str,
    pub y_label: String,
    /// The lowest and highest value shown; on a logarithmic axis their decimal logarithms. A curve ends where it
    /// leaves the range.
    pub y_range: (f64, f64),
    /// Whether the vertical axis is logarithmic. Values that are not above 0 are left out then.
    pub logarithmic: bool,
    pub lines: Vec<Line>,
}

/// Writes diagrams of curves above each other. The lines after the title are in smaller letters.
pub fn curves(path: &Path, title: &[&str], x_label: &str, panels: &[Panel]) -> Result<()> {
    let of_panels = if panels.len() == 1 { 740 } else { 480 * panels.len() as u32 };
    picture(path, (1800, 115 + 46 * title.len() as u32 + of_panels), title, |canvas| {
        for (place, (panel, area)) in panels.iter().zip(canvas.split_evenly((panels.len(), 1))).enumerate() {
            let (diagram, legend) = area.split_horizontally(area.dim_in_pixel().0 - LEGEND_WIDTH);
            let last = panel.lines.iter().flat_map(|line| &line.points).fold(1.0, |last, p| p.0.max(last));
            let mut plane = axes(&diagram, panel.title, (0.0, last), panel.y_range)?;
            let x_label = if place + 1 == panels.len() { x_label } else { "" };
            draw_axes(
                &mut plane,
                (x_label, &panel.y_label),
                if panel.logarithmic { &power } else { &number },
            )?;
            for line in &panel.lines {
                let points = line.points.iter().copied();
                let points: Vec<_> = match panel.logarithmic {
                    true => points.filter(|&(_, y)| y > 0.0).map(|(x, y)| (x, y.log10())).collect(),
                    false => points.collect(),
                };
                let parts = inside(&points, panel.y_range);
                plane.draw_series(parts.into_iter().map(|part| stroke(part, line.colour, line.dashed)))?;
            }
            draw_legend(&legend, panel.lines.iter().filter(|line| !line.name.is_empty()).map(Line::entry))?;
        }
        Ok(())
    })
}

/// The parts of a curve whose heights are in a range.
fn inside(points: &[(f64, f64)], (low, high): (f64, f64)) -> Vec<Vec<(f64, f64)>> {
    let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
    for (from, to) in points.iter().copied().zip(points.iter().copied().skip(1)) {
        // The end of a segment, or where the segment crosses the edge before it gets there.
        let end = |(x, y): (f64, f64)| match y.clamp(low, high) {
            edge if edge != y => (from.0 + (edge - from.1) / (to.1 - from.1) * (to.0 - from.0), edge),
            _ => (x, y),
        };
        let (start, end) = (end(from), end(to));
        let visible = if from.1 == to.1 { (low..=high).contains(&to.1) } else { start.1 != end.1 };
        match parts.last_mut() {
            _ if !visible => {}
            Some(part) if part.last() == Some(&start) => part.push(end),
            _ => parts.push(vec![start, end]),
        }
    }
    parts
}

/// A plane through the space of a linear classifier's inputs, with labelled points.
pub struct Regions<'a> {
    /// The title, then what the plane is, in smaller letters.
    pub title: &'a [&'a str],
    pub axes: (&'a str, &'a str),
    pub classes: &'a [&'a str],
    /// The score of each class at (u, v) is s[0] + s[1] u + s[2] v.
    pub scores: &'a [[f64; 3]],
    /// (u, v) and the label of each sample.
    pub points: &'a [(f64, f64, usize)],
}

/// What [`Regions::scores`] takes, from a linear model's scores at (u, v) = (0, 0), (1, 0) and (0, 1): a row
/// for each of the three points, a column for each class.
pub fn scores_on_plane<T: Float>(at_corners: &Tensor<T>) -> Result<Vec<[f64; 3]>> {
    let at_corners = at_corners.to_f64()?;
    let rows: Vec<&[f64]> = at_corners.rows().collect();
    let [origin, u, v] = rows[..] else { return Err("a plane takes three points".into()) };
    Ok((0..origin.len()).map(|c| [origin[c], u[c] - origin[c], v[c] - origin[c]]).collect())
}

/// How many points lie in the region of the class that is predicted for them.
pub fn agreement(scores: &[[f64; 3]], points: &[(f64, f64, usize)], predictions: &[i64]) -> usize {
    let decision = |u: f64, v: f64| {
        let score = |class: usize| scores[class][0] + scores[class][1] * u + scores[class][2] * v;
        (0..scores.len()).max_by(|&a, &b| score(a).total_cmp(&score(b)))
    };
    let pairs = points.iter().zip(predictions);
    pairs.filter(|&(&(u, v, _), &predicted)| decision(u, v) == Some(predicted as usize)).count()
}

/// Writes the regions in which each class has the highest score, and the points over them.
pub fn regions(path: &Path, regions: &Regions) -> Result<()> {
    picture(path, (1800, 1280), regions.title, |canvas| {
        let (diagram, legend) = canvas.split_horizontally(canvas.dim_in_pixel().0 - LEGEND_WIDTH);
        let u_range = padded(regions.points.iter().map(|p| p.0));
        let v_range = padded(regions.points.iter().map(|p| p.1));
        let mut plane = axes(&diagram, "", u_range, v_range)?;
        for (class, &colour) in (0..regions.scores.len()).zip(CLASS_COLOURS.iter().cycle()) {
            let corners = region(regions.scores, class, u_range, v_range);
            let area = Some(corners).filter(|corners| !corners.is_empty()); // none for a class that never wins
            plane.draw_series(area.map(|corners| Polygon::new(corners, light(colour).filled())))?;
        }
        draw_axes(&mut plane, regions.axes, &number)?;
        plane.draw_series(regions.points.iter().map(|&(u, v, class)| marker((u, v), class)))?;

        let heading = [(Key::Heading, "points: labels\nshades: decisions")];
        let classes = regions.classes.iter().enumerate();
        let classes = classes.map(|(class, &name)| (Key::Marker(class), name));
        draw_legend(&legend, heading.into_iter().chain(classes))
    })
}

/// The corners of the part of a rectangle where one class has the highest score: what is left after
/// each rival cuts off the side on which it is ahead.
fn region(scores: &[[f64; 3]], class: usize, u: (f64, f64), v: (f64, f64)) -> Vec<(f64, f64)> {
    let mut corners = vec![(u.0, v.0), (u.1, v.0), (u.1, v.1), (u.0, v.1)];
    for rival in (0..scores.len()).filter(|&rival| rival != class) {
        let [own, other] = [scores[class], scores[rival]];
        let lead =
            |(u, v): (f64, f64)| (own[0] - other[0]) + (own[1] - other[1]) * u + (own[2] - other[2]) * v;
        let mut kept = Vec::new();
        for (i, &here) in corners.iter().enumerate() {
            let next = corners[(i + 1) % corners.len()];
            let (lead_here, lead_next) = (lead(here), lead(next));
            if lead_here >= 0.0 {
                kept.push(here);
            }
            if (lead_here >= 0.0) != (lead_next >= 0.0) {
                let way = lead_here / (lead_here - lead_next); // where the lead is 0
                kept.push((here.0 + way * (next.0 - here.0), here.1 + way * (next.1 - here.1)));
            }
        }
        corners = kept;
    }
    corners
}

/// Draws below a title and writes the file, whose folder is made if need be.
pub(super) fn picture(
    path: &Path,
    (width, height): (u32, u32),
    title: &[&str],
    draw: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<()> {
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        canvas.fill(&WHITE)?;
        let mut top = 28;
        for (line, text) in title.iter().enumerate() {
            let (size, style) = if line == 0 { (TITLE, FontStyle::Bold) } else { (TEXT, FontStyle::Normal) };
            let font = ("sans-serif", size, style).into_font().color(&INK);
            canvas.draw_text(text, &font.pos(Pos::new(HPos::Center, VPos::Top)), (width as i32 / 2, top))?;
            top += size + 10;
        }
        draw(&canvas.margin(top, 20, 20, 20))?;
        canvas.present()?;
    }
    let units = format!("<svg width=\"{width}\" height=\"{height}\"");
    let (width, height) = (width / UNITS_PER_PIXEL, height / UNITS_PER_PIXEL);
    let svg = svg.replacen(&units, &format!("<svg class=\"chart\" width=\"{width}\" height=\"{height}\""), 1);
    super::write(path, &svg.replacen(">\n", &format!(">\n{}", dark_style()), 1))
}

/// Rules that exchange the colours, under a class of their own, for pictures that are put into a page.
fn dark_style() -> String {
    let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02X}{g:02X}{b:02X}");
    let mut style = String::from("<style>\n@media (prefers-color-scheme: dark) {\n");
    for (light, dark) in DARK.map(|(light, dark)| (hex(light), hex(dark))) {
        for property in ["fill", "stroke"] {
            style += &format!(".chart [{property}=\"{light}\"] {{ {property}: {dark}; }}\n");
        }
    }
    style + "}\n</style>\n"
}

fn axes<'a, 'b>(area: &Canvas<'b>, title: &str, x: (f64, f64), y: (f64, f64)) -> Result<Plane<'a, 'b>> {
    let mut chart = ChartBuilder::on(area);
    if !title.is_empty() {
        chart.caption(title, ("sans-serif", TEXT).into_font().style(FontStyle::Bold).color(&INK));
    }
    chart.margin(20).x_label_area_size(92).y_label_area_size(124);
    Ok(chart.build_cartesian_2d(x.0..x.1, y.0..y.1)?)
}

fn draw_axes(plane: &mut Plane, labels: (&str, &str), y_number: &dyn Fn(&f64) -> String) -> Result<()> {
    let mut mesh = plane.configure_mesh();
    mesh.x_desc(labels.0).y_desc(labels.1).x_labels(10).y_labels(8);
    mesh.x_label_formatter(&number).y_label_formatter(y_number);
    mesh.axis_desc_style(("sans-serif", TEXT, &INK)).label_style(("sans-serif", TEXT - 4, &INK));
    mesh.axis_style(INK.stroke_width(2)).bold_line_style(BLACK.mix(0.12)).max_light_lines(1);
    mesh.light_line_style(TRANSPARENT);
    Ok(mesh.draw()?)
}

/// The entries below each other: the key, then the name.
fn draw_legend<'n>(area: &Canvas, entries: impl Iterator<Item = (Key, &'n str)>) -> Result<()> {
    let font = ("sans-serif", TEXT).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    let mut y = 40;
    for (key, name) in entries {
        let mut x = 100;
        match key {
            Key::Heading => x = 10,
            Key::Line(colour, dashed) => area.draw(&stroke(vec![(10, y), (80, y)], colour, dashed))?,
            Key::Marker(class) => area.draw(&marker((45, y), class))?,
        }
        for line in name.lines() {
            area.draw_text(line, &font, (x, y))?;
            y += LINE_HEIGHT;
        }
        y += ENTRY_GAP;
    }
    Ok(())
}

fn stroke<'a, C: Clone + 'static>(points: Vec<C>, colour: RGBColor, dashed: bool) -> Element<'a, C> {
    let style = colour.stroke_width(4);
    match dashed {
        true => DashedPathElement::new(points, 12, 10, style).into_dyn(),
        false => PathElement::new(points, style).into_dyn(),
    }
}

/// Each class has a shape as well as a colour.
fn marker<'a, C: Clone + 'static>(at: C, class: usize) -> Element<'a, C> {
    let colour = CLASS_COLOURS[class % CLASS_COLOURS.len()];
    match class % 3 {
        0 => Circle::new(at, 8, colour.filled()).into_dyn(),
        1 => TriangleMarker::new(at, 11, colour.filled()).into_dyn(),
        _ => Cross::new(at, 7, colour.stroke_width(4)).into_dyn(),
    }
}

/// A number as an axis shows it: without the rounding errors of binary fractions, and with a true minus sign.
fn number(value: &f64) -> String {
    let text = match value.abs() < 1e6 {
        true => ((value * 1e6).round() / 1e6 + 0.0).to_string(),
        false => format!("{value:.1e}"),
    };
    text.replace('-', "−")
}

/// A power of ten, if the exponent is whole.
fn power(exponent: &f64) -> String {
    if exponent.fract() != 0.0 {
        return String::new();
    }
    let raised = |sign: char| match sign {
        '-' => '⁻',
        digit => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize - '0' as usize],
    };
    match *exponent as i64 {
        0 => "1".into(),
        1 => "10".into(),
        exponent => format!("10{}", exponent.to_string().chars().map(raised).collect::<String>()),
    }
}

/// The range of values, widened so that no point lies on the edge.
pub fn padded(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (low, high) = (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max));
    let margin = if high > low { 0.05 * (high - low) } else { 1.0 };
    (low - margin, high + margin)
}

/// A pale version of a colour, for areas behind points. It is opaque: where transparent areas overlap, if only
/// by a rounding error, there is a line.
const fn light(RGBColor(r, g, b): RGBColor) -> RGBColor {
    const fn pale(channel: u8) -> u8 {
        255 - (255 - channel) / 5
    }
    RGBColor(pale(r), pale(g), pale(b))
}
