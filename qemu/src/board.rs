//! What a board starts from: the loader, the kernel, the bundle, and what the user says about the boot.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::build::{self, Built};
use crate::cli::{FlashOptions, ImageOptions, SetupOptions};
use crate::disk::{self, File};
use crate::flash::{self, Choice};
use crate::run::Bundle;
use crate::{setup, workspace};

/// Where UEFI looks for a loader on a disk that it knows nothing of (UEFI 2.10, 3.5.1.1).
const LOADER: &str = "EFI/BOOT/BOOTAA64.EFI";

/// The files of the partition. They are the same for every board: what a board has, its firmware says.
pub(crate) fn files(
    built: &Built,
    loader: &Path,
    bundle: Option<&Path>,
    arguments: &str,
) -> Result<Vec<File>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut files = vec![
        File { path: LOADER.into(), bytes: read(loader)? },
        File { path: "bale/kernel.elf".into(), bytes: read(&built.elf)? },
    ];
    if let Some(bundle) = bundle {
        files.push(File { path: "bale/bundle.tar".into(), bytes: read(bundle)? });
    }
    ensure!(!arguments.contains(['"', '\\']), "boot arguments cannot have quotes or backslashes");
    let text = format!(
        "# Boot arguments: `log=defmt` sends the log as frames for `cargo bale log`.\narguments = \"{arguments}\"\n"
    );
    files.push(File { path: "bale.toml".into(), bytes: text.into_bytes() });
    Ok(files)
}

/// Builds everything that a board starts from.
fn made(setup: &SetupOptions, no_guest: bool, arguments: &str) -> Result<Vec<File>> {
    let built = build::build(setup)?;
    let loader = build::loader(setup::toolchain(setup)?)?;
    let bundle = if no_guest { None } else { Some(Bundle::make(&built, None)?) };
    files(&built, &loader, bundle.as_ref().map(Bundle::path), arguments)
}

/// `cargo bale image`.
pub(crate) fn image(options: &ImageOptions) -> Result<u8> {
    let files = made(&options.setup, options.no_guest, &options.arguments)?;
    let image = disk::image(&files)?;
    let out = match &options.out {
        Some(out) => out.clone(),
        None => workspace::own_folder()?.join("radxa-o6.img"),
    };
    fs::write(&out, &image).with_context(|| format!("cannot write {}", out.display()))?;
    for file in &files {
        println!("{:>10}  {}", file.bytes.len(), file.path);
    }
    println!("{:>10}  {}", image.len(), out.display());
    Ok(0)
}

/// `cargo bale flash`.
pub(crate) fn flash(options: &FlashOptions) -> Result<u8> {
    let files = made(&options.setup, options.no_guest, &options.arguments)?;
    match (&options.to, &options.device) {
        (Some(folder), _) => flash::to_folder(&files, folder)?,
        (None, Some(device)) => {
            let force = options.force.as_deref();
            flash::to_device(&files, &Choice { device, force, yes: options.overwrite })?;
        }
        (None, None) => anyhow::bail!("--device names the disk, or --to a folder"),
    }
    Ok(0)
}
