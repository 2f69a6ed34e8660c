//! A machine that is held to less memory than it has, and knows nothing of it: pages that it has not used for a while go into a swap
//! device of the machine's own, whose slots are numbered as its pages, and come back when they are touched.
//!
//! The virtual CPUs do this themselves, between two turns in the guest ([`super::vcpu`]), so the time is the guest's own. A hand goes
//! round the machine's pages: one that was used since loses its access flag, one that was not is put out. It is taken from the tables and
//! from all TLBs first, then copied; from then on nobody changes the copy, which is compressed without the lock. Whoever touches
//! the page meanwhile gets the frame back, which is kept until the copy is stored.
//!
//! All of this, and every look at the tables, is under the memory's lock ([`super::memory`]), with interrupts masked: for one page's
//! decompression at most. So what a device copies to or from lies still; a page that it finds put out comes back first, and if there
//! is no frame for it the access fails as one outside of memory does.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bale_arch::mmu;
use bale_core::stage2::{Access, Stage2};
use bale_swap::{Codec, Scratch, SwapError};

use super::medium::Medium;
use super::memory::Tables;
use super::{StartError, SwapDevice, store};
use crate::clock;
use crate::memory::PAGE_SIZE;
use crate::memory::frames::{self, Frame};
use crate::sync::Lock;

const PAGE: u64 = PAGE_SIZE as u64;
/// Pages that the hand passes with the lock held.
const SCAN: usize = 64;
/// For how long nothing is put out after the store has refused a page.
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

/// The translation tables, and what is put out.
pub(super) struct Pages {
    pub(super) stage2: Stage2<Tables>,
    held: Option<Held>,
}

struct Held {
    medium: Medium,
    figures: Holding,
    /// A page on its way out: its address in the guest, and its frame's.
    leaving: Option<(u64, u64)>,
}

/// The hand, and what its holder works with.
struct Hand {
    page: usize,
    device: &'static SwapDevice,
    scratch: &'static mut Scratch,
    copy: &'static mut [u8; PAGE_SIZE],
}

/// Who puts pages out, and whether somebody has to.
pub(super) struct Squeeze {
    hand: spin::Mutex<Option<Hand>>,
    /// More is resident than may be.
    over: AtomicBool,
    /// Not before this time, after a refusal.
    not_before: AtomicU64,
}

/// What a turn of the hand has found.
enum Found {
    Within,
    Used,
    Unused(usize),
}

impl Pages {
    pub(super) fn new(stage2: Stage2<Tables>) -> Self {
        Self { stage2, held: None }
    }

    /// Marks the page of an address as used, and brings it back if it is put out. `ram` is all that can be.
    pub(super) fn touch(&mut self, ipa: u64, ram: &Range<u64>) -> Touched {
        let ipa = ipa & !(PAGE - 1);
        if self.stage2.mark_used(ipa) {
            mmu::publish_tables();
            return Touched::There;
        }
        let (Some(held), true) = (&mut self.held, ram.contains(&ipa)) else { return Touched::Foreign };
        let slot = ((ipa - ram.start) / PAGE) as usize;
        let leaving = held.leaving.take_if(|(leaving, _)| *leaving == ipa);
        let address = match leaving {
            Some((_, address)) => address,
            None => match held.load(slot) {
                Ok(address) => address,
                Err(touched) => return touched,
            },
        };
        if self.stage2.map(ipa, address, PAGE, Access::Ram).is_err() {
            // Its table is there, since the page was mapped once: this cannot happen, and the store has the page still.
            give_back(address);
            return Touched::Lost;
        }
        mmu::publish_tables();
        held.figures.resident += 1;
        if leaving.is_none() {
            held.figures.brought_back += 1;
            // The slot is the device's own, so it cannot be refused.
            let _ = held.medium.device.release(slot, 1);
        }
        Touched::There
    }

