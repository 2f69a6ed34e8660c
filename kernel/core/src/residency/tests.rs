//! A machine of three pages whose every byte is known, with maps that fail.

use super::*;
use crate::stage2::Caching;
use proptest::prelude::*;
use std::collections::HashMap;

/// Each page has a last-level table of its own, so that one can be lost alone.
const PAGES: usize = 3;
const SLOTS: usize = PAGES * 512;
const RAM: Range<u64> = 0x4000_0000..0x4000_0000 + SLOTS as u64 * PAGE;

fn ipa(page: usize) -> u64 {
    RAM.start + page as u64 * 512 * PAGE
}

#[derive(Debug, Default)]
struct Tables {
    tables: HashMap<u64, Vec<u64>>,
    next: u64,
    /// There is no memory for tables.
    refuses: bool,
}

impl Tables {
    fn make(&mut self, entries: usize) -> Option<u64> {
        if self.refuses {
            return None;
        }
        self.next += 0x2000;
        self.tables.insert(self.next, vec![0; entries]);
        Some(self.next)
    }
}

impl TableMemory for Tables {
    fn allocate_root(&mut self) -> Option<u64> {
        self.make(1024)
    }
    fn release_root(&mut self, _root: u64) {}
    fn allocate(&mut self) -> Option<u64> {
        self.make(512)
    }
    fn allocate_filled(&mut self, _first: u64, _step: u64) -> Option<u64> {
        unreachable!("nothing is mapped as a block")
    }
    fn release(&mut self, _table: u64) {}
    fn read(&self, table: u64, index: usize) -> u64 {
        self.tables[&table][index]
    }
    fn write(&mut self, table: u64, index: usize, entry: u64) {
        self.tables.get_mut(&table).expect("a table")[index] = entry;
    }
}

/// A machine, its frames' contents by address, its store, and what the guest wrote last.
struct Machine {
    residency: Residency<Tables>,
    hand: ClockHand,
    frames: HashMap<u64, u64>,
    free: Vec<u64>,
    store: HashMap<usize, u64>,
    written: [u64; PAGES],
    /// A page between [`Residency::turn`] and [`Residency::settle`]: its slot and what was copied.
    copied: Option<(usize, u64)>,
}

impl Machine {
    fn new(limit: u64) -> Self {
        let mut stage2 = Stage2::new(Tables::default(), Caching::Combined).expect("memory");
        let mut frames = HashMap::new();
        for page in 0..PAGES {
            let address = (page as u64 + 1) * PAGE;
            stage2.map(ipa(page), address, PAGE, Access::Ram).expect("memory");
            frames.insert(address, page as u64);
        }
        let mut residency = Residency::new(stage2);
        residency.hold(limit, PAGES);
        // The hand goes over the places of pages that were never there, too.
        if let Some(held) = &mut residency.held {
            held.slots = SLOTS;
        }
        Self {
            residency,
            hand: ClockHand::default(),
            frames,
            free: vec![0x10_0000, 0x10_1000],
            store: HashMap::new(),
            written: core::array::from_fn(|page| page as u64),
            copied: None,
        }
    }

    /// No map of a page that is not mapped now will work until this is called again.
    fn lose_tables(&mut self, lost: bool) {
        if lost {
            for page in 0..PAGES {
                if self.residency.stage2().translate(ipa(page)).is_none() {
                    self.residency.stage2_mut().forget_table(ipa(page));
                }
            }
        }
        self.residency.stage2_mut().memory().refuses = lost;
    }

    /// The guest touches a page, as often as it takes if all is well; whether it could.
    fn touch(&mut self, page: usize) -> bool {
        match self.residency.touch(ipa(page), &RAM) {
            Place::Mapped => true,
            Place::Foreign => panic!("page {page} is nowhere"),
            Place::Stuck => false,
            Place::Stored(slot) => {
                let content = *self.store.get(&slot).expect("a page that is not mapped is stored");
                let Some(address) = self.free.pop() else { return false };
                self.frames.insert(address, content);
                if self.residency.arrive(ipa(page), address) {
                    self.store.remove(&slot);
                    return true;
                }
                self.free.push(address);
                false
            }
        }
    }

    fn access(&mut self, page: usize, value: Option<u64>) {
        if !self.touch(page) {
            return;
        }
        let (address, _) = self.residency.stage2().translate(ipa(page)).expect("mapped");
        assert_eq!(self.frames[&address], self.written[page], "page {page} reads wrong");
        if let Some(value) = value {
            self.frames.insert(address, value);
            self.written[page] = value;
        }
    }

