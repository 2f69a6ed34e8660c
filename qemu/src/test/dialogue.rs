//! A machine at whose shell a test asks one thing after the other, and goes on once it has seen
//! what it waits for: how long that takes is the host's business.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::Value;

use super::{Bench, MACHINE_LIMIT};
use crate::machine::Config;
use crate::script::{Line, Session};

/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(100);

/// A machine that runs, and all that it has said.
pub(super) struct Dialogue<'a> {
    session: Session<'a>,
    said: &'a RefCell<Vec<String>>,
}

impl Bench<'_> {
    /// Starts a machine, talks with it, and turns it off. A failure comes with all that was said.
    pub(super) fn talk(
        &self,
        config: &Config,
        talk: impl FnOnce(&mut Dialogue<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let said: RefCell<Vec<String>> = RefCell::default();
        let mut show = |line: &Line| match line {
            Line::Text(text) | Line::Log(text) => said.borrow_mut().push(text.clone()),
        };
        let outcome = Session::start(config, Some(self.decoder), MACHINE_LIMIT, &mut show)
            .map_err(|failure| failure.to_string())
            .and_then(|session| {
                let mut dialogue = Dialogue { session, said: &said };
                talk(&mut dialogue)?;
                dialogue.session.power_off().map_err(|failure| failure.to_string())
            });
        outcome.map_err(|why| format!("{why}\n{}", said.borrow().join("\n")))
    }
}

impl Dialogue<'_> {
    /// Runs a command; the lines that came since the one before, and whether it was refused.
    fn run(&mut self, command: &str) -> Result<(Vec<String>, bool), String> {
        let before = self.said.borrow().len();
        self.session.command(command).map_err(|failure| failure.to_string())?;
        let lines = self.said.borrow()[before..].to_vec();
        let refused = lines.iter().any(|line| line.starts_with("error: "));
        Ok((lines, refused))
    }

    /// Runs a command that is not refused; the lines that came since the one before.
    pub(super) fn ask(&mut self, command: &str) -> Result<Vec<String>, String> {
        match self.run(command)? {
            (lines, false) => Ok(lines),
            (_, true) => Err(format!("`{command}` was refused")),
        }
    }

    /// Runs a command that is refused; what it says.
    pub(super) fn refused(&mut self, command: &str) -> Result<Vec<String>, String> {
        match self.run(command)? {
            (lines, true) => Ok(lines),
            (_, false) => Err(format!("`{command}` was not refused")),
        }
    }

    /// Runs commands, one after the other, of which none is refused.
    pub(super) fn ask_all(&mut self, commands: &[&str]) -> Result<(), String> {
        commands.iter().try_for_each(|command| self.ask(command).map(drop))
    }

    /// What a command says as JSON.
    pub(super) fn figures(&mut self, command: &str) -> Result<Value, String> {
        let lines = self.ask(&format!("{command} --json"))?;
        let figures = lines.iter().find_map(|line| serde_json::from_str(line).ok());
        figures.ok_or_else(|| format!("`{command}` has no figures"))
    }

    /// Asks for figures again and again until they are so.
    pub(super) fn until(
        &mut self,
        command: &str,
        mut so: impl FnMut(&Value) -> bool,
    ) -> Result<Value, String> {
        loop {
            let figures = self.figures(command)?;
            if so(&figures) {
                return Ok(figures);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits for a line that begins like this, which comes by itself, or has come.
    pub(super) fn until_said(&mut self, start: &str) -> Result<String, String> {
        loop {
            let found = self.said.borrow().iter().find(|line| line.starts_with(start)).cloned();
            if let Some(line) = found {
                return Ok(line);
            }
            std::thread::sleep(PAUSE);
            // What came meanwhile is taken with the answer, which is none.
            self.ask("")?;
        }
    }

    /// A line that begins like this has come.
    pub(super) fn has_said(&self, start: &str) -> bool {
        self.said.borrow().iter().any(|line| line.starts_with(start))
    }

    /// How often this line has come.
    pub(super) fn count_said(&self, text: &str) -> usize {
        self.said.borrow().iter().filter(|line| *line == text).count()
    }

    /// Everything that was freed is back, and nothing is stored any more.
    pub(super) fn nothing_is_left(&mut self) -> Result<(), String> {
        self.ask("drain flush")?;
        let objects = self.figures("pool")?["objects"].as_u64();
        if objects == Some(0) { Ok(()) } else { Err(format!("{objects:?} objects are left")) }
    }
}

/// Fails with this text unless it holds.
pub(super) fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
