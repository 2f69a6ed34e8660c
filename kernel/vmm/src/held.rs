//! A machine that is held to less memory than it has, and knows nothing of it: pages that it has
//! not used for a while go into a swap device of the machine's own, whose slots are numbered as its
//! pages, and come back when they are touched.
//!
//! The virtual CPUs do this themselves, between two turns in the guest ([`super::vcpu`]), so the
//! time is the guest's own. A hand goes round the machine's pages: one that was used since loses
//! its access flag, one that was not is put out. It is taken from the tables and from all TLBs
//! first, then copied and stored. Whoever touches the page meanwhile gets the frame back, which is
//! kept until the copy is stored: what was copied by then counts no more.
//!
//! Which page is where, and what becomes of one whose map fails, is [`bale_core::residency`]'s.
//! Every look at the tables is under the memory's lock ([`super::memory`]), with interrupts masked;
//! what takes long is not: one task at a time copies and compresses, another decompresses, and both
//! look at the tables again afterwards. A page that is in the store stays there while one is
//! brought back, since only who brings it back maps it. What a device copies to or from lies still
//! under the lock; a page that it finds put out comes back first. Where there is no frame for one,
//! somebody of the machine puts out a page of its own, whatever is resident, and it is tried again:
//! a virtual CPU that is in the guest, and the one that serves the device ([`super::room`]).
//!
//! Locks: the hand or the carrier, then the memory.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bale_arch::mmu;
use bale_core::residency::{ClockHand, Counts, Place, Residency, SCAN, Settled, Turn};
use bale_core::stage2::Stage2;
use bale_swap::{Codec, Room, Scratch, Setup};

use super::medium::{Medium, WorkingMemory};
use super::memory::Tables;
use super::workspace::SCRATCH;
use super::{StartError, SwapDevice, store};
use bale_memory::PAGE_SIZE;
use bale_memory::frames::{self, Frame};
use bale_rt::clock;
use bale_rt::sync::{IN_ORDER, Lock, Mutex};

const PAGE: u64 = PAGE_SIZE as u64;
/// For how long nothing is put out after the store has refused a page, or there was no frame to
/// split a block.
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
    residency: Residency<Tables>,
    /// The store, once the machine is held.
    device: Option<&'static SwapDevice>,
    /// Pages put out so far that made room for a device's.
    made_room: u64,
}

/// The hand, and what its holder works with.
struct Hand {
    clock: ClockHand,
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

impl Pages {
    pub(super) fn new(stage2: Stage2<Tables>) -> Self {
        Self { residency: Residency::new(stage2), device: None, made_room: 0 }
    }

    pub(super) fn stage2(&self) -> &Stage2<Tables> {
        self.residency.stage2()
    }

    pub(super) fn stage2_mut(&mut self) -> &mut Stage2<Tables> {
        self.residency.stage2_mut()
    }

    /// See [`Residency::touch`].
    fn find(&mut self, ipa: u64, ram: &Range<u64>) -> Place {
        let place = self.residency.touch(ipa, ram);
        mmu::publish_tables();
        place
    }

    /// What was in a slot is in this frame, which nobody else brings. A frame that cannot be mapped
    /// goes back: the page is in the slot still.
    fn arrived(&mut self, ipa: u64, slot: usize, address: u64) -> Touched {
        if !self.residency.arrive(ipa, address) {
            give_back(address);
            return Touched::NoFrame;
        }
        mmu::publish_tables();
        self.empty(slot);
        Touched::There
    }

    /// What is in a slot counts no more. Under the lock: nobody can have put its page out anew.
    fn empty(&self, slot: usize) {
        if let Some(device) = self.device {
            // The slot is the device's own, so it cannot be refused.
            let _ = device.release(slot, 1);
        }
    }

    /// See [`Residency::turn`].
    fn turn(&mut self, hand: &mut ClockHand, ram: &Range<u64>, starved: bool) -> Turn {
        let mut stale: heapless::Vec<u64, { SCAN + 1 }> = heapless::Vec::new();
        let turn = self.residency.turn(hand, ram, starved, &mut |ipa, length| {
            // A block that is about to be split goes before its parts come.
            if length != PAGE || stale.push(ipa).is_err() {
                mmu::invalidate_ipas(&[ipa]);
            }
        });
        mmu::invalidate_ipas(&stale);
        mmu::publish_tables();
        turn
    }

    /// After the page on its way out was stored or refused; its frame if nobody took it back.
    fn settle(&mut self, slot: usize, stored: bool) -> Option<Frame> {
        match self.residency.settle(stored) {
            Settled::Stored(address) => {
                // SAFETY: it was given up to the tables, which do not have it any more.
                Some(unsafe { Frame::from_address(address) })
            }
            Settled::Refused => {
                mmu::publish_tables();
                None
            }
            Settled::Touched => {
                self.empty(slot);
                None
            }
        }
    }

