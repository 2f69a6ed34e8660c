//! Linux under plain QEMU, and what its init says.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::machine::{Config, Event, Machine};

/// What begins each line of our init.
pub(crate) const MARK: &str = "bale-init: ";
const LAST_LINES: usize = 12;

/// The figures that an init printed, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figures(pub(crate) Vec<(String, String)>);

impl Figures {
    /// Reads a console's output. A guest that told of an error, or that did not come to its end, is
    /// an error.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let lines = text.lines().filter_map(|line| line.trim_end().split_once(MARK));
        let figures: Vec<(String, String)> = lines
            .filter_map(|(_, rest)| rest.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        if let Some((_, error)) = figures.iter().find(|(key, _)| key == "error") {
            bail!("the guest's init says: {error}");
        }
        if !figures.iter().any(|(key, _)| key == "done") {
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            bail!("the guest did not come to the end of its work; its last lines:\n{last}");
        }
        Ok(Self(figures))
    }

    /// A figure by name; the last one, if it came several times.
    pub(crate) fn number(&self, key: &str) -> Result<u64> {
        let found = self.0.iter().rev().find(|(name, _)| name == key);
        let (_, value) = found.with_context(|| format!("the guest printed no {key}"))?;
        value.parse().with_context(|| format!("the guest's {key} is no number: {value}"))
    }

    /// All figures of a name that are numbers.
    pub(crate) fn all(&self, key: &str) -> Vec<u64> {
        let found = self.0.iter().filter(|(name, _)| name == key);
        found.filter_map(|(_, value)| value.parse().ok()).collect()
    }
}

/// Runs a machine to its end: all that its console said. `show` gets it as it comes.
pub(crate) fn run(config: &Config, limit: Duration, mut show: impl FnMut(&[u8])) -> Result<String> {
    let (sender, events) = mpsc::channel();
    let mut machine = Machine::start(config, sender)?;
    let end = Instant::now() + limit;
    let mut text = Vec::new();
    loop {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Event::Serial(bytes)) => {
                show(&bytes);
                text.extend(bytes);
            }
            Ok(Event::Input(_)) => {}
            Ok(Event::SerialEnd) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<&str> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
                bail!("the guest took more than {} s; its last lines:\n{last}", limit.as_secs());
            }
        }
    }
    let (status, complaints) = machine.finish(Duration::from_secs(5))?;
    ensure!(status.success(), "QEMU ended with {status}: {complaints}");
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn figures_are_found_among_other_lines() {
        let text = "[    0.1] Linux\r\nbale-init: rounds=1\r\n[ 1.0] xbale-init: rounds=2\r\nbale-init: done=1\r\n";
        let figures = Figures::read(text).expect("good");
        assert_eq!(figures.number("rounds").expect("there"), 2);
        assert!(figures.number("pages").is_err());
    }

    #[test]
    fn an_error_or_a_missing_end_is_an_error() {
        let error = Figures::read("bale-init: error=mount /proc: error 2\nbale-init: done=1\n");
        assert!(error.expect_err("told").to_string().contains("mount /proc"));
        let error = Figures::read("Kernel panic\n").expect_err("no end").to_string();
        assert!(error.contains("Kernel panic"), "{error}");
    }
}
