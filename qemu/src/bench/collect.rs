//! Suites run on a machine, and what it printed.

use std::cell::RefCell;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::report::{self, Report};
use super::{Mode, Run};
use crate::log::Decoder;
use crate::machine::Config;
use crate::pages;
use crate::script::{Failure, Line, Session};
use crate::serial::{BAUD, Port};
use crate::workspace;

/// Makes QEMU count instructions: one each for a nanosecond of the machine's time, and no waiting
/// for the host's.
pub(crate) const COUNTED: [&str; 2] = ["-icount", "shift=0,sleep=off"];
/// Lines that are shown of a machine that failed.
const LAST: usize = 20;

/// What a machine is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) suites: Vec<String>,
    pub(crate) cores: u32,
    pub(crate) seed: u64,
    /// Objects or pages, if not each benchmark's own number.
    pub(crate) pages: Option<u32>,
    /// Cycles are counted, not instructions.
    pub(crate) cycles: bool,
    /// For each machine.
    pub(crate) limit: Duration,
}

impl Asked {
    /// A machine under QEMU has as many cores as are asked for, a board all of its own.
    fn command(&self, suite: &str, mode: Mode) -> String {
        let cores =
            if mode == Mode::Serial { format!(" --cores {}", self.cores) } else { String::new() };
        let cycles = if self.cycles { " --cycles" } else { "" };
        let pages = self.pages.map(|pages| format!(" --pages {pages}")).unwrap_or_default();
        format!("bench run {suite} --json{cores}{cycles}{pages} --seed {}", self.seed)
    }
}

/// Runs the suites under QEMU, each on a machine of its own, so that no figure depends on what else
/// was asked for; `config` has image and bundle.
pub(crate) fn qemu(config: &Config, decoder: &Decoder, asked: &Asked) -> Result<Run> {
    let mode = if asked.cores == 1 { Mode::Counted } else { Mode::Emulated };
    let mut config = config.clone();
    config.cores = asked.cores;
    config.arguments = "exec".into();
    if mode == Mode::Counted {
        config.extra.extend(COUNTED.map(str::to_owned));
    }
    let mut all = Vec::new();
    for suite in &asked.suites {
        let heard = Heard::default();
        let mut show = |line: &Line| heard.take(line);
        let session = Session::start(&config, Some(decoder), asked.limit, &mut show);
        let result = session.map_err(Into::into).and_then(|mut session| {
            let lines = heard.run(asked, suite, mode, &mut session)?;
            session.power_off()?;
            Ok(lines)
        });
        all.extend(heard.explain(result)?);
    }
    Ok(Run { mode, report: parse(&all)? })
}

fn parse(lines: &[String]) -> Result<Report> {
    Report::parse(lines.iter().map(String::as_str))
}

/// Runs the suites on a board, which goes on afterwards.
pub(crate) fn serial(path: &Path, asked: &[Asked]) -> Result<Vec<Run>> {
    let (sender, events) = mpsc::channel();
    let port = Port::open(path, BAUD, sender)?;
    let limit = asked.iter().map(|asked| asked.limit).sum();
    let heard = Heard::default();
    let mut show = |line: &Line| heard.take(line);
    let started = Session::attach(Box::new(port), events, limit, &mut show);
    let result = started.map_err(Into::into).and_then(|mut session| {
        let one = |asked: &Asked| {
            let mut all = Vec::new();
            for suite in &asked.suites {
                all.extend(heard.run(asked, suite, Mode::Serial, &mut session)?);
            }
            Ok(Run { mode: Mode::Serial, report: parse(&all)? })
        };
        asked.iter().map(one).collect()
    });
    heard.explain(result)
}

/// Runs what is measured on this machine.
pub(crate) fn host() -> Result<Run> {
    eprintln!("bale: suite host, threads of this machine");
    let mut command = workspace::command("cargo");
    command.args(["bench", "--quiet", "-p", "zsmalloc", "--bench", "host"]);
    let output = command.output().context("cargo does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "the host's benchmark failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(Run { mode: Mode::Host, report: Report::parse(text.lines())? })
}

/// The codecs beside their peers, on pages of the kinds that they are judged by, or of one kind.
pub(crate) fn codecs(kind: Option<&str>) -> Result<Run> {
    let files = pages::judged(kind)?;
    eprintln!("bale: suite codecs, beside libraries of this machine");
    let mut command = workspace::command("cargo");
    command.args(["run", "--quiet", "--release", "-p", "bale-swap", "--example", "codecs", "--"]);
    // The table kind by kind is for whoever watches.
    let output = command.args(files).stderr(std::process::Stdio::inherit()).output();
    let output = output.context("cargo does not start")?;
    ensure!(output.status.success(), "the codecs' benchmark failed");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Run { mode: Mode::Host, report: Report::parse(text.lines())? })
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        anyhow!("{failure}")
    }
}

/// What the machine said since the last command.
#[derive(Default)]
struct Heard {
    lines: RefCell<Vec<String>>,
}

impl Heard {
    fn take(&self, line: &Line) {
        match line {
            Line::Text(text) => self.lines.borrow_mut().push(text.clone()),
            Line::Log(text) => eprintln!("{text}"),
        }
    }

    /// Runs a suite; what came of it.
    fn run(
        &self,
        asked: &Asked,
        suite: &str,
        mode: Mode,
        session: &mut Session<'_>,
    ) -> Result<Vec<String>> {
        let plural = if asked.cores == 1 { "" } else { "s" };
        eprintln!("bale: suite {suite}, {} core{plural}, {}", asked.cores, mode.about());
        let started = Instant::now();
        self.lines.borrow_mut().clear();
        let command = asked.command(suite, mode);
        let status = session.command(&command)?;
        ensure!(status == 0, "`{command}` failed with status {status}");
        let lines = self.lines.take();
        let report = self.report(asked, suite, &lines).with_context(|| format!("`{command}`"))?;
        lines.iter().filter(|line| !report::is_json(line)).for_each(|line| eprintln!("{line}"));
        eprintln!(
            "bale: {} figures after {:.1} s",
            report.rows.len(),
            started.elapsed().as_secs_f64()
        );
        Ok(lines)
    }

    fn report(&self, asked: &Asked, suite: &str, lines: &[String]) -> Result<Report> {
        let report = parse(lines)?;
        ensure!(
            report.cores == asked.cores,
            "the machine reports {} cores, not {}",
            report.cores,
            asked.cores
        );
        let there = report.rows.iter().any(|row| row.suite == suite);
        ensure!(there || !report.counts(), "no figure of suite {suite} among them");
        Ok(report)
    }

    /// Adds the machine's last words to an error.
    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let lines = self.lines.borrow();
            let text: Vec<&str> =
                lines.iter().map(String::as_str).filter(|line| !report::is_json(line)).collect();
            let last = text[text.len().saturating_sub(LAST)..].join("\n  ");
            if last.is_empty() { error } else { anyhow!("{error:#}; the machine said:\n  {last}") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Mode};

    #[test]
    fn what_is_asked_for_reaches_the_target() {
        let limit = std::time::Duration::from_secs(1);
        let mut asked = Asked {
            suites: vec!["ladder".into()],
            cores: 2,
            seed: 7,
            pages: None,
            cycles: false,
            limit,
        };
        assert_eq!(asked.command("ladder", Mode::Counted), "bench run ladder --json --seed 7");
        (asked.pages, asked.cycles) = (Some(1000), true);
        let wanted = "bench run ladder --json --cores 2 --cycles --pages 1000 --seed 7";
        assert_eq!(asked.command("ladder", Mode::Serial), wanted);
    }
}
