//! What the machine prints with `bench run SUITE --json`: a header, then a figure on each line, as
//! JSON.
//!
//! A line that begins with `{` is JSON and has to be right; any other line is ordinary output.
//! Fields that are not known here are kept.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// Fields of a JSON object, in their order.
pub(crate) type Fields = Map<String, Value>;

/// What one machine said in one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// The header, as it came.
    pub(crate) header: Fields,
    /// Cores of the machine.
    pub(crate) cores: u32,
    /// The figures, in their order.
    pub(crate) rows: Vec<Row>,
}

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// As it came.
    pub(crate) fields: Fields,
    pub(crate) suite: String,
    pub(crate) name: String,
    /// Cores that took part.
    pub(crate) cores: u32,
    pub(crate) unit: String,
    pub(crate) data: Data,
}

/// What a figure consists of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Value(f64),
    /// Several values with a name each.
    Columns(Vec<(String, f64)>),
    /// Upper bounds, ascending, and how many samples lie at or below each and above the one before.
    Histogram(Vec<(f64, u64)>),
}

/// Whether a line of output is one of the report.
pub(crate) fn is_json(line: &str) -> bool {
    line.trim_start().starts_with('{')
}

impl Report {
    /// Reads the lines of one run, ordinary output among them or not. Only a machine that counts
    /// nothing may leave all figures out: those of some suites are all counted.
    pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut report: Option<Self> = None;
        for line in lines.into_iter().filter(|line| is_json(line)) {
            let fields = serde_json::from_str::<Fields>(line).map_err(anyhow::Error::from);
            fields
                .and_then(|fields| Self::take(&mut report, fields))
                .with_context(|| format!("malformed line of the report: {}", line.trim()))?;
        }
        let report = report.context("the machine printed no report")?;
        ensure!(
            !report.rows.is_empty() || !report.counts(),
            "the machine printed a report without figures"
        );
        Ok(report)
    }

    fn take(report: &mut Option<Self>, fields: Fields) -> Result<()> {
        match report {
            None => *report = Some(Self::begin(fields)?),
            // One command may run several suites, each with a header of its own.
            Some(report) if fields.contains_key("report") => {
                ensure!(
                    Self::begin(fields)?.cores == report.cores,
                    "two headers differ in `cores`"
                );
            }
            Some(report) => report.add(fields)?,
        }
        Ok(())
    }

    /// A report with this header and no figures yet.
    pub(crate) fn begin(header: Fields) -> Result<Self> {
        ensure!(text(&header, "report")? == "bench", "`report` is not \"bench\"");
        for name in ["board", "cpu", "counter"] {
            text(&header, name)?;
        }
        let cores = cores(&header)?.context("field `cores` is missing")?;
        Ok(Self { header, cores, rows: Vec::new() })
    }

    /// Adds a figure.
    pub(crate) fn add(&mut self, fields: Fields) -> Result<()> {
        let row = Row::from_fields(fields, self.cores)?;
        let twice = self.rows.iter().any(|other| other.key() == row.key());
        ensure!(!twice, "the figure {} of suite {} came twice", row.name, row.suite);
        self.rows.push(row);
        Ok(())
    }

    /// Whether the machine counts, instructions or cycles.
    pub(crate) fn counts(&self) -> bool {
        self.says("counter") != "none"
    }

    /// Whether it counts instructions.
    pub(crate) fn counts_instructions(&self) -> bool {
        self.says("counter") == "instructions"
    }

    /// A text field of the header, or nothing.
    pub(crate) fn says(&self, name: &str) -> &str {
        self.header.get(name).and_then(Value::as_str).unwrap_or("")
    }
}

impl Row {
    fn from_fields(fields: Fields, machine: u32) -> Result<Self> {
        let data = match (fields.get("value"), fields.get("columns"), fields.get("histogram")) {
            (Some(value), None, None) => Data::Value(finite(value).context("field `value`")?),
            (None, Some(columns), None) => {
                Data::Columns(read_columns(columns).context("field `columns`")?)
            }
            (None, None, Some(buckets)) => {
                Data::Histogram(read_histogram(buckets).context("field `histogram`")?)
            }
            _ => bail!("a figure has exactly one of the fields `value`, `columns`, `histogram`"),
        };
        Ok(Self {
            suite: text(&fields, "suite")?.to_owned(),
            name: text(&fields, "name")?.to_owned(),
            cores: cores(&fields)?.unwrap_or(machine),
            unit: text(&fields, "unit")?.to_owned(),
            data,
            fields,
        })
    }

    /// What tells figures apart.
    pub(crate) fn key(&self) -> (&str, &str, u32) {
        (&self.suite, &self.name, self.cores)
    }

    /// The value, where the figure is one.
    pub(crate) fn value(&self) -> Option<f64> {
        match self.data {
            Data::Value(value) => Some(value),
            Data::Columns(_) | Data::Histogram(_) => None,
        }
    }

    /// How many operations or objects it is about, where that was said.
    pub(crate) fn count(&self) -> Option<u64> {
        self.fields.get("n").and_then(Value::as_u64)
    }
}

/// The least upper bound that this part of all samples does not exceed; none without samples.
pub(crate) fn quantile(buckets: &[(f64, u64)], part: f64) -> Option<f64> {
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    let mut below = 0;
    buckets.iter().find_map(|&(bound, count)| {
        below += count;
        (total > 0 && below as f64 >= total as f64 * part && below > 0).then_some(bound)
    })
}

fn text<'a>(fields: &'a Fields, name: &str) -> Result<&'a str> {
    match fields.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => bail!("field `{name}` is not a text"),
        None => bail!("field `{name}` is missing"),
    }
}

fn cores(fields: &Fields) -> Result<Option<u32>> {
    let Some(value) = fields.get("cores") else { return Ok(None) };
    let cores =
        value.as_u64().and_then(|cores| u32::try_from(cores).ok()).filter(|cores| *cores > 0);
    Ok(Some(cores.context("field `cores` is not a number of cores")?))
}

fn finite(value: &Value) -> Result<f64> {
    value
        .as_f64()
        .filter(|value| value.is_finite())
        .with_context(|| format!("{value} is not a number"))
}

fn read_columns(value: &Value) -> Result<Vec<(String, f64)>> {
    let columns = value.as_object().context("not an object")?;
    ensure!(!columns.is_empty(), "empty");
    columns
        .iter()
        .map(|(name, value)| Ok((name.clone(), finite(value).context(name.clone())?)))
        .collect()
}

fn read_histogram(value: &Value) -> Result<Vec<(f64, u64)>> {
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    for pair in value.as_array().context("not an array")? {
        let Some([bound, count]) = pair.as_array().map(Vec::as_slice) else {
            bail!("{pair} is not [upper_bound, count]");
        };
        let bound = finite(bound)?;
        ensure!(
            buckets.last().is_none_or(|(last, _)| *last < bound),
            "bound {bound} does not ascend"
        );
        buckets.push((bound, count.as_u64().with_context(|| format!("{count} is not a count"))?));
    }
    ensure!(!buckets.is_empty(), "empty");
    Ok(buckets)
}

#[cfg(test)]
mod tests;
