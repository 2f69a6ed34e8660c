//! A person at the kernel's shell, QEMU's or a board's: the terminal passed through, log frames
//! shown between the lines.

mod display;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read};
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::cli::ConsoleOptions;
use crate::log::Decoder;
use crate::machine::{Config, Event, Link, Machine};
use crate::serial::Port;
use display::Display;

const ESCAPE: u8 = 0x01;
const LEAVE: u8 = b'x';
/// With the input at its end, so much silence means that nothing more will come.
const SILENCE: Duration = Duration::from_secs(5);

/// Why a conversation is over.
enum End {
    /// The user left.
    Left,
    /// Nobody is at the other end any more.
    Closed,
    /// The input has ended, and nothing more came for as long as was asked.
    Silent,
    /// The time is over.
    TimedOut(Duration),
}

/// Runs the machine until it is turned off, the user leaves, or the time is over.
pub(crate) fn run(config: &Config, decoder: &Decoder, limit: Option<Duration>) -> Result<u8> {
    let (sender, events) = mpsc::channel();
    let _raw = terminal("leaves QEMU");
    let mut machine = Machine::start(config, sender.clone())?;
    thread::spawn(move || read_input(&sender));
    let mut display = Display::new(Some(decoder), None);
    match talk(&mut machine, &events, &mut display, limit, Some(SILENCE))? {
        End::Left => return Ok(0),
        End::Closed => {}
        End::Silent => bail!("the input has ended and the machine is silent; QEMU was ended"),
        End::TimedOut(limit) => {
            bail!("time limit of {} s reached; QEMU was ended", limit.as_secs())
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

/// `cargo bale console`: the board at a serial line, until the user leaves, the time is over, or
/// the line is gone.
pub(crate) fn serial(options: &ConsoleOptions) -> Result<u8> {
    let decoder = match &options.elf {
        Some(elf) => Some(Decoder::from_elf(elf)?),
        None if build::kernel_elf().exists() => Some(Decoder::from_elf(&build::kernel_elf())?),
        None => {
            eprintln!(
                "bale: no kernel was built here and --elf names none: log and backtraces stay as they come"
            );
            None
        }
    };
    let save = options.save.as_ref().map(|path| {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.with_context(|| format!("cannot save the session to {}", path.display()))
    });
    let save = save.transpose()?;
    let (sender, events) = mpsc::channel();
    let mut port = Port::open(&options.device, options.baud, sender.clone())?;
    let name = options.device.display();
    eprintln!("bale: {name}, {} 8N1", options.baud);
    let _raw = terminal("leaves, the board goes on");
    thread::spawn(move || read_input(&sender));
    let limit = options.timeout.map(Duration::from_secs);
    // Without a limit, an input that has ended is answered and left.
    let silence = if limit.is_some() { None } else { Some(SILENCE) };
    let mut display = Display::new(decoder.as_ref(), save);
    match talk(&mut port, &events, &mut display, limit, silence)? {
        End::Left | End::Silent | End::TimedOut(_) => Ok(0),
        End::Closed => bail!("the serial line {name} is gone; was the adapter taken out?"),
    }
}

/// Makes the user's terminal pass every key, and says how to leave; nothing where there is none.
pub(crate) fn terminal(leaving: &str) -> Option<RawTerminal> {
    io::stdin().is_terminal().then(|| {
        eprintln!("bale: Ctrl-A x {leaving}; Ctrl-A Ctrl-A sends Ctrl-A");
        RawTerminal::new()
    })
}

/// Passes on what is typed and shows what comes.
fn talk(
    link: &mut dyn Link,
    events: &Receiver<Event>,
    display: &mut Display<'_>,
    limit: Option<Duration>,
    silence: Option<Duration>,
) -> Result<End> {
    const FOREVER: Duration = Duration::from_secs(3600);
    let terminal = io::stdin().is_terminal();
    let started = Instant::now();
    let mut escape = false;
    let mut input_ended = false;
    loop {
        let left = limit.map_or(FOREVER, |limit| limit.saturating_sub(started.elapsed()));
        let patience = silence.filter(|_| input_ended).unwrap_or(FOREVER);
        match events.recv_timeout(left.min(patience)) {
            Ok(Event::Serial(bytes)) => display.show(&bytes)?,
            Ok(Event::Input(bytes)) if bytes.is_empty() => input_ended = true,
            Ok(Event::Input(bytes)) if terminal => {
                let Some(bytes) = keys(&bytes, &mut escape) else { return Ok(End::Left) };
                link.send(&bytes)?;
            }
            Ok(Event::Input(bytes)) => link.send(&bytes)?,
            Ok(Event::SerialEnd) | Err(RecvTimeoutError::Disconnected) => return Ok(End::Closed),
            Err(RecvTimeoutError::Timeout) => match limit {
                Some(limit) if started.elapsed() >= limit => return Ok(End::TimedOut(limit)),
                _ if input_ended && silence.is_some() => return Ok(End::Silent),
                _ => {}
            },
        }
    }
}

pub(crate) fn read_input(events: &Sender<Event>) {
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
pub(crate) fn keys(bytes: &[u8], escape: &mut bool) -> Option<Vec<u8>> {
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

/// Lines of the terminal; 0 without one.
pub(crate) fn rows() -> u16 {
    if !std::io::stdin().is_terminal() {
        return 0;
    }
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| size.ws_row)
}

/// The terminal's settings before it was made raw first.
static FOUND: OnceLock<libc::termios> = OnceLock::new();

/// Signals that end this process without anything being dropped, a panic's abort among them; in raw
/// mode Ctrl-C is a key and sends none.
const ENDING: [libc::c_int; 5] =
    [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGABRT];

/// Gives the terminal back and ends as the signal would have.
extern "C" fn on_ending(signal: libc::c_int) {
    if let Some(before) = FOUND.get() {
        // SAFETY: async-signal-safe (POSIX, 2.4.3), with settings that nobody changes any more.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before) };
    }
    // SAFETY: async-signal-safe; from here on the signal does what it does without a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: async-signal-safe. The signal is blocked in its handler, and ends the process behind
    // it.
    unsafe { libc::raise(signal) };
}

/// The terminal in raw mode, until dropped.
pub(crate) struct RawTerminal {
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
        // The terminal is as it was found once and for all, whoever makes it raw again.
        if FOUND.set(before).is_ok() {
            for signal in ENDING {
                // SAFETY: the handler does what handlers may, and is there as long as the process
                // is.
                unsafe {
                    libc::signal(
                        signal,
                        on_ending as extern "C" fn(libc::c_int) as libc::sighandler_t,
                    )
                };
            }
        }
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
