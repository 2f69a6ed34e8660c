//! `cargo bale bench --peer linux`: Linux's zram under the pages that Bale's store gets, and Linux
//! alone beside Linux on Bale, all counted in the same way.
//!
//! Both run under QEMU with `-icount shift=0`: a nanosecond of the guest's clock is an instruction.
//! zram's pages go through system call and block layer (O_DIRECT), Bale's straight into the store:
//! that is how a swapping guest of each reaches it, and part of what is compared.

mod guest;

use core::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, Value, json};

use self::guest::Pair;
use super::collect::{self, Asked};
use super::report::Data;
use super::{Run, save};
use crate::cli::BenchOptions;
use crate::linux::boot::{self, Figures};
use crate::linux::initramfs::Content;
use crate::linux::{Alone, Kit, package};
use crate::log::Decoder;
use crate::machine::Config;
use crate::run::Bundle;
use crate::{build, setup};

/// The suite of Bale's that is put beside it.
const SUITE: &str = "store";
/// How often each page is written, read and discarded; the least counts.
const REPETITIONS: u32 = 3;

/// A figure of Linux's.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    name: &'static str,
    about: &'static str,
    value: f64,
    unit: &'static str,
}

/// Measures, prints, keeps.
pub(crate) fn run(options: &BenchOptions) -> Result<u8> {
    setup::qemu(&options.setup)?;
    let built = build::build(&options.setup)?;
    let work = format!("peer:{REPETITIONS}");
    let kit = Kit::make(package::fetch(None)?, &built.linux_init, &Content::of(&work))?;
    let mut machine = Alone::new(&kit, &work);
    machine.config.memory = "512M".into();
    machine.count();
    eprintln!("bale: Linux {} measures its zram", kit.kernel.version);
    let text = boot::run(&machine.config, Duration::from_secs(options.timeout), |_| {})?;
    let zram = Figures::read(&text)?;
    let rows = rows(&zram)?;
    let own = own(options, &built)?;
    let pairs = guest::measure(options, &built, &zram)?;
    println!("Linux {}, zram with lz4, instructions counted exactly", kit.kernel.version);
    for row in &rows {
        println!("  {:<20} {:>12.1} {:<20} {}", row.name, row.value, row.unit, row.about);
    }
    println!("Bale, suite {SUITE}, the same pages");
    match &own {
        Some(run) => run.report.rows.iter().for_each(|row| {
            if let Data::Value(value) = row.data {
                println!("  {:<20} {value:>12.1} {}", row.name, row.unit);
            }
        }),
        None => println!("  this kernel has no suite {SUITE}: Linux's figures stand alone"),
    }
    println!("The same Linux alone and as a guest of Bale, one core, instructions counted exactly");
    println!("  {:<20} {:>12} {:>12} {:>6}", "", "alone", "on Bale", "ratio");
    for Pair { name, about, alone, on_bale, unit } in &pairs {
        println!(
            "  {name:<20} {alone:>12.1} {on_bale:>12.1} {:>6.2} {unit:<20} {about}",
            on_bale / alone
        );
    }
    if let Some(path) = &options.json {
        save::write(path, &json(&kit.kernel.version, &rows, own.as_ref(), &pairs))?;
    }
    if let Some(path) = &options.csv {
        save::write(path, &csv(&rows, own.as_ref(), &pairs))?;
    }
    Ok(0)
}

/// The store's figures on one core; none if the kernel has no such suite.
fn own(options: &BenchOptions, built: &build::Built) -> Result<Option<Run>> {
    let decoder = Decoder::from_elf(&built.elf)?;
    let bundle = Bundle::make(built, None)?;
    let mut config = Config::new(built.image.clone());
    config.initrd = Some(bundle.path().to_owned());
    let limit = Duration::from_secs(options.timeout);
    let asked = Asked {
        suites: vec![SUITE.into()],
        cores: 1,
        seed: options.seed,
        pages: None,
        cycles: false,
        limit,
    };
    match collect::qemu(&config, &decoder, &asked) {
        Ok(run) => Ok(Some(run)),
        Err(error) if format!("{error:#}").contains("there is no benchmark") => Ok(None),
        Err(error) => Err(error),
    }
}

