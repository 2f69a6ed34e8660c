//! Linux guests: the kit under plain QEMU, and under Bale. Without Debian's kernel they are skipped.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use super::Bench;
use super::report::{Case, Outcome};
use crate::build::Built;
use crate::bundle;
use crate::linux::boot::{self, Figures};
use crate::linux::guest::{Guest, NAME, Shape};
use crate::linux::{Alone, Kit, package};
use crate::machine::Config;
use crate::{pages, run};

/// For one machine, also where a slow, busy host has other work.
const LIMIT: Duration = Duration::from_secs(300);
const MIB: u64 = 1 << 20;

/// Fetches the kernel once, for all cases.
#[derive(Default)]
pub(super) struct Fetched(OnceLock<Result<(), String>>);

/// The cases.
pub(super) fn cases<'a>(bench: &'a Bench<'_>, built: &'a Built, fetched: &'a Fetched) -> Vec<Case<'a>> {
    let mut cases = vec![
        case("kit-boot", fetched, || boots_alone(&built.linux_init)),
        case("kit-swap", fetched, || swaps_alone(&built.linux_init)),
    ];
    for vcpus in [1, 2, 4] {
        cases.push(case(&format!("vm-boot-{vcpus}"), fetched, move || boots_on_bale(bench, built, vcpus)));
    }
    cases.push(case("vm-held", fetched, || held_on_bale(bench, built)));
    cases.push(case("vm-held-swap", fetched, || held_and_swaps(bench, built)));
    cases.push(case("vm-swap", fetched, || swaps_on_bale(bench, built)));
    cases.push(case("vm-writeback", fetched, || writes_back(bench, built)));
    cases
}

fn case<'a>(
    name: &str,
    fetched: &'a Fetched,
    run: impl Fn() -> Result<(), String> + Send + Sync + 'a,
) -> Case<'a> {
    let run = move || {
        let kernel = fetched.0.get_or_init(|| package::fetch().map(drop).map_err(|why| format!("{why:#}")));
        match kernel {
            Ok(()) => Outcome::of(run()),
            Err(why) => Outcome::skipped(why),
        }
    };
    Case { name: format!("linux::{name}"), run: Box::new(run) }
}

fn alone(init: &Path, work: &str, memory: &str, swap: Option<u64>) -> anyhow::Result<Figures> {
    let kit = Kit::make(init.to_owned(), work, None)?;
    let mut machine = Alone::new(&kit, work);
    machine.config.memory = memory.into();
    if let Some(bytes) = swap {
        machine.swap(bytes)?;
    }
    Figures::read(&boot::run(&machine.config, LIMIT, |_| {})?)
}

fn boots_alone(init: &Path) -> Result<(), String> {
    let figures = alone(init, "boot", "256M", None).map_err(|why| format!("{why:#}"))?;
    figures.number("uptime_us").map(drop).map_err(|why| why.to_string())
}

/// More memory than there is, every byte verified, slots given back.
fn swaps_alone(init: &Path) -> Result<(), String> {
    let check = || {
        let figures = alone(init, "swap:128M:0", "128M", Some(256 * MIB))?;
        let number = |key| figures.number(key);
        anyhow::ensure!(number("verified_pages")? == 32768, "{figures:?}");
        anyhow::ensure!(number("swapped_out")? > 1000 && number("swapped_in")? > 1000, "{figures:?}");
        anyhow::ensure!(number("swap_used_after_kib")? < number("swap_used_kib")?, "{figures:?}");
        // The one of swapon, and those of clusters that became free.
        anyhow::ensure!(number("discards")? > 1, "{figures:?}");
        Ok(())
    };
    check().map_err(|why| format!("{why:#}"))
}

fn boots_on_bale(bench: &Bench<'_>, built: &Built, vcpus: u32) -> Result<(), String> {
    let shape = Shape { memory: "256M".into(), vcpus, swap: None, store: Vec::new(), work: "boot".into() };
    let (figures, text) = on_bale(bench, built, &shape, &format!("vm run {NAME}"))?;
    let guest = figures.number("clock_s").map_err(|why| format!("{why:#}\n{text}"))?;
    let host = UNIX_EPOCH.elapsed().map_err(|why| why.to_string())?.as_secs();
    // It boots in seconds, also on a busy host.
    if host.abs_diff(guest) < 120 {
        Ok(())
    } else {
        Err(format!("the guest's clock says {guest}, the host's {host}"))
    }
}

/// More memory than the guest has, on its disk in the compressed store: every byte verified, slots given back while it runs, nothing left when it has ended.
fn swaps_on_bale(bench: &Bench<'_>, built: &Built) -> Result<(), String> {
    let shape = Shape {
        memory: "128M".into(),
        vcpus: 2,
        swap: Some("256M".into()),
        store: Vec::new(),
        work: "swap:96M:0".into(),
    };
    let (figures, text) = on_bale(bench, built, &shape, &format!("vm run {NAME}; drain flush; pool"))?;
    let number = |key| figures.number(key).map_err(|why| format!("{why:#}\n{text}"));
    let good = number("verified_pages")? == 24576
        && number("swapped_out")? > 1000
        && number("swapped_in")? > 1000
        && number("discards")? > 1
        && text.lines().any(|line| line.split_whitespace().take(2).eq(["objects", "0"]));
    if good { Ok(()) } else { Err(text) }
}

