//! Linux guests: the kit under plain QEMU, and under Bale. Without Debian's kernel they are
//! skipped.

mod limits;
mod programs;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::Bench;
use super::report::{Case, Outcome};
use super::terminal::Terminal;
use crate::build::Built;
use crate::bundle;
use crate::cli::{SetupOptions, Tables};
use crate::linux::boot::{self, Figures};
use crate::linux::guest::{Guest, NAME, Shape};
use crate::linux::initramfs::Content;
use crate::linux::{Alone, Console, Kit, package};
use crate::machine::Config;
use crate::{board, pages, run};

/// For one machine, also where a slow, busy host has other work.
const LIMIT: Duration = Duration::from_secs(600);
const MIB: u64 = 1 << 20;

/// The same guest once more, with another content of its memory.
const OTHER: &str = "other";

/// A suite whose kernel is newer than that of the machine.
const NEWER: &str = "trixie";

/// Fetches each kernel once, for all cases.
#[derive(Default)]
pub(super) struct Fetched {
    own: OnceLock<Result<(), String>>,
    newer: OnceLock<Result<(), String>>,
}

impl Fetched {
    /// What stands against a case that boots the kernel of this suite.
    fn try_get(&self, suite: Option<&str>) -> &Result<(), String> {
        let fetched = if suite.is_some() { &self.newer } else { &self.own };
        fetched.get_or_init(|| package::fetch(suite).map(drop).map_err(|why| format!("{why:#}")))
    }
}

/// The cases.
pub(super) fn cases<'a>(
    bench: &'a Bench<'_>,
    built: &'a Built,
    fetched: &'a Fetched,
) -> Vec<Case<'a>> {
    let guests = move |suite| Guests { bench, init: &built.linux_init, suite };
    let on_bale = move |name: &str, test: fn(&Guests<'_>) -> Result<()>| {
        case(name, fetched, None, move || test(&guests(None)))
    };
    let mut cases = vec![
        case("kit-boot", fetched, None, || boots_alone(&built.linux_init)),
        case("kit-swap", fetched, None, || swaps_alone(&built.linux_init)),
        case(&format!("{NEWER}-swap"), fetched, Some(NEWER), move || swaps(&guests(Some(NEWER)))),
    ];
    for vcpus in [1, 2, 4] {
        for (kind, suite) in [("vm", None), (NEWER, Some(NEWER))] {
            let boot = move || boots(&guests(suite), vcpus);
            cases.push(case(&format!("{kind}-boot-{vcpus}"), fetched, suite, boot));
        }
    }
    cases.extend([
        on_bale("uefi-boot-2", boots_from_a_stick),
        on_bale("vm-boot-cpu-max", boots_on_the_largest_core),
        on_bale("vm-console", |guests| talks(guests, Console::Virtio)),
        on_bale("vm-console-pl011", |guests| talks(guests, Console::Pl011)),
        on_bale("debuggers", programs::debuggers),
        on_bale("vm-debug", debugs),
        on_bale("vm-held", held),
        on_bale("vm-held-swap", held_and_swaps),
        on_bale("vm-outgrown", limits::is_killed_without_swap),
        on_bale("vm-outgrown-swap", limits::goes_on_with_swap),
        on_bale("vm-queues", swaps_side_by_side),
        on_bale("vm-quota", limits::reaches_its_quota),
        on_bale("vm-reboot", limits::reboots),
        on_bale("vm-shell", programs::shell),
        on_bale("vm-swap", swaps),
        on_bale("vm-two", two_at_once),
        on_bale("vm-writeback", writes_back),
        on_bale("vm-writeback-bad-blocks", keeps_what_the_disk_refuses),
    ]);
    cases
}

fn case<'a>(
    name: &str,
    fetched: &'a Fetched,
    suite: Option<&'static str>,
    run: impl Fn() -> Result<()> + Send + Sync + 'a,
) -> Case<'a> {
    let run = move || match fetched.try_get(suite) {
        Ok(()) => Outcome::of(run().map_err(|why| format!("{why:#}"))),
        Err(why) => Outcome::skipped(why),
    };
    Case { name: format!("linux::{name}"), run: Box::new(run) }
}

