//! Goals and budgets of the suites' figures, from a `goals.toml` beside what each measures, and
//! figures held against them.

use std::path::PathBuf;
use std::{fmt, fs};

use anyhow::{Context, Result, bail, ensure};
use toml_edit::{DocumentMut, Item, TableLike};

use super::report::Row;
use super::{Mode, Run};
use crate::workspace;

/// The suite that a default run measures.
pub(crate) const ALLOCATOR: &str = "allocator";

/// The codecs' suite, which runs on the host.
pub(crate) const CODECS: &str = "codecs";

/// The suites whose figures have goals, and the files that lay them down.
pub(crate) const SUITES: [(&str, &str); 6] = [
    (ALLOCATOR, "allocator/goals.toml"),
    ("store", "kernel/swap/goals.toml"),
    (CODECS, "kernel/swap/codecs-goals.toml"),
    ("rtos", "kernel/goals.toml"),
    ("vm", "kernel/vm-goals.toml"),
    ("thread-metric", "kernel/thread-metric-goals.toml"),
];

/// Where a suite's goals are.
pub(crate) fn path(file: &str) -> PathBuf {
    workspace::root().join(file)
}

/// Which way a figure gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Lower,
    Higher,
}

impl Better {
    /// Whether a value is as good as a limit. Both are decimal figures of few digits: a difference
    /// too small to be printed is none.
    pub(crate) fn reaches(self, value: f64, limit: f64) -> bool {
        let slack = limit.abs() * 1e-9;
        match self {
            Self::Lower => value <= limit + slack,
            Self::Higher => value >= limit - slack,
        }
    }

    /// The worse of two values.
    fn worse(self, one: f64, other: f64) -> f64 {
        match self {
            Self::Lower => one.max(other),
            Self::Higher => one.min(other),
        }
    }

    /// How "not above" reads.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Lower => "<=",
            Self::Higher => ">=",
        }
    }
}

/// What a figure is to reach.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Goal {
    pub(crate) suite: &'static str,
    pub(crate) name: String,
    /// Unit that the figure must have, where it is laid down.
    pub(crate) unit: Option<String>,
    pub(crate) better: Better,
    pub(crate) goal: f64,
    /// What it has reached, and must keep.
    pub(crate) budget: Option<f64>,
    /// Cores of the machine that measures it, where it is of one machine only.
    pub(crate) cores: Option<u32>,
    /// Whether it is measured on the host.
    pub(crate) host: bool,
}

impl Goal {
    /// Whether any of these runs could measure it: instructions want a machine that counts them.
    fn applies(&self, runs: &[Run]) -> bool {
        let counted = self.unit.as_ref().is_some_and(|unit| unit.starts_with("instructions"));
        let fits = |run: &Run| {
            self.host == (run.mode == Mode::Host)
                && self.cores.is_none_or(|cores| cores == run.report.cores)
                && (!counted || run.report.counts_instructions())
        };
        runs.iter().any(fits)
    }

    /// Whether it is about this figure, in the unit that it is laid down in.
    pub(crate) fn is_about(&self, row: &Row) -> bool {
        let fits = self.unit.as_ref().is_none_or(|unit| *unit == row.unit);
        row.suite == self.suite && row.name == self.name && fits
    }
}

/// The goals of the workspace.
pub(crate) fn load() -> Result<Vec<Goal>> {
    let mut goals = Vec::new();
    for (suite, file) in SUITES {
        let text = fs::read_to_string(path(file)).with_context(|| format!("cannot read {file}"))?;
        goals.extend(parse(suite, &text).with_context(|| file.to_owned())?);
    }
    Ok(goals)
}

/// Reads a suite's `goals.toml`: a table for each figure, in the order of the file.
pub(crate) fn parse(suite: &'static str, text: &str) -> Result<Vec<Goal>> {
    let document: DocumentMut = text.parse()?;
    let goals: Result<Vec<Goal>> =
        document.iter().map(|(name, item)| read(suite, name, item)).collect();
    let goals = goals?;
    ensure!(!goals.is_empty(), "no goals");
    Ok(goals)
}

