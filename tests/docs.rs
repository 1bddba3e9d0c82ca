//! What the documents refer to is there, and the numbers in their sentences are what the code gives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use tapegrad::{GradOptions, Indices, Result, Tensor, grad, keepdim};

/// The root of the repository, and its documents.
fn documents() -> (PathBuf, Vec<PathBuf>) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let in_docs = fs::read_dir(root.join("docs")).unwrap().map(|file| file.unwrap().path());
    let mut documents: Vec<PathBuf> =
        in_docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    documents.push(root.join("README.md"));
    (root, documents)
}

#[test]
fn every_place_in_the_source_that_a_document_names_exists() {
    let (root, documents) = documents();
    let mut found = 0;
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            if ["src/", "tests/", "examples/", "benches/"].iter().any(|start| quoted.starts_with(start)) {
                assert!(root.join(quoted).exists(), "{}: {quoted}", document.display());
                found += 1;
            }
        }
    }
    assert!(found > 50, "{found}");
}

#[test]
fn every_link_and_picture_of_a_document_leads_to_a_file() {
    let (_, documents) = documents();
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        let inline = text.match_indices("](").map(|(at, _)| text[at + 2..].split(')').next().unwrap());
        let defined = text
            .lines()
            .filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
            .map(|(_, target)| target);
        for target in
            inline.chain(defined).filter(|target| !target.starts_with("http") && !target.starts_with('#'))
        {
            let path = document.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(path.exists(), "{}: {target}", document.display());
        }
    }
}

/// The chapters in their order: name and text.
fn chapters() -> Vec<(String, String)> {
    let (_, documents) = documents();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    let chapters: BTreeMap<String, String> = documents
        .iter()
        .filter(|path| name(path).starts_with(|c: char| c.is_ascii_digit()))
        .map(|path| (name(path), fs::read_to_string(path).unwrap()))
        .collect();
    assert_eq!(chapters.len(), 13);
    chapters.into_iter().collect()
}

/// The title of a chapter, with its number.
fn title(text: &str) -> &str {
    text.lines().next().unwrap().strip_prefix("# ").unwrap()
}

/// What a chapter ends with: the places in the source, the links to its neighbours, and where links lead.
fn end(text: &str) -> &str {
    let (at, _) = text.match_indices("\n## ").last().unwrap();
    text[at..].strip_prefix("\n## Where this is in the source\n").unwrap_or_else(|| panic!("{}", &text[at..]))
}

fn guide() -> String {
    let (root, _) = documents();
    fs::read_to_string(root.join("src/guide.rs")).unwrap()
}

#[test]
fn every_chapter_is_listed_and_leads_to_its_neighbours() {
    let (root, _) = documents();
    let contents = fs::read_to_string(root.join("docs/README.md")).unwrap();
    let guide = guide();
    let chapters = chapters();
    for (number, (chapter, text)) in (1..).zip(&chapters) {
        let title = title(text);
        assert!(title.starts_with(&format!("{number}. ")), "{chapter}");
        let (_, name) = title.split_once(". ").unwrap();
        assert!(contents.contains(&format!("\n{number}. [{name}]({chapter})\n")), "{chapter}");
        assert!(guide.contains(&format!("\"{chapter}\"")), "{chapter} is not in the documentation");
        assert!(guide.contains(&format!("chapter_{number:02}_")), "{chapter}");
    }
    for neighbours in chapters.windows(2) {
        let [(before, text_before), (after, text_after)] = neighbours else { unreachable!() };
        let back = format!("\n← [{}][{before}] · ", title(text_before));
        assert!(end(text_after).contains(&back), "{after}: no link back");
        let on = format!(" · [{}][{after}] →\n", title(text_after));
        assert!(
            end(text_before).replace("\n[Contents]", "\n · [Contents]").contains(&on),
            "{before}: no link on"
        );
    }
}

/// The floors of the source, from below.
const FLOORS: [&str; 12] = [
    "src/error",
    "src/float",
    "src/kernels/",
    "src/tensor/",
    "src/autograd/",
    "src/ops/",
    "src/data/",
    "src/nn/",
    "src/optim/",
    "src/io/",
    "examples/",
    "tests/",
];

