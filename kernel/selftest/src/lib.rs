//! Tests that run on the target: `selftest --list`, `selftest`, `selftest NAME...`, where a name is
//! a test's or a module's. With `--long` before the names, tests that repeat something do so a
//! million times, or a thousand times where each is long.
//!
//! Each ends with a line `test NAME ... ok` or `test NAME ... FAILED: why`; the host counts those
//! lines, one machine a test, each with its own time limit.
#![no_std]
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "usize is 64 bits here; narrower casts take fields of registers or indexes of small tables"
)]
#![allow(
    clippy::result_large_err,
    reason = "an error of the shell or of a test is its one line of text, off every hot path"
)]

mod coming;
mod copying;
mod deferring;
mod drawing;
mod framing;
mod guests;
mod locking;
mod logging;
mod mapping;
mod scheduling;
mod sharing;
mod tracing;

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use heapless::String;

use bale_io::console::progress;
use bale_io::println;
use bale_monitor::shell::{Arguments, Command, Outcome, fail};
use bale_rt::task;

/// Why a test failed, in one line.
pub struct Failure(String<160>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A priority below virtual CPUs'.
const LOW: u8 = task::VCPU_BEHIND - 1;

type Verdict = Result<(), Failure>;

fn failure(why: fmt::Arguments<'_>) -> Failure {
    let mut text = String::new();
    // A longer reason is cut.
    let _ = fmt::write(&mut text, why);
    Failure(text)
}

/// Fails the test with a formatted reason unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)*) => {
        if !$condition {
            return Err($crate::failure(format_args!($($reason)*)));
        }
    };
}
use ensure;

/// A test: its name, and what it does.
struct Test {
    name: &'static str,
    run: fn() -> Verdict,
}

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$(Test { name: concat!(stringify!($module), "::", stringify!($name)), run: $module::$name }),*]
    };
}

static TESTS: &[Test] = tests![
    mapping::code_is_not_writable,
    mapping::constants_are_not_writable,
    mapping::data_is_not_executable,
    mapping::no_page_is_written_and_executed,
    mapping::every_core_refuses_written_code,
    mapping::code_is_entered_at_landing_pads,
    mapping::guard_pages_fault,
    mapping::nothing_at_zero,
    drawing::no_number_comes_twice,
    copying::copy_matches_reference,
    copying::overlapping_moves,
    copying::set_and_compare,
    copying::zero_pages_are_seen,
    copying::simd_registers_survive,
    framing::no_frame_has_two_owners,
    framing::one_core_gets_every_frame,
    framing::cores_take_from_each_other,
    framing::the_last_frames_are_kept,
    framing::frames_become_blocks_again,
    scheduling::higher_priority_preempts,
    scheduling::equals_share_a_core,
    scheduling::preempted_goes_on_before_equals,
    scheduling::sleepers_wake_in_order,
    scheduling::no_wake_up_is_lost,
    scheduling::every_core_takes_interrupts,
    scheduling::stacks_are_reused,
    locking::semaphore_serves_by_priority,
    locking::semaphore_gives_up_in_time,
    locking::mutex_lends_priority,
    locking::mutex_lends_along_a_chain,
    locking::loans_cost_no_turn,
    locking::mutex_refuses_a_deadlock,
    locking::events_any_and_all,
    locking::events_serve_by_priority,
    locking::semaphore_wakes_before_interrupts,
    locking::queue_keeps_order,
    locking::no_wake_up_is_lost_to_interrupts,
    locking::overruns_are_counted,
    logging::a_full_ring_drops_its_oldest,
    sharing::machines_get_equal_time,
    sharing::rests_win_nothing,
    sharing::shares_and_limits_hold,
    sharing::housekeeping_goes_on,
    tracing::holds_a_run_in_order,
    tracing::overwrites_the_oldest,
    tracing::keeps_nothing_while_off,
    deferring::all_comes_back,
    deferring::part_filled_ring_drains_by_itself,
    deferring::burst_beyond_the_ring,
    deferring::free_on_another_core,
    deferring::stale_handle_is_an_error,
    coming::cores_in_use_stay,
    coming::a_busy_core_stays,
    coming::cores_go_and_come_back,
    coming::free_tasks_move,
    guests::swaps_and_verifies,
    guests::exit_releases_everything,
    guests::stray_access_stops_the_guest_only,
    guests::write_to_read_only_page,
    guests::hostile_hypercalls,
    guests::firmware_calls,
    guests::simd_registers_are_kept,
    guests::undefined_instruction,
    guests::endless_loop_is_killed,
    guests::two_guests_at_once,
    guests::storm_beside_a_neighbour,
    guests::storm_of_device_registers,
    guests::storm_of_system_registers,
    guests::storm_of_firmware_calls,
    guests::storm_of_interrupts,
    guests::storm_of_descriptor_chains,
    guests::storm_of_hypercalls,
    guests::storm_of_sectors,
    guests::storm_of_translation_tables,
    guests::timers_are_kept_apart,
    guests::counter_stands_still,
    guests::exits_behind_cleared_branches,
    guests::accesses_of_every_form,
    guests::alarm_of_the_clock,
    guests::physical_timers_fire,
    guests::monitors_count,
    guests::no_register_is_shared,
    guests::debugs_itself,
];

