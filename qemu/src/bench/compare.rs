//! Figures against those of an earlier run.

use std::collections::BTreeMap;

use super::goals::{Better, Goal};
use super::report::{Data, quantile};
use super::{Mode, Run};

/// A change for the worse that is marked: one per cent.
const NOTICED: f64 = 0.01;

/// A value that two runs may share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) suite: String,
    pub(crate) name: String,
    /// Cores of the machine; machines of several sizes may measure the same.
    pub(crate) machine: u32,
    /// Cores that took part.
    pub(crate) cores: u32,
    /// Column or quantile; empty for a plain value.
    pub(crate) part: String,
}

/// What became of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) key: Key,
    pub(crate) before: Option<f64>,
    pub(crate) now: Option<f64>,
    /// Worse by more than one per cent.
    pub(crate) worse: bool,
}

impl Change {
    /// In per cent of the value before; none where there is nothing to compare.
    pub(crate) fn percent(&self) -> Option<f64> {
        let (before, now) = (self.before?, self.now?);
        if before == now {
            return Some(0.0);
        }
        (before != 0.0).then(|| (now - before) / before.abs() * 100.0)
    }
}

/// What is known of a value.
struct Known<'a> {
    value: f64,
    unit: &'a str,
    /// Whether it is a time of an emulated machine, which means nothing.
    noise: bool,
}

