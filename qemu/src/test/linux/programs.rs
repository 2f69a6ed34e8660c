//! Debian's own programs in a Linux guest: what gdb, strace and perf show of a program there, and a
//! shell at the console.

use anyhow::{Context as _, Result, ensure};

use super::{Guests, Removed};
use crate::bench::collect::COUNTED;
use crate::linux::guest::{NAME, Shape};
use crate::machine::Config;
use crate::test::terminal::Terminal;
use crate::workspace;

/// What is looked at: each is one line of the guest's console, but for the numbers before it.
const SCRIPT: &str = "\
gdb -nx -batch -ex 'set source open off' -ex 'break linux_init::practice::add' -ex run \\
    -ex 'print number' -ex 'print $pc' -ex stepi -ex 'print $pc' -ex continue -ex 'print number' \\
    -ex 'delete 1' -ex 'watch linux_init::practice::SUM.v.value.0' -ex continue -ex continue \\
    -ex 'print number' -ex 'delete 2' -ex continue practice
echo gdb ended with $?
strace -o /tmp/calls practice
echo strace ended with $?
cat /tmp/calls
perf stat -x, -o /tmp/counts -e instructions,cycles practice
echo perf ended with $?
cat /tmp/counts
";

/// A guest with these programs, and room for them.
fn shape(work: &str) -> Shape {
    let with = ["gdb", "strace", "linux-perf"].map(String::from).to_vec();
    Shape { with, ..Shape::of("1G", 2, work) }
}

/// The machine has room for the guest, and for its initial RAM disk in the bundle and in the guest.
fn larger(config: &mut Config) {
    config.memory = "3G".into();
    config.cores = 3;
}

/// A breakpoint, steps and a watchpoint of the hardware, by gdb; a program's calls, by strace; what
/// it executes, by perf: each with the values that the program has.
pub(super) fn debuggers(guests: &Guests<'_>) -> Result<()> {
    let script = Removed(workspace::own_folder()?.join("test-debuggers.sh"));
    std::fs::write(&script.0, SCRIPT).context("cannot write the script")?;
    let shape = Shape { script: Some(script.0.clone()), ..shape("script") };
    let prepare = |config: &mut Config| {
        larger(config);
        // Without it QEMU has no event that counts instructions.
        config.extra = COUNTED.map(String::from).to_vec();
        Ok(())
    };
    let said = guests.run_prepared(&shape, &format!("vm run {NAME}"), prepare)?;
    let lines: Vec<&str> =
        said.text.lines().filter_map(|line| line.strip_prefix("[vm0] ")).collect();
    check_gdb(&lines)
        .and_then(|()| check_calls(&lines))
        .and_then(|()| check_counts(&lines))
        .with_context(|| said.text.clone())?;
    said.check("status", |status| status == 0)
}

fn check_gdb(lines: &[&str]) -> Result<()> {
    let values = values(lines);
    ensure!(values.len() == 5, "gdb printed {values:?}");
    let address = |text: &str| {
        let digits = text.split_whitespace().find_map(|word| word.strip_prefix("0x"));
        digits.and_then(|digits| u64::from_str_radix(digits, 16).ok())
    };
    let (before, after) = (address(values[1]), address(values[2]));
    ensure!(before.is_some() && after == before.map(|place| place + 4), "a step: {values:?}");
    // Number 1 at the first hit, 2 at the next; then 2 and 3 are added under the watchpoint.
    ensure!([values[0], values[3], values[4]] == ["1", "2", "3"], "{values:?}");
    one(lines, |line| line.starts_with("Breakpoint 1, linux_init::practice::add (number=1) at"))?;
    one(lines, |line| line.starts_with("Breakpoint 1, linux_init::practice::add (number=2) at"))?;
    // Set, and hit twice; one that gdb has to step for is called "Watchpoint".
    let watch = "Hardware watchpoint 2: linux_init::practice::SUM.v.value.0";
    let said = lines.iter().filter(|line| **line == watch).count();
    ensure!(said == 3, "gdb spoke {said} times of its watchpoint");
    let watched: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split_once(" value = ").map(|(_, value)| value))
        .collect();
    ensure!(watched == ["1", "3", "3", "6"], "the watchpoint showed {watched:?}");
    one(lines, |line| line.contains("exited normally"))?;
    one(lines, |line| line == "gdb ended with 0")
}

/// What stands behind `$N = `, in order.
fn values<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    lines.iter().filter_map(|line| Some(line.strip_prefix('$')?.split_once(" = ")?.1)).collect()
}

fn check_calls(lines: &[&str]) -> Result<()> {
    one(lines, |line| line.starts_with("execve(\"/usr/bin/practice\", [\"practice\"], "))?;
    let written = r#"write(1, "bale-init: sum=500500\n", 22) = 22"#;
    one(lines, |line| line == written)?;
    one(lines, |line| line.starts_with("exit(0) ") && line.ends_with("= ?"))?;
    one(lines, |line| line == "+++ exited with 0 +++")?;
    one(lines, |line| line == "strace ended with 0")
}

fn check_counts(lines: &[&str]) -> Result<()> {
    let count = |event: &str| {
        // The count, its unit, the event, and more.
        let found = lines.iter().find_map(|line| {
            let mut fields = line.split(',');
            let count = fields.next()?.parse::<u64>().ok()?;
            (fields.nth(1)? == event).then_some(count)
        });
        found.with_context(|| format!("perf counted no {event}"))
    };
    let (instructions, cycles) = (count("instructions")?, count("cycles")?);
    // It goes a thousand times through some eight instructions, and the kernel starts and ends it.
    // By the emulator's counting a cycle is an instruction.
    ensure!((8_000..1_000_000).contains(&instructions), "{instructions} instructions");
    ensure!(cycles.abs_diff(instructions) < instructions / 10, "{cycles} cycles, {instructions}");
    one(lines, |line| line == "perf ended with 0")
}

/// There is one such line.
fn one(lines: &[&str], is: impl Fn(&str) -> bool) -> Result<()> {
    let found: Vec<_> = lines.iter().filter(|line| is(line)).collect();
    ensure!(found.len() == 1, "a line that is wanted once is there so often: {found:?}");
    Ok(())
}

/// A person at the guest's console has a shell, with a terminal that it is controlled from.
pub(super) fn shell(guests: &Guests<'_>) -> Result<()> {
    let bundle = guests.bundle(&shape("shell"))?;
    let mut terminal = Terminal::with(guests.bench, |config| {
        larger(config);
        config.arguments = "noguest".into();
        config.initrd = Some(bundle.0.clone());
    })?;
    terminal.line(&format!("vm start {NAME}"))?;
    terminal.send(b"vm console 0\r")?;
    terminal.wait("# ")?;
    terminal.send(b"tty; strace -qq -e trace=exit_group true; echo sum $((6 * 7))\r")?;
    terminal.wait("/dev/ttyAMA0")?;
    terminal.wait("exit_group(0)")?;
    terminal.wait("sum 42")?;
    terminal.send(b"exit 3\r")?;
    terminal.wait("status=3")?;
    terminal.wait("vm 0 has ended")?;
    Ok(())
}
