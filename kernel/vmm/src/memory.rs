//! A guest's memory: frames behind stage 2 translation, and access to them by guest-physical
//! address.
//!
//! Addresses from a guest are checked by translation each time they are used: what stage 2 does not
//! map, the guest cannot name either. The tables change only under the memory's lock, which is held
//! while something is copied to or from a page; a small guest's do not change while it lives.
//! Frames are wiped before a guest gets them and after it had them.

use core::ops::Range;
use core::sync::atomic::Ordering;

use bale_abi::{GuestInfo, INFO_BASE, PAGES_BASE, RAM_BASE, RAM_SIZE};
use bale_arch::mmu;
use bale_core::guest_image::GuestImage;
use bale_core::guest_layout::LayoutError;
use bale_core::guest_ram::{GuestRam, OutOfRam};
use bale_core::guest_tree::FIRMWARE;
use bale_core::stage2::{Access, Caching, Stage2, TableMemory};

use super::held::{Holding, Pages, Squeeze, Step, Touched};
use super::{Reason, SLOTS, StartError, reserve, room};
use bale_memory::PAGE_SIZE;
use bale_memory::frames::{self, BLOCK_SIZE, Block, Frame};
use bale_rt::sync::{Guard, Lock};
use bale_rt::task;

const PAGE: u64 = PAGE_SIZE as u64;
/// Bytes that the start of a machine leaves free: pages that are put out and brought back need some
/// on their way.
pub(super) const RESERVE: u64 = 2 << 20;
/// Between two looks for a frame for a page that is to come back.
pub(super) const PATIENCE_US: u64 = 1_000;

/// Stage 2 tables in frames of their own.
pub(super) struct Tables {
    /// The root is two tables that lie together: a static pair for each machine.
    root: u64,
}

#[repr(C, align(8192))]
struct Root(core::cell::UnsafeCell<[u64; 1024]>);

// SAFETY: each root is used by the one machine in its slot.
unsafe impl Sync for Root {}

static ROOTS: [Root; super::MAX_VMS] =
    [const { Root(core::cell::UnsafeCell::new([0; 1024])) }; super::MAX_VMS];

fn entry(table: u64, index: usize) -> *mut u64 {
    (table as *mut u64).wrapping_add(index)
}

impl TableMemory for Tables {
    fn allocate_root(&mut self) -> Option<u64> {
        for index in 0..1024 {
            self.write(self.root, index, 0);
        }
        Some(self.root)
    }

    fn release_root(&mut self, _root: u64) {
        // Static: the slot keeps it.
    }

    fn allocate(&mut self) -> Option<u64> {
        frames::allocate_zeroed().map(Frame::into_address)
    }

    fn allocate_filled(&mut self, first: u64, step: u64) -> Option<u64> {
        // For a block that is split: what is put out of it needs a frame first.
        let mut frame = frames::allocate_but_last()?;
        let mut entry = first;
        // Eight at a time: interrupts may be masked.
        for line in frame.bytes_mut().as_chunks_mut::<64>().0 {
            for (at, place) in (0..).zip(line.as_chunks_mut::<8>().0) {
                *place = entry.wrapping_add(at * step).to_ne_bytes();
            }
            entry = entry.wrapping_add(8 * step);
        }
        Some(frame.into_address())
    }

    fn release(&mut self, table: u64) {
        // SAFETY: the table came from `allocate` and is used no more.
        frames::release([unsafe { Frame::from_address(table) }]);
    }

    fn read(&self, table: u64, index: usize) -> u64 {
        // SAFETY: a table of this machine, index within it; the hardware may read it at the same
        // time.
        unsafe { entry(table, index).read_volatile() }
    }

    fn write(&mut self, table: u64, index: usize, value: u64) {
        // SAFETY: as above; whoever makes the machine or holds its memory's lock is the only
        // writer.
        unsafe { entry(table, index).write_volatile(value) };
    }
}

/// A guest's memory.
pub(super) struct GuestMemory {
    /// Number of its machine.
    slot: usize,
    pages: Lock<Pages>,
    /// What of it can be put out: nothing of a small guest's.
    ram: Range<u64>,
    squeeze: Squeeze,
}

impl GuestMemory {
    fn empty(slot: usize, ram: Range<u64>) -> Result<Self, StartError> {
        let tables = Tables { root: ROOTS[slot].0.get() as u64 };
        let caching = if mmu::forces_write_back() { Caching::Forced } else { Caching::Combined };
        let stage2 = Stage2::new(tables, caching).map_err(|_| StartError::OutOfMemory)?;
        Ok(Self { slot, pages: Lock::new(Pages::new(stage2)), ram, squeeze: Squeeze::new() })
    }

