//! defmt frames made readable, live or from a captured stream.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use defmt_decoder::{DecodeError, Table};

use crate::build;
use crate::cli::LogOptions;
use crate::stream::{Part, Splitter};
use crate::symbols::Symbols;

/// What makes a kernel's stream readable; all of it comes from the ELF.
pub(crate) struct Decoder {
    table: Table,
    symbols: Symbols,
}

impl Decoder {
    /// Reads the ELF of the kernel that writes the stream.
    pub(crate) fn from_elf(path: &Path) -> Result<Self> {
        let elf = fs::read(path)
            .with_context(|| format!("cannot read the kernel's ELF {}", path.display()))?;
        // One ELF for the whole run of the tool: read once, never given back.
        let elf: &'static [u8] = elf.leak();
        let Some(table) = Table::parse(elf)? else {
            bail!("{} has no defmt section", path.display())
        };
        Ok(Self { table, symbols: Symbols::from_elf(elf)? })
    }

    /// One frame as a line.
    pub(crate) fn frame(&self, frame: &[u8]) -> String {
        let mut decoder = self.table.new_stream_decoder();
        decoder.received(frame);
        decoder.received(&[0]);
        match decoder.decode() {
            Ok(frame) => {
                let time =
                    frame.display_timestamp().map_or_else(String::new, |time| format!("{time} "));
                let level = frame.level().map_or("log", |level| level.as_str());
                format!("[{time}{level}] {}", frame.display_message())
            }
            Err(DecodeError::Malformed | DecodeError::UnexpectedEof) => {
                format!(
                    "[a log frame of {} bytes that this kernel's ELF does not explain]",
                    frame.len()
                )
            }
        }
    }

    /// A line of text, explained where it is part of a backtrace, or holds a frame.
    pub(crate) fn line(&self, line: &str) -> String {
        if let Some(frame) = bytes(line) {
            return self.frame(&frame);
        }
        self.symbols.explain(line).unwrap_or_else(|| line.to_owned())
    }
}

/// The frame in a line of `log dump` or `log last`.
fn bytes(line: &str) -> Option<Vec<u8>> {
    let digits = line.trim_end().strip_prefix(bale_core::log::LINE)?.as_bytes();
    let pairs = digits.chunks(2).map(|pair| Some((pair.first()?, pair.get(1)?)));
    let digit = |digit: u8| char::from(digit).to_digit(16);
    pairs
        .map(|pair| {
            pair.and_then(|(high, low)| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok())
        })
        .collect()
}

/// `cargo bale log`: the stream's text and its log, in the order in which they came.
pub(crate) fn run(options: &LogOptions) -> Result<u8> {
    let elf = options.elf.clone().unwrap_or_else(build::kernel_elf);
    let decoder = Decoder::from_elf(&elf)?;
    let stream = fs::read(&options.decode)
        .with_context(|| format!("cannot read {}", options.decode.display()))?;
    decode(&decoder, &stream, &mut io::stdout().lock())?;
    Ok(0)
}

fn decode(decoder: &Decoder, stream: &[u8], out: &mut impl Write) -> Result<()> {
    let mut splitter = Splitter::default();
    let mut line = Vec::new();
    for part in splitter.push(stream) {
        match part {
            Part::Text(text) => {
                for byte in text {
                    if byte == b'\n' {
                        writeln!(
                            out,
                            "{}",
                            decoder.line(String::from_utf8_lossy(&line).trim_end_matches('\r'))
                        )?;
                        line.clear();
                    } else {
                        line.push(byte);
                    }
                }
            }
            // Only a machine that serves one guest alone sends those.
            Part::Guest(_) => {}
            Part::Frame(frame) => writeln!(out, "{}", decoder.frame(&frame))?,
        }
    }
    if !line.is_empty() {
        writeln!(out, "{}", decoder.line(&String::from_utf8_lossy(&line)))?;
    }
    if let Some(rest) = splitter.finish() {
        writeln!(out, "[the stream ends inside a log frame, after {} bytes of it]", rest.len())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn frames_come_out_of_lines() {
        assert_eq!(bytes("defmt:00ff5A\r"), Some(vec![0, 255, 0x5a]));
        assert_eq!(bytes("defmt:"), Some(vec![]));
        for line in
            ["", "defmt", "defmt:0", "defmt:0g", "defmt:+1", "defmt:ää", " defmt:00", "defmt:00 0"]
        {
            assert_eq!(bytes(line), None, "{line}");
        }
    }
}
