//! Where each core of a QEMU that does not go on is, from its monitor (QEMU's QMP,
//! "docs/interop/qmp-spec").
//!
//! A machine that is out of time may have a guest that spins, a core of ours that does, or an
//! emulator whose own main loop hangs with its lock held: then the monitor is silent too, and that
//! it is silent says which it was.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// How long the monitor may take for one answer; it takes milliseconds where it answers at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines before an answer, at most: events that nobody asked for.
const EVENTS: usize = 256;

/// The place of a monitor's socket, of its own for each machine; removed with it.
pub(crate) struct Socket(PathBuf);

impl Socket {
    /// A path that no other machine of this process, or of another one, has. Short: a socket's may
    /// have 107 bytes.
    pub(crate) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: the number alone counts.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("bale-qmp-{}-{number}", std::process::id())))
    }

    /// What QEMU takes for `-qmp`.
    pub(crate) fn argument(&self) -> String {
        format!("unix:{},server=on,wait=off", self.0.display())
    }

    /// What the monitor says of every core, or that it says nothing.
    pub(crate) fn cores(&self) -> String {
        match ask(&self.0, "info registers -a") {
            Ok(text) => summary(&text),
            Err(why) => format!("QEMU's monitor does not answer: {why:#}\n"),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // There is none where QEMU did not start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The answer to a command of the human monitor.
fn ask(path: &Path, command: &str) -> Result<String> {
    let stream = UnixStream::connect(path).context("no connection")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut stream = stream;
    let mut exchange = |request: Option<Value>| -> Result<Value> {
        if let Some(request) = request {
            writeln!(stream, "{request}")?;
        }
        for _ in 0..EVENTS {
            let line = lines
                .next()
                .context("it has closed the connection")?
                .context("no answer in time")?;
            let value: Value = serde_json::from_str(&line)?;
            if value.get("event").is_none() {
                return Ok(value);
            }
        }
        anyhow::bail!("it tells of events only")
    };
    // Its greeting, then the end of the negotiation.
    exchange(None)?;
    exchange(Some(serde_json::json!({ "execute": "qmp_capabilities" })))?;
    let answer = exchange(Some(
        serde_json::json!({ "execute": "human-monitor-command", "arguments": { "command-line": command } }),
    ))?;
    Ok(answer["return"].as_str().context("it refuses the command")?.to_owned())
}

/// Where QEMU's boot protocol puts our Image, whose `text_offset` is 0.
const IMAGE: u64 = 0x4020_0000;
/// The image and what is linked behind it, at most.
const IMAGE_SIZE: u64 = 8 << 20;

/// Of each core's registers its number, its exception level and where it is. What is in our image
/// has the form of a line of a backtrace, the core's number in the place of the frame's, so that it
/// is resolved as one.
fn summary(text: &str) -> String {
    let mut out = String::from("QEMU's monitor answers:\n");
    let mut core = String::new();
    let mut pc = String::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some(word) if word.starts_with("CPU#") => word[4..].clone_into(&mut core),
            Some(word) if word.starts_with("PC=") => word[3..].clone_into(&mut pc),
            Some(word) if word.starts_with("PSTATE=") => {
                let level = words.find(|word| word.starts_with("EL")).unwrap_or("EL?");
                let offset = u64::from_str_radix(&pc, 16).ok().and_then(|pc| pc.checked_sub(IMAGE));
                let ours = offset.filter(|offset| level.starts_with("EL2") && *offset < IMAGE_SIZE);
                out.push_str(&match ours {
                    Some(offset) => format!("  #{core} +{offset:#x}\n"),
                    None => format!("  #{core} at {level}, pc 0x{pc}\n"),
                });
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::summary;

    /// As QEMU 7.2 prints it.
    #[test]
    fn registers_become_places() {
        let text = "\nCPU#0\n PC=0000000040212340 X00=0000000000000000 X01=0000000000000000\nX02=0 SP=0\nPSTATE=600003c9 -ZC- EL2h\n\
                    \nCPU#1\n PC=ffff800008010000 X00=0\nPSTATE=800003c5 N--- EL1h    FPU disabled\n";
        let out = summary(text);
        assert!(out.contains("  #0 +0x12340\n"), "{out}");
        assert!(out.contains("  #1 at EL1h, pc 0xffff800008010000\n"), "{out}");
    }

    /// Nobody listens: it says so, at once.
    #[test]
    fn a_silent_monitor_is_named() {
        assert!(super::Socket::new().cores().starts_with("QEMU's monitor does not answer"));
    }
}
