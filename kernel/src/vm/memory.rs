//! A guest's memory: frames behind stage 2 translation, and access to them by guest-physical address.
//!
//! Addresses from a guest are checked by translation each time they are used: what stage 2 does not map, the guest
//! cannot name either.

use bale_abi::{GuestInfo, INFO_BASE, PAGES_BASE, RAM_BASE, RAM_SIZE};
use bale_arch::mmu;
use bale_core::guest_image::GuestImage;
use bale_core::stage2::{Access, Stage2, TableMemory};

use super::StartError;
use crate::memory::PAGE_SIZE;
use crate::memory::frames::{self, Frame};

const PAGE: u64 = PAGE_SIZE as u64;

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

    fn release(&mut self, table: u64) {
        // SAFETY: the table came from `allocate` and is used no more.
        frames::release([unsafe { Frame::from_address(table) }]);
    }

    fn read(&self, table: u64, index: usize) -> u64 {
        // SAFETY: a table of this machine, index within it; the hardware may read it at the same time.
        unsafe { entry(table, index).read_volatile() }
    }

    fn write(&mut self, table: u64, index: usize, value: u64) {
        // SAFETY: as above; this machine's task is the only writer.
        unsafe { entry(table, index).write_volatile(value) };
    }
}

/// A guest's memory.
pub(super) struct GuestMemory {
    stage2: Stage2<Tables>,
}

impl GuestMemory {
    /// Memory of a small guest with its image, start-up page and captured pages in place; and its entry point.
    pub(super) fn new(
        slot: usize,
        image: &[u8],
        info: &GuestInfo,
        pages: &[u8],
    ) -> Result<(Self, u64), StartError> {
        let header = GuestImage::parse(image).map_err(StartError::Image)?;
        let entry = header.load_address(RAM_BASE);
        let fits = entry.checked_sub(RAM_BASE).and_then(|offset| offset.checked_add(header.image_size));
        if fits.is_none_or(|end| end > RAM_SIZE) {
            return Err(StartError::ImageTooLarge);
        }
        let tables = Tables { root: ROOTS[slot].0.get() as u64 };
        let stage2 = Stage2::new(tables).map_err(|_| StartError::OutOfMemory)?;
        let mut memory = Self { stage2 };
        match memory.fill(image, entry, info, pages) {
            Ok(()) => Ok((memory, entry)),
            Err(error) => {
                memory.release();
                Err(error)
            }
        }
    }

    fn fill(&mut self, image: &[u8], entry: u64, info: &GuestInfo, pages: &[u8]) -> Result<(), StartError> {
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

    /// One more page of memory, zero but for `content` at `place`.
    fn add_page(&mut self, ipa: u64, access: Access, place: usize, content: &[u8]) -> Result<(), StartError> {
        let mut frame = frames::allocate_zeroed().ok_or(StartError::OutOfMemory)?;
        frame.bytes_mut()[place..place + content.len()].copy_from_slice(content);
        // The guest starts with its caches off.
        mmu::clean_invalidate(frame.address(), PAGE_SIZE);
        match self.stage2.map(ipa, frame.address(), PAGE, access) {
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

    /// `VTCR_EL2` and `VTTBR_EL2` for this memory.
    pub(super) fn registers(&self, vmid: u16) -> (u64, u64) {
        (Stage2::<Tables>::vtcr(mmu::physical_address_range()), self.stage2.vttbr(vmid))
    }

    /// Copies a guest page out; false if the guest has no such page.
    pub(super) fn read_page(&self, ipa: u64, page: &mut [u8; PAGE_SIZE]) -> bool {
        let Some(address) = self.page_address(ipa, false) else { return false };
        // SAFETY: a frame of this guest, whole, which the guest cannot unmap while its only CPU is stopped.
        let source = unsafe { &*(address as *const [u8; PAGE_SIZE]) };
        page.copy_from_slice(source);
        true
    }

    /// The guest page to write to; `None` if the guest has no such page or may only read it.
    pub(super) fn page_mut(&mut self, ipa: u64) -> Option<&mut [u8; PAGE_SIZE]> {
        let address = self.page_address(ipa, true)?;
        // SAFETY: as above; the exclusive borrow of the memory makes this the only reference.
        Some(unsafe { &mut *(address as *mut [u8; PAGE_SIZE]) })
    }

    fn page_address(&self, ipa: u64, write: bool) -> Option<u64> {
        if !ipa.is_multiple_of(PAGE) {
            return None;
        }
        match self.stage2.translate(ipa)? {
            (address, Access::Ram) => Some(address),
            (address, Access::ReadOnly) if !write => Some(address),
            _ => None,
        }
    }

    /// Copies bytes out that may lie across a page boundary; false if the guest has not all of them.
    pub(super) fn read_bytes(&self, ipa: u64, bytes: &mut [u8]) -> bool {
        let Some(end) = ipa.checked_add(bytes.len() as u64) else { return false };
        let mut at = ipa;
        while at < end {
            let in_page = (PAGE - at % PAGE).min(end - at) as usize;
            let Some(base) = self.page_address(at & !(PAGE - 1), false) else { return false };
            let done = (at - ipa) as usize;
            // SAFETY: inside one frame of this guest.
            let source = unsafe { core::slice::from_raw_parts((base + at % PAGE) as *const u8, in_page) };
            bytes[done..done + in_page].copy_from_slice(source);
            at += in_page as u64;
        }
        true
    }

    /// Gives every frame back, wiped of what the guest had in it when it is next handed to a guest.
    pub(super) fn release(self) {
        let Self { stage2 } = self;
        stage2.for_each_mapped(&mut |_ipa, address, length, _access| {
            let pages = (0..length / PAGE).map(|index| address + index * PAGE);
            // SAFETY: `add_page` gave these frames up to the tables, which are gone after this.
            frames::release(pages.map(|address| unsafe { Frame::from_address(address) }));
        });
        let _ = stage2.destroy();
    }
}
