//! `bench` at the shell: its options, its progress, and how it is stopped.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::run;
use crate::bench::collect::COUNTED;
use crate::machine::Config;
use crate::test::Bench;
use crate::test::terminal::Terminal;

/// How many objects, which pages and how many cores: figures say so, in a run that counts and in
/// one with several cores.
pub(super) fn options(bench: &Bench<'_>) -> Result<()> {
    let lines = run(bench, "bench run burst ladder --pages 2000 --cores 3,1 --json", 0)?;
    let found: Vec<Value> =
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    ensure!(
        found.first().is_some_and(|header| header["pages"] == 2000),
        "no such header: {lines:?}"
    );
    let drained = |cores: u64| {
        let name = format!("burst-{cores}-drained");
        found.iter().find(|row| row["name"] == name.as_str()).and_then(|row| row["n"].as_u64())
    };
    ensure!(
        drained(1) == Some(2000) && drained(3) == Some(6000) && drained(4).is_none(),
        "{found:?}"
    );
    let rungs: Vec<_> = found
        .iter()
        .filter(|row| row["suite"] == "ladder")
        .filter_map(|row| row["cores"].as_u64())
        .collect();
    ensure!(rungs.starts_with(&[1, 3, 1, 3]) && !rungs.contains(&2), "{rungs:?}");

    let mut config = bench.config();
    config.cores = 1;
    config.extra.extend(COUNTED.map(str::to_owned));
    let mixes = ["bundle", "zeros", "random", "half"];
    let command = |mix| format!("bench run page --pages 300 --seed 7 --json --mix {mix}");
    let script: Vec<_> = mixes.into_iter().map(command).collect();
    let script = format!("{}\nbench run allocator --pages 1000 --json", script.join("\n"));
    let lines = run_counted(bench, &config, &script)?;
    let found: Vec<Value> =
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let runs: Vec<&[Value]> = found.split(|row| row["report"] == "bench").skip(1).collect();
    ensure!(runs.len() == mixes.len() + 1, "{} runs:\n{}", runs.len(), lines.join("\n"));
    let of = |place: usize, name: &str| runs[place].iter().find(|row| row["name"] == name);
    for (place, mix) in mixes.iter().enumerate() {
        let write = of(place, "write").with_context(|| format!("{mix}: no write in {lines:?}"))?;
        ensure!(write["n"] == 300, "{mix}: {write}");
    }
    let ratio = |place: usize| of(place, "ratio-page").and_then(|row| row["value"].as_f64());
    ensure!(ratio(1).is_none(), "zeros are no objects: {:?}", ratio(1));
    ensure!(ratio(2) == Some(1.0), "random pages: {:?}", ratio(2));
    ensure!(
        ratio(3).is_some_and(|ratio| (1.8..2.1).contains(&ratio)),
        "half of it: {:?}",
        ratio(3)
    );
    ensure!(of(4, "malloc").is_some_and(|row| row["n"] == 1000), "{:?}", of(4, "malloc"));
    ensure!(of(4, "density-2000").is_none(), "density-2000 has a number of its own");
    ensure!(
        lines.iter().any(|line| line == "density-2000 is left out: it takes no --pages"),
        "{lines:?}"
    );
    Ok(())
}

/// Cycles of the core in place of instructions: QEMU's counting clock gives one for the other, so
/// the figures are the same but for their unit. What is timed by another clock takes no such
/// option, and instructions are counted again afterwards.
pub(super) fn cycles(bench: &Bench<'_>) -> Result<()> {
    let mut config = bench.config();
    config.cores = 1;
    config.extra.extend(COUNTED.map(str::to_owned));
    let script = "bench run semaphore tm-message --json\nbench run malloc free push-drain page ladder --pages 500 --json";
    let lines = run_counted(bench, &config, script)?;
    let counted = figures(&lines, "instructions")?;
    let lines = run_counted(bench, &config, &script.replace("--json", "--json --cycles"))?;
    let timed = figures(&lines, "cycles")?;
    ensure!(!counted.is_empty() && counted == timed, "{counted:?}\nin cycles {timed:?}");

    let lines =
        run_counted(bench, &config, "bench run rtos --cycles --json\nbench run semaphore --json")?;
    let left_out = "jitter is left out: it takes no --cycles";
    ensure!(lines.iter().any(|line| line == left_out), "{lines:?}");
    let counters: Vec<_> = lines.iter().filter(|line| line.contains("\"counter\":")).collect();
    let [first, second] = counters.as_slice() else { anyhow::bail!("{counters:?}") };
    ensure!(first.contains("\"cycles\"") && second.contains("\"instructions\""), "{counters:?}");
    Ok(())
}

/// In real time it is a figure, and its memory comes back; where the clock counts instructions a
/// line says why there is none.
pub(super) fn bandwidth(bench: &Bench<'_>) -> Result<()> {
    let script = "mem --json\nbench run memory-bandwidth\nmem --json";
    let lines = run(bench, script, 0)?;
    let free = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let free: Vec<_> = free.filter_map(|mem| mem["free_frames"].as_u64()).collect();
    ensure!(free.len() == 2 && free[0] == free[1], "{free:?}");
    ensure!(lines.iter().any(|line| line.contains("memory-bandwidth, MiB/s")), "{lines:?}");
    let mut config = bench.config();
    config.cores = 1;
    config.extra.extend(COUNTED.map(str::to_owned));
    let lines = run_counted(bench, &config, script)?;
    let said = "memory-bandwidth is left out: the clock counts instructions";
    ensure!(lines.iter().any(|line| line.contains(said)), "{lines:?}");
    ensure!(!lines.iter().any(|line| line.contains("MiB/s")), "{lines:?}");
    Ok(())
}

