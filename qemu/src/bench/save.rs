//! Runs on disk: JSON, which is read again for a comparison, and CSV.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use super::goals::Goal;
use super::report::{Data, Fields, Report, Row};
use super::{Mode, Run};

/// Writes a file and names it when that fails.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The runs as one JSON document with every field that came, a figure on a line.
pub(crate) fn json(runs: &[Run]) -> String {
    let runs: Vec<String> = runs
        .iter()
        .map(|run| {
            let rows: Vec<String> = run
                .report
                .rows
                .iter()
                .map(|row| Value::Object(row.fields.clone()).to_string())
                .collect();
            let header = Value::Object(run.report.header.clone());
            let mode = run.mode.name();
            format!(
                "{{\"mode\":\"{mode}\",\"header\":{header},\"rows\":[\n{}\n]}}",
                rows.join(",\n")
            )
        })
        .collect();
    format!("{{\"runs\":[\n{}\n]}}\n", runs.join(",\n"))
}

/// Reads what [`json`] wrote.
pub(crate) fn read(path: &Path) -> Result<Vec<Run>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is not a file that --json wrote", path.display()))
}

fn parse(text: &str) -> Result<Vec<Run>> {
    let mut document: Fields = serde_json::from_str(text)?;
    let Some(Value::Array(runs)) = document.remove("runs") else {
        anyhow::bail!("`runs` is missing")
    };
    ensure!(!runs.is_empty(), "`runs` is empty");
    runs.into_iter().map(run).collect()
}

fn run(value: Value) -> Result<Run> {
    let Value::Object(mut fields) = value else { anyhow::bail!("a run is not an object") };
    let mode = fields.get("mode").and_then(Value::as_str).and_then(Mode::from_name);
    let mode = mode.context("the mode of a run is not known")?;
    let mut report = Report::begin(object(fields.remove("header"))?)?;
    let Some(Value::Array(rows)) = fields.remove("rows") else {
        anyhow::bail!("`rows` is missing")
    };
    for row in rows {
        report.add(object(Some(row))?)?;
    }
    Ok(Run { mode, report })
}

fn object(value: Option<Value>) -> Result<Map<String, Value>> {
    match value {
        Some(Value::Object(fields)) => Ok(fields),
        _ => anyhow::bail!("a header or a figure is not an object"),
    }
}

/// The runs as CSV with a line for each value, a column of a figure or a bucket of a histogram
/// included.
pub(crate) fn csv(runs: &[Run], goals: &[Goal]) -> String {
    let mut out = String::from("mode,machine,suite,name,cores,part,value,unit,n,goal,budget\n");
    for run in runs {
        for row in &run.report.rows {
            let goal = goals.iter().find(|goal| goal.is_about(row));
            let mut line = |part: &str, value: f64| csv_line(&mut out, run, row, part, value, goal);
            match &row.data {
                Data::Value(value) => line("", *value),
                Data::Columns(columns) => {
                    columns.iter().for_each(|(name, value)| line(name, *value))
                }
                Data::Histogram(buckets) => {
                    for (bound, count) in buckets {
                        line(&format!("<={bound}"), *count as f64);
                    }
                }
            }
        }
    }
    out
}

fn csv_line(out: &mut String, run: &Run, row: &Row, part: &str, value: f64, goal: Option<&Goal>) {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let cells = [
        run.mode.name().to_owned(),
        run.report.cores.to_string(),
        row.suite.clone(),
        row.name.clone(),
        row.cores.to_string(),
        part.to_owned(),
        value.to_string(),
        row.unit.clone(),
        row.count().map_or_else(String::new, |count| count.to_string()),
        number(goal.map(|goal| goal.goal)),
        number(goal.and_then(|goal| goal.budget)),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| quote(cell)).collect();
    // Writing into a string does not fail.
    let _ = writeln!(out, "{}", cells.join(","));
}

fn quote(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::{csv, json, parse, quote};
    use crate::bench::goals;

    #[test]
    fn json_comes_back_with_every_field() {
        let runs = sample::runs();
        let text = json(&runs);
        assert!(text.contains(r#""pages":50912"#), "unknown fields are kept");
        assert!(text.contains(r#""build":"bale 0.1.0 7038b5a""#));
        assert_eq!(parse(&text).expect("its own output"), runs);
    }

    #[test]
    fn other_files_are_refused() {
        for (text, why) in [
            ("", "EOF"),
            ("[]", "map"),
            ("{}", "`runs` is missing"),
            (r#"{"runs":[]}"#, "empty"),
            (r#"{"runs":[{"mode":"guessed"}]}"#, "mode"),
            (r#"{"runs":[{"mode":"counted","header":{"report":"bench"}}]}"#, "`board` is missing"),
        ] {
            let error = format!("{:#}", parse(text).expect_err(text));
            assert!(error.contains(why), "{error} does not say {why}");
        }
    }

    #[test]
    fn csv_has_a_line_for_each_value() {
        let goals =
            goals::parse("allocator", "[malloc]\nbetter = \"lower\"\ngoal = 120\nbudget = 289.1\n")
                .expect("goals");
        let text = csv(&sample::runs(), &goals);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "counted,1,allocator,malloc,1,,118.4,instructions/op,8000,120,289.1");
        assert!(lines.contains(&"emulated,4,ladder,ring,4,producer,11.9,instructions/op,,,"));
        assert!(lines.contains(&"counted,1,allocator,push-latency,1,<=64,150,ns,,,"));
        assert!(lines.iter().all(|line| line.split(',').count() == 11), "{text}");
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(quote("plain"), "plain");
        assert_eq!(quote("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