/// A store with room for a small part of what the guest swaps, and a disk behind it: every byte verified, from wherever it was.
fn writes_back(bench: &Bench<'_>, built: &Built) -> Result<(), String> {
    let shape = Shape {
        memory: "96M".into(),
        vcpus: 2,
        swap: Some("256M".into()),
        store: vec![("quota", "4M".into()), ("backing", "on".into())],
        work: "swap:72M:0".into(),
    };
    let prepare = |config: &mut Config| run::with_backing(config, 256 * MIB);
    let commands = format!("vm run {NAME}; swap; drain flush; pool");
    let (figures, text) = on_prepared(bench, built, &shape, &commands, prepare)?;
    let number = |key| figures.number(key).map_err(|why| format!("{why:#}\n{text}"));
    // The last column of the machine's line: pages that went to the disk.
    let to_disk = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "0").then_some(words.last()?.parse::<u64>().ok()?)
    });
    let good = number("verified_pages")? == 18432
        && to_disk.max().unwrap_or(0) > 1000
        && text.lines().any(|line| line.split_whitespace().take(2).eq(["objects", "0"]));
    if good { Ok(()) } else { Err(text) }
}

/// A guest that knows nothing is held to half of its memory, of which it fills more: every byte verified, nothing left when it has ended.
fn held_on_bale(bench: &Bench<'_>, built: &Built) -> Result<(), String> {
    let shape =
        Shape { memory: "512M".into(), vcpus: 2, swap: None, store: Vec::new(), work: "fill:352M:0".into() };
    let commands = format!(
        "vm start {NAME}\nvm set {NAME} memory 256M\nvm wait 0\nvm stats 0\nvm list\ndrain flush; pool"
    );
    let (figures, text) = on_bale(bench, built, &shape, &commands)?;
    let number = |key| figures.number(key).map_err(|why| format!("{why:#}\n{text}"));
    let held = |name| of_holding(&text, name);
    let good = number("verified_pages")? == 90112
        // What was filled and does not fit went at least once, and came back to be verified.
        && held("put out") > 24576
        && held("brought back") > 24576
        && text.lines().any(|line| line.split_whitespace().take(2).eq(["objects", "0"]));
    if good { Ok(()) } else { Err(text) }
}

/// The guest swaps, and the hypervisor under it: what its disk copies to and from, rings and buffers, may have been put out.
fn held_and_swaps(bench: &Bench<'_>, built: &Built) -> Result<(), String> {
    let shape = Shape {
        memory: "128M".into(),
        vcpus: 2,
        swap: Some("256M".into()),
        store: Vec::new(),
        work: "swap:96M:0".into(),
    };
    let commands =
        format!("vm start {NAME}\nvm set {NAME} memory 96M\nvm wait 0\nvm stats 0\ndrain flush; pool");
    let (figures, text) = on_bale(bench, built, &shape, &commands)?;
    let number = |key| figures.number(key).map_err(|why| format!("{why:#}\n{text}"));
    let good = number("verified_pages")? == 24576
        && number("swapped_in")? > 1000
        && of_holding(&text, "brought back") > 1_000
        && text.lines().any(|line| line.split_whitespace().take(2).eq(["objects", "0"]));
    if good { Ok(()) } else { Err(text) }
}

/// A figure of `vm stats` of a held machine, by its label; 0 without one.
fn of_holding(text: &str, label: &str) -> u64 {
    let part = text.lines().find_map(|line| line.strip_prefix(label)?.split_whitespace().next());
    part.and_then(|part| part.parse().ok()).unwrap_or(0)
}

/// Runs commands with a Linux guest of this shape in the bundle; the figures of its init, and all that was said.
fn on_bale(
    bench: &Bench<'_>,
    built: &Built,
    shape: &Shape,
    commands: &str,
) -> Result<(Figures, String), String> {
    on_prepared(bench, built, shape, commands, |_| Ok(()))
}

/// As [`on_bale`], on a machine that `prepare` has changed; what it gives is kept until the machine has ended.
fn on_prepared<T>(
    bench: &Bench<'_>,
    built: &Built,
    shape: &Shape,
    commands: &str,
    prepare: impl Fn(&mut Config) -> anyhow::Result<T>,
) -> Result<(Figures, String), String> {
    let name = format!("test-linux-{}-{}.tar", shape.vcpus, shape.work.replace(':', "-"));
    let make = || {
        let guest = Guest::make(built.linux_init.clone(), shape, None)?;
        let out = Removed(crate::workspace::own_folder()?.join(name));
        bundle::write(&out.0, &[], &bundle::read_pages(&pages::kept()?)?, &guest.files()?)?;
        Ok::<_, anyhow::Error>(out)
    };
    let out = make().map_err(|why| format!("{why:#}"))?;
    let mut config = bench.config();
    config.initrd = Some(out.0.clone());
    // Enough for the guest, the drain and the shell; more only share the host's.
    config.cores = 4;
    let _kept = prepare(&mut config).map_err(|why| format!("{why:#}"))?;
    let mut lines = Vec::new();
    let result = bench.session(&config, commands, LIMIT, &mut lines);
    let text = lines.join("\n");
    let status = result.map_err(|failure| format!("{failure}\n{text}"))?;
    if status != 0 {
        return Err(format!("status {status}\n{text}"));
    }
    let figures = Figures::read(&text).map_err(|why| format!("{why:#}\n{text}"))?;
    Ok((figures, text))
}

/// A file that goes with this value.
pub(super) struct Removed(pub(super) PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What cannot be removed is overwritten some day.
        let _ = std::fs::remove_file(&self.0);
    }
}
