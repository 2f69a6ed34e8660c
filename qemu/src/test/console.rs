//! `cargo bale console` at a pseudo-terminal behind which a machine runs: the log decoded, a
//! backtrace resolved, every byte saved.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::Bench;
use super::report::{Case, Outcome};
use crate::build;
use crate::machine::{Event, Machine};
use crate::workspace;

pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    let run = move || Outcome::of(crash_is_explained(bench).map_err(|error| format!("{error:#}")));
    let left = || Outcome::of(a_dead_line_is_left().map_err(|error| format!("{error:#}")));
    let ended =
        || Outcome::of(signals_give_the_terminal_back().map_err(|error| format!("{error:#}")));
    vec![
        Case { name: "console::log_and_backtrace_on_a_line".into(), run: Box::new(run) },
        Case { name: "console::a_line_that_takes_nothing_is_left".into(), run: Box::new(left) },
        Case { name: "console::signals_give_the_terminal_back".into(), run: Box::new(ended) },
    ]
}

/// A pseudo-terminal, and the name of its other end.
fn line() -> Result<(File, String)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?.into_string()?;
    Ok((File::from(master), name))
}

/// The tool at a line behind which nobody is, with a terminal of its own; that terminal, its other
/// end, and the line's end.
fn at_a_dead_line() -> Result<(Tool, File, File, File)> {
    let (line_end, name) = line()?;
    let (keyboard, terminal) = line()?;
    // NOCTTY: it must not become the terminal of this process.
    let flags = i32::try_from(OFlags::NOCTTY.bits())?;
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(flags).open(terminal)?;
    let mut command = workspace::command(std::env::current_exe()?);
    command.args(["console", &name, "--elf"]).arg(build::kernel_elf());
    command.stdin(terminal.try_clone()?).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = Tool(command.spawn()?);
    let mut errors = BufReader::new(tool.0.stderr.take().context("no error output")?);
    let mut said = String::new();
    while !said.contains("Ctrl-A x") {
        said.clear();
        ensure!(errors.read_line(&mut said)? > 0, "it ended at once");
    }
    // Raw from about now on.
    for _ in 0..PATIENCE {
        if !tcgetattr(&terminal)?.local_modes.contains(LocalModes::ICANON) {
            return Ok((tool, keyboard, terminal, line_end));
        }
        thread::sleep(LOOK);
    }
    bail!("the terminal did not become raw")
}

/// How it ended, if it did in time.
fn end(tool: &mut Tool) -> Result<ExitStatus> {
    for _ in 0..PATIENCE {
        if let Some(status) = tool.0.try_wait()? {
            return Ok(status);
        }
        thread::sleep(LOOK);
    }
    bail!("it goes on after {} s", PATIENCE * 50 / 1000)
}

/// More is typed than the line takes: Ctrl-A x leaves all the same.
fn a_dead_line_is_left() -> Result<()> {
    let (mut tool, mut keyboard, terminal, line_end) = at_a_dead_line()?;
    for _ in 0..200 {
        keyboard.write_all(&[b'x'; 200])?;
        thread::sleep(Duration::from_millis(2));
    }
    keyboard.write_all(b"\x01x")?;
    let status = end(&mut tool)?;
    ensure!(status.success(), "{status}");
    drop((terminal, line_end));
    Ok(())
}

/// Whatever ends the tool, the user's terminal is as it was.
fn signals_give_the_terminal_back() -> Result<()> {
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT] {
        let (mut tool, _keyboard, terminal, _line_end) = at_a_dead_line()?;
        let process = Pid::from_child(&tool.0);
        kill_process(process, signal)?;
        let status = end(&mut tool)?;
        ensure!(!status.success(), "{signal:?}: {status}");
        let modes = tcgetattr(&terminal)?.local_modes;
        ensure!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{signal:?}: {modes:?}");
    }
    Ok(())
}

/// Between two looks at what is to come, and how many of them.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: u64 = 600;

/// The tool, ended if it is dropped before it has ended by itself.
struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        // It has ended, as it should.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn crash_is_explained(bench: &Bench<'_>) -> Result<()> {
    let (master, line) = line()?;
    let save = workspace::own_folder()?.join(format!("console-{}.bin", std::process::id()));
    let mut command = workspace::command(std::env::current_exe()?);
    command
        .args(["console", &line, "--timeout", "60", "--save"])
        .arg(&save)
        .arg("--elf")
        .arg(build::kernel_elf());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = Tool(command.spawn()?);
    let mut errors = BufReader::new(tool.0.stderr.take().context("no error output")?);
    let mut said = String::new();
    errors.read_line(&mut said)?;
    ensure!(said.contains("115200 8N1"), "{said}");

    // The line is raw from here on. What the machine says goes to it, and what is typed to the
    // machine.
    let mut config = bench.config();
    config.arguments = "log=defmt noguest".into();
    let (sender, events) = mpsc::channel();
    let mut machine = Machine::start(&config, sender.clone())?;
    let mut to_line = master;
    let mut from_line = to_line.try_clone()?;
    thread::spawn(move || {
        let mut buffer = [0; 256];
        // An error says that the tool has left.
        while let Ok(count) = from_line.read(&mut buffer) {
            if count == 0 || sender.send(Event::Input(buffer[..count].to_vec())).is_err() {
                break;
            }
        }
        let _ = sender.send(Event::SerialEnd);
    });
    let carrier = thread::spawn(move || {
        for event in events {
            let carried = match event {
                Event::Serial(bytes) => to_line.write_all(&bytes).is_ok(),
                Event::Input(bytes) => machine.send(&bytes).is_ok(),
                Event::SerialEnd => false,
            };
            // Either end has gone; the machine ends with this thread.
            if !carried {
                break;
            }
        }
    });
    let mut output = tool.0.stdout.take().context("no output")?;
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    let mut typed = tool.0.stdin.take();
    loop {
        let count = output.read(&mut buffer)?;
        shown.extend_from_slice(&buffer[..count]);
        if count == 0 || shown.windows(25).any(|part| part == b"bale: stopped: a panic in") {
            break;
        }
        if shown.windows(6).any(|part| part == b"bale> ")
            && let Some(mut keys) = typed.take()
        {
            keys.write_all(b"crash panic\n")?;
        }
    }
    drop(tool);
    carrier.join().map_err(|_| anyhow!("the line broke"))?;
    let saved = fs::read(&save)?;
    fs::remove_file(&save)?;
    let shown = String::from_utf8_lossy(&shown);
    for wanted in
        ["cores online after", " info] ", "bale_monitor::shell::tools::crash at ", "#0 +0x"]
    {
        ensure!(shown.contains(wanted), "it does not show `{wanted}`:\n{shown}");
    }
    ensure!(!shown.contains('\0'), "a frame was shown as it is");
    let saved = String::from_utf8_lossy(&saved);
    ensure!(saved.contains('\0') && saved.contains("#0 +0x"), "not every byte was saved");
    ensure!(!saved.contains("shell::tools::crash"), "what was saved was explained");
    Ok(())
}
