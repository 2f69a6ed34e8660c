//! A guest's console: line by line with the machine's name in front, or the whole terminal while it is attached.

use core::sync::atomic::{AtomicBool, Ordering};

use heapless::String;

use super::{SLOTS, Slot, State};
use bale_io::{print, println};
use bale_rt::sync::Lock;

/// Bytes of a line that are kept until its end.
const LINE: usize = 160;

/// What a guest has written, and whether the terminal is its own.
pub(super) struct Console {
    line: Lock<String<LINE>>,
    attached: AtomicBool,
}

impl Console {
    pub(super) const fn new() -> Self {
        Self { line: Lock::new(String::new()), attached: AtomicBool::new(false) }
    }

    pub(super) fn reset(&self) {
        self.line.lock().clear();
        self.attached.store(false, Ordering::Relaxed);
    }

    /// A byte from the guest. Only an attached guest may speak to the terminal; of others control characters are left
    /// out, and what is no ASCII becomes a dot.
    pub(super) fn put(&self, slot: usize, byte: u8) {
        if self.attached.load(Ordering::Relaxed) {
            if matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0x07 | 0x08 | 0x1b) {
                print!("{}", char::from(byte));
            }
            return;
        }
        let done = {
            let mut line = self.line.lock();
            let end = match byte {
                b'\n' => true,
                b' '..=b'~' => line.push(char::from(byte)).is_err(),
                b'\t' => line.push(' ').is_err(),
                0..=0x1f | 0x7f => false,
                _ => line.push('.').is_err(),
            };
            // A byte that found no room ends the line and is lost with it only if it was the line's end anyway.
            let done = end.then(|| core::mem::take(&mut *line));
            if end && byte != b'\n' {
                let _ = line.push(if (b' '..=b'~').contains(&byte) { char::from(byte) } else { '.' });
            }
            done
        };
        if let Some(text) = done {
            println!("[vm{slot}] {text}");
        }
    }

    /// Prints the line that has no end yet.
    pub(super) fn flush(&self, slot: usize) {
        let text = core::mem::take(&mut *self.line.lock());
        if !text.is_empty() {
            println!("[vm{slot}] {text}");
        }
    }
}

impl Slot {
    /// Which slot this is.
    pub(super) fn number(&self) -> usize {
        SLOTS.iter().position(|slot| core::ptr::eq(slot, self)).unwrap_or(0)
    }
}

fn running(index: usize) -> Option<&'static Slot> {
    let slot = SLOTS.get(index)?;
    matches!(slot.status.lock().summary.state, State::Running | State::Paused).then_some(slot)
}

/// Gives the terminal to a machine; false if none runs there.
pub fn attach(index: usize) -> bool {
    let Some(slot) = running(index) else { return false };
    let begun = core::mem::take(&mut *slot.console.line.lock());
    print!("{begun}");
    slot.console.attached.store(true, Ordering::Relaxed);
    true
}

/// Takes the terminal back.
pub fn detach(index: usize) {
    if let Some(slot) = SLOTS.get(index) {
        slot.console.attached.store(false, Ordering::Relaxed);
    }
}

/// A byte for the console that a machine has, the UART or a virtio console; false if it runs no more. A full queue loses the byte, as on a wire.
pub fn send(index: usize, byte: u8) -> bool {
    let Some(slot) = running(index) else { return false };
    if slot.devices.port.is_plugged() {
        slot.type_in(byte);
    } else {
        slot.with_uart(|uart| uart.receive(byte));
    }
    true
}
