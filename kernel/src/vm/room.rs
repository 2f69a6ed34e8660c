//! Room for a page that a device needs: the virtual CPU that serves the device puts another one out itself. It may be the machine's only
//! one, and a request as long as the disk would bring everything back before its next turn in the guest.

use core::sync::atomic::Ordering;

use bale_arch::mask::Masked;

use super::held::Step;
use super::memory::GuestMemory;
use super::{SLOTS, loaded};
use crate::task;

/// Steps for one page: a page that nobody has used is found in as many, or the next time.
const STEPS: usize = 64;

/// Puts a page out, if one should be and the caller is a virtual CPU of this machine; whether it did. The caller may be in the midst of any
/// exit: what its core has loaded changes with every preemption, too.
pub(super) fn make(index: usize, memory: &GuestMemory) -> bool {
    let slot = &SLOTS[index];
    let me = task::current().to_bits();
    // Relaxed: a virtual CPU's own task is the caller, or none of them is.
    let Some(number) = slot.vcpus.iter().position(|shared| shared.task.load(Ordering::Relaxed) == me) else {
        return false;
    };
    let step = || {
        memory.step(|look| {
            let masked = Masked::new();
            loaded::load(loaded::place(index, number), &masked);
            look();
            drop(masked);
        })
    };
    let mut steps = (0..STEPS).take_while(|_| memory.is_over()).map(|_| step());
    let out = steps.find(|step| *step != Step::Looked) == Some(Step::PutOut);
    if out {
        memory.note_room();
    }
    out
}
