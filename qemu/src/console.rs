//! A person at the kernel's shell: the terminal passed through, log frames shown between the lines.

use std::io::{self, IsTerminal, Read, Write};
use std::mem::MaybeUninit;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::log::Decoder;
use crate::machine::{Config, Event, Machine};
use crate::stream::{Part, Splitter};

const ESCAPE: u8 = 0x01;
const LEAVE: u8 = b'x';
const STOPPED: &str = "bale: stopped: ";
/// With the input at its end, so much silence means that nothing more will come.
const SILENCE: Duration = Duration::from_secs(5);

/// Runs the machine until it is turned off, the user leaves, or the time is over.
pub(crate) fn run(config: &Config, decoder: &Decoder, limit: Option<Duration>) -> Result<u8> {
    let terminal = io::stdin().is_terminal();
    if terminal {
        eprintln!("bale: Ctrl-A x leaves QEMU, Ctrl-A Ctrl-A sends Ctrl-A");
    }
    let _raw = terminal.then(RawTerminal::new);
    let (sender, events) = mpsc::channel();
    let mut machine = Machine::start(config, sender.clone())?;
    thread::spawn(move || read_input(&sender));
    let started = Instant::now();
    let mut display = Display::new(decoder, io::stdout().is_terminal());
    let mut escape = false;
    let mut input_ended = false;
    loop {
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        let patience = if input_ended { SILENCE } else { Duration::from_secs(3600) };
        match events.recv_timeout(left.map_or(patience, |left| left.min(patience))) {
            Ok(Event::Serial(bytes)) => display.show(&bytes)?,
            Ok(Event::Input(bytes)) if bytes.is_empty() => input_ended = true,
            Ok(Event::Input(bytes)) if terminal => {
                let Some(bytes) = keys(&bytes, &mut escape) else { return Ok(0) };
                machine.send(&bytes)?;
            }
            Ok(Event::Input(bytes)) => machine.send(&bytes)?,
            Ok(Event::SerialEnd) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => match limit {
                Some(limit) if started.elapsed() >= limit => {
                    bail!("time limit of {} s reached; QEMU was ended", limit.as_secs())
                }
                _ if input_ended => bail!("the input has ended and the machine is silent; QEMU was ended"),
                _ => {}
            },
        }
    }
    let (status, complaints) = machine.finish(Duration::from_secs(3))?;
    if let Some(reason) = display.stopped {
        bail!("the machine stopped: {reason}");
    }
    if !status.success() {
        bail!("QEMU ended with {status}: {complaints}");
    }
    Ok(0)
}

fn read_input(events: &Sender<Event>) {
    let mut buffer = [0; 256];
    let mut input = io::stdin().lock();
    loop {
        // An input that cannot be read has ended.
        let count = input.read(&mut buffer).unwrap_or(0);
        if events.send(Event::Input(buffer[..count].to_vec())).is_err() || count == 0 {
            return;
        }
    }
}

/// What of the typed bytes goes to the machine; none when the user leaves.
fn keys(bytes: &[u8], escape: &mut bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match (*escape, byte) {
            (true, LEAVE) => return None,
            (false, ESCAPE) => {
                *escape = true;
                continue;
            }
            _ => out.push(byte),
        }
        *escape = false;
    }
    Some(out)
}

/// What the user sees.
struct Display<'a> {
    decoder: &'a Decoder,
    splitter: Splitter,
    /// The line that has begun, for instance the prompt and what was typed: drawn anew behind a log line.
    line: Vec<u8>,
    terminal: bool,
    stopped: Option<String>,
}

impl<'a> Display<'a> {
    fn new(decoder: &'a Decoder, terminal: bool) -> Self {
        Self { decoder, splitter: Splitter::default(), line: Vec::new(), terminal, stopped: None }
    }

    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for part in self.splitter.push(bytes) {
            match part {
                Part::Text(text) => {
                    for &byte in &text {
                        if self.terminal || byte != b'\r' {
                            out.write_all(&[byte])?;
                        }
                        if byte == b'\n' {
                            self.end_line(&mut out)?;
                        } else {
                            self.line.push(byte);
                        }
                    }
                }
                Part::Frame(frame) => {
                    let log = self.decoder.frame(&frame);
                    match (self.terminal, self.line.is_empty()) {
                        (true, _) => {
                            write!(out, "\r\x1b[K\x1b[2m{log}\x1b[0m\r\n")?;
                            out.write_all(&self.line)?;
                        }
                        (false, true) => writeln!(out, "{log}")?,
                        (false, false) => {
                            writeln!(out, "\n{log}")?;
                            out.write_all(&self.line)?;
                        }
                    }
                }
            }
        }
        out.flush()
    }

    fn end_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\r');
        if let Some(reason) = text.strip_prefix(STOPPED) {
            self.stopped = Some(reason.to_owned());
        }
        let explained = self.decoder.line(text);
        if let Some(more) = explained.strip_prefix(text)
            && !more.is_empty()
        {
            write!(out, "    {}\r\n", more.trim().replace('\n', "\r\n"))?;
        }
        Ok(())
    }
}

/// The terminal in raw mode, until dropped.
struct RawTerminal {
    before: Option<libc::termios>,
}

impl RawTerminal {
    fn new() -> Self {
        let mut settings = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: fills the settings in, or fails.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, settings.as_mut_ptr()) } != 0 {
            return Self { before: None };
        }
        // SAFETY: filled in above.
        let before = unsafe { settings.assume_init() };
        let mut raw = before;
        // SAFETY: changes a copy of valid settings.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        // SAFETY: valid settings for our own terminal.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw const raw) };
        Self { before: Some(before) }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: the settings that the terminal had.
            unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::keys;

    #[test]
    fn the_escape_leaves_or_sends_itself() {
        let mut escape = false;
        assert_eq!(keys(b"ab\x01", &mut escape), Some(b"ab".to_vec()));
        assert!(escape);
        assert_eq!(keys(b"\x01c", &mut escape), Some(b"\x01c".to_vec()));
        assert_eq!(keys(b"x\x01x", &mut escape), None);
        let mut escape = false;
        assert_eq!(keys(b"xyz", &mut escape), Some(b"xyz".to_vec()));
    }
}