    /// `length` bytes of zeroed memory from `base`: blocks as far as there are any, single pages
    /// beyond.
    pub(super) fn zeroed(slot: usize, base: u64, length: u64) -> Result<Self, StartError> {
        check_room(length)?;
        let mut memory = Self::empty(slot, base..base + length)?;
        match (0..length / BLOCK_SIZE).try_for_each(|at| memory.add_block(base + at * BLOCK_SIZE)) {
            Ok(()) => Ok(memory),
            Err(error) => {
                memory.release();
                Err(error)
            }
        }
    }

    fn add_block(&mut self, ipa: u64) -> Result<(), StartError> {
        let Some(mut block) = bale_rt::blocks::allocate_block() else {
            return (0..BLOCK_SIZE / PAGE)
                .try_for_each(|at| self.add_page(ipa + at * PAGE, Access::Ram, 0, &[]));
        };
        block.zero();
        let address = block.into_address();
        mmu::clean_invalidate(address, BLOCK_SIZE as usize);
        self.pages.get_mut().stage2_mut().map(ipa, address, BLOCK_SIZE, Access::Ram).map_err(|_| {
            // SAFETY: it was not mapped, so it is ours still.
            frames::release_block(unsafe { Block::from_address(address) });
            StartError::OutOfMemory
        })
    }

    /// Memory of a small guest with its image, start-up page and captured pages in place; and its
    /// entry point.
    pub(super) fn new(
        slot: usize,
        image: &[u8],
        info: &GuestInfo,
        pages: &[u8],
    ) -> Result<(Self, u64), StartError> {
        let header = GuestImage::parse(image)
            .map_err(|error| StartError::Layout(LayoutError::Image(error)))?;
        let entry = header.load_address(RAM_BASE);
        let fits =
            entry.checked_sub(RAM_BASE).and_then(|offset| offset.checked_add(header.image_size));
        if fits.is_none_or(|end| end > RAM_SIZE) {
            return Err(StartError::Layout(LayoutError::ImageTooLarge));
        }
        check_room(RAM_SIZE + pages.len() as u64)?;
        let mut memory = Self::empty(slot, 0..0)?;
        match memory.fill(image, entry, info, pages) {
            Ok(()) => Ok((memory, entry)),
            Err(error) => {
                memory.release();
                Err(error)
            }
        }
    }

    fn fill(
        &mut self,
        image: &[u8],
        entry: u64,
        info: &GuestInfo,
        pages: &[u8],
    ) -> Result<(), StartError> {
        let offset = (entry - RAM_BASE) as usize;
        for at in (0..RAM_SIZE as usize).step_by(PAGE_SIZE) {
            // What of the image falls into this page.
            let from = at.saturating_sub(offset).min(image.len());
            let to = (at + PAGE_SIZE).saturating_sub(offset).min(image.len());
            let place = (offset + from).saturating_sub(at).min(PAGE_SIZE);
            self.add_page(RAM_BASE + at as u64, Access::Ram, place, &image[from..to])?;
        }
        self.add_page(INFO_BASE, Access::ReadOnly, 0, &info.to_bytes())?;
        for (index, page) in pages.chunks_exact(PAGE_SIZE).enumerate() {
            self.add_page(PAGES_BASE + index as u64 * PAGE, Access::ReadOnly, 0, page)?;
        }
        // The frames may have held other code.
        mmu::invalidate_instruction_caches();
        Ok(())
    }

    /// Firmware's image, which the guest can read and execute.
    pub(super) fn add_firmware(&mut self, image: &[u8]) -> Result<(), StartError> {
        for (at, page) in (FIRMWARE..).step_by(PAGE_SIZE).zip(image.chunks(PAGE_SIZE)) {
            self.add_page(at, Access::ReadOnly, 0, page)?;
        }
        Ok(())
    }

    /// One more page of memory, zero but for `content` at `place`.
    fn add_page(
        &mut self,
        ipa: u64,
        access: Access,
        place: usize,
        content: &[u8],
    ) -> Result<(), StartError> {
        let mut frame = frames::allocate_zeroed().ok_or(StartError::OutOfMemory)?;
        frame.bytes_mut()[place..place + content.len()].copy_from_slice(content);
        // The guest starts with its caches off.
        mmu::clean_invalidate(frame.address(), PAGE_SIZE);
        match self.pages.get_mut().stage2_mut().map(ipa, frame.address(), PAGE, access) {
            Ok(()) => {
                let _ = frame.into_address();
                Ok(())
            }
            Err(_) => {
                frames::release([frame]);
                Err(StartError::OutOfMemory)
            }
        }
    }

