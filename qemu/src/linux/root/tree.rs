//! Files of several packages as one tree, with `/bin`, `/lib` and `/sbin` inside `/usr` as Debian
//! has them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};

use crate::linux::cpio::Archive;

/// Folders that are links into `/usr`, whichever of the two places a package names.
const MERGED: [&str; 3] = ["bin", "lib", "sbin"];
/// What nobody needs to run a program.
const LEFT_OUT: [&str; 5] =
    ["usr/share/doc", "usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man"];

enum Node {
    Folder,
    File { rights: u32, content: Vec<u8> },
    Link(String),
}

/// By path, without a slash before it. A folder comes before what is in it, in that order too.
pub(super) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// One without a package: the links, the folders that a running system fills, and root's name.
    pub(super) fn merged() -> Self {
        let mut tree = Self(BTreeMap::new());
        for name in MERGED {
            tree.put(name.to_owned(), Node::Link(format!("usr/{name}")));
            tree.put(format!("usr/{name}"), Node::Folder);
        }
        for name in ["root", "run", "tmp"] {
            tree.put(name.to_owned(), Node::Folder);
        }
        for (name, text) in
            [("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n")]
        {
            let content = text.as_bytes().to_vec();
            tree.put(format!("etc/{name}"), Node::File { rights: 0o644, content });
        }
        tree
    }

    /// Adds what a package holds.
    ///
    /// # Errors
    /// Something that is no tar archive, or has names that lead out of it.
    pub(super) fn add(&mut self, package: impl Read) -> Result<()> {
        for entry in tar::Archive::new(package).entries()? {
            let mut entry = entry?;
            let name = place(&entry.path()?)?;
            if name.is_empty() || LEFT_OUT.iter().any(|folder| Path::new(&name).starts_with(folder))
            {
                continue;
            }
            let target = entry.link_name()?.map(|path| path.into_owned());
            let kind = entry.header().entry_type();
            let node = if kind.is_dir() {
                Node::Folder
            } else if kind.is_file() {
                let rights = entry.header().mode()?;
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                Node::File { rights, content }
            } else if kind.is_symlink() {
                let target = target.with_context(|| format!("{name} leads nowhere"))?;
                Node::Link(text(&target)?.to_owned())
            } else if kind.is_hard_link() {
                // The same file by another name, which a symbolic link is as well.
                let target = target.with_context(|| format!("{name} leads nowhere"))?;
                Node::Link(format!("/{}", place(&target)?))
            } else {
                bail!("{name} is no file, folder or link");
            };
            self.put(name, node);
        }
        Ok(())
    }

    /// Adds a node below folders that may not be there yet; a folder that is there stays.
    fn put(&mut self, name: String, node: Node) {
        for (end, _) in name.match_indices('/') {
            self.0.entry(name[..end].to_owned()).or_insert(Node::Folder);
        }
        if matches!(node, Node::Folder) {
            self.0.entry(name).or_insert(node);
        } else {
            self.0.insert(name, node);
        }
    }

    /// All of it.
    pub(super) fn archive(&self) -> Vec<u8> {
        let mut archive = Archive::default();
        for (name, node) in &self.0 {
            match node {
                Node::Folder => archive.folder(name),
                Node::File { rights, content } => archive.file_with(name, *rights, content),
                Node::Link(target) => archive.link(name, target),
            }
        }
        archive.finish()
    }
}

/// Where a package's file goes.
fn place(path: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir | Component::RootDir => {}
            Component::Normal(part) => parts.push(text(Path::new(part))?),
            _ => bail!("{} leads out of the package", path.display()),
        }
    }
    if parts.first().is_some_and(|first| MERGED.contains(first)) {
        parts.insert(0, "usr");
    }
    Ok(parts.join("/"))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Node, Tree, place};

    fn package(files: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            if kind.is_file() {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, name, content.as_bytes()).expect("in memory");
            } else {
                header.set_size(0);
                builder.append_link(&mut header, name, content).expect("in memory");
            }
        }
        builder.into_inner().expect("in memory")
    }

    #[test]
    fn two_packages_become_one_tree() {
        use tar::EntryType::{Link, Regular, Symlink};
        let mut tree = Tree::merged();
        for files in [
            [("./bin/dash", Regular, "dash"), ("./bin/sh", Symlink, "dash")],
            [("./usr/bin/perl5", Regular, "perl"), ("./usr/bin/perl", Link, "./usr/bin/perl5")],
            [("./lib/a/b.so", Regular, "b"), ("./usr/share/doc/x", Regular, "words")],
        ] {
            tree.add(package(&files).as_slice()).expect("good");
        }
        let link = |name: &str| match tree.0.get(name) {
            Some(Node::Link(target)) => target.as_str(),
            _ => "none",
        };
        assert_eq!(link("bin"), "usr/bin");
        assert_eq!(link("usr/bin/sh"), "dash");
        assert_eq!(link("usr/bin/perl"), "/usr/bin/perl5");
        let file = |name: &str| match tree.0.get(name) {
            Some(Node::File { content, .. }) => String::from_utf8_lossy(content).into_owned(),
            _ => "none".into(),
        };
        assert_eq!((file("usr/bin/dash"), file("usr/lib/a/b.so")), ("dash".into(), "b".into()));
        assert!(matches!(tree.0.get("usr/lib/a"), Some(Node::Folder)));
        assert!(!tree.0.keys().any(|name| name.contains("doc/")), "documentation");
        assert!(tree.archive().starts_with(b"070701"));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        assert_eq!(place(Path::new("./sbin/x")).expect("good"), "usr/sbin/x");
        assert_eq!(place(Path::new("./usr/lib/x")).expect("good"), "usr/lib/x");
        assert_eq!(place(Path::new("./")).expect("good"), "");
        assert!(place(Path::new("../x")).is_err() && place(Path::new("a/../../x")).is_err());
        assert!(Tree::merged().add(&b"no archive at all"[..]).is_err());
    }
}
