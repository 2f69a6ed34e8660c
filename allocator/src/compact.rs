//! Compaction: the emptiest zspages of a class are emptied into the others, beside everything else
//! that goes on.
//!
//! There is no way back from an object to its handle, since a header in each object would cost more
//! memory than it saves. Instead the victims are chosen first, and one sweep over the class's cells
//! moves what lies on them: no new object comes to lie on a victim, so one sweep is enough. A move
//! locks the object's cell, so readers of other objects never notice; an object that is being read
//! stays, and its zspage is put back. The class lock is not held while bytes are copied.

use crate::{
    cell::{OPEN, begin_move, reopen},
    class::{Class, Leaving},
    platform::{Frames, PAGE_SIZE, PinnedInSteps, Platform},
    pool::Pool,
    size_class::{CLASSES, chain, class_size, objects_in},
    store::{CHUNK_CELLS, NO_CHUNK},
    sync::{AtomicU32, Ordering},
    zspage::{FIRST_PARTIAL, LAST_PARTIAL, NO_ZSPAGE, SHRINKING, VICTIMS, bytes::Place, parts},
};

/// Most objects that are moved in one go, interrupts or not.
const MOVES: usize = 5;
/// What they may cost in all: their bytes, and [`MOVE`] for each. A hold takes some 1,700
/// instructions at most on AArch64, as far as was seen.
const BATCH: usize = 24 * 1024;
/// What a move costs beside the bytes, in bytes that are copied in that time.
const MOVE: usize = 4096;
const _: () = assert!(BATCH / (MOVE + class_size(0)) <= MOVES);
/// Cells that are looked at between two looks for an interrupt: a chunk in two.
const STEP: usize = CHUNK_CELLS.div_ceil(2);
/// Most chunks of cells that are looked at under one hold of the class lock.
const CHUNKS: usize = 2;
/// Zspages that are put back between two looks for an interrupt.
pub(crate) const REPRIEVES: usize = 16;
/// Zspages that are looked at between two looks for an interrupt.
const LOOKS: usize = 8;
/// Most zspages that are looked at under one hold of the class lock.
const CHOICES: usize = 64;

/// What a step of compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Objects moved.
    pub moved: usize,
    /// Pages given back.
    pub pages: usize,
    /// Every class was gone through since compaction last began. `false`: there is more to do, or
    /// somebody else is doing it.
    pub complete: bool,
}

struct Move<'a> {
    word: &'a AtomicU32,
    from: u32,
    to: u32,
}

/// Moves under way.
struct Moves<'a> {
    list: [Option<Move<'a>>; MOVES],
    count: usize,
    most: usize,
}

impl<'a> Moves<'a> {
    /// Room for moves of objects of a size.
    fn of(size: usize) -> Self {
        Self { list: [const { None }; MOVES], count: 0, most: BATCH / (MOVE + size) }
    }

    fn is_full(&self) -> bool {
        self.count == self.most
    }

    fn push(&mut self, step: Move<'a>) {
        self.list[self.count] = Some(step);
        self.count += 1;
    }

    fn iter(&self) -> impl Iterator<Item = &Move<'a>> {
        self.list.iter().map_while(Option::as_ref)
    }
}

/// What the victims hold and could hold.
#[derive(Default)]
struct Plan {
    objects: u32,
    free: u32,
    spared: usize,
}

enum Verdict {
    Condemned,
    Shrinking,
    Spared,
}

impl<P: Platform> Pool<P> {
    /// Goes on with compaction until about `budget` cells were looked at. A second caller at the
    /// same time returns at once.
    pub fn compact(&self, budget: usize) -> CompactReport {
        let mut report = CompactReport::default();
        let Some(mut cursor) = self.compaction.try_lock() else { return report };
        let mut left = budget;
        while left > 0 {
            let Some(class) =
                u8::try_from(*cursor).ok().filter(|&class| usize::from(class) < CLASSES)
            else {
                *cursor = 0;
                report.complete = true;
                break;
            };
            if self.compact_class(class, &mut left, &mut report) {
                *cursor += 1;
            }
        }
        report
    }

    /// Pages that compaction could give back, as things are: a shrinker's count.
    pub fn compactable_pages(&self) -> usize {
        let of = |index: u8| {
            let (pages, objects) = {
                let pinned = self.store.platform.pin();
                let class = self.class(index).lock(&pinned);
                (class.pages as usize, class.objects as usize)
            };
            // Packed into whole zspages, and one that is cut off behind its last object.
            let chain = chain(index.into(), self.config.chain);
            let each = objects_in(index.into(), chain);
            let rest = (objects % each * class_size(index.into())).div_ceil(PAGE_SIZE);
            pages.saturating_sub(objects / each * chain + rest)
        };
        (0..u8::MAX).map(of).sum()
    }

