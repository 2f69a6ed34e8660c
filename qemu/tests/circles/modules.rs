//! The modules of a crate, a file each, and which names what of which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

use super::graph;

/// A module that has a file of its own.
struct Module {
    /// Its path in the crate, as `["task", "switch"]`; empty for the root.
    path: Vec<String>,
    file: PathBuf,
    /// Paths that it names, each as its words, seen from the root of the crate.
    named: BTreeSet<Vec<String>>,
    /// Names that it passes on: what each stands for, seen from the root of the crate.
    passed: BTreeMap<String, Vec<String>>,
}

/// All modules of one crate.
pub(crate) struct Crate {
    modules: Vec<Module>,
}

impl Crate {
    /// Reads the files below `src` of a crate's folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let src = folder.join("src");
        let mut modules = Vec::new();
        let mut open = vec![src.clone()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    modules.push(Module::read(&src, path));
                }
            }
        }
        modules.sort_by(|a, b| a.file.cmp(&b.file));
        Self { modules }
    }

    /// Files that import each other in a circle, but for a module and its own children.
    pub(crate) fn circles(&self) -> Vec<Vec<PathBuf>> {
        let next: Vec<Vec<usize>> =
            self.modules.iter().enumerate().map(|(at, module)| self.next(at, module)).collect();
        let all: Vec<usize> = (0..self.modules.len()).collect();
        let mut found = Vec::new();
        let mut open = graph::components(&all, &next);
        while let Some(circle) = open.pop() {
            // A family is no circle; what remains without its head may be one.
            let is_head = |&&head: &&usize| circle.iter().all(|&other| self.is_inside(other, head));
            match circle.iter().find(is_head) {
                Some(&head) => {
                    let rest: Vec<usize> =
                        circle.iter().copied().filter(|&node| node != head).collect();
                    open.extend(graph::components(&rest, &next));
                }
                None => {
                    found.push(circle.iter().map(|&node| self.modules[node].file.clone()).collect())
                }
            }
        }
        found.sort();
        found
    }

    /// What ties files together: a line for each that names something of another one.
    pub(crate) fn ties(&self, circle: &[PathBuf]) -> Vec<String> {
        let mut ties = Vec::new();
        for (at, module) in
            self.modules.iter().enumerate().filter(|(_, module)| circle.contains(&module.file))
        {
            let mut names: BTreeMap<usize, Vec<String>> = BTreeMap::new();
            for path in &module.named {
                if let Some(other) = self.defined_in(path, 0).filter(|&other| other != at) {
                    names.entry(other).or_default().push(path.join("::"));
                }
            }
            for (other, names) in
                names.iter().filter(|(other, _)| circle.contains(&self.modules[**other].file))
            {
                let (from, to) = (module.path.join("::"), self.modules[*other].path.join("::"));
                ties.push(format!("{from} -> {to}: {}", names.join(", ")));
            }
        }
        ties
    }

    /// Whether a module is another one or lies below it.
    fn is_inside(&self, node: usize, head: usize) -> bool {
        self.modules[node].path.starts_with(&self.modules[head].path)
    }

    fn next(&self, at: usize, module: &Module) -> Vec<usize> {
        let named = module.named.iter().filter_map(|path| self.defined_in(path, 0));
        named.filter(|&other| other != at).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The module whose file defines what a path names.
    fn defined_in(&self, path: &[String], hops: usize) -> Option<usize> {
        // The longest front of the path that is a module; what is behind it is an item of it.
        let (at, rest) = (0..=path.len()).rev().find_map(|length| {
            let at = self.modules.iter().position(|module| module.path == path[..length])?;
            Some((at, &path[length..]))
        })?;
        let module = &self.modules[at];
        let Some((name, behind)) = rest.split_first() else { return Some(at) };
        if hops > 8 {
            return Some(at);
        }
        if let Some(real) = module.passed.get(name) {
            let real: Vec<String> = real.iter().chain(behind).cloned().collect();
            return self.defined_in(&real, hops + 1).or(Some(at));
        }
        Some(at)
    }
}

impl Module {
    fn read(src: &Path, file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let syntax =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let below = file.strip_prefix(src).expect("found below it").with_extension("");
        let mut path: Vec<String> =
            below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if ["lib", "main"].contains(&path[0].as_str()) && path.len() == 1 {
            path.clear();
        }
        let mut module = Self { path, file, named: BTreeSet::new(), passed: BTreeMap::new() };
        module.visit_file(&syntax);
        module
    }

    /// A path as seen from the root of the crate, if it leads into the crate.
    fn absolute(&self, words: &[String]) -> Option<Vec<String>> {
        let (first, rest) = words.split_first()?;
        let mut path = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.path.clone(),
            "super" => self.path[..self.path.len().saturating_sub(1)].to_vec(),
            // A module below this one, or a name that was brought in by `use`, which is seen there.
            _ => {
                let child: Vec<String> = self.path.iter().chain([first]).cloned().collect();
                let folder = self.file.with_extension("");
                let below =
                    if self.path.is_empty() { self.file.parent()? } else { folder.as_path() };
                return below
                    .join(first)
                    .with_extension("rs")
                    .is_file()
                    .then(|| child.into_iter().chain(rest.iter().cloned()).collect());
            }
        };
        let mut rest = rest;
        while let Some((word, behind)) = rest.split_first().filter(|(word, _)| *word == "super") {
            debug_assert_eq!(word, "super");
            path.pop();
            rest = behind;
        }
        path.extend(rest.iter().cloned());
        Some(path)
    }

    fn take_use(&mut self, tree: &syn::UseTree, before: &mut Vec<String>, public: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.take_use(&path.tree, before, public);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.take_use(item, before, public))
            }
            syn::UseTree::Name(name) => {
                self.take_name(before, &name.ident.to_string(), None, public)
            }
            syn::UseTree::Rename(rename) => {
                self.take_name(
                    before,
                    &rename.ident.to_string(),
                    Some(rename.rename.to_string()),
                    public,
                );
            }
            syn::UseTree::Glob(_) => {
                if let Some(path) = self.absolute(before) {
                    self.named.insert(path);
                }
            }
        }
    }

    fn take_name(&mut self, before: &[String], name: &str, renamed: Option<String>, public: bool) {
        let mut words = before.to_vec();
        if name != "self" {
            words.push(name.to_owned());
        }
        let Some(path) = self.absolute(&words) else { return };
        if public {
            // Passing on is no use of it: whoever names it here uses the file that defines it.
            let known_as = renamed.or_else(|| words.last().cloned()).unwrap_or_default();
            self.passed.insert(known_as, path);
        } else {
            self.passed.insert(
                renamed.unwrap_or_else(|| words.last().cloned().unwrap_or_default()),
                path.clone(),
            );
            self.named.insert(path);
        }
    }
}

/// Whether an item is there for tests alone.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            let public = !matches!(item.vis, syn::Visibility::Inherited);
            self.take_use(&item.tree, &mut Vec::new(), public);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if words.len() > 1
            && let Some(path) = self.absolute(&words)
        {
            self.named.insert(path);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_macro(&mut self, _item: &'ast syn::ItemMacro) {}
}
