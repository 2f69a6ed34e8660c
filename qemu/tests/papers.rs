//! What the documents say of the tree is so: files that they name are there. And comments are to be
//! read without scrolling: none is wider than a hundred columns.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tool lies in the workspace")
        .to_owned()
}

/// Paths of files that a document names between backticks, beside the part of the tree that it
/// speaks of.
fn named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| {
            word.contains('/') && !word.contains([' ', '*', '<']) && word.ends_with(".rs")
        })
        .collect()
}

#[test]
fn files_that_documents_name_are_there() {
    let mut missing = Vec::new();
    for (document, bases) in [
        ("kernel/ARCHITECTURE.md", ["kernel", "."].as_slice()),
        (".github/CONTRIBUTING.md", &["."]),
        ("README.md", &["."]),
    ] {
        let text = std::fs::read_to_string(root().join(document)).expect("the document is there");
        for file in named(&text) {
            if !bases.iter().any(|base| root().join(base).join(file).is_file()) {
                missing.push(format!("{document}: {file}"));
            }
        }
    }
    assert!(missing.is_empty(), "named, but not there:\n{}", missing.join("\n"));
}

#[test]
fn a_name_between_backticks_is_found() {
    assert_eq!(named("as `a/b.rs` says, not `a b/c.rs`, `d.rs` or a/e.rs"), ["a/b.rs"]);
}

/// Columns that a comment may have.
const WIDEST: usize = 100;

/// Whether a line is a comment that is too wide; a table keeps its rows.
fn is_too_wide(line: &str) -> bool {
    let text = line.trim_start();
    let row = text.trim_start_matches(['/', '!']).trim_start().starts_with('|');
    text.starts_with("//") && !row && line.chars().count() > WIDEST
}

/// Every Rust file below a folder, but for what is built.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        if path.is_dir() && !hidden && name != "target" {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn comments_fit() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 400, "only {} files were found", files.len());
    let mut wide = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        let lines = text.lines().enumerate().filter(|(_, line)| is_too_wide(line));
        wide.extend(lines.map(|(at, _)| format!("{}:{}", file.display(), at + 1)));
    }
    assert!(wide.is_empty(), "comments wider than {WIDEST} columns:\n{}", wide.join("\n"));
}

#[test]
fn a_wide_comment_is_found() {
    let words = "word ".repeat(20);
    assert!(is_too_wide(&format!("    /// {words}")));
    assert!(
        !is_too_wide(&format!("    /// | {words}|"))
            && !is_too_wide(&format!("let a = {words:?};"))
    );
}
