//! A core's log: frames in a ring with one writer and one reader at a time, which keeps the newest.
//!
//! Nobody waits for the other. A writer that finds no room gives up the oldest frames first, says
//! so, and only then writes over them; a reader copies a frame first, and then looks whether it was
//! given up meanwhile.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

/// What a line of text begins with that holds a frame.
pub const LINE: &str = "defmt:";

/// A frame as a line of text: [`LINE`] and its bytes as hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LINE)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What waits in a ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Frames that nobody has taken.
    pub frames: u64,
    /// Their bytes, and one more for each.
    pub bytes: usize,
}

impl Waiting {
    /// Bytes of the lines that hold these frames, ends of lines and all.
    pub fn as_lines(self) -> usize {
        let frames = usize::try_from(self.frames).unwrap_or(usize::MAX);
        frames.saturating_mul(LINE.len() + 1).saturating_add(self.bytes.saturating_sub(frames) * 2)
    }
}

/// A place between two frames: how many were written before it, and at which byte of the ring it
/// is. One word, so that both are of the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(u64);

impl Place {
    const BITS: u32 = 16;

    const fn frames(self) -> u64 {
        self.0 >> Self::BITS
    }

    const fn offset(self) -> usize {
        let [low, high, ..] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high]) as usize
    }

    /// The later of two.
    const fn or_later(self, other: Self) -> Self {
        if other.frames() > self.frames() { other } else { self }
    }
}

/// Frames of `N` bytes in all. A frame holds no NUL; a NUL ends it.
#[derive(Debug)]
pub struct FrameRing<const N: usize> {
    bytes: [AtomicU8; N],
    /// Where the next frame begins. The writer's, with release once a frame is whole.
    head: AtomicU64,
    /// Where the oldest frame begins that is not given up. The writer's, before it writes over what
    /// was before it.
    oldest: AtomicU64,
    /// Where the reader goes on, unless that was given up.
    tail: AtomicU64,
    /// Frames that were taken. The reader's.
    taken: AtomicU64,
    /// Frames that were too long. The writer's.
    refused: AtomicU64,
}

impl<const N: usize> FrameRing<N> {
    /// Empty.
    pub const fn new() -> Self {
        const { assert!(N > 1 && N <= 1 << Place::BITS, "an offset has sixteen bits") };
        Self {
            bytes: [const { AtomicU8::new(0) }; N],
            head: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn place_after(place: Place, length: usize) -> Place {
        Place((place.frames() + 1) << Place::BITS | ((place.offset() + length + 1) % N) as u64)
    }

    /// Bytes from one place to a later one.
    fn between(from: Place, to: Place) -> usize {
        match (to.offset() + N - from.offset()) % N {
            0 if to.frames() > from.frames() => N,
            bytes => bytes,
        }
    }

    fn byte(&self, place: Place, index: usize) -> &AtomicU8 {
        &self.bytes[(place.offset() + index) % N]
    }

    /// Length of the frame at a place. Never more than the ring holds.
    fn length(&self, place: Place) -> usize {
        (0..N).find(|index| self.byte(place, *index).load(Ordering::Relaxed) == 0).unwrap_or(N - 1)
    }

    /// Writes a frame, over the oldest ones if there is no room. A frame that can never fit, or
    /// holds a NUL, counts as dropped. One at a time.
    pub fn append(&self, frame: &[u8]) {
        if frame.len() >= N || frame.contains(&0) {
            return self.refuse();
        }
        let head = Place(self.head.load(Ordering::Relaxed));
        let before = Place(self.oldest.load(Ordering::Relaxed));
        let mut oldest = before;
        while N - Self::between(oldest, head) <= frame.len() && oldest.frames() < head.frames() {
            oldest = Self::place_after(oldest, self.length(oldest));
        }
        if oldest != before {
            // Release: pairs with the acquire in `next`, whose reader sees a head that is no
            // earlier.
            self.oldest.store(oldest.0, Ordering::Release);
            // Release: pairs with the fence in `take_while`. Who has read a byte that is written
            // below sees what was given up for it.
            fence(Ordering::Release);
        }
        for (index, byte) in frame.iter().chain(&[0]).enumerate() {
            self.byte(head, index).store(*byte, Ordering::Relaxed);
        }
        // Release: pairs with the acquire in `next`.
        self.head.store(Self::place_after(head, frame.len()).0, Ordering::Release);
    }

    /// Counts a frame as dropped that its writer could not even collect.
    pub fn refuse(&self) {
        // Relaxed, and no addition in one step: the writer's alone.
        self.refused.store(self.refused.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Where the reader goes on, and where the frames end.
    fn next(&self) -> (Place, Place) {
        // Acquire: pairs with the release of `append`, as does the one of `head`.
        let oldest = Place(self.oldest.load(Ordering::Acquire));
        let start = Place(self.tail.load(Ordering::Relaxed)).or_later(oldest);
        (start, Place(self.head.load(Ordering::Acquire)))
    }

    /// Copies the oldest frame that waits, of which what fits; its length. One at a time.
    pub fn take(&self, frame: &mut [u8]) -> Option<usize> {
        self.take_while(frame, || ())
    }

    /// [`Self::take`], where something happens between the copy and the look whether it is of any
    /// use.
    fn take_while(&self, frame: &mut [u8], mut meanwhile: impl FnMut()) -> Option<usize> {
        loop {
            let (start, head) = self.next();
            if start.frames() == head.frames() {
                return None;
            }
            let length = self.length(start);
            for (index, byte) in frame.iter_mut().take(length).enumerate() {
                *byte = self.byte(start, index).load(Ordering::Relaxed);
            }
            meanwhile();
            // Acquire: pairs with the fence in `append`.
            fence(Ordering::Acquire);
            if Place(self.oldest.load(Ordering::Relaxed)).frames() > start.frames() {
                continue;
            }
            self.tail.store(Self::place_after(start, length).0, Ordering::Relaxed);
            self.taken.store(self.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return Some(length.min(frame.len()));
        }
    }

    /// What waits, while nobody takes any.
    pub fn waiting(&self) -> Waiting {
        let (start, head) = self.next();
        Waiting {
            frames: head.frames().saturating_sub(start.frames()),
            bytes: Self::between(start, head),
        }
    }

    /// Frames that were written.
    pub fn written(&self) -> u64 {
        Place(self.head.load(Ordering::Relaxed)).frames()
    }

    /// Frames that nobody got, and nobody will, while nobody takes any.
    pub fn dropped(&self) -> u64 {
        let (start, _) = self.next();
        let lost = start.frames().saturating_sub(self.taken.load(Ordering::Relaxed));
        lost + self.refused.load(Ordering::Relaxed)
    }
}

impl<const N: usize> Default for FrameRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes what waits in some rings, and calls `keep` with the newest frames: as many as make lines
/// of `room` bytes at most. Of each ring those that are no older, counted from its newest, than
/// those of the others; the oldest come first.
pub fn keep_newest<const N: usize>(
    rings: &[&FrameRing<N>],
    room: usize,
    frame: &mut [u8],
    mut keep: impl FnMut(&[u8]),
) {
    let waiting = || rings.iter().map(|ring| ring.waiting());
    // No more than waits now: others may go on to write.
    for _ in 0..waiting().map(|some| some.frames).sum() {
        let fits = waiting().map(Waiting::as_lines).sum::<usize>() <= room;
        let fullest = rings.iter().max_by_key(|ring| ring.waiting().frames);
        if let Some(length) = fullest.and_then(|ring| ring.take(frame))
            && fits
        {
            keep(&frame[..length]);
        }
    }
}

#[cfg(test)]
mod tests;
