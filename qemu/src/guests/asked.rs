//! The guests that the options of a command ask for, looked at before anything is built or fetched.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{Files, Seen, add, described, description, made, own};
use crate::build::Built;
use crate::cli::{GuestName, GuestOptions};
use crate::linux::Console;
use crate::linux::guest::{self, Guest, Shape};

/// What of the machine that they are to run on is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Host {
    /// Its cores.
    pub(crate) cores: Option<u32>,
    /// Whether it has a disk behind the store.
    pub(crate) backing: Option<bool>,
}

/// They, as far as they can be known before a build.
pub(crate) struct Asked {
    files: Files,
    linux: Option<Shape>,
}

impl Asked {
    /// Reads what the user named.
    ///
    /// # Errors
    /// A file that cannot be read, a description or a kernel that no machine can be made from, or
    /// not this one.
    pub(crate) fn read(options: &GuestOptions, host: Host) -> Result<Self> {
        let mut files = Files::new();
        let backing = host.backing == Some(true);
        for path in &options.described {
            add(&mut files, described(path)?)?;
        }
        if let Some(kernel) = &options.kernel {
            add(
                &mut files,
                own(kernel, options.initrd.as_deref(), &own_settings(options, backing))?,
            )?;
        }
        let linux = (options.guest == Some(GuestName::Linux)).then(|| linux(options, backing));
        if let Some(shape) = &linux {
            host.has(&made(guest::NAME, &guest::describe(shape))?)?;
        }
        for (name, text) in &files {
            if let Some(name) = name.strip_suffix(".vm") {
                host.has(&description(name, text)?)?;
            }
        }
        Ok(Self { files, linux })
    }

    /// What of it goes into the bundle.
    ///
    /// # Errors
    /// Linux cannot be fetched, or does not fit into its memory.
    pub(crate) fn files(self, built: &Built, pages: Option<&Path>) -> Result<Files> {
        let mut files = self.files;
        if let Some(shape) = &self.linux {
            add(&mut files, Guest::make(&built.linux_init, shape, pages)?.files()?)?;
        }
        Ok(files)
    }
}

impl Host {
    /// Whether a machine of this description finds on it what it wants.
    fn has(self, seen: &Seen) -> Result<()> {
        let Seen { name, description } = seen;
        if let Some(cores) = self.cores
            && let Some(core) = description.cores.iter().find(|core| u32::from(**core) >= cores)
        {
            anyhow::bail!(
                "{name}: there is no core {core}; the machine has {cores}, from 0 on (--cores)"
            );
        }
        let wants = description.backing && description.swap != 0;
        ensure!(
            !wants || self.backing != Some(false),
            "{name}: `backing = on` needs a disk behind the store; --backing SIZE makes one"
        );
        Ok(())
    }
}

fn linux(options: &GuestOptions, backing: bool) -> Shape {
    Shape {
        memory: options.memory(),
        vcpus: options.vcpus,
        swap: options.swap.clone(),
        console: options.console,
        suite: options.suite.clone(),
        further: settings(options, backing),
        work: options.work(),
        with: options.with.clone(),
        script: options.script.clone(),
    }
}

/// Lines of a description that only some guests have.
fn settings(options: &GuestOptions, backing: bool) -> Vec<(&'static str, String)> {
    let backing = backing && options.swap.is_some();
    [
        ("codec", options.codec.clone()),
        ("second", options.second.clone()),
        ("quota", options.quota.clone()),
        ("checksum", options.checksum.then(|| "on".to_owned())),
        ("backing", backing.then(|| "on".to_owned())),
        ("cores", options.guest_cores.clone()),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect()
}

/// All lines of the description of a kernel of the user's own, but for those that name files.
fn own_settings(options: &GuestOptions, backing: bool) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("memory", options.memory()),
        ("vcpus", options.vcpus.to_string()),
        ("cmdline", options.cmdline.clone().unwrap_or_default()),
    ];
    lines.extend(options.swap.clone().map(|swap| ("swap", swap)));
    if options.console == Console::Virtio {
        lines.push(("console", "virtio".to_owned()));
    }
    lines.extend(settings(options, backing));
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Asked, Host};
    use crate::cli::GuestOptions;

    #[derive(Parser)]
    struct Line {
        /// What the options refer to.
        #[arg(long)]
        no_guest: bool,
        #[command(flatten)]
        guest: GuestOptions,
    }

    fn read(line: &str, host: Host) -> Result<Vec<String>, String> {
        let words = std::iter::once("bale").chain(line.split_whitespace());
        let Line { no_guest: false, guest } = Line::try_parse_from(words).expect("good options")
        else {
            return Err("no guest".into());
        };
        let asked = Asked::read(&guest, host).map_err(|error| format!("{error:#}"))?;
        Ok(asked.files.into_iter().map(|(name, _)| name).collect())
    }

    /// Nothing is built, fetched or booted for it.
    #[test]
    fn what_no_machine_can_be_made_from_is_named() {
        let host = Host { cores: Some(4), backing: Some(false) };
        for (line, wrong) in [
            ("--guest-memory 3M", "linux: memory must be whole 2 MiB, at most 4096 MiB"),
            ("--guest-memory 5G", "linux: memory must be whole 2 MiB, at most 4096 MiB"),
            ("--swap 2G", "linux: swap must be whole pages of 4 KiB, at most 1 GiB"),
            ("--swap 1000", "linux: swap must be whole pages of 4 KiB, at most 1 GiB"),
            ("--swap 700M --checksum", "linux: with checksums swap is at most 682 MiB"),
            (
                "--swap 64M --codec lzo",
                "linux: there is no codec lzo; there are lz4, lz4hc:1-9, page, token, deflate:1-9, zstd:1-9",
            ),
            (
                "--swap 64M --second zstd:10",
                "linux: there is no codec zstd:10; there are lz4, lz4hc:1-9, page, token, deflate:1-9, zstd:1-9",
            ),
            (
                "--guest-cores 1,3-4",
                "linux: there is no core 4; the machine has 4, from 0 on (--cores)",
            ),
        ] {
            assert_eq!(read(&format!("--guest linux {line}"), host), Err(wrong.into()), "{line}");
        }
        assert_eq!(read("--guest linux --guest-cores 1-3 --swap 64M", host), Ok(Vec::new()));
        assert_eq!(read("--guest linux --guest-cores 15", Host::default()), Ok(Vec::new()));
    }

    #[test]
    fn a_disk_behind_the_store_is_wanted() {
        let folder = crate::guests::tests::folder("backing");
        let write =
            |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
        write("disk.vm", "memory = 8M\nkernel = Image\nswap = 4M\nbacking = on\n");
        write("none.vm", "memory = 8M\nkernel = Image\nbacking = on\n");
        let with = |name: &str, backing: Option<bool>| {
            read(&format!("--vm {}", folder.join(name).display()), Host { cores: None, backing })
        };
        let wrong = "disk: `backing = on` needs a disk behind the store; --backing SIZE makes one";
        assert_eq!(with("disk.vm", Some(false)), Err(wrong.into()));
        assert!(with("disk.vm", Some(true)).is_ok() && with("disk.vm", None).is_ok());
        assert!(with("none.vm", Some(false)).is_ok(), "it has no swap disk");
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
