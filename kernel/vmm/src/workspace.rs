//! What a small guest's slot keeps from one machine to the next: its swap device, and what its
//! virtual CPU works with.

use core::sync::atomic::{AtomicU32, AtomicU64};

use bale_swap::{Codec, Scratch, Tables};
use spin::RwLock;

use super::{MAX_VMS, SwapDevice, store};
use bale_memory::{Arena, PAGE_SIZE};
use bale_reclaim::pool;
use bale_rt::sync::Lock;

/// It.
pub(super) struct Workspace {
    pub(super) device: &'static SwapDevice,
    pub(super) scratch: &'static mut Scratch,
    /// A private copy of the page that is on its way: the guest may change its own meanwhile.
    pub(super) page: &'static mut [u8; PAGE_SIZE],
}

/// What every codec's working memory is like at first: copied, since it is larger than what a stack
/// should hold. Nobody writes to it; as a variable it is zeros of the bss, as a constant it would
/// be 60 KiB of the image.
pub static SCRATCH: RwLock<Scratch> = RwLock::new(Scratch::new());

static WORKSPACES: [Lock<Option<Workspace>>; MAX_VMS] = [const { Lock::new(None) }; MAX_VMS];

impl Workspace {
    fn new(slots: usize) -> Option<Self> {
        let bytes = slots * 12 + size_of::<Scratch>() + size_of::<SwapDevice>() + 2 * PAGE_SIZE;
        let mut arena = Arena::new(bytes)?;
        let page = arena.place([0; PAGE_SIZE])?;
        let tables = Tables {
            slots: arena.place_each(slots, || AtomicU64::new(0))?,
            notes: arena.place_each(slots, || AtomicU32::new(0))?,
            checks: &mut [],
        };
        // The quota is the pool's own limit: one pool for all, and each guest may fill what is
        // left.
        let device =
            arena.place(SwapDevice::new(pool::pool(), tables, store::setup(Codec::Page)))?;
        Some(Self { device, scratch: arena.place_copy(&*SCRATCH.read())?, page })
    }
}

/// Takes the one of a slot, if there is one that nobody has.
pub(super) fn take(slot: usize) -> Option<Workspace> {
    WORKSPACES[slot].lock().take()
}

/// Puts it back for the next machine.
pub(super) fn put_back(slot: usize, workspace: Workspace) {
    *WORKSPACES[slot].lock() = Some(workspace);
}

/// Makes the workspaces of all slots, for swap devices of so many slots each, while memory lies in
/// long ranges still. A slot for which there is no memory stays without, and its machines end with
/// [`Reason::NoWorkspace`].
pub(super) fn prepare(slots: usize) {
    for place in &WORKSPACES {
        let workspace = Workspace::new(slots);
        *place.lock() = workspace;
    }
}
