//! Movable pages: the owner of the frames asks for one back, and what lies on it moves to another.
//!
//! As in compaction there is no way back from a page to its objects, so finding a frame, and the
//! cells of the objects on it, is a sweep over cells, chunk by chunk with the class lock taken for
//! each. Asking for a frame back is rare; what a way back would cost is paid by every object. A
//! page's objects are all locked while the page is copied. One that is being read keeps the page
//! where it is.

use core::ops::Range;

use crate::{
    cell::{OPEN, begin_move, reopen},
    class::{Class, Leaving},
    error::Error,
    platform::{Frame, PinnedCore, Platform},
    pool::Pool,
    size_class::CLASSES,
    store::NO_CHUNK,
    sync::{AtomicU32, Guard, Ordering},
    zspage::{HUGE, MAX_OBJECTS, MOST_FRAMES, NO_ZSPAGE, bytes, location, parts},
};

#[derive(Clone, Copy)]
enum Place<'a> {
    /// A page of a zspage.
    Page { unit: u32, page: usize },
    /// A huge object.
    Huge(&'a AtomicU32),
}

/// A page that stays where it is until [`IsolatedPage::migrate`] has moved it; dropping it puts it
/// back. Compaction waits meanwhile.
pub struct IsolatedPage<'a, P: Platform> {
    pool: &'a Pool<P>,
    number: u32,
    class: u8,
    place: Place<'a>,
    _compaction: Guard<'a, usize>,
}

impl<P: Platform> Pool<P> {
    /// Finds the page of objects in the frame of this number, and lets no new objects come to lie
    /// on its zspage.
    ///
    /// # Errors
    /// [`Error::NotMovable`] if no object that nobody uses lies in a zspage with this frame:
    /// metadata and rings do not move. [`Error::Busy`] beside compaction, or another page of the
    /// same zspage.
    pub fn isolate(&self, number: u32) -> Result<IsolatedPage<'_, P>, Error> {
        let compaction = self.compaction.try_lock().ok_or(Error::Busy)?;
        for class in (0..u8::MAX).take(CLASSES) {
            let mut found = None;
            self.each_chunk(class, |class, words| {
                found = self.find(words, number);
                // Isolated under the hold under which it was found, so that it cannot go in
                // between.
                match found {
                    Some(Place::Page { unit, .. }) if !class.isolate(&self.store, unit) => {
                        Err(Error::Busy)
                    }
                    Some(_) => Ok(false),
                    None => Ok(true),
                }
            })?;
            if let Some(place) = found {
                return Ok(IsolatedPage {
                    pool: self,
                    number,
                    class,
                    place,
                    _compaction: compaction,
                });
            }
        }
        Err(Error::NotMovable)
    }

    /// Shows the cells of a class, a chunk at a time with the class lock held, for as long as
    /// `visit` says so.
    fn each_chunk<'a>(
        &'a self,
        class: u8,
        mut visit: impl FnMut(&mut Class, &'a [AtomicU32]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut chunk = self.class(class).hold(self.store.platform.pin()).chunks;
        while chunk != NO_CHUNK {
            let mut class = self.class(class).hold(self.store.platform.pin());
            let (words, next) = self.store.chunk_words(chunk);
            if !visit(&mut class, words)? {
                break;
            }
            chunk = next;
        }
        Ok(())
    }

    fn find<'a>(&self, words: &'a [AtomicU32], number: u32) -> Option<Place<'a>> {
        let mut seen = NO_ZSPAGE;
        for word in words {
            // Relaxed: the class lock keeps an open cell's zspage from going.
            let seen_word = word.load(Ordering::Relaxed);
            if seen_word & OPEN == 0 {
                continue;
            }
            let at = seen_word & !OPEN;
            if at & HUGE != 0 {
                if at & !HUGE == number {
                    return Some(Place::Huge(word));
                }
                continue;
            }
            let unit = parts(at).0;
            if unit == seen {
                continue;
            }
            seen = unit;
            let descriptor = self.store.descriptor(unit);
            let page =
                (0..descriptor.state().pages()).find(|&page| descriptor.frame(page) == number);
            if let Some(page) = page {
                return Some(Place::Page { unit, page });
            }
        }
        None
    }
}