#[test]
fn places_in_the_source_are_links_in_the_order_of_the_floors() {
    let guide = guide();
    let (root, _) = documents();
    let tape = fs::read_to_string(root.join("docs/tape.md")).unwrap();
    for (document, text) in chapters().iter().chain([&("tape.md".to_string(), tape)]) {
        let mut highest = None; // of the first places of the rows so far
        for row in end(text).lines().filter(|line| line.starts_with('|')) {
            let mut in_row = None;
            let before = highest;
            for (at, _) in row.match_indices('`').step_by(2) {
                let place = row[at + 1..].split('`').next().unwrap();
                let floor = FLOORS.iter().position(|floor| place.starts_with(floor));
                if floor.is_none() {
                    continue;
                }
                assert!(floor >= in_row.or(before), "{document}: {place} is further down");
                highest = if in_row.is_none() { floor } else { highest };
                in_row = floor;
                assert!(row[..at].ends_with('['), "{document}: {place} is not a link");
                assert!(end(text).contains(&format!("\n[`{place}`]: ../{place}\n")), "{document}: {place}");
                // In rustdoc, a link to the source page or the module.
                let listed = match place.strip_prefix("src/") {
                    Some(file) if file.ends_with('/') => guide.contains(&format!("\"[`{place}`]: ")),
                    Some(file) => guide.contains(&format!("\"{file}\"")),
                    None => true,
                };
                assert!(listed, "{document}: src/guide.rs does not say where {place} leads");
            }
        }
        assert!(highest.is_some(), "{document}");
    }
    let (_, files) = guide.split_once("sources!(\n").unwrap();
    for file in files.split(')').next().unwrap().split_whitespace() {
        assert!(root.join("src").join(file.trim_matches('"')).exists(), "src/guide.rs: {file}");
    }
}

#[test]
fn every_picture_of_a_chapter_is_given_to_rustdoc() {
    let guide = guide();
    for (chapter, text) in chapters() {
        let entry = guide
            .lines()
            .find(|line| {
                line.contains(&format!("\"{chapter}\")")) || line.contains(&format!("\"{chapter}\","))
            })
            .unwrap();
        let shown: BTreeSet<&str> =
            text.match_indices(".svg)").map(|(at, _)| text[..at + 4].rsplit('(').next().unwrap()).collect();
        let given: BTreeSet<&str> = entry.split('"').filter(|part| part.ends_with(".svg")).collect();
        assert_eq!(shown, given, "{chapter}");
    }
}

/// The box that rustdoc draws around code holds 94 characters.
#[test]
fn no_line_of_code_is_wider_than_the_box_of_rustdoc() {
    let (root, mut documents) = documents();
    documents
        .retain(|path| guide().contains(&format!("\"{}\"", path.file_name().unwrap().to_str().unwrap())));
    documents.push(root.join("src/lib.rs"));
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let mut in_code = false;
        for line in text.lines().map(|line| line.strip_prefix("//! ").unwrap_or(line)) {
            in_code ^= line.starts_with("```");
            assert!(!in_code || line.chars().count() <= 94, "{}: {line}", document.display());
        }
    }
}

// ---- Numbers in sentences ------------------------------------------------------------------------

/// A number in a sentence has its name before it, as a comment that is not shown: `<!-- check ln 3 -->1.0986`.
#[test]
fn every_marked_number_is_what_the_code_gives() -> Result<()> {
    let computed = numbers()?;
    let (_, documents) = documents();
    let mut found = BTreeSet::new();
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for (at, mark) in text.match_indices("<!-- check ") {
            let (name, after) = text[at + mark.len()..].split_once(" -->").unwrap();
            if text[..at].ends_with('`') {
                continue; // an example of a mark
            }
            // At the beginning of a line, a comment would end the paragraph.
            assert!(!text[..at].ends_with('\n'), "{}: {name}", document.display());
            let number = computed.get(name).unwrap_or_else(|| panic!("{}: no {name}", document.display()));
            let stands = after.lines().next().unwrap();
            let rest = stands.strip_prefix(number.as_str());
            let whole = rest.is_some_and(|rest| {
                let rest = rest.trim_start_matches(['.', ',']);
                !rest.starts_with(|c: char| c.is_ascii_digit())
            });
            assert!(whole, "{}: {name} is {number}, but there stands: {stands}", document.display());
            found.insert(name.to_string());
        }
    }
    assert_eq!(found, computed.into_keys().map(String::from).collect(), "numbers that no document has");
    Ok(())
}

