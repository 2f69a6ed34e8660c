//! Tests of the kernel on the target, each in a machine of its own with its own time limit.

use std::time::Duration;

use anyhow::{Result, anyhow};

use super::report::{Case, Outcome};
use super::{Bench, MACHINE_LIMIT};
use crate::machine::Config;
use crate::script::{Failure, Line, Session};

/// The names that the kernel lists.
pub(super) fn names(bench: &Bench<'_>) -> Result<Vec<String>> {
    let (lines, status) = bench
        .script(&bench.config(), "selftest --list")
        .map_err(|why| anyhow!("the kernel does not list its tests: {why}"))?;
    let names: Vec<String> =
        lines.into_iter().filter(|line| line.contains("::") && !line.contains(' ')).collect();
    anyhow::ensure!(status == 0 && !names.is_empty(), "the kernel lists no tests");
    Ok(names)
}

/// One case for each name.
pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Result<Vec<Case<'a>>> {
    Ok(names(bench)?
        .into_iter()
        .map(|name| Case {
            name: format!("target::{name}"),
            run: Box::new(move || Outcome::of(run(bench, &name))),
        })
        .collect())
}

fn run(bench: &Bench<'_>, name: &str) -> Result<(), String> {
    let (lines, status) = bench.script(&bench.config(), &format!("selftest {name}"))?;
    let verdict = format!("test {name} ... ");
    match lines.iter().find_map(|line| line.strip_prefix(&verdict)) {
        Some("ok") if status == 0 => Ok(()),
        Some(verdict) => Err(format!("{verdict} (status {status})")),
        None => Err(format!("no verdict; status {status}; it said:\n{}", lines.join("\n"))),
    }
}

impl Bench<'_> {
    /// The usual machine with kernel and bundle, for a script.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new(self.built.image.clone());
        config.initrd = Some(self.bundle.clone());
        config.arguments = "exec".into();
        config
    }

    /// Starts a machine, runs one line of commands, turns it off: the text that came, and the
    /// status.
    pub(super) fn script(
        &self,
        config: &Config,
        command: &str,
    ) -> Result<(Vec<String>, u8), String> {
        let mut lines = Vec::new();
        let result = self.session(config, command, MACHINE_LIMIT, &mut lines);
        match result {
            Ok(status) => Ok((lines, status)),
            Err(failure) => {
                let last = lines.len().saturating_sub(40);
                Err(format!("{failure}\n{}", lines[last..].join("\n")))
            }
        }
    }

    /// As [`Self::script`], for commands of which so many are refused: a test of what it never
    /// started says nothing.
    pub(super) fn answers(
        &self,
        config: &Config,
        command: &str,
        refused: usize,
    ) -> Result<Vec<String>, String> {
        let (lines, _) = self.script(config, command)?;
        let errors = lines.iter().filter(|line| line.starts_with("error: ")).count();
        if errors == refused {
            Ok(lines)
        } else {
            Err(format!(
                "{errors} commands were refused instead of {refused}:\n{}",
                lines.join("\n")
            ))
        }
    }

    /// As [`Self::script`], with the failure as it is. Each line of `command` is run, also behind
    /// one that failed; the status is the first that is not 0.
    pub(super) fn session(
        &self,
        config: &Config,
        command: &str,
        limit: Duration,
        lines: &mut Vec<String>,
    ) -> Result<u8, Failure> {
        let mut show = |line: &Line| match line {
            Line::Text(text) | Line::Log(text) => lines.push(text.clone()),
        };
        let mut session = Session::start(config, Some(self.decoder), limit, &mut show)?;
        let mut status = 0;
        for line in command.lines() {
            let this = session.command(line)?;
            status = if status == 0 { this } else { status };
        }
        session.power_off()?;
        Ok(status)
    }
}
