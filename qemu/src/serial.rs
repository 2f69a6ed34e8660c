//! A board on a serial line.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, isatty, speed, tcflush, tcgetattr, tcsetattr,
};

use crate::machine::{Event, Link};

/// The board's end of a serial line, 115200 8N1 without flow control.
pub(crate) struct Port {
    device: File,
}

impl Port {
    /// Opens the line; what comes goes to `events`.
    pub(crate) fn open(path: &Path, events: Sender<Event>) -> Result<Self> {
        let device = open(path).with_context(|| format!("cannot use the serial line {}", path.display()))?;
        let mut input = device.try_clone()?;
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A send fails once nobody listens any more; no bytes or an error mean that the line was taken away.
            while let Ok(count) = input.read(&mut buffer) {
                if count == 0 || events.send(Event::Serial(buffer[..count].to_vec())).is_err() {
                    break;
                }
            }
            let _ = events.send(Event::SerialEnd);
        });
        Ok(Self { device })
    }
}

fn open(path: &Path) -> Result<File> {
    // Without O_NONBLOCK the open waits for a carrier that three wires do not bring.
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).context("the flags of open")?;
    let device = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    ensure!(isatty(&device), "it is not a serial line");
    let mut settings = tcgetattr(&device)?;
    settings.make_raw();
    settings.set_speed(speed::B115200)?;
    settings.control_modes &=
        !(ControlModes::CSIZE | ControlModes::PARENB | ControlModes::CSTOPB | ControlModes::CRTSCTS);
    settings.control_modes |= ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL;
    tcsetattr(&device, OptionalActions::Now, &settings)?;
    // What came before belongs to nobody.
    tcflush(&device, QueueSelector::IFlush)?;
    fcntl_setfl(&device, fcntl_getfl(&device)? - OFlags::NONBLOCK)?;
    Ok(device)
}

impl Link for Port {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = self.device.write_all(bytes).and_then(|()| self.device.flush());
        sent.context("the serial line does not take input any more")
    }

    /// A board goes on; only the line can have ended.
    fn finish(&mut self, _patience: Duration) -> Result<String> {
        Ok("the serial line was closed".into())
    }
}
