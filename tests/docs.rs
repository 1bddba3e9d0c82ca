//! What the documents refer to is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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

#[test]
fn every_chapter_is_listed_and_ends_with_where_it_is_in_the_source() {
    let (root, documents) = documents();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    let chapters: BTreeSet<String> = documents
        .iter()
        .map(|path| name(path))
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert_eq!(chapters.len(), 13);
    let contents = fs::read_to_string(root.join("docs/README.md")).unwrap();
    let module = fs::read_to_string(root.join("src/guide.rs")).unwrap();
    for (number, chapter) in (1..).zip(&chapters) {
        let text = fs::read_to_string(root.join("docs").join(chapter)).unwrap();
        assert!(text.starts_with(&format!("# {number}. ")), "{chapter}");
        let last = text.match_indices("\n## ").last().unwrap().0;
        assert!(text[last..].starts_with("\n## Where this is in the source\n"), "{chapter}");
        assert!(contents.contains(&format!("({chapter})")), "{chapter} is not in the table of contents");
        assert!(module.contains(&format!("\"{chapter}\"")), "{chapter} is not in the documentation");
    }
}
