//! Commands that show the machine: `cores`, `board`, `irq`, `tasks`, `mem`, `log`.

use core::sync::atomic::Ordering;

use bale_arch::{entry, timer};
use bale_core::core_kind::CoreKind;
use bale_core::log::Hex;
use bale_core::shell::number;
use bale_core::shell::sheet::{Column, Value, column};

use super::{Arguments, Outcome, fail, show};
use crate::report;
use bale_io::log::Counts;
use bale_io::{console, last_words, log, println};
use bale_memory::{frames, image_sections};
use bale_rt::{clock, cores, interrupts, platform, task, watchdog};

/// Ticks as microseconds with two decimals.
fn microseconds(ticks: u64) -> Value<'static> {
    Value::Hundredths(clock::to_us(ticks.saturating_mul(100)))
}

/// How much of the time since the kernel was started a core was idle, the rest included that it is
/// in.
pub(super) fn idle_percent(core: &cores::Core) -> u64 {
    let idle = clock::to_us(core.idle.ticks(clock::now()).saturating_mul(100));
    (idle / clock::uptime_us().max(1)).min(100)
}

static CORES: [Column; 8] = [
    column("core", "core", 4),
    column("affinity", "affinity", 10),
    column("state", "state", 8),
    column("interrupts", "interrupts", 10),
    column("switches", "switches", 10),
    column("idle_percent", "idle %", 6),
    column("longest_masked_us", "masked us", 10),
    column("latest_timer_us", "timer us", 10),
];

pub(super) fn cores(arguments: &Arguments<'_>) -> Outcome {
    let (words, json) = arguments.with_json();
    match words {
        [] => {}
        ["reset"] => cores::all().iter().for_each(cores::Core::forget_longest),
        [other, ..] => return fail(format_args!("cores takes nothing or `reset`, not {other}")),
    }
    let mut sheet = show(json);
    sheet.table("cores", &CORES);
    for core in cores::all() {
        let state = match (core.online(), core.kind()) {
            _ if watchdog::is_hung(core.index()) => "hung",
            (false, _) => "off",
            (true, CoreKind::Fast) => "online",
            (true, CoreKind::Small) => "small",
        };
        let idle = idle_percent(core);
        sheet.row(&[
            core.index().into(),
            Value::Address(core.affinity()),
            state.into(),
            core.interrupts.load(Ordering::Relaxed).into(),
            core.switches.load(Ordering::Relaxed).into(),
            idle.into(),
            microseconds(core.longest_masked()),
            microseconds(core.latest_timer.load(Ordering::Relaxed)),
        ]);
    }
    if let Some(core) = cores::all().iter().max_by_key(|core| core.longest_masked()) {
        let ended = core.longest_ended().saturating_sub(entry::image_base());
        let index = core.index();
        sheet.note(format_args!(
            "the longest stretch with interrupts masked was core {index}'s, and ended at"
        ));
        // As a line of a backtrace, which `cargo bale` resolves.
        sheet.note(format_args!("  #0 +{ended:#x}"));
        sheet.hidden("longest_masked_ended", Value::Address(ended));
    }
    if let Some(machine) = platform::machine() {
        let (board, online, all) = (platform::board_name(), cores::online(), machine.cpus.len());
        let (frequency, boot_us) = (timer::frequency(), platform::boot_us());
        sheet.note(format_args!(
            "{board}: {online} of {all} cores online, counter {frequency} Hz, boot to shell {boot_us} us"
        ));
        sheet.hidden("board", board);
        sheet.hidden("online", online);
        sheet.hidden("counter_hz", frequency);
        sheet.hidden("boot_us", boot_us);
    }
    Ok(())
}

pub(super) fn board(arguments: &Arguments<'_>) -> Outcome {
    match arguments.with_json() {
        (["report"], json) => {
            report::write(&mut show(json));
            Ok(())
        }
        _ => fail(format_args!("board takes `report`")),
    }
}

static SOURCES: [Column; 4] = [
    column("intid", "INTID", 6),
    column("taken", "taken", 10),
    column("busiest_core", "mostly on", 10),
    column("name", "name", 12),
];
static BY_CORE: [Column; 3] =
    [column("intid", "INTID", 6), column("core", "core", 5), column("taken", "taken", 10)];

/// Interrupts by source; by core as well in JSON, or where one was named.
pub(super) fn irq(arguments: &Arguments<'_>) -> Outcome {
    let (words, json) = arguments.with_json();
    let one = match words {
        [] => None,
        [id] => Some(number(id).or_else(|error| fail(format_args!("irq: {id}: {error}")))?),
        [_, other, ..] => {
            return fail(format_args!("irq takes one INTID, but got {other} as well"));
        }
    };
    let (sources, unknown) = interrupts::sources();
    if one.is_some_and(|one| sources.iter().all(|source| u64::from(source.id) != one)) {
        return fail(format_args!(
            "irq: nobody handles that INTID; `irq` lists those that are handled"
        ));
    }
    let mut sheet = show(json);
    let chosen =
        || sources.iter().filter(|source| one.is_none_or(|one| one == u64::from(source.id)));
    sheet.table("sources", &SOURCES);
    for source in chosen() {
        let busiest = source
            .taken()
            .enumerate()
            .max_by_key(|(_, taken)| *taken)
            .filter(|(_, taken)| *taken > 0);
        let busiest = busiest.map(|(core, _)| core as u64);
        sheet.row(&[
            source.id.into(),
            source.taken().sum::<u64>().into(),
            busiest.into(),
            source.name.into(),
        ]);
    }
    if json || one.is_some() {
        sheet.table("by_core", &BY_CORE);
        for source in chosen() {
            for (core, taken) in source.taken().take(cores::all().len()).enumerate() {
                sheet.row(&[source.id.into(), core.into(), taken.into()]);
            }
        }
    }
    sheet.note(format_args!("{unknown} interrupts came that nobody handles"));
    sheet.hidden("unknown", unknown);
    Ok(())
}