    /// `true` when the class is done.
    fn compact_class(&self, index: u8, left: &mut usize, report: &mut CompactReport) -> bool {
        if !self.choose(index, left) {
            return true;
        }
        // At least one look, or a budget that is spent by choosing would never get further.
        *left = (*left).max(1);
        while *left > 0 {
            let mut moves = Moves::of(class_size(index.into()));
            let mut leaving = Leaving::none();
            let (done, cuts);
            {
                let pinned = self.store.platform.pin_in_steps();
                done = self.gather(&pinned, &mut self.class(index).lock(&pinned), &mut moves, left);
                for step in moves.iter() {
                    self.copy(index, step.from, step.to);
                    reopen(step.word, step.to);
                }
                let mut class = self.class(index).lock(&pinned);
                let before = class.pages;
                for step in moves.iter() {
                    class.put_moved(&self.store, step.from, &mut leaving);
                }
                class.moved += moves.count as u64;
                report.moved += moves.count;
                class.compacted += u64::from(before - class.pages);
                cuts = class.ends_shrinking();
            }
            if cuts {
                report.pages += self.cut_off(index);
            }
            if !leaving.is_empty() {
                report.pages += self.release_now(leaving);
            }
            if done {
                self.reprieve(index);
                return true;
            }
        }
        false
    }

    /// Puts the victims that are left back among the others, and a zspage that could not be packed
    /// as it was: some of their objects were in use.
    fn reprieve(&self, index: u8) {
        let mut some_left = true;
        while some_left {
            let pinned = self.store.platform.pin_in_steps();
            let mut class = self.class(index).lock(&pinned);
            if class.is_shrinking() {
                class.abandon_shrink(&self.store);
            }
            while some_left {
                some_left = class.reprieve(&self.store, REPRIEVES);
                if pinned.interrupt_waits() {
                    break;
                }
            }
        }
    }

    /// Chooses victims, unless a sweep is under way. `false`: there is nothing to be gained.
    fn choose(&self, index: u8, left: &mut usize) -> bool {
        let mut plan = Plan::default();
        loop {
            let pinned = self.store.platform.pin_in_steps();
            let mut class = self.class(index).lock(&pinned);
            *left = left.saturating_sub(1);
            if class.sweep != NO_CHUNK {
                return true;
            }
            class.offer_growing(&self.store);
            if class.shrinking == NO_ZSPAGE && self.choose_some(&pinned, &mut class, &mut plan) {
                continue;
            }
            if class.first(VICTIMS) == NO_ZSPAGE && class.shrinking == NO_ZSPAGE {
                return false;
            }
            (class.sweep, class.swept) = (class.chunks, 0);
            self.store.hints.set_compacted(index);
            return true;
        }
    }

    /// `true` if there may be more to choose.
    fn choose_some(
        &self,
        pinned: &P::PinnedInSteps<'_>,
        class: &mut Class,
        plan: &mut Plan,
    ) -> bool {
        let (mut looked_at, mut spared) = (0, 0);
        for list in (FIRST_PARTIAL..=LAST_PARTIAL).rev() {
            let mut unit = class.first(list);
            while unit != NO_ZSPAGE {
                let next = self.store.descriptor(unit).next();
                if spared < plan.spared {
                    // An earlier hold spared this one; what that condemned has left the lists.
                    (spared, unit) = (spared + 1, next);
                    continue;
                }
                match self.judge(class, plan, unit) {
                    Verdict::Condemned => {}
                    Verdict::Spared => (spared, plan.spared) = (spared + 1, plan.spared + 1),
                    Verdict::Shrinking => return false,
                }
                looked_at += 1;
                if plan.spared >= CHOICES || looked_at >= CHOICES {
                    return plan.spared < CHOICES;
                }
                if looked_at % LOOKS == 0 && pinned.interrupt_waits() {
                    return true;
                }
                unit = next;
            }
        }
        false
    }

    /// Decides about one zspage by the room that the others have.
    fn judge(&self, class: &mut Class, plan: &mut Plan, unit: u32) -> Verdict {
        let descriptor = self.store.descriptor(unit);
        let state = descriptor.state();
        let (objects, free) = (plan.objects + state.in_use(), plan.free + state.free());
        let room = (class.capacity - class.objects).saturating_sub(free);
        if room >= objects {
            (plan.objects, plan.free) = (objects, free);
            class.condemn(&self.store, unit);
            return Verdict::Condemned;
        }
        // It cannot go as a whole: keep as many objects as have no room elsewhere at its front, and
        // cut off the pages behind.
        let keep = objects - room;
        if (keep as usize * class.size()).div_ceil(PAGE_SIZE) < state.pages() {
            class.begin_shrink(&self.store, unit, keep);
            return Verdict::Shrinking;
        }
        Verdict::Spared
    }

