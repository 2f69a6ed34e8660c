//! Taking interrupts: from the vectors, or by a task that looks for itself.
//!
//! A handler runs on the interrupted task's stack with interrupts masked, and is short: it hands
//! over to a task by [`crate::task::unpark`]. The switch happens on the way out.

use core::sync::atomic::Ordering;

use arm_gic::InterruptGroup;
use arm_gic::gicv3::GicCpuInterface;
use bale_arch::vectors::TrapFrame;
use bale_arch::{gich, mask};
use bale_core::trace::Kind;

use crate::{cores, interrupts, task, trace};

/// From the vectors: an interrupt was taken from EL2, on the stack of the task it interrupted.
#[unsafe(no_mangle)]
extern "C" fn bale_interrupt(_frame: &mut TrapFrame) {
    mask::begin_stretch();
    serve();
    mask::end_stretch();
}

/// Takes the interrupt that waits, without an exception; then another task may go on first. One
/// alone: a second one is taken once interrupts are unmasked, so that no device that always wants
/// something keeps them masked. Called by a task with interrupts masked and no lock held, or from
/// the vectors.
pub fn serve() {
    let core = cores::this_unpinned();
    core.in_interrupt.store(true, Ordering::Relaxed);
    if let Some(id) = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1) {
        cores::count(&core.interrupts);
        let number = u32::from(id);
        // The priority drop; interrupts stay masked, so nothing comes in between.
        GicCpuInterface::end_interrupt(id, InterruptGroup::Group1);
        let source = interrupts::find(number);
        trace::note(
            core,
            Kind::InterruptIn,
            number,
            source.map_or("unknown", |source| source.name),
        );
        match source {
            Some(source) => {
                cores::count(&source.taken[core.index()]);
                (source.handler)();
            }
            None => {
                interrupts::UNKNOWN.fetch_add(1, Ordering::Relaxed);
            }
        }
        if source.is_none_or(|source| !source.kept) {
            gich::deactivate(number);
        }
        trace::note(core, Kind::InterruptOut, number, "");
    }
    core.in_interrupt.store(false, Ordering::Relaxed);
    task::preempt_if_asked();
}