fn alone(init: &Path, work: &str, memory: &str, swap: Option<u64>) -> Result<Figures> {
    let kit = Kit::make(package::fetch(None)?, init, &Content::of(work))?;
    let mut machine = Alone::new(&kit, work);
    machine.config.memory = memory.into();
    if let Some(bytes) = swap {
        machine.swap(bytes)?;
    }
    Figures::read(&boot::run(&machine.config, LIMIT, |_| {})?)
}

fn boots_alone(init: &Path) -> Result<()> {
    alone(init, "boot", "256M", None)?.number("uptime_us").map(drop)
}

/// More memory than there is, every byte verified, slots given back.
fn swaps_alone(init: &Path) -> Result<()> {
    let figures = alone(init, "swap:128M:0", "128M", Some(256 * MIB))?;
    let number = |key| figures.number(key);
    ensure!(number("verified_pages")? == 32768, "{figures:?}");
    ensure!(number("swapped_out")? > 1000 && number("swapped_in")? > 1000, "{figures:?}");
    ensure!(number("swap_used_after_kib")? < number("swap_used_kib")?, "{figures:?}");
    // The one of swapon, and those of clusters that became free.
    ensure!(number("discards")? > 1, "{figures:?}");
    Ok(())
}

/// It boots without a word of warning, and knows what time it is.
fn boots(guests: &Guests<'_>, vcpus: u32) -> Result<()> {
    check_boot(&guests.run(&Shape::of("256M", vcpus, "boot"), &format!("vm run {NAME}"))?)
}

/// The same on a core that has all that QEMU knows: stage 2 forces its memory attributes, and there
/// is more to hide.
fn boots_on_the_largest_core(guests: &Guests<'_>) -> Result<()> {
    let prepare = |config: &mut Config| {
        config.extra = ["-cpu", "max"].map(String::from).to_vec();
        Ok(())
    };
    check_boot(&guests.run_prepared(
        &Shape::of("256M", 2, "boot"),
        &format!("vm run {NAME}"),
        prepare,
    )?)
}

/// As on a board: firmware with ACPI tables, the loader, the guest in the bundle of the stick,
/// started by `bale.toml`. The time is what the firmware told the loader.
fn boots_from_a_stick(guests: &Guests<'_>) -> Result<()> {
    let prepare = |config: &mut Config| {
        let file = board::config(&config.arguments, &format!("guests = [\"{NAME}\"]\n"))?;
        run::by_uefi(config, guests.bench.built, Tables::Acpi, file, &SetupOptions { yes: true })
    };
    check_boot(&guests.run_prepared(&Shape::of("256M", 2, "boot"), "vm wait 0", prepare)?)
}

fn check_boot(said: &Said) -> Result<()> {
    let warnings = said.warnings();
    ensure!(warnings.is_empty(), "Linux warns: {warnings:?}");
    // UTF-8 passes whole, the colours around it do not.
    let locale =
        said.figures.0.iter().find(|(key, _)| key == "locale").map(|(_, value)| value.as_str());
    ensure!(locale == Some("äöü ñ λόγος 日本語 ✓"), "{locale:?}");
    let now = UNIX_EPOCH.elapsed()?.as_secs();
    // The real-time clock has whole seconds.
    said.check("clock_s", |guest| said.begun <= guest + 2 && guest <= now + 2)
}

/// What gdb and perf do by ptrace and perf_event_open: steps over emulated instructions too, every
/// break- and watchpoint, a probe, cycles.
fn debugs(guests: &Guests<'_>) -> Result<()> {
    let said = guests.run(&Shape::of("256M", 2, "debug"), &format!("vm run {NAME}"))?;
    said.check("steps", |steps| steps == 10_000)?;
    // As many as QEMU's cores have.
    said.check("breakpoints", |count| count == 6)?;
    said.check("watchpoints", |count| count == 4)?;
    said.check("probed", |hits| hits == 100)?;
    said.check("cycles", |cycles| cycles > 10_000)
}

