//! Work on what is stored that takes more than a moment.

use anyhow::{Result, ensure};

use crate::test::terminal::Terminal;
use crate::test::{Bench, described};

/// A line says how far it is, to people alone; Ctrl-C stops it, and the shell goes on.
pub(super) fn long_work(bench: &Bench<'_>) -> Result<()> {
    // It writes for ten seconds, far faster than what it wrote is packed anew.
    let long =
        "memory = 16M\nkernel = kernel.img\nswap = 256M\nsecond = zstd:9\ncmdline = bale.long";
    let bundle = described::bundle(bench, "work", &[("long", long)])?;
    let mut terminal = Terminal::with(bench, |config| {
        config.arguments = "noguest rows=24".into();
        config.initrd = Some(bundle.0.clone());
    })?;
    let mut said = terminal.line("vm start long")?;
    let stored = |said: &str| -> Option<u64> {
        said.split_once("\"stored_pages\":")?.1.split(',').next()?.parse().ok()
    };
    while stored(&said).is_none_or(|pages| pages < 2_000) {
        said = terminal.line("swap long --json")?;
        ensure!(!said.contains("error: "), "{said}");
    }
    let said = terminal.line("swap long recompress --pages 64 --json")?;
    ensure!(said.contains("{\"tried_pages\":64,") && !said.contains('\x1b'), "{said:?}");
    terminal.send(b"swap long recompress\r")?;
    terminal.wait("\rswap: 0 % of what has 3072 bytes or more; 0 pages tried, 0 smaller\x1b[K")?;
    terminal.send(b"\x03")?;
    let said = terminal.prompt()?;
    ensure!(said.contains("\r\x1b[Kerror: swap: interrupted after"), "{said:?}");
    let said = terminal.line("pool compact")?;
    let (drawn, moved) =
        ("\rpool: 0 objects are moved, 0 pages given back\x1b[K", " objects were moved, ");
    ensure!(said.contains(drawn) && said.contains(moved), "{said:?}");
    let said = terminal.line("pool compact --json")?;
    ensure!(said.contains("{\"moved_objects\":") && !said.contains('\x1b'), "{said:?}");
    Ok(())
}
