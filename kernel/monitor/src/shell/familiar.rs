//! Words that people know from other systems, and what is said to those who typed something else
//! than they meant.

use core::fmt::Write as _;

use bale_core::shell::nearest;

use super::{
    Arguments, Command, Failure, Outcome, TYPED_AT, all_commands, fail, guest, machine, say, show,
};
use bale_io::{print, println};
use bale_memory::frames;
use bale_reclaim::pool;
use bale_rt::cores::{self, MAX_CORES};
use bale_rt::{clock, platform};

/// KiB of a frame.
const FRAME_KIB: u64 = 4;

/// There is no such command: names the one that was meant, if one is near.
#[inline(never)]
pub(super) fn no_such_command<T>(name: &str) -> Result<T, Failure> {
    match nearest(name, all_commands().map(|command| command.name)) {
        Some(near) => {
            fail(format_args!("there is no command {name}; did you mean {near}? `help` lists them"))
        }
        None => fail(format_args!("there is no command {name}; `help` lists them")),
    }
}

/// Adds to a failure what would have been right, where a word is near to one that the command
/// takes, or is an option that it does not take.
#[inline(never)]
pub(super) fn explain(command: &Command, words: &[&str], mut failure: Failure) -> Failure {
    // Behind this one stand words of another command.
    if command.name == "watch" {
        return failure;
    }
    let name = command.name;
    let literals =
        || command.usage.iter().flat_map(|form| form.split([' ', '|', '[', ']', ',', '.']));
    for word in words.iter().filter(|word| literals().all(|known| known != **word)) {
        // Placeholders are in capitals: nobody means those.
        let known = literals().filter(|known| known.bytes().all(|byte| !byte.is_ascii_uppercase()));
        let near = nearest(word, known);
        let Failure(why) = &mut failure;
        if word.starts_with("--") {
            why.clear();
            // One that is so long that it does not fit is cut.
            let _ = write!(why, "{name} takes no {word}");
        }
        let _ = match near {
            Some(near) => write!(why, "; did you mean {near}?"),
            None if word.starts_with("--") => write!(why, "; `help {name}` tells what it takes"),
            None => continue,
        };
        return failure;
    }
    failure
}

pub(super) fn clear(arguments: &Arguments<'_>) -> Outcome {
    arguments.none()?;
    // A script has no screen.
    if TYPED_AT.load(core::sync::atomic::Ordering::Relaxed) {
        print!("\x1b[H\x1b[2J");
    }
    Ok(())
}

/// The shell has no end: what people do instead.
pub(super) fn exit(arguments: &Arguments<'_>) -> Outcome {
    arguments.none()?;
    fail(format_args!(
        "the shell is the machine's and does not end: `poweroff` turns it off, Ctrl-A x leaves `cargo bale`"
    ))
}

pub(super) fn history(arguments: &Arguments<'_>) -> Outcome {
    arguments.none()?;
    let Some(editor) = arguments.editor else {
        return fail(format_args!("history: nothing is typed here, so nothing is remembered"));
    };
    for (place, line) in editor.history().enumerate() {
        println!("{:>4}  {line}", place + 1);
    }
    Ok(())
}

pub(super) fn version(arguments: &Arguments<'_>) -> Outcome {
    let json = arguments.only_json()?;
    let (version, build, board) = (platform::version(), platform::build(), platform::board_name());
    let figures = [("version", version.into()), ("build", build.into()), ("board", board.into())];
    say(json, format_args!("Bale {build} on {board}"), &figures);
    Ok(())
}

pub(super) fn uptime(arguments: &Arguments<'_>) -> Outcome {
    let json = arguments.only_json()?;
    let us = clock::uptime_us();
    let online = cores::online();
    let sum: u64 =
        cores::all().iter().filter(|core| core.online()).map(machine::idle_percent).sum();
    let busy = 100_u64.saturating_sub(sum / online.max(1) as u64);
    let (seconds, tenths) = (us / 1_000_000, us / 100_000 % 10);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let line = format_args!(
        "up {hours}:{minutes:02}:{rest:02}.{tenths}, {online} cores, {busy} % busy since"
    );
    say(
        json,
        line,
        &[("uptime_us", us.into()), ("online", online.into()), ("busy_percent", busy.into())],
    );
    Ok(())
}

pub(super) fn free(arguments: &Arguments<'_>) -> Outcome {
    let json = arguments.only_json()?;
    let usage = frames::usage();
    let stats = pool::pool().stats();
    let kib = |frames: u64| frames * FRAME_KIB;
    let mut sheet = show(json);
    let (total, free) = (usage.total as u64, usage.free as u64);
    sheet.figure("total_kib", "all", kib(total), format_args!("KiB"));
    sheet.figure("taken_kib", "taken", kib(total.saturating_sub(free)), format_args!("KiB"));
    sheet.figure("free_kib", "free", kib(free), format_args!("KiB"));
    let pool = (stats.pages + stats.metadata_pages) as u64;
    let objects = (stats.object_bytes as u64) >> 10;
    sheet.figure(
        "pool_kib",
        "pool",
        kib(pool),
        format_args!("KiB, for {objects} KiB of compressed pages"),
    );
    sheet.figure(
        "rings_kib",
        "rings",
        kib(stats.ring_pages as u64),
        format_args!("KiB, of deferred frees"),
    );
    Ok(())
}

pub(super) fn log(arguments: &Arguments<'_>) -> Outcome {
    arguments.none()?;
    machine::dmesg()
}

/// How long the cores had been idle at the last look.
pub(super) struct Load {
    at: u64,
    idle: [u64; MAX_CORES],
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            at: clock::now().saturating_sub(clock::from_us(clock::uptime_us())),
            idle: [0; MAX_CORES],
        }
    }
}

/// One picture of `top`: load since the last one.
#[inline(never)]
pub(super) fn overview(load: &mut Load) {
    let now = clock::now();
    let ticks = now.saturating_sub(load.at).max(1);
    load.at = now;
    let seconds = clock::uptime_us() / 1_000_000;
    print!("up {seconds} s; busy %:");
    for core in cores::all().iter().filter(|core| core.online()) {
        let idle = core.idle.ticks(now);
        let before = core::mem::replace(&mut load.idle[core.index()], idle);
        let rested = idle.saturating_sub(before).saturating_mul(100) / ticks;
        print!(" {}", 100_u64.saturating_sub(rested));
    }
    println!();
    let (usage, stats) = (frames::usage(), pool::pool().stats());
    println!(
        "memory: {} of {} KiB free\npool: {} objects, {} KiB in {} pages; {} frees pending",
        usage.free as u64 * FRAME_KIB,
        usage.total as u64 * FRAME_KIB,
        stats.objects,
        stats.object_bytes >> 10,
        stats.pages,
        stats.pending
    );
    guest::list();
    machine::show_tasks(false);
}
