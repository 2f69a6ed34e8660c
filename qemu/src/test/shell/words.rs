//! Words that a newcomer types: those known from other systems, slips, and what is told of a
//! machine that has ended.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::run;
use crate::test::Bench;
use crate::test::terminal::Terminal;

/// What is known from elsewhere is known here, or says what there is instead.
pub(super) fn familiar(bench: &Bench<'_>) -> Result<()> {
    let script = "version\nuptime\nfree\n? page\nps\ndmesg\nlog show\ntop --count 1\nclear\nversion --json\n\
                  uptime --json\nfree --json\nvm start --mode 5\nvm list --json\nvm destroy 0\nhistory\nexit\ntop";
    let lines = run(bench, script, 3)?;
    let text = lines.join("\n");
    for wanted in [
        "Bale ",
        "up 0:0",
        "how many lines",
        "frames were sent",
        "busy %:",
        "vm 0 killed",
        "`poweroff` turns it off",
        "needs --count",
        "nothing is remembered",
    ] {
        ensure!(text.contains(wanted), "no {wanted}:\n{text}");
    }
    ensure!(!text.contains('\x1b'), "a script has no screen:\n{text}");
    let found: Vec<Value> =
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of =
        |key: &str| found.iter().find(|value| value.get(key).is_some()).context(key.to_owned());
    ensure!(of("uptime_us")?["online"] == 4, "{found:?}");
    let free = of("total_kib")?;
    let kib = |key: &str| free[key].as_u64().context(key.to_owned());
    ensure!(kib("taken_kib")? + kib("free_kib")? == kib("total_kib")?, "{free}");
    let machine = &of("vms")?["vms"][0];
    ensure!(machine["vcpus"] == 1 && machine["memory_mib"].as_u64() > Some(0), "{machine}");
    Ok(())
}

/// An error names what was typed, and what would have been right where that is near.
pub(super) fn slips(bench: &Bench<'_>) -> Result<()> {
    let slips = [
        ("poool", "there is no command poool; did you mean pool?"),
        ("help drian", "there is no command drian; did you mean drain?"),
        ("irq --jsn", "irq takes no --jsn; did you mean --json?"),
        ("tasks --frobnicate", "tasks takes no --frobnicate; `help tasks` tells what it takes"),
        ("vm stpo 0", "did you mean stop?"),
        ("log shwo", "did you mean show?"),
        ("pool clases", "did you mean classes?"),
        ("vm start swaper", "there is no guest swaper; the bundle holds swapper"),
    ];
    let script: Vec<_> = slips.iter().map(|(typed, _)| *typed).collect();
    let lines = run(bench, &script.join("\n"), slips.len())?;
    for (typed, said) in slips {
        let told = lines.iter().any(|line| line.starts_with("error: ") && line.contains(said));
        ensure!(told, "{typed}: {said}\n{}", lines.join("\n"));
    }
    Ok(())
}

/// At a terminal: lines are remembered, and one with characters that no command takes is not run
/// without them.
pub(super) fn typed(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    terminal.line("pool")?;
    let said = terminal.line("f\u{fc}n\u{ef}\u{e9}")?;
    ensure!(said.contains("nothing was run") && !said.contains("there is no command"), "{said}");
    let said = terminal.line("history")?;
    ensure!(said.contains("   1  pool") && said.contains("   2  history"), "{said}");
    Ok(())
}

/// A core that rests is idle, also while it rests; and what a machine had stored is told when it
/// has ended.
pub(super) fn afterwards(bench: &Bench<'_>) -> Result<()> {
    let script =
        "watch -n 3 --count 2 cores --json\nvm run\nvm run --json\nswap --json\nvm stats 0 --json";
    let lines = run(bench, script, 0)?;
    let found: Vec<Value> =
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let [first, second, ran, swap, stats] = found.as_slice() else { anyhow::bail!("{lines:?}") };
    for core in 0..4 {
        let [before, idle] =
            [first, second].map(|value| value["cores"][core]["idle_percent"].as_u64());
        // Three seconds of rest behind a boot that takes less.
        ensure!(idle >= Some(30) && idle >= before, "core {core} rests: {before:?}, then {idle:?}");
    }
    let ratio = |value: &Value| value.as_f64().unwrap_or_default();
    ensure!(ran["last_object_pages"].as_u64() >= Some(1000), "{ran}");
    ensure!(ratio(&ran["last_ratio"]) > 1.0, "{ran}");
    ensure!(ratio(&swap["swap"][0]["ratio"]) > 1.0, "{swap}");
    ensure!(
        ratio(&stats["swap_ratio"]) > 1.0 && stats["swap_peak_kib"].as_u64() > Some(0),
        "{stats}"
    );
    ensure!(
        lines.iter().any(|line| line.contains("were stored in") && line.contains("a ratio of")),
        "{lines:?}"
    );
    Ok(())
}