    fn is_over(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.figures.resident > held.figures.limit)
    }

    /// Moves the hand until it finds a page that was not used, which is unmapped and copied.
    fn turn(&mut self, hand: &mut Hand, ram: &Range<u64>) -> Found {
        let Self { stage2, held: Some(held) } = self else { return Found::Within };
        if held.figures.resident <= held.figures.limit {
            return Found::Within;
        }
        let mut stale: heapless::Vec<u64, { SCAN + 1 }> = heapless::Vec::new();
        let mut changed = |ipa: u64, length: u64| {
            // A block that is about to be split goes before its parts come.
            if length != PAGE || stale.push(ipa).is_err() {
                mmu::invalidate_ipas(&[ipa]);
            }
        };
        let mut unused = None;
        for _ in 0..SCAN {
            let slot = hand.page;
            hand.page = (hand.page + 1) % held.medium.device.slots();
            let ipa = ram.start + slot as u64 * PAGE;
            // An error: there is no frame for a block's table, so the block stays.
            if stage2.age(ipa, &mut changed) == Ok(Some(false))
                && let Some((address, Access::Ram)) = stage2.translate(ipa)
                && stage2.unmap(ipa, PAGE, &mut changed).is_ok()
            {
                unused = Some((slot, ipa, address));
                break;
            }
        }
        mmu::invalidate_ipas(&stale);
        let Some((slot, ipa, address)) = unused else { return Found::Used };
        // The guest may have written past the caches.
        mmu::clean_invalidate(address, PAGE_SIZE);
        // SAFETY: a frame of this guest that nobody can reach now: it is in no table and no TLB, and devices look at tables under the lock.
        hand.copy.copy_from_slice(unsafe { &*(address as *const [u8; PAGE_SIZE]) });
        held.leaving = Some((ipa, address));
        held.figures.resident -= 1;
        Found::Unused(slot)
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
                let _ = held.medium.device.release(slot, 1);
                None
            }
        }
    }

    /// The machine is at its end: the tables, whose frames are the caller's, and nothing is stored any more.
    pub(super) fn dissolve(self) -> Stage2<Tables> {
        let Self { stage2, held } = self;
        if let Some(held) = held {
            debug_assert!(held.leaving.is_none(), "no task is left that could have begun it");
            held.medium.empty();
            held.medium.release();
        }
        stage2
    }
}

impl Held {
    /// The address of a new frame with what a slot has.
    fn load(&mut self, slot: usize) -> Result<u64, Touched> {
        let mut frame = frames::allocate().ok_or(Touched::NoFrame)?;
        let Medium { device, scratch, .. } = &mut self.medium;
        if device.read(slot, frame.bytes_mut(), scratch).is_err() {
            frame.zero();
            frames::release([frame]);
            return Err(Touched::Lost);
        }
        // The guest may fetch it, or read it past the caches.
        mmu::clean_invalidate(frame.address(), PAGE_SIZE);
        mmu::invalidate_instruction_caches();
        Ok(frame.into_address())
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
        Self { hand: spin::Mutex::new(None), over: AtomicBool::new(false), not_before: AtomicU64::new(0) }
    }

    /// Whether somebody should call [`Self::step`].
    pub(super) fn is_wanted(&self) -> bool {
        // Relaxed, here and below: hints; what is done is decided under the lock.
        self.over.load(Ordering::Relaxed) && clock::now() >= self.not_before.load(Ordering::Relaxed)
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
            let (medium, scratch) = Medium::new(slots, false, store::setup(Codec::Page), |arena| {
                Some((arena.place_copy(&super::vcpu::SCRATCH)?, arena.place([0; PAGE_SIZE])?))
            })?;
            // Nobody has it: there is nothing to be done with it yet.
            *self.hand.lock() =
                Some(Hand { page: 0, device: medium.device, scratch: scratch.0, copy: scratch.1 });
            let figures = Holding { resident: slots as u64, ..Holding::default() };
            pages.lock().held = Some(Held { medium, figures, leaving: None });
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
        let store = held.medium.device.statistics();
        Some(Holding { stored: store.stored, stored_bytes: store.compressed_bytes, ..held.figures })
    }

    /// Puts one page out, or looks at some; false once there is nothing to do, or somebody else does it. `with_tables` calls what it is given
    /// with interrupts masked and the machine's tables loaded on this core, whose TLB maintenance goes by them.
    pub(super) fn step(
        &self,
        pages: &Lock<Pages>,
        ram: &Range<u64>,
        with_tables: impl FnOnce(&mut dyn FnMut()),
    ) -> bool {
        let Some(mut hand) = self.hand.try_lock() else { return false };
        let Some(hand) = hand.as_mut() else { return false };
        let mut found = Found::Within;
        with_tables(&mut || found = pages.lock().turn(hand, ram));
        let slot = match found {
            Found::Within => {
                self.over.store(false, Ordering::Relaxed);
                // More may have come since.
                self.note(&pages.lock());
                return false;
            }
            Found::Used => return true,
            Found::Unused(slot) => slot,
        };
        let stored = hand.device.write(slot, hand.copy, hand.scratch).map(drop);
        let refused = stored.is_err();
        let frame = pages.lock().settle(slot, stored);
        if let Some(mut frame) = frame {
            frame.zero();
            frames::release([frame]);
        }
        if refused {
            self.not_before.store(clock::now() + clock::from_us(REFUSED_US), Ordering::Relaxed);
        }
        !refused
    }
}
