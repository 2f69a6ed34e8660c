//! `cargo bale guest run`: one guest of any make, its console on this process's, its status this
//! process's.
//!
//! The kernel is started with `guest=NAME`: it runs that machine in place of the shell and gives
//! the guest's bytes out in frames ([`bale_core::relay`]), so that nothing of its own is among
//! them. Two lines frame the guest's life: `\x1eGUEST` and `\x1eSTATUS n`.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use bale_core::console::{MARK, STOPPED};
use bale_core::exit_status;
use bale_core::guest_image::{RAW_LOAD, Raw};
use bale_core::guest_tree::FIRMWARE;

use crate::cli::GuestRunOptions;
use crate::console;
use crate::log::Decoder;
use crate::machine::{Config, Event, Link, Machine};
use crate::run::Bundle;
use crate::stream::{Part, Splitter};
use crate::{build, guests, setup};

/// Status if the guest could not be run.
pub(crate) const FAILED: u8 = exit_status::FAILED;
/// Bytes of the machine's memory beside the guest's and the bundle's.
const OWN_MEMORY: u64 = 192 << 20;
/// Lines of Bale's that are kept until something is wrong.
const KEPT: usize = 40;
/// How long QEMU may take to end once the machine has said its last word.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs the guest; its status.
pub(crate) fn run(options: &GuestRunOptions) -> Result<u8> {
    // What no machine can be made from is an error at once, not after a build.
    let load = options.load.unwrap_or(if options.firmware { FIRMWARE } else { RAW_LOAD });
    let place = Raw { load, entry: options.entry.unwrap_or(load) };
    let raw = options.raw || options.firmware || options.load.or(options.entry).is_some();
    let settings = [
        ("memory", options.memory.clone()),
        ("vcpus", options.vcpus.to_string()),
        ("cmdline", options.cmdline.clone()),
        ("testdev", "on".to_owned()),
    ];
    let (files, memory) = guests::alone(
        &options.image,
        options.initrd.as_deref(),
        (place, raw),
        !options.no_semihosting,
        &settings,
    )?;
    setup::qemu(&options.setup)?;
    let built = build::build(&options.setup)?;
    let decoder = Decoder::from_elf(&built.elf)?;
    let mut config = Config::new(built.image.clone());
    config.cores = options.cores.unwrap_or((options.vcpus + 1).min(16));
    config.cpu.clone_from(&options.cpu);
    let content: u64 = files.iter().map(|(_, content)| content.len() as u64).sum();
    config.memory = format!("{}M", (memory + content + OWN_MEMORY).div_ceil(1 << 20));
    config.extra.clone_from(&options.qemu);
    config.arguments = format!("guest={}", guests::OWN);
    if options.no_reboot {
        config.arguments.push_str(" noreboot");
    }
    if options.verbose {
        config.arguments.push_str(" log=defmt");
    }
    let bundle = Bundle::of_files(&files)?;
    config.initrd = Some(bundle.path().to_owned());
    let (sender, events) = mpsc::channel();
    let _raw = console::terminal("leaves QEMU");
    let mut machine = Machine::start(&config, sender.clone())?;
    thread::spawn(move || console::read_input(&sender));
    let limit = options.timeout.map(Duration::from_secs);
    let mut talk = Talk::new(&decoder, options.verbose);
    let ended = talk.until_end(&mut machine, &events, limit)?;
    match ended {
        End::Status(status) => Ok(status),
        End::Left => Ok(0),
        End::TimedOut(limit) => {
            talk.show_kept();
            eprintln!("bale: time limit of {} s reached; the guest was ended", limit.as_secs());
            Ok(exit_status::TIMED_OUT)
        }
        End::Closed => {
            talk.show_kept();
            let complaints = Link::finish(&mut machine, PATIENCE)?;
            match talk.stopped {
                Some(reason) => bail!("the machine stopped: {reason}"),
                None => bail!("the machine ended before the guest did: {complaints}"),
            }
        }
    }
}

