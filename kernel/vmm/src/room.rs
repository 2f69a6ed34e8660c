//! Room for a page that a device needs: the virtual CPU that serves the device puts others out
//! itself. It may be the machine's only one, and a request as long as the disk would bring
//! everything back before its next turn in the guest.

use core::sync::atomic::Ordering;

use bale_arch::mask::Masked;

use super::held::Step;
use super::memory::GuestMemory;
use super::{SLOTS, loaded};
use bale_rt::task;

/// Steps for one page that is brought back: pages that nobody has used are found in as many, or the
/// next time.
const STEPS: usize = 64;
/// Pages that are put out for it: more than one, so that a machine over its limit comes down to it
/// within a request.
const PAGES: usize = 2;

/// Puts pages out, if some should be and the caller is a virtual CPU of this machine; whether it
/// did. The caller may be in the midst of any exit: what its core has loaded changes with every
/// preemption, too.
pub(super) fn make(index: usize, memory: &GuestMemory) -> bool {
    let slot = &SLOTS[index];
    let me = task::current().to_bits();
    // Relaxed: a virtual CPU's own task is the caller, or none of them is.
    let Some(number) =
        slot.vcpus.iter().position(|shared| shared.task.load(Ordering::Relaxed) == me)
    else {
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
    let mut out = 0;
    for _ in 0..STEPS {
        if out == PAGES || !memory.is_over() {
            break;
        }
        match step() {
            Step::Looked => {}
            Step::PutOut => {
                memory.note_room();
                out += 1;
            }
            _ => break,
        }
    }
    out != 0
}
