//! The writeback: a task that puts the coldest pages on the disk once a machine's store has no
//! room, until it has some again.

use super::{MAX_VMS, store};
use bale_rt::sync::Semaphore;
use bale_rt::{cores, task};

/// Pages between two looks at whether the machine is still there.
const STEP: usize = 32;

static CALLS: Semaphore = Semaphore::new(0, 1);

/// Starts the task, an equal of the guests: one that keeps its core busy must not keep another
/// one's store full.
///
/// # Panics
/// Without a free task.
pub fn start() {
    assert!(
        task::spawn_free("writeback", cores::helper_of(0), task::VCPU, write_back, 0).is_ok(),
        "no room for the writeback"
    );
}

/// A page found no room.
pub(super) fn call() {
    // Refused: it was called already, and has not come to it yet.
    let _ = CALLS.give();
}

extern "C" fn write_back(_argument: u64) -> ! {
    loop {
        CALLS.take();
        for machine in 0..MAX_VMS {
            while shrink(machine) {
                task::yield_now();
            }
        }
    }
}

/// A few pages of this machine; whether there is more to do.
fn shrink(machine: usize) -> bool {
    let Ok(mut shop) = store::WORKSHOP.lock() else { return false };
    let Some(user) = store::user(machine) else { return false };
    let Some(cache) = user.cache() else { return false };
    let excess = cache.excess();
    // Somebody who works on the device by hand makes room too.
    excess > 0 && cache.write_back(excess.min(STEP), &mut shop).is_ok_and(|done| done.written > 0)
}
