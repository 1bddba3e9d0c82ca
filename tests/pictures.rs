//! The pictures of the documents are what the examples draw.
//!
//! Bits differ between processors, and so do the last digits of coordinates: they are compared with a tolerance.
//! A picture that has changed on purpose is drawn again with the command that its entry shows, and committed.

mod running;

use running::{folder, printed, results, run};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The committed picture, from the folder `docs`.
fn committed(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// Draws with an example's default options, and returns the files that it wrote.
fn drawn(example: &str) -> BTreeMap<String, String> {
    let out = folder(&format!("pictures_{example}"));
    printed(&run(example, &[], &out));
    running::files(&out)
}

// ---- Diagrams ----------------------------------------------------------------------------------

#[test]
fn the_regions_of_three_classes_are_what_the_example_draws() {
    // cargo run --release --example three_class -- --out out
    let drawn = drawn("three_class");
    compare_diagrams(&committed("three_class_regions.svg"), &drawn["regions.svg"], 3.0).unwrap();
    compare_diagrams(&committed("three_class_training.svg"), &drawn["training.svg"], 3.0).unwrap();
}

#[test]
fn the_curve_of_minus_ln_p_is_what_the_example_draws() {
    // cargo run --release --example nll_curve -- --out docs
    compare_diagrams(&committed("nll_curve.svg"), &drawn("nll_curve")["nll_curve.svg"], 1.0).unwrap();
}

/// Of the network that the plain formula trains, what happens after the collapse is decided by roundings, and so
/// by the processor: hence 40 units, of 360 for the whole range of a diagram.
#[test]
fn the_collapse_is_what_the_example_draws() {
    // cargo run --release --example softmax_collapse -- --out docs
    let out = folder("pictures_softmax_collapse");
    let printed = printed(&run("softmax_collapse", &[], &out));
    // What chapter 9 says of it.
    let result = results(&printed);
    assert!(
        (0.25..0.75).contains(&result["plain_zero"]) && (3e-8..3e-7).contains(&result["plain_loss"]),
        "{printed}"
    );
    assert!(result["ours_zero"] == 0.0 && result["ours_loss"] < 1e-13, "{printed}");
    assert_eq!(result["ours_lossless_by_plain"], 1.0, "{printed}");
    let drawn = running::files(&out);
    compare_diagrams(&committed("softmax_collapse.svg"), &drawn["softmax_collapse.svg"], 40.0).unwrap();
}

/// Says where two diagrams differ: the texts must be the same, and every point of either within `tolerance` units
/// (half pixels) of what the other draws in the same colour.
fn compare_diagrams(a: &str, b: &str, tolerance: f64) -> Result<(), String> {
    let (texts_a, texts_b) = (texts(a), texts(b));
    if texts_a != texts_b {
        let differing = texts_a.iter().zip(&texts_b).find(|(a, b)| a != b);
        return Err(format!("the texts differ, first in {differing:?}"));
    }
    let (shapes_a, shapes_b) = (shapes(a), shapes(b));
    if !shapes_a.keys().eq(shapes_b.keys()) {
        return Err(format!("the kinds of shapes differ: {:?}, {:?}", shapes_a.keys(), shapes_b.keys()));
    }
    for (kind, of_a) in &shapes_a {
        let of_b = &shapes_b[kind];
        for (points, others) in [(of_a, of_b), (of_b, of_a)] {
            for &point in points.iter().flatten() {
                let distance =
                    others.iter().map(|other| distance(point, other)).fold(f64::INFINITY, f64::min);
                // A dashed line has gaps, and where they are depends on its length.
                let gap = if points.len() > 20 && kind.contains("polyline") { 11.0 } else { 0.0 };
                if !(distance <= tolerance + gap) {
                    return Err(format!("{kind}: {point:?} is {distance} units from the nearest one"));
                }
            }
        }
    }
    Ok(())
}

type Point = (f64, f64);

/// The corners of all polylines, polygons and circles, by element and colour.
fn shapes(svg: &str) -> BTreeMap<String, Vec<Vec<Point>>> {
    let mut shapes: BTreeMap<String, Vec<Vec<Point>>> = BTreeMap::new();
    for element in svg.split('<').skip(1) {
        let name = element.split(' ').next().unwrap();
        let attribute =
            |key: &str| element.split(&format!(" {key}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        let points = match name {
            "polyline" | "polygon" => {
                numbers(attribute("points").unwrap()).chunks(2).map(|p| (p[0], p[1])).collect()
            }
            "circle" => vec![(number(attribute("cx")), number(attribute("cy")))],
            _ => continue,
        };
        let colour =
            [attribute("stroke"), attribute("fill")].map(|colour| colour.unwrap_or_default().to_string());
        shapes.entry(format!("{name} {}", colour.join(" "))).or_default().push(points);
    }
    shapes
}

fn number(attribute: Option<&str>) -> f64 {
    attribute.unwrap().parse().unwrap()
}

fn numbers(points: &str) -> Vec<f64> {
    points.split([' ', ',']).filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
}

/// The distance of a point from a line through corners, or from a single point.
fn distance(point: Point, corners: &[Point]) -> f64 {
    let to_segment = |(from, to): (Point, Point)| {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx * dx + dy * dy;
        let along = ((point.0 - from.0) * dx + (point.1 - from.1) * dy) / length;
        let along = if length > 0.0 { along.clamp(0.0, 1.0) } else { 0.0 };
        (point.0 - from.0 - along * dx).hypot(point.1 - from.1 - along * dy)
    };
    let next = corners.iter().skip(1).chain(corners.last());
    corners.iter().copied().zip(next.copied()).map(to_segment).fold(f64::INFINITY, f64::min)
}

fn texts(svg: &str) -> Vec<&str> {
    let ends = svg.match_indices("</text>").map(|(end, _)| &svg[..end]);
    ends.map(|before| before[before.rfind('>').unwrap() + 1..].trim()).collect()
}

// ---- Tapes -------------------------------------------------------------------------------------

#[test]
fn the_tapes_are_what_the_example_draws() {
    // cargo run --release --example cross_entropy_by_hand -- --out out
    let drawn = drawn("cross_entropy_by_hand");
    for name in ["tape_by_hand.svg", "tape_fused.svg"] {
        compare_tapes(&committed(name), &drawn[name]).unwrap();
    }
}

/// Two pictures with the same words and shapes, whose numbers agree to three digits.
fn compare_tapes(a: &str, b: &str) -> Result<(), String> {
    let ((words_a, numbers_a), (words_b, numbers_b)) = (words_and_numbers(a), words_and_numbers(b));
    if words_a != words_b {
        return Err("the words or the shapes differ".into());
    }
    match numbers_a.iter().zip(&numbers_b).find(|(a, b)| !((*a - *b).abs() <= 2e-3 * a.abs())) {
        Some(pair) => Err(format!("numbers differ: {pair:?}")),
        None => Ok(()),
    }
}

fn words_and_numbers(svg: &str) -> (Vec<&str>, Vec<f64>) {
    let (mut words, mut numbers) = (Vec::new(), Vec::new());
    for part in svg.split([' ', '"', '<', '>', '(', ')', ',', '\n']) {
        // A path joins letters and numbers, as in H90.5.
        let digits = part.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        match digits.parse() {
            Ok(number) => numbers.push(number),
            Err(_) => words.push(part),
        }
    }
    (words, numbers)
}

// ---- All of them -------------------------------------------------------------------------------

#[test]
fn every_picture_has_dark_colours_and_true_minus_signs() {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name.ends_with(".svg")).collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        let svg = committed(&name);
        assert!(svg.contains("@media (prefers-color-scheme: dark)"), "{name}");
        // The colours of a diagram are attributes, and each has a rule that exchanges it.
        for (start, _) in svg.match_indices("=\"#") {
            let attribute = &svg[start..].split('"').nth(1).unwrap();
            let property = if svg[..start].ends_with("fill") { "fill" } else { "stroke" };
            assert!(svg.contains(&format!(".chart [{property}=\"{attribute}\"]")), "{name}: {attribute}");
        }
        for text in texts(&svg) {
            let mut after_hyphens = text.split('-').skip(1);
            assert!(
                !after_hyphens.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit())),
                "{name}: {text}"
            );
        }
    }
}

