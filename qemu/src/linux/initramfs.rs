//! The initial RAM disk: our init, the modules that the work needs, captured pages.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Console;
use super::cpio::Archive;
use super::modules::Modules;
use super::package::Kernel;
use crate::bundle;
use crate::pages::{self, PAGE};

/// Pages in the memory of a guest that fills its memory: enough to differ, and few beside the
/// memory itself.
const SWAP_PAGES: usize = 1024;

/// What a guest's init is to do, and what it finds for that.
#[derive(Clone, Copy)]
pub(crate) struct Content<'a> {
    /// Such as `swap:256M:60`.
    pub(crate) work: &'a str,
    pub(crate) console: Console,
    /// Captured pages; without them, those that are kept.
    pub(crate) pages: Option<&'a Path>,
    /// An archive of programs.
    pub(crate) root: Option<&'a Path>,
    /// A script for its shell.
    pub(crate) script: Option<&'a Path>,
}

impl<'a> Content<'a> {
    /// For this work, with a PL011 and nothing further.
    pub(crate) fn of(work: &'a str) -> Self {
        Self { work, console: Console::Pl011, pages: None, root: None, script: None }
    }
}

/// The archive.
pub(crate) fn build(kernel: &Kernel, init: &Path, content: &Content<'_>) -> Result<Vec<u8>> {
    let kind = content.work.split(':').next().unwrap_or_default();
    let mut wanted: Vec<&str> = match kind {
        "swap" | "outgrow" | "pageout" | "munmap" => vec!["virtio_mmio", "virtio_blk"],
        "peer" => vec!["lz4", "zram"],
        _ => Vec::new(),
    };
    if content.console == Console::Virtio {
        wanted.extend(["virtio_mmio", "virtio_console"]);
    }
    let pages = match kind {
        "swap" | "fill" | "outgrow" | "pageout" | "munmap" | "peer" => {
            let given = content.pages.map_or_else(pages::kept, |path| Ok(path.to_owned()))?;
            bundle::read_pages(&given)?
        }
        _ => Vec::new(),
    };
    let pages = if matches!(kind, "swap" | "fill" | "outgrow" | "pageout") {
        &pages[..pages.len().min(SWAP_PAGES * PAGE)]
    } else {
        &pages
    };
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut archive = Archive::default();
    ["dev", "proc", "sys", "modules"].iter().for_each(|name| archive.folder(name));
    // The kernel opens it for init, which has no other way to say anything.
    archive.device("dev/console", 5, 1);
    let init = read(init)?;
    archive.file("init", &init);
    if let Some(script) = content.script {
        archive.file("script", &read(script)?);
    }
    let mut order = String::new();
    for module in Modules::find(&kernel.modules)?.in_order(&wanted)? {
        let name = format!("modules/{}.ko", module.name);
        archive.file(&name, &module.content);
        order.push_str(&format!("/{name}\n"));
    }
    archive.file("modules/order", order.as_bytes());
    if !pages.is_empty() {
        archive.file("pages", pages);
    }
    let mut bytes = archive.finish();
    if let Some(root) = content.root {
        // Linux unpacks archives one behind the other; each begins where a word does.
        bytes.extend(read(root)?);
        let mut practice = Archive::default();
        practice.file("usr/bin/practice", &init);
        bytes.extend(practice.finish());
    }
    Ok(bytes)
}