static TASKS: [Column; 10] = [
    column("task", "task", 4),
    column("name", "name", 12),
    column("core", "core", 4),
    column("bond", "bond", 6),
    column("priority", "prio", 4),
    column("period_us", "period us", 9),
    column("latest_us", "late us", 7),
    column("overruns", "missed", 6),
    column("stack_bytes", "stack", 5),
    column("state", "state", 7),
];

pub(super) fn tasks(arguments: &Arguments<'_>) -> Outcome {
    show_tasks(arguments.only_json()?);
    Ok(())
}

pub(super) fn show_tasks(json: bool) {
    let mut sheet = show(json);
    sheet.table("tasks", &TASKS);
    for task in task::summaries() {
        let state = match task.state {
            _ if task.running => "running",
            task::State::Ready => "ready",
            task::State::Blocked => "parked",
            task::State::Starting | task::State::Departing | task::State::Free => "-",
        };
        sheet.row(&[
            task.index.into(),
            task.name.into(),
            task.core.into(),
            if task.free { "free" } else { "pinned" }.into(),
            u32::from(task.priority).into(),
            clock::to_us(task.period).into(),
            clock::to_us(task.latest).into(),
            task.overruns.into(),
            task.stack.map_or("-".into(), |(used, _)| used.into()),
            state.into(),
        ]);
    }
}

static PARTS: [Column; 5] = [
    column("part", "part", 10),
    column("start", "start", 14),
    column("end", "end", 14),
    column("kib", "KiB", 9),
    column("access", "access", 30),
];

pub(super) fn mem(arguments: &Arguments<'_>) -> Outcome {
    let json = arguments.only_json()?;
    let mut sheet = show(json);
    sheet.table("parts", &PARTS);
    let mut part = |name: &'static str, start: u64, end: u64, access: &'static str| {
        sheet.row(&[
            name.into(),
            Value::Address(start),
            Value::Address(end),
            ((end - start) / 1024).into(),
            access.into(),
        ]);
    };
    for section in image_sections() {
        let access = match section.name {
            "text" => "read, execute",
            "rodata" => "read",
            "stacks" => "read, write; a hole below",
            _ => "read, write",
        };
        part(section.name, section.start, section.end, access);
    }
    if let Some(machine) = platform::machine() {
        for range in &machine.memory {
            part("memory", range.base, range.base + range.size, "");
        }
        if let Some(initrd) = &machine.initrd {
            part("bundle", initrd.base, initrd.base + initrd.size, "");
        }
    }
    let usage = frames::usage();
    let pool = bale_reclaim::pool::pool().stats();
    sheet.figure("frames", "frames", usage.total, format_args!("of 4 KiB"));
    sheet.figure(
        "free_frames",
        "free",
        usage.free,
        format_args!("never fewer than {}", usage.least_free),
    );
    sheet.hidden("least_free_frames", usage.least_free);
    let taken = pool.pages + pool.metadata_pages;
    sheet.figure(
        "pool_frames",
        "pool",
        taken,
        format_args!("{} of them metadata", pool.metadata_pages),
    );
    sheet.figure("ring_frames", "rings", pool.ring_pages, format_args!("of deferred frees"));
    Ok(())
}

static LOGS: [Column; 4] = [
    column("core", "core", 4),
    column("frames", "frames", 10),
    column("dropped", "dropped", 8),
    column("waiting_bytes", "waiting bytes", 14),
];

pub(super) fn log(arguments: &Arguments<'_>) -> Outcome {
    let (words, json) = arguments.with_json();
    match words {
        [] => {
            let mut sheet = show(json);
            sheet.table("log", &LOGS);
            for core in 0..cores::all().len() {
                let Counts { logged, dropped, waiting } = log::counts(core);
                sheet.row(&[core.into(), logged.into(), dropped.into(), waiting.bytes.into()]);
            }
            let (streaming, lost) = (log::streaming(), console::lost_input());
            let state =
                if streaming { "sent to the UART" } else { "kept; `log stream on` sends them" };
            sheet.note(format_args!("frames are {state}; {lost} bytes of input were lost"));
            sheet.hidden("streaming", Value::Flag(streaming));
            sheet.hidden("lost_input_bytes", lost);
            Ok(())
        }
        ["stream", "on"] => {
            log::set_streaming(true);
            Ok(())
        }
        ["stream", "off"] => {
            log::set_streaming(false);
            Ok(())
        }
        ["show"] => dmesg(),
        ["dump"] => {
            dump();
            Ok(())
        }
        ["last"] if last_words::length() == 0 => {
            println!("the boot before left nothing here");
            Ok(())
        }
        ["last"] => {
            last_words::for_each_line(|line| println!("{line}"));
            Ok(())
        }
        _ => fail(format_args!(
            "log takes nothing, `show`, `stream on`, `stream off`, `dump` or `last`"
        )),
    }
}

/// Every waiting frame as a line of hexadecimal digits, for `cargo bale log --decode`.
fn dump() {
    let mut frame = [0; log::LONGEST_FRAME];
    for core in 0..cores::all().len() {
        while let Some(length) = log::take(core, &mut frame) {
            println!("{}", Hex(&frame[..length]));
        }
    }
}

/// Sends every frame that waits, once: the strings that they stand for are in the ELF alone, which
/// the host has.
pub(super) fn dmesg() -> Outcome {
    let sent = log::send_once();
    println!(
        "{sent} frames were sent; `cargo bale run` and `cargo bale console` make lines of them"
    );
    Ok(())
}