// ---- The comparison itself -----------------------------------------------------------------------

#[test]
fn a_picture_that_has_changed_is_noticed() {
    let diagram = committed("nll_curve.svg");
    assert_eq!(compare_diagrams(&diagram, &diagram, 0.0), Ok(()));
    let renamed = diagram.replacen("the accuracy (%)", "the accuracy", 1);
    assert!(compare_diagrams(&diagram, &renamed, 3.0).unwrap_err().contains("texts differ"));
    // A curve with one point moved by 20 units, or one that ends early.
    let curve = diagram.split("points=\"").map(|rest| rest.split('"').next().unwrap());
    let curve = curve.max_by_key(|points| points.len()).unwrap();
    let mut points: Vec<Point> = numbers(curve).chunks(2).map(|p| (p[0], p[1])).collect();
    let middle = points.len() / 2;
    let with = |points: &[Point]| {
        let text: Vec<String> = points.iter().map(|(x, y)| format!("{x},{y} ")).collect();
        diagram.replacen(curve, &text.concat(), 1)
    };
    assert_eq!(compare_diagrams(&diagram, &with(&points), 0.0), Ok(()));
    assert!(compare_diagrams(&diagram, &with(&points[..middle]), 3.0).is_err());
    points[middle].1 += 20.0;
    assert!(compare_diagrams(&diagram, &with(&points), 3.0).is_err());

    let tape = committed("tape_by_hand.svg");
    assert_eq!(compare_tapes(&tape, &tape), Ok(()));
    assert!(compare_tapes(&tape, &tape.replacen("8.672", "8.772", 1)).is_err());
    assert!(
        compare_tapes(&tape, &tape.replacen("Softmax", "Softmin", 1).replacen("Exp(", "Log(", 1)).is_err()
    );
}
