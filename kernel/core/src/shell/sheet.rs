//! What a command shows: figures and tables, as text for people or as one line of JSON.
//!
//! Text: a figure takes a line, its label, its value, and what it is; a table has a line of
//! headings, and words of its last column that do not fit go on below it. JSON: one object, whose
//! members are the figures by their keys, and each table as an array of objects.

mod value;

use core::fmt::{self, Write};

pub use value::Value;

use super::wrap::{self, WIDTH};
use value::Json;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name in JSON: lower case, with the unit.
    pub key: &'static str,
    /// What stands above it.
    pub heading: &'static str,
    /// Characters; numbers stand at the right end.
    pub width: usize,
}

/// A column.
pub const fn column(key: &'static str, heading: &'static str, width: usize) -> Column {
    Column { key, heading, width }
}

/// Sees whether there is any text.
struct Probe(bool);

impl Write for Probe {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 |= !text.is_empty();
        Ok(())
    }
}

/// Counts the characters of a line.
struct Counted<'a, W: Write> {
    out: &'a mut W,
    at: usize,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.at += text.chars().count();
        self.out.write_str(text)
    }
}

impl<W: Write> Counted<'_, W> {
    /// Words behind a blank, on as many lines as they take, which begin behind `indent` characters.
    fn words(&mut self, text: &str, indent: usize) -> fmt::Result {
        let first = WIDTH.saturating_sub(self.at + 1);
        for (place, line) in wrap::lines(text, first, WIDTH.saturating_sub(indent)).enumerate() {
            match place {
                0 if line.is_empty() => {}
                0 => write!(self, " {line}")?,
                _ => write!(self, "\n{:indent$}{line}", "")?,
            }
        }
        Ok(())
    }
}

/// What is shown, as it is being written.
pub struct Sheet<W: Write> {
    out: W,
    json: bool,
    /// A member, or an element, stands before the next one.
    comma: bool,
    table: Option<&'static [Column]>,
}

impl<W: Write> Sheet<W> {
    /// Begins one; a writer that fails shows less.
    pub fn new(mut out: W, json: bool) -> Self {
        if json {
            let _ = out.write_char('{');
        }
        Self { out, json, comma: false, table: None }
    }

    fn separate(&mut self) {
        if self.comma {
            let _ = self.out.write_char(',');
        }
        self.comma = true;
    }

    fn end_table(&mut self) {
        if self.table.take().is_some() && self.json {
            let _ = self.out.write_char(']');
            self.comma = true;
        }
    }

    /// A figure: `key` is its name in JSON, with the unit; `what` explains it to people.
    pub fn figure<'a>(
        &mut self,
        key: &str,
        label: &str,
        value: impl Into<Value<'a>>,
        what: fmt::Arguments<'_>,
    ) {
        self.show(key, label, value.into(), what);
    }

    /// Once for all types of values: this is not where speed matters, and size does.
    #[inline(never)]
    fn show(&mut self, key: &str, label: &str, value: Value<'_>, what: fmt::Arguments<'_>) {
        self.end_table();
        if self.json {
            self.separate();
            let _ = write!(self.out, "\"{key}\":{}", Json(value));
        } else {
            let mut probe = Probe(false);
            let _ = probe.write_fmt(what);
            let blank = if probe.0 { "   " } else { "" };
            let _ = writeln!(self.out, "{label:<14} {value:>10}{blank}{what}");
        }
    }

    /// A figure that people find elsewhere.
    pub fn hidden<'a>(&mut self, key: &str, value: impl Into<Value<'a>>) {
        self.hide(key, value.into());
    }

    #[inline(never)]
    fn hide(&mut self, key: &str, value: Value<'_>) {
        self.end_table();
        if self.json {
            self.separate();
            let _ = write!(self.out, "\"{key}\":{}", Json(value));
        }
    }

    /// Begins a table.
    #[inline(never)]
    pub fn table(&mut self, key: &str, columns: &'static [Column]) {
        self.end_table();
        if self.json {
            self.separate();
            let _ = write!(self.out, "\"{key}\":[");
            self.comma = false;
        } else {
            self.line(columns.iter().map(|column| (column, Value::Text(column.heading))));
        }
        self.table = Some(columns);
    }

    /// A row of the table that was begun last: a value for each column.
    #[inline(never)]
    pub fn row(&mut self, values: &[Value<'_>]) {
        let Some(columns) = self.table else { return };
        debug_assert_eq!(columns.len(), values.len());
        let cells = columns.iter().zip(values.iter().copied());
        if !self.json {
            self.line(cells);
            return;
        }
        self.separate();
        for (place, (column, value)) in cells.enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.out, "{before}\"{}\":{}", column.key, Json(value));
        }
        let _ = self.out.write_char('}');
    }

    /// A line of cells: words of the last column stand at its left end, and go on below it.
    fn line<'a>(&mut self, cells: impl Iterator<Item = (&'a Column, Value<'a>)>) {
        let mut out = Counted { out: &mut self.out, at: 0 };
        let mut indent = 0;
        let mut cells = cells.peekable();
        // A writer that fails shows less.
        while let Some((column, value)) = cells.next() {
            let last = cells.peek().is_none();
            let _ = match value {
                Value::Text(text) if last => out.words(text, indent + 1),
                value => write!(out, "{value:>width$}", width = column.width),
            };
            let _ = if last { out.write_char('\n') } else { out.write_char(' ') };
            indent += column.width + 1;
        }
    }

    /// A line for people alone.
    #[inline(never)]
    pub fn note(&mut self, text: fmt::Arguments<'_>) {
        self.end_table();
        if !self.json {
            let _ = writeln!(self.out, "{text}");
        }
    }

    /// Whether this is JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }
}

