//! `cargo bale run`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::build::{self, Built};
use crate::cli::{Commands, RunOptions, SetupOptions, Tables};
use crate::disk::File;
use crate::guests::{Asked, Host};
use crate::log::Decoder;
use crate::machine::{Config, Start};
use crate::script::{self, Line, Session};
use crate::{board, bundle, console, disk, pages, setup, workspace};

/// Where nobody is there to end a run that hangs, commands may take so long.
const UNATTENDED: Duration = Duration::from_secs(1800);

/// Builds, boots, and ends in the shell, or runs the script.
pub(crate) fn run(options: &RunOptions) -> Result<u8> {
    // A bad pages file is an error at once, not after a build.
    let given = options.pages.as_deref().map(bundle::read_pages).transpose()?;
    // So is a guest that no machine can be made from. Of a disk among QEMU's own arguments nothing
    // is known.
    let backing = options.backing.is_some();
    let known = backing || options.qemu.is_empty();
    let host = Host { cores: Some(options.cores), backing: known.then_some(backing) };
    let asked = Asked::read(&options.guest, host)?;
    setup::qemu(&options.setup)?;
    let built = match &options.app {
        None => build::build(&options.setup)?,
        Some(folder) => build::build_app(&options.setup, folder)?,
    };
    let decoder = Decoder::from_elf(&built.elf)?;
    let mut config = Config::new(built.image.clone());
    config.cores = options.cores;
    config.memory.clone_from(&options.memory);
    config.extra.clone_from(&options.qemu);
    let bundle = if options.no_guest {
        None
    } else {
        Some(Bundle::with(&built, given, &asked.files(&built, options.pages.as_deref())?)?)
    };
    config.initrd = bundle.as_ref().map(|bundle| bundle.path().to_owned());
    let mut arguments = Vec::new();
    if !options.no_log {
        arguments.push("log=defmt");
    }
    if options.no_guest {
        arguments.push("noguest");
    }
    let rows;
    if options.exec.is_some() {
        arguments.push("exec");
    } else {
        // Long text stops behind each screen, where there is one.
        rows = format!("rows={}", console::rows());
        arguments.push(&rows);
    }
    config.arguments = arguments.join(" ");
    // Kept until the machine has ended.
    let _disk = match options.uefi {
        Some(tables) => {
            let file = board::config(&config.arguments, "")?;
            Some(by_uefi(&mut config, &built, tables, file, &options.setup)?)
        }
        None => None,
    };
    let _backing =
        options.backing.map(|bytes| with_backing(&mut config, bytes, &[])).transpose()?;
    let limit = options.timeout.map(Duration::from_secs);
    match &options.exec {
        None => console::run(&config, &decoder, limit),
        Some(commands) => {
            run_script(&config, &decoder, limit.unwrap_or_else(script_limit), commands)
        }
    }
}

/// A bundle on disk, removed when dropped: QEMU has read it by then.
pub(crate) struct Bundle(PathBuf);

impl Bundle {
    /// One with all guests and these pages, or else the ones captured by ourselves.
    pub(crate) fn make(built: &Built, pages: Option<Vec<u8>>) -> Result<Self> {
        Self::with(built, pages, &[])
    }

    /// One with further files, by their names.
    pub(crate) fn with(
        built: &Built,
        pages: Option<Vec<u8>>,
        files: &[(String, Vec<u8>)],
    ) -> Result<Self> {
        let pages = match pages {
            Some(pages) => pages,
            None => bundle::read_pages(&pages::kept()?)?,
        };
        let out = Self(workspace::own_folder()?.join(format!("bundle-{}.tar", std::process::id())));
        let guests: Vec<_> =
            built.guests.iter().map(|(name, path)| (*name, path.as_path())).collect();
        bundle::write(out.path(), &guests, Some(&pages), files)?;
        Ok(out)
    }