/// The numbers by their names, as they stand in the documents.
fn numbers() -> Result<BTreeMap<&'static str, String>> {
    let mut numbers = BTreeMap::new();
    let mut add = |name, number: String| assert!(numbers.insert(name, number).is_none(), "{name}");
    let percent = |p: f64| format!("{:.0} %", 100.0 * p);

    // Chapters 1 to 5: six objects of three classes.
    let logits = Tensor::from([
        [3.8538, 2.9746, -0.9948],
        [0.8792, -1.5163, 2.1566],
        [1.6016, 3.3612, 0.7117],
        [-1.3732, 1.2209, 2.6695],
        [-0.4632, 0.0835, -0.5032],
        [1.7197, -0.6195, -0.7914],
    ])
    .requires_grad();
    let target = Indices::new([0, 1, 0, 2, 2, 0])?;
    let exponentials = logits.exp()?;
    let probabilities = exponentials.div(&exponentials.sum(keepdim(1))?)?;
    let right = probabilities.gather(1, target.unsqueeze(1)?)?.squeeze(1)?;
    let losses = right.log()?.neg()?;
    let loss = losses.mean(..)?;
    add("softmax of class 0", percent(probabilities.get([0, 0])?));
    add("right class of object 0", percent(right.get([0])?));
    add("right class of object 1", percent(right.get([1])?));
    add("loss of six objects", format!("{:.4}", loss.item()?));
    let rounded = right.to_vec().into_iter().map(|p| -((1e4 * p).round() / 1e4).ln()).sum::<f64>() / 6.0;
    add("loss from rounded probabilities", format!("{rounded:.4}"));
    add("loss in the picture", format!("{:.3}", loss.item()?));
    add("least score", format!("{:.3}", logits.min(..)?.item()?));
    add("greatest score", format!("{:.3}", logits.max(..)?.item()?));
    let gradients = grad(&[&loss], &[&losses, &probabilities], &GradOptions::new())?;
    let norm = |x: &Tensor<f64>| x.square()?.sum(..)?.sqrt()?.item();
    add("norm by the losses", format!("{:.4}", norm(&gradients[0])?));
    add("norm by the probabilities", format!("{:.3}", norm(&gradients[1])?));
    let guess = Tensor::from([[0.0f64, 0.0, 0.0]]).cross_entropy([0])?;
    add("ln 3", format!("{:.4}", guess.item()?));

    // Chapter 4.
    add("e^-200", format!("{:.0e}", (-200.0f64).exp()));
    add("smallest f32", format!("{:.0e}", f32::from_bits(1)));
    add("loss of a lead of 20", format!("{:.0e}", Tensor::new([[20.0, 0.0]]).cross_entropy([0])?.item()?));
    let twice = Tensor::from([[30.0f64, 0.0, 0.0]]).softmax(1)?.cross_entropy([0])?;
    add("floor of softmax twice", format!("{:.2}", twice.item()?));

    // Chapters 6 and 7.
    let x = Tensor::from([2.0, 1.0, 0.0]).requires_grad();
    x.cross_entropy(0)?.backward()?;
    let list = |x: &[f64]| format!("({:.4}, {:.4}, {:.4})", x[0], x[1], x[2]);
    add("probabilities of 2, 1, 0", list(&x.detach().softmax(0)?.to_vec()));
    add("gradient at 2, 1, 0", list(&x.grad().unwrap().to_vec()));

    // Chapter 9.
    add("ulp of 1", format!("{:.1e}", f32::EPSILON));
    add("greatest exponent", format!("{:.1}", f64::from(f32::MAX).ln()));
    add("e^-17", format!("{:.0e}", (-17.0f32).exp()));
    let plain = Tensor::new((-12.0f32).exp()).add(1.0)?.log()?.item()?;
    let exact = (-12.0f64).exp().ln_1p();
    add("error of the plain formula at 12", format!("{:.1} %", 100.0 * (f64::from(plain) / exact - 1.0)));

    // The README quotes the table of several passes in docs/benchmarks.md.
    add(
        "speed of cross entropy",
        range(&[
            ("cross_entropy 64 x 3; 1024 x 10; 512 x 1000", &[0, 1, 2]),
            ("cross_entropy 256 x 32,000; 256 x 128,256", &[0, 1]),
        ]),
    );
    add("speed of the perceptron", range(&[("gather; linear classifier step; perceptron step", &[2])]));
    add(
        "speed of products",
        range(&[
            ("matmul 1024 x 1024 x 1024, one and two threads", &[1]),
            ("matmul 512 x 512 x 32,000, one and two threads", &[1]),
        ]),
    );
    Ok(numbers)
}

/// From the least to the greatest ratio in some lines of the table; each has several groups of ratios, `1, 2; 3, 4`.
fn range(lines: &[(&str, &[usize])]) -> String {
    let (root, _) = documents();
    let text = fs::read_to_string(root.join("docs/benchmarks.md")).unwrap();
    let mut ratios: Vec<f64> = Vec::new();
    for (name, groups) in lines {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("| {name} | "))).unwrap();
        let all: Vec<&str> = line.trim_end_matches(" |").split("; ").collect();
        ratios.extend(
            groups.iter().flat_map(|&group| all[group].split(", ")).map(|x| x.parse::<f64>().unwrap()),
        );
    }
    ratios.sort_by(f64::total_cmp);
    format!("{} to {} times", ratios[0], ratios[ratios.len() - 1])
}

/// The numbers of the diagram in chapter 6, where a mark would be shown.
#[test]
fn the_steps_on_paper_are_what_the_code_gives() -> Result<()> {
    let (root, _) = documents();
    let text = fs::read_to_string(root.join("docs/06-backward-by-hand.md")).unwrap();
    let a = Tensor::from([2.0f64, 1.0, 0.0]).exp()?;
    let s = a.sum(..)?;
    let p = a.div(&s)?;
    let (a, s, p) = (a.to_vec(), s.item()?, p.to_vec());
    for line in [
        format!("= ({:.4}, {:.4}, {})", a[0], a[1], a[2]),
        format!("= {s:.4}"),
        format!("= ({:.4}, {:.4}, {:.4})", p[0], p[1], p[2]),
        format!("= {:.4}", p[0]),
        format!("= {:.4}", -p[0].ln()),
    ] {
        assert!(text.contains(&format!(" {line}\n")), "{line}");
    }
    Ok(())
}
