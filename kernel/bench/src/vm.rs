//! What a virtual machine pays for the hypervisor: one run of the guest that measures
//! ([`bale_abi::measure`]), with both of its virtual CPUs on this core, and the store's own work on
//! the pages that it writes to its swap disk. And what who stops one pays.
//!
//! The guest counts nanoseconds of its counter. Where these are instructions (QEMU's `-icount
//! shift=0`) its figures are given as such, elsewhere as nanoseconds, which no goal is about.

use bale_abi::{measure, mode, report as keys, turns};

use super::counting::{count, nanoseconds_are_instructions, overhead};
use super::report::Hundredths;
use super::{BenchError, Report, go_on, store};
use bale_reclaim::drain;
use bale_rt::{cores, task};
use bale_vmm::store::user;
use bale_vmm::{self as vm, Reason, State};

type Result<T> = core::result::Result<T, BenchError<'static>>;

pub(super) const GUEST: &str = "swapper";
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
    "vcpu-interrupt-debugging",
    "vcpu-interrupt-counting",
];
/// For the drain, after the guest has ended.
const QUIET_LIMIT_US: u64 = 10_000_000;
/// Between two looks at whether a guest has begun.
const LOOK_US: u64 = 100;
/// The same at whether two machines have measured their turns.
const TURNS_LOOK_US: u64 = 100_000;
/// Pages that are stored of a machine that is stopped.
const FEW: usize = 64;
const MANY: usize = 64 * FEW;

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
        if place == measure::INTERRUPT_COUNTING && figure(place) == 0 {
            // These cores have no performance monitors.
            continue;
        }
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

/// What it costs that one machine's turn on this core ends and another one's begins: the end of the
/// turn, the choice, and the switch of all that the two do not share. Each of two machines that
/// spin measures how long it runs and how long it does not: the one's gap is the other's stretch
/// and two changes.
pub(super) fn turns(report: &mut Report) -> Result<()> {
    let unit = if nanoseconds_are_instructions() { "instructions/op" } else { "ns" };
    let core = cores::this_unpinned().index();
    let start = || {
        vm::start(GUEST, mode::TURNS, core, report.options.seed, 0).map_err(|_| {
            BenchError::Broken(
                "the guest that measures does not start; `vm start --mode 27` says why",
            )
        })
    };
    let first = start()?;
    let second = start().inspect_err(|_| _ = vm::kill(first));
    let measured = second.as_ref().map_or(Ok(0), |second| change(first, *second));
    for index in [Some(first), second.as_ref().ok().copied()].into_iter().flatten() {
        vm::kill(index);
        let _ = vm::wait(index);
    }
    second?;
    report.figure("machine-switch", Hundredths(measured?), unit, 1);
    Ok(())
}

/// Hundredths of a nanosecond of a change between two machines, once both have measured.
fn change(first: usize, second: usize) -> Result<u64> {
    let figure = |index, key| {
        let place = (keys::MEASURED + key) as usize - 1;
        vm::summaries().find(|vm| vm.slot == index).map_or(0, |vm| vm.figures[place])
    };
    let change = |of: usize, beside: usize| {
        let gap: u64 = figure(of, turns::GAP);
        gap.saturating_sub(figure(beside, turns::STRETCH)) / 2
    };
    while [first, second].iter().any(|index| figure(*index, turns::GAP) == 0) {
        go_on()?;
        task::sleep_us(TURNS_LOOK_US);
    }
    Ok((change(first, second) + change(second, first)) / 2)
}

/// What the answer to `vm stop` takes with few pages stored and with many: nobody walks their slots
/// meanwhile.
pub(super) fn stop(report: &mut Report) -> Result<()> {
    let [few, many] = [stop_with(report, FEW)?, stop_with(report, MANY)?];
    report.figure("stop", Hundredths(many * 100), report.units().plain, 1);
    report.figure("stop-growth", Hundredths(many.abs_diff(few) * 100), report.units().plain, 1);
    Ok(())
}

/// Starts a guest on this core, stores so many pages in its swap device, and stops it.
fn stop_with(report: &Report, pages: usize) -> Result<u64> {
    let overhead = overhead().ok_or(BenchError::NoCounter)?;
    let core = cores::this_unpinned().index();
    let index = vm::start(GUEST, mode::ENDLESS, core, report.options.seed, 0)
        .map_err(|_| BenchError::Broken("no guest starts; `vm start --mode 5` says why"))?;
    let stored = store_pages(report, index, pages);
    let (taken, runs) = count(overhead, || vm::stop(index));
    let released = vm::wait(index).map_or(0, |machine| machine.released);
    stored?;
    if !runs || released != pages {
        return Err(BenchError::Broken(
            "a machine that was stopped did not release what it had stored",
        ));
    }
    if !drain::wait_until_quiet(QUIET_LIMIT_US) {
        return Err(BenchError::Broken("the drain is not quiet"));
    }
    Ok(taken)
}

/// Stores so many pages once the guest has its swap device.
fn store_pages(report: &Report, index: usize, pages: usize) -> Result<()> {
    loop {
        go_on()?;
        match user(index) {
            Some(user) => return store::write_to(report, &user, pages),
            None => task::sleep_us(LOOK_US),
        }
    }
}
