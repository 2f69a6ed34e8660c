//! A guest's console: line by line with the machine's name in front, or the whole terminal while it
//! is attached.
//!
//! A mutex orders what the virtual CPUs of a machine print, so at most one task of each machine
//! waits for the terminal. What somebody else's line waits for is therefore bounded: for the
//! shell's, which is more urgent, by the line that is being printed; for another guest's, by one
//! line of each other machine ([`LINE`] bytes and its name); and by what the console's ring holds
//! already. An attached guest has no rate of its own: it waits for the wire.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_core::guest_text::{GuestText, RateLimit, Ruling};
use bale_core::vm_description::CONSOLE_RATE;
use heapless::String;

use super::{SLOTS, Slot, State, relay};
use bale_io::{console, print, println};
use bale_rt::clock;
use bale_rt::sync::{IN_ORDER, Mutex};

/// Bytes of a line; what is longer goes on in another one.
const LINE: usize = 512;
/// Columns of what stands before a line.
const NAME: usize = "[vm0] ".len();
/// Gives the terminal back to the shell whatever an attached guest has left it in: ends a sequence
/// or a string that has begun (CAN, ST), then soft reset (DECSTR), main screen, no colours, the
/// cursor to be seen, no mouse, no bracketed paste, ASCII (SI, SCS).
const GIVEN_BACK: &str = "\x18\x1b\\\x1b[!p\x1b[?1049l\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?2004l\x0f\x1b(B";

/// What a guest has written, and whether the terminal is its own.
pub(super) struct Console {
    text: Mutex<Text>,
    /// Bytes that were dropped since the machine was started. A figure, so all accesses are
    /// relaxed: whoever shows it may hold a lock, and must not wait for the mutex.
    dropped: AtomicU64,
}

struct Text {
    text: GuestText<LINE>,
    limit: RateLimit,
    attached: bool,
}

impl Console {
    pub(super) const fn new() -> Self {
        let limit = RateLimit::new(CONSOLE_RATE);
        let text = Mutex::new(Text { text: GuestText::new(), limit, attached: false });
        Self { text, dropped: AtomicU64::new(0) }
    }

    /// For a new machine.
    pub(super) fn reset(&self) {
        self.with(|console| {
            *console = Text {
                text: GuestText::new(),
                limit: RateLimit::new(CONSOLE_RATE),
                attached: false,
            };
        });
        self.dropped.store(0, Ordering::Relaxed);
    }

    /// The machine may print so many bytes a second; 0 for no limit. A restart gives it no new
    /// burst.
    pub(super) fn set_rate(&self, rate: u64) {
        self.with(|console| {
            if console.limit.rate() != rate {
                console.limit = RateLimit::new(rate);
            }
        });
    }

    /// Bytes that were dropped since the machine was started.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn with<R>(&self, f: impl FnOnce(&mut Text) -> R) -> R {
        f(&mut self.text.lock().expect(IN_ORDER))
    }

    /// Bytes from the guest, a few hundred at most. The caller may wait until they are on their
    /// way.
    pub(super) fn put(&self, slot: usize, bytes: &[u8]) {
        if relay::is_on() {
            return relay::put(bytes);
        }
        self.with(|console| {
            if console.attached {
                console::write_raw(bytes);
                return;
            }
            let Text { text, limit, .. } = console;
            let width = width();
            for byte in bytes {
                text.put(*byte, width, &mut |line| show(slot, limit, line));
            }
            self.dropped.store(limit.dropped(), Ordering::Relaxed);
        });
    }

    /// Prints the line that has no end yet, and what is still to be said of what was dropped.
    pub(super) fn flush(&self, slot: usize) {
        self.with(|console| {
            let Text { text, limit, .. } = console;
            text.flush(width(), &mut |line| show(slot, limit, line));
            match limit.finish() {
                0 => {}
                bytes => say_dropped(slot, bytes),
            }
        });
    }

    /// Gives the terminal to the guest, and shows the line that it has begun.
    fn attach(&self) {
        self.with(|console| {
            console.attached = true;
            let begun: String<LINE> = console.text.take();
            print!("{begun}");
        });
    }

    /// Takes the terminal back; whether the guest had it.
    fn detach(&self) -> bool {
        self.with(|console| core::mem::take(&mut console.attached))
    }
}

/// Columns of a row behind a machine's name: one is left free, so that no terminal wraps behind a
/// full row.
fn width() -> usize {
    match console::columns() {
        0 => usize::MAX,
        columns => columns.saturating_sub(NAME + 1),
    }
}

/// Prints a guest's line, if its rate allows. Lines of Bale about a guest never begin as those of
/// guests do.
fn show(slot: usize, limit: &mut RateLimit, line: &str) {
    match limit.rule(line.len(), clock::now(), clock::frequency()) {
        Ruling::Print => println!("[vm{slot}] {line}"),
        Ruling::PrintAfter(bytes) => {
            say_dropped(slot, bytes);
            println!("[vm{slot}] {line}");
        }
        Ruling::DropFirst => println!(
            "vm {slot} prints more than {} bytes a second (console_rate): what is more is dropped",
            limit.rate()
        ),
        Ruling::Drop => {}
    }
}

fn say_dropped(slot: usize, bytes: u64) {
    println!("vm {slot}: {bytes} bytes of its console were dropped");
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
    slot.console.attach();
    true
}

/// Takes the terminal back, and sets it up as the shell needs it.
pub fn detach(index: usize) {
    if SLOTS.get(index).is_some_and(|slot| slot.console.detach()) {
        print!("{GIVEN_BACK}");
    }
}

/// Whether a byte for that console finds room: it is not behind more than a wire's receiver holds.
pub fn has_room(index: usize) -> bool {
    let Some(slot) = running(index) else { return false };
    if slot.devices.port.is_plugged() {
        slot.has_room()
    } else {
        slot.with_uart(|uart| uart.has_room())
    }
}

/// A byte for the console that a machine has, the UART or a virtio console; false if it runs no
/// more. A full queue loses the byte, as on a wire.
pub fn send(index: usize, byte: u8) -> bool {
    let Some(slot) = running(index) else { return false };
    if slot.devices.port.is_plugged() {
        slot.type_in(byte);
    } else {
        slot.with_uart(|uart| uart.receive(byte));
    }
    true
}
