//! Commands at the kernel's shell, with nobody at the keyboard.
//!
//! With boot argument `exec` the kernel's shell neither echoes nor edits. It prints RS (0x1E)
//! `READY` before the first prompt and RS `STATUS n` after each command. A fatal stop is RS `bale:
//! stopped: REASON`. Nothing else sends an RS, a guest least of all.

use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;
use bale_core::console::{MARK, STOPPED};

use crate::log::Decoder;
use crate::machine::{Config, Event, Link, Machine};
use crate::stream::{Part, Splitter};

const PROMPT: &str = "bale> ";
/// How long QEMU may take to end once the machine has said its last word.
const PATIENCE: Duration = Duration::from_secs(3);
/// Ctrl-C, which drops a line that was begun.
const INTERRUPT: &[u8] = b"\x03";
/// A board that runs answers within this time; one that is started at the same time as well.
const ANSWER: Duration = Duration::from_secs(30);
/// So long a running board says nothing between two things that belong together.
const SILENCE: Duration = Duration::from_millis(200);

/// A line of what the machine says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Text.
    Text(String),
    /// A decoded log frame.
    Log(String),
}

/// Why a script did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The kernel stopped and said why.
    Stopped(String),
    /// QEMU ended, or the line to the board did.
    Ended(String),
    /// The time was over while this was going on.
    TimedOut(Duration, String),
    /// The machine could not be started or talked to.
    Host(anyhow::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(reason) => write!(f, "the machine stopped: {reason}"),
            Self::Ended(complaints) if complaints.is_empty() => {
                f.write_str("the machine ended before the script did")
            }
            Self::Ended(complaints) => {
                write!(f, "the machine ended before the script did: {complaints}")
            }
            Self::TimedOut(limit, what) => {
                write!(f, "time limit of {} s reached while waiting for {what}", limit.as_secs())
            }
            Self::Host(error) => write!(f, "{error:#}"),
        }
    }
}

/// A machine that runs a script.
pub(crate) struct Session<'a> {
    machine: Box<dyn Link>,
    events: Receiver<Event>,
    lines: Lines<'a>,
    started: Instant,
    limit: Duration,
    show: &'a mut dyn FnMut(&Line),
}

impl<'a> Session<'a> {
    /// Starts the machine and waits for its shell. `config.arguments` must hold `exec`.
    pub(crate) fn start(
        config: &Config,
        decoder: Option<&'a Decoder>,
        limit: Duration,
        show: &'a mut dyn FnMut(&Line),
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let (sender, events) = mpsc::channel();
        let machine = Machine::start(config, sender).map_err(Failure::Host)?;
        let lines = Lines::new(decoder);
        let mut session = Self { machine: Box::new(machine), events, lines, started, limit, show };
        session.wait_for("the shell", |marker| (marker == "READY").then_some(()))?;
        Ok(session)
    }

    /// Joins a machine that may have been running for long: ends what is typed, and waits until it
    /// has answered that and is silent. `limit` is that of the whole session.
    pub(crate) fn attach(
        machine: Box<dyn Link>,
        events: Receiver<Event>,
        limit: Duration,
        show: &'a mut dyn FnMut(&Line),
    ) -> Result<Self, Failure> {
        let lines = Lines::new(None);
        let first = limit.min(ANSWER);
        let mut session =
            Self { machine, events, lines, started: Instant::now(), limit: first, show };
        session.machine.send(INTERRUPT).map_err(Failure::Host)?;
        session.next(
            "an answer of the board's shell, which must be started with the argument `exec`",
        )?;
        session.limit = limit;
        // A board that was just starting says READY and then answers the interrupt.
        while let Ok(event) = session.events.recv_timeout(SILENCE) {
            if let Event::Serial(bytes) = event {
                session.lines.push(&bytes);
            }
            if session.elapsed() >= limit {
                return Err(Failure::TimedOut(limit, "the board to be silent".into()));
            }
        }
        session.lines.finish();
        while let Some(item) = session.lines.pop() {
            if let Item::Line(line) = item {
                (session.show)(&line);
            }
        }
        Ok(session)
    }

    /// Time since QEMU was started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs one command; its status.
    pub(crate) fn command(&mut self, command: &str) -> Result<u8, Failure> {
        self.machine.send(format!("{command}\n").as_bytes()).map_err(Failure::Host)?;
        self.wait_for(&format!("`{command}`"), |marker| {
            let status: u32 = marker.strip_prefix("STATUS ")?.trim().parse().ok()?;
            Some(u8::try_from(status).unwrap_or(u8::MAX))
        })
    }

