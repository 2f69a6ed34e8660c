//! The frame allocator: 4 KiB frames of all memory that nobody else has.
//!
//! Frames that were never used come from ranges, one after the other, so boot touches no memory;
//! frames that were given back lie in bundles, and are joined to blocks when one is wanted. Each
//! core keeps a few of its own. A frame is a token: it cannot be copied, and giving it back uses it
//! up.

mod blocks;
mod bundle;
mod cache;
mod joining;

use core::ops::Range;

use heapless::Vec;

use self::blocks::Blocks;
pub use self::blocks::{BLOCK_SIZE, Block};
use self::bundle::{Bundle, Bundles};
use super::PAGE_SIZE;
use crate::lock::Lock;

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
    pub fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: the token is the only owner of this mapped frame, and any bytes are valid.
        unsafe { &*(self.0 as *const [u8; PAGE_SIZE]) }
    }

    /// The frame's bytes, to be written.
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
    /// Least that `free` has been, counting what cores keep for themselves as handed out.
    pub least_free: usize,
}

/// Ranges of unused memory: those that the tables name, cut by what is reserved and taken.
pub const RANGES: usize = 128;

/// What the cores share.
struct Common {
    /// Never used yet: (next address, end).
    fresh: Vec<(u64, u64), RANGES>,
    returned: Bundles,
    /// As well, but looked at already where blocks are joined.
    aside: Bundles,
    blocks: Blocks,
    usage: Usage,
    /// Numbers of all frames, those between ranges included.
    numbers: Range<u32>,
    /// Least number of free frames since nothing could be joined: with no more than these there is
    /// nothing to join either.
    unjoined: usize,
}

static FRAMES: Lock<Common> = Lock::new(Common {
    fresh: Vec::new(),
    returned: Bundles::new(),
    aside: Bundles::new(),
    blocks: Blocks::new(),
    usage: Usage { total: 0, free: 0, least_free: 0 },
    numbers: Range { start: u32::MAX, end: 0 },
    unjoined: 0,
});

/// Frames that guests' disks leave: a page of a held machine that is put out may need one before it
/// frees one, and nothing would be put out any more if somebody else had stored something in the
/// last.
pub const RESERVE: usize = 256;
/// Of these, the ones that pages which come back leave to others that go: see
/// [`allocate_but_last`].
pub const LAST: usize = 32;

/// Frames end below this address, so that their numbers have 32 bits.
pub const END: u64 = 1 << 44;

fn number(address: u64) -> u32 {
    u32::try_from(address / PAGE_SIZE as u64).unwrap_or(0)
}

impl Common {
    /// Takes as many frames as there are, up to a bundle; says how many.
    fn take(&mut self, to: &mut Bundle) -> usize {
        let count = match self.returned.pop().or_else(|| self.aside.pop()) {
            Some(bundle) => {
                *to = bundle;
                to.len()
            }
            None => self.take_fresh(to),
        };
        self.lessen(count);
        count
    }

    fn take_fresh(&mut self, to: &mut Bundle) -> usize {
        let mut count = 0;
        if self.fresh.is_empty() {
            // A block that was given back is broken up; the ranges are all used up, so there is
            // room for it.
            let broken =
                self.blocks.pop().map(|start| self.fresh.push((start, start + BLOCK_SIZE)));
            debug_assert!(broken.is_none_or(|noted| noted.is_ok()));
        }
        while let Some((next, end)) = self.fresh.last_mut() {
            let free = number(*next)..number(*end);
            let run = free.len().min(to.len() - count);
            to[count..count + run].iter_mut().zip(free).for_each(|(place, number)| *place = number);
            count += run;
            *next += (run * PAGE_SIZE) as u64;
            if *next < *end {
                break;
            }
            self.fresh.pop();
        }
        count
    }

    /// Cuts a block from the end of a range; what lies behind its last boundary becomes a range of
    /// its own.
    fn cut_block(&mut self) -> Option<u64> {
        for place in 0..self.fresh.len() {
            let (next, end) = self.fresh[place];
            let boundary = end & !(BLOCK_SIZE - 1);
            let Some(start) = boundary.checked_sub(BLOCK_SIZE).filter(|start| *start >= next)
            else {
                continue;
            };
            if boundary < end && self.fresh.push((boundary, end)).is_err() {
                continue;
            }
            self.fresh[place].1 = start;
            return Some(start);
        }
        None
    }

    fn put(&mut self, bundle: &Bundle) {
        self.returned.push(bundle);
        self.add_free(bundle.len());
    }

    /// Lays a bundle aside that was given back; what is in it.
    fn lay_aside(&mut self) -> Option<Bundle> {
        let bundle = self.returned.pop()?;
        self.aside.push(&bundle);
        Some(bundle)
    }

    /// A block that is there, not handed out.
    fn take_block(&mut self) -> Option<Block> {
        let start = self.blocks.pop().or_else(|| self.cut_block())?;
        self.lessen(BLOCK_SIZE as usize / PAGE_SIZE);
        Some(Block::new(start))
    }

    /// So many frames are handed out.
    fn lessen(&mut self, frames: usize) {
        self.usage.free -= frames;
        self.usage.least_free = self.usage.least_free.min(self.usage.free);
    }