fn run_counted(bench: &Bench<'_>, config: &Config, script: &str) -> Result<Vec<String>> {
    bench.answers(config, script, 0).map_err(|why| anyhow::anyhow!(why))
}

/// Figures in a unit that begins with this word: names, parts, and values; the unit's rest.
fn figures(lines: &[String], unit: &str) -> Result<Vec<(String, String, String)>> {
    let mut figures = Vec::new();
    for line in lines.iter().filter(|line| line.starts_with('{')) {
        let row: Value = serde_json::from_str(line)?;
        if let Some(rest) = row["unit"].as_str().and_then(|text| text.strip_prefix(unit)) {
            let value =
                [&row["value"], &row["columns"], &row["histogram"]].map(Value::to_string).concat();
            figures.push((row["name"].to_string(), value, rest.to_owned()));
        }
    }
    Ok(figures)
}

/// One line with what runs and how far it is, gone before each result; neither JSON nor a script
/// has it.
pub(super) fn progress(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    let command = "bench run density --pages 9000";
    let said = terminal.line("bench run density-2000 density-8000")?;
    for (place, name) in ["density-2000", "density-8000"].into_iter().enumerate() {
        let drawn = format!("\rbench: {} of 2: {name}\x1b[K\r\x1b[K  {name} ", place + 1);
        ensure!(said.contains(&drawn), "{name}: {said:?}");
    }
    ensure!(said.matches("\x1b[K").count() == 4, "{said:?}");
    let said = terminal.line("bench run density --pages 9000")?;
    ensure!(said.contains("\rbench: 1 of 1: density, 60 %\x1b[K"), "{said:?}");
    let said = terminal.line("selftest mapping::nothing_at_zero copying::set_and_compare")?;
    let drawn = "\rselftest: 1 of 2: mapping::nothing_at_zero\x1b[K\r\x1b[Ktest mapping::nothing_at_zero ... ok";
    ensure!(said.contains(drawn), "{said:?}");
    let said = terminal.line(&format!("{command} --json"))?;
    ensure!(said.contains("density-half") && !said.contains('\x1b'), "{said:?}");
    let lines = run(bench, &format!("{command}; selftest mapping::nothing_at_zero"), 0)?;
    let drawn = |line: &String| {
        line.contains('\x1b') || line.contains("bench: ") || line.contains("selftest: ")
    };
    ensure!(!lines.iter().any(drawn), "{lines:?}");
    Ok(())
}

/// In the midst of a benchmark: it stops, gives back what it had, and the shell goes on.
pub(super) fn ctrl_c_stops(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    let before = terminal.line("mem --json")?;
    for command in [
        "bench run ladder --cores 2 --pages 60000",
        "bench run jitter ladder rtos",
        "selftest",
        "vm run --mode 5",
    ] {
        terminal.send(command.as_bytes())?;
        terminal.send(b"\r")?;
        terminal.wait("\n")?;
        // What each says once it is at it; the machine that never ends says nothing.
        match command.split(' ').next() {
            Some("bench") => drop(terminal.wait("Bale 0.")?),
            Some("selftest") => drop(terminal.wait("... ok")?),
            _ => std::thread::sleep(Duration::from_millis(300)),
        }
        terminal.send(b"\x03")?;
        let said = terminal.prompt()?;
        ensure!(
            said.contains("stopped") || said.contains("interrupted"),
            "{command} was not stopped:\n{said}"
        );
    }
    terminal.line("vm kill 0")?;
    let pool = terminal.line("drain flush; pool --json")?;
    ensure!(pool.contains("\"objects\":0,"), "{pool}");
    let after = terminal.line("mem --json")?;
    let free = |text: &str| -> Option<u64> {
        text.split_once("\"free_frames\":")?.1.split(',').next()?.parse().ok()
    };
    // Tables of the pool's metadata may stay.
    let lost = free(&before).zip(free(&after)).map(|(before, after)| before.saturating_sub(after));
    ensure!(lost.is_some_and(|lost| lost < 64), "{lost:?} frames are missing:\n{before}\n{after}");
    Ok(())
}

/// A script's byte 0x03 stops a benchmark as Ctrl-C does: status 1, and the next command runs.
pub(super) fn script_stops(bench: &Bench<'_>) -> Result<()> {
    let mut script = Terminal::silent(bench, |config| config.arguments = "exec".into())?;
    script.wait("\x1eREADY")?;
    for command in
        ["bench run ladder --cores 2 --pages 60000", "bench run jitter ladder rtos --json"]
    {
        script.send(format!("{command}\n").as_bytes())?;
        script.wait("counter")?;
        script.send(b"\x03")?;
        let said = script.wait("\x1eSTATUS 1")?;
        ensure!(said.contains("error: bench: stopped"), "{command}: {said}");
        script.send(b"drain flush; pool --json\n")?;
        let said = script.wait("\x1eSTATUS ")?;
        ensure!(said.contains("\"objects\":0,"), "{said}");
        script.wait("0\r\n")?;
    }
    // With nothing to stop it drops what was begun.
    script.send(b"nonsense\x03help pool\n")?;
    script.wait("\x1eSTATUS 1")?;
    let said = script.wait("\x1eSTATUS 0")?;
    ensure!(said.contains("pool compact") && !said.contains("nonsense"), "{said}");
    Ok(())
}
