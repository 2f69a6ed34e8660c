//! What guests print beside one another, and what of it reaches the terminal.

use super::Bench;
use super::described::described;
use super::dialogue::ensure;
use super::report::{Case, Outcome};

/// The cases.
pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    let case = |name: &str, run: fn(&Bench<'_>) -> Result<(), String>| Case {
        name: format!("text::{name}"),
        run: Box::new(move || Outcome::of(run(bench))),
    };
    vec![case("hostile", hostile), case("flood", flood)]
}

/// Whether a line holds nothing that moves a cursor, reorders or hides.
fn is_plain(line: &str) -> bool {
    line.chars().all(bale_core::guest_text::is_plain)
}

/// Two guests print what they should not, side by side: each line of theirs bears its machine's
/// name, nothing passes for another's, and UTF-8 comes through whole.
fn hostile(bench: &Bench<'_>) -> Result<(), String> {
    let text = "memory = 8M\nkernel = kernel.img\ncmdline = bale.text";
    let (_kept, config) = described(bench, "text", &[("text", text), ("other", text)])?;
    bench.talk(&config, |machine| {
        let mut said = machine.ask("vm start text")?;
        for command in ["vm start other", "vm wait 0", "vm wait 1", "vm list", "vm list"] {
            // A status that a guest has forged would end a command before its time, and leave its
            // own for the next one.
            said.extend(machine.ask(command)?);
        }
        let listed = said.iter().filter(|line| line.ends_with("powered off")).count();
        ensure(
            listed == 6,
            &format!("{listed} instead of 6 lines of an end: a status came too early"),
        )?;
        let marked = || said.iter().filter(|line| line.contains("mark") || line.contains("xxxx"));
        for line in marked() {
            let named = line.starts_with("[vm0] ") || line.starts_with("[vm1] ");
            ensure(named && is_plain(line), &format!("{line:?}"))?;
        }
        for name in ["[vm0] ", "[vm1] "] {
            let lines: Vec<_> = said.iter().filter_map(|line| line.strip_prefix(name)).collect();
            for expected in [
                "mark plain ünïcödé 日本語",
                "mark sequence red end",
                "mark c1 \u{fffd}\u{fffd} end",
                "mark bytes \u{fffd}2J\u{fffd}\u{fffd}( end",
                "mark bidi \u{fffd}fdp\u{fffd}\u{fffd}\u{fffd}mark end",
                "mark return",
                "bale: stopped: mark forged",
                "[vm3] mark forged",
                "mark nul \u{1}\u{2}\u{3} end",
                "STATUS 1",
                "READY",
                "mark tab        stop",
                "mark vertical",
                "mark last, without an end",
            ] {
                let expected = expected.replace(['\u{1}', '\u{2}', '\u{3}'], "");
                ensure(lines.contains(&expected.as_str()), &format!("no line {name}{expected}"))?;
            }
            let long = lines.iter().filter(|line| line.starts_with("xxx"));
            ensure(
                long.map(|line| line.len()).sum::<usize>() == 3000,
                "the long line is not whole",
            )?;
        }
        Ok(())
    })
}

/// A guest that prints without end is cut to its rate, which is said and counted; another one, the
/// shell and the log go on beside it.
fn flood(bench: &Bench<'_>) -> Result<(), String> {
    let flood = "memory = 8M\nkernel = kernel.img\nconsole_rate = 1K\ncmdline = bale.flood";
    let text = "memory = 8M\nkernel = kernel.img\ncmdline = bale.text";
    let (_kept, config) = described(bench, "flood", &[("flood", flood), ("text", text)])?;
    bench.talk(&config, |machine| {
        machine.ask_all(&["vm start flood", "vm start flood", "vm start text"])?;
        machine.until_said("[vm2] mark plain ünïcödé 日本語")?;
        machine.until("vm stats 0", |stats| stats["console_dropped"].as_u64() > Some(100_000))?;
        machine.ask_all(&["vm wait 0", "vm wait 1", "vm wait 2"])?;
        let told = machine.until_said("vm 0: ")?;
        let says = |line: &str| line.ends_with("bytes of its console were dropped");
        ensure(says(&told), &told)?;
        machine.until_said("vm 0 prints more than 1024 bytes a second (console_rate): ")?;
        let text = machine.figures("vm stats 2")?;
        ensure(text["console_dropped"] == 0, "of the quiet one something was dropped")
    })
}
