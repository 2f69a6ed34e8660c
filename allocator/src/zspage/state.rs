//! A zspage's state: one word that tells a take or a put all that it must know.
//!
//! | bits | content |
//! |---|---|
//! | 0..4 | pages less one |
//! | 4..7 | list |
//! | 7..11 | flags |
//! | 16..24 | capacity |
//! | 25..33 | objects that can be put before something else must be done, counted up to 256 |
//! | 33 | none can |
//! | 34..47 | owner: class and pool, where a handle has them |
//! | 49..57 | free objects that cannot be taken before something else must be done |
//! | 57..64 | those that can |
//!
//! The two counters make the ordinary take and put one addition: whether a zspage changes its list,
//! becomes empty, or is being shrunk, is only asked where a counter has run out. The one for puts
//! runs over into a bit beside the owner, which is zero in every handle: so whether an object is
//! the owner's and may be put quietly is one comparison.
//!
//! Fullness groups go by the number of free objects: none, 1-7, 8-63, 64 and more. So a zspage that
//! fills or empties moves between lists three times, and the fullest ones are told apart best.

use crate::handle::{Base, OWNER, OWNER_SHIFT, ZERO};

/// Full zspages, which are on no list.
pub(crate) const FULL: usize = 0;
/// Fullest group that has a free object.
pub(crate) const FIRST_PARTIAL: usize = 1;
/// Emptiest group.
pub(crate) const LAST_PARTIAL: usize = 3;
/// Zspages that compaction empties: no new object is put there.
pub(crate) const VICTIMS: usize = 4;
/// The zspage that takes the class's next pages, which is on no list.
pub(crate) const GROWING: usize = 5;

/// Being packed to its front by compaction: objects from the class's cut on do not come back when
/// they are freed.
pub(crate) const SHRINKING: u64 = 1 << 7;
/// Noted by a batch, which will put its list right.
pub(crate) const TOUCHED: u64 = 1 << 8;
/// One of its pages is being replaced: it stays, even if it is empty.
pub(crate) const ISOLATED: u64 = 1 << 9;
/// The last zspage of a class that is to be dissolved, on its way out.
pub(crate) const LAST: u64 = 1 << 10;

const LIST_SHIFT: u32 = 4;
const CAPACITY_SHIFT: u32 = 16;
const PUTS_SHIFT: u32 = 25;
const BEYOND_SHIFT: u32 = 49;
const TAKES_SHIFT: u32 = 57;
/// What the counter of puts has run over into.
const NO_PUTS: u64 = 0x100 << PUTS_SHIFT;
const PUTS: u64 = 0x1ff << PUTS_SHIFT;
const BEYOND: u64 = 0xff << BEYOND_SHIFT;
const TAKES: u64 = 0x7f << TAKES_SHIFT;
const _: () =
    assert!(NO_PUTS == ZERO && NO_PUTS << 1 == 1 << OWNER_SHIFT && OWNER < 1 << BEYOND_SHIFT);
/// What a put adds to the word, and a take takes away: one free object more, which can be taken
/// quietly; one quiet put less. Two bits that are 32 apart are a constant of one instruction on
/// AArch64.
const PUT: u64 = 1 << TAKES_SHIFT | 1 << PUTS_SHIFT;

/// From the full ones to the fullest group that has room.
const LIST_STEP: u64 = ((FIRST_PARTIAL - FULL) as u64) << LIST_SHIFT;

/// The group of a zspage by its free objects.
#[inline]
pub(crate) const fn group(free: u32) -> usize {
    ((u32::BITS + 2 - free.leading_zeros()) / 3) as usize
}

const fn least_free(group: usize) -> u32 {
    if group == 0 { 0 } else { 1 << (3 * (group - 1)) }
}

/// State of a zspage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(pub(crate) u64);

impl State {
    /// No pages, no objects, on no list.
    pub(crate) const fn new(base: Base) -> Self {
        Self(base.word() | (GROWING as u64) << LIST_SHIFT | NO_PUTS)
    }

