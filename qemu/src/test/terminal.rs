//! A machine whose serial line a test types at, as a person does: with echo and prompts.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::Bench;
use crate::machine::{Config, Event, Machine};

const PROMPT: &str = "bale> ";
/// For one thing to come.
const LIMIT: Duration = Duration::from_secs(120);

/// A machine whose serial line is typed at.
pub(super) struct Terminal {
    machine: Machine,
    events: Receiver<Event>,
    /// What came and was not looked at yet.
    said: Vec<u8>,
}

impl Terminal {
    /// One at its first prompt, with a screen of so many rows.
    pub(super) fn start(bench: &Bench<'_>, rows: u32) -> Result<Self> {
        Self::with(bench, |config| config.arguments = format!("noguest rows={rows}"))
    }

    pub(super) fn with(bench: &Bench<'_>, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut terminal = Self::silent(bench, change)?;
        terminal.prompt()?;
        Ok(terminal)
    }

    /// One that may not have said anything yet.
    pub(super) fn silent(bench: &Bench<'_>, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut config = bench.config();
        config.cores = 2;
        change(&mut config);
        let (sender, events) = mpsc::channel();
        let machine = Machine::start(&config, sender)?;
        Ok(Self { machine, events, said: Vec::new() })
    }

    pub(super) fn send(&mut self, keys: &[u8]) -> Result<()> {
        self.machine.send(keys)?;
        Ok(())
    }

    /// Sends keys again and again, a second apart, until this has come; what came up to its end.
    pub(super) fn insist(&mut self, keys: &[u8], text: &str) -> Result<String> {
        for _ in 0..LIMIT.as_secs() {
            self.send(keys)?;
            if let Ok(said) = self.wait_for(text, Duration::from_secs(1)) {
                return Ok(said);
            }
        }
        self.wait(text)
    }

    /// Waits until this has come; what came up to its end.
    pub(super) fn wait(&mut self, text: &str) -> Result<String> {
        self.wait_for(text, LIMIT)
    }

    fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        let until = Instant::now() + limit;
        loop {
            let found = self.said.windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(at) = found {
                let before: Vec<u8> = self.said.drain(..at + text.len()).collect();
                return Ok(String::from_utf8_lossy(&before).into_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Serial(bytes)) => self.said.extend_from_slice(&bytes),
                Ok(_) => {}
                Err(_) => {
                    return Err(anyhow!(
                        "`{text}` did not come:\n{}",
                        String::from_utf8_lossy(&self.said)
                    ));
                }
            }
        }
    }

    /// Waits for the next prompt; what came up to it.
    pub(super) fn prompt(&mut self) -> Result<String> {
        self.wait(PROMPT)
    }

    /// Types a line; what came from its echo to the next prompt.
    pub(super) fn line(&mut self, line: &str) -> Result<String> {
        self.send(line.as_bytes())?;
        self.send(b"\r")?;
        self.wait("\n")?;
        self.prompt()
    }
}
