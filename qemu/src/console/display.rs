//! What the user sees of the stream: text as it comes, decoded log lines between its lines,
//! explanations below them.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use bale_core::console::{MARK, STOPPED};

use crate::log::Decoder;
use crate::stream::{Part, Splitter};

/// What the user sees.
pub(super) struct Display<'a> {
    decoder: Option<&'a Decoder>,
    /// Takes every byte as it came, for `cargo bale log --decode`.
    save: Option<File>,
    splitter: Splitter,
    /// The line that has begun, for instance the prompt and what was typed: drawn anew behind a log
    /// line.
    line: Vec<u8>,
    terminal: bool,
    /// Why the kernel stopped, once it has.
    pub(super) stopped: Option<String>,
}

impl<'a> Display<'a> {
    pub(super) fn new(decoder: Option<&'a Decoder>, save: Option<File>) -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            decoder,
            save,
            splitter: Splitter::default(),
            line: Vec::new(),
            terminal,
            stopped: None,
        }
    }

    pub(super) fn show(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(save) = &mut self.save {
            save.write_all(bytes).context("the session cannot be saved any more")?;
        }
        let mut out = io::stdout().lock();
        for part in self.splitter.push(bytes) {
            match part {
                // A shell runs: no guest has the line to itself.
                Part::Guest(_) => {}
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
                    let log = match self.decoder {
                        Some(decoder) => decoder.frame(&frame),
                        None => format!("[a log frame of {} bytes]", frame.len()),
                    };
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
        out.flush()?;
        Ok(())
    }

    fn end_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\r');
        // A guest that has the terminal may print the words, but not the mark before them.
        if let Some((_, mark)) = text.split_once(char::from(MARK))
            && let Some(reason) = mark.strip_prefix(STOPPED)
        {
            self.stopped = Some(reason.to_owned());
        }
        let explained = self.decoder.map(|decoder| decoder.line(text));
        if let Some(more) = explained.as_deref().and_then(|explained| explained.strip_prefix(text))
            && !more.is_empty()
        {
            write!(out, "    {}\r\n", more.trim().replace('\n', "\r\n"))?;
        }
        Ok(())
    }
}
