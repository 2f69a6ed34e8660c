//! `cargo bale flash`: an image onto a stick, a card or a disk; or its files into a folder of a
//! stick that is FAT already.

mod device;
mod folder;
mod write;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::disk::{self, File};
use device::{Device, Host};
use write::{Opened, Phase};

/// How the user means it.
pub(crate) struct Choice<'a> {
    pub(crate) device: &'a Path,
    /// The device once more, where it looks like the wrong one.
    pub(crate) force: Option<&'a Path>,
    /// Do not ask.
    pub(crate) yes: bool,
}

/// Writes an image of these files to a device, after showing what is on it and asking.
///
/// # Errors
/// A device that must not be written to, or that is broken.
pub(crate) fn to_device(files: &[File], choice: &Choice<'_>) -> Result<()> {
    let image = disk::image(files)?;
    let name = choice.device.display();
    let device = Device::find(&Host::this(), choice.device)?;
    for line in device.lines() {
        println!("{line}");
    }
    if let Some(force) = choice.force
        && force != choice.device
    {
        bail!("--force names {}, --device {name}: nothing was written", force.display());
    }
    if let Some(refusal) = device.refusal(image.len() as u64, choice.force.is_some()) {
        bail!("{name} is not written to: {refusal}");
    }
    if !choice.yes && !agreed(choice.device)? {
        bail!("nothing was written");
    }
    let mut medium = Opened::new(choice.device)?;
    let mut progress = Progress::new(image.len() as u64);
    let written =
        write::write(&mut medium, device.bytes, &image, |phase, at| progress.show(phase, at));
    progress.end();
    written.with_context(|| format!("{name} does not hold the image"))?;
    println!("{name} holds the image, {} bytes, read back and compared", image.len());
    Ok(())
}

/// Copies the files into a folder, reads them back and compares.
///
/// # Errors
/// As the file system says, by file.
pub(crate) fn to_folder(files: &[File], folder: &Path) -> Result<()> {
    folder::copy(files, folder)?;
    println!(
        "{} files in {}, read back and compared; unmount it before you take it out",
        files.len(),
        folder.display()
    );
    Ok(())
}

/// Asks on the terminal; nobody there is a no.
fn agreed(device: &Path) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("there is nobody to ask; --overwrite writes without asking");
    }
    print!("All that is on it will be lost. To go on, type its name: ");
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(Path::new(line.trim()) == device)
}

/// A line that counts up on a terminal; tenths elsewhere.
struct Progress {
    whole: u64,
    shown: Option<(Phase, u64)>,
    live: bool,
}

impl Progress {
    fn new(whole: u64) -> Self {
        Self { whole: whole.max(1), shown: None, live: io::stderr().is_terminal() }
    }

    fn show(&mut self, phase: Phase, at: u64) {
        let percent = at * 100 / self.whole;
        let step = if self.live { percent } else { percent / 10 * 10 };
        if self.shown == Some((phase, step)) {
            return;
        }
        self.shown = Some((phase, step));
        let verb = if phase == Phase::Write { "writing" } else { "reading back" };
        let (start, end) = if self.live { ("\r", "   ") } else { ("", "\n") };
        eprint!("{start}bale: {verb}: {step} %{end}");
    }

    fn end(&self) {
        if self.live {
            eprintln!();
        }
    }
}
