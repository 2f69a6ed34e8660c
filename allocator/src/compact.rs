//! Compaction: the emptiest zspages of a class are emptied into the others, beside everything else that goes on.
//!
//! There is no way back from an object to its handle, since a header in each object would cost more memory than it saves. Instead the victims are
//! chosen first, and one sweep over the class's cells moves what lies on them: no new object comes to lie on a victim, so one
//! sweep is enough. A move locks the object's cell, so readers of other objects never notice; an object that is being read stays, and
//! its zspage is put back. The class lock is not held while bytes are copied.

use crate::{
    cell::{OPEN, reopen, try_lock},
    class::{Class, CutOff, Leaving},
    platform::{Frames, PAGE_SIZE, Platform},
    pool::Pool,
    size_class::CLASSES,
    store::{CHUNK_CELLS, NO_CHUNK},
    sync::{AtomicU32, Ordering},
    zspage::{FIRST_PARTIAL, LAST_PARTIAL, NO_ZSPAGE, SHRINKING, VICTIMS, bytes::Place, parts},
};

/// Most objects that are moved in one go, with interrupts masked: 64 KiB of copies at the most.
const MOVES: usize = 16;
/// Cells that are looked at under one hold of the class lock, give or take a chunk.
const CELLS: usize = 1000;
/// Most zspages that are chosen under one hold of the class lock.
const CHOICES: usize = 64;

/// What a step of compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Objects moved.
    pub moved: usize,
    /// Pages given back.
    pub pages: usize,
    /// Every class was gone through since compaction last began. `false`: there is more to do, or somebody else is doing it.
    pub complete: bool,
}

