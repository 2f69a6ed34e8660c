//! What the documents say of the tree is so: files that they name are there.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tool lies in the workspace").to_owned()
}

/// Paths of files that a document names between backticks, beside the part of the tree that it speaks of.
fn named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| word.contains('/') && !word.contains([' ', '*', '<']) && word.ends_with(".rs"))
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
