//! Guests: what they swap comes back, and what they do wrong stops them alone.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_abi::{STORM_STEPS, mode, report};
use bale_core::branch_history::Action;

use super::scheduling::eventually;
use super::{Failure, Verdict, ensure, failure, is_long};
use bale_memory::frames;
use bale_reclaim::{drain, pool};
use bale_rt::{cores, task};
use bale_vmm::{self as vm, Reason, State, Summary, branches};

fn start(mode: u64, core: usize) -> Result<usize, Failure> {
    start_steps(mode, core, STORM_STEPS)
}

fn start_steps(mode: u64, core: usize, steps: u64) -> Result<usize, Failure> {
    start_seeded(mode, core, steps, 7)
}

fn start_seeded(mode: u64, core: usize, steps: u64, seed: u64) -> Result<usize, Failure> {
    vm::start("swapper", mode, core, seed, steps).map_err(|error| failure(format_args!("{error}")))
}

fn run(mode: u64) -> Result<(Summary, Reason), Failure> {
    ended(start(mode, cores::last_online())?)
}

fn ended(index: usize) -> Result<(Summary, Reason), Failure> {
    match vm::wait(index) {
        Some(summary) => match summary.state {
            State::Ended(reason) => Ok((summary, reason)),
            state => Err(failure(format_args!("it is {state:?}"))),
        },
        None => Err(failure(format_args!("it is gone"))),
    }
}

fn figure(summary: &Summary, key: u64) -> u64 {
    summary.figures[key as usize - 1]
}

fn nothing_left() -> Verdict {
    ensure!(drain::wait_until_quiet(10_000_000), "the drain is not quiet");
    let left = || {
        let stats = pool::pool().stats();
        (stats.objects, stats.pages)
    };
    // The compactor, which runs last of all, may hold pages in the midst of a step.
    ensure!(eventually(|| left() == (0, 0)), "{:?} objects and pages left", left());
    Ok(())
}

pub(super) fn swaps_and_verifies() -> Verdict {
    let (summary, reason) = run(mode::SWAP)?;
    ensure!(reason == Reason::Exited(0), "{reason}");
    let (out, equal) = (figure(&summary, report::PAGES_OUT), figure(&summary, report::PAGES_EQUAL));
    ensure!(out > 0 && out == equal, "{out} pages out, {equal} equal");
    ensure!(figure(&summary, report::BYTES_LOST) == 0, "bytes were lost");
    nothing_left()
}

pub(super) fn exit_releases_everything() -> Verdict {
    // The first run makes the slot's workspace, which stays; after that every frame comes back.
    let _ = run(mode::SWAP)?;
    nothing_left()?;
    let (free, metadata) = (frames::usage().free, pool::pool().stats().metadata_pages);
    let enqueued = pool::pool().stats().enqueued;
    let (summary, reason) = run(mode::SWAP)?;
    ensure!(reason == Reason::Exited(0), "{reason}");
    ensure!(summary.released > 0, "nothing was left for the exit to release");
    nothing_left()?;
    ensure!(pool::pool().stats().enqueued > enqueued, "the exit did not go through the rings");
    let grown = pool::pool().stats().metadata_pages - metadata;
    let lost = free as u64 - frames::usage().free as u64;
    ensure!(lost <= grown, "{lost} frames did not come back, {grown} are metadata of the pool");
    Ok(())
}

pub(super) fn stray_access_stops_the_guest_only() -> Verdict {
    let (_, reason) = run(mode::STRAY)?;
    ensure!(matches!(reason, Reason::StrayAccess(_, false)), "{reason}");
    swaps_and_verifies()
}

pub(super) fn write_to_read_only_page() -> Verdict {
    let (_, reason) = run(mode::WRITE_READ_ONLY)?;
    ensure!(reason == Reason::ReadOnly(bale_abi::PAGES_BASE), "{reason}");
    nothing_left()
}

pub(super) fn hostile_hypercalls() -> Verdict {
    checks(mode::HOSTILE, 131_000)
}

/// PSCI's errors, virtual CPUs that go on and off and wait, and the same calls by SMC.
pub(super) fn firmware_calls() -> Verdict {
    checks(mode::FIRMWARE, 250)
}

/// A guest whose checks hold, of which there are more than so many.
fn checks(mode: u64, more_than: u64) -> Verdict {
    checks_in(mode, STORM_STEPS, more_than)
}