    /// One with nothing but these files.
    pub(crate) fn of_files(files: &[(String, Vec<u8>)]) -> Result<Self> {
        let out = Self(workspace::own_folder()?.join(format!("bundle-{}.tar", std::process::id())));
        bundle::write(out.path(), &[], None, files)?;
        Ok(out)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // What cannot be removed is overwritten some day; nothing depends on it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Puts what the machine starts from on a disk image, which is removed when dropped; `file` is its
/// `bale.toml`.
pub(crate) fn by_uefi(
    config: &mut Config,
    built: &Built,
    tables: Tables,
    file: String,
    setup: &SetupOptions,
) -> Result<Scratch> {
    by_uefi_beside(config, built, tables, file, Vec::new(), setup)
}

/// The same with these other files on it.
pub(crate) fn by_uefi_beside(
    config: &mut Config,
    built: &Built,
    tables: Tables,
    file: String,
    others: Vec<File>,
    setup: &SetupOptions,
) -> Result<Scratch> {
    let firmware = setup::firmware(setup)?.to_owned();
    let loader = build::loader(setup::toolchain(setup)?)?;
    let mut files = board::files(built, &loader, config.initrd.as_deref(), file)?;
    files.extend(others);
    let disk = Scratch::named("disk")?;
    fs::write(&disk.0, disk::image(&files)?)
        .with_context(|| format!("cannot write {}", disk.0.display()))?;
    config.start = Start::Uefi { firmware, disk: disk.0.clone(), acpi: tables == Tables::Acpi };
    Ok(disk)
}

/// Gives the machine an empty virtio disk of so many bytes, to which the store may write back;
/// removed when dropped. `bad` are blocks of 4096 bytes that fail each write.
pub(crate) fn with_backing(config: &mut Config, bytes: u64, bad: &[u64]) -> Result<Scratch> {
    let file = Scratch::named("backing")?;
    let path = file.0.display();
    let made = fs::File::create(&file.0).and_then(|made| made.set_len(bytes));
    made.with_context(|| format!("cannot make {path} of {bytes} bytes"))?;
    // QEMU takes a doubled comma for one of the name.
    let name = path.to_string().replace(',', ",,");
    let rules: String =
        (0..).zip(bad).map(|(number, block)| fails_to_write(number, *block)).collect();
    let below = if bad.is_empty() {
        format!("file.driver=file,file.filename={name}")
    } else {
        format!("file.driver=blkdebug,file.image.driver=file,file.image.filename={name}{rules}")
    };
    config.extra.extend([
        "-global".into(),
        "virtio-mmio.force-legacy=false".into(),
        "-drive".into(),
        format!("if=none,id=backing,driver=raw,{below}"),
        "-device".into(),
        "virtio-blk-device,drive=backing".into(),
    ]);
    Ok(file)
}

/// The rule of QEMU's `blkdebug` by which each write of a block of 4096 bytes fails with EIO.
fn fails_to_write(number: usize, block: u64) -> String {
    let rule = format!(",file.inject-error.{number}");
    let sector = block * 8;
    format!("{rule}.event=none{rule}.iotype=write{rule}.sector={sector}{rule}.errno=5")
}

/// A file that is removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A file of this process that no other one has; nothing is made yet.
    pub(crate) fn named(kind: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Relaxed: a number of its own, and no order.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Ok(Self(
            workspace::own_folder()?.join(format!("{kind}-{}-{number}.img", std::process::id())),
        ))
    }
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // As for the bundle.
        let _ = fs::remove_file(&self.0);
    }
}

/// How long commands may take if the user does not say it: as long as they take where Ctrl-C can
/// end them.
fn script_limit() -> Duration {
    if setup::in_ci() { UNATTENDED } else { Duration::MAX }
}

fn run_script(
    config: &Config,
    decoder: &Decoder,
    limit: Duration,
    commands: &Commands,
) -> Result<u8> {
    let mut show = |line: &Line| match line {
        Line::Text(text) => println!("{text}"),
        Line::Log(text) => eprintln!("{text}"),
    };
    let result = (|| {
        let mut session = Session::start(config, Some(decoder), limit, &mut show)?;
        eprintln!("bale: from QEMU's start to the shell: {} ms", session.elapsed().as_millis());
        let mut status = 0;
        // As at the shell's prompt, nothing is run behind a command that failed: what follows may
        // build on it.
        for command in commands.lines() {
            status = session.command(command)?;
            if status != 0 {
                eprintln!("bale: `{command}` failed; nothing behind it was run");
                break;
            }
        }
        session.power_off()?;
        Ok(status)
    })();
    result.map_err(|failure: script::Failure| anyhow::anyhow!("{failure}"))
}