    /// Puts something into the memory of a guest that has not started, whose caches will be off.
    pub(super) fn place(&self, ipa: u64, content: &[u8]) -> Result<(), OutOfRam> {
        self.write(ipa, content)?;
        self.each_piece(ipa, content.len(), true, |address, at, length| {
            debug_assert!(at + length <= content.len());
            mmu::clean_invalidate(address, length);
        })
    }

    /// `VTCR_EL2` and `VTTBR_EL2` for this memory.
    pub(super) fn registers(&self, vmid: u16) -> (u64, u64) {
        (
            Stage2::<Tables>::vtcr(mmu::physical_address_range()),
            self.pages.lock().stage2().vttbr(vmid),
        )
    }

    /// Holds it to so many bytes from now on.
    ///
    /// # Errors
    /// There is no memory for the store's table, or it is larger than there is room for.
    pub(super) fn hold(&self, bytes: u64) -> Result<(), StartError> {
        self.squeeze.hold(&self.pages, bytes / PAGE, &self.ram)
    }

    /// Bytes that can be put out: all of a described machine's.
    pub(super) fn ram_bytes(&self) -> u64 {
        self.ram.end - self.ram.start
    }

    /// Figures, if it is or was held.
    pub(super) fn holding(&self) -> Option<Holding> {
        Squeeze::figures(&self.pages)
    }

    /// See [`Squeeze::touch`].
    pub(super) fn touch(&self, ipa: u64) -> Touched {
        if !self.ram.contains(&ipa) {
            return Touched::Foreign;
        }
        self.squeeze.touch(&self.pages, ipa, &self.ram)
    }

    /// Whether pages should be put out: somebody should call [`Self::put_out`].
    pub(super) fn is_over(&self) -> bool {
        self.squeeze.is_wanted()
    }

    /// As [`Self::step`]; whether there may be more to do.
    pub(super) fn put_out(&self, with_tables: impl FnOnce(&mut dyn FnMut())) -> bool {
        self.step(with_tables) != Step::Nothing
    }

    /// See [`Squeeze::step`].
    pub(super) fn step(&self, with_tables: impl FnOnce(&mut dyn FnMut())) -> Step {
        self.squeeze.step(&self.pages, &self.ram, with_tables)
    }

    /// See [`Pages::note_room`].
    pub(super) fn note_room(&self) {
        self.pages.lock().note_room();
    }

    /// Copies a guest page out; false if the guest has no such page.
    pub(super) fn read_page(&self, ipa: u64, page: &mut [u8; PAGE_SIZE]) -> bool {
        ipa.is_multiple_of(PAGE) && self.read(ipa, page).is_ok()
    }

    /// Lets a page be written in place; `None` if the guest has no such page or may only read it.
    /// For guests with one virtual CPU, which stands still meanwhile.
    pub(super) fn with_page_mut<R>(
        &self,
        ipa: u64,
        f: impl FnOnce(&mut [u8; PAGE_SIZE]) -> R,
    ) -> Option<R> {
        if !ipa.is_multiple_of(PAGE) {
            return None;
        }
        let found = self.pages.lock().stage2().translate(ipa)?;
        match found {
            // SAFETY: a frame of this guest, whole, which stays where it is, as a small guest's do;
            // its only virtual CPU is the caller's, and devices have no part in it.
            (address, Access::Ram) => Some(f(unsafe { &mut *(address as *mut [u8; PAGE_SIZE]) })),
            _ => None,
        }
    }

    /// Where an address of the guest's memory is, which stays there as long as the tables are
    /// locked; its page is brought back first if it is put out, for which a frame is waited for
    /// until the machine ends. In a task that may wait; what it may hold meanwhile are mutexes of
    /// the machine's own devices.
    #[inline(never)]
    fn locate(&self, ipa: u64, write: bool) -> Result<(Guard<'_, Pages>, u64), OutOfRam> {
        loop {
            let pages = self.pages.lock();
            match pages.stage2().translate(ipa) {
                None if self.ram.contains(&ipa) => {
                    drop(pages);
                    self.await_page(ipa)?;
                }
                Some((address, Access::Ram)) => return Ok((pages, address)),
                Some((address, Access::ReadOnly)) if !write => return Ok((pages, address)),
                _ => return Err(OutOfRam),
            }
        }
    }

