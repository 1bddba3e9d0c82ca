//! Pictures of a tape: Graphviz `dot`, SVG, HTML.

use crate::autograd::observe::values::short;
use crate::autograd::tape::{Tape, TapeEntry};
use std::fmt::Write;

/// A picture shows no more entries than this; the middle of a longer tape is left out.
const SHOWN: usize = 400;
/// Longer texts end in dots.
const LONGEST: usize = 60;

const ROW: f64 = 46.0;
const LANE: f64 = 14.0;
/// Lines beyond this many share the last lane.
const LANES: usize = 24;
const MARGIN: f64 = 20.0;
const HEAD: f64 = 78.0;
/// The width of a character of the two fonts, on the safe side.
const MONO: f64 = 8.5;
const SANS: f64 = 7.6;
/// The bars have the same scale in every picture, so that pictures can be compared: the decimal logarithm of the
/// norm, from `LOWEST` to `HIGHEST`.
const LOWEST: f64 = -4.0;
const HIGHEST: f64 = 4.0;
const DECADE: f64 = 16.0;
const SCALE: f64 = (HIGHEST - LOWEST) * DECADE;
const BAR: f64 = 14.0;

/// Under a class of its own, for pictures that are put into a page. The dark colours repeat the selectors of the
/// light ones, because not every program that shows SVG knows CSS variables.
const STYLE: &str = "\
.tape text { font: 14px 'DejaVu Sans', Verdana, sans-serif; fill: #282828; }
.tape .call { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
.tape .head { fill: #6b6b6b; font-size: 13px; }
.tape .tick { fill: #6b6b6b; font-size: 11px; }
.tape .quiet { fill: #767676; }
.tape .paper { fill: #ffffff; }
.tape .row { fill: #ffffff; stroke: #d9d9d9; }
.tape .leaf { fill: #eaf5f1; stroke: #9fd3c1; }
.tape .scale { fill: none; stroke: #d9d9d9; }
.tape .bar { fill: #e8935a; }
.tape .edge { fill: none; stroke: #0072b2; stroke-width: 1.6; }
.tape .tip { fill: #0072b2; }
.tape path.edge.ofleaf { stroke: #009e73; }
.tape path.tip.ofleaf { fill: #009e73; }
.tape .back { fill: none; stroke: #d55e00; stroke-width: 1.6; }
.tape .backtip { fill: #d55e00; }
@media (prefers-color-scheme: dark) {
.tape text { fill: #e2e2e2; }
.tape .head, .tape .tick, .tape .quiet { fill: #a3a3a3; }
.tape .paper { fill: #16191d; }
.tape .row { fill: #1f2429; stroke: #3d444b; }
.tape .leaf { fill: #17302a; stroke: #2f6b59; }
.tape .scale { stroke: #4a525a; }
.tape .bar { fill: #c8692b; }
.tape .edge { stroke: #56b4e9; }
.tape .tip { fill: #56b4e9; }
.tape path.edge.ofleaf { stroke: #2fc99b; }
.tape path.tip.ofleaf { fill: #2fc99b; }
.tape .back { stroke: #ff9147; }
.tape .backtip { fill: #ff9147; }
}
";

impl Tape {
    /// The graph in the `dot` language of Graphviz, arrows pointing from inputs to results. Each box has what
    /// is known of its entry: name, shape, formula, and after [`observe`](Tape::observe) the range of the
    /// values and the norm of the gradient.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph tape {\n  rankdir=LR;\n");
        for (place, entry) in self.entries().iter().enumerate() {
            let form = if entry.name.is_some() { "box" } else { "ellipse" };
            let mut lines = vec![format!("%{place} {}", entry.title()), entry.shape.to_string()];
            lines.extend(Some(entry.formula.to_string()).filter(|formula| !formula.is_empty()));
            lines.extend(entry.values.map(|values| format!("values {}", typeset(&values.to_string()))));
            lines.extend(entry.gradient_norm.map(|norm| format!("|gradient| {}", typeset(&short(norm)))));
            let quoted = |line: &String| line.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
            let label = lines.iter().map(quoted).collect::<Vec<_>>().join("\\n");
            // Writing to a String cannot fail.
            let _ = writeln!(dot, "  n{place} [label=\"{label}\", shape={form}];");
            for input in entry.inputs.iter().flatten() {
                let _ = writeln!(dot, "  n{input} -> n{place};");
            }
        }
        dot.push_str("}\n");
        dot
    }

    /// The tape as an SVG picture that needs no other file. Each entry is a row, in the order of recording, and
    /// lines lead from inputs to results. A row has the formula, the shape, the range of the values and the norm
    /// of the gradient, which is also a bar on a logarithmic scale, the same one in every picture.
    /// [`observe`](Tape::observe) notes the values and the norm; they are left empty where they are not known.
    ///
    /// The picture is dark where the reader's system asks for dark pages.
    ///
    /// Of a tape of more than 400 entries the first and the last 200 are shown.
    ///
    /// ```
    /// # use tapegrad::{Tape, Tensor};
    /// let logits = Tensor::new([[2.0, 1.0, 0.0]]).requires_grad();
    /// let tape = Tape::observe(|| logits.cross_entropy([0]))?.named("logits", &logits);
    /// let picture = tape.to_svg();
    /// # assert!(picture.starts_with("<svg ") && picture.contains("−ln softmax"));
    /// # let folder = std::env::temp_dir().join(format!("tapegrad_{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let path = folder.join("tape.svg");
    /// std::fs::write(&path, picture).unwrap();
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    pub fn to_svg(&self) -> String {
        Drawing::of(self).svg()
    }

    /// The [picture](Tape::to_svg) on an HTML page that needs no other file, with a heading and a few words on how
    /// to read it.
    pub fn to_html(&self, title: &str) -> String {
        let (title, svg) = (escaped(title), self.to_svg());
        format!(
            "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 2em auto; max-width: 70em; padding: 0 1em; font-family: 'DejaVu Sans', Verdana, sans-serif; color: #282828; background: #ffffff; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e2e2e2; background: #16191d; }} }}
svg {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>Each row is a leaf (green) or a recorded step, in the order of recording. Forward goes down, along the lines from
inputs to results. Backward goes up: each row receives the gradient of the last row with respect to its own value.
The last column is the Euclidean norm of that gradient. Its bar has a logarithmic scale: a step to the next power of
ten is always the same length.</p>
{svg}</body>
</html>
"
        )
    }
}

impl TapeEntry {
    /// The name given by the caller, and the step's own.
    fn title(&self) -> String {
        let name = self.name.unwrap_or("leaf");
        self.label.as_ref().map_or(name.to_string(), |label| format!("{label} = {name}"))
    }
}

/// A row of the picture.
enum Row<'a> {
    Entry { place: usize, entry: &'a TapeEntry },
    LeftOut { count: usize },
}

impl Row<'_> {
    fn is_leaf(&self) -> bool {
        matches!(self, Row::Entry { entry, .. } if entry.name.is_none())
    }

    /// The norm of the gradient, if it has a logarithm.
    fn measurable_norm(&self) -> Option<f64> {
        match self {
            Row::Entry { entry, .. } => entry.gradient_norm.filter(|norm| norm.is_finite() && *norm > 0.0),
            Row::LeftOut { .. } => None,
        }
    }
}

/// A line from the row of a value down to the rows that use it.
struct Wire {
    from: usize,
    /// The rows, ascending, and the heights at which the line arrives there.
    to: Vec<(usize, f64)>,
    lane: usize,
    of_leaf: bool,
}

impl Wire {
    fn last(&self) -> usize {
        self.to.last().map_or(self.from, |&(row, _)| row)
    }
}

struct Drawing<'a> {
    rows: Vec<Row<'a>>,
    wires: Vec<Wire>,
    lanes: usize,
    /// The texts of the columns: call, formula, shape, values, norm; one of each a row.
    columns: [Vec<String>; 5],
}

const HEADS: [&str; 5] = ["step", "formula", "shape", "values", "|gradient|"];

impl<'a> Drawing<'a> {
    fn of(tape: &'a Tape) -> Self {
        let entries = tape.entries();
        let left_out = entries.len().saturating_sub(SHOWN);
        let first = if left_out > 0 { SHOWN / 2 } else { entries.len() };
        let row = |place: usize| Row::Entry { place, entry: &entries[place] };
        let mut rows: Vec<Row> = (0..first).map(row).collect();
        if left_out > 0 {
            rows.push(Row::LeftOut { count: left_out });
            rows.extend((first + left_out..entries.len()).map(row));
        }
        // Where an entry stands in the picture; those left out stand in the row that says so.
        let row_of = |place: usize| match place {
            _ if place < first => place,
            _ if place < first + left_out => first,
            _ => place - left_out + 1,
        };
        let (wires, lanes) = route(&rows, row_of);
        let text = |column: usize, row: &Row| match row {
            Row::LeftOut { count } => {
                if column == 0 {
                    format!("({count} entries are left out)")
                } else {
                    String::new()
                }
            }
            Row::Entry { place, entry } => match column {
                0 => {
                    let label = entry.label.as_ref().map(|label| format!("{label} = "));
                    format!("%{place} {}{}", label.unwrap_or_default(), entry.call())
                }
                1 => entry.formula.to_string(),
                2 => entry.shape.to_string(),
                3 => entry.values.map(|values| typeset(&values.to_string())).unwrap_or_default(),
                _ => entry.gradient_norm.map(|norm| typeset(&short(norm))).unwrap_or_default(),
            },
        };
        let columns =
            [0, 1, 2, 3, 4].map(|column| rows.iter().map(|row| shortened(&text(column, row))).collect());
        Drawing { rows, wires, lanes, columns }
    }

    fn svg(&self) -> String {
        let places = self.places();
        let (right, bottom) = (places.right, HEAD + ROW * self.rows.len() as f64);
        let (width, height) = (right + 44.0, bottom + MARGIN);

        let mut svg = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"tape\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
             <style>\n{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
        );
        for (head, start) in HEADS.iter().zip(places.columns) {
            text(&mut svg, "head", start, HEAD - 27.0, head, None);
        }
        text(&mut svg, "head", MARGIN, MARGIN + 6.0, "forward ↓", None);
        let _ = writeln!(
            svg,
            "<text class=\"head\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">↑ backward</text>",
            width - MARGIN,
            MARGIN + 6.0
        );
        for (index, row) in self.rows.iter().enumerate() {
            self.row(&mut svg, index, row, &places);
        }
        if let Some(scale) = places.scale {
            draw_scale(&mut svg, scale, bottom);
        }
        for (index, row) in self.rows.iter().enumerate() {
            if let (Some(scale), Some(norm)) = (places.scale, row.measurable_norm()) {
                draw_bar(&mut svg, scale, middle(index), norm);
            }
        }
        for wire in &self.wires {
            draw_wire(&mut svg, wire, places.left);
        }
        if self.rows.len() > 1 {
            let (x, top, last) = (right + 22.0, middle(0), middle(self.rows.len() - 1));
            let _ = writeln!(
                svg,
                "<path class=\"back\" d=\"M{right:.1} {last:.1}H{x:.1}V{top:.1}H{:.1}\"/>",
                right + 7.0
            );
            let _ = writeln!(svg, "<path class=\"backtip\" d=\"M{right:.1} {top:.1}l8 -4.5v9z\"/>");
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn places(&self) -> Places {
        let left = MARGIN + LANE * (self.lanes + 1) as f64;
        let mut columns = [0.0; 5];
        let mut x = left + 14.0;
        for (column, (texts, start)) in self.columns.iter().zip(&mut columns).enumerate() {
            *start = x;
            let longest = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
            let character = if column == 0 { MONO } else { SANS };
            x += longest.max(HEADS[column].len()) as f64 * character + 26.0;
        }
        let scale = self.rows.iter().any(|row| row.measurable_norm().is_some()).then_some(x);
        Places { left, columns, scale, right: if scale.is_some() { x + SCALE + 26.0 } else { x } }
    }

    fn row(&self, svg: &mut String, index: usize, row: &Row, places: &Places) {
        let (top, base) = (HEAD + ROW * index as f64, middle(index) + 5.0);
        let Row::Entry { entry, .. } = row else {
            text(svg, "quiet", places.columns[0], base, &self.columns[0][index], None);
            return;
        };
        let class = if row.is_leaf() { "row leaf" } else { "row" };
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"5\"/>",
            places.left,
            top + 3.0,
            places.right - places.left,
            ROW - 6.0
        );
        for (column, (texts, start)) in self.columns.iter().zip(places.columns).enumerate() {
            let class = if column == 0 { "call" } else { "" };
            let whole = if column == 0 { entry.label.as_deref() } else { None };
            text(
                svg,
                class,
                start,
                base,
                &texts[index],
                whole.filter(|label| label.chars().count() > LONGEST / 2),
            );
        }
    }
}

/// Where things stand from left to right.
struct Places {
    /// Where the rows begin and end.
    left: f64,
    right: f64,
    columns: [f64; 5],
    /// Where the bars begin, if there are any.
    scale: Option<f64>,
}

fn middle(row: usize) -> f64 {
    HEAD + ROW * (row as f64 + 0.5)
}

/// The lines, short ones in the lanes near the rows, so that few of them cross.
fn route(rows: &[Row], row_of: impl Fn(usize) -> usize) -> (Vec<Wire>, usize) {
    let mut wires: Vec<Wire> = (0..rows.len())
        .map(|from| Wire { from, to: Vec::new(), lane: 0, of_leaf: rows[from].is_leaf() })
        .collect();
    for (index, row) in rows.iter().enumerate() {
        let Row::Entry { entry, .. } = row else { continue };
        let mut inputs: Vec<usize> = entry.inputs.iter().flatten().map(|&input| row_of(input)).collect();
        inputs.sort_unstable();
        inputs.dedup();
        for (place, &input) in inputs.iter().enumerate() {
            let height = if inputs.len() == 1 { 0.5 } else { place as f64 / (inputs.len() - 1) as f64 };
            wires[input].to.push((index, middle(index) - 15.0 + 11.0 * height));
        }
    }
    wires.retain(|wire| !wire.to.is_empty());
    let mut shortest_first: Vec<&mut Wire> = wires.iter_mut().collect();
    shortest_first.sort_by_key(|wire| wire.last() - wire.from);
    let mut lanes: Vec<Vec<(usize, usize)>> = Vec::new();
    for wire in shortest_first {
        let span = (wire.from, wire.last());
        let is_free =
            |taken: &Vec<(usize, usize)>| taken.iter().all(|other| other.1 <= span.0 || span.1 <= other.0);
        wire.lane = lanes.iter().position(is_free).unwrap_or(lanes.len()).min(LANES - 1);
        if wire.lane == lanes.len() {
            lanes.push(Vec::new());
        }
        lanes[wire.lane].push(span);
    }
    (wires, lanes.len())
}

/// From below the middle of the value's row, along the lane, to above the middle of those that use it; a
/// dot where the line goes on.
fn draw_wire(svg: &mut String, wire: &Wire, left: f64) {
    let x = left - 14.0 - LANE * wire.lane as f64;
    let (start, end) = (middle(wire.from) + 9.0, wire.to[wire.to.len() - 1].1);
    let mut path = format!("M{left:.1} {start:.1}H{x:.1}V{end:.1}");
    let mut tips = String::new();
    for &(_, y) in &wire.to {
        let _ = write!(path, "M{x:.1} {y:.1}H{:.1}", left - 6.0);
        let _ = write!(tips, "M{left:.1} {y:.1}l-8 -4v8z");
        if y != end {
            let _ = write!(tips, "M{:.1} {y:.1}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z", x - 3.0);
        }
    }
    let kind = if wire.of_leaf { " ofleaf" } else { "" };
    let _ =
        writeln!(svg, "<path class=\"edge{kind}\" d=\"{path}\"/>\n<path class=\"tip{kind}\" d=\"{tips}\"/>");
}

/// A line through all rows at the ends of the scale and at 1, and what they stand for.
fn draw_scale(svg: &mut String, left: f64, bottom: f64) {
    let mut texts = vec![("head", left + SCALE / 2.0, HEAD - 27.0, "logarithmic scale")];
    let mut path = String::new();
    for (exponent, power) in [(LOWEST, "10⁻⁴"), (0.0, "1"), (HIGHEST, "10⁴")] {
        let x = left + (exponent - LOWEST) * DECADE;
        texts.push(("tick", x, HEAD - 8.0, power));
        let _ = write!(path, "M{x:.1} {:.1}V{bottom:.1}", HEAD - 3.0);
    }
    for (class, x, y, content) in texts {
        let _ = writeln!(
            svg,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{content}</text>"
        );
    }
    let _ = writeln!(svg, "<path class=\"scale\" d=\"{path}\"/>");
}

/// A norm beyond the scale has a bar that ends in a point, on the side where the norm would be.
fn draw_bar(svg: &mut String, left: f64, middle: f64, norm: f64) {
    let (place, y) = (norm.log10() - LOWEST, middle - BAR / 2.0);
    let point = if place < 0.0 {
        Some((left, -9.0))
    } else if place * DECADE > SCALE {
        Some((left + SCALE, 9.0))
    } else {
        None
    };
    let width = (place * DECADE).clamp(0.0, SCALE);
    let _ = match point {
        None => writeln!(
            svg,
            "<rect class=\"bar\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>"
        ),
        Some((x, point)) => writeln!(
            svg,
            "<path class=\"bar\" d=\"M{left:.1} {y:.1}H{x:.1}l{point} {0}l{1} {0}H{left:.1}z\"/>",
            BAR / 2.0,
            -point
        ),
    };
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, content: &str, whole: Option<&str>) {
    if content.is_empty() {
        return;
    }
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let title = whole.map(|whole| format!("<title>{}</title>", escaped(whole))).unwrap_or_default();
    let _ = writeln!(svg, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{}{title}</text>", escaped(content));
}

/// Numbers with the minus sign that formulas have, instead of the hyphen.
fn typeset(numbers: &str) -> String {
    numbers.replace('-', "−")
}

fn shortened(text: &str) -> String {
    match text.chars().count() > LONGEST {
        true => text.chars().take(LONGEST - 2).chain("..".chars()).collect(),
        false => text.to_string(),
    }
}

/// Text for XML and HTML. Characters that XML cannot hold become the replacement character.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}