/// A line typed at the guest's console comes to its init, and what that says comes back the same
/// way: it has no other.
fn talks(guests: &Guests<'_>, console: Console) -> Result<()> {
    let shape = Shape { console, ..Shape::of("256M", 2, "echo") };
    let bundle = guests.bundle(&shape)?;
    let mut terminal = Terminal::with(guests.bench, |config| {
        config.arguments = "noguest".into();
        config.initrd = Some(bundle.0.clone());
    })?;
    terminal.line(&format!("vm start {NAME}"))?;
    terminal.send(b"vm console 0\r")?;
    // What is typed before its driver knows the console Linux throws away.
    terminal.wait("clock_s=")?;
    terminal.send("typed l\u{e4}te\r".as_bytes())?;
    terminal.wait("heard=typed l\u{e4}te")?;
    terminal.wait("vm 0 has ended")?;
    Ok(())
}

/// More memory than the guest has, on its disk in the compressed store: every byte verified, slots
/// given back while it runs, nothing left when it has ended.
fn swaps(guests: &Guests<'_>) -> Result<()> {
    let shape = Shape { swap: Some("256M".into()), ..Shape::of("128M", 2, "swap:96M:0") };
    let said = guests.run(&shape, &format!("vm run {NAME}; drain flush; pool"))?;
    said.check("verified_pages", |pages| pages == 24576)?;
    said.check("swapped_out", |pages| pages > 1000)?;
    said.check("swapped_in", |pages| pages > 1000)?;
    said.check("discards", |discards| discards > 1)?;
    // What was in use is free, and stays stored until it is discarded: by whole clusters, of which
    // some are still in use in part.
    let (used, before) = (said.figures.number("swap_used_kib")?, said.figures.number("stale_kib")?);
    said.check("stale_after_kib", |after| after <= before && after < used / 2)?;
    said.nothing_is_left()
}

/// Two guests at once, each with a disk and a content of its own: both verify every byte of theirs.
fn two_at_once(guests: &Guests<'_>) -> Result<()> {
    let shape = Shape { swap: Some("128M".into()), ..Shape::of("96M", 1, "swap:72M:0") };
    let commands = format!(
        "vm start {NAME}\nvm start {OTHER}\nvm list\nvm wait 0\nvm wait 1\nswap\ndrain flush; pool"
    );
    let said = guests.run(&shape, &commands)?;
    let verified = said.figures.all("verified_pages");
    ensure!(verified == [18432; 2], "{verified:?}\n{}", said.text);
    let swapped = said.figures.all("swapped_in");
    ensure!(
        swapped.len() == 2 && swapped.iter().all(|pages| *pages > 1000),
        "{swapped:?}\n{}",
        said.text
    );
    let both = said.text.lines().filter(|line| line.trim_end().ends_with("running")).count();
    ensure!(both == 2, "they did not run at once\n{}", said.text);
    said.nothing_is_left()
}

/// Four processes on four virtual CPUs swap at once, each through a queue of its own.
fn swaps_side_by_side(guests: &Guests<'_>) -> Result<()> {
    let shape = Shape { swap: Some("256M".into()), ..Shape::of("80M", 4, "swap:88M:0:4") };
    let said = guests.run(&shape, &format!("vm run {NAME}; drain flush; pool"))?;
    said.check("disk_queues", |queues| queues == 4)?;
    let verified = said.figures.all("verified_pages");
    ensure!(verified == [5632; 4], "{verified:?}\n{}", said.text);
    // All four are there at once, and more than fits.
    said.check("swapped_in", |pages| pages > 5632)?;
    said.nothing_is_left()
}