impl<W: Write> Drop for Sheet<W> {
    fn drop(&mut self) {
        self.end_table();
        if self.json {
            let _ = self.out.write_str("}\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    static CORES: [Column; 3] = [
        column("core", "core", 4),
        column("idle_percent", "idle %", 7),
        column("state", "state", 6),
    ];
    static VMS: [Column; 1] = [column("vm", "vm", 2)];

    fn show(json: bool) -> String {
        let mut text = String::new();
        let mut sheet = Sheet::new(&mut text, json);
        sheet.figure("objects", "objects", 12u64, format_args!("of 20"));
        sheet.table("cores", &CORES);
        sheet.row(&[0u64.into(), Value::Tenths(995), "on \"x\"".into()]);
        sheet.row(&[1u64.into(), Value::Unknown, "off".into()]);
        sheet.note(format_args!("two of them"));
        sheet.figure("busy", "busy", Value::Flag(false), format_args!(""));
        drop(sheet);
        text
    }

    #[test]
    fn text_for_people() {
        assert_eq!(
            show(false),
            "objects                12   of 20\n\
             core  idle %  state\n   0    99.5  on \"x\"\n   1       -  off\n\
             two of them\nbusy                   no\n"
        );
    }

    #[test]
    fn one_line_of_json() {
        assert_eq!(
            show(true),
            "{\"objects\":12,\"cores\":[{\"core\":0,\"idle_percent\":99.5,\"state\":\"on \\\"x\\\"\"},\
             {\"core\":1,\"idle_percent\":null,\"state\":\"off\"}],\"busy\":false}\n"
        );
    }

    /// As wide as the list of machines is before their state.
    static WIDE: [Column; 2] = [column("vm", "vm", 56), column("state", "state", 16)];

    #[test]
    fn words_go_on_below_the_last_column() {
        let mut text = String::new();
        let mut sheet = Sheet::new(&mut text, false);
        sheet.table("vms", &WIDE);
        sheet.row(&[0u64.into(), "exited with status 103".into()]);
        sheet.row(&[1u64.into(), "stopped: wrote to 0x40001000, which it may only read".into()]);
        sheet.row(&["x".repeat(73).as_str().into(), "powered off".into()]);
        drop(sheet);
        let below = " ".repeat(58);
        let wanted = format!(
            "{0}vm  state\n{0} 0  exited with status 103\n{0} 1  stopped: wrote to\n{below}0x40001000, which it\n\
             {below}may only read\n{1}\n{below}powered off\n",
            " ".repeat(54),
            "x".repeat(73) + " "
        );
        assert_eq!(text, wanted);
        assert!(text.lines().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn an_empty_table_and_an_address() {
        let mut text = String::new();
        let mut sheet = Sheet::new(&mut text, true);
        sheet.table("vms", &VMS);
        sheet.hidden("base", Value::Address(0x4020));
        drop(sheet);
        assert_eq!(text, "{\"vms\":[],\"base\":\"0x4020\"}\n");
    }
}
