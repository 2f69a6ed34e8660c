//! A machine that is held to less memory than it has, and knows nothing of it: pages that it has not used for a while go into a swap
//! device of the machine's own, whose slots are numbered as its pages, and come back when they are touched.
//!
//! The virtual CPUs do this themselves, between two turns in the guest ([`super::vcpu`]), so the time is the guest's own. A hand goes
//! round the machine's pages: one that was used since loses its access flag, one that was not is put out. It is taken from the tables and
//! from all TLBs first, then copied and stored. Whoever touches the page meanwhile gets the frame back, which is kept until the copy
//! is stored: what was copied by then counts no more.
//!
//! Every look at the tables is under the memory's lock ([`super::memory`]), with interrupts masked; what takes long is not: one task at a
//! time copies and compresses, another decompresses, and both look at the tables again afterwards. A page that is in the store stays
//! there while one is brought back, since only who brings it back maps it. What a device copies to or from lies still under the lock; a
//! page that it finds put out comes back first. Where there is no frame for one, somebody of the machine puts out a page of its own, whatever is
//! resident, and it is tried again: a virtual CPU that is in the guest, and the one that serves the device ([`super::room`]).
//!
//! Locks: the hand or the carrier, then the memory.

use core::cell::Cell;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bale_arch::mmu;
use bale_core::stage2::{Access, Stage2};
use bale_swap::{Codec, Scratch, Setup, SwapError};

use super::medium::{Medium, WorkingMemory};
use super::memory::Tables;
use super::workspace::SCRATCH;
use super::{StartError, SwapDevice, store};
use bale_memory::PAGE_SIZE;
use bale_memory::frames::{self, BLOCK_SIZE, Frame};
use bale_rt::clock;
use bale_rt::sync::{IN_ORDER, Lock, Mutex};

const PAGE: u64 = PAGE_SIZE as u64;
/// Pages that the hand passes with the lock held.
const SCAN: usize = 8;
/// For how long nothing is put out after the store has refused a page, or there was no frame to split a block.
const REFUSED_US: u64 = 100_000;

/// Figures of a machine that is or was held.
#[derive(Debug, Clone, Copy, Default)]
pub struct Holding {
    /// Pages that may be resident.
    pub limit: u64,
    /// Pages that are.
    pub resident: u64,
    /// Pages that are in the store, and bytes that they take there.
    pub stored: u64,
    /// See `stored`.
    pub stored_bytes: u64,
    /// Pages put out so far.
    pub put_out: u64,
    /// Pages that came back.
    pub brought_back: u64,
    /// Pages that the store refused.
    pub refused: u64,
    /// Of those put out, the ones that made room for a page that a device needed.
    pub made_room: u64,
}

/// What became of a touched address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touched {
    /// It is mapped, and used.
    There,
    /// It is no memory of the guest.
    Foreign,
    /// There is no frame for it now.
    NoFrame,
    /// What was stored of it cannot be read.
    Lost,
}

/// What [`Squeeze::step`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There was nothing to do, somebody else does it, or the store had no room.
    Nothing,
    /// It has looked at some pages, or one was taken back on its way out.
    Looked,
    /// A page is out, and its frame free.
    PutOut,
}

/// The translation tables, and what is put out.
pub(super) struct Pages {
    pub(super) stage2: Stage2<Tables>,
    held: Option<Held>,
}

struct Held {
    device: &'static SwapDevice,
    figures: Holding,
    /// A page on its way out: its address in the guest, and its frame's.
    leaving: Option<(u64, u64)>,
}

/// The hand, and what its holder works with.
struct Hand {
    page: usize,
    /// Pages passed one after the other that lie in blocks for whose tables there is no frame.
    unsplit: usize,
    device: &'static SwapDevice,
    work: WorkingMemory,
}

/// The device's memory, and what a page that comes back is decompressed with.
struct Carrier {
    medium: Medium,
    scratch: &'static mut Scratch,
}

/// Who puts pages out, whether somebody has to, and who brings them back.
pub(super) struct Squeeze {
    hand: spin::Mutex<Option<Hand>>,
    carrier: Mutex<Option<Carrier>>,
    /// More is resident than may be.
    over: AtomicBool,
    /// There was no frame for a page that is to come back: one has to go first.
    starved: AtomicBool,
    /// Not before this time, after a refusal.
    not_before: AtomicU64,
}

