//! `vm`: virtual machines.

use bale_abi::{STORM_STEPS, mode, report};
use bale_core::shell::sheet::{Column, Value, column};

use super::{Arguments, Failure, Outcome, fail, show};
use crate::console::Input;
use crate::vm::{self, Reason, State, Summary};
use crate::{bundle, clock, console, cores, drain, pool, print, println, task};

/// The guest that the bundle holds.
const GUEST: &str = "swapper";
/// Ctrl-]: leaves a guest's console.
const LEAVE: u8 = 0x1d;
/// How often the console looks whether the guest still runs.
const CONSOLE_LOOK_US: u64 = 50_000;
/// How long the drain may take to give everything back after a guest has ended.
const QUIET_LIMIT_US: u64 = 10_000_000;

pub(super) fn vm(arguments: &Arguments<'_>) -> Outcome {
    let (words, json) = arguments.with_json();
    match words {
        [] | ["list"] => {
            list(json);
            Ok(())
        }
        ["stats", number] => stats(slot(number)?, json),
        _ if json => fail(format_args!("vm: --json goes with `list` and `stats`")),
        ["start", ..] => {
            println!("vm {} started", start(arguments)?);
            Ok(())
        }
        ["run", ..] => {
            let before = pool::pool().stats();
            let index = start(arguments)?;
            let Some(summary) = wait(index)? else { return fail(format_args!("vm {index} is gone")) };
            show_run(&summary, before)
        }
        ["stop", number] => stop(number),
        ["pause", number] => pause(number, true),
        ["resume", number] => pause(number, false),
        ["console", number] => console(slot(number)?),
        ["set", name, "memory", size] => hold(name, size),
        ["wait", number] => match wait(slot(number)?)? {
            Some(summary) => {
                println!("{}", Standing(&summary));
                Ok(())
            }
            None => fail(format_args!("there never was a vm {number}")),
        },
        ["kill", number] => end(number),
        [other, ..] => fail(format_args!("vm {other} is not known or lacks a number; `help vm` tells")),
    }
}

/// A machine by its number, or by its guest's name: the one that runs, or the one that did.
pub(super) fn slot(word: &str) -> Result<usize, Failure> {
    match bale_core::shell::number(word) {
        Ok(number) if number < vm::MAX_VMS as u64 => return Ok(number as usize),
        Ok(number) => {
            return fail(format_args!("there is no vm {number}; they go from 0 to {}", vm::MAX_VMS - 1));
        }
        Err(_) => {}
    }
    let named = |ended: bool| {
        vm::summaries().filter(move |machine| {
            machine.guest == *word && matches!(machine.state, State::Ended(_)) == ended
        })
    };
    let mut machines = named(named(false).next().is_none());
    match (machines.next(), machines.next()) {
        (Some(machine), None) => Ok(machine.slot),
        (Some(_), Some(_)) => fail(format_args!("several are called {word}; `vm list` tells their numbers")),
        (None, _) => fail(format_args!("there is no vm {word}; `vm list` lists them")),
    }
}

/// Calls `visit` with the name of each guest that can be started.
pub(super) fn for_each_guest(mut visit: impl FnMut(&str)) {
    if bundle::guest(GUEST).is_some() {
        visit(GUEST);
    }
    bundle::for_each_description(visit);
}

fn start(arguments: &Arguments<'_>) -> Result<usize, Failure> {
    if let [_, name, rest @ ..] = arguments.words()
        && !name.starts_with("--")
        && *name != GUEST
    {
        if let [word, ..] = rest {
            return fail(format_args!("vm start {name} takes nothing more, but got {word}"));
        }
        return vm::start_described(name).or_else(|error| fail(format_args!("vm {name}: {error}")));
    }
    arguments.only_options(&["--mode", "--core", "--seed", "--steps"], 1)?;
    let last_core = cores::last_online() as u64;
    let mode = arguments.option("--mode", mode::SWAP)?;
    let core = arguments.option("--core", last_core)?;
    let seed = arguments.option("--seed", 1)?;
    let steps = arguments.option("--steps", STORM_STEPS)?;
    if mode > mode::LAST {
        return fail(format_args!("there is no mode {mode}; they go from 0 to {}", mode::LAST));
    }
    vm::start(GUEST, mode, core as usize, seed, steps).or_else(|error| fail(format_args!("vm: {error}")))
}

/// Holds a running machine to so much memory.
fn hold(name: &str, size: &str) -> Outcome {
    let index = slot(name)?;
    let bytes = match bale_core::shell::number(size) {
        Ok(bytes) => bytes,
        Err(error) => return fail(format_args!("{size}: {error}")),
    };
    vm::hold(index, bytes).or_else(|error| fail(format_args!("vm {name}: {error}")))
}

/// Waits until a machine has ended, or somebody types Ctrl-C: then it runs on.
fn wait(index: usize) -> Result<Option<Summary>, Failure> {
    let summary = vm::wait_while(index, || !console::interrupted());
    match summary {
        Some(Summary { state: State::Running | State::Paused, .. }) => {
            fail(format_args!("interrupted; vm {index} runs on, and `vm kill {index}` ends it"))
        }
        summary => Ok(summary),
    }
}

