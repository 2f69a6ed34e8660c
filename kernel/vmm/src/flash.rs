//! Where a machine's flash for firmware's variables is plugged in, and the frames behind it.

use core::sync::atomic::{AtomicBool, Ordering};

use bale_core::cfi_flash::{BLOCK, Flash, Storage};
use bale_memory::PAGE_SIZE;
use bale_memory::frames::{self, Frame};
use bale_rt::sync::{IN_ORDER, Mutex};

/// Blocks that can be written: EDK2's variables take one, and two more to replace it without loss.
const BLOCKS: usize = 3;
const PAGES_OF_BLOCK: usize = BLOCK as usize / PAGE_SIZE;
const PAGES: usize = BLOCKS * PAGES_OF_BLOCK;
/// What was never programmed.
const ERASED: u8 = 0xff;

/// A page that was never programmed has no frame.
struct Pages([Option<Frame>; PAGES]);

impl Storage for Pages {
    fn read(&self, offset: u64) -> u8 {
        let page = self.0.get(offset as usize / PAGE_SIZE).and_then(Option::as_ref);
        page.map_or(ERASED, |page| page.bytes()[offset as usize % PAGE_SIZE])
    }

    fn program(&mut self, offset: u64, value: u8) -> bool {
        let Some(page) = self.0.get_mut(offset as usize / PAGE_SIZE) else { return false };
        if page.is_none() {
            *page = frames::allocate_but_last().map(|mut frame| {
                frame.bytes_mut().fill(ERASED);
                frame
            });
        }
        let Some(page) = page else { return false };
        page.bytes_mut()[offset as usize % PAGE_SIZE] &= value;
        true
    }

    fn erase(&mut self, block: u64) -> bool {
        let Some(pages) = self.0.chunks_mut(PAGES_OF_BLOCK).nth(block as usize) else {
            return false;
        };
        frames::release(pages.iter_mut().filter_map(Option::take));
        true
    }
}

/// Where the flash is plugged in. Its lock is held for one access.
pub(super) struct FlashBay {
    flash: Mutex<(Flash, Pages)>,
    plugged: AtomicBool,
}

impl FlashBay {
    pub(super) const fn new() -> Self {
        Self {
            flash: Mutex::new((Flash::new(), Pages([const { None }; PAGES]))),
            plugged: AtomicBool::new(false),
        }
    }

    /// As out of reset: what it holds stays.
    pub(super) fn reset(&self) {
        self.flash.lock().expect(IN_ORDER).0 = Flash::new();
    }

    /// Whether the machine has it. No virtual CPU runs.
    pub(super) fn plug(&self, there: bool) {
        // Relaxed: virtual CPUs are started behind this.
        self.plugged.store(there, Ordering::Relaxed);
    }

    /// The machine has ended, and its variables with it.
    pub(super) fn unplug(&self) {
        let mut flash = self.flash.lock().expect(IN_ORDER);
        for block in 0..BLOCKS as u64 {
            flash.1.erase(block);
        }
        self.plug(false);
    }

    /// Whether the machine has it.
    pub(super) fn is_plugged(&self) -> bool {
        self.plugged.load(Ordering::Relaxed)
    }

    /// An access; `None` if there is no flash.
    pub(super) fn access(&self, offset: u64, width: u8, write: Option<u64>) -> Option<u64> {
        if !self.is_plugged() {
            return None;
        }
        let mut flash = self.flash.lock().expect(IN_ORDER);
        let (state, pages) = &mut *flash;
        Some(match write {
            Some(value) => {
                state.write(pages, offset, width, value);
                0
            }
            None => state.read(pages, offset, width),
        })
    }
}