fn rows(figures: &Figures) -> Result<Vec<Row>> {
    let pages = figures.number("pages")? as f64;
    let number = |key| figures.number(key).map(|value| value as f64);
    let page = "instructions/page";
    Ok(vec![
        Row {
            name: "write",
            about: "pwrite, O_DIRECT, of a page into a free slot",
            value: number("write_ns_per_page")?,
            unit: page,
        },
        Row {
            name: "read",
            about: "pread, O_DIRECT, of a page",
            value: number("read_ns_per_page")?,
            unit: page,
        },
        Row {
            name: "discard",
            about: "BLKDISCARD of one page",
            value: number("discard_ns_per_page")?,
            unit: page,
        },
        Row {
            name: "discard-device",
            about: "BLKDISCARD of all pages at once",
            value: number("release_discard_ns")? / pages,
            unit: page,
        },
        Row {
            name: "reset-device",
            about: "reset of the device: all memory is back",
            value: number("release_reset_ns")? / pages,
            unit: page,
        },
        Row {
            name: "munmap",
            about: "munmap of a region that is swapped to zram",
            value: number("munmap_ns")? / pages,
            unit: page,
        },
        Row {
            name: "density",
            about: "compressed bytes / memory of the pool (mm_stat)",
            value: 100.0 * number("compressed_bytes")? / number("pool_bytes")?,
            unit: "%",
        },
        Row {
            name: "ratio",
            about: "original bytes / compressed bytes",
            value: number("original_bytes")? / number("compressed_bytes")?,
            unit: "to 1",
        },
    ])
}

fn json(version: &str, rows: &[Row], own: Option<&Run>, pairs: &[Pair]) -> String {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut fields = Map::new();
            fields.insert("name".into(), row.name.into());
            fields.insert("value".into(), row.value.into());
            fields.insert("unit".into(), row.unit.into());
            fields.insert("about".into(), row.about.into());
            Value::Object(fields)
        })
        .collect();
    let own = own.map_or_else(Vec::new, |run| {
        run.report.rows.iter().map(|row| Value::Object(row.fields.clone())).collect()
    });
    let pairs = pairs.iter().map(|pair| {
        json!({ "name": pair.name, "alone": pair.alone, "on_bale": pair.on_bale, "unit": pair.unit, "about": pair.about })
    });
    let mut document = Map::new();
    document.insert("peer".into(), "linux".into());
    document.insert("version".into(), version.into());
    document.insert("linux".into(), Value::Array(rows));
    document.insert("bale".into(), Value::Array(own));
    document.insert("guest".into(), Value::Array(pairs.collect()));
    format!("{:#}\n", Value::Object(document))
}

fn csv(rows: &[Row], own: Option<&Run>, pairs: &[Pair]) -> String {
    let mut out = String::from("system,name,value,unit\n");
    // Writing into a string does not fail.
    for row in rows {
        let _ = writeln!(out, "linux,{},{},{}", row.name, row.value, row.unit);
    }
    for row in own.iter().flat_map(|run| &run.report.rows) {
        if let Data::Value(value) = row.data {
            let _ = writeln!(out, "bale,{},{value},{}", row.name, row.unit);
        }
    }
    for pair in pairs {
        let _ = writeln!(out, "linux-alone,{},{},{}", pair.name, pair.alone, pair.unit);
        let _ = writeln!(out, "linux-on-bale,{},{},{}", pair.name, pair.on_bale, pair.unit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{csv, json, rows};
    use crate::linux::boot::Figures;

    fn sample() -> Figures {
        let keys = [
            ("pages", "4"),
            ("write_ns_per_page", "44700"),
            ("read_ns_per_page", "13960"),
            ("discard_ns_per_page", "748"),
            ("release_discard_ns", "400"),
            ("release_reset_ns", "800"),
            ("munmap_ns", "1200"),
            ("original_bytes", "16384"),
            ("compressed_bytes", "8192"),
            ("pool_bytes", "10240"),
        ];
        Figures(keys.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec())
    }

    #[test]
    fn figures_become_rows() {
        let rows = rows(&sample()).expect("all there");
        let value = |name| rows.iter().find(|row| row.name == name).map(|row| row.value);
        assert_eq!(value("reset-device"), Some(200.0));
        assert_eq!(value("density"), Some(80.0));
        assert_eq!(value("ratio"), Some(2.0));
        assert!(csv(&rows, None, &[]).contains("linux,write,44700,instructions/page"));
        assert!(serde_json::from_str::<serde_json::Value>(&json("6.1", &rows, None, &[])).is_ok());
    }

    #[test]
    fn a_missing_figure_is_named() {
        let mut figures = sample();
        figures.0.retain(|(key, _)| key != "munmap_ns");
        assert!(rows(&figures).expect_err("missing").to_string().contains("munmap_ns"));
    }
}
