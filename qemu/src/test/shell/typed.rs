//! What is typed and pasted at the shell, and how it draws.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::test::Bench;
use crate::test::terminal::Terminal;

/// 10 kB at once, as a line that is too long and as many lines: clear errors, and what is typed next works.
pub(super) fn paste(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    // At the pace of a fast serial line: QEMU's has none, and a FIFO of 32 bytes would overflow as no line makes it.
    let send = |terminal: &mut Terminal, bytes: &[u8]| {
        bytes.chunks(16).try_for_each(|piece| {
            std::thread::sleep(Duration::from_micros(1_000));
            terminal.send(piece)
        })
    };
    send(&mut terminal, &vec![b'x'; 10_000])?;
    send(&mut terminal, b"\r")?;
    let said = terminal.prompt()?;
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
    send(&mut terminal, b"\rpool --json\r")?;
    let said = terminal.wait("\"objects\":")?;
    ensure!(!said.contains("panic"), "{said}");
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
    terminal.send(b"q")?;
    let rest = terminal.prompt()?;
    ensure!(!rest.contains('\n'), "{rest}");
    let all = terminal.line("page off; help")?;
    ensure!(all.contains("poweroff") && !all.contains("--more--"), "{all}");
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
    let once = terminal.line("watch --count 1 pool")?;
    ensure!(once.contains("objects"), "{once}");
    Ok(())
}

/// A crash's report, and why the machine was started anew, are there at the next boot, and only there.
pub(super) fn last_words(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::with(bench, |config| {
        config.arguments = "noguest crash=reboot".into();
        config.reboots = true;
    })?;
    let none = terminal.line("log last")?;
    ensure!(none.contains("left nothing"), "{none}");
    terminal.send(b"crash panic\r")?;
    terminal.wait("its last words: `log last` shows them.")?;
    terminal.prompt()?;
    let crash = terminal.line("log last")?;
    // The log that nobody had taken, what went to the wire, and where it was.
    let wanted = ["defmt:", "panic on core 0", "asked for by the shell", "#0 +0x", "bale: stopped: a panic"];
    ensure!(wanted.iter().all(|text| crash.contains(text)), "{crash}");
    terminal.send(b"reboot\r")?;
    terminal.wait("its last words")?;
    terminal.prompt()?;
    let part = terminal.line("log last")?;
    ensure!(part.contains("started anew from the shell after") && !part.contains("panic"), "{part}");
    Ok(())
}
