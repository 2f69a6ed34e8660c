//! No circle of modules in any crate of the workspace, save a module and its own children.
//!
//! A file counts as importing another when a `use` or a path in it names an item that the other
//! file defines; a name that a module only passes on (`pub use`) counts for the file that defines
//! it. What is behind `#[cfg(test)]` is left out, and so are paths inside of macros' arguments.

#[path = "circles/graph.rs"]
mod graph;
#[path = "circles/modules.rs"]
mod modules;

use std::path::{Path, PathBuf};

use modules::Crate;

/// Crates that still have circles, and the most files that one of theirs may have: none may grow.
const KNOWN: [(&str, usize); 5] = [
    ("allocator", 6),
    ("kernel/io", 5),
    ("kernel/vmm", 17),
    ("qemu", 7),
    ("qemu/guests/linux-init", 2),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tool lies in the workspace")
        .to_owned()
}

/// The folders of the workspace's members, as its manifest lists them.
fn members(root: &Path) -> Vec<String> {
    let manifest =
        std::fs::read_to_string(root.join("Cargo.toml")).expect("the workspace has a manifest");
    let manifest: toml_edit::DocumentMut = manifest.parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array().expect("a list of members");
    members.iter().map(|member| member.as_str().expect("a folder").to_owned()).collect()
}

#[test]
fn no_circle_of_modules() {
    let root = root();
    let mut found = Vec::new();
    for folder in members(&root) {
        let name = |file: &Path| file.strip_prefix(&root).unwrap_or(file).display().to_string();
        let member = Crate::read(&root.join(&folder));
        for circle in member.circles() {
            let files: Vec<String> = circle.iter().map(|file| name(file)).collect();
            let known =
                KNOWN.iter().find(|(known, _)| *known == folder).map_or(0, |(_, most)| *most);
            if files.len() > known {
                found.push(format!(
                    "{}\n  {}",
                    files.join("\n    "),
                    member.ties(&circle).join("\n  ")
                ));
            }
        }
    }
    assert!(
        found.is_empty(),
        "these files import each other in a circle:\n    {}",
        found.join("\n\n    ")
    );
}

/// A crate in a folder of its own, of these files below `src`.
fn planted(name: &str, files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let folder = std::env::temp_dir().join(format!("bale-circles-{}-{name}", std::process::id()));
    for (file, text) in files {
        let path = folder.join("src").join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder to write to");
        std::fs::write(path, text).expect("a file to write");
    }
    let circles = Crate::read(&folder).circles();
    std::fs::remove_dir_all(&folder).expect("our own folder");
    let short =
        |path: &Path| path.strip_prefix(folder.join("src")).expect("inside").display().to_string();
    circles.iter().map(|circle| circle.iter().map(|file| short(file)).collect()).collect()
}

#[test]
fn a_planted_circle_is_found() {
    let lib = ("lib.rs", "pub mod a; pub mod b;");
    let both = [
        lib,
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B; fn f(_: crate::a::A) {}"),
    ];
    assert_eq!(planted("two", &both), [["a.rs", "b.rs"]]);
    let passed_on = [
        ("lib.rs", "pub mod a; mod b; pub use b::B;"),
        ("a.rs", "use crate::B; pub struct A(B);"),
        ("b.rs", "use super::a; pub struct B; fn f(_: a::A) {}"),
    ];
    assert_eq!(planted("passed", &passed_on), [["a.rs", "b.rs"]]);
    let through_a_child = [
        lib,
        ("a.rs", "mod x; pub struct A;"),
        ("a/x.rs", "use crate::b::B; use super::A; fn f(_: A, _: B) {}"),
        ("b.rs", "use crate::a::A; pub struct B; fn f(_: A) {}"),
    ];
    assert_eq!(
        planted("child", &through_a_child),
        Vec::<Vec<String>>::new(),
        "a does not use its child"
    );
    let through_a_used_child = [
        through_a_child[0],
        ("a.rs", "mod x; pub struct A; fn f() { x::g() }"),
        through_a_child[2],
        through_a_child[3],
    ];
    assert_eq!(planted("used", &through_a_used_child), [["a/x.rs", "a.rs", "b.rs"]]);
}

#[test]
fn a_module_and_its_children_are_none() {
    let family = [
        ("lib.rs", "pub mod a; use a::A; pub const SIZE: usize = 1; fn f(_: A) {}"),
        (
            "a.rs",
            "mod x; mod y; use crate::SIZE; pub struct A([u8; SIZE]); fn f() { x::g(); y::g() }",
        ),
        ("a/x.rs", "use super::A; pub fn g() {} fn h(_: A) { super::y::g() }"),
        ("a/y.rs", "use super::A; pub fn g() {} fn h(_: A) {}"),
    ];
    assert_eq!(planted("family", &family), Vec::<Vec<String>>::new());
    let tests_only = [
        ("lib.rs", "pub mod a; pub mod b;"),
        ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
        ("b.rs", "use crate::a::A; pub struct B(A);"),
    ];
    assert_eq!(planted("tests", &tests_only), Vec::<Vec<String>>::new());
}