/// `vm stop`: asks, and does not wait; what became of it is said when everything is back.
fn stop(number: &str) -> Outcome {
    let index = slot(number)?;
    let asked = clock::now();
    if !vm::stop(index) {
        return fail(format_args!("vm {number} does not run"));
    }
    println!("vm {index} is asked to stop, after {} us", clock::to_us(clock::now() - asked));
    Ok(())
}

/// `vm kill`: waits for the end.
fn end(number: &str) -> Outcome {
    let index = slot(number)?;
    if !vm::kill(index) {
        return fail(format_args!("vm {number} does not run"));
    }
    match wait(index)? {
        Some(summary) => {
            println!("vm {index} {}", Standing(&summary));
            Ok(())
        }
        None => fail(format_args!("vm {number} is gone")),
    }
}

fn pause(number: &str, still: bool) -> Outcome {
    if vm::pause(slot(number)?, still) {
        return Ok(());
    }
    fail(format_args!("vm {number} is not {}", if still { "running" } else { "paused" }))
}

/// Gives the terminal to a machine until [`LEAVE`] is typed or the machine ends.
fn console(index: usize) -> Outcome {
    if !vm::attach(index) {
        return fail(format_args!("vm {index} does not run"));
    }
    println!("console of vm {index}; Ctrl-] leaves it");
    let outcome = loop {
        match console::read_until(clock::now() + clock::from_us(CONSOLE_LOOK_US)) {
            Some(Input::Byte(LEAVE)) => break Ok(()),
            Some(Input::Byte(byte)) => {
                vm::send(index, byte);
            }
            // The guest sees no more of it than on a line of its own.
            Some(Input::Lost) => {}
            None if vm::summaries().any(|vm| vm.slot == index && matches!(vm.state, State::Ended(_))) => {
                println!();
                println!("vm {index} has ended");
                break Ok(());
            }
            None => {}
        }
    };
    vm::detach(index);
    println!();
    outcome
}

static VCPUS: [Column; 3] =
    [column("vcpu", "virtual CPU", 11), column("core", "core", 5), column("exits", "exits", 12)];

/// What a machine is and has done.
fn stats(index: usize, json: bool) -> Outcome {
    let Some(machine) = vm::summaries().find(|vm| vm.slot == index) else {
        return fail(format_args!("there never was a vm {index}"));
    };
    let mut sheet = show(json);
    let state = state_text(&machine);
    sheet.note(format_args!("vm {index} ({}) {state}", machine.guest));
    sheet.hidden("vm", index);
    sheet.hidden("guest", machine.guest.as_str());
    sheet.hidden("state", state.as_str());
    sheet.figure("vcpus", "virtual CPUs", machine.vcpus, format_args!(""));
    sheet.figure("memory_mib", "memory", machine.memory >> 20, format_args!("MiB"));
    sheet.figure("restarts", "restarts", machine.restarts, format_args!(""));
    sheet.figure("exits", "exits", machine.exits, format_args!("{} of them calls", machine.calls));
    sheet.hidden("calls", machine.calls);
    let [disk, console] = machine.needs_reset;
    let waits = match (disk, console) {
        (false, false) => "",
        (true, false) => "disk needs reset",
        (false, true) => "console needs reset",
        (true, true) => "disk and console need reset",
    };
    sheet.figure("broken_devices", "devices broken", machine.broken_devices, format_args!("{waits}"));
    sheet.hidden("disk_needs_reset", Value::Flag(disk));
    sheet.hidden("console_needs_reset", Value::Flag(console));
    sheet.figure(
        "external_aborts",
        "external aborts",
        machine.external_aborts,
        format_args!("given to the guest"),
    );
    if let Some(held) = machine.held {
        sheet.figure("held_mib", "held to", held.limit >> 8, format_args!("MiB"));
        sheet.figure("resident_pages", "resident", held.resident, format_args!("pages"));
        sheet.figure(
            "stored_pages",
            "stored",
            held.stored,
            format_args!("pages in {} KiB", held.stored_bytes >> 10),
        );
        sheet.hidden("stored_kib", held.stored_bytes >> 10);
        sheet.figure(
            "put_out_pages",
            "put out",
            held.put_out,
            format_args!("pages, {} of them to make room for a device's", held.made_room),
        );
        sheet.hidden("made_room_pages", held.made_room);
        sheet.figure("brought_back_pages", "brought back", held.brought_back, format_args!("pages"));
        sheet.figure("refused_pages", "refused", held.refused, format_args!("pages, by the store"));
    }
    sheet.table("vcpu_list", &VCPUS);
    for (number, (core, exits)) in vm::vcpus(index).enumerate() {
        sheet.row(&[number.into(), core.into(), exits.into()]);
    }
    Ok(())
}

