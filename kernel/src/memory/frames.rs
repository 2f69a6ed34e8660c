//! The frame allocator: 4 KiB frames of all memory that nobody else has.
//!
//! Frames that were never used come from ranges, one after the other, so boot touches no memory; frames that were
//! given back hang in a list threaded through themselves. A frame is a token: it cannot be copied, and giving it
//! back uses it up.

use core::ptr;

use heapless::Vec;

use super::PAGE_SIZE;
use crate::sync::Lock;

/// One 4 KiB frame of memory, mapped at its physical address, owned by whoever holds this.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame(u64);

impl Frame {
    /// Physical address, and pointer: EL2's map is the identity.
    pub fn address(&self) -> u64 {
        self.0
    }

    /// Gives up the token but keeps the frame; [`Frame::from_address`] takes it back.
    pub fn into_address(self) -> u64 {
        self.0
    }

    /// Takes back a frame.
    ///
    /// # Safety
    /// The address came from [`Frame::into_address`] and has not been taken back since.
    pub unsafe fn from_address(address: u64) -> Self {
        Self(address)
    }

    /// Fills the frame with zeroes.
    pub fn zero(&mut self) {
        self.bytes_mut().fill(0);
    }

    /// The frame's bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: the token is the only owner of this mapped frame, and any bytes are valid.
        unsafe { &mut *(self.0 as *mut [u8; PAGE_SIZE]) }
    }
}

/// Numbers of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Under this allocator.
    pub total: usize,
    /// Not handed out.
    pub free: usize,
    /// Least that `free` has been.
    pub least_free: usize,
}

struct Allocator {
    /// Never used yet: (next address, end).
    fresh: Vec<(u64, u64), 16>,
    /// First frame of the list of those given back, 0 for none; each holds the next in its first word.
    returned: u64,
    usage: Usage,
}

static FRAMES: Lock<Allocator> = Lock::new(Allocator {
    fresh: Vec::new(),
    returned: 0,
    usage: Usage { total: 0, free: 0, least_free: 0 },
});

impl Allocator {
    fn take(&mut self) -> Option<Frame> {
        let address = if self.returned != 0 {
            let address = self.returned;
            // SAFETY: a frame on the list is ours, and its first word was written when it was put there.
            self.returned = unsafe { ptr::read(address as *const u64) };
            address
        } else {
            let (next, end) = self.fresh.last_mut()?;
            let address = *next;
            *next += PAGE_SIZE as u64;
            if *next == *end {
                self.fresh.pop();
            }
            address
        };
        self.usage.free -= 1;
        self.usage.least_free = self.usage.least_free.min(self.usage.free);
        Some(Frame(address))
    }

    fn put(&mut self, frame: Frame) {
        // SAFETY: the token owned the frame; from here on the list does.
        unsafe { ptr::write(frame.0 as *mut u64, self.returned) };
        self.returned = frame.0;
        self.usage.free += 1;
    }
}

/// Adds a range of unused, mapped memory; partial frames at its ends are left out. False if there is no room to
/// note one more range.
///
/// # Safety
/// Nobody else uses this memory, now or later.
pub unsafe fn add(start: u64, end: u64) -> bool {
    let start = start.next_multiple_of(PAGE_SIZE as u64);
    let end = end & !(PAGE_SIZE as u64 - 1);
    if start >= end {
        return true;
    }
    let mut frames = FRAMES.lock();
    if frames.fresh.push((start, end)).is_err() {
        return false;
    }
    let count = (end - start) as usize / PAGE_SIZE;
    frames.usage.total += count;
    frames.usage.free += count;
    frames.usage.least_free = frames.usage.free;
    true
}

/// A frame with undefined content, or `None` when there is none left.
pub fn allocate() -> Option<Frame> {
    FRAMES.lock().take()
}

/// A frame of zeroes.
pub fn allocate_zeroed() -> Option<Frame> {
    let mut frame = allocate()?;
    frame.zero();
    Some(frame)
}

/// `count` frames that lie one after the other, as one slice of zeroed bytes that is never given back. `None` when
/// no range of unused memory is long enough.
pub fn allocate_static(count: usize) -> Option<&'static mut [u8]> {
    let length = (count * PAGE_SIZE) as u64;
    let start = {
        let mut frames = FRAMES.lock();
        let range = frames.fresh.iter_mut().find(|(next, end)| end - *next > length)?;
        let start = range.0;
        range.0 += length;
        frames.usage.free -= count;
        frames.usage.least_free = frames.usage.least_free.min(frames.usage.free);
        start
    };
    // SAFETY: taken out of the unused ranges above, so ours alone; any bytes are valid.
    let bytes = unsafe { core::slice::from_raw_parts_mut(start as *mut u8, length as usize) };
    bytes.fill(0);
    Some(bytes)
}

/// Gives frames back, under one lock for every 64.
pub fn release(frames: impl IntoIterator<Item = Frame>) {
    let mut frames = frames.into_iter().peekable();
    while frames.peek().is_some() {
        let mut allocator = FRAMES.lock();
        for frame in frames.by_ref().take(64) {
            allocator.put(frame);
        }
    }
}

/// How much memory there is and how much is free.
pub fn usage() -> Usage {
    FRAMES.lock().usage
}
