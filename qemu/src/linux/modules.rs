//! Kernel modules: which ones, and in which order they load.
//!
//! A package has no `modules.dep`; each module says itself, in its section `.modinfo`, what it
//! depends on.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};

/// A module, ready to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

/// The modules of a kernel.
pub(crate) struct Modules {
    files: HashMap<String, PathBuf>,
    builtin: Vec<String>,
}

impl Modules {
    /// Looks at a folder `lib/modules/VERSION`.
    pub(crate) fn find(folder: &Path) -> Result<Self> {
        let list = folder.join("modules.builtin");
        let builtin =
            fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let mut modules = Self { files: HashMap::new(), builtin: Vec::new() };
        modules.builtin = builtin.lines().filter_map(|line| name_of(Path::new(line))).collect();
        modules.walk(&folder.join("kernel"))?;
        Ok(modules)
    }

    fn walk(&mut self, folder: &Path) -> Result<()> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                self.walk(&path)?;
            } else if let Some(name) = name_of(&path) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    /// These modules and what they need, in the order in which they load; what is built into the
    /// kernel is left out.
    pub(crate) fn in_order(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        order(wanted, &|name| self.builtin.iter().any(|built| built == name), &|name| {
            let path = self.files.get(name);
            let path =
                path.with_context(|| format!("the kernel's package has no module {name}"))?;
            let content = unpacked(path)?;
            let needs =
                depends(&content).with_context(|| format!("{} is no module", path.display()))?;
            Ok((Module { name: name.to_owned(), content }, needs))
        })
    }
}

type Load<'a> = dyn Fn(&str) -> Result<(Module, Vec<String>)> + 'a;

fn order(wanted: &[&str], built_in: &dyn Fn(&str) -> bool, load: &Load<'_>) -> Result<Vec<Module>> {
    let mut done = Vec::new();
    for name in wanted {
        visit(name, built_in, load, &mut done, &mut Vec::new())?;
    }
    Ok(done)
}

fn visit(
    name: &str,
    built_in: &dyn Fn(&str) -> bool,
    load: &Load<'_>,
    done: &mut Vec<Module>,
    above: &mut Vec<String>,
) -> Result<()> {
    let name = name.replace('-', "_");
    if built_in(&name) || done.iter().any(|module| module.name == name) {
        return Ok(());
    }
    ensure!(!above.contains(&name), "module {name} needs itself");
    let (module, needs) = load(&name)?;
    above.push(name);
    for needed in needs {
        visit(&needed, built_in, load, done, above)?;
    }
    above.pop();
    done.push(module);
    Ok(())
}

/// `virtio_blk` for `.../virtio-blk.ko.xz`.
fn name_of(path: &Path) -> Option<String> {
    let (name, kind) = path.file_name()?.to_str()?.split_once('.')?;
    matches!(kind, "ko" | "ko.xz" | "ko.zst").then(|| name.replace('-', "_"))
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|kind| kind.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    let output = Command::new(program).arg("-dc").arg(path).output();
    let output =
        output.with_context(|| format!("`{program}` unpacks the modules; it does not start"))?;
    ensure!(output.status.success(), "`{program}` cannot unpack {}", path.display());
    Ok(output.stdout)
}

/// Names behind `depends=` in the section `.modinfo`.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module)?;
    let Some(section) = file.section_by_name(".modinfo") else {
        bail!("it has no section .modinfo")
    };
    Ok(section
        .data()?
        .split(|byte| *byte == 0)
        .filter_map(|entry| core::str::from_utf8(entry).ok()?.strip_prefix("depends="))
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::{Result, bail};

    use super::{Module, depends, name_of, order};

    fn load(name: &str) -> Result<(Module, Vec<String>)> {
        let needs: &[&str] = match name {
            "virtio_blk" | "virtio_mmio" => &["virtio", "virtio-ring"],
            "virtio" | "virtio_ring" => &["core"],
            "a" => &["b"],
            "b" => &["a"],
            other => bail!("no {other}"),
        };
        let needs = needs.iter().map(|name| (*name).to_owned()).collect();
        Ok((Module { name: name.to_owned(), content: vec![] }, needs))
    }

    fn names(wanted: &[&str]) -> Result<Vec<String>> {
        let modules = order(wanted, &|name| name == "core", &load)?;
        Ok(modules.into_iter().map(|module| module.name).collect())
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        assert_eq!(
            names(&["virtio_mmio", "virtio-blk"]).expect("good"),
            ["virtio", "virtio_ring", "virtio_mmio", "virtio_blk"]
        );
        assert!(names(&[]).expect("good").is_empty());
    }

    #[test]
    fn missing_modules_and_circles_are_errors() {
        assert!(names(&["zram"]).expect_err("missing").to_string().contains("zram"));
        assert!(names(&["a"]).expect_err("a circle").to_string().contains("needs itself"));
    }

    #[test]
    fn names_are_those_of_the_kernel() {
        assert_eq!(name_of(Path::new("kernel/virtio-rng.ko.xz")).as_deref(), Some("virtio_rng"));
        assert_eq!(name_of(Path::new("zram.ko")).as_deref(), Some("zram"));
        assert_eq!(name_of(Path::new("modules.dep")), None);
    }

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        for bytes in [&b""[..], b"\x7fELF", &[0; 4096]] {
            assert!(depends(bytes).is_err());
        }
    }
}
