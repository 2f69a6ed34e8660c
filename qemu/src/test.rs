//! `cargo bale test`: every test, one line each, and at the end one line that counts them.

mod app;
mod budgets;
mod console;
mod described;
mod dialogue;
mod flash;
mod guest_run;
mod handed_over;
mod host;
mod isolation;
mod linux;
mod matrix;
mod report;
mod shell;
mod target;
mod terminal;
mod text;
mod trace;
mod trees;
mod uefi;

use std::time::Duration;

use anyhow::Result;

use crate::build;
use crate::cli::TestOptions;
use crate::log::Decoder;
use crate::run::Bundle;
use crate::setup;
use budgets::Budgets;
use report::{Case, Report};

/// For one machine, from its start to its end. Far above what any test needs here, also on a slow,
/// busy host.
const MACHINE_LIMIT: Duration = Duration::from_secs(240);

/// Runs the tests; the status is 1 when one of them failed.
pub(crate) fn run(options: &TestOptions) -> Result<u8> {
    setup::qemu(&options.setup)?;
    let built = build::build(&options.setup)?;
    let decoder = Decoder::from_elf(&built.elf)?;
    let bundle = Bundle::make(&built, None)?;
    setup::firmware(&options.setup)?;
    let bench = Bench { built: &built, bundle: bundle.path().to_owned(), decoder: &decoder };

    let wanted =
        |case: &Case<'_>| options.filter.as_ref().is_none_or(|text| is_wanted(&case.name, text));
    let host: Vec<Case<'_>> = host::cases().into_iter().filter(wanted).collect();
    let budgets = Budgets::new(&bench)?;
    let fetched = linux::Fetched::default();
    let machines: Vec<Case<'_>> = target::cases(&bench)?
        .into_iter()
        .chain(matrix::cases(&bench, options.repeat))
        .chain(uefi::cases(&bench))
        .chain(handed_over::cases(&bench))
        .chain(console::cases(&bench))
        .chain(shell::cases(&bench))
        .chain(budgets.cases())
        .chain(trace::cases())
        .chain(trees::cases())
        .chain(app::cases(&options.setup))
        .chain(flash::cases())
        .chain(described::cases(&bench))
        .chain(text::cases(&bench))
        .chain(guest_run::cases())
        .chain(isolation::cases(&bench))
        .chain(linux::cases(&bench, &built, &fetched))
        .filter(wanted)
        .collect();
    if options.list {
        host.iter().chain(&machines).for_each(|case| println!("{}", case.name));
        return Ok(0);
    }
    let mut report = Report::default();
    // Host tests use all cores themselves.
    report.run(host, 1);
    report.run(machines, options.jobs as usize);
    report.failures().iter().for_each(|line| println!("{line}"));
    println!("{}", report.summary());
    Ok(u8::from(!report.good()))
}

/// Tests about guests whose names do not say so.
const ABOUT_GUESTS: [&str; 5] =
    ["described::", "isolation::", "text::", "linux::", "target::sharing::"];

/// Whether a test is one of those that a filter takes.
fn is_wanted(name: &str, filter: &str) -> bool {
    let about_guests = || ABOUT_GUESTS.iter().any(|start| name.starts_with(start));
    name.contains(filter) || (filter == "guest" && about_guests())
}

/// What every machine of the tests shares.
struct Bench<'a> {
    built: &'a build::Built,
    bundle: std::path::PathBuf,
    decoder: &'a Decoder,
}