/// What a turn of the hand has found.
enum Found {
    Within,
    Used,
    /// Blocks alone, once round, for whose tables there is no frame.
    Blocks,
    /// A page that nobody has used: its slot, and the frame's address.
    Unused(usize, u64),
}

/// Where a page is.
enum Place {
    /// Nothing more is to be done.
    At(Touched),
    /// In this slot of the store.
    Stored(usize),
}

impl Pages {
    pub(super) fn new(stage2: Stage2<Tables>) -> Self {
        Self { stage2, held: None }
    }

    /// Marks the page of an address as used if it has a frame, also one that is on its way out. `ram` is all that can be
    /// put out.
    fn find(&mut self, ipa: u64, ram: &Range<u64>) -> Place {
        if self.stage2.mark_used(ipa) {
            mmu::publish_tables();
            return Place::At(Touched::There);
        }
        let (Some(held), true) = (&mut self.held, ram.contains(&ipa)) else {
            return Place::At(Touched::Foreign);
        };
        match held.leaving.take_if(|(leaving, _)| *leaving == ipa) {
            Some((_, address)) => Place::At(self.put_back(ipa, address)),
            None => Place::Stored(((ipa - ram.start) / PAGE) as usize),
        }
    }

    /// Maps a page of the machine's again.
    fn put_back(&mut self, ipa: u64, address: u64) -> Touched {
        if self.stage2.map(ipa, address, PAGE, Access::Ram).is_err() {
            // Its table is there, since the page was mapped once: this cannot happen.
            give_back(address);
            return Touched::Lost;
        }
        mmu::publish_tables();
        if let Some(held) = &mut self.held {
            held.figures.resident += 1;
        }
        Touched::There
    }

    /// What was in a slot is in this frame, which nobody else brings.
    fn arrived(&mut self, ipa: u64, slot: usize, address: u64) -> Touched {
        let touched = self.put_back(ipa, address);
        if let (Touched::There, Some(held)) = (touched, &mut self.held) {
            held.figures.brought_back += 1;
            // The slot is the device's own, so it cannot be refused.
            let _ = held.device.release(slot, 1);
        }
        touched
    }

    fn is_over(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.figures.resident > held.figures.limit)
    }

    /// Moves the hand until it finds a page that was not used, which is unmapped: from here on it is on its way out.
    /// `starved`: whatever may be resident.
    fn turn(&mut self, hand: &mut Hand, ram: &Range<u64>, starved: bool) -> Found {
        let Self { stage2, held: Some(held) } = self else { return Found::Within };
        if held.figures.resident <= held.figures.limit && !starved {
            return Found::Within;
        }
        let mut stale: heapless::Vec<u64, { SCAN + 1 }> = heapless::Vec::new();
        let split = Cell::new(false);
        let mut changed = |ipa: u64, length: u64| {
            // A block that is about to be split goes before its parts come; that is enough for one turn.
            split.set(split.get() || length != PAGE);
            if length != PAGE || stale.push(ipa).is_err() {
                mmu::invalidate_ipas(&[ipa]);
            }
        };
        let (mut unused, mut blocks_alone) = (None, false);
        for _ in 0..SCAN {
            if split.get() {
                break;
            }
            let slot = hand.page;
            hand.page = (hand.page + 1) % held.device.slots();
            let ipa = ram.start + slot as u64 * PAGE;
            let Ok(aged) = stage2.age(ipa, &mut changed) else {
                // The block stays whole, and is passed as a whole.
                let rest = ((BLOCK_SIZE - ipa % BLOCK_SIZE) / PAGE) as usize;
                hand.page = (slot + rest) % held.device.slots();
                hand.unsplit += rest;
                if hand.unsplit < held.device.slots() {
                    continue;
                }
                hand.unsplit = 0;
                blocks_alone = true;
                break;
            };
            hand.unsplit = 0;
            if aged == Some(false)
                && let Some((address, Access::Ram)) = stage2.translate(ipa)
                && stage2.unmap(ipa, PAGE, &mut changed).is_ok()
            {
                unused = Some((slot, ipa, address));
                break;
            }
        }
        mmu::invalidate_ipas(&stale);
        let Some((slot, ipa, address)) = unused else {
            return if blocks_alone { Found::Blocks } else { Found::Used };
        };
        held.leaving = Some((ipa, address));
        held.figures.resident -= 1;
        Found::Unused(slot, address)
    }

    /// After the page on its way out was stored or refused; its frame if nobody took it back.
    fn settle(&mut self, slot: usize, stored: Result<(), SwapError>) -> Option<Frame> {
        let Self { stage2, held: Some(held) } = self else { return None };
        match (held.leaving.take(), stored) {
            (Some((_, address)), Ok(())) => {
                held.figures.put_out += 1;
                // SAFETY: it was given up to the tables, which do not have it any more.
                Some(unsafe { Frame::from_address(address) })
            }
            (Some((ipa, address)), Err(_)) => {
                held.figures.refused += 1;
                held.figures.resident += 1;
                let back = stage2.map(ipa, address, PAGE, Access::Ram);
                debug_assert!(back.is_ok(), "its table is there");
                mmu::publish_tables();
                None
            }
            (None, _) => {
                // It was touched meanwhile: what is stored of it counts no more, and nobody looked at it.
                let _ = held.device.release(slot, 1);
                None
            }
        }
    }

    /// The last page that went made room for a device's.
    pub(super) fn note_room(&mut self) {
        if let Some(held) = &mut self.held {
            held.figures.made_room += 1;
        }
    }

    /// The machine is at its end: the tables, whose frames are the caller's.
    pub(super) fn into_tables(self) -> Stage2<Tables> {
        debug_assert!(
            self.held.is_none_or(|held| held.leaving.is_none()),
            "no task is left that could have begun it"
        );
        self.stage2
    }
}