    const fn field(self, shift: u32, bits: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "cut to a few bits")]
        {
            (self.0 >> shift) as u32 & ((1 << bits) - 1)
        }
    }

    const fn with(self, shift: u32, bits: u32, value: u32) -> Self {
        let mask = ((1 << bits) - 1) << shift;
        Self(self.0 & !mask | (value as u64) << shift & mask)
    }

    /// Whether an object may be put back and nothing else.
    #[inline]
    pub(crate) const fn puts_quietly(self) -> bool {
        self.0 & NO_PUTS == 0
    }

    /// Whether an object of this handle may be put back and nothing else, and the handle is the
    /// owner's.
    #[inline]
    pub(crate) const fn puts_quietly_for(self, handle: u64) -> bool {
        (self.0 ^ handle) & (OWNER | NO_PUTS) == 0
    }

    /// Whether an object may be taken and nothing else.
    #[inline]
    pub(crate) const fn takes_quietly(self) -> bool {
        self.0 & TAKES != 0
    }

    /// With one object put back, quietly.
    #[inline]
    pub(crate) const fn put(self) -> Self {
        Self(self.0.wrapping_add(PUT))
    }

    /// With one object taken, quietly.
    #[inline]
    pub(crate) const fn taken(self) -> Self {
        Self(self.0.wrapping_sub(PUT))
    }

    /// Whether it is growing and has one free object; then [`State::filled`] is what it is like
    /// without.
    #[inline]
    pub(crate) const fn is_growing_with_one(self) -> bool {
        const WANTED: u64 = (GROWING as u64) << LIST_SHIFT | 1 << BEYOND_SHIFT;
        self.0 & (7 << LIST_SHIFT | TAKES | BEYOND | TOUCHED) == WANTED
    }

    /// A growing zspage whose last free object was taken: the next put makes it a source again.
    #[inline]
    pub(crate) const fn filled(self) -> Self {
        Self(self.0 & !(PUTS | TAKES | BEYOND) | NO_PUTS)
    }

    /// Whether it has one free object, is on this list, and is not compaction's or a batch's.
    #[inline]
    const fn has_one_on(self, list: usize) -> bool {
        const _: () = assert!(TAKES_SHIFT > BEYOND_SHIFT && TAKES_SHIFT + 7 == u64::BITS);
        // Two comparisons of few bits, where one of all would want a mask of four instructions.
        self.0 >> BEYOND_SHIFT == 1
            && self.0 & (7 << LIST_SHIFT | SHRINKING | TOUCHED) == (list as u64) << LIST_SHIFT
    }

    /// What a zspage on the list of the fullest ones, which has one free object, is like when that
    /// is taken; `None` of any other.
    #[inline]
    pub(crate) const fn filled_up(self) -> Option<Self> {
        if !self.has_one_on(FIRST_PARTIAL) {
            return None;
        }
        let taken = self.0 - (1 << BEYOND_SHIFT) - LIST_STEP;
        Some(Self(taken & !PUTS | NO_PUTS))
    }

    /// What a full zspage, to which one object was put back, is like on the list of the fullest
    /// ones; `None` of any other. It is what [`State::armed`] gives, in fewer steps.
    #[inline]
    pub(crate) const fn unfilled(self) -> Option<Self> {
        /// Objects that can be put back before its group changes.
        const LEFT: u64 = (least_free(FIRST_PARTIAL + 1) - 2) as u64;
        if !self.has_one_on(FULL) || self.capacity() < least_free(FIRST_PARTIAL + 1) {
            return None;
        }
        // A batch may have counted puts of its own.
        Some(Self((self.0 & !PUTS) + (NO_PUTS - (LEFT << PUTS_SHIFT) + LIST_STEP)))
    }

    #[inline]
    pub(crate) const fn free(self) -> u32 {
        self.field(TAKES_SHIFT, 7) + self.field(BEYOND_SHIFT, 8)
    }

    #[inline]
    pub(crate) const fn has_free(self) -> bool {
        self.0 & (TAKES | BEYOND) != 0
    }

    #[inline]
    pub(crate) const fn capacity(self) -> u32 {
        self.field(CAPACITY_SHIFT, 8)
    }

    #[inline]
    pub(crate) const fn in_use(self) -> u32 {
        self.capacity() - self.free()
    }

    pub(crate) const fn pages(self) -> usize {
        self.field(0, 4) as usize + 1
    }

    pub(crate) const fn list(self) -> usize {
        self.field(LIST_SHIFT, 3) as usize
    }

    /// `false` if it is neither a victim nor being shrunk.
    #[inline]
    pub(crate) const fn may_be_emptied(self) -> bool {
        const _: () = assert!(LAST_PARTIAL < VICTIMS && VICTIMS.is_power_of_two());
        self.has((VICTIMS as u64) << LIST_SHIFT | SHRINKING)
    }

    /// The class of the owner.
    pub(crate) const fn class(self) -> usize {
        self.field(OWNER_SHIFT, 8) as usize
    }

    #[inline]
    pub(crate) const fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// Whether the class and pool are those of a handle's word.
    #[inline]
    pub(crate) const fn is_owner_of(self, handle: u64) -> bool {
        (self.0 ^ handle) & OWNER == 0
    }

    pub(crate) const fn flagged(self, flag: u64, on: bool) -> Self {
        Self(if on { self.0 | flag } else { self.0 & !flag })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a list's number has 3 bits")]
    pub(crate) const fn with_list(self, list: usize) -> Self {
        self.with(LIST_SHIFT, 3, list as u32)
    }

    /// With one free object more; the counters are to be set for it.
    #[inline]
    pub(crate) const fn with_one_more(self) -> Self {
        Self(self.0 + (1 << BEYOND_SHIFT))
    }

    /// With one free object less where none can be taken quietly; the counters are to be set for
    /// it.
    #[inline]
    pub(crate) const fn with_one_less(self) -> Self {
        debug_assert!(!self.takes_quietly() && self.has_free());
        Self(self.0 - (1 << BEYOND_SHIFT))
    }

    /// Without an object that was in use; the counters are to be set for it.
    #[inline]
    pub(crate) const fn with_one_gone(self) -> Self {
        Self(self.0 - (1 << CAPACITY_SHIFT))
    }

    /// With other numbers of objects; the counters are to be set for them.
    pub(crate) const fn with_counts(self, free: u32, capacity: u32) -> Self {
        self.with(TAKES_SHIFT, 7, 0).with(BEYOND_SHIFT, 8, free).with(CAPACITY_SHIFT, 8, capacity)
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 16 pages")]
    pub(crate) const fn with_pages(self, pages: usize) -> Self {
        self.with(0, 4, pages as u32 - 1)
    }

    /// A growing zspage without a free object, with one page more, which brings `added` objects;
    /// the first of them is not free.
    #[inline]
    pub(crate) const fn grown(self, added: u32) -> Self {
        debug_assert!(self.free() == 0 && !self.puts_quietly());
        let page = self.0 + 1 + ((added as u64) << CAPACITY_SHIFT);
        if added == 1 {
            return Self(page);
        }
        // All that was in use before can be put quietly.
        let counters = (1 << BEYOND_SHIFT) + ((added as u64 - 2) << TAKES_SHIFT)
            - ((self.capacity() as u64) << PUTS_SHIFT);
        Self(page + counters)
    }

    /// With the counters set, where there were none, for `free` objects.
    #[inline]
    const fn counting(self, puts: u32, takes: u32, free: u32) -> Self {
        let counters = (NO_PUTS - ((puts as u64) << PUTS_SHIFT)) | (takes as u64) << TAKES_SHIFT;
        Self(self.0 | counters | ((free - takes) as u64) << BEYOND_SHIFT)
    }

    /// The group that it belongs to.
    pub(crate) const fn group(self) -> usize {
        group(self.free())
    }

    /// With the counters set for the list, the flags and the objects.
    #[inline]
    pub(crate) const fn armed(self) -> Self {
        let (free, in_use) = (self.free(), self.in_use());
        let list = self.list();
        // An empty one counts no puts ahead, so the first take sets the counters anew; the first
        // put to one without room makes it a source again.
        let (puts, takes) = if self.has(SHRINKING) || in_use == 0 || free == 0 {
            (0, 0)
        } else if self.has(TOUCHED) {
            // The list is put right at the end of the batch; only a zspage that fills must leave
            // its list at once.
            (in_use, free - 1)
        } else if list <= LAST_PARTIAL {
            let end = least_free(list + 1);
            let end = if end < self.capacity() { end } else { self.capacity() };
            (end - (free + 1), free - least_free(list))
        } else {
            (in_use - 1, free - 1)
        };
        Self(self.0 & !(PUTS | TAKES | BEYOND)).counting(puts, takes, free)
    }
}

const _: () = assert!(FULL == group(0) && FIRST_PARTIAL == group(1) && LAST_PARTIAL == group(128));

#[cfg(test)]
mod tests {
    use core::num::NonZeroU8;

    use super::*;

    const TAG: NonZeroU8 = NonZeroU8::MIN;

    #[test]
    fn fields_do_not_touch_each_other() {
        let base = Base::new(255, TAG);
        let state = State::new(base).with_counts(128, 128).with_pages(16).with_list(7);
        assert_eq!(
            (state.free(), state.capacity(), state.pages(), state.list()),
            (128, 128, 16, 7)
        );
        assert!(state.is_owner_of(base.word()) && !state.is_owner_of(Base::new(254, TAG).word()));
        assert!(!state.has(SHRINKING | TOUCHED | ISOLATED | LAST));
    }

    #[test]
    fn a_growing_one_fills() {
        let one = State::new(Base::new(1, TAG)).with_counts(1, 9).armed();
        assert!(one.is_growing_with_one() && !one.takes_quietly());
        assert_eq!(one.filled(), one.with_counts(0, 9).armed());
        assert_eq!(one.filled().grown(3), one.with_counts(2, 12).with_pages(2).armed());
        assert_eq!(one.filled().grown(1), one.with_counts(0, 10).with_pages(2).armed());
        assert!(
            !one.with_list(1).is_growing_with_one() && !one.with_counts(2, 9).is_growing_with_one()
        );
    }

    #[test]
    fn a_full_one_gets_room() {
        for capacity in 1..=128 {
            let full =
                State::new(Base::new(1, TAG)).with_counts(0, capacity).with_list(FULL).armed();
            let one = full.with_one_more();
            let armed = one.with_list(FIRST_PARTIAL).armed();
            assert_eq!(one.unfilled(), (capacity >= 8).then_some(armed));
            assert_eq!(armed.filled_up(), Some(full));
            assert_eq!(full.filled_up(), None);
            for other in [
                full,
                one.with_list(FIRST_PARTIAL),
                one.with_one_more(),
                one.flagged(TOUCHED, true),
            ] {
                assert_eq!(other.unfilled(), None);
            }
        }
    }

    /// A quiet put or take keeps the group, never empties or fills a zspage; the next one does
    /// something of the kind.
    #[test]
    fn quiet_as_long_as_nothing_changes() {
        for capacity in 1..=128 {
            for free in 0..=capacity {
                let state = State::new(Base::new(1, TAG)).with_counts(free, capacity);
                let state = state.with_list(state.group()).armed();
                let mut next = state;
                while next.puts_quietly() {
                    next = next.put();
                    assert!(next.group() == state.group() && next.in_use() != 0);
                }
                if next.in_use() != 0 {
                    assert!(group(next.free() + 1) != state.group() || next.in_use() == 1);
                }
                assert!(free < capacity || !state.takes_quietly());
                let mut next = state;
                while next.takes_quietly() {
                    next = next.taken();
                    assert!(next.group() == state.group() && next.free() != 0);
                }
                if next.free() != 0 && next.in_use() != 0 {
                    assert!(group(next.free() - 1) != state.group());
                }
            }
        }
    }
}