    /// Begins moves of objects that lie on victims, as many as `moves` takes, and finds room for
    /// them. `true` when the sweep has ended.
    fn gather<'a>(
        &'a self,
        pinned: &P::PinnedInSteps<'_>,
        class: &mut Class,
        moves: &mut Moves<'a>,
        left: &mut usize,
    ) -> bool {
        let end = left.saturating_sub(CHUNKS * CHUNK_CELLS);
        while class.sweep != NO_CHUNK
            && (class.first(VICTIMS) != NO_ZSPAGE || class.shrinking != NO_ZSPAGE)
        {
            let (words, next) = self.store.chunk_words(class.sweep);
            for some in words.get(class.swept.into()..).unwrap_or(&[]).chunks(STEP) {
                let mut cells = some.iter();
                while let Some(word) = cells.next() {
                    // Relaxed: only a hint, the exchange decides.
                    let seen = word.load(Ordering::Relaxed);
                    let from = seen & !OPEN;
                    if seen & OPEN != 0 && self.is_to_move(class, from) && begin_move(word, seen) {
                        let Some(to) = class.take_slot(&self.store) else {
                            reopen(word, from);
                            class.sweep = NO_CHUNK;
                            return true;
                        };
                        moves.push(Move { word, from, to });
                        if moves.is_full() {
                            // The number of cells is only worked out where the sweep stops.
                            class.swept += looked_at(some.len() - cells.as_slice().len());
                            return false;
                        }
                    }
                }
                class.swept += looked_at(some.len());
                if pinned.interrupt_waits() {
                    return false;
                }
            }
            *left = left.saturating_sub(CHUNK_CELLS);
            (class.sweep, class.swept) = (next, 0);
            if *left <= end {
                return false;
            }
        }
        class.sweep = NO_CHUNK;
        true
    }

    /// Whether compaction wants the object at a location, of this class, elsewhere.
    #[inline]
    fn is_to_move(&self, class: &Class, at: u32) -> bool {
        let state = self.store.descriptor_at(at).state();
        // Most zspages stay as they are, which one test says.
        state.may_be_emptied()
            && (state.list() == VICTIMS || state.has(SHRINKING) && parts(at).1 >= class.cut)
    }

    /// Gives back the pages behind what a shrinking zspage keeps. Returns how many.
    #[inline(never)]
    fn cut_off(&self, index: u8) -> usize {
        let off = {
            let pinned = self.store.platform.pin_in_steps();
            let mut class = self.class(index).lock(&pinned);
            if !class.ends_shrinking() {
                return 0;
            }
            let off = class.end_shrink(&self.store);
            class.compacted += off.count as u64;
            off
        };
        // SAFETY: the zspage gave the frames up under the class lock, when nothing lay on them.
        self.store
            .platform
            .release_frames(unsafe { Frames::from_numbers(&off.frames[..off.count]) });
        self.discharge(off.count);
        off.count
    }

    fn copy(&self, class: u8, from: u32, to: u32) {
        // SAFETY: the object's cell is locked by the caller, at this location.
        let from =
            unsafe { Place::new(&self.store, from).bytes(&self.store.platform, class.into()) };
        // SAFETY: the room was taken by the caller and nobody knows of it.
        let to = unsafe { Place::new(&self.store, to).bytes(&self.store.platform, class.into()) };
        copy_parts((from.0, from.1), to);
    }
}

/// Cells of a chunk that were looked at.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a chunk has fifty")]
const fn looked_at(cells: usize) -> u8 {
    const { assert!(CHUNK_CELLS <= u8::MAX as usize) };
    cells as u8
}

/// Copies two runs into two others of the same length in all.
fn copy_parts(from: (&[u8], &[u8]), to: (&mut [u8], &mut [u8])) {
    let (head, tail) = from;
    let (to_head, to_tail) = to;
    if head.len() <= to_head.len() {
        let (first, rest) = to_head.split_at_mut(head.len());
        first.copy_from_slice(head);
        let (end, over) = tail.split_at(rest.len());
        copy_some(rest, end);
        copy_some(to_tail, over);
    } else {
        let (first, rest) = head.split_at(to_head.len());
        to_head.copy_from_slice(first);
        let (start, end) = to_tail.split_at_mut(rest.len());
        start.copy_from_slice(rest);
        copy_some(end, tail);
    }
}

/// A copy that is often one of nothing.
#[inline]
fn copy_some(to: &mut [u8], from: &[u8]) {
    if !to.is_empty() {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::copy_parts;

    #[test]
    fn every_pair_of_splits() {
        let bytes: [u8; 16] = core::array::from_fn(|index| u8::try_from(index).expect("small"));
        for from in 0..=16 {
            for to in 0..=16 {
                let mut copy = [0xff; 16];
                let (head, tail) = copy.split_at_mut(to);
                copy_parts(bytes.split_at(from), (head, tail));
                assert_eq!(copy, bytes);
            }
        }
    }
}