/// All values of both, in order of suite, name, cores.
pub(crate) fn compare(before: &[Run], now: &[Run], goals: &[Goal]) -> Vec<Change> {
    let (before, now) = (values(before), values(now));
    let mut keys: Vec<&Key> = before.keys().chain(now.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(|key| {
            let (old, new) = (before.get(key), now.get(key));
            // Values in different units are different things.
            let both = old.zip(new).filter(|(old, new)| old.unit == new.unit);
            let before =
                if both.is_none() && new.is_some() { None } else { old.map(|old| old.value) };
            let worse = both.is_some_and(|(old, new)| {
                !new.noise && is_worse(better(goals, key, new.unit), old.value, new.value)
            });
            Change { key: key.clone(), before, now: new.map(|new| new.value), worse }
        })
        .collect()
}

/// As the goal says; without one, shares and rates get better by growing, costs by shrinking.
fn better(goals: &[Goal], key: &Key, unit: &str) -> Better {
    let goal = goals.iter().find(|goal| key.suite == goal.suite && goal.name == key.name);
    let grows = unit == "%" || unit.ends_with("/s");
    goal.map_or(if grows { Better::Higher } else { Better::Lower }, |goal| goal.better)
}

fn is_worse(better: Better, before: f64, now: f64) -> bool {
    match better {
        Better::Lower => now > before + before.abs() * NOTICED,
        Better::Higher => now < before - before.abs() * NOTICED,
    }
}

/// Every value; a histogram by its quantiles.
fn values(runs: &[Run]) -> BTreeMap<Key, Known<'_>> {
    let mut values = BTreeMap::new();
    for (run, row) in runs.iter().flat_map(|run| run.report.rows.iter().map(move |row| (run, row)))
    {
        let time = ["ns", "us", "cycles"].iter().any(|unit| row.unit.starts_with(unit));
        let noise = run.mode == Mode::Emulated && time;
        let mut put = |part: &str, value: f64| {
            let key = Key {
                suite: row.suite.clone(),
                name: row.name.clone(),
                machine: run.report.cores,
                cores: row.cores,
                part: part.to_owned(),
            };
            values.insert(key, Known { value, unit: &row.unit, noise });
        };
        match &row.data {
            Data::Value(value) => put("", *value),
            Data::Columns(columns) => columns.iter().for_each(|(name, value)| put(name, *value)),
            Data::Histogram(buckets) => {
                for (name, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                    if let Some(bound) = quantile(buckets, part) {
                        put(name, bound);
                    }
                }
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::super::report::Data;
    use super::super::{goals, sample};
    use super::{Change, compare};

    fn of<'a>(changes: &'a [Change], name: &str, part: &str) -> &'a Change {
        changes
            .iter()
            .find(|change| change.key.name == name && change.key.part == part)
            .unwrap_or_else(|| panic!("{name} {part}"))
    }

    #[test]
    fn what_got_worse_by_more_than_one_per_cent_is_marked() {
        let before = sample::runs();
        let mut now = before.clone();
        for row in now.iter_mut().flat_map(|run| &mut run.report.rows) {
            match (row.name.as_str(), &mut row.data) {
                ("malloc", Data::Value(value)) => *value *= 1.02,
                ("free", Data::Value(value)) => *value *= 1.009,
                ("push", Data::Value(value)) => *value *= 0.5,
                ("density-full", Data::Value(value)) => *value *= 0.9,
                ("ring", Data::Columns(columns)) => columns[0].1 *= 3.0,
                ("push-latency", Data::Histogram(buckets)) => buckets[0].1 = 1_000_000,
                _ => {}
            }
        }
        let changes = compare(&before, &now, &goals::load().expect("goals"));
        let worse: Vec<(&str, &str)> = changes
            .iter()
            .filter(|change| change.worse)
            .map(|change| (change.key.name.as_str(), change.key.part.as_str()))
            .collect();
        assert_eq!(worse, [("density-full", ""), ("malloc", ""), ("ring", "producer")]);
        let percent = of(&changes, "malloc", "").percent().expect("both have it");
        assert!((percent - 2.0).abs() < 1e-6, "{percent}");
        assert_eq!(of(&changes, "push", "").percent(), Some(-50.0));
        assert_eq!(of(&changes, "push-latency", "p50").now, Some(16.0));
        assert_eq!(of(&changes, "ring", "drain").percent(), Some(0.0));
    }

    #[test]
    fn what_only_one_run_has_is_no_change() {
        let before = sample::runs();
        let mut now = before.clone();
        now[0].report.rows.retain(|row| row.name != "malloc");
        now[0].report.rows[0].unit = "ns/op".into();
        now[0].report.rows[1].name = "fresh".into();
        let changes = compare(&before, &now, &[]);
        let malloc = of(&changes, "malloc", "");
        assert_eq!((malloc.before, malloc.now, malloc.percent()), (Some(118.4), None, None));
        assert_eq!(of(&changes, "fresh", "").before, None);
        assert_eq!(of(&changes, "free", "").before, None, "another unit");
        assert!(changes.iter().all(|change| !change.worse));
    }

    #[test]
    fn machines_of_several_sizes_measure_for_themselves() {
        let mut before = sample::runs();
        let mut row =
            before[1].report.rows.iter().find(|row| row.name == "ring").expect("ring").clone();
        row.cores = 1;
        before[1].report.rows.push(row.clone());
        row.unit = "ns/op".into();
        before[0].report.rows.push(row);
        let mut now = before.clone();
        for run in &mut now {
            let row = run.report.rows.last_mut().expect("the row");
            row.data = Data::Columns(vec![("producer".into(), 1000.0)]);
        }
        let changes = compare(&before, &now, &[]);
        let of_one = |machine| {
            let found = changes
                .iter()
                .filter(|change| change.key.cores == 1 && change.key.part == "producer");
            found
                .filter(|change| change.key.machine == machine)
                .map(|change| change.worse)
                .collect::<Vec<_>>()
        };
        assert_eq!((of_one(1), of_one(4)), (vec![true], vec![true]));
    }

    #[test]
    fn emulated_times_do_not_get_worse() {
        let before = sample::runs();
        let mut now = before.clone();
        for row in now.iter_mut().flat_map(|run| &mut run.report.rows) {
            if let Data::Histogram(buckets) = &mut row.data {
                buckets.push((8192.0, 1_000_000));
            }
        }
        let changes = compare(&before, &now, &[]);
        let worse: Vec<u32> = changes
            .iter()
            .filter(|change| change.worse && change.key.part == "p50")
            .map(|change| change.key.cores)
            .collect();
        assert_eq!(worse, [1]);
    }
}
