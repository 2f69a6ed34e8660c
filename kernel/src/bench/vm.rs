//! What a virtual machine pays for the hypervisor: one run of the guest that measures ([`bale_abi::measure`]), with both of its
//! virtual CPUs on this core, and the store's own work on the pages that it writes to its swap disk.
//!
//! The guest counts nanoseconds of its counter. Where these are instructions (QEMU's `-icount shift=0`) its figures are
//! given as such, elsewhere as nanoseconds, which no goal is about.

use core::sync::atomic::AtomicU64;

use bale_abi::{measure, mode, report as keys};
use bale_arch::counter;
use bale_arch::mask::Masked;
use bale_swap::Codec;

use super::report::Hundredths;
use super::workbench::overhead;
use super::{BenchError, Report};
use crate::memory::{Arena, PAGE_SIZE, frames};
use crate::vm::{self, Reason, State, SwapDevice};
use crate::{bundle, clock, cores, drain, pool};

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
/// Rounds that the calibration takes.
const CALIBRATION: u64 = 100_000;
/// For the drain, after the guest has ended.
const QUIET_LIMIT_US: u64 = 10_000_000;

/// Whether a nanosecond of the counter is an instruction, within a thousandth.
fn nanoseconds_are_instructions() -> bool {
    let masked = Masked::new();
    let (ticks, instructions) = (clock::now(), counter::instructions());
    for round in 0..CALIBRATION {
        core::hint::black_box(round);
    }
    let counted = u64::from(counter::instructions().wrapping_sub(instructions));
    let nanoseconds = clock::to_us((clock::now() - ticks).saturating_mul(1000));
    drop(masked);
    counted.abs_diff(nanoseconds) <= counted / 1000
}

/// All figures of a run.
pub(super) fn guest(report: &mut Report) -> Result<()> {
    let unit = if nanoseconds_are_instructions() { "instructions/op" } else { "ns" };
    let core = cores::this_unpinned().index();
    let index = vm::start(GUEST, mode::MEASURE, core, report.options.seed, 0).map_err(|_| {
        BenchError::Broken("the guest that measures does not start; `vm start --mode 7` says why")
    })?;
    let summary = vm::wait(index).ok_or(BenchError::Broken("the guest is gone"))?;
    if summary.state != State::Ended(Reason::Exited(0)) {
        return Err(BenchError::Broken("the guest that measures failed; `vm list` says why"));
    }
    let figure = |place: usize| summary.figures[keys::MEASURED as usize - 1 + place];
    for (place, name) in NAMES.into_iter().enumerate() {
        let unit = if place == measure::ENDS { "exits/op" } else { unit };
        report.figure(name, Hundredths(figure(place)), unit, 1);
    }
    let pages = bundle::pages().chunks_exact(PAGE_SIZE).take(measure::SLOTS as usize);
    let batch = measure::BATCH as usize;
    let whole = pages.len() / batch * batch;
    if !drain::wait_until_quiet(QUIET_LIMIT_US) {
        return Err(BenchError::Broken("the drain is not quiet"));
    }
    let store = store(pages.take(whole))?;
    report.figure("store-write", Hundredths(store), "instructions/op", whole as u64);
    let beside = figure(measure::DISK_WRITE).saturating_sub(store);
    report.figure("disk-write", Hundredths(beside), unit, whole as u64);
    Ok(())
}

/// What the store itself takes for a page, in hundredths of an instruction: the same pages, codec and slots as the
/// guest's disk, in a pool as empty as it found it.
fn store<'a>(pages: impl Iterator<Item = &'a [u8]>) -> Result<u64> {
    let overhead = overhead().ok_or(BenchError::NoCounter)?;
    let block = frames::allocate_block().ok_or(BenchError::OutOfMemory)?;
    let (mut arena, block) = Arena::in_block(block);
    let slots = measure::SLOTS as usize;
    let mut place = || {
        let scratch = arena.place_copy(&vm::SCRATCH)?;
        let table = arena.place_each(slots, || AtomicU64::new(0))?;
        let limit = pool::pool().config().page_limit;
        Some((scratch, SwapDevice::new(pool::pool(), table, limit, Codec::Lz4)))
    };
    let written = place().ok_or(BenchError::OutOfMemory).and_then(|(scratch, device)| {
        let (mut sum, mut count) = (0, 0);
        let mut written = Ok(());
        for (slot, page) in pages.enumerate() {
            let Ok(page) = page.try_into() else { break };
            let start = counter::instructions();
            let result = device.write(slot, page, scratch);
            sum += u64::from(counter::instructions().wrapping_sub(start).saturating_sub(overhead));
            count += 1;
            if result.is_err() {
                written = Err(BenchError::Broken("the store refused a page"));
                break;
            }
        }
        // The range is the device's own, so it cannot be refused.
        let _ = device.release(0, slots);
        written.map(|()| sum * 100 / u64::max(count, 1))
    });
    // SAFETY: taken above, and the device and its table, which were in it, are gone.
    frames::release_block(unsafe { frames::Block::from_address(block) });
    written
}