    /// Turns the machine off.
    pub(crate) fn power_off(mut self) -> Result<(), Failure> {
        self.machine.send(b"poweroff\n").map_err(Failure::Host)?;
        loop {
            match self.next("`poweroff`") {
                Ok(_) => {}
                Err(Failure::Ended(complaints)) if complaints.is_empty() => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    }

    fn wait_for<T>(
        &mut self,
        what: &str,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        loop {
            if let Some(found) = wanted(&self.next(what)?) {
                return Ok(found);
            }
        }
    }

    /// The next marker; lines before it are shown.
    fn next(&mut self, what: &str) -> Result<String, Failure> {
        loop {
            while let Some(item) = self.lines.pop() {
                match item {
                    Item::Marker(marker) => {
                        let Some(reason) = marker.strip_prefix(STOPPED) else { return Ok(marker) };
                        let reason = reason.to_owned();
                        (self.show)(&Line::Text(marker));
                        self.machine.finish(PATIENCE).map_err(Failure::Host)?;
                        return Err(Failure::Stopped(reason));
                    }
                    Item::Line(line) => (self.show)(&line),
                }
            }
            let left = self.limit.saturating_sub(self.started.elapsed());
            // A machine that never stops talking is out of time as well.
            let event = if left.is_zero() {
                Err(RecvTimeoutError::Timeout)
            } else {
                self.events.recv_timeout(left)
            };
            match event {
                Ok(Event::Serial(bytes)) => self.lines.push(&bytes),
                Ok(Event::Input(_)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.lines.finish();
                    while let Some(Item::Line(line)) = self.lines.pop() {
                        (self.show)(&line);
                    }
                    for line in self.machine.cores().lines() {
                        let line = self
                            .lines
                            .decoder
                            .map_or_else(|| line.to_owned(), |decoder| decoder.line(line));
                        (self.show)(&Line::Text(line));
                    }
                    return Err(Failure::TimedOut(self.limit, what.to_owned()));
                }
                Ok(Event::SerialEnd) | Err(RecvTimeoutError::Disconnected) => {
                    if self.lines.finish() {
                        continue;
                    }
                    return Err(Failure::Ended(
                        self.machine.finish(PATIENCE).map_err(Failure::Host)?,
                    ));
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Item {
    Line(Line),
    Marker(String),
}

/// The stream as lines.
struct Lines<'a> {
    decoder: Option<&'a Decoder>,
    splitter: Splitter,
    current: Vec<u8>,
    items: std::collections::VecDeque<Item>,
}

impl<'a> Lines<'a> {
    fn new(decoder: Option<&'a Decoder>) -> Self {
        Self {
            decoder,
            splitter: Splitter::default(),
            current: Vec::new(),
            items: std::collections::VecDeque::new(),
        }
    }

    fn pop(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    fn push(&mut self, bytes: &[u8]) {
        for part in self.splitter.push(bytes) {
            match part {
                Part::Frame(frame) => {
                    if let Some(decoder) = self.decoder {
                        self.items.push_back(Item::Line(Line::Log(decoder.frame(&frame))));
                    }
                }
                // A shell runs: no guest has the line to itself.
                Part::Guest(_) => {}
                Part::Text(text) => {
                    for byte in text {
                        if byte == b'\n' {
                            self.end_line();
                        } else {
                            self.current.push(byte);
                        }
                    }
                }
            }
        }
    }

    /// Ends a line that has begun; whether there was one.
    fn finish(&mut self) -> bool {
        let begun = !self.current.is_empty();
        if begun {
            self.end_line();
        }
        begun
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.current);
        let text = String::from_utf8_lossy(&bytes);
        let mut text = text.trim_end_matches('\r');
        while let Some(rest) = text.strip_prefix(PROMPT) {
            text = rest;
        }
        // A marker ends the line that it interrupts.
        let (before, marker) = match text.split_once(char::from(MARK)) {
            Some((before, marker)) => (before, Some(marker)),
            None => (text, None),
        };
        if marker.is_none() || !before.is_empty() {
            let line =
                self.decoder.map_or_else(|| before.to_owned(), |decoder| decoder.line(before));
            self.items.push_back(Item::Line(Line::Text(line)));
        }
        if let Some(marker) = marker {
            self.items.push_back(Item::Marker(marker.trim().to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, Line, Lines};

    fn items(pieces: &[&[u8]]) -> Vec<Item> {
        let mut lines = Lines::new(None);
        pieces.iter().for_each(|piece| lines.push(piece));
        lines.finish();
        std::iter::from_fn(|| lines.pop()).collect()
    }

    fn text(text: &str) -> Item {
        Item::Line(Line::Text(text.into()))
    }

    #[test]
    fn markers_and_lines() {
        let found =
            items(&[b"hello\r\n\x1eREADY\r\nbale> pool: 0\r\n\x1eSTA", b"TUS 1\r\nbale> last"]);
        let marker = |text: &str| Item::Marker(text.into());
        assert_eq!(
            found,
            [text("hello"), marker("READY"), text("pool: 0"), marker("STATUS 1"), text("last")]
        );
    }

    #[test]
    fn a_stop_without_its_mark_is_text() {
        let stop = "bale: stopped: a panic";
        assert_eq!(items(&[stop.as_bytes()]), [text(stop)]);
        assert_eq!(items(&[b"\x1e", stop.as_bytes()]), [Item::Marker(stop.into())]);
    }

    #[test]
    fn a_marker_behind_text_ends_that_line() {
        assert_eq!(
            items(&[b"no newline\x1eSTATUS 0\n"]),
            [text("no newline"), Item::Marker("STATUS 0".into())]
        );
    }
}
