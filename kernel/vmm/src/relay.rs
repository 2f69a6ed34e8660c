//! The one guest of a machine that serves nothing else: its bytes go out as they are, in frames
//! ([`bale_core::relay`]).

use core::sync::atomic::{AtomicBool, Ordering};

use bale_core::relay;
use heapless::Vec;

use bale_io::console;
use bale_rt::sync::{IN_ORDER, Mutex};

/// Bytes that wait for a frame at most.
const WAITING: usize = 128;

/// Set once, before the guest starts.
static ON: AtomicBool = AtomicBool::new(false);
/// A guest that asks for a restart has ended.
static ONCE: AtomicBool = AtomicBool::new(false);
/// What waits. Held until it is sent, so that what two virtual CPUs write leaves in the order it
/// came.
static BYTES: Mutex<Vec<u8, WAITING>> = Mutex::new(Vec::new());

/// From here on, guests' bytes are relayed; with `once`, one that asks for a restart has ended.
pub fn begin(once: bool) {
    // Relaxed: the guest's tasks are started behind this.
    ONCE.store(once, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
}

/// Whether a guest that asks for a restart has ended.
pub(super) fn ends_on_reset() -> bool {
    ONCE.load(Ordering::Relaxed)
}

/// Whether guests' bytes are relayed.
#[inline]
pub(super) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Bytes from the guest. Lines leave at once, and what comes without an end of line by [`flush`].
pub(super) fn put(text: &[u8]) {
    let mut bytes = BYTES.lock().expect(IN_ORDER);
    for &byte in text {
        // There is room: a full one is sent.
        let _ = bytes.push(byte);
        if byte == b'\n' || bytes.is_full() {
            send(&mut bytes);
        }
    }
}

/// Sends what waits.
///
/// # Panics
/// Never: a caller holds no other lock.
pub fn flush() {
    send(&mut BYTES.lock().expect(IN_ORDER));
}

fn send(bytes: &mut Vec<u8, WAITING>) {
    if !bytes.is_empty() {
        let mut frame: Vec<u8, { 2 * WAITING + 2 }> = Vec::new();
        // There is room for twice as many and the two around them.
        relay::encode(bytes, |byte| {
            let _ = frame.push(byte);
        });
        console::write_whole(&frame);
        bytes.clear();
    }
}
