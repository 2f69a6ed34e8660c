//! What a benchmark's figures look like: a line of text each, or a line of JSON.

use core::cell::Cell;
use core::fmt::Write as _;

use aarch64_cpu::registers::{CNTFRQ_EL0, MIDR_EL1, Readable};
use bale_core::histogram::Histogram;
use heapless::String;

use super::options::{CoreCounts, Mix, Options, Units};
use bale_io::console::{Turn, progress};
use bale_io::{print, println};
use bale_rt::cores;

/// Where figures go.
pub(super) struct Report {
    pub(super) options: Options,
    suite: &'static str,
    /// The benchmark that runs, its place, and how many there are.
    running: (&'static str, usize, usize),
    /// Name of the table that was begun last.
    table: Cell<&'static str>,
}

/// A number in hundredths.
#[derive(Clone, Copy)]
pub(super) struct Hundredths(pub(super) u64);

impl Hundredths {
    pub(super) fn ratio(part: u64, whole: u64) -> Self {
        let hundredths = u128::from(part) * 100 / u128::from(whole.max(1));
        Self(u64::try_from(hundredths).unwrap_or(u64::MAX))
    }
}

impl core::fmt::Display for Hundredths {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Report {
    pub(super) fn new(options: Options) -> Self {
        Self { options, suite: "", running: ("", 0, 0), table: Cell::new("") }
    }

    /// How many objects or pages: what was asked for, or the benchmark's own number.
    pub(super) fn pages(&self, own: usize) -> usize {
        self.options.pages.unwrap_or(own)
    }

    /// How many cores, one after the other: what was asked for, or those of `own` that are there.
    pub(super) fn cores(&self, own: &[usize]) -> CoreCounts {
        let there = || own.iter().copied().filter(|count| *count <= cores::online()).collect();
        self.options.cores.unwrap_or_else(there)
    }

    /// What counts are called here.
    pub(super) fn units(&self) -> Units {
        Units::of(self.options.event)
    }

    /// What machine this is.
    pub(super) fn header(&self) {
        let counts = super::counting::overhead().is_some();
        let counter = if counts { self.units().plain } else { "none" };
        let (cores, seed) = (cores::online(), self.options.seed);
        let version = bale_rt::platform::build();
        let (cpu, clock) = (MIDR_EL1.get(), CNTFRQ_EL0.get());
        let board = bale_rt::platform::board_name();
        if self.options.json {
            println!(
                "{{\"report\":\"bench\",\"board\":\"{board}\",\"cores\":{cores},\"cpu\":\"{cpu:#x}\",\
                 \"counter\":\"{counter}\",\"clock_hz\":{clock},\"build\":\"{version}\",\"seed\":{seed},\
                 \"pages\":{},\"mix\":\"{}\"}}",
                Own(self.options.pages, "null"),
                self.options.mix.name()
            );
        } else {
            println!("Bale {version} on {board}, {cores} cores");
            println!("MIDR {cpu:#x}, timer {clock} Hz, counter: {counter}, seed {seed}");
            if self.options.pages.is_some() || self.options.mix != Mix::Bundle {
                println!(
                    "pages: {}, mix {}",
                    Own(self.options.pages, "own"),
                    self.options.mix.name()
                );
            }
        }
    }

    /// The benchmark `name` of a suite begins, the `place`th of `count`.
    pub(super) fn begin(
        &mut self,
        suite: &'static str,
        name: &'static str,
        place: usize,
        count: usize,
    ) {
        self.suite = suite;
        self.running = (name, place, count);
        self.show(format_args!(""));
    }

    /// The benchmark has come so far.
    pub(super) fn part(&self, done: usize, all: usize) {
        self.show(format_args!(", {} %", done * 100 / all.max(1)));
    }

    /// Tells somebody at a terminal what runs; those who read JSON are none.
    fn show(&self, part: core::fmt::Arguments<'_>) {
        let (name, place, count) = self.running;
        if !self.options.json {
            progress::show(format_args!("bench: {place} of {count}: {name}{part}"));
        }
    }

    /// A figure that these pages do not have.
    pub(super) fn left_out(&self, name: &str, why: &str) {
        println!("  {name} is left out: {why}");
    }