    fn turn(&mut self, starved: bool) {
        if self.copied.is_some() {
            return;
        }
        for _ in 0..2 * SLOTS / SCAN {
            match self.residency.turn(&mut self.hand, &RAM, starved, &mut |_, _| ()) {
                Turn::Used => {}
                Turn::Within | Turn::Blocked => break,
                Turn::Leaving(slot, address) => {
                    self.copied = Some((slot, self.frames[&address]));
                    break;
                }
            }
        }
    }

    fn settle(&mut self, stored: bool) {
        let Some((slot, content)) = self.copied.take() else { return };
        if stored {
            self.store.insert(slot, content);
        }
        match self.residency.settle(stored) {
            Settled::Stored(address) => self.free.push(address),
            Settled::Refused => {}
            Settled::Touched => drop(self.store.remove(&slot)),
        }
    }

    /// Every frame is somewhere, and counted where it is.
    fn check(&mut self) {
        let mapped = (0..PAGES)
            .filter(|page| self.residency.stage2().translate(ipa(*page)).is_some())
            .count();
        let counts = self.residency.counts().expect("held");
        assert_eq!(counts.resident, mapped as u64, "resident");
        let leaving = self.residency.held.as_ref().is_some_and(|held| held.leaving.is_some());
        assert_eq!(mapped + usize::from(leaving) + self.free.len(), PAGES + 2, "a frame is lost");
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Read(usize),
    Write(usize, u64),
    Turn(bool),
    Settle(bool),
    Lose(bool),
    Limit(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..PAGES).prop_map(Step::Read),
        3 => (0..PAGES, any::<u64>()).prop_map(|(page, value)| Step::Write(page, value)),
        4 => any::<bool>().prop_map(Step::Turn),
        4 => any::<bool>().prop_map(Step::Settle),
        2 => any::<bool>().prop_map(Step::Lose),
        1 => (0..4u64).prop_map(Step::Limit),
    ]
}

proptest! {
    /// Whatever fails and when: a page reads as it was written last or is waited for, every frame
    /// is accounted for, and once maps work again so does everything.
    #[test]
    fn no_page_ever_reads_wrong(steps in proptest::collection::vec(step(), 1..120)) {
        let mut machine = Machine::new(0);
        for step in steps {
            match step {
                Step::Read(page) => machine.access(page, None),
                Step::Write(page, value) => machine.access(page, Some(value)),
                Step::Turn(starved) => machine.turn(starved),
                Step::Settle(stored) => machine.settle(stored),
                Step::Lose(lost) => machine.lose_tables(lost),
                Step::Limit(limit) => machine.residency.hold(limit, PAGES),
            }
            machine.check();
        }
        machine.lose_tables(false);
        machine.settle(true);
        for page in 0..PAGES {
            if machine.free.is_empty() {
                // Somebody else gives one back.
                break;
            }
            prop_assert!(machine.touch(page), "page {} does not come back", page);
            machine.access(page, None);
        }
        machine.check();
    }
}

/// The store refuses a page that cannot be mapped any more: its frame is kept, and comes back.
#[test]
fn a_refused_page_that_cannot_be_mapped_keeps_its_frame() {
    let mut machine = Machine::new(0);
    machine.turn(true);
    let (slot, _) = machine.copied.expect("nobody uses it");
    machine.lose_tables(true);
    machine.settle(false);
    machine.check();
    assert!(!machine.touch(slot / 512), "there is no table for it");
    assert_eq!(
        machine.residency.turn(&mut machine.hand, &RAM, false, &mut |_, _| ()),
        Turn::Blocked
    );
    machine.lose_tables(false);
    assert_eq!(machine.residency.turn(&mut machine.hand, &RAM, false, &mut |_, _| ()), Turn::Used);
    machine.access(slot / 512, None);
    machine.check();
}

/// A machine that ends with a page that is stuck gives its frame back.
#[test]
fn the_end_names_a_frame_that_no_table_has() {
    let mut machine = Machine::new(0);
    machine.turn(true);
    machine.lose_tables(true);
    machine.settle(false);
    let mut frames = Vec::new();
    let (stage2, left) = machine.residency.into_tables();
    stage2.for_each_mapped(&mut |_, address, _, _| frames.push(address));
    frames.extend(left);
    frames.sort_unstable();
    assert_eq!(frames, [PAGE, 2 * PAGE, 3 * PAGE]);
}

/// Limit and store come into view together: at no moment may less than asked for be resident.
#[test]
fn a_limit_is_there_at_once() {
    let stage2 = Stage2::new(Tables::default(), Caching::Combined).expect("memory");
    let mut residency = Residency::new(stage2);
    assert!(!residency.is_held() && !residency.is_over());
    residency.hold(5, 5);
    assert!(residency.is_held() && !residency.is_over());
    assert_eq!(residency.counts(), Some(Counts { limit: 5, resident: 5, ..Counts::default() }));
}
