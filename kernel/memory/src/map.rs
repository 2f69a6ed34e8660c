//! The map of EL2: the identity, W^X, with a hole below every stack.
//!
//! Tables come from a pool in `.bss`: the map is built while only the image's gigabyte is
//! reachable, and it does not change once it is on: it maps its own tables read-only, and nothing
//! has a second address. Where memory is so scattered that the pool does not do, boot finds further
//! ones and makes them reachable first.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_paging::MapError;
use aarch64_paging::descriptor::{El23Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El2, MemoryRegion, PageTable, RootTable, Translation};
use bale_arch::{identity, mmu};

use super::{PAGE_SIZE, image_sections, stacks};

/// Tables in the pool: root, one per 512 GiB, per GiB and per 2 MiB that is not mapped in whole
/// blocks. Enough for most machines.
pub const TABLES: usize = 48;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u8; PAGE_SIZE]; TABLES]>);

// SAFETY: used by the boot core alone, while it builds the map; only read by the MMU afterwards.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([[0; PAGE_SIZE]; TABLES]));
static ROOT: AtomicU64 = AtomicU64::new(0);

/// The pool, and behind it the pages that boot found.
struct FromPool {
    used: usize,
    further: Range,
}

impl Translation<El23Attributes> for FromPool {
    fn allocate_table(&mut self) -> (NonNull<PageTable<El23Attributes>>, PhysicalAddress) {
        let address = match self.used.checked_sub(TABLES) {
            None => POOL.0.get() as usize + self.used * PAGE_SIZE,
            Some(further) => {
                let address = self.further.start as usize + further * PAGE_SIZE;
                assert!(
                    (address as u64) < self.further.end,
                    "the EL2 map needs more tables than were counted"
                );
                address
            }
        };
        self.used += 1;
        let table =
            NonNull::new(address as *mut PageTable<El23Attributes>).unwrap_or(NonNull::dangling());
        (table, PhysicalAddress(address))
    }

    unsafe fn deallocate_table(&mut self, _table: NonNull<PageTable<El23Attributes>>) {
        // Happens when a later range replaces a whole table; the pool is sized for the tables that
        // were ever made.
    }

    fn physical_to_virtual(&self, address: PhysicalAddress) -> NonNull<PageTable<El23Attributes>> {
        NonNull::new(address.0 as *mut PageTable<El23Attributes>).unwrap_or(NonNull::dangling())
    }
}

/// A range to be mapped.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// Builds the map from memory and device ranges, and turns it on. `further` are zeroed pages for
/// the tables beyond [`TABLES`].
///
/// # Errors
/// A range that the tables cannot hold, such as one beyond 48 bits.
///
/// # Safety
/// On the boot core, once, with interrupts masked; the ranges are memory and devices as named, and
/// the further pages are nobody else's.
pub unsafe fn enable(memory: &[Range], devices: &[Range], further: Range) -> Result<(), MapError> {
    const BASE: El23Attributes =
        El23Attributes::VALID.union(El23Attributes::ACCESSED).union(El23Attributes::USER_RES1);
    const NORMAL: El23Attributes =
        BASE.union(El23Attributes::ATTRIBUTE_INDEX_1).union(El23Attributes::INNER_SHAREABLE);
    const DEVICE: El23Attributes =
        BASE.union(El23Attributes::ATTRIBUTE_INDEX_0).union(El23Attributes::XN);
    const DATA: El23Attributes = NORMAL.union(El23Attributes::XN);
    const CONSTANT: El23Attributes = DATA.union(El23Attributes::READ_ONLY);
    const CODE: El23Attributes = NORMAL.union(El23Attributes::READ_ONLY);
    let code = if has_landing_pads() { CODE.union(El23Attributes::GP) } else { CODE };

    let mut table: RootTable<El2, FromPool> = RootTable::new(FromPool { used: 0, further }, 0, El2);
    let mut map = |start: u64, end: u64, attributes| {
        let region = MemoryRegion::new(start as usize, end as usize);
        table.map_range(&region, PhysicalAddress(start as usize), attributes, Constraints::empty())
    };
    for range in memory {
        map(range.start, range.end, DATA)?;
    }
    for range in devices {
        map(range.start, range.end, DEVICE)?;
    }
    for section in image_sections() {
        let attributes = match section.name {
            "text" => code,
            "rodata" => CONSTANT,
            _ => DATA,
        };
        map(section.start, section.end, attributes)?;
    }
    for (start, length) in stacks::guards() {
        map(start, start + length as u64, El23Attributes::empty())?;
    }
    // Whoever can write a word of EL2's memory cannot give himself more than that.
    for tables in [pool(), further].into_iter().filter(|tables| tables.start < tables.end) {
        map(tables.start, tables.end, CONSTANT)?;
    }
    let root = table.to_physical().0 as u64;
    ROOT.store(root, Ordering::Release);
    core::mem::forget(table);
    // SAFETY: image, stack and data are mapped at the addresses they have; the pool is static.
    unsafe { mmu::switch_tables(root, mmu::SYSTEM_CONTROL) };
    Ok(())
}

/// Whether an indirect branch into code has to meet a landing pad (BTI; DDI 0487, D8.4.6): where
/// the core can see to that, and the compiler has laid them everywhere.
pub fn has_landing_pads() -> bool {
    cfg!(bale_landing_pads) && identity::has_branch_targets()
}

/// Where the first [`TABLES`] tables lie.
fn pool() -> Range {
    let start = POOL.0.get() as u64;
    Range { start, end: start + (TABLES * PAGE_SIZE) as u64 }
}

/// Root of the map, for a further core.
pub fn root() -> u64 {
    ROOT.load(Ordering::Acquire)
}
