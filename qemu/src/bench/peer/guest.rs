//! The same kernel alone and as a guest of Bale: its boot, and the end of a process whose memory is
//! swapped.
//!
//! One core in either case. A nanosecond of the guest's clock is an instruction of that core, the
//! hypervisor's and the drain's among them.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bench::collect::COUNTED;
use crate::build::Built;
use crate::cli::BenchOptions;
use crate::linux::boot::{self, Figures};
use crate::linux::guest::{Guest, NAME, Shape};
use crate::linux::initramfs::Content;
use crate::linux::{Alone, Kit, package};
use crate::log::Decoder;
use crate::machine::Config;
use crate::run::Bundle;
use crate::script::{Line, Session};

/// Memory of a guest, and of the machine that it is compared with.
const MEMORY: &str = "256M";
/// How often memory is unmapped; the least counts.
const REPETITIONS: u32 = 3;
const PAGE: &str = "instructions/page";

/// A figure of both.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) alone: f64,
    pub(super) on_bale: f64,
    pub(super) unit: &'static str,
}

/// Boots and swaps; `zram` are the figures of the kernel alone with zram for its swap disk.
pub(super) fn measure(options: &BenchOptions, built: &Built, zram: &Figures) -> Result<Vec<Pair>> {
    let limit = Duration::from_secs(options.timeout);
    let kit = Kit::make(package::fetch(None)?, &built.linux_init, &Content::of("boot"))?;
    let mut machine = Alone::new(&kit, "boot");
    machine.config.memory = MEMORY.into();
    machine.count();
    eprintln!("bale: Linux boots alone");
    let alone = Figures::read(&boot::run(&machine.config, limit, |_| {})?)?;
    eprintln!("bale: Linux boots on Bale");
    let booted = on_bale(built, &Shape::of(MEMORY, 1, "boot"), limit)?;
    eprintln!("bale: Linux swaps on Bale");
    let work = format!("munmap:{REPETITIONS}");
    let shape = Shape { swap: Some(MEMORY.into()), ..Shape::of(MEMORY, 1, &work) };
    pairs(&alone, &booted, zram, &on_bale(built, &shape, limit)?)
}

fn pairs(
    alone: &Figures,
    booted: &Figures,
    zram: &Figures,
    swapped: &Figures,
) -> Result<Vec<Pair>> {
    let by_page = |figures: &Figures, key| {
        Ok::<_, anyhow::Error>(figures.number(key)? as f64 / figures.number("pages")? as f64)
    };
    let million =
        |figures: &Figures| Ok::<_, anyhow::Error>(figures.number("uptime_us")? as f64 / 1000.0);
    Ok(vec![
        Pair {
            name: "boot",
            about: "to the init's first line; alone there are more devices to find",
            alone: million(alone)?,
            on_bale: million(booted)?,
            unit: "million instructions",
        },
        Pair {
            name: "munmap",
            about: "of a swapped region, to zram and to Bale's disk: what the process waits for",
            alone: by_page(zram, "munmap_ns")?,
            on_bale: by_page(swapped, "munmap_ns")?,
            unit: PAGE,
        },
        Pair {
            name: "munmap-discarded",
            about: "the same until the discards are done, which zram has none of",
            alone: by_page(zram, "munmap_ns")?,
            on_bale: by_page(swapped, "discarded_ns")?,
            unit: PAGE,
        },
    ])
}

/// Runs a guest to its end on one core.
fn on_bale(built: &Built, shape: &Shape, limit: Duration) -> Result<Figures> {
    let decoder = Decoder::from_elf(&built.elf)?;
    let bundle = Bundle::with(built, None, &Guest::make(&built.linux_init, shape, None)?.files()?)?;
    let mut config = Config::new(built.image.clone());
    config.initrd = Some(bundle.path().to_owned());
    config.cores = 1;
    config.arguments = "exec noguest".into();
    config.extra.extend(COUNTED.map(str::to_owned));
    let lines = RefCell::new(Vec::new());
    let mut show = |line: &Line| {
        if let Line::Text(text) = line {
            lines.borrow_mut().push(text.clone());
        }
    };
    let mut run = || {
        let mut session = Session::start(&config, Some(&decoder), limit, &mut show)?;
        let status = session.command(&format!("vm run {NAME}"))?;
        session.power_off()?;
        Ok::<_, anyhow::Error>(status)
    };
    let status = run();
    let text = lines.take().join("\n");
    let status = status.with_context(|| text.clone())?;
    ensure!(status == 0, "the guest ended with status {status}:\n{text}");
    Figures::read(&text)
}

#[cfg(test)]
mod tests {
    use super::pairs;
    use crate::linux::boot::Figures;

    fn figures(keys: &[(&str, &str)]) -> Figures {
        Figures(keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn both_sides_of_each_figure() {
        let (alone, booted) =
            (figures(&[("uptime_us", "700000")]), figures(&[("uptime_us", "721000")]));
        let zram = figures(&[("pages", "4"), ("munmap_ns", "8000")]);
        let swapped = figures(&[("pages", "8"), ("munmap_ns", "8000"), ("discarded_ns", "8800")]);
        let pairs = pairs(&alone, &booted, &zram, &swapped).expect("all there");
        let values: Vec<_> =
            pairs.iter().map(|pair| (pair.name, pair.alone, pair.on_bale)).collect();
        let expected = [
            ("boot", 700.0, 721.0),
            ("munmap", 2000.0, 1000.0),
            ("munmap-discarded", 2000.0, 1100.0),
        ];
        assert_eq!(values, expected);
        assert!(
            super::pairs(&alone, &booted, &swapped, &zram).is_err(),
            "zram tells of no discards"
        );
    }
}
