//! A board on a serial line.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{self, Sender, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, isatty, tcflush, tcgetattr, tcsetattr,
};

use crate::machine::{Event, Link};

/// Bits a second of every board's UART as its firmware leaves it.
pub(crate) const BAUD: u32 = 115_200;

/// The host's end of a serial line, 8N1 without flow control.
pub(crate) struct Port {
    /// To the thread that writes: a line that takes no bytes would keep whoever writes for ever,
    /// and with it the keys by which the user leaves.
    waiting: SyncSender<Vec<u8>>,
}

/// Pieces of what is typed that wait for a line that takes no bytes; a person types far fewer, and
/// a paste is one.
const WAITING: usize = 256;

impl Port {
    /// Opens the line; what comes goes to `events`.
    ///
    /// # Errors
    /// No such device, no permission, not a serial line, a rate that it has not, or another program
    /// at it.
    pub(crate) fn open(path: &Path, baud: u32, events: Sender<Event>) -> Result<Self> {
        let device = open(path, baud)
            .with_context(|| format!("cannot use the serial line {}", path.display()))?;
        let mut input = device.try_clone()?;
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A send fails once nobody listens any more; no bytes or an error mean that the line
            // was taken away.
            while let Ok(count) = input.read(&mut buffer) {
                if count == 0 || events.send(Event::Serial(buffer[..count].to_vec())).is_err() {
                    break;
                }
            }
            let _ = events.send(Event::SerialEnd);
        });
        let (waiting, pieces) = mpsc::sync_channel::<Vec<u8>>(WAITING);
        thread::spawn(move || {
            let mut device = device;
            for piece in pieces {
                // An error is told by the next piece, which finds nobody here.
                if device.write_all(&piece).and_then(|()| device.flush()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { waiting })
    }
}

fn open(path: &Path, baud: u32) -> Result<File> {
    // Without O_NONBLOCK the open waits for a carrier that three wires do not bring.
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).context("the flags of open")?;
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    let device = match opened.map_err(|error| (error.kind(), error)) {
        Ok(device) => device,
        Err((ErrorKind::NotFound, _)) => {
            bail!(
                "there is no such device; `ls /dev/ttyUSB* /dev/ttyACM*` shows what is plugged in"
            )
        }
        Err((ErrorKind::PermissionDenied, _)) => {
            bail!("you may not open it; `sudo adduser $USER dialout` and a new login allow it")
        }
        Err((_, error)) => return Err(error.into()),
    };
    ensure!(isatty(&device), "it is not a serial line");
    // Two readers would each get half of what comes.
    flock(&device, FlockOperation::NonBlockingLockExclusive)
        .ok()
        .context("another program uses it")?;
    let mut settings = tcgetattr(&device)?;
    settings.make_raw();
    settings.set_speed(baud).ok().with_context(|| format!("it has no rate of {baud} baud"))?;
    settings.control_modes &= !(ControlModes::CSIZE
        | ControlModes::PARENB
        | ControlModes::CSTOPB
        | ControlModes::CRTSCTS);
    settings.control_modes |= ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL;
    let set = tcsetattr(&device, OptionalActions::Now, &settings);
    set.with_context(|| format!("it does not take {baud} baud, 8N1"))?;
    // What came before belongs to nobody.
    tcflush(&device, QueueSelector::IFlush)?;
    fcntl_setfl(&device, fcntl_getfl(&device)? - OFlags::NONBLOCK)?;
    Ok(device)
}

impl Link for Port {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self.waiting.try_send(bytes.to_vec()) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                bail!(
                    "the serial line takes no bytes; {WAITING} pieces of what was typed wait for it already"
                )
            }
            Err(TrySendError::Disconnected(_)) => {
                bail!("the serial line does not take input any more")
            }
        }
    }

    /// A board goes on; only the line can have ended.
    fn finish(&mut self, _patience: Duration) -> Result<String> {
        Ok("the serial line was closed".into())
    }
}
