//! Counted figures against their budgets: one machine counts for each suite, each figure is a case.

use std::sync::OnceLock;

use anyhow::Result;

use super::report::{Case, Outcome};
use super::{Bench, MACHINE_LIMIT};
use crate::bench::collect::{self, Asked};
use crate::bench::goals::{self, Goal, SUITES, judge};
use crate::bench::{Run, budgets};

/// The goals that have budgets, and what was counted once the first case needs it.
pub(super) struct Budgets<'a> {
    bench: &'a Bench<'a>,
    goals: Vec<Goal>,
    counted: [OnceLock<Result<Run, String>>; SUITES.len()],
}

impl<'a> Budgets<'a> {
    /// Reads the budgets; counts nothing yet.
    pub(super) fn new(bench: &'a Bench<'a>) -> Result<Self> {
        let mut goals = goals::load()?;
        goals.retain(|goal| goal.budget.is_some());
        Ok(Self { bench, goals, counted: Default::default() })
    }

    /// One case for each budget.
    pub(super) fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        self.goals.iter().map(move |goal| Case {
            name: format!("budgets::{}::{}", goal.suite, goal.name),
            run: Box::new(move || Outcome::of(self.holds(goal))),
        })
    }

    fn holds(&self, goal: &Goal) -> Result<(), String> {
        let suites = SUITES.iter().zip(&self.counted);
        let (_, counted) = suites
            .into_iter()
            .find(|((suite, _), _)| *suite == goal.suite)
            .ok_or("no such suite")?;
        let run = counted.get_or_init(|| self.count(goal.suite)).as_ref().map_err(Clone::clone)?;
        let runs = std::slice::from_ref(run);
        judge(std::slice::from_ref(goal), runs).iter().try_for_each(budgets::holds)
    }

    fn count(&self, suite: &str) -> Result<Run, String> {
        let asked = Asked {
            suites: vec![suite.into()],
            cores: 1,
            seed: 1,
            pages: None,
            cycles: false,
            limit: MACHINE_LIMIT,
        };
        collect::qemu(&self.bench.config(), self.bench.decoder, &asked)
            .map_err(|error| format!("{error:#}"))
    }
}
