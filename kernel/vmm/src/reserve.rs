//! Memory that machines were promised for what they store, as far as they have not stored it:
//! nobody else takes it.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_memory::{PAGE_SIZE, frames};
use bale_swap::Room;

/// Bytes of all machines' reserves that their objects do not fill.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// Frames that are kept beside those bytes if there are any: the first objects of each size class
/// begin a zspage of up to four frames of their own.
const KEPT_BESIDE: usize = 512;

/// For whom there is memory to make objects of.
pub(super) fn has_room() -> Room {
    // Relaxed: who comes a moment too early takes a frame of `KEPT_BESIDE`.
    let kept = KEPT.load(Ordering::Relaxed);
    if kept == 0 {
        return if frames::are_reserved() { Room::Nobody } else { Room::All };
    }
    room_beside(kept)
}

/// The same with so many bytes that are kept.
#[cold]
#[inline(never)]
fn room_beside(kept: u64) -> Room {
    if !frames::are_few(frames::RESERVE + frames_for(kept)) {
        Room::All
    } else if frames::are_reserved() {
        Room::Nobody
    } else {
        Room::Reserves
    }
}

/// From a device: the part of its reserve that it does not fill has changed by so many bytes.
pub(super) fn keep(change: i64) {
    KEPT.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
}

/// Frames that so many bytes of objects take at most: an eighth more than their bytes, for what
/// zspages lose and for their descriptors.
fn frames_for(bytes: u64) -> usize {
    let pages = bytes.div_ceil(PAGE_SIZE as u64) as usize;
    pages + pages / 8 + KEPT_BESIDE
}

/// Frames that are kept for reserves.
pub(super) fn kept_frames() -> usize {
    match KEPT.load(Ordering::Relaxed) {
        0 => 0,
        bytes => frames_for(bytes),
    }
}

/// Whether so many pages' bytes more can be promised, with so much memory left as the start of a
/// machine leaves.
pub(super) fn can_reserve(pages: usize, left: usize) -> bool {
    let bytes = KEPT.load(Ordering::Relaxed) + (pages * PAGE_SIZE) as u64;
    frames::usage().free >= frames_for(bytes) + left
}