/// Gives a frame back that no table has, wiped.
fn give_back(address: u64) {
    // SAFETY: the caller took it from the tables, or never gave it to them.
    let mut frame = unsafe { Frame::from_address(address) };
    frame.zero();
    frames::release([frame]);
}

impl Squeeze {
    pub(super) const fn new() -> Self {
        Self {
            hand: spin::Mutex::new(None),
            carrier: Mutex::new(None),
            over: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            not_before: AtomicU64::new(0),
        }
    }

    /// Whether somebody should call [`Self::step`].
    pub(super) fn is_wanted(&self) -> bool {
        // Relaxed, here and below: hints; what is done is decided under the lock.
        (self.over.load(Ordering::Relaxed) || self.starved.load(Ordering::Relaxed))
            && clock::now() >= self.not_before.load(Ordering::Relaxed)
    }

    /// Makes an address fit to be used, and says whether it is: marks its page as used, and brings it back if it is put out. In a task
    /// that may wait; one page of a machine at a time is brought back.
    pub(super) fn touch(&self, pages: &Lock<Pages>, ipa: u64, ram: &Range<u64>) -> Touched {
        let ipa = ipa & !(PAGE - 1);
        let found = pages.lock().find(ipa, ram);
        let touched = match found {
            Place::At(touched) => touched,
            Place::Stored(_) => self.bring_back(pages, ipa, ram),
        };
        self.note(&pages.lock());
        touched
    }

    #[cold]
    fn bring_back(&self, pages: &Lock<Pages>, ipa: u64, ram: &Range<u64>) -> Touched {
        let mut carrier = self.carrier.lock().expect(IN_ORDER);
        let Some(Carrier { medium, scratch }) = carrier.as_mut() else { return Touched::Foreign };
        // Somebody may have brought it meanwhile.
        let found = pages.lock().find(ipa, ram);
        let slot = match found {
            Place::At(touched) => return touched,
            Place::Stored(slot) => slot,
        };
        // With the last ones somebody puts another page out.
        let Some(mut frame) = frames::allocate_but_last() else {
            self.starved.store(true, Ordering::Relaxed);
            return Touched::NoFrame;
        };
        self.starved.store(false, Ordering::Relaxed);
        if medium.device.read(slot, frame.bytes_mut(), scratch).is_err() {
            frame.zero();
            frames::release([frame]);
            return Touched::Lost;
        }
        // The guest may fetch it, or read it past the caches.
        mmu::clean_invalidate(frame.address(), PAGE_SIZE);
        mmu::invalidate_instruction_caches();
        pages.lock().arrived(ipa, slot, frame.into_address())
    }

