//! What is typed and pasted at the shell, and how it draws.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::test::terminal::Terminal;
use crate::test::{Bench, described};

/// 10 kB at once, as a line that is too long and as many lines: clear errors, and what is typed
/// next works.
pub(super) fn paste(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    // At the pace of a fast serial line: QEMU's has none, and a FIFO of 32 bytes would overflow as
    // no line makes it.
    let send = |terminal: &mut Terminal, bytes: &[u8]| {
        bytes.chunks(16).try_for_each(|piece| {
            std::thread::sleep(Duration::from_micros(1_000));
            terminal.send(piece)
        })
    };
    let mut said = String::new();
    // Again if QEMU stood still, and then took more at once than any line brings.
    for _ in 0..20 {
        send(&mut terminal, &vec![b'x'; 10_000])?;
        send(&mut terminal, b"\r")?;
        said = terminal.prompt()?;
        if !said.contains("bytes of the line were lost") {
            break;
        }
    }
    ensure!(
        said.contains("longer than") && said.contains("nothing was run"),
        "{}",
        &said[said.len().saturating_sub(300)..]
    );
    let noise: Vec<u8> = (0..10_000u32)
        .map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .filter(|byte| *byte != 0x1d)
        .collect();
    send(&mut terminal, &noise)?;
    // Whatever the noise left behind in the line, or in the middle of a key.
    send(&mut terminal, b"\x1b[A\x03")?;
    let said = terminal.insist(b"\rpool --json\r", "\"objects\":")?;
    ensure!(!said.contains("panic"), "{said}");
    Ok(())
}

/// Tab knows what a command takes; a module's name stands for its tests.
pub(super) fn completion(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    completes(
        &mut terminal,
        &[
            ("dra\t", "drain "),
            ("pool cl\t", "pool classes "),
            ("core of\t", "core offline "),
            ("vm paus\t", "vm pause "),
            ("vm run --st\t", "vm run --steps "),
            ("swap 0 rec\t", "swap 0 recompress "),
            ("drain; log str\t", "drain; log stream "),
            ("bench run thr\t", "bench run thread-metric "),
            ("bench run density-c\t", "bench run density-churned "),
            ("selftest loc\t", "selftest locking"),
            ("selftest locking::queue\t", "selftest locking::queue_keeps_order "),
            ("help rebo\t", "help reboot "),
            ("crash ha\t", "crash hang "),
            ("vm st\t", "stats  start  stop  "),
        ],
    )?;
    let said = terminal.line("selftest mapping copying::set_and_compare")?;
    // All of a group, and the one of another that was named.
    let passed = said.matches("... ok").count();
    ensure!(said.contains(&format!("{passed} passed, 0 failed")), "{said}");
    for name in ["mapping::code_is_not_writable", "mapping::nothing_at_zero"] {
        ensure!(said.contains(&format!("test {name} ... ok")), "{said}");
    }
    ensure!(said.matches("test copying::").count() == 1, "{said}");
    Ok(())
}

/// What is typed brings this, and is given up.
fn completes(terminal: &mut Terminal, lines: &[(&str, &str)]) -> Result<()> {
    for (typed, echo) in lines {
        terminal.send(typed.as_bytes())?;
        terminal.wait(echo)?;
        terminal.send(b"\x03")?;
        // A list is followed by a prompt of its own.
        terminal.wait("^C")?;
        terminal.prompt()?;
    }
    Ok(())
}