impl<P: Platform> IsolatedPage<'_, P> {
    /// Moves the page to `to` and gives back the frame that it was in.
    ///
    /// # Errors
    /// Itself and the new frame, to try again or to give up: an object on the page is in use, or,
    /// for a page that is one object, that has gone; or the frame's number is too large.
    pub fn migrate(self, to: Frame) -> Result<Frame, (Self, Frame)> {
        let moved = match self.place {
            Place::Page { unit, page } => self.move_page(unit, page, to.number()),
            Place::Huge(word) => to.number() < MOST_FRAMES && self.move_huge(word, to.number()),
        };
        if !moved {
            return Err((self, to));
        }
        let _ = to.into_number();
        // SAFETY: nothing lies there any more, and the pool has forgotten the number.
        Ok(unsafe { Frame::from_number(self.number) })
    }

    fn copy(&self, to: u32) {
        let platform = &self.pool.store.platform;
        // SAFETY: every object of the page is locked by the caller.
        let from = unsafe { bytes::whole(platform, self.number) };
        // SAFETY: the caller owns the new frame.
        unsafe { bytes::whole(platform, to) }.copy_from_slice(from);
    }

    fn move_huge(&self, word: &AtomicU32, to: u32) -> bool {
        let _pinned = self.pool.store.platform.pin_in_steps();
        if !begin_move(word, OPEN | HUGE | self.number) {
            return false;
        }
        self.copy(to);
        reopen(word, HUGE | to);
        true
    }

    fn move_page(&self, unit: u32, page: usize, to: u32) -> bool {
        let mut words: [Option<&AtomicU32>; MAX_OBJECTS] = [None; MAX_OBJECTS];
        self.collect(unit, page, &mut words);
        let pinned = self.pool.store.platform.pin_in_steps();
        let all = self.lock_all(&pinned, unit, page, &mut words);
        if all {
            self.copy(to);
            self.pool.store.descriptor(unit).set_frame(page, to);
        }
        for (object, word) in (0..).zip(words) {
            if let Some(word) = word {
                reopen(word, location(unit, object));
            }
        }
        all
    }

    /// Notes the cells of the objects on the page, each in its object's place. No object comes to
    /// the zspage any more, so one sweep sees all that nobody uses.
    fn collect<'s>(&'s self, unit: u32, page: usize, words: &mut [Option<&'s AtomicU32>]) {
        let swept = self.pool.each_chunk(self.class, |class, chunk| {
            let (first, end) = class.objects_on(&self.pool.store, unit, page);
            for word in chunk {
                // Relaxed: the exchange that begins the move decides.
                if let Some(object) = object_on(word.load(Ordering::Relaxed), unit, first..end)
                    && let Some(place) = words.get_mut(object as usize)
                {
                    *place = Some(word);
                }
            }
            Ok(true)
        });
        debug_assert!(swept.is_ok());
    }

    /// Locks those cells whose objects are still there, and forgets the others. Whether these are
    /// all objects of the page.
    fn lock_all(
        &self,
        pinned: &impl PinnedCore,
        unit: u32,
        page: usize,
        words: &mut [Option<&AtomicU32>],
    ) -> bool {
        let class = self.pool.class(self.class).lock(pinned);
        let (first, end) = class.objects_on(&self.pool.store, unit, page);
        let descriptor = self.pool.store.descriptor(unit);
        let wanted = (first..end).filter(|&object| !descriptor.is_free(object)).count();
        let mut locked = 0;
        for (object, place) in (0..).zip(words) {
            *place = place.take_if(|word| begin_move(word, OPEN | location(unit, object)));
            locked += usize::from(place.is_some());
        }
        locked == wanted
    }
}

/// The object of this zspage and range that an open cell's word names.
fn object_on(word: u32, unit: u32, objects: Range<u32>) -> Option<u32> {
    let (at, object) = parts(word & !OPEN);
    (word & OPEN != 0 && word & HUGE == 0 && at == unit && objects.contains(&object))
        .then_some(object)
}

impl<P: Platform> Drop for IsolatedPage<'_, P> {
    fn drop(&mut self) {
        let Place::Page { unit, .. } = self.place else { return };
        let mut leaving = Leaving::none();
        self.pool.class(self.class).hold(self.pool.store.platform.pin_in_steps()).put_back(
            &self.pool.store,
            unit,
            &mut leaving,
        );
        self.pool.release(leaving);
    }
}
