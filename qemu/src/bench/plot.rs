//! Figures as SVG: scaling by cores, ladders as grouped bars, latencies by how many samples are
//! slower.

mod draw;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Run;
use super::report::{Data, Row};
use super::save;

/// A named line or set of bars.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws all that there is to draw into the folder; the files.
pub(crate) fn write(folder: &Path, runs: &[Run]) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut files = Vec::new();
    for (name, text) in plots(runs)? {
        let path = folder.join(name);
        save::write(&path, &text)?;
        files.push(path);
    }
    Ok(files)
}

/// File name and content of each plot.
fn plots(runs: &[Run]) -> Result<Vec<(String, String)>> {
    let rows: Vec<&Row> = runs.iter().flat_map(|run| &run.report.rows).collect();
    let mut out = Vec::new();
    for ((suite, unit), series) in scaling(&rows) {
        let text = draw::lines(&format!("{suite}: {unit} by cores"), "cores", &unit, &series)?;
        out.push((file("scaling", &[&suite, &unit]), text));
    }
    for ((suite, unit), rungs) in ladders(&rows) {
        let text = draw::bars(&format!("{suite}, {unit}"), &panels(&rungs))?;
        out.push((file("ladder", &[&suite, &unit]), text));
    }
    for ((suite, name), rows) in histograms(&rows) {
        let unit = rows.first().map_or("", |row| row.unit.as_str());
        let series: Vec<Series> = rows.iter().filter_map(|row| slower(row)).collect();
        if !series.is_empty() {
            let title = format!("{suite}: {name}, share of samples that are slower");
            out.push((file("latency", &[&suite, &name]), draw::tails(&title, unit, &series)?));
        }
    }
    Ok(out)
}

/// Values that machines of several sizes have, by suite and unit.
fn scaling(rows: &[&Row]) -> BTreeMap<(String, String), Vec<Series>> {
    let mut points: BTreeMap<(String, String, String), Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows {
        let Some(value) = row.value() else { continue };
        // Some figures have the number of cores in their names.
        let name = row.name.replace(&format!("-{}-", row.cores), "-N-");
        let key = (row.suite.clone(), row.unit.clone(), name);
        points.entry(key).or_default().push((f64::from(row.cores), value));
    }
    let mut series: BTreeMap<(String, String), Vec<Series>> = BTreeMap::new();
    for ((suite, unit, name), mut points) in points {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        points.dedup_by_key(|(cores, _)| *cores);
        if points.len() > 1 {
            series.entry((suite, unit)).or_default().push(Series { name, points });
        }
    }
    series
}

/// Figures of several columns, by suite and unit, in the order in which they came.
fn ladders<'a>(rows: &[&'a Row]) -> BTreeMap<(String, String), Vec<&'a Row>> {
    let mut ladders: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| matches!(row.data, Data::Columns(_))) {
        ladders.entry((row.suite.clone(), row.unit.clone())).or_default().push(row);
    }
    ladders
}

/// What one column of a ladder is on each rung. Columns differ in what they mean, so each has a
/// panel of its own.
#[derive(Clone, Debug, PartialEq)]
struct Panel {
    column: String,
    rungs: Vec<String>,
    /// One for each number of cores; x is the index of the rung. The same machine's rows may come
    /// more than once, from runs of several sizes: the last counts.
    series: Vec<Series>,
}

/// A column's values by cores and rung.
type Machines = BTreeMap<u32, BTreeMap<usize, f64>>;

fn panels(rows: &[&Row]) -> Vec<Panel> {
    let mut rungs: Vec<String> = Vec::new();
    let mut values: Vec<(&str, Machines)> = Vec::new();
    for row in rows {
        let Data::Columns(columns) = &row.data else { continue };
        let rung = rungs.iter().position(|name| *name == row.name).unwrap_or_else(|| {
            rungs.push(row.name.clone());
            rungs.len() - 1
        });
        for (column, value) in columns {
            let place = values.iter().position(|(name, _)| name == column).unwrap_or_else(|| {
                values.push((column, BTreeMap::new()));
                values.len() - 1
            });
            values[place].1.entry(row.cores).or_default().insert(rung, *value);
        }
    }
    let series = |(cores, points): (u32, BTreeMap<usize, f64>)| Series {
        name: cores_name(cores),
        points: points.into_iter().map(|(rung, value)| (rung as f64, value)).collect(),
    };
    let panel = |(column, machines): (&str, Machines)| Panel {
        column: column.to_owned(),
        rungs: rungs.clone(),
        series: machines.into_iter().map(series).collect(),
    };
    values.into_iter().map(panel).collect()
}

fn cores_name(cores: u32) -> String {
    if cores == 1 { "1 core".into() } else { format!("{cores} cores") }
}

fn histograms<'a>(rows: &[&'a Row]) -> BTreeMap<(String, String), Vec<&'a Row>> {
    let mut histograms: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| matches!(row.data, Data::Histogram(_))) {
        histograms.entry((row.suite.clone(), row.name.clone())).or_default().push(row);
    }
    histograms
}

/// For each bound above zero the share of samples above it, while there are any.
fn slower(row: &Row) -> Option<Series> {
    let Data::Histogram(buckets) = &row.data else { return None };
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    let mut left = total;
    let mut points = Vec::new();
    for &(bound, count) in buckets {
        left -= count;
        if left == 0 {
            break;
        }
        if bound > 0.0 {
            points.push((bound, left as f64 / total as f64));
        }
    }
    let name = format!("{}, {total} samples", cores_name(row.cores));
    (!points.is_empty()).then_some(Series { name, points })
}

/// A file name of plain characters.
fn file(kind: &str, parts: &[&str]) -> String {
    let name = [&[kind], parts].concat().join("-").replace('%', "percent");
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() || character == '-' { character } else { '_' }
    };
    format!("{}.svg", name.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests;
