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

/// An archive for work such as `swap:256M:60`.
pub(crate) fn build(
    kernel: &Kernel,
    init: &Path,
    work: &str,
    console: Console,
    given: Option<&Path>,
) -> Result<Vec<u8>> {
    let kind = work.split(':').next().unwrap_or_default();
    let mut wanted: Vec<&str> = match kind {
        "swap" | "outgrow" | "pageout" | "munmap" => vec!["virtio_mmio", "virtio_blk"],
        "peer" => vec!["lz4", "zram"],
        _ => Vec::new(),
    };
    if console == Console::Virtio {
        wanted.extend(["virtio_mmio", "virtio_console"]);
    }
    let pages = match kind {
        "swap" | "fill" | "outgrow" | "pageout" | "munmap" | "peer" => {
            bundle::read_pages(&given.map_or_else(pages::kept, |path| Ok(path.to_owned()))?)?
        }
        _ => Vec::new(),
    };
    let pages = if matches!(kind, "swap" | "fill" | "outgrow" | "pageout") {
        &pages[..pages.len().min(SWAP_PAGES * PAGE)]
    } else {
        &pages
    };
    let mut archive = Archive::default();
    ["dev", "proc", "sys", "modules"].iter().for_each(|name| archive.folder(name));
    // The kernel opens it for init, which has no other way to say anything.
    archive.device("dev/console", 5, 1);
    archive
        .file("init", &fs::read(init).with_context(|| format!("cannot read {}", init.display()))?);
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
    Ok(archive.finish())
}