fn checks_in(mode: u64, steps: u64, more_than: u64) -> Verdict {
    let (summary, reason) = ended(start_steps(mode, cores::last_online(), steps)?)?;
    let failed = figure(&summary, report::CHECK_FAILED);
    ensure!(failed == 0, "check {failed} of the guest did not hold");
    ensure!(reason == Reason::Exited(0), "{reason}");
    ensure!(figure(&summary, report::CHECKS_PASSED) > more_than, "too few checks ran");
    nothing_left()
}

/// Turns of each virtual CPU that looks at its SIMD registers.
const SIMD_TURNS: u64 = 16;

/// Two machines of two virtual CPUs each, on one core: none finds SIMD registers that it has not
/// written.
pub(super) fn simd_registers_are_kept() -> Verdict {
    let last = cores::last_online();
    let endless = start_seeded(mode::SIMD, last, 0, 7)?;
    let says = |key| vm::summaries().find(|vm| vm.slot == endless).map_or(0, |vm| figure(&vm, key));
    let turns = eventually(|| says(report::CHECKS_PASSED) > 0);
    ensure!(turns, "the first one takes no turns, register {}", says(report::CHECK_FAILED));
    let (summary, reason) = ended(start_seeded(mode::SIMD, last, SIMD_TURNS, 8)?)?;
    let failed = figure(&summary, report::CHECK_FAILED);
    ensure!(reason == Reason::Exited(0) && failed == 0, "{reason}, register {failed}");
    let runs = vm::kill(endless);
    let (summary, reason) = ended(endless)?;
    let failed = figure(&summary, report::CHECK_FAILED);
    ensure!(
        runs && reason == Reason::Killed && failed == 0,
        "the endless one: {reason}, register {failed}"
    );
    nothing_left()
}

/// Turns of two virtual CPUs with timers that must not fire.
const TIMER_TURNS: u64 = 100_000;

/// Two virtual CPUs on one core: no moment between them has the one's timer beside the other's
/// compare value. Where one has, QEMU 7.2 overflows and hangs with all its locks, and a board
/// raises an interrupt that nobody asked for.
pub(super) fn timers_are_kept_apart() -> Verdict {
    let (summary, reason) = ended(start_steps(mode::TIMERS, cores::last_online(), TIMER_TURNS)?)?;
    let failed = figure(&summary, report::CHECK_FAILED);
    ensure!(reason == Reason::Exited(0) && failed == 0, "{reason}, check {failed}");
    ensure!(figure(&summary, report::CHECKS_PASSED) == TIMER_TURNS, "too few turns");
    nothing_left()
}

/// Milliseconds that a machine is made to stand still, and by how many its counter may step. A host
/// that has other work makes steps of its own.
const STILL_MS: u64 = 1500;
const STEP_MS: u64 = 1000;

/// While a machine stands still its virtual counter does, and no timer fires before its time: no
/// step back or ahead, on whichever of its virtual CPUs.
pub(super) fn counter_stands_still() -> Verdict {
    let machine = start(mode::STANDING, cores::last_online())?;
    let says = |key| vm::summaries().find(|vm| vm.slot == machine).map_or(0, |vm| figure(&vm, key));
    let goes_on = || {
        let before = says(report::CHECKS_PASSED);
        eventually(|| says(report::CHECKS_PASSED) > before)
    };
    for _ in 0..2 {
        ensure!(goes_on(), "it does not look, check {}", says(report::CHECK_FAILED));
        ensure!(vm::pause(machine, true), "it does not stand still");
        // An exit that was under way comes to its end.
        task::sleep_us(STILL_MS * 500);
        let before = says(report::CHECKS_PASSED);
        task::sleep_us(STILL_MS * 500);
        ensure!(says(report::CHECKS_PASSED) == before, "it looks while it stands still");
        ensure!(vm::pause(machine, false), "it does not go on");
        ensure!(goes_on(), "it does not go on, check {}", says(report::CHECK_FAILED));
    }
    let step = says(report::MEASURED);
    let runs = vm::kill(machine);
    let (summary, reason) = ended(machine)?;
    let failed = figure(&summary, report::CHECK_FAILED);
    ensure!(runs && reason == Reason::Killed && failed == 0, "{reason}, check {failed}");
    ensure!(step < STEP_MS, "its counter made a step of {step} ms");
    nothing_left()
}

/// Vectors that clear the branch history before anything else: exits of every kind come through
/// whole, whichever way it is done. The emulator does neither more nor less by it than count.
pub(super) fn exits_behind_cleared_branches() -> Verdict {
    let last = cores::last_online();
    for how in [132, BY_INSTRUCTION] {
        clear_branches(last, how)?;
        let outcome = swaps_and_verifies()
            .and_then(|()| accesses_of_every_form())
            .and_then(|()| timers_are_kept_apart());
        clear_branches(last, AS_NEEDED)?;
        outcome?;
    }
    Ok(())
}

