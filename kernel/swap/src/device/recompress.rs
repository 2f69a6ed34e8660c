//! Stored pages made smaller with the device's second codec, in steps, beside everything else.

use zsmalloc::{Platform, class_of};

use super::{Device, PAGE_SIZE, copy_whole, is_raw};
use crate::{
    claim::{Outcome, Worker},
    codec::Scratch,
    error::SwapError,
    note,
    slot::{self, Content, Kind, Object, Word},
    statistics::Event,
};

/// Working memory for work on stored pages: one for each device at most is in use.
pub struct Workshop {
    scratch: Scratch,
    /// The object's bytes, copied out.
    bytes: [u8; PAGE_SIZE],
    pub(crate) page: [u8; PAGE_SIZE],
}

impl Workshop {
    /// Working memory in its first state.
    #[expect(
        clippy::new_without_default,
        reason = "some KiB are placed where they are wanted, not by habit"
    )]
    pub const fn new() -> Self {
        Self { scratch: Scratch::new(), bytes: [0; PAGE_SIZE], page: [0; PAGE_SIZE] }
    }
}

/// Which pages to recompress. Never those that are same-filled, were made by the second codec, or
/// were tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Only what is marked as idle.
    pub idle: bool,
    /// Only what is stored as it is.
    pub huge: bool,
    /// Only objects of at least so many bytes.
    pub least: usize,
}

/// What a step of recompression did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recompression {
    /// Where the next step begins; the number of slots when all were seen.
    pub next: usize,
    /// Pages that were tried.
    pub tried: usize,
    /// Pages that became smaller.
    pub smaller: usize,
    /// Bytes that they became smaller by.
    pub bytes: usize,
}

impl<P: Platform> Device<'_, P> {
    /// Recompresses up to `pages` pages from slot `first` on. A result is kept if it is in a
    /// smaller size class; a page that gains nothing is marked and not tried again until it is
    /// written.
    ///
    /// # Errors
    /// [`SwapError::NoCodec`] without a second codec; [`SwapError::Busy`] if another caller works
    /// on the device.
    pub fn recompress(
        &self,
        first: usize,
        pages: usize,
        pick: Pick,
        shop: &mut Workshop,
    ) -> Result<Recompression, SwapError> {
        self.setup.second.ok_or(SwapError::NoCodec)?;
        let worker = self.work()?;
        let mut done = Recompression { next: first, ..Recompression::default() };
        while done.next < self.slots.len() && done.tried < pages {
            if self.picked(done.next, pick)
                && let Some(gained) = self.recompress_one(done.next, &worker, shop)
            {
                done.tried += 1;
                done.smaller += usize::from(gained > 0);
                done.bytes += gained;
            }
            done.next += 1;
        }
        Ok(done)
    }

    fn picked(&self, index: usize, pick: Pick) -> bool {
        let (Some(slot), Some(note)) = (self.slots.get(index), self.notes.get(index)) else {
            return false;
        };
        let (word, note) = (slot::peek(slot), note::read(note));
        word.length() >= pick.least.max(1)
            && word.kind() != Kind::Recompressed
            && !note.is_tried()
            && (note.is_idle() || !pick.idle)
            && (is_raw(word) || !pick.huge)
    }

    /// Bytes that were gained; `None` if the page went away, or could not be read.
    fn recompress_one(
        &self,
        index: usize,
        worker: &Worker<'_>,
        shop: &mut Workshop,
    ) -> Option<usize> {
        let slot = self.slots.get(index)?;
        let (word, object) = self.copy_out(index, worker, shop)?;
        let Some((new, check)) = self.smaller(&object, shop) else {
            if worker.give_up() {
                self.free(object.handle);
                return None;
            }
            self.count(Event::NoGain);
            note::mark_tried(self.notes.get(index)?);
            return Some(0);
        };
        let outcome = worker.replace(slot, word, new);
        if outcome == Outcome::Replaced {
            self.keep_check(index, check);
            self.account(word, new, [(Event::Recompressed, 1)]);
        } else if let Some(handle) = new.into_owned() {
            self.discharge(new.length() as u64);
            self.free(handle);
        }
        if outcome != Outcome::Kept {
            self.free(object.handle);
        }
        (outcome == Outcome::Replaced).then(|| object.length - new.length())
    }

    /// Copies an object out and claims it. `None` if there is none, it is corrupt, or somebody
    /// reads it at this moment: then it is in use, and the next pass comes to it.
    pub(crate) fn copy_out(
        &self,
        index: usize,
        worker: &Worker<'_>,
        shop: &mut Workshop,
    ) -> Option<(Word, Object)> {
        let slot = self.slots.get(index)?;
        // A guest that reads the slot meanwhile waits for no more than this copy. Whoever reads it
        // already is not waited for: it may be off this very core, and does not come back to it as
        // long as interrupts are masked.
        let pinned = self.pool.platform().pin();
        let word = slot::try_read(slot)?;
        let Content::Object(object) = word.content() else { return None };
        let copied = self.pool.read(&object.handle).map_err(SwapError::from).and_then(|view| {
            copy_whole(&view, shop.bytes.get_mut(..object.length).ok_or(SwapError::Corrupt)?)
        });
        worker.claim(word);
        let kept = slot::end_read(slot, word);
        drop(pinned);
        let bytes = shop.bytes.get(..object.length)?;
        let good = kept && copied.and_then(|()| self.verify(index, word, bytes)).is_ok();
        if good {
            return Some((word, object));
        }
        // Left to us by the caller that took it while it was read, or that saw the claim.
        if worker.give_up() || !kept {
            self.free(object.handle);
        }
        None
    }

    /// The page of the copied bytes, in `shop.page`.
    pub(crate) fn unpack(&self, object: &Object, shop: &mut Workshop) -> Result<(), SwapError> {
        let Workshop { scratch, bytes, page } = shop;
        let bytes = bytes.get(..object.length).ok_or(SwapError::Corrupt)?;
        if object.length == PAGE_SIZE {
            page.copy_from_slice(bytes);
            return Ok(());
        }
        self.codec_of(object.second)?.decompress(bytes, page, scratch).ok_or(SwapError::Corrupt)
    }

    /// A new object of the second codec and its check, if it is in a smaller class.
    fn smaller(&self, object: &Object, shop: &mut Workshop) -> Option<(Word, u64)> {
        self.unpack(object, shop).ok()?;
        let bytes = self.setup.second?.compress(&shop.page, &mut shop.scratch)?;
        if class_of(bytes.len()) >= class_of(object.length) || !self.is_worth_it(bytes.len()) {
            return None;
        }
        let word = Word::object(self.place(bytes, object.length).ok()?, bytes.len(), true);
        Some((word, self.check_of(word, bytes)))
    }
}