/// Tab knows the guests of the bundle where one can be started, and the machines where one is
/// meant; their names stand for their numbers.
pub(super) fn machines(bench: &Bench<'_>) -> Result<()> {
    // Without a limit, or a fast machine ends it before it has been talked to.
    let restarting = "memory = 8M\nkernel = kernel.img\nrestart_window = 0\ncmdline = bale.reset";
    let writing = "memory = 16M\nkernel = kernel.img\nswap = 16M\ncmdline = bale.disk";
    let descriptions = [("first", restarting), ("second", restarting), ("disk", writing)];
    let bundle = described::bundle(bench, "machines", &descriptions)?;
    let mut terminal = Terminal::with(bench, |config| {
        config.arguments = "noguest rows=0".into();
        config.initrd = Some(bundle.0.clone());
    })?;
    completes(
        &mut terminal,
        &[("vm start \t", "first  second  disk  "), ("vm run se\t", "vm run second ")],
    )?;
    let said = terminal.line("vm stop first")?;
    ensure!(said.contains("error: there is no vm first"), "{said}");
    let said = terminal.line("vm start fi\t")?;
    ensure!(said.contains("vm 0 started"), "{said}");
    // Of the two, only one is a machine.
    for command in ["stop", "kill", "wait", "pause", "resume", "console"] {
        completes(
            &mut terminal,
            &[(&format!("vm {command} \t"), &format!("vm {command} first "))],
        )?;
    }
    completes(
        &mut terminal,
        &[("swap f\tre\t", "swap first recompress "), ("vm set f\tme\t", "vm set first memory ")],
    )?;
    terminal.line("vm start second; vm start second")?;
    completes(
        &mut terminal,
        &[("vm stop \t", "first  second  "), ("vm stats f\t\t", "vm stats first --json ")],
    )?;
    for (line, answer) in [
        ("vm pause f\t; vm resume first", ""),
        ("vm start d\t; swap disk", "slots"),
        ("vm kill f\t", "vm 0 killed"),
        ("vm stats first", "vm 0 (first) killed"),
        ("vm kill second", "error: several are called second"),
        ("vm kill 1; vm kill second", "vm 2 killed"),
    ] {
        let said = terminal.line(line)?;
        ensure!(said.contains(answer), "{line}: {said}");
        ensure!(answer.starts_with("error: ") || !said.contains("error: "), "{line}: {said}");
    }
    Ok(())
}

/// More is sent than waits for a busy shell: the line where bytes are missing is not run, whatever
/// is left of it, and those before and behind it are.
pub(super) fn lost(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    // Some seconds in which nobody reads, far more than the typing takes, also where the host is
    // busy.
    terminal.send(b"crash memory 12\r")?;
    terminal.wait("\n")?;
    let mut typed = b"help page\r".to_vec();
    typed.extend(b"page 77777777\r".iter().cycle().take(14 * 200));
    for piece in typed.chunks(16) {
        std::thread::sleep(Duration::from_micros(1_000));
        terminal.send(piece)?;
    }
    terminal.wait("how many lines")?;
    // As long as the rest waits, this is lost as well.
    let said = terminal.insist(b"\r", "bytes of the line were lost; nothing was run")?;
    let run = said.matches("ROWS is 2 to 1000").count();
    ensure!((50..100).contains(&run), "{run} lines were run:\n{said}");
    // Behind whatever prompts there are.
    terminal.send(b"drain --json\r")?;
    terminal.wait("\"enqueued\":")?;
    terminal.prompt()?;
    // What stops finds room where nothing else does. Far longer than the typing takes, also where
    // the host is busy.
    terminal.send(b"bench run ladder --pages 60000\r")?;
    terminal.wait("\n")?;
    for piece in typed.chunks(16) {
        std::thread::sleep(Duration::from_micros(1_000));
        terminal.send(piece)?;
    }
    terminal.send(b"\x03")?;
    terminal.wait("error: bench: stopped")?;
    terminal.prompt()?;
    Ok(())
}

/// The serial line gives bytes twice: what is no command any more gets one line, and nothing is
/// run.
pub(super) fn doubled(bench: &Bench<'_>) -> Result<()> {
    const LINE: &str = "drain flush";
    let mut terminal = Terminal::start(bench, 0)?;
    let refused = |said: &str| said.lines().count() == 1 && said.starts_with("error: ");
    for at in (0..LINE.len()).filter(|at| LINE.as_bytes()[*at] != b' ') {
        let typed = format!("{}{}", &LINE[..=at], &LINE[at..]);
        let said = terminal.line(&typed)?;
        ensure!(refused(said.trim_end_matches("bale> ")), "{typed}: {said}");
    }
    // Each byte, the end of the line as well, which is an empty line then.
    let typed: Vec<u8> = LINE.bytes().chain(*b"\r").flat_map(|byte| [byte, byte]).collect();
    terminal.send(&typed)?;
    terminal.wait("\n")?;
    let said = terminal.prompt()?;
    ensure!(refused(said.trim_end_matches("bale> ")), "{said}");
    terminal.prompt()?;
    let said = terminal.line(LINE)?;
    ensure!(said.contains("enqueued"), "{said}");
    Ok(())
}

