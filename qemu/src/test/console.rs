//! `cargo bale console` at a pseudo-terminal behind which a machine runs: the log decoded, a backtrace resolved, every byte saved.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::Bench;
use super::report::{Case, Outcome};
use crate::build;
use crate::machine::{Event, Machine};
use crate::workspace;

pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    let run = move || Outcome::of(crash_is_explained(bench).map_err(|error| format!("{error:#}")));
    vec![Case { name: "console::log_and_backtrace_on_a_line".into(), run: Box::new(run) }]
}

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
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let line = ptsname(&master, Vec::new())?.into_string()?;
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

    // The line is raw from here on. What the machine says goes to it, and what is typed to the machine.
    let mut config = bench.config();
    config.arguments = "log=defmt noguest".into();
    let (sender, events) = mpsc::channel();
    let mut machine = Machine::start(&config, sender.clone())?;
    let mut to_line = File::from(master);
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
    for wanted in ["cores online after", " info] ", "bale_monitor::shell::tools::crash at ", "#0 +0x"] {
        ensure!(shown.contains(wanted), "it does not show `{wanted}`:\n{shown}");
    }
    ensure!(!shown.contains('\0'), "a frame was shown as it is");
    let saved = String::from_utf8_lossy(&saved);
    ensure!(saved.contains('\0') && saved.contains("#0 +0x"), "not every byte was saved");
    ensure!(!saved.contains("shell::tools::crash"), "what was saved was explained");
    Ok(())
}