    /// One figure, over `n` operations or objects.
    pub(super) fn figure(&self, name: &str, value: Hundredths, unit: &str, n: u64) {
        if self.options.json {
            println!(
                "{{\"suite\":\"{}\",\"name\":\"{name}\",\"value\":{value},\"unit\":\"{unit}\",\"n\":{n}}}",
                self.suite
            );
        } else {
            println!("  {name:<28} {:>12} {unit}", value_text(value));
        }
    }

    /// A distribution on one core: least, percentiles (at most 1/16 too high) and worst as text,
    /// all of its buckets as JSON.
    pub(super) fn spread(&self, name: &'static str, samples: &Histogram, unit: &str) {
        if !self.options.json {
            let whole = |value: Option<u64>| Hundredths(value.unwrap_or(0).saturating_mul(100));
            let part = |permille| whole(samples.percentile(permille));
            let columns = [
                ("min", whole(samples.min())),
                ("p50", part(500)),
                ("p90", part(900)),
                ("p99", part(990)),
                ("p99.9", part(999)),
                ("max", whole(samples.max())),
            ];
            self.row(name, 1, &columns, unit);
            return;
        }
        // Nobody else prints in the middle of the line, and writing to the UART cannot fail.
        let mut out = Turn::take();
        let _ = write!(
            out,
            "{{\"suite\":\"{}\",\"name\":\"{name}\",\"cores\":1,\"histogram\":[",
            self.suite
        );
        for (place, (bound, count)) in samples.buckets().enumerate() {
            let _ = write!(out, "{}[{bound},{count}]", if place == 0 { "" } else { "," });
        }
        let _ = writeln!(out, "],\"unit\":\"{unit}\"}}");
    }

    /// A row of figures with a name each.
    pub(super) fn row(
        &self,
        name: &'static str,
        cores: usize,
        columns: &[(&str, Hundredths)],
        unit: &str,
    ) {
        if self.options.json {
            let mut line: String<512> = String::new();
            for (column, value) in columns {
                let comma = if line.is_empty() { "" } else { "," };
                // Cut nowhere: there is room for every row that is printed here.
                let _ = write!(line, "{comma}\"{column}\":{value}");
            }
            println!(
                "{{\"suite\":\"{}\",\"name\":\"{name}\",\"cores\":{cores},\"columns\":{{{line}}},\"unit\":\"{unit}\"}}",
                self.suite
            );
        } else {
            // A table for each run of rows with one name: its columns are as wide as their names.
            if self.table.replace(name) != name {
                print!("  {name}, {unit}\n  cores");
                columns.iter().for_each(|(column, _)| print!(" {}", Heading(column)));
                println!();
            }
            print!("  {cores:>5}");
            for (column, value) in columns {
                let width = Heading(column).width();
                print!(" {:>width$}", fitting(*value, width));
            }
            println!();
        }
    }
}

/// A number, or a word for none.
struct Own(Option<usize>, &'static str);

impl core::fmt::Display for Own {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str(self.1),
        }
    }
}

/// A column's name above a table.
struct Heading<'a>(&'a str);

impl Heading<'_> {
    fn parts(&self) -> (&str, &str) {
        self.0.strip_suffix("_percent").map_or((self.0, ""), |name| (name, "_%"))
    }

    fn width(&self) -> usize {
        let (name, sign) = self.parts();
        (name.len() + sign.len()).max(7)
    }
}

impl core::fmt::Display for Heading<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (name, sign) = self.parts();
        let blank = self.width() - name.len() - sign.len();
        write!(f, "{:blank$}{name}{sign}", "")
    }
}

/// The same without hundredths, where there is no room for them.
fn fitting(value: Hundredths, width: usize) -> String<24> {
    let mut text = value_text(value);
    if text.len() > width
        && let Some(point) = text.find('.')
    {
        text.truncate(point);
    }
    text
}

fn value_text(value: Hundredths) -> String<24> {
    let mut text = String::new();
    // 24 characters hold any number of 64 bits.
    let _ = write!(text, "{value}");
    text
}