pub(super) fn paged(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 10)?;
    terminal.send(b"help\r")?;
    terminal.wait("\n")?;
    let first = terminal.wait("--more--")?;
    ensure!(first.matches('\n').count() == 9, "{first}");
    terminal.send(b"\r")?;
    let second = terminal.wait("--more--")?;
    ensure!(second.matches('\n').count() == 1, "{second}");
    terminal.send(b" ")?;
    let third = terminal.wait("--more--")?;
    ensure!(third.matches('\n').count() == 9, "{third}");
    for key in [b"q", b"\x03"] {
        terminal.send(key)?;
        let rest = terminal.prompt()?;
        ensure!(!rest.contains('\n') && rest.contains("\r\x1b[K"), "the question stays: {rest:?}");
        terminal.send(b"help\r")?;
        terminal.wait("--more--")?;
    }
    terminal.send(b"q")?;
    terminal.prompt()?;
    let all = terminal.line("page off; help")?;
    ensure!(all.contains("poweroff") && !all.contains("--more--"), "{all}");
    Ok(())
}

/// The shell asks the terminal; what is typed beside the answer is kept, and an answer that comes
/// too late goes nowhere.
pub(super) fn height(bench: &Bench<'_>) -> Result<()> {
    const QUESTION: &str = "\x1b[999;999H\x1b[6n";
    let first_screen = |terminal: &mut Terminal| -> Result<usize> {
        terminal.send(b"\r")?;
        terminal.wait("\n")?;
        let lines = terminal.wait("--more--")?.matches('\n').count();
        terminal.send(b"q")?;
        terminal.prompt()?;
        Ok(lines)
    };
    // On a busy host the answer may come later than the shell waits.
    let answered = |_| -> Result<usize> {
        let mut terminal =
            Terminal::silent(bench, |config| config.arguments = "noguest rows=30".into())?;
        terminal.wait(QUESTION)?;
        terminal.send(b"he\x1b[11;80Rlp")?;
        terminal.prompt()?;
        let echo = terminal.wait("lp")?;
        ensure!(echo == "help", "{echo:?}");
        first_screen(&mut terminal)
    };
    let heights = (0..3).map(answered).collect::<Result<Vec<_>>>()?;
    ensure!(
        heights.contains(&10) && heights.iter().all(|lines| [10, 29].contains(lines)),
        "{heights:?}"
    );

    for (arguments, lines) in [("noguest rows=8", 7), ("noguest", 23)] {
        let mut terminal = Terminal::with(bench, |config| config.arguments = arguments.into())?;
        terminal.send(b"he\x1b[50;80Rlp")?;
        let echo = terminal.wait("lp")?;
        ensure!(echo == "help", "{echo:?}");
        let first = first_screen(&mut terminal)?;
        ensure!(first == lines, "{arguments}: {first} lines");
    }
    for arguments in ["noguest rows=0", "exec"] {
        let mut terminal = Terminal::silent(bench, |config| config.arguments = arguments.into())?;
        let said = terminal.wait(if arguments == "exec" { "READY" } else { "bale> " })?;
        ensure!(!said.contains('\x1b'), "{arguments}: {said:?}");
    }
    Ok(())
}

pub(super) fn watch(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 10)?;
    terminal.send(b"watch -n 1 drain\r")?;
    terminal.wait("\x1b[2J")?;
    for _ in 0..2 {
        terminal.wait("\x1b[H")?;
        let picture = terminal.wait("\x1b[J")?;
        ensure!(picture.contains("enqueued") && picture.contains("\x1b[K\r\n"), "{picture:?}");
    }
    terminal.send(b" ")?;
    terminal.prompt()?;
    terminal.send(b"watch --count 1 help\r")?;
    terminal.wait("\x1b[H")?;
    let cut = terminal.wait("\x1b[J")?;
    ensure!(cut.matches('\n').count() == 9, "{cut:?}");
    terminal.prompt()?;
    let once = terminal.line("watch --count 1 pool")?;
    ensure!(once.contains("objects"), "{once}");
    Ok(())
}

/// Ctrl-] leaves a machine's console, and the machine runs on.
pub(super) fn console(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    let started = terminal.line("vm start --mode 5")?;
    ensure!(started.contains("vm 0 started"), "{started}");
    terminal.send(b"vm console 0\r")?;
    terminal.wait("Ctrl-] leaves it")?;
    // A command for the guest, not for the shell.
    terminal.send(b"pool\r\x1d")?;
    let said = terminal.prompt()?;
    ensure!(!said.contains("objects"), "{said}");
    let listed = terminal.line("vm list")?;
    ensure!(listed.contains("running"), "{listed}");
    let killed = terminal.line("vm kill 0")?;
    ensure!(killed.contains("vm 0 killed"), "{killed}");
    Ok(())
}