/// How it came to an end.
enum End {
    /// The guest's.
    Status(u8),
    /// The user left.
    Left,
    /// The time was over.
    TimedOut(Duration),
    /// QEMU ended.
    Closed,
}

/// What goes to and fro.
struct Talk<'a> {
    decoder: &'a Decoder,
    splitter: Splitter,
    /// The line of Bale's that has begun.
    line: Vec<u8>,
    /// Lines from before the guest's start.
    kept: VecDeque<String>,
    verbose: bool,
    /// The guest runs: lines are shown from here on.
    begun: bool,
    status: Option<u8>,
    stopped: Option<String>,
}

impl<'a> Talk<'a> {
    fn new(decoder: &'a Decoder, verbose: bool) -> Self {
        Self {
            decoder,
            splitter: Splitter::with_guest(),
            line: Vec::new(),
            kept: VecDeque::new(),
            verbose,
            begun: false,
            status: None,
            stopped: None,
        }
    }

    fn until_end(
        &mut self,
        link: &mut dyn Link,
        events: &Receiver<Event>,
        limit: Option<Duration>,
    ) -> Result<End> {
        const FOREVER: Duration = Duration::from_secs(3600);
        let terminal = io::stdin().is_terminal();
        let started = Instant::now();
        let mut escape = false;
        loop {
            if let Some(status) = self.status {
                return Ok(End::Status(status));
            }
            let left = limit.map_or(FOREVER, |limit| limit.saturating_sub(started.elapsed()));
            if let Some(limit) = limit.filter(|_| left.is_zero()) {
                return Ok(End::TimedOut(limit));
            }
            match events.recv_timeout(left) {
                Ok(Event::Serial(bytes)) => self.serial(&bytes)?,
                Ok(Event::Input(bytes)) if terminal => {
                    let Some(bytes) = console::keys(&bytes, &mut escape) else {
                        return Ok(End::Left);
                    };
                    link.send(&bytes)?;
                }
                // The end of the input is none for the guest: a wire has no such thing.
                Ok(Event::Input(bytes)) => link.send(&bytes)?,
                Ok(Event::SerialEnd) | Err(RecvTimeoutError::Disconnected) => {
                    return Ok(End::Closed);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn serial(&mut self, bytes: &[u8]) -> Result<()> {
        for part in self.splitter.push(bytes) {
            match part {
                Part::Guest(bytes) => {
                    let mut out = io::stdout().lock();
                    let written = out.write_all(&bytes).and_then(|()| out.flush());
                    written.map_err(|error| {
                        anyhow!("the guest's output goes nowhere any more: {error}")
                    })?;
                }
                Part::Frame(frame) => self.say(self.decoder.frame(&frame)),
                Part::Text(text) => {
                    for byte in text {
                        if byte == b'\n' {
                            self.end_line()?;
                        } else {
                            self.line.push(byte);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\r');
        if let Some((_, marker)) = text.split_once(char::from(MARK)) {
            if let Some(reason) = marker.strip_prefix(STOPPED) {
                self.stopped = Some(reason.to_owned());
                return Ok(());
            }
            match marker.trim().split_once(' ') {
                None => self.begun = true,
                Some((_, status)) => {
                    let status = status.parse().ok();
                    ensure!(status.is_some(), "the machine gave no status that is one: {marker}");
                    if status == Some(FAILED) {
                        self.show_kept();
                    }
                    self.status = status;
                }
            }
            return Ok(());
        }
        self.say(self.decoder.line(text));
        Ok(())
    }

    /// A line of Bale's: what it says as it boots is shown only if something is wrong.
    fn say(&mut self, line: String) {
        if self.begun || self.verbose {
            // The terminal may be raw.
            eprint!("bale: {line}\r\n");
            return;
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    fn show_kept(&mut self) {
        for line in std::mem::take(&mut self.kept) {
            eprint!("bale: {line}\r\n");
        }
    }
}
