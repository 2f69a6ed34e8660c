//! `bale.toml`, what a user of a board may say about the boot: TOML 1.1 with these keys, each of
//! which may be missing.
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `arguments` | `"log=defmt"` | boot arguments, as QEMU's `-append` gives them |
//! | `console` | `[0x040d_0000, 330]` | address and GIC interrupt number of a PL011, in place of the one that the tables name |
//! | `cores` | `4` | cores to use at most, the boot core among them |
//! | `guests` | `["linux"]` | guests of the bundle that are started, in place of the small one |
//! | `commands` | `["board report", "mem"]` | commands that the shell runs then, also after one that failed |
//!
//! The loader reads it, and `cargo bale image` before, so that a mistake is found where it can be
//! corrected.

mod reader;

use core::fmt::{self, Write as _};

use heapless::{String, Vec};

use crate::device_tree::{COMMANDS, Machine, Uart};

/// Bytes of boot arguments.
const ARGUMENTS: usize = 256;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootConfig {
    /// Boot arguments.
    pub arguments: String<ARGUMENTS>,
    /// The console.
    pub console: Option<Uart>,
    /// Cores at most.
    pub cores: Option<usize>,
    /// Guests to be started; none named, none started.
    pub guests: Option<Vec<String<24>, 4>>,
    /// Commands, a line each.
    pub commands: String<COMMANDS>,
}

/// What is wrong with the file, and in which line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The line.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It is no UTF-8.
    NotText,
    /// It is no TOML; why.
    Syntax(String<64>),
    /// There is no such key.
    Unknown,
    /// The key was there before.
    Twice,
    /// The key wants another value; which.
    Wants(&'static str),
    /// More than there is room for; of what.
    TooMuch(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.problem {
            Problem::NotText => f.write_str("it is not text"),
            Problem::Syntax(why) => f.write_str(why),
            Problem::Unknown => {
                f.write_str("unknown key; known are arguments, console, cores, guests, commands")
            }
            Problem::Twice => f.write_str("the key was there before"),
            Problem::Wants(what) => write!(f, "it wants {what}"),
            Problem::TooMuch(what) => write!(f, "too long: {what}"),
        }
    }
}

/// Reads the file.
///
/// # Errors
/// See [`ConfigError`].
pub fn parse(bytes: &[u8]) -> Result<BootConfig, ConfigError> {
    let text = core::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or(&[]);
        ConfigError { line: line_of(good, good.len()), problem: Problem::NotText }
    })?;
    let config = reader::read(text)?;
    let whole = ConfigError {
        line: line_of(bytes, bytes.len()),
        problem: Problem::TooMuch("guests and commands"),
    };
    config.startup().map_err(|_| whole).map(|_| config)
}

/// The line, from 1, of a place in a text.
fn line_of(text: &[u8], place: usize) -> usize {
    1 + text.iter().take(place).filter(|byte| **byte == b'\n').count()
}

impl BootConfig {
    /// What the shell runs at first, a line each: the guests, then the commands.
    fn startup(&self) -> Result<String<COMMANDS>, fmt::Error> {
        let mut lines = String::new();
        for guest in self.guests.iter().flatten() {
            writeln!(lines, "vm start {guest}")?;
        }
        lines.push_str(&self.commands).map_err(|_| fmt::Error)?;
        Ok(lines)
    }

    /// Changes what the tables said about the machine to what the file says. `boot_core` is the
    /// affinity of the core that is kept whatever the number of cores.
    pub fn apply(&self, machine: &mut Machine, boot_core: u64) {
        machine.bootargs.clone_from(&self.arguments);
        if self.guests.is_some() {
            // `parse` saw to the room; without it the small guest starts beside the others.
            let separator = if machine.bootargs.is_empty() { "" } else { " " };
            let _ = machine
                .bootargs
                .push_str(separator)
                .and_then(|()| machine.bootargs.push_str("noguest"));
        }
        if let Some(console) = self.console {
            machine.uart = console;
        }
        if let Some(most) = self.cores {
            let mut left = most.saturating_sub(1);
            machine.cpus.retain(|cpu| {
                let kept = cpu.affinity == boot_core || left > 0;
                left -= usize::from(kept && cpu.affinity != boot_core);
                kept
            });
        }
        machine.commands = self.startup().unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