/// A store with room for a small part of what the guest swaps, and a disk behind it: every byte
/// verified, from wherever it was.
fn writes_back(guests: &Guests<'_>) -> Result<()> {
    let said = swaps_to_disk(guests, &[])?;
    // The last column of the machine's line: pages that went to the disk.
    let to_disk = said.text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "0").then_some(words.last()?.parse::<u64>().ok()?)
    });
    ensure!(to_disk.max().unwrap_or(0) > 1000, "few pages went to the disk\n{}", said.text);
    Ok(())
}

/// The same, and the disk has blocks that cannot be written: Linux hears of it, and keeps those
/// pages.
fn keeps_what_the_disk_refuses(guests: &Guests<'_>) -> Result<()> {
    let bad: Vec<u64> = (1..=64).map(|number| number * 128).collect();
    let said = swaps_to_disk(guests, &bad)?;
    ensure!(said.text.contains("Write-error on swap-device"), "no write failed\n{}", said.text);
    Ok(())
}

fn swaps_to_disk(guests: &Guests<'_>, bad: &[u64]) -> Result<Said> {
    let shape = Shape {
        swap: Some("256M".into()),
        further: vec![("quota", "4M".into()), ("backing", "on".into())],
        ..Shape::of("96M", 2, "swap:72M:0")
    };
    let prepare = |config: &mut Config| run::with_backing(config, 256 * MIB, bad);
    let run =
        || guests.run_prepared(&shape, &format!("vm run {NAME}; swap; drain flush; pool"), prepare);
    let said = if bad.is_empty() { run() } else { whole(run) }?;
    said.check("verified_pages", |pages| pages == 18432)?;
    said.nothing_is_left()?;
    Ok(said)
}

/// What a run says in which Linux tells of writes that failed: once more if such a line came into
/// the midst of one of the init's.
fn whole(run: impl Fn() -> Result<Said>) -> Result<Said> {
    match run() {
        Ok(said) if said.figures.number("verified_pages").is_ok() => Ok(said),
        _ => run(),
    }
}

/// A guest that knows nothing is held to half of its memory, of which it fills more: every byte
/// verified, nothing left when it has ended.
fn held(guests: &Guests<'_>) -> Result<()> {
    let commands = format!(
        "vm start {NAME}\nvm set {NAME} memory 256M\nvm wait 0\nvm stats 0\nvm list\ndrain flush; pool"
    );
    let said = guests.run(&Shape::of("512M", 2, "fill:352M:0"), &commands)?;
    said.check("verified_pages", |pages| pages == 90112)?;
    // What was filled and does not fit went at least once, and came back to be verified.
    said.check_held("put out", 24576)?;
    said.check_held("brought back", 24576)?;
    said.nothing_is_left()
}

/// The guest swaps, and the hypervisor under it: what its disk copies to and from, rings and
/// buffers, may have been put out.
fn held_and_swaps(guests: &Guests<'_>) -> Result<()> {
    let shape = Shape { swap: Some("256M".into()), ..Shape::of("128M", 2, "swap:96M:0") };
    let commands = format!(
        "vm start {NAME}\nvm set {NAME} memory 96M\nvm wait 0\nvm stats 0\ndrain flush; pool"
    );
    let said = guests.run(&shape, &commands)?;
    said.check("verified_pages", |pages| pages == 24576)?;
    said.check("swapped_in", |pages| pages > 1000)?;
    said.check_held("brought back", 1000)?;
    said.nothing_is_left()
}

/// What makes Linux guests on Bale.
struct Guests<'a> {
    bench: &'a Bench<'a>,
    init: &'a Path,
    /// Debian's suite that their kernel is from; without one, the machine's.
    suite: Option<&'static str>,
}