/// How a core clears its history: so many branches, or one of these.
const BY_INSTRUCTION: u64 = 1000;
const AS_NEEDED: u64 = 1001;
static CLEARS: AtomicU64 = AtomicU64::new(0);

/// A core does it in that way from now on.
fn clear_branches(core: usize, how: u64) -> Verdict {
    ensure!(task::spawn("branches", core, task::VCPU, set_branches, how).is_ok(), "no task");
    ensure!(eventually(|| CLEARS.load(Ordering::Acquire) == how), "the task does not run");
    Ok(())
}

extern "C" fn set_branches(how: u64) -> ! {
    branches::set(match u8::try_from(how) {
        Ok(branches) => Action::Loop(branches),
        Err(_) if how == BY_INSTRUCTION => Action::Clear,
        Err(_) => branches::needed(),
    });
    // Release: pairs with the acquire in `clear_branches`; the core's vectors are set.
    CLEARS.store(how, Ordering::Release);
    task::exit()
}

/// A device's registers by pairs, with the base written back, and from SIMD registers: what no
/// syndrome describes.
pub(super) fn accesses_of_every_form() -> Verdict {
    checks(mode::ACCESSES, 18)
}

/// The clock of the day raises its interrupt at the second that was set.
pub(super) fn alarm_of_the_clock() -> Verdict {
    if bale_rt::clock::of_day().is_none() {
        // Nobody knows the time, and the guest has no clock.
        return Ok(());
    }
    checks(mode::ALARM, 11)
}

/// Rounds of the physical timers.
const PHYSICAL_ROUNDS: u64 = 20;

/// The physical timers of two virtual CPUs on one core: registers, level, at work and in a wait,
/// loaded or not.
pub(super) fn physical_timers_fire() -> Verdict {
    let (summary, reason) =
        ended(start_steps(mode::PHYSICAL_TIMER, cores::last_online(), PHYSICAL_ROUNDS)?)?;
    let failed = figure(&summary, report::CHECK_FAILED);
    ensure!(reason == Reason::Exited(0) && failed == 0, "{reason}, check {failed}");
    ensure!(figure(&summary, report::CHECKS_PASSED) == PHYSICAL_ROUNDS, "too few rounds");
    nothing_left()
}

/// Performance monitors of two virtual CPUs on one core: counts, cycles, overflows, and each one's
/// own registers.
pub(super) fn monitors_count() -> Verdict {
    checks_in(mode::MONITORS, 100, 100)
}

/// Every breakpoint and watchpoint, linked contexts, and steps over what is emulated; a virtual CPU
/// beside it on the core is left in peace.
pub(super) fn debugs_itself() -> Verdict {
    checks(mode::DEBUG, 1_000)
}

/// Looks at all registers that each of two machines takes.
const REGISTER_LOOKS: u64 = 2;

/// Two machines on one core, each with patterns of its own in every system register that it can
/// write: none finds anything there but its own.
pub(super) fn no_register_is_shared() -> Verdict {
    let last = cores::last_online();
    let start = |seed| start_seeded(mode::REGISTERS, last, REGISTER_LOOKS, seed);
    for index in [start(3)?, start(12)?] {
        let (summary, reason) = ended(index)?;
        let failed = figure(&summary, report::CHECK_FAILED);
        ensure!(
            reason == Reason::Exited(0) && failed == 0,
            "{reason}, register {failed:#x} is not kept"
        );
        ensure!(figure(&summary, report::CHECKS_PASSED) > 50, "too few registers were kept");
    }
    nothing_left()
}

pub(super) fn undefined_instruction() -> Verdict {
    let (summary, reason) = run(mode::UNDEFINED)?;
    let failed = figure(&summary, report::CHECK_FAILED);
    ensure!(failed == 0, "instruction {failed} of the guest is not undefined");
    ensure!(reason == Reason::Exited(0), "{reason}");
    nothing_left()
}

pub(super) fn endless_loop_is_killed() -> Verdict {
    let index = start(mode::ENDLESS, cores::last_online())?;
    ensure!(
        eventually(|| vm::summaries().any(|vm| vm.slot == index && vm.exits > 0)),
        "no interrupt reached it"
    );
    ensure!(vm::kill(index), "it does not run");
    let (_, reason) = ended(index)?;
    ensure!(reason == Reason::Killed, "{reason}");
    nothing_left()
}

