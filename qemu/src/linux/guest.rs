//! What Bale's bundle holds for a Linux guest: kernel, initial RAM disk, and the description of the
//! virtual machine.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::initramfs::Content;
use super::{Console, Kit, command_line, package, root};
use crate::guests::{self, Seen};

/// Name of the virtual machine at Bale's shell.
pub(crate) const NAME: &str = "linux";

/// A virtual machine to describe.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Bytes with `K`, `M` or `G` behind.
    pub(crate) memory: String,
    pub(crate) vcpus: u32,
    /// Bytes of its swap disk, as the memory.
    pub(crate) swap: Option<String>,
    pub(crate) console: Console,
    /// Debian's suite that its kernel is from; without one, the machine's.
    pub(crate) suite: Option<String>,
    /// Further lines of the description.
    pub(crate) further: Vec<(&'static str, String)>,
    /// What its init does.
    pub(crate) work: String,
    /// Packages of Debian in its root.
    pub(crate) with: Vec<String>,
    /// A script that is there as well.
    pub(crate) script: Option<PathBuf>,
}

impl Shape {
    /// One without a swap disk, with a PL011.
    pub(crate) fn of(memory: &str, vcpus: u32, work: &str) -> Self {
        Self {
            memory: memory.into(),
            vcpus,
            swap: None,
            console: Console::Pl011,
            suite: None,
            further: Vec::new(),
            work: work.into(),
            with: Vec::new(),
            script: None,
        }
    }
}

/// Files of a bundle by their names there.
pub(crate) struct Guest {
    kit: Kit,
    description: String,
    seen: Seen,
}

impl Guest {
    /// Fetches and builds what is missing.
    pub(crate) fn make(init: &Path, shape: &Shape, pages: Option<&Path>) -> Result<Self> {
        let description = describe(shape);
        let seen = guests::made(NAME, &description)?;
        let kernel = package::fetch(shape.suite.as_deref())?;
        let root = if shape.with.is_empty() {
            None
        } else {
            Some(root::archive(&shape.with, shape.suite.as_deref())?)
        };
        let content = Content {
            work: &shape.work,
            console: shape.console,
            pages,
            root: root.as_deref(),
            script: shape.script.as_deref(),
        };
        let kit = Kit::make(kernel, init, &content)?;
        Ok(Self { kit, description, seen })
    }

    /// Names in the bundle, and what they hold.
    pub(crate) fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        use anyhow::Context as _;
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (kernel, initrd) = (read(&self.kit.kernel.image)?, read(&self.kit.initrd)?);
        self.seen.fits(&kernel, Some(&initrd))?;
        Ok(vec![
            (format!("{NAME}.vm"), self.description.clone().into_bytes()),
            (format!("{NAME}.image"), kernel),
            (format!("{NAME}.initrd"), initrd),
        ])
    }
}

/// The text that Bale's kernel reads (its module `vm_description` tells the keys).
pub(crate) fn describe(shape: &Shape) -> String {
    let mut text = format!(
        "memory = {}\nvcpus = {}\nkernel = {NAME}.image\ninitrd = {NAME}.initrd\ncmdline = {}\n",
        shape.memory,
        shape.vcpus,
        command_line(&shape.work, shape.console)
    );
    if let Some(swap) = &shape.swap {
        text.push_str(&format!("swap = {swap}\n"));
    }
    if shape.console == Console::Virtio {
        text.push_str("console = virtio\n");
    }
    for (key, value) in &shape.further {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Console, Shape, describe};

    #[test]
    fn a_description_has_a_line_for_each_key() {
        let shape = Shape {
            swap: Some("512M".into()),
            console: Console::Virtio,
            further: vec![("second", "deflate:9".into())],
            ..Shape::of("96M", 2, "boot")
        };
        let text = describe(&shape);
        for line in [
            "console = virtio",
            "second = deflate:9",
            "memory = 96M",
            "vcpus = 2",
            "swap = 512M",
            "initrd = linux.initrd",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
        assert!(text.contains("bale.work=boot") && text.contains("console=hvc0"));
        let plain = describe(&Shape::of("96M", 2, "boot"));
        assert!(
            !plain.contains("swap =")
                && !plain.contains("console =")
                && plain.contains("console=ttyAMA0")
        );
    }
}