    /// So many are free again.
    fn add_free(&mut self, frames: usize) {
        self.usage.free += frames;
    }
}

/// Adds a range of unused, mapped memory; partial frames at its ends are left out. False if there
/// is no room to note one more range, or it ends above 16 TiB.
///
/// # Safety
/// Nobody else uses this memory, now or later.
pub unsafe fn add(start: u64, end: u64) -> bool {
    // Frame 0 is nobody's: its number means "none".
    let start = start.max(1).next_multiple_of(PAGE_SIZE as u64);
    let end = end & !(PAGE_SIZE as u64 - 1);
    if start >= end {
        return true;
    }
    if end >= END {
        return false;
    }
    let mut frames = FRAMES.lock();
    if frames.fresh.push((start, end)).is_err() {
        return false;
    }
    let count = (end - start) as usize / PAGE_SIZE;
    frames.usage.total += count;
    frames.add_free(count);
    frames.usage.least_free = frames.usage.free;
    frames.numbers = frames.numbers.start.min(number(start))..frames.numbers.end.max(number(end));
    true
}

/// A frame with undefined content, or `None` when there is none left.
#[inline]
pub fn allocate() -> Option<Frame> {
    cache::take().map(|number| Frame(u64::from(number) * PAGE_SIZE as u64))
}

/// A frame of zeroes.
pub fn allocate_zeroed() -> Option<Frame> {
    let mut frame = allocate()?;
    frame.zero();
    Some(frame)
}

/// `count` frames that lie one after the other, as one slice of zeroed bytes that is never given
/// back. `None` when no range of unused memory is long enough.
pub fn allocate_static(count: usize) -> Option<&'static mut [u8]> {
    let length = (count * PAGE_SIZE) as u64;
    let start = {
        let mut frames = FRAMES.lock();
        let range = frames.fresh.iter_mut().find(|(next, end)| end - *next > length)?;
        let start = range.0;
        range.0 += length;
        frames.lessen(count);
        start
    };
    // SAFETY: taken out of the unused ranges above, so ours alone; any bytes are valid.
    let bytes = unsafe { core::slice::from_raw_parts_mut(start as *mut u8, length as usize) };
    bytes.fill(0);
    Some(bytes)
}

/// A block with undefined content: one that was given back, the end of a range of unused memory, or
/// one whose frames were all given back, which takes time. `None` when there is none, though there
/// may be as many single frames.
///
/// `one_at_a_time` waits until nobody else joins frames and keeps it so until its value is dropped;
/// `None` from it gives up.
pub fn allocate_block<Turn>(one_at_a_time: impl FnOnce() -> Option<Turn>) -> Option<Block> {
    let there = FRAMES.lock().take_block();
    if there.is_some() || !has_more_than_unjoined() {
        return there;
    }
    let _turn = one_at_a_time()?;
    if joining::join() == 0 {
        return None;
    }
    FRAMES.lock().take_block()
}

fn has_more_than_unjoined() -> bool {
    let free = usage().free;
    let mut frames = FRAMES.lock();
    let more = free > frames.unjoined;
    frames.unjoined = frames.unjoined.min(free);
    more
}

/// Gives a block back, whole.
pub fn release_block(block: Block) {
    let mut frames = FRAMES.lock();
    frames.blocks.push(block);
    frames.add_free(BLOCK_SIZE as usize / PAGE_SIZE);
}

/// Gives frames back.
pub fn release(frames: impl IntoIterator<Item = Frame>) {
    let mut numbers = [0; bundle::BUNDLE];
    let mut count = 0;
    for frame in frames {
        numbers[count] = number(frame.into_address());
        count += 1;
        if count == numbers.len() {
            cache::put(&numbers);
            count = 0;
        }
    }
    cache::put(&numbers[..count]);
}

/// A frame with undefined content, by number: its address is the number times 4096. Its holder owns
/// it as by [`Frame::into_address`].
#[inline]
pub fn allocate_number() -> Option<u32> {
    cache::take()
}

/// Gives frames back, by number.
///
/// # Safety
/// The caller owns these frames, and forgets them.
#[inline]
pub unsafe fn release_numbers(numbers: &[u32]) {
    cache::put(numbers);
}

/// Whether no more than the reserve is free.
#[inline]
pub fn are_reserved() -> bool {
    are_few(RESERVE)
}

/// As [`allocate`], but for the last frames.
pub fn allocate_but_last() -> Option<Frame> {
    if are_few(LAST) { None } else { allocate() }
}

/// Whether no more than so many are free, in common or kept by cores, which are only asked if the
/// common ones do not tell.
#[inline(always)]
pub fn are_few(few: usize) -> bool {
    let common = FRAMES.lock().usage.free;
    common <= few && all_are_few(few)
}

#[cold]
#[inline(never)]
fn all_are_few(few: usize) -> bool {
    usage().free <= few
}

/// How much memory there is and how much is free.
pub fn usage() -> Usage {
    let kept = cache::count();
    let usage = FRAMES.lock().usage;
    Usage { free: usage.free + kept, ..usage }
}
