//! `vm`: virtual machines.

use bale_abi::{STORM_STEPS, mode, report};

use super::{Arguments, Failure, Outcome, fail};
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
    match arguments.words() {
        [] | ["list"] => {
            list();
            Ok(())
        }
        ["start", ..] => {
            println!("vm {} started", start(arguments)?);
            Ok(())
        }
        ["run", ..] => {
            let before = pool::pool().stats();
            let index = start(arguments)?;
            let Some(summary) = vm::wait(index) else { return fail(format_args!("vm {index} is gone")) };
            show_run(&summary, before)
        }
        ["stop", number] => stop(number),
        ["pause", number] => pause(number, true),
        ["resume", number] => pause(number, false),
        ["console", number] => console(slot(number)?),
        ["stats", number] => stats(slot(number)?),
        ["set", name, "memory", size] => hold(name, size),
        ["wait", number] => match vm::wait(slot(number)?) {
            Some(summary) => {
                show_state(&summary);
                Ok(())
            }
            None => fail(format_args!("there never was a vm {number}")),
        },
        ["kill", number] => end(number),
        [other, ..] => fail(format_args!("vm {other} is not known or lacks a number; `help vm` tells")),
    }
}

fn slot(word: &str) -> Result<usize, Failure> {
    match bale_core::shell::number(word) {
        Ok(number) if number < vm::MAX_VMS as u64 => Ok(number as usize),
        Ok(number) => fail(format_args!("there is no vm {number}; they go from 0 to {}", vm::MAX_VMS - 1)),
        Err(error) => fail(format_args!("{word}: {error}")),
    }
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
    let last_core = cores::online() as u64 - 1;
    let mode = arguments.option("--mode", mode::SWAP)?;
    let core = arguments.option("--core", last_core)?;
    let seed = arguments.option("--seed", 1)?;
    let steps = arguments.option("--steps", STORM_STEPS)?;
    if mode > mode::LAST {
        return fail(format_args!("there is no mode {mode}; they go from 0 to {}", mode::LAST));
    }
    vm::start(GUEST, mode, core as usize, seed, steps).or_else(|error| fail(format_args!("vm: {error}")))
}

/// Holds a running machine, by number or name, to so much memory.
fn hold(name: &str, size: &str) -> Outcome {
    let named = vm::summaries()
        .find(|machine| machine.guest == *name && matches!(machine.state, State::Running | State::Paused));
    let index = match named {
        Some(machine) => machine.slot,
        None => slot(name)?,
    };
    let bytes = match bale_core::shell::number(size) {
        Ok(bytes) => bytes,
        Err(error) => return fail(format_args!("{size}: {error}")),
    };
    vm::hold(index, bytes).or_else(|error| fail(format_args!("vm {name}: {error}")))
}

/// Ends a machine and waits until it has.
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
    match vm::wait(index) {
        Some(summary) => {
            print!("vm {index} ");
            show_state(&summary);
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
            Some(LEAVE) => break Ok(()),
            Some(byte) => {
                vm::send(index, byte);
            }
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

/// What a machine is and has done.
fn stats(index: usize) -> Outcome {
    let Some(machine) = vm::summaries().find(|vm| vm.slot == index) else {
        return fail(format_args!("there never was a vm {index}"));
    };
    print!("vm {index} ({}) ", machine.guest);
    show_state(&machine);
    println!(
        "  {} virtual CPUs, {} MiB of memory, {} restarts; {} exits, {} calls among them",
        machine.vcpus,
        machine.memory >> 20,
        machine.restarts,
        machine.exits,
        machine.calls
    );
    if let Some(held) = machine.held {
        println!(
            "  held to {} MiB: {} pages resident, {} stored in {} KiB; {} put out, {} brought back, {} refused by the store",
            held.limit >> 8,
            held.resident,
            held.stored,
            held.stored_bytes >> 10,
            held.put_out,
            held.brought_back,
            held.refused
        );
    }
    for (number, (core, exits)) in vm::vcpus(index).enumerate() {
        println!("  virtual CPU {number} on core {core}: {exits} exits");
    }
    Ok(())
}

fn list() {
    println!(
        "{:>3} {:>5} {:<10} {:>4} {:>9} {:>9} {:>8} {:>10}  state",
        "vm", "start", "guest", "core", "exits", "calls", "resident", "stored"
    );
    for machine in vm::summaries() {
        let ended = matches!(machine.state, State::Ended(_));
        let resident =
            machine.held.map_or(if ended { 0 } else { machine.memory >> 12 }, |held| held.resident);
        print!(
            "{:>3} {:>5} {:<10} {:>4} {:>9} {:>9} {:>8} {:>10}  ",
            machine.slot,
            machine.generation,
            machine.guest.as_str(),
            machine.core,
            machine.exits,
            machine.calls,
            resident,
            machine.swap.stored + machine.held.map_or(0, |held| held.stored)
        );
        show_state(&machine);
    }
    bundle::for_each_description(|name| println!("the bundle describes {name}; `vm start {name}` starts it"));
}

fn show_state(machine: &Summary) {
    match machine.state {
        State::Empty => println!("empty"),
        State::Running => println!("running"),
        State::Paused => println!("paused"),
        State::Ended(reason) => println!("{reason}"),
    }
}

/// Prints what a run has shown; an error unless everything came back and nothing was lost.
fn show_run(machine: &Summary, before: zsmalloc::Stats) -> Outcome {
    let quiet = drain::wait_until_quiet(QUIET_LIMIT_US);
    let stats = pool::pool().stats();
    let figure = |key: u64| machine.figures[key as usize - 1];
    let (out, equal, lost) =
        (figure(report::PAGES_OUT), figure(report::PAGES_EQUAL), figure(report::BYTES_LOST));
    let taken = stats.drained + stats.helped + stats.flushed;
    print!("vm {} on core {} ", machine.slot, machine.core);
    show_state(machine);
    // A guest that turned itself off is not one of ours: it says on its own console what came of its work.
    let own = !matches!(machine.state, State::Ended(Reason::PoweredOff));
    if own {
        println!("  {out} pages swapped out, {equal} read back equal, {lost} bytes lost");
    }
    println!(
        "  ran {} us; its end released {} slots in {} us, the drain's work not included",
        clock::to_us(machine.run_ticks - machine.release_ticks),
        machine.released,
        clock::to_us(machine.release_ticks)
    );
    println!("  pool: {} objects, {} pages", stats.objects, stats.pages);
    println!(
        "  drain: {} enqueued, {} drained, {} helped, {} flushed, {} pending; {} interrupts raised",
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
    let started = vm::start(GUEST, mode::SWAP, cores::online() - 1, 1, 0);
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
