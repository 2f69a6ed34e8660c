//! What a machine says last, and finds again when it has started anew.

use anyhow::{Context, Result, ensure};

use crate::cli::{SetupOptions, Tables};
use crate::test::Bench;
use crate::test::terminal::Terminal;
use crate::test::uefi::RANDOM_NUMBERS;
use crate::{board, run};

/// A crash's report, and why the machine was started anew, are there at the next boot, and only
/// there.
pub(super) fn last_words(bench: &Bench<'_>) -> Result<()> {
    let terminal = Terminal::with(bench, |config| {
        config.arguments = WARM.into();
        config.reboots = true;
    })?;
    outlive_a_reboot(bench, terminal)
}

/// The same where UEFI firmware and the loader run in between.
pub(super) fn last_words_by_uefi(bench: &Bench<'_>) -> Result<()> {
    by_uefi(bench, &[])
}

fn by_uefi(bench: &Bench<'_>, further: &[&str]) -> Result<()> {
    let file = board::config(WARM, "")?;
    let mut config = bench.config();
    config.extra = further.iter().map(|word| (*word).to_owned()).collect();
    let disk =
        run::by_uefi(&mut config, bench.built, Tables::Acpi, file, &SetupOptions { yes: true })?;
    config.reboots = true;
    let said = outlive_a_reboot(bench, Terminal::with(bench, |own| own.clone_from(&config))?);
    drop(disk);
    said
}

/// The same where the loader lays the kernel at another place each time.
pub(super) fn last_words_from_elsewhere(bench: &Bench<'_>) -> Result<()> {
    by_uefi(bench, &RANDOM_NUMBERS)
}

/// Boot arguments of a machine that starts anew after a crash.
const WARM: &str = "noguest rows=0 crash=reboot";

/// Bytes of text that the kernel keeps.
const ROOM: usize = 8192 - 16;
/// More than any line of the log has: a frame of 256 bytes in hexadecimal digits.
const LONGEST_LINE: usize = 520;

fn outlive_a_reboot(bench: &Bench<'_>, mut terminal: Terminal) -> Result<()> {
    let none = terminal.line("log last")?;
    ensure!(none.contains("left nothing"), "{none}");
    // A log of which nobody takes anything, and of which this core has room for no more.
    let filled = terminal.line("selftest logging")?;
    ensure!(filled.contains("1 passed, 0 failed"), "{filled}");
    terminal.send(b"crash panic\r")?;
    let said = terminal.wait("its last words: `log last` shows them.")?;
    terminal.prompt()?;
    let crash = terminal.line("log last")?.replace('\r', "");
    ensure!(
        ["panic on core 0", "asked for by the shell", "#0 +0x"]
            .iter()
            .all(|text| said.contains(text)),
        "{said}"
    );
    let end = said.find("\u{1e}bale: stopped: a panic").context("no marked end of the report")?;
    let report = said[..end].replace('\r', "");
    let report =
        report.find("bale: panic on").map(|start| &report[start..]).context("no report")?;
    let log = crash.split_once(report).map(|(log, _)| log);
    let log = log.with_context(|| format!("not the whole report:\n{report}\nbut\n{crash}"))?;
    is_the_newest(bench, log)?;
    ensure!(
        crash.len() + LONGEST_LINE > ROOM,
        "there was room for more than {} bytes",
        crash.len()
    );

    terminal.send(b"reboot\r")?;
    terminal.wait("its last words")?;
    terminal.prompt()?;
    let part = terminal.line("log last")?;
    ensure!(part.contains("defmt:"), "{part}");
    ensure!(
        part.contains("started anew from the shell after") && !part.contains("panic"),
        "{part}"
    );
    Ok(())
}

/// Lines of the log, of which those with a number are the last that were written, without a gap.
fn is_the_newest(bench: &Bench<'_>, log: &str) -> Result<()> {
    let lines =
        log.lines().filter(|line| line.starts_with("defmt:")).map(|line| bench.decoder.line(line));
    let lines: Vec<_> = lines.collect();
    let number = |line: &String| {
        line.split_once("frame ")?.1.split_once(" of a full ring")?.0.parse::<usize>().ok()
    };
    let numbers: Vec<_> = lines.iter().filter_map(number).collect();
    let no_gap = numbers.iter().rev().copied().eq((1..=1000).rev().take(numbers.len()));
    ensure!(numbers.len() > 20 && no_gap, "{}", lines.join("\n"));
    Ok(())
}
