//! `vm`: virtual machines.

mod figures;

use core::fmt::Write as _;

pub(super) use self::figures::swap_ratio;
use bale_abi::{STORM_STEPS, mode};

use super::{Arguments, Failure, Outcome, complain, fail, say};
use bale_core::vm_description::{self, CpuLimit};
use bale_io::console::Input;
use bale_io::{bundle, console, print, println};
use bale_reclaim::pool;
use bale_rt::{clock, cores, task};
use bale_vmm::{self as vm, StartError, State, Summary};

/// The guest that the bundle holds.
const GUEST: &str = "swapper";
/// Ctrl-]: leaves a guest's console.
const LEAVE: u8 = 0x1d;
/// How often the console looks whether the guest still runs.
const CONSOLE_LOOK_US: u64 = 50_000;
/// How long the drain may take to give everything back after a guest has ended.
const QUIET_LIMIT_US: u64 = 10_000_000;

pub(super) fn list() {
    figures::list(false);
}

pub(super) fn vm(arguments: &Arguments<'_>) -> Outcome {
    let (plain, json) = arguments.but_json();
    match plain.words() {
        [] | ["list"] => {
            figures::list(json);
            Ok(())
        }
        ["stats", number] => figures::stats(slot(number)?, json),
        ["start", ..] => {
            let index = start(&plain)?;
            say(json, format_args!("vm {index} started"), &[("vm", index.into())]);
            Ok(())
        }
        ["run", ..] => {
            let before = pool::pool().stats();
            let index = start(&plain)?;
            let Some(summary) = wait(index)? else {
                return fail(format_args!("vm {index} is gone"));
            };
            figures::run(&summary, before, json)
        }
        ["stop", number] => stop(number, json),
        ["wait", number] => match wait(slot(number)?)? {
            Some(summary) => {
                figures::standing(&summary, format_args!(""), json);
                Ok(())
            }
            None => fail(format_args!("there never was a vm {number}")),
        },
        // Both words are known from elsewhere.
        ["kill" | "destroy", number] => end(number, json),
        [word @ ("pause" | "resume" | "console" | "set"), ..] if json => {
            fail(format_args!("vm {word} shows no figures, so it takes no --json"))
        }
        ["pause", number] => pause(number, true),
        ["resume", number] => pause(number, false),
        ["console", number] => console(slot(number)?),
        ["set", name, "memory", size] => hold(name, size),
        ["set", name, "shares", part] => set_shares(name, part),
        ["set", name, "cpu_limit", limit] => set_cpu_limit(name, limit),
        [other, ..] => {
            fail(format_args!("vm {other} is not known or lacks a number; `help vm` tells"))
        }
    }
}

/// A machine by its number, or by its guest's name: the one that runs, or the one that did.
pub(super) fn slot(word: &str) -> Result<usize, Failure> {
    match bale_core::shell::number(word) {
        Ok(number) if number < vm::MAX_VMS as u64 => return Ok(number as usize),
        Ok(number) => {
            return fail(format_args!(
                "there is no vm {number}; they go from 0 to {}",
                vm::MAX_VMS - 1
            ));
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
        (Some(_), Some(_)) => {
            fail(format_args!("several are called {word}; `vm list` tells their numbers"))
        }
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
        return vm::start_described(name).or_else(|error| match error {
            StartError::NoSuchGuest => no_such_guest(name),
            error => fail(format_args!("vm {name}: {error}")),
        });
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
    vm::start(GUEST, mode, core as usize, seed, steps)
        .or_else(|error| fail(format_args!("vm: {error}")))
}

/// The bundle holds no such guest: says which it holds, as far as there is room.
#[inline(never)]
fn no_such_guest(name: &str) -> Result<usize, Failure> {
    let mut held: heapless::String<96> = heapless::String::new();
    for_each_guest(|guest| {
        // One that finds no room is not named: `vm list` tells of all.
        let _ = write!(held, "{}{guest}", if held.is_empty() { "" } else { ", " });
    });
    match held.as_str() {
        "" => fail(format_args!(
            "there is no guest {name}: no bundle was handed over with guests; `cargo bale run` brings some"
        )),
        held => fail(format_args!("there is no guest {name}; the bundle holds {held}")),
    }
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

/// Gives a running machine another part of the cores that it shares.
fn set_shares(name: &str, part: &str) -> Outcome {
    let index = slot(name)?;
    match vm_description::shares(part) {
        Ok(shares) if vm::set_shares(index, shares) => Ok(()),
        Ok(_) => fail(format_args!("vm {name} does not run")),
        Err(wrong) => fail(format_args!("{part}: {wrong}")),
    }
}

/// Gives a running machine another limit, or none.
fn set_cpu_limit(name: &str, limit: &str) -> Outcome {
    let index = slot(name)?;
    let limit = match limit {
        "none" => None,
        limit => match CpuLimit::parse(limit) {
            Ok(limit) => Some(limit),
            Err(wrong) => return fail(format_args!("{limit}: {wrong}")),
        },
    };
    if vm::set_cpu_limit(index, limit) {
        return Ok(());
    }
    fail(format_args!("vm {name} does not run"))
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
fn stop(number: &str, json: bool) -> Outcome {
    let index = slot(number)?;
    let asked = clock::now();
    if !vm::stop(index) {
        return fail(format_args!("vm {number} does not run"));
    }
    let us = clock::to_us(clock::now() - asked);
    let line = format_args!("vm {index} is asked to stop, after {us} us");
    say(json, line, &[("vm", index.into()), ("asked_us", us.into())]);
    Ok(())
}

/// `vm kill`: waits for the end.
fn end(number: &str, json: bool) -> Outcome {
    let index = slot(number)?;
    if !vm::kill(index) {
        return fail(format_args!("vm {number} does not run"));
    }
    match wait(index)? {
        Some(summary) => {
            figures::standing(&summary, format_args!("vm {index} "), json);
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
            None if vm::summaries()
                .any(|vm| vm.slot == index && matches!(vm.state, State::Ended(_))) =>
            {
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

/// Runs the guest once beside the shell, right after boot.
pub(super) fn start_first() {
    if bundle::guest(GUEST).is_none() {
        println!("No guest was handed over; `cargo bale run` brings one.");
        return;
    }
    if task::spawn("first guest", 0, task::HOUSEKEEPING, first_guest, 0).is_err() {
        println!("No task is free for the first guest.");
    }
}

extern "C" fn first_guest(_argument: u64) -> ! {
    let before = pool::pool().stats();
    let started = vm::start(GUEST, mode::SWAP, cores::last_online(), 1, 0);
    println!();
    match started.map(vm::wait) {
        Ok(Some(summary)) => {
            if let Err(Failure(why)) = figures::run(&summary, before, false) {
                complain(&why);
            }
        }
        Ok(None) => println!("the first guest is gone"),
        Err(error) => println!("the first guest: {error}"),
    }
    print!("{}", super::PROMPT);
    task::exit()
}
