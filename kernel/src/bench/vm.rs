//! What a virtual machine pays for the hypervisor: one run of the guest that measures ([`bale_abi::measure`]), with both of its
//! virtual CPUs on this core, and the store's own work on the pages that it writes to its swap disk.
//!
//! The guest counts nanoseconds of its counter. Where these are instructions (QEMU's `-icount shift=0`) its figures are
//! given as such, elsewhere as nanoseconds, which no goal is about.

use bale_abi::{measure, mode, report as keys};

use super::report::Hundredths;
use super::workbench::nanoseconds_are_instructions;
use super::{BenchError, Report, go_on, store};
use crate::vm::{self, Reason, State};
use crate::{cores, drain};

type Result<T> = core::result::Result<T, BenchError<'static>>;

const GUEST: &str = "swapper";
/// Names of the figures, in the order of [`measure`].
const NAMES: [&str; measure::FIGURES] = [
    "hypercall",
    "firmware-call",
    "identification-register",
    "device-register",
    "self-interrupt",
    "vcpu-interrupt",
    "timer-lateness",
    "timer-lateness-waiting",
    "disk-write-in-all",
    "exits-for-an-end",
];
/// For the drain, after the guest has ended.
const QUIET_LIMIT_US: u64 = 10_000_000;

/// All figures of a run.
pub(super) fn guest(report: &mut Report) -> Result<()> {
    let unit = if nanoseconds_are_instructions() { "instructions/op" } else { "ns" };
    let core = cores::this_unpinned().index();
    let index = vm::start(GUEST, mode::MEASURE, core, report.options.seed, 0).map_err(|_| {
        BenchError::Broken("the guest that measures does not start; `vm start --mode 7` says why")
    })?;
    let mut stopped = false;
    let running = || {
        stopped = go_on().is_err();
        !stopped
    };
    let summary = vm::wait_while(index, running).ok_or(BenchError::Broken("the guest is gone"))?;
    if stopped {
        vm::kill(index);
        let _ = vm::wait(index);
        return Err(BenchError::Stopped);
    }
    if summary.state != State::Ended(Reason::Exited(0)) {
        return Err(BenchError::Broken("the guest that measures failed; `vm list` says why"));
    }
    let figure = |place: usize| summary.figures[keys::MEASURED as usize - 1 + place];
    for (place, name) in NAMES.into_iter().enumerate() {
        let unit = if place == measure::ENDS { "exits/op" } else { unit };
        report.figure(name, Hundredths(figure(place)), unit, 1);
    }
    if !drain::wait_until_quiet(QUIET_LIMIT_US) {
        return Err(BenchError::Broken("the drain is not quiet"));
    }
    let batch = measure::BATCH as usize;
    let (store, whole) =
        store::write_alone(report, |pages| pages.min(measure::SLOTS as usize) / batch * batch)?;
    report.figure("store-write", Hundredths(store), "instructions/op", whole as u64);
    let beside = figure(measure::DISK_WRITE).saturating_sub(store);
    report.figure("disk-write", Hundredths(beside), unit, whole as u64);
    Ok(())
}
