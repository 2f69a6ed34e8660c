//! What a board starts from: the loader, the kernel, the bundle, and what the user says about the
//! boot.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use bale_core::boot_config;
use toml_edit::DocumentMut;

use crate::build::{self, Built};
use crate::cli::{ContentOptions, FlashOptions, ImageOptions};
use crate::disk::{self, File};
use crate::flash::{self, Choice};
use crate::guests::{Asked, Host};
use crate::run::Bundle;
use crate::{setup, workspace};

/// Where UEFI looks for a loader on a disk that it knows nothing of (UEFI 2.10, 3.5.1.1).
const LOADER: &str = "EFI/BOOT/BOOTAA64.EFI";

/// The head of a file that we write.
const EXPLANATION: &str = "\
# What the loader changes at the start; boards/radxa-o6/README.md has all keys.
# Boot arguments: `log=defmt` sends the log as frames for `cargo bale console`.
";

/// The files of the partition. They are the same for every board: what a board has, its firmware
/// says.
pub(crate) fn files(
    built: &Built,
    loader: &Path,
    bundle: Option<&Path>,
    config: String,
) -> Result<Vec<File>> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut files = vec![
        File { path: LOADER.into(), bytes: read(loader)? },
        File { path: "bale/kernel.elf".into(), bytes: read(&built.elf)? },
    ];
    if let Some(bundle) = bundle {
        files.push(File { path: "bale/bundle.tar".into(), bytes: read(bundle)? });
    }
    files.push(File { path: "bale.toml".into(), bytes: config.into_bytes() });
    Ok(files)
}

/// A `bale.toml` with these boot arguments and these further lines.
pub(crate) fn config(arguments: &str, further: &str) -> Result<String> {
    let mut document = DocumentMut::new();
    document["arguments"] = toml_edit::value(arguments);
    let text = format!("{EXPLANATION}{document}{further}");
    check(&text)?;
    Ok(text)
}

/// The loader's own reader finds nothing wrong.
fn check(config: &str) -> Result<()> {
    boot_config::parse(config.as_bytes()).map_err(|error| anyhow!("bale.toml: {error}")).map(drop)
}

/// Builds everything that a board starts from.
fn made(options: &ContentOptions) -> Result<Vec<File>> {
    // A mistake in the file is an error at once, not after a build.
    let config = match &options.config {
        None => config(&options.arguments, "")?,
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            check(&text).with_context(|| format!("{} cannot be used", path.display()))?;
            text
        }
    };
    let asked = Asked::read(&options.guest, Host::default())?;
    let built = build::build(&options.setup)?;
    let loader = build::loader(setup::toolchain(&options.setup)?)?;
    let bundle = match options.no_guest {
        true => None,
        false => Some(Bundle::with(&built, None, &asked.files(&built, None)?)?),
    };
    files(&built, &loader, bundle.as_ref().map(Bundle::path), config)
}

/// `cargo bale image`.
pub(crate) fn image(options: &ImageOptions) -> Result<u8> {
    let files = made(&options.content)?;
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
    let files = made(&options.content)?;
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
