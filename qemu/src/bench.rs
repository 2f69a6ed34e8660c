//! `cargo bale bench`: runs the suites on the target, prints their figures beside goals and
//! budgets, keeps them.

pub(crate) mod budgets;
pub(crate) mod collect;
mod compare;
pub(crate) mod goals;
mod peer;
mod plot;
mod report;
mod save;
mod table;

use anyhow::{Result, ensure};

use crate::bench::report::Report;
use crate::build;
use crate::cli::{BenchOptions, Peer};
use crate::log::Decoder;
use crate::machine::Config;
use crate::run::Bundle;
use crate::setup;
use collect::Asked;

/// Status when a goal is missed, or a budget exceeded.
const MISSED: u8 = 1;
/// Status when something failed, so that nothing can be said of the goals.
pub(crate) const FAILED: u8 = 2;

/// The suite of host threads, which belongs to the allocator's.
const HOST: &str = "host";

/// How a run was made, which decides what its figures mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// QEMU, one core, counting instructions.
    Counted,
    /// QEMU, cores side by side.
    Emulated,
    /// A board.
    Serial,
    /// Threads of this machine, and models.
    Host,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Counted, Self::Emulated, Self::Serial, Self::Host];

    /// Its name in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Emulated => "emulated",
            Self::Serial => "serial",
            Self::Host => "host",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// What a reader of its figures has to know.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Counted => "counted exactly, an instruction a cycle",
            Self::Emulated => "emulated, times mean nothing",
            Self::Serial => "over the serial line",
            Self::Host => "host threads by wall clock, and models",
        }
    }
}

/// A report, and how it was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) mode: Mode,
    pub(crate) report: Report,
}

/// Runs the suites; 0 when all goals are met and no figure is worse than its budget.
pub(crate) fn run(options: &BenchOptions) -> Result<u8> {
    if let Some(Peer::Linux) = options.peer {
        return peer::run(options);
    }
    // What the user gave wrong is an error at once, not after the runs.
    let mut goals = goals::load()?;
    let before = options.compare.as_deref().map(save::read).transpose()?;
    ensure!(
        !options.write_budgets || options.cores.contains(&1),
        "--write-budgets needs a run on one core"
    );
    let mut runs = match &options.serial {
        Some(path) => collect::serial(path, &asked(options))?,
        None if asked(options).is_empty() => Vec::new(),
        None => qemu(options)?,
    };
    if options.serial.is_none()
        && options.suites.iter().any(|suite| [goals::ALLOCATOR, HOST].contains(&suite.as_str()))
    {
        runs.push(collect::host()?);
    }
    if options.serial.is_none() && options.suites.iter().any(|suite| suite == goals::CODECS) {
        runs.push(collect::codecs(options.kind.as_deref())?);
    }
    if let Some(path) = &options.json {
        save::write(path, &save::json(&runs))?;
    }
    if let Some(path) = &options.csv {
        save::write(path, &save::csv(&runs, &goals))?;
    }
    if let Some(folder) = &options.plots {
        for file in plot::write(folder, &runs)? {
            eprintln!("bale: wrote {}", file.display());
        }
    }
    if options.write_budgets {
        for (file, changed) in budgets::write(&goals::judge(&goals, &runs))? {
            eprintln!("bale: {changed} budgets changed in {file}");
        }
        goals = goals::load()?;
    }
    if options.pages.is_some() {
        eprintln!(
            "bale: goals and budgets are for each benchmark's own number of pages; with --pages none is judged"
        );
        goals.clear();
    }
    let verdicts = goals::judge(&goals, &runs);
    let mut lines = table::table(&runs, &verdicts);
    if let Some(before) = before {
        lines.extend(table::changes(&compare::compare(&before, &runs, &goals)));
        lines.push(String::new());
    }
    lines.extend(table::closing(&verdicts));
    lines.iter().for_each(|line| println!("{line}"));
    Ok(status(&verdicts))
}

fn status(verdicts: &[goals::Verdict<'_>]) -> u8 {
    let well = |verdict: &goals::Verdict<'_>| verdict.met() && !verdict.over_budget();
    if verdicts.iter().all(well) { 0 } else { MISSED }
}

/// A machine for each number of cores: one core counts, more run side by side.
fn qemu(options: &BenchOptions) -> Result<Vec<Run>> {
    setup::qemu(&options.setup)?;
    let built = build::build(&options.setup)?;
    let decoder = Decoder::from_elf(&built.elf)?;
    let bundle = Bundle::make(&built, None)?;
    let mut config = Config::new(built.image.clone());
    config.initrd = Some(bundle.path().to_owned());
    asked(options).iter().map(|asked| collect::qemu(&config, &decoder, asked)).collect()
}

fn asked(options: &BenchOptions) -> Vec<Asked> {
    let mut cores = options.cores.clone();
    cores.sort_unstable();
    cores.dedup();
    let suites: Vec<_> = options
        .suites
        .iter()
        .filter(|suite| ![HOST, goals::CODECS].contains(&suite.as_str()))
        .cloned()
        .collect();
    if suites.is_empty() {
        return Vec::new();
    }
    let one = |cores| Asked {
        suites: suites.clone(),
        cores,
        seed: options.seed,
        pages: options.pages,
        cycles: options.cycles,
        limit: std::time::Duration::from_secs(options.timeout),
    };
    cores.into_iter().map(one).collect()
}

#[cfg(test)]
mod sample {
    use super::{Mode, Report, Run};

    /// What machines with one core and with four said.
    pub(super) fn runs() -> Vec<Run> {
        let run = |mode, text: &str| Run {
            mode,
            report: Report::parse(text.lines()).expect("a good sample"),
        };
        vec![
            run(Mode::Counted, include_str!("../tests/bench/allocator-1.txt")),
            run(Mode::Emulated, include_str!("../tests/bench/allocator-4.txt")),
        ]
    }
}