fn read(suite: &'static str, name: &str, item: &Item) -> Result<Goal> {
    const KNOWN: [&str; 7] = ["about", "unit", "better", "goal", "budget", "cores", "place"];
    let table = item.as_table_like().with_context(|| format!("{name} is not a table"))?;
    if let Some((unknown, _)) = table.iter().find(|(key, _)| !KNOWN.contains(key)) {
        bail!("{name}: {unknown} is not known");
    }
    let better = match table.get("better").and_then(Item::as_str) {
        Some("lower") => Better::Lower,
        Some("higher") => Better::Higher,
        _ => bail!("{name}: `better` is \"lower\" or \"higher\""),
    };
    let host = match table.get("place").map(Item::as_str) {
        None => false,
        Some(Some("host")) => true,
        Some(_) => bail!("{name}: `place` is \"host\", or left out"),
    };
    let cores = match table.get("cores") {
        None => None,
        Some(item) => {
            let cores = item.as_integer().and_then(|cores| u32::try_from(cores).ok());
            Some(cores.with_context(|| format!("{name}: `cores` is not a number of cores"))?)
        }
    };
    Ok(Goal {
        suite,
        cores,
        host,
        name: name.to_owned(),
        unit: table.get("unit").and_then(Item::as_str).map(str::to_owned),
        better,
        goal: number(table, name, "goal")?.with_context(|| format!("{name} has no goal"))?,
        budget: number(table, name, "budget")?,
    })
}

fn number(table: &dyn TableLike, name: &str, key: &str) -> Result<Option<f64>> {
    let Some(item) = table.get(key) else { return Ok(None) };
    let value = item.as_float().or_else(|| item.as_integer().map(|value| value as f64));
    Ok(Some(value.with_context(|| format!("{name}: `{key}` is not a number"))?))
}

/// A goal and what was measured of it.
pub(crate) struct Verdict<'a> {
    pub(crate) goal: &'a Goal,
    /// Of the run with one core where that has it, otherwise the worst of all runs.
    pub(crate) value: Option<f64>,
    /// Whether `value` was counted exactly.
    pub(crate) exact: bool,
}

impl Verdict<'_> {
    /// Whether the goal is reached; one that was not measured is not.
    pub(crate) fn met(&self) -> bool {
        self.value.is_some_and(|value| self.goal.better.reaches(value, self.goal.goal))
    }

    /// Whether the figure is worse than its budget. Only exact figures have one.
    pub(crate) fn over_budget(&self) -> bool {
        match (self.value, self.goal.budget) {
            (Some(value), Some(budget)) => self.exact && !self.goal.better.reaches(value, budget),
            _ => false,
        }
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Goal { name, goal, better, .. } = self.goal;
        match self.value {
            Some(value) => write!(f, "{name}: {value}, goal {} {goal}", better.sign()),
            None => write!(f, "{name}: not measured, goal {} {goal}", better.sign()),
        }
    }
}

/// Holds the runs against the goals that they could measure; those of suites that none of them ran
/// are left out.
pub(crate) fn judge<'a>(goals: &'a [Goal], runs: &[Run]) -> Vec<Verdict<'a>> {
    let ran =
        |suite: &str| runs.iter().any(|run| run.report.rows.iter().any(|row| row.suite == suite));
    let judged = goals.iter().filter(|goal| ran(goal.suite) && goal.applies(runs));
    judged.map(|goal| verdict(goal, runs)).collect()
}

fn verdict<'a>(goal: &'a Goal, runs: &[Run]) -> Verdict<'a> {
    let of =
        |run: &Run| run.report.rows.iter().filter(|row| goal.is_about(row)).find_map(Row::value);
    let one =
        runs.iter().find(|run| run.report.cores == 1).and_then(|run| Some((run.mode, of(run)?)));
    match one {
        Some((mode, value)) => Verdict { goal, value: Some(value), exact: mode == Mode::Counted },
        None => {
            let value =
                runs.iter().filter_map(of).reduce(|one, other| goal.better.worse(one, other));
            Verdict { goal, value, exact: false }
        }
    }
}

#[cfg(test)]
mod tests;