    /// Brings a page back that a device needs, and puts another one out if there is no frame for it
    /// or the machine is over its limit. An error: the machine ends.
    #[cold]
    #[inline(never)]
    fn await_page(&self, ipa: u64) -> Result<(), OutOfRam> {
        let slot = &SLOTS[self.slot];
        loop {
            match self.touch(ipa) {
                Touched::There => {
                    room::make(self.slot, self);
                    return Ok(());
                }
                Touched::Foreign => return Err(OutOfRam),
                Touched::Lost => {
                    slot.finish(Reason::MemoryLost(ipa));
                    return Err(OutOfRam);
                }
                Touched::NoFrame => {}
            }
            // Relaxed: whoever ends the machine waits until this is noticed.
            if slot.stop.load(Ordering::Relaxed) {
                return Err(OutOfRam);
            }
            if room::make(self.slot, self) {
                continue;
            }
            // The other virtual CPUs put something out, or there will be room elsewhere.
            slot.kick_all();
            task::sleep_us(PATIENCE_US);
        }
    }

    /// Calls `visit` with address, offset in the range and length of each piece of a range that
    /// lies in one page.
    #[inline(never)]
    fn each_piece(
        &self,
        ipa: u64,
        length: usize,
        write: bool,
        mut visit: impl FnMut(u64, usize, usize),
    ) -> Result<(), OutOfRam> {
        let end = ipa.checked_add(length as u64).ok_or(OutOfRam)?;
        let mut at = ipa;
        while at < end {
            let piece = (PAGE - at % PAGE).min(end - at);
            let (_there, address) = self.locate(at, write)?;
            visit(address, (at - ipa) as usize, piece as usize);
            at += piece;
        }
        Ok(())
    }

    /// Gives everything back, wiped of what the guest had in it.
    pub(super) fn release(self) {
        self.squeeze.dissolve();
        let stage2 = self.pages.into_inner().into_tables();
        stage2.for_each_mapped(&mut |_ipa, address, length, _access| {
            if length == BLOCK_SIZE {
                // SAFETY: `add_block` gave this block up to the tables, which are gone after this.
                let mut block = unsafe { Block::from_address(address) };
                block.zero();
                frames::release_block(block);
                return;
            }
            frames::release((0..length / PAGE).map(|index| {
                // SAFETY: `add_page` gave this frame up to the tables, which are gone after this.
                let mut frame = unsafe { Frame::from_address(address + index * PAGE) };
                frame.zero();
                frame
            }));
        });
        let _ = stage2.destroy();
    }
}

/// Whether so many bytes can be taken, and what else is done goes on.
fn check_room(bytes: u64) -> Result<(), StartError> {
    let free = frames::usage().free.saturating_sub(reserve::kept_frames()) as u64 * PAGE;
    match free.checked_sub(bytes) {
        None => Err(StartError::OutOfMemory),
        Some(left) if left < RESERVE => Err(StartError::Reserve),
        Some(_) => Ok(()),
    }
}

/// Whether a range has a byte at least, and all of them in one page.
fn in_one_page(ipa: u64, length: usize) -> bool {
    length.wrapping_sub(1) < (PAGE - ipa % PAGE) as usize
}

impl GuestRam for GuestMemory {
    #[inline]
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), OutOfRam> {
        let to = into.as_mut_ptr();
        if in_one_page(ipa, into.len()) {
            let (_there, address) = self.locate(ipa, false)?;
            // SAFETY: these bytes of a frame of this guest, and `into`; a copy of raw bytes, since
            // the guest's other virtual CPUs may write there at the same time. Its length is a
            // constant here in most cases, so this is a load or two.
            unsafe { core::ptr::copy_nonoverlapping(address as *const u8, to, into.len()) };
            return Ok(());
        }
        self.each_piece(ipa, into.len(), false, |address, at, length| {
            // SAFETY: `length` bytes of a frame of this guest, and of `into` from `at`; a copy of
            // raw bytes, since the guest's other virtual CPUs may write there at the same time.
            unsafe {
                core::ptr::copy_nonoverlapping(address as *const u8, to.wrapping_add(at), length)
            };
        })
    }

    #[inline]
    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), OutOfRam> {
        if in_one_page(ipa, from.len()) {
            let (_there, address) = self.locate(ipa, true)?;
            // SAFETY: as in `read`, the other way.
            unsafe {
                core::ptr::copy_nonoverlapping(from.as_ptr(), address as *mut u8, from.len())
            };
            return Ok(());
        }
        self.each_piece(ipa, from.len(), true, |address, at, length| {
            // SAFETY: as in `read`, the other way.
            unsafe {
                core::ptr::copy_nonoverlapping(
                    from.as_ptr().wrapping_add(at),
                    address as *mut u8,
                    length,
                )
            };
        })
    }
}
