//! Linux guests: Debian's kernel, an initial RAM disk with our init, the description of the virtual
//! machine.
//!
//! | module | subject |
//! |---|---|
//! | [`apt`] | packages for arm64, fetched by apt in a folder of its own |
//! | [`package`] | the kernel |
//! | [`root`] | programs with all that they depend on |
//! | [`modules`] | kernel modules in the order in which they load |
//! | [`cpio`], [`initramfs`] | the initial RAM disk |
//! | [`boot`] | a boot under plain QEMU, and the figures that init prints |
//! | [`guest`] | the same for Bale's bundle |

mod apt;
pub(crate) mod boot;
mod cpio;
pub(crate) mod guest;
pub(crate) mod initramfs;
mod modules;
pub(crate) mod package;
pub(crate) mod root;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::build;
use crate::cli::{LinuxBootOptions, LinuxCommand};
use crate::machine::Config;
use crate::{setup, workspace};
use boot::Figures;
use initramfs::Content;
use package::Kernel;

/// `cargo bale linux`.
pub(crate) fn run(command: &LinuxCommand) -> Result<u8> {
    match command {
        LinuxCommand::Fetch { suite } => {
            let kernel = package::fetch(suite.as_deref())?;
            println!("kernel   {} ({})", kernel.image.display(), kernel.version);
            println!("modules  {}", kernel.modules.display());
            Ok(0)
        }
        LinuxCommand::Boot(options) => boot_alone(options),
    }
}

fn boot_alone(options: &LinuxBootOptions) -> Result<u8> {
    setup::qemu(&options.setup)?;
    let init = build::linux_init(&options.setup)?;
    let kernel = package::fetch(options.suite.as_deref())?;
    let content = Content { pages: options.pages.as_deref(), ..Content::of(&options.work) };
    let kit = Kit::make(kernel, &init, &content)?;
    let mut machine = Alone::new(&kit, &options.work);
    machine.config.memory.clone_from(&options.memory);
    machine.config.cores = options.cores;
    if options.count {
        machine.count();
    }
    if let Some(bytes) = options.swap {
        machine.swap(bytes)?;
    }
    machine.config.extra.extend(options.qemu.iter().cloned());
    let text = boot::run(&machine.config, Duration::from_secs(options.timeout), |bytes| {
        // The figures are printed from the text; this is only to look at.
        let _ = std::io::stderr().write_all(bytes);
    })?;
    for (key, value) in Figures::read(&text)?.0 {
        println!("{key} {value}");
    }
    Ok(0)
}

/// A kernel and an initial RAM disk on disk; the latter is removed when dropped.
pub(crate) struct Kit {
    pub(crate) kernel: Kernel,
    pub(crate) initrd: PathBuf,
}

impl Kit {
    /// This kernel, with this init and what it finds.
    pub(crate) fn make(kernel: Kernel, init: &Path, content: &Content<'_>) -> Result<Self> {
        let archive = initramfs::build(&kernel, init, content)?;
        let initrd = own_file("initrd")?;
        fs::write(&initrd, archive)
            .with_context(|| format!("cannot write {}", initrd.display()))?;
        Ok(Self { kernel, initrd })
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        // What cannot be removed is left; nothing depends on it.
        let _ = fs::remove_file(&self.initrd);
    }
}

/// A file of this process that no other one has.
fn own_file(kind: &str) -> Result<PathBuf> {
    use core::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Relaxed: the number is all that is wanted.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(workspace::own_folder()?.join(format!("linux-{}-{number}.{kind}", std::process::id())))
}

/// A machine with Linux alone, no hypervisor.
pub(crate) struct Alone {
    pub(crate) config: Config,
    disk: Option<PathBuf>,
}

impl Alone {
    /// With one core and 256 MiB.
    pub(crate) fn new(kit: &Kit, work: &str) -> Self {
        let mut config = Config::new(kit.kernel.image.clone());
        config.cores = 1;
        config.memory = "256M".into();
        config.virtualization = false;
        config.initrd = Some(kit.initrd.clone());
        config.arguments = command_line(work, Console::Pl011);
        Self { config, disk: None }
    }

    /// A nanosecond of the guest's clock is an instruction.
    pub(crate) fn count(&mut self) {
        self.config.extra.extend(["-icount", "shift=0,sleep=off"].map(String::from));
    }

    /// A swap disk of this size, in a sparse file that goes with the machine.
    pub(crate) fn swap(&mut self, bytes: u64) -> Result<()> {
        let path = own_file("swap")?;
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        file.set_len(bytes).with_context(|| format!("cannot give {} its size", path.display()))?;
        let drive = format!("if=none,id=swap,format=raw,discard=unmap,file={}", path.display());
        self.disk = Some(path);
        self.config.extra.extend([
            "-global".into(),
            "virtio-mmio.force-legacy=false".into(),
            "-drive".into(),
            drive,
            "-device".into(),
            "virtio-blk-device,drive=swap".into(),
        ]);
        Ok(())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            // What cannot be removed is left; nothing depends on it.
            let _ = fs::remove_file(disk);
        }
    }
}

/// A guest's console: its device in Bale's description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Console {
    /// A PL011
    #[default]
    Pl011,
    /// A virtio console
    Virtio,
}

impl Console {
    /// Linux's name for it.
    fn device(self) -> &'static str {
        match self {
            Self::Pl011 => "ttyAMA0",
            Self::Virtio => "hvc0",
        }
    }
}

/// The kernel's command line for a work. A panic ends the machine.
fn command_line(work: &str, console: Console) -> String {
    let console = console.device();
    // Warnings and worse come to the console.
    format!("console={console} loglevel=5 panic=-1 bale.work={work}")
}