    /// The machine is at its end: nothing is stored any more.
    pub(super) fn dissolve(&self) {
        if let Some(Carrier { medium, .. }) = self.carrier.lock().expect(IN_ORDER).take() {
            medium.empty();
            medium.release();
        }
    }

    /// To be called after more became resident, or less may be.
    pub(super) fn note(&self, pages: &Pages) {
        if pages.is_over() {
            self.over.store(true, Ordering::Relaxed);
        }
    }

    /// Holds a machine's memory to so many pages from now on.
    pub(super) fn hold(&self, pages: &Lock<Pages>, limit: u64, ram: &Range<u64>) -> Result<(), StartError> {
        if pages.lock().held.is_none() {
            let slots = ((ram.end - ram.start) / PAGE) as usize;
            // What it stores makes room.
            let setup = Setup { has_room: || true, ..store::setup(Codec::Page) };
            let (medium, (work, scratch)) = Medium::new(slots, false, setup, |arena| {
                Some((WorkingMemory::place(arena)?, arena.place_copy(&*SCRATCH.read())?))
            })?;
            // Nobody has it: there is nothing to be done with it yet.
            *self.hand.lock() = Some(Hand { page: 0, unsplit: 0, device: medium.device, work });
            let figures = Holding { resident: slots as u64, ..Holding::default() };
            let held = Held { device: medium.device, figures, leaving: None };
            // Before there is anything in the store.
            *self.carrier.lock().expect(IN_ORDER) = Some(Carrier { medium, scratch });
            pages.lock().held = Some(held);
        }
        let mut pages = pages.lock();
        if let Some(held) = &mut pages.held {
            held.figures.limit = limit;
        }
        self.note(&pages);
        Ok(())
    }

    /// Figures, if the machine is or was held.
    pub(super) fn figures(pages: &Lock<Pages>) -> Option<Holding> {
        let pages = pages.lock();
        let held = pages.held.as_ref()?;
        let store = held.device.statistics();
        Some(Holding { stored: store.stored, stored_bytes: store.compressed_bytes, ..held.figures })
    }

    /// There is no memory to put anything out now.
    fn refuse(&self) -> Step {
        self.not_before.store(clock::now() + clock::from_us(REFUSED_US), Ordering::Relaxed);
        Step::Nothing
    }

    /// Puts one page out, or looks at some. `with_tables` calls what it is given
    /// with interrupts masked and the machine's tables loaded on this core, whose TLB maintenance goes by them.
    pub(super) fn step(
        &self,
        pages: &Lock<Pages>,
        ram: &Range<u64>,
        with_tables: impl FnOnce(&mut dyn FnMut()),
    ) -> Step {
        let Some(mut hand) = self.hand.try_lock() else { return Step::Nothing };
        let Some(hand) = hand.as_mut() else { return Step::Nothing };
        let mut found = Found::Within;
        let starved = self.starved.load(Ordering::Relaxed);
        with_tables(&mut || found = pages.lock().turn(hand, ram, starved));
        let slot = match found {
            Found::Within => {
                self.over.store(false, Ordering::Relaxed);
                // More may have come since.
                self.note(&pages.lock());
                return Step::Nothing;
            }
            Found::Used => return Step::Looked,
            Found::Blocks => return self.refuse(),
            Found::Unused(slot, address) => {
                // The guest may have written past the caches.
                mmu::clean_invalidate(address, PAGE_SIZE);
                // SAFETY: a frame of this guest, which is kept until `settle`. If it is put back meanwhile the guest may write to it, so this is a
                // copy of raw bytes, which count for nothing then.
                unsafe {
                    core::ptr::copy_nonoverlapping(
                        address as *const u8,
                        hand.work.page.as_mut_ptr(),
                        PAGE_SIZE,
                    );
                }
                slot
            }
        };
        let stored = hand.device.write(slot, hand.work.page, hand.work.scratch).map(drop);
        let refused = stored.is_err();
        let frame = pages.lock().settle(slot, stored);
        if refused {
            return self.refuse();
        }
        let Some(mut frame) = frame else { return Step::Looked };
        frame.zero();
        frames::release([frame]);
        self.starved.store(false, Ordering::Relaxed);
        Step::PutOut
    }
}