pub(super) fn two_guests_at_once() -> Verdict {
    let last = cores::last_online();
    // On one core, so that they take turns, and an endless one beside them.
    let endless = start(mode::ENDLESS, last)?;
    let pair = [start(mode::SWAP, last)?, start(mode::SWAP, last)?];
    for index in pair {
        let (summary, reason) = ended(index)?;
        ensure!(reason == Reason::Exited(0), "vm {index}: {reason}");
        ensure!(figure(&summary, report::BYTES_LOST) == 0, "vm {index} lost bytes");
    }
    ensure!(vm::kill(endless), "the endless one does not run");
    let (_, reason) = ended(endless)?;
    ensure!(reason == Reason::Killed, "{reason}");
    nothing_left()
}

/// Steps of a storm of one kind, of all its virtual CPUs together.
fn storm_steps() -> u64 {
    if is_long() { 1_000_000 } else { 20_000 }
}

/// A hundred thousand register accesses, calls and interrupts of every kind from four virtual CPUs,
/// and a neighbour that swaps.
pub(super) fn storm_beside_a_neighbour() -> Verdict {
    storm(mode::STORM, STORM_STEPS)
}

pub(super) fn storm_of_device_registers() -> Verdict {
    storm(mode::STORM_DEVICES, storm_steps())
}

/// All but `ICC_BPR1_EL1` and `ICC_CTLR_EL1`, whose writes QEMU 7.2 answers with an assertion of
/// its own.
pub(super) fn storm_of_system_registers() -> Verdict {
    storm(mode::STORM_REGISTERS, storm_steps())
}

pub(super) fn storm_of_firmware_calls() -> Verdict {
    storm(mode::STORM_FIRMWARE, storm_steps())
}

pub(super) fn storm_of_interrupts() -> Verdict {
    storm(mode::STORM_INTERRUPTS, storm_steps())
}

pub(super) fn storm_of_descriptor_chains() -> Verdict {
    storm(mode::STORM_CHAINS, storm_steps())
}

pub(super) fn storm_of_hypercalls() -> Verdict {
    storm(mode::STORM_CALLS, storm_steps())
}

/// A step writes and reads, so there are fewer.
pub(super) fn storm_of_sectors() -> Verdict {
    storm(mode::STORM_SECTORS, storm_steps() / 10)
}

pub(super) fn storm_of_translation_tables() -> Verdict {
    storm(mode::STORM_TABLES, storm_steps())
}

/// A guest that storms and a neighbour on one of its cores that swaps: both end well, and nothing
/// is left of them. The neighbour comes once, or, where tests take their time, again and again
/// until the storm is over.
fn storm(mode: u64, steps: u64) -> Verdict {
    let last = cores::last_online();
    let free = frames::usage().free as u64;
    let metadata = pool::pool().stats().metadata_pages;
    // The first free place is taken first: one before the storm's is kept for the neighbours, or
    // one of them could take that of a storm which has just ended, and its figures with it.
    let place = start(mode::ENDLESS, last)?;
    let storm = start_steps(mode, last, steps)?;
    ensure!(vm::kill(place), "the endless one does not run");
    let (_, reason) = ended(place)?;
    ensure!(reason == Reason::Killed, "{reason}");
    let runs = |index| vm::summaries().any(|vm| vm.slot == index && vm.state == State::Running);
    loop {
        let neighbour = start(mode::SWAP, last)?;
        while runs(neighbour) {
            // The console of the storm is typed at all the while, whatever room it offers.
            let _ = vm::send(storm, b'x');
            task::sleep_us(100);
        }
        let (neighbour, reason) = ended(neighbour)?;
        ensure!(reason == Reason::Exited(0), "the neighbour: {reason}");
        ensure!(figure(&neighbour, report::BYTES_LOST) == 0, "the neighbour lost bytes");
        if !is_long() || !runs(storm) {
            break;
        }
    }
    while vm::send(storm, b'x') {
        task::sleep_us(100);
    }
    let (summary, reason) = ended(storm)?;
    ensure!(reason == Reason::Exited(0), "{reason}");
    let done = figure(&summary, report::CHECKS_PASSED);
    ensure!(done == steps, "{done} steps");
    // Most steps trap; of those on tables some.
    ensure!(summary.exits > steps / 64, "{} exits", summary.exits);
    // Some chains ask for what can be done.
    let served = summary.swap.writes.min(summary.swap.reads);
    ensure!(mode != mode::STORM_CHAINS || served > 0, "no chain reached the store");
    nothing_left()?;
    let grown = pool::pool().stats().metadata_pages - metadata;
    let lost = free.saturating_sub(frames::usage().free as u64);
    ensure!(lost <= grown, "{lost} frames did not come back, {grown} are metadata of the pool");
    Ok(())
}