static MACHINES: [Column; 9] = [
    column("vm", "vm", 3),
    column("start", "start", 5),
    column("guest", "guest", 8),
    column("core", "core", 4),
    column("exits", "exits", 8),
    column("calls", "calls", 7),
    column("resident_pages", "resident", 8),
    column("stored_pages", "stored", 6),
    column("state", "state", 16),
];

fn list(json: bool) {
    let mut sheet = show(json);
    sheet.table("vms", &MACHINES);
    for machine in vm::summaries() {
        let ended = matches!(machine.state, State::Ended(_));
        let resident =
            machine.held.map_or(if ended { 0 } else { machine.memory >> 12 }, |held| held.resident);
        sheet.row(&[
            machine.slot.into(),
            machine.generation.into(),
            machine.guest.as_str().into(),
            machine.core.into(),
            machine.exits.into(),
            machine.calls.into(),
            resident.into(),
            (machine.swap.stored + machine.held.map_or(0, |held| held.stored)).into(),
            state_text(&machine).as_str().into(),
        ]);
    }
    bundle::for_each_description(|name| {
        sheet.note(format_args!("the bundle describes {name}; `vm start {name}` starts it"));
    });
}

/// Running, or why not.
struct Standing<'a>(&'a Summary);

impl core::fmt::Display for Standing<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0.state {
            State::Empty => f.write_str("empty"),
            State::Running => f.write_str("running"),
            State::Paused => f.write_str("paused"),
            State::Ended(reason) => write!(f, "{reason}"),
        }
    }
}

fn state_text(machine: &Summary) -> heapless::String<96> {
    let mut text = heapless::String::new();
    // A longer reason is cut.
    let _ = core::fmt::write(&mut text, format_args!("{}", Standing(machine)));
    text
}

/// Prints what a run has shown; an error unless everything came back and nothing was lost.
fn show_run(machine: &Summary, before: zsmalloc::Stats) -> Outcome {
    let quiet = drain::wait_until_quiet(QUIET_LIMIT_US);
    let stats = pool::pool().stats();
    let figure = |key: u64| machine.figures[key as usize - 1];
    let (out, equal, lost) =
        (figure(report::PAGES_OUT), figure(report::PAGES_EQUAL), figure(report::BYTES_LOST));
    let taken = stats.drained + stats.helped + stats.flushed;
    println!("vm {} on core {} {}", machine.slot, machine.core, Standing(machine));
    // A guest that turned itself off is not one of ours: it says on its own console what came of its work.
    let own = !matches!(machine.state, State::Ended(Reason::PoweredOff));
    if own {
        println!("  {out} pages swapped out, {equal} read back equal, {lost} bytes lost");
    }
    println!(
        "  ran {} us; its end released {} slots in {} us, without the drain",
        clock::to_us(machine.run_ticks - machine.release_ticks),
        machine.released,
        clock::to_us(machine.release_ticks)
    );
    println!("  pool: {} objects, {} pages", stats.objects, stats.pages);
    println!(
        "  drain: {} enqueued, {} drained, {} helped, {} flushed, {} pending\n  {} drain interrupts",
        stats.enqueued, stats.drained, stats.helped, stats.flushed, stats.pending, stats.interrupts
    );
    let alone = vm::summaries().all(|other| other.state != State::Running);
    let clean = matches!(machine.state, State::Ended(Reason::Exited(0) | Reason::PoweredOff));
    if !clean || lost != 0 || out != equal {
        return fail(format_args!("the guest did not end well"));
    }
    if !quiet || stats.enqueued != taken + stats.pending {
        return fail(format_args!(
            "the books do not balance: {} enqueued, {taken} taken out",
            stats.enqueued
        ));
    }
    if alone && (stats.objects, stats.pages) != (0, 0) {
        return fail(format_args!("{} objects and {} pages stayed behind", stats.objects, stats.pages));
    }
    // Fewer may be fetched by the drain's own timer, a few at a time.
    if machine.released >= 4 * pool::pool().config().watermark && stats.interrupts == before.interrupts {
        return fail(format_args!("no drain interrupt was raised"));
    }
    Ok(())
}

/// Runs the guest once beside the shell, right after boot.
pub(super) fn start_first() {
    if bundle::guest(GUEST).is_none() {
        println!("No guest was handed over; `cargo bale run` brings one.");
        return;
    }
    if task::spawn("first guest", 0, task::LOG, first_guest, 0).is_err() {
        println!("No task is free for the first guest.");
    }
}

extern "C" fn first_guest(_argument: u64) -> ! {
    let before = pool::pool().stats();
    let started = vm::start(GUEST, mode::SWAP, cores::last_online(), 1, 0);
    println!();
    match started.map(vm::wait) {
        Ok(Some(summary)) => {
            if let Err(Failure(why)) = show_run(&summary, before) {
                println!("error: {why}");
            }
        }
        Ok(None) => println!("the first guest is gone"),
        Err(error) => println!("the first guest: {error}"),
    }
    print!("{}", super::PROMPT);
    task::exit()
}