static LONG: AtomicBool = AtomicBool::new(false);

/// Whether tests take their time.
fn is_long() -> bool {
    LONG.load(Ordering::Relaxed)
}

/// The command, for the shell.
pub const COMMANDS: &[Command] = &[Command {
    name: "selftest",
    usage: &["[--long] [NAME|MODULE...]", "--list"],
    about: "tests of the kernel on this machine: all, some, those of a module; Ctrl-C stops behind the one that runs",
    run: selftest,
    offers: |visit| names().for_each(visit),
}];

fn selftest(arguments: &Arguments<'_>) -> Outcome {
    if arguments.words() == ["--list"] {
        for test in TESTS {
            println!("{}", test.name);
        }
        return Ok(());
    }
    let (long, names) = match arguments.words() {
        ["--long", names @ ..] => (true, names),
        names => (false, names),
    };
    LONG.store(long, Ordering::Relaxed);
    match run(names) {
        Ok(true) => Ok(()),
        Ok(false) => fail(format_args!("not every test passed")),
        Err(unknown) => {
            fail(format_args!("there is no test {unknown}; `selftest --list` names them"))
        }
    }
}

impl Test {
    fn module(&self) -> &'static str {
        self.name.split_once("::").map_or(self.name, |(module, _)| module)
    }

    /// Whether this is its name, or its module's.
    fn is(&self, name: &str) -> bool {
        self.name == name || self.module() == name
    }
}

/// Names of all modules and tests.
fn names() -> impl Iterator<Item = &'static str> + Clone {
    let begins =
        |(place, test): &(usize, &Test)| *place == 0 || TESTS[place - 1].module() != test.module();
    let modules = TESTS.iter().enumerate().filter(begins).map(|(_, test)| test.module());
    modules.chain(TESTS.iter().map(|test| test.name))
}

/// Runs the tests with these names, those of modules with these names, or all; whether every one of
/// them passed. An unknown name is an error.
///
/// # Errors
/// The name that no test and no module has.
fn run<'a>(names: &[&'a str]) -> Result<bool, &'a str> {
    if let Some(unknown) = names.iter().find(|name| !TESTS.iter().any(|test| test.is(name))) {
        return Err(unknown);
    }
    let mut failed = 0;
    let mut passed = 0;
    let chosen =
        || TESTS.iter().filter(|test| names.is_empty() || names.iter().any(|name| test.is(name)));
    let count = chosen().count();
    for (place, test) in chosen().enumerate() {
        progress::show(format_args!("selftest: {} of {count}: {}", place + 1, test.name));
        if bale_io::console::interrupted() {
            println!("stopped: {} tests were not run", count - passed - failed);
            failed += 1;
            break;
        }
        match (test.run)() {
            Ok(()) => {
                passed += 1;
                println!("test {} ... ok", test.name);
            }
            Err(why) => {
                failed += 1;
                println!("test {} ... FAILED: {why}", test.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}
