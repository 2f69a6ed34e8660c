//! The figures for people, at most 80 columns wide.

use super::Run;
use super::compare::Change;
use super::goals::Verdict;
use super::report::{Data, Row, quantile};

/// Columns of the screen.
pub(crate) const WIDTH: usize = 80;

/// Everything that the runs brought, and how the goals stand.
pub(crate) fn table(runs: &[Run], verdicts: &[Verdict<'_>]) -> Vec<String> {
    let mut out = Vec::new();
    for run in runs {
        let report = &run.report;
        let cores =
            if report.cores == 1 { "1 core".to_owned() } else { format!("{} cores", report.cores) };
        put(
            &mut out,
            0,
            &[format!("{} on {}, {cores}:", report.says("cpu"), report.says("board")), {
                run.mode.about().to_owned()
            }],
        );
        values(&mut out, run, verdicts);
        columns(&mut out, &report.rows);
        histograms(&mut out, &report.rows);
        out.push(String::new());
    }
    out
}

/// Plain values, each beside its goal and budget.
fn values(out: &mut Vec<String>, run: &Run, verdicts: &[Verdict<'_>]) {
    let rows = || run.report.rows.iter().filter_map(|row| Some((row, row.value()?)));
    let Some(longest) = rows().map(|(row, _)| row.name.chars().count()).max() else { return };
    // The other cells leave 22 columns.
    let width = longest.clamp(18, 22);
    let cells = |name: &str, others: [&str; 5]| cells(width, name, others);
    put(out, 2, &cells("figure", ["value", "goal", "budget", "unit", ""]));
    for (row, value) in rows() {
        // A goal stands beside the figure that it was held against, and beside the same with more
        // cores for orientation.
        let verdict = verdicts.iter().find(|verdict| verdict.goal.is_about(row));
        let goal = verdict.map_or_else(String::new, |verdict| {
            format!("{} {}", verdict.goal.better.sign(), verdict.goal.goal)
        });
        let budget =
            verdict.and_then(|verdict| verdict.goal.budget).map_or_else(String::new, number);
        let standing =
            verdict.filter(|verdict| verdict.value == Some(value)).map_or("", |verdict| {
                match (verdict.over_budget(), verdict.met()) {
                    (true, _) => "OVER BUDGET",
                    (false, true) => "met",
                    (false, false) => "missed",
                }
            });
        put(out, 2, &cells(&row.name, [&number(value), &goal, &budget, &row.unit, standing]));
    }
}

fn cells(
    width: usize,
    name: &str,
    [value, goal, budget, unit, standing]: [&str; 5],
) -> [String; 6] {
    [
        format!("{name:<width$}"),
        format!("{value:>9}"),
        format!("{goal:>8}"),
        format!("{budget:>7}"),
        format!("{unit:<15}"),
        standing.to_owned(),
    ]
}

/// Figures of several columns: their names broken at `_`, a line for each machine below the
/// figure's name.
fn columns(out: &mut Vec<String>, rows: &[Row]) {
    let mut head: Option<Vec<&str>> = None;
    let mut last = None;
    for row in rows {
        let Data::Columns(columns) = &row.data else { continue };
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        if head.as_ref() != Some(&names) {
            put(out, 2, &[format!("{}, {}:", row.suite, row.unit)]);
            let height = names.iter().map(|name| name.split('_').count()).max().unwrap_or(1);
            for line in (0..height).rev() {
                // Short names stand at the bottom.
                let part = |name: &&str| name.rsplit('_').nth(line).unwrap_or("").to_owned();
                put(
                    out,
                    4,
                    &machine(if line == 0 { "cores" } else { "" }, &names, names.iter().map(part)),
                );
            }
            head = Some(names.clone());
            last = None;
        }
        if last != Some(&row.name) {
            put(out, 2, std::slice::from_ref(&row.name));
            last = Some(&row.name);
        }
        let values = columns.iter().map(|(_, value)| number(*value));
        put(out, 4, &machine(&row.cores.to_string(), &names, values));
    }
}

/// A machine's cells, each as wide as the longest part of its column's name.
fn machine(cores: &str, names: &[&str], cells: impl Iterator<Item = String>) -> Vec<String> {
    let width =
        |name: &&str| name.split('_').map(|part| part.chars().count()).max().unwrap_or(0).max(8);
    let cells = names.iter().map(width).zip(cells).map(|(width, cell)| format!("{cell:>width$}"));
    [format!("{cores:>5}")].into_iter().chain(cells).collect()
}

/// Histograms by their quantiles.
fn histograms(out: &mut Vec<String>, rows: &[Row]) {
    const PARTS: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
    let mut head: Option<&str> = None;
    for row in rows {
        let Data::Histogram(buckets) = &row.data else { continue };
        if head != Some(&row.unit) {
            let cells = PARTS.iter().map(|(name, _)| *name).chain(["samples"]);
            let title = format!("distribution, {} at most", row.unit);
            put(out, 2, &lead(&title, "cores", cells.map(|name| format!("{name:>8}"))));
            head = Some(&row.unit);
        }
        let total: u64 = buckets.iter().map(|(_, count)| count).sum();
        let bounds =
            PARTS.iter().map(|(_, part)| quantile(buckets, *part).map_or("-".into(), number));
        let cells = bounds.chain([total.to_string()]).map(|cell| format!("{cell:>8}"));
        put(out, 2, &lead(&row.name, &row.cores.to_string(), cells));
    }
}

fn lead(name: &str, cores: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    [format!("{name:<26}"), format!("{cores:>5}")].into_iter().chain(cells).collect()
}

/// What changed against an earlier run; what stayed the same is only counted.
pub(crate) fn changes(changes: &[Change]) -> Vec<String> {
    let mut out = Vec::new();
    let line = |name: &str, others: [&str; 4], mark: &str| {
        // The other cells leave 34 columns; a longer name stands on a line of its own.
        let mut cells = vec![format!("{name:<34}")];
        cells.extend(
            others.into_iter().zip([5, 9, 9, 10]).map(|(cell, width)| format!("{cell:>width$}")),
        );
        cells.push(mark.to_owned());
        cells
    };
    put(&mut out, 2, &line("figure", ["cores", "before", "now", "change"], ""));
    let moved = |change: &&Change| change.before.is_none() || change.before != change.now;
    for change in changes.iter().filter(moved) {
        let key = &change.key;
        let name = if key.part.is_empty() {
            key.name.clone()
        } else {
            format!("{} {}", key.name, key.part)
        };
        let cores = if key.cores == key.machine {
            key.cores.to_string()
        } else {
            format!("{}/{}", key.cores, key.machine)
        };
        let value = |value: Option<f64>| value.map_or("-".into(), number);
        let percent =
            change.percent().map_or_else(String::new, |percent| format!("{percent:+.2} %"));
        let others = [cores.as_str(), &value(change.before), &value(change.now), &percent];
        let mark = if change.worse { "WORSE" } else { "" };
        if name.chars().count() > 34 {
            put(&mut out, 2, &[name]);
            put(&mut out, 2, &line("", others, mark));
        } else {
            put(&mut out, 2, &line(&name, others, mark));
        }
    }
    let worse = changes.iter().filter(|change| change.worse).count();
    let same = changes.len() - changes.iter().filter(moved).count();
    out.push(format!("{} values: {worse} worse by more than 1 %, {same} the same", changes.len()));
    out
}

/// Goals that are missed and budgets that are exceeded, one a line, and the line that says whether
/// all is well.
pub(crate) fn closing(verdicts: &[Verdict<'_>]) -> Vec<String> {
    let mut out = Vec::new();
    for verdict in verdicts {
        let budget = verdict.goal.budget.filter(|_| verdict.over_budget());
        let budget =
            budget.map_or_else(String::new, |budget| format!("; worse than its budget {budget}"));
        if !verdict.met() {
            put(&mut out, 0, &[format!("goal missed: {verdict}{budget}")]);
        } else if !budget.is_empty() {
            put(&mut out, 0, &[format!("goal met: {verdict}{budget}")]);
        }
    }
    let missed = verdicts.iter().filter(|verdict| !verdict.met()).count();
    let exceeded = match verdicts.iter().filter(|verdict| verdict.over_budget()).count() {
        0 => String::new(),
        1 => ", 1 budget exceeded".into(),
        exceeded => format!(", {exceeded} budgets exceeded"),
    };
    out.push(match (verdicts.len(), missed) {
        (0, _) => "bench: no goals are about these figures".into(),
        (all, 0) => format!("bench: all {all} goals met{exceeded}"),
        (all, missed) => {
            format!("bench: {} of {all} goals met, {missed} missed{exceeded}", all - missed)
        }
    });
    out
}

/// As short as the figure allows: whole numbers as they are, two decimals, three below 1.
fn number(value: f64) -> String {
    let text = if value.abs() < 1.0 { format!("{value:.3}") } else { format!("{value:.2}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Puts cells on a line; what does not fit goes on further lines, indented more. Nothing is cut.
fn put(out: &mut Vec<String>, indent: usize, cells: &[String]) {
    let mut line = " ".repeat(indent);
    let mut empty = true;
    let further = " ".repeat(indent + 4);
    for cell in cells {
        let room = WIDTH.saturating_sub(line.chars().count() + usize::from(!empty));
        // The blanks that only fill a last column are no content.
        if !empty && cell.trim_end().chars().count() > room {
            out.push(line.trim_end().to_owned());
            (line, empty) = (further.clone(), true);
        }
        if !empty {
            line.push(' ');
        }
        for character in cell.trim_end().chars() {
            if line.chars().count() == WIDTH {
                out.push(std::mem::replace(&mut line, further.clone()));
            }
            line.push(character);
        }
        let fill = cell.chars().count() - cell.trim_end().chars().count();
        line.extend(std::iter::repeat_n(' ', fill));
        empty = false;
    }
    out.push(line.trim_end().to_owned());
}

#[cfg(test)]
mod tests;
