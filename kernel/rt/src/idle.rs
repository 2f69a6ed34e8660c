//! What a core does with nothing to do: the idle loop.

use core::sync::atomic::Ordering;

use bale_arch::mask::{self, Masked};
use bale_arch::timer;

use crate::cores::{self, Core};
use crate::{clock, departure, dispatch, hooks, task};

/// The idle loop: waits for interrupts, for ever.
pub fn run() -> ! {
    mask::unmask();
    let core = cores::this_unpinned();
    loop {
        let masked = Masked::new();
        // Nothing is lost between the look and the wait: WFI also returns for an interrupt that is
        // masked.
        if !core.reschedule.load(Ordering::Relaxed) {
            // A core that leaves does not come back here: its rest must not have begun.
            departure::leave_if_asked(core);
            core.idle.begin(clock::now());
            arm_for_rest(core);
            // The rest is none of the stretch, what came before it is.
            mask::end_stretch();
            mask::wait_for_interrupt();
            mask::begin_stretch();
            core.idle.end(clock::now());
            // Here and now: no exception has to be taken for it.
            dispatch::serve();
        }
        drop(masked);
        task::switch_if_asked();
    }
}

/// Before a long rest: sets the timer to the moment, and lets the lazy one stand still if it may.
fn arm_for_rest(core: &Core) {
    let lazy = core.lazy_deadline.load(Ordering::Relaxed) != u64::MAX;
    let quiet = lazy && hooks::get().is_some_and(|hooks| (hooks.may_rest)(core.index()));
    let deadline = if quiet { &core.next_deadline } else { &core.wake_at };
    let deadline = deadline.load(Ordering::Relaxed);
    if core.armed.swap(deadline, Ordering::Relaxed) != deadline {
        if deadline == u64::MAX {
            timer::disarm();
        } else {
            timer::arm(deadline);
        }
    }
}
