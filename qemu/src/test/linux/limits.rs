//! Linux guests that restart, those whose work outgrows their memory, with a swap disk and without,
//! and one whose disk takes too little.

use anyhow::{Result, ensure};

use super::{Guests, Said, whole};
use crate::linux::guest::{NAME, Shape};
use crate::test::terminal::Terminal;

/// Memory of the guest, and what a process of it fills: the kernel and its initial RAM disk leave
/// much less.
const MEMORY: &str = "96M";
const FILLED: &str = "64M";
const PAGES: u64 = 64 << 8;
/// What Linux says of a process that it kills for want of memory.
const KILLED: &str = "Out of memory: Killed process";
/// The status of that.
const SIGKILL: u64 = 9;

/// It restarts as often as its init asks for it, and is the same machine with the same memory each
/// time.
pub(super) fn reboots(guests: &Guests<'_>) -> Result<()> {
    let bundle = guests.bundle(&Shape::of("256M", 2, "reboot"))?;
    let mut terminal = Terminal::with(guests.bench, |config| {
        config.arguments = "noguest".into();
        config.initrd = Some(bundle.0.clone());
    })?;
    terminal.line(&format!("vm start {NAME}"))?;
    for _ in 0..3 {
        // Its init has come up.
        terminal.wait("clock_s=")?;
    }
    terminal.wait("\n")?;
    let stats = terminal.line("vm stats 0")?;
    let counted =
        stats.lines().find_map(|line| line.strip_prefix("restarts")?.split_whitespace().next());
    let restarts: u64 = counted.and_then(|number| number.parse().ok()).unwrap_or(0);
    ensure!(restarts >= 2 && stats.contains("running"), "{restarts} restarts\n{stats}");
    let said = terminal.line("vm kill 0")?;
    ensure!(said.contains("vm 0 killed"), "{said}");
    let list = terminal.line("vm list")?;
    ensure!(list.contains("killed"), "{list}");
    Ok(())
}

/// What the next tests stand on: without swap Linux kills the process.
pub(super) fn is_killed_without_swap(guests: &Guests<'_>) -> Result<()> {
    let said = to_its_end(guests, &Shape::of(MEMORY, 2, &format!("outgrow:{FILLED}")))?;
    ensure!(said.text.contains(KILLED), "nothing was killed\n{}", said.text);
    said.check("child", |status| status == SIGKILL)
}

/// The same work in the same memory, with a disk in the compressed store: every byte is verified,
/// nothing is killed.
pub(super) fn goes_on_with_swap(guests: &Guests<'_>) -> Result<()> {
    let shape = Shape {
        swap: Some("256M".into()),
        ..Shape::of(MEMORY, 2, &format!("outgrow:{FILLED}:swap"))
    };
    let said = to_its_end(guests, &shape)?;
    ensure!(!said.text.contains(KILLED), "it was killed\n{}", said.text);
    said.check("child", |status| status == 0)?;
    said.check("verified_pages", |pages| pages == PAGES)
}

/// It has the memory, and all of it put out to a disk of which the store takes a small part,
/// without a disk behind: writes fail, Linux keeps those pages, and every byte is there.
pub(super) fn reaches_its_quota(guests: &Guests<'_>) -> Result<()> {
    let shape = Shape {
        swap: Some("256M".into()),
        further: vec![("quota", "4M".into())],
        ..Shape::of("128M", 2, "pageout:48M")
    };
    let said = whole(|| to_its_end(guests, &shape))?;
    ensure!(said.text.contains("Write-error on swap-device"), "no write failed\n{}", said.text);
    ensure!(!said.text.contains(KILLED), "it was killed\n{}", said.text);
    said.check("verified_pages", |pages| pages == 48 << 8)?;
    said.check("swapped_out", |pages| pages > 1000)
}

/// A guest of this shape, to its end, after which nothing is left of it.
fn to_its_end(guests: &Guests<'_>, shape: &Shape) -> Result<Said> {
    let said = guests.run(shape, &format!("vm run {NAME}; drain flush; pool"))?;
    said.nothing_is_left()?;
    Ok(said)
}