    /// The last page that went made room for a device's.
    pub(super) fn note_room(&mut self) {
        self.made_room += 1;
    }

    /// The machine is at its end: the tables, whose frames are the caller's.
    pub(super) fn into_tables(self) -> Stage2<Tables> {
        let (stage2, left) = self.residency.into_tables();
        if let Some(address) = left {
            give_back(address);
        }
        stage2
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

    /// Makes an address fit to be used, and says whether it is: marks its page as used, and brings
    /// it back if it is put out. In a task that may wait; one page of a machine at a time is
    /// brought back.
    pub(super) fn touch(&self, pages: &Lock<Pages>, ipa: u64, ram: &Range<u64>) -> Touched {
        let ipa = ipa & !(PAGE - 1);
        let found = pages.lock().find(ipa, ram);
        let touched = match found {
            Place::Mapped => Touched::There,
            Place::Foreign => Touched::Foreign,
            Place::Stuck => Touched::NoFrame,
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
            Place::Mapped => return Touched::There,
            Place::Foreign => return Touched::Foreign,
            Place::Stuck => return Touched::NoFrame,
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
        if pages.residency.is_over() {
            self.over.store(true, Ordering::Relaxed);
        }
    }

    /// Holds a machine's memory to so many pages from now on.
    pub(super) fn hold(
        &self,
        pages: &Lock<Pages>,
        limit: u64,
        ram: &Range<u64>,
    ) -> Result<(), StartError> {
        let slots = ((ram.end - ram.start) / PAGE) as usize;
        if !pages.lock().residency.is_held() {
            // What it stores makes room.
            let setup = Setup { has_room: || Room::All, ..store::setup(Codec::Page) };
            let (medium, (work, scratch)) = Medium::new(slots, false, setup, |arena| {
                Some((WorkingMemory::place(arena)?, arena.place_copy(&*SCRATCH.read())?))
            })?;
            let device = medium.device;
            // Nobody has it: there is nothing to be done with it yet.
            *self.hand.lock() = Some(Hand { clock: ClockHand::default(), device, work });
            // Before there is anything in the store.
            *self.carrier.lock().expect(IN_ORDER) = Some(Carrier { medium, scratch });
            pages.lock().device = Some(device);
        }
        let mut pages = pages.lock();
        pages.residency.hold(limit, slots);
        self.note(&pages);
        Ok(())
    }

    /// Figures, if the machine is or was held.
    pub(super) fn figures(pages: &Lock<Pages>) -> Option<Holding> {
        let pages = pages.lock();
        let Counts { limit, resident, paged_out, paged_in, refused } = pages.residency.counts()?;
        let store = pages.device?.statistics();
        Some(Holding {
            limit,
            resident,
            stored: store.stored,
            stored_bytes: store.compressed_bytes,
            put_out: paged_out,
            brought_back: paged_in,
            refused,
            made_room: pages.made_room,
        })
    }

    /// There is no memory to put anything out now.
    fn refuse(&self) -> Step {
        self.not_before.store(clock::now() + clock::from_us(REFUSED_US), Ordering::Relaxed);
        Step::Nothing
    }

    /// Puts one page out, or looks at some. `with_tables` calls what it is given
    /// with interrupts masked and the machine's tables loaded on this core, whose TLB maintenance
    /// goes by them.
    pub(super) fn step(
        &self,
        pages: &Lock<Pages>,
        ram: &Range<u64>,
        with_tables: impl FnOnce(&mut dyn FnMut()),
    ) -> Step {
        let Some(mut hand) = self.hand.try_lock() else { return Step::Nothing };
        let Some(hand) = hand.as_mut() else { return Step::Nothing };
        let mut found = Turn::Within;
        let starved = self.starved.load(Ordering::Relaxed);
        with_tables(&mut || found = pages.lock().turn(&mut hand.clock, ram, starved));
        let slot = match found {
            Turn::Within => {
                self.over.store(false, Ordering::Relaxed);
                // More may have come since.
                self.note(&pages.lock());
                return Step::Nothing;
            }
            Turn::Used => return Step::Looked,
            Turn::Blocked => return self.refuse(),
            Turn::Leaving(slot, address) => {
                // The guest may have written past the caches.
                mmu::clean_invalidate(address, PAGE_SIZE);
                // SAFETY: a frame of this guest, which is kept until `settle`. If it is put back
                // meanwhile the guest may write to it, so this is a copy of raw bytes, which count
                // for nothing then.
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
        let stored = hand.device.write(slot, hand.work.page, hand.work.scratch).is_ok();
        let frame = pages.lock().settle(slot, stored);
        if !stored {
            return self.refuse();
        }
        let Some(mut frame) = frame else { return Step::Looked };
        frame.zero();
        frames::release([frame]);
        self.starved.store(false, Ordering::Relaxed);
        Step::PutOut
    }
}
