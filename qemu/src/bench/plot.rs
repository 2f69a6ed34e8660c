//! Figures as SVG: scaling by cores, ladders as grouped bars, latencies by how many samples are slower.

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
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
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
    for ((suite, cores), rungs) in ladders(&rows) {
        let unit = rungs.first().map_or("", |row| row.unit.as_str());
        let text = draw::bars(&format!("{suite} on {cores} cores"), unit, &groups(&rungs))?;
        out.push((file("ladder", &[&suite, &cores.to_string()]), text));
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
        let mut put = |name: String, value| {
            let key = (row.suite.clone(), row.unit.clone(), name);
            points.entry(key).or_default().push((f64::from(row.cores), value));
        };
        match &row.data {
            Data::Value(value) => put(row.name.clone(), *value),
            Data::Columns(columns) => {
                columns.iter().for_each(|(name, value)| put(format!("{} {name}", row.name), *value));
            }
            Data::Histogram(_) => {}
        }
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

/// The rungs of each ladder, in the order in which they came.
fn ladders<'a>(rows: &[&'a Row]) -> BTreeMap<(String, u32), Vec<&'a Row>> {
    let mut ladders: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| matches!(row.data, Data::Columns(_))) {
        ladders.entry((row.suite.clone(), row.cores)).or_default().push(row);
    }
    ladders
}

/// The names of the rungs, and a series for each column with the rung's index as x.
fn groups(rungs: &[&Row]) -> (Vec<String>, Vec<Series>) {
    let mut series: Vec<Series> = Vec::new();
    for (index, row) in rungs.iter().enumerate() {
        let Data::Columns(columns) = &row.data else { continue };
        for (name, value) in columns {
            let point = (index as f64, *value);
            match series.iter_mut().find(|series| series.name == *name) {
                Some(series) => series.points.push(point),
                None => series.push(Series { name: name.clone(), points: vec![point] }),
            }
        }
    }
    (rungs.iter().map(|row| row.name.clone()).collect(), series)
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
    let name = format!("{} cores, {total} samples", row.cores);
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