impl Guests<'_> {
    /// A bundle with a guest of this shape.
    fn bundle(&self, shape: &Shape) -> Result<Removed> {
        let work = shape.work.replace(':', "-");
        let kind = self.suite.unwrap_or("own");
        // Of its own: two tests with guests of one shape may run at once.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name =
            format!("test-linux-{kind}-{}-{work}-{:?}-{number}.tar", shape.vcpus, shape.console);
        let shape = Shape { suite: self.suite.map(str::to_owned), ..shape.clone() };
        let guest = Guest::make(self.init, &shape, None)?;
        let out = Removed(crate::workspace::own_folder()?.join(name));
        let mut files = guest.files()?;
        let other =
            files.iter().find(|(name, _)| name.ends_with(".vm")).context("no description")?;
        let other =
            String::from_utf8(other.1.clone())?.replace("bale.work=", "bale.seed=1000 bale.work=");
        files.push((format!("{OTHER}.vm"), other.into_bytes()));
        bundle::write(&out.0, &[], Some(&bundle::read_pages(&pages::kept()?)?), &files)?;
        Ok(out)
    }

    /// Runs commands with a guest of this shape in the bundle.
    fn run(&self, shape: &Shape, commands: &str) -> Result<Said> {
        self.run_prepared(shape, commands, |_| Ok(()))
    }

    /// As [`Self::run`], on a machine that `prepare` has changed; what it gives is kept until the
    /// machine has ended.
    fn run_prepared<T>(
        &self,
        shape: &Shape,
        commands: &str,
        prepare: impl Fn(&mut Config) -> Result<T>,
    ) -> Result<Said> {
        let bundle = self.bundle(shape)?;
        let mut config = self.bench.config();
        config.initrd = Some(bundle.0.clone());
        // Enough for the guest, the drain and the shell; more only share the host's.
        config.cores = 4;
        let _kept = prepare(&mut config)?;
        let mut lines = Vec::new();
        let begun = UNIX_EPOCH.elapsed()?.as_secs();
        let result = self.bench.session(&config, commands, LIMIT, &mut lines);
        let text = lines.join("\n");
        let status = result.map_err(|failure| anyhow!("{failure}\n{text}"))?;
        ensure!(status == 0, "status {status}\n{text}");
        let figures = Figures::read(&text).with_context(|| text.clone())?;
        Ok(Said { figures, text, begun })
    }
}

/// The figures of a guest's init, and all that was said.
struct Said {
    figures: Figures,
    text: String,
    /// When its machine was started, in seconds from 1970.
    begun: u64,
}

impl Said {
    /// A figure of the init is there, and is as it should be.
    fn check(&self, key: &str, good: impl Fn(u64) -> bool) -> Result<()> {
        let figure = self.figures.number(key).with_context(|| self.text.clone())?;
        ensure!(good(figure), "{key} is {figure}\n{}", self.text);
        Ok(())
    }

    /// A figure of `vm stats` of a held machine, by its label, is above this.
    fn check_held(&self, label: &str, above: u64) -> Result<()> {
        let part =
            self.text.lines().find_map(|line| line.strip_prefix(label)?.split_whitespace().next());
        let figure: u64 = part.and_then(|part| part.parse().ok()).unwrap_or(0);
        ensure!(figure > above, "{label} is {figure}\n{}", self.text);
        Ok(())
    }

    /// What its kernel said at the console, where warnings and worse go, but for its last line, and
    /// for that a timer's handler took long by the clock, or a server came late to its period: the
    /// host stops a core at any place, and the clock goes on.
    fn warnings(&self) -> Vec<&str> {
        let said = self.text.lines().filter_map(|line| line.strip_prefix("[vm0] ["));
        let by_the_clock = ["hrtimer: interrupt took", "DL replenish lagged too much"];
        let expected = |line: &str| {
            line.ends_with("reboot: Power down")
                || by_the_clock.iter().any(|text| line.contains(text))
        };
        said.filter(|line| !expected(line)).collect()
    }

    /// `pool` shows no objects.
    fn nothing_is_left(&self) -> Result<()> {
        let empty =
            self.text.lines().any(|line| line.split_whitespace().take(2).eq(["objects", "0"]));
        ensure!(empty, "the pool is not empty\n{}", self.text);
        Ok(())
    }
}

/// A file that goes with this value.
pub(super) struct Removed(pub(super) PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What cannot be removed is overwritten some day.
        let _ = std::fs::remove_file(&self.0);
    }
}