struct Move<'a> {
    word: &'a AtomicU32,
    from: u32,
    to: u32,
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
    /// Goes on with compaction until about `budget` cells were looked at. A second caller at the same time returns at once.
    pub fn compact(&self, budget: usize) -> CompactReport {
        let mut report = CompactReport::default();
        let Some(mut cursor) = self.compaction.try_lock() else { return report };
        let mut left = budget;
        while left > 0 {
            let Some(class) = u8::try_from(*cursor).ok().filter(|&class| usize::from(class) < CLASSES) else {
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
        let of = |index| {
            let pinned = self.store.platform.pin();
            let class = self.class(index).lock(&pinned);
            let (free, zspages) = (class.capacity - class.objects, class.zspages.max(1));
            (free / (class.capacity / zspages).max(1) * (class.pages / zspages)) as usize
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
            let mut moves: [Option<Move<'_>>; MOVES] = [const { None }; MOVES];
            let mut leaving = Leaving::none();
            let (done, off);
            {
                let pinned = self.store.platform.pin();
                done = self.gather(&mut self.class(index).lock(&pinned), &mut moves, left);
                for step in moves.iter().flatten() {
                    self.copy(index, step.from, step.to);
                    reopen(step.word, step.to);
                }
                let mut class = self.class(index).lock(&pinned);
                let pages = class.pages;
                for step in moves.iter().flatten() {
                    if let Some(from) = class.put_quietly(&self.store, step.from) {
                        class.put_loudly(&self.store, from, &mut leaving);
                    }
                    class.moved += 1;
                    report.moved += 1;
                }
                off = class.end_shrink(&self.store);
                class.compacted += u64::from(pages - class.pages);
                if done {
                    class.reprieve(&self.store);
                }
            }
            report.pages += self.release_cut(&off);
            if !leaving.is_empty() {
                report.pages += self.release_now(leaving);
            }
            if done {
                return true;
            }
        }
        false
    }

    /// Chooses victims, unless a sweep is under way. `false`: there is nothing to be gained.
    fn choose(&self, index: u8, left: &mut usize) -> bool {
        let mut plan = Plan::default();
        loop {
            let pinned = self.store.platform.pin();
            let mut class = self.class(index).lock(&pinned);
            *left = left.saturating_sub(1);
            if class.sweep != NO_CHUNK {
                return true;
            }
            class.offer_growing(&self.store);
            if class.shrinking == NO_ZSPAGE && self.choose_some(&mut class, &mut plan) {
                continue;
            }
            if class.first(VICTIMS) == NO_ZSPAGE && class.shrinking == NO_ZSPAGE {
                return false;
            }
            (class.sweep, class.swept) = (class.chunks, 0);
            return true;
        }
    }

    /// `true` if there may be more to choose.
    fn choose_some(&self, class: &mut Class, plan: &mut Plan) -> bool {
        let mut looked_at = 0;
        for list in (FIRST_PARTIAL..=LAST_PARTIAL).rev() {
            let mut unit = class.first(list);
            while unit != NO_ZSPAGE {
                let next = self.store.descriptor(unit).next();
                match self.judge(class, plan, unit) {
                    Verdict::Condemned => {}
                    Verdict::Spared => plan.spared += 1,
                    Verdict::Shrinking => return false,
                }
                looked_at += 1;
                if plan.spared >= CHOICES || looked_at >= CHOICES {
                    return plan.spared < CHOICES && plan.spared < looked_at;
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
        // It cannot go as a whole: keep as many objects as have no room elsewhere at its front, and cut off the pages behind.
        let keep = objects - room;
        if (keep as usize * class.size()).div_ceil(PAGE_SIZE) < state.pages() {
            class.begin_shrink(&self.store, unit, keep);
            return Verdict::Shrinking;
        }
        Verdict::Spared
    }

    /// Locks objects that lie on victims and finds room for them. `true` when the sweep has ended.
    fn gather<'a>(&'a self, class: &mut Class, moves: &mut [Option<Move<'a>>], left: &mut usize) -> bool {
        let mut places = moves.iter_mut();
        let end = left.saturating_sub(CELLS);
        let wanted = |class: &Class| class.first(VICTIMS) != NO_ZSPAGE || class.shrinking != NO_ZSPAGE;
        while wanted(class) && class.sweep != NO_CHUNK {
            let (words, next) = self.store.chunk_words(class.sweep);
            for (cell, word) in (class.swept..).zip(words.get(class.swept.into()..).unwrap_or(&[])) {
                // Relaxed: only a locked object's location is used.
                let seen = word.load(Ordering::Relaxed);
                if seen & OPEN != 0 && self.is_to_move(class, seen & !OPEN) {
                    let Some(place) = places.next() else {
                        // This cell again next time.
                        class.swept = cell;
                        return false;
                    };
                    if let Some(from) = try_lock(word) {
                        let Some(to) = class.take_slot(&self.store) else {
                            reopen(word, from);
                            class.sweep = NO_CHUNK;
                            return true;
                        };
                        *place = Some(Move { word, from, to });
                    }
                }
            }
            *left = left.saturating_sub(CHUNK_CELLS);
            (class.sweep, class.swept) = (next, 0);
            if *left <= end {
                break;
            }
        }
        if class.sweep == NO_CHUNK || !wanted(class) {
            class.sweep = NO_CHUNK;
            return true;
        }
        false
    }

    /// Whether compaction wants the object at a location, of this class, elsewhere.
    #[inline]
    fn is_to_move(&self, class: &Class, at: u32) -> bool {
        let state = self.store.descriptor_at(at).state();
        state.list() == VICTIMS || state.has(SHRINKING) && parts(at).1 >= class.cut
    }

    fn release_cut(&self, off: &CutOff) -> usize {
        if off.count != 0 {
            // SAFETY: the zspage gave the frames up under the class lock, when nothing lay on them.
            self.store.platform.release_frames(unsafe { Frames::from_numbers(&off.frames[..off.count]) });
            self.discharge(off.count);
        }
        off.count
    }

    fn copy(&self, class: u8, from: u32, to: u32) {
        // SAFETY: the object's cell is locked by the caller, at this location.
        let from = unsafe { Place::new(&self.store, from).bytes(&self.store.platform, class.into()) };
        // SAFETY: the room was taken by the caller and nobody knows of it.
        let to = unsafe { Place::new(&self.store, to).bytes(&self.store.platform, class.into()) };
        copy_parts((from.0, from.1), to);
    }
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
