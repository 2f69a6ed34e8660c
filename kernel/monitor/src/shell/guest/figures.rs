//! Figures of machines: the list, one of them, what a run has shown.

use bale_abi::report;
use bale_core::shell::sheet::{Column, Value, column};

use super::QUIET_LIMIT_US;
use crate::shell::{Outcome, fail, say, show};
use bale_io::{bundle, println};
use bale_reclaim::{drain, pool};
use bale_rt::clock;
use bale_swap::Statistics;
use bale_vmm::{self as vm, Reason, State, Summary};

static VCPUS: [Column; 3] =
    [column("vcpu", "virtual CPU", 11), column("core", "core", 5), column("exits", "exits", 12)];

/// What a machine is and has done.
pub(super) fn stats(index: usize, json: bool) -> Outcome {
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
    sheet.figure("shares", "shares", machine.shares, format_args!("of cores, beside others"));
    if let Some(limit) = machine.cpu_limit {
        sheet.figure(
            "cpu_limit_us",
            "CPU limit",
            limit.budget_us,
            format_args!("us in {} us, reached {} times", limit.period_us, machine.times_limited),
        );
        sheet.hidden("cpu_period_us", limit.period_us);
        sheet.hidden("times_limited", machine.times_limited);
    }
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
    sheet.figure(
        "broken_devices",
        "devices broken",
        machine.broken_devices,
        format_args!("{waits}"),
    );
    sheet.hidden("disk_needs_reset", Value::Flag(disk));
    sheet.hidden("console_needs_reset", Value::Flag(console));
    sheet.figure(
        "external_aborts",
        "external aborts",
        machine.external_aborts,
        format_args!("given to the guest"),
    );
    sheet.figure(
        "console_dropped",
        "console dropped",
        machine.console_dropped,
        format_args!("bytes, over its console_rate"),
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
        sheet.figure(
            "brought_back_pages",
            "brought back",
            held.brought_back,
            format_args!("pages"),
        );
        sheet.figure("refused_pages", "refused", held.refused, format_args!("pages, by the store"));
    }
    let ended = matches!(machine.state, State::Ended(_));
    let swap = if ended { &machine.last_swap } else { &machine.swap };
    if swap.writes > 0 {
        let when = if ended { "when its end began" } else { "now" };
        sheet.figure("swap_pages", "in swap", swap.stored, format_args!("pages, {when}"));
        let kib = swap.compressed_bytes.div_ceil(1024);
        sheet.figure("swap_kib", "  stored in", kib, format_args!("KiB"));
        let ratio = swap_ratio(swap).unwrap_or(Value::Unknown);
        sheet.figure("swap_ratio", "  ratio", ratio, format_args!("pages to object bytes"));
        sheet.figure(
            "swap_peak_kib",
            "  peak",
            swap.peak_bytes.div_ceil(1024),
            format_args!("KiB"),
        );
    }
    sheet.table("vcpu_list", &VCPUS);
    for (number, (core, exits)) in vm::vcpus(index).enumerate() {
        sheet.row(&[number.into(), core.into(), exits.into()]);
    }
    Ok(())
}

/// Pages of a swap device that have objects, and those objects' bytes.
fn objects(swap: &Statistics) -> (u64, u64) {
    (swap.stored.saturating_sub(swap.same_filled + swap.backed), swap.compressed_bytes)
}

/// Pages to their object bytes; none where there are no objects.
pub(crate) fn swap_ratio(swap: &Statistics) -> Option<Value<'static>> {
    let (pages, bytes) = objects(swap);
    (pages * 4096 * 10).checked_div(bytes).map(Value::Tenths)
}

static MACHINES: [Column; 10] = [
    column("vm", "vm", 2),
    column("start", "runs", 4),
    column("guest", "guest", 8),
    column("core", "core", 4),
    column("vcpus", "CPUs", 4),
    column("memory_mib", "MiB", 5),
    column("exits", "exits", 8),
    column("resident_pages", "resident", 8),
    column("stored_pages", "stored", 6),
    column("state", "state", 16),
];

pub(super) fn list(json: bool) {
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
            machine.vcpus.into(),
            (machine.memory >> 20).into(),
            machine.exits.into(),
            resident.into(),
            (machine.swap.stored + machine.held.map_or(0, |held| held.stored)).into(),
            state_text(&machine).as_str().into(),
        ]);
    }
    bundle::for_each_description(|name| {
        sheet.note(format_args!("`vm start {name}` starts a machine that the bundle describes"));
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

/// Says how a machine stands, behind `begins` for people.
pub(super) fn standing(machine: &Summary, begins: core::fmt::Arguments<'_>, json: bool) {
    let state = state_text(machine);
    let figures = [
        ("vm", machine.slot.into()),
        ("guest", machine.guest.as_str().into()),
        ("state", state.as_str().into()),
    ];
    say(json, format_args!("{begins}{state}"), &figures);
}

/// Shows what came of a run; an error unless everything came back and nothing was lost.
pub(super) fn run(machine: &Summary, before: zsmalloc::Stats, json: bool) -> Outcome {
    let quiet = drain::wait_until_quiet(QUIET_LIMIT_US);
    let stats = pool::pool().stats();
    let figure = |key: u64| machine.figures[key as usize - 1];
    let (out, equal, lost) =
        (figure(report::PAGES_OUT), figure(report::PAGES_EQUAL), figure(report::BYTES_LOST));
    let taken = stats.drained + stats.helped + stats.flushed;
    // A guest that turned itself off is not one of ours: it says on its own console what came of
    // its work.
    let own = !matches!(machine.state, State::Ended(Reason::PoweredOff));
    let run_us = clock::to_us(machine.run_ticks - machine.release_ticks);
    let (released, release_us) = (machine.released, clock::to_us(machine.release_ticks));
    if json {
        let mut sheet = show(true);
        sheet.hidden("vm", machine.slot);
        sheet.hidden("guest", machine.guest.as_str());
        sheet.hidden("core", machine.core);
        sheet.hidden("state", state_text(machine).as_str());
        for (key, value) in [("pages_out", out), ("pages_equal", equal), ("bytes_lost", lost)] {
            sheet.hidden(key, own.then_some(value));
        }
        sheet.hidden("run_us", run_us);
        let (stored, bytes) = objects(&machine.last_swap);
        sheet.hidden("last_object_pages", stored);
        sheet.hidden("last_object_kib", bytes.div_ceil(1024));
        sheet.hidden("last_ratio", swap_ratio(&machine.last_swap).unwrap_or(Value::Unknown));
        sheet.hidden("released_slots", released);
        sheet.hidden("release_us", release_us);
        sheet.hidden("objects", stats.objects);
        sheet.hidden("pages", stats.pages);
        sheet.hidden("enqueued", stats.enqueued);
        sheet.hidden("drained", stats.drained);
        sheet.hidden("helped", stats.helped);
        sheet.hidden("flushed", stats.flushed);
        sheet.hidden("pending", stats.pending);
        sheet.hidden("interrupts", stats.interrupts);
    } else {
        println!("vm {} on core {} {}", machine.slot, machine.core, Standing(machine));
        if own {
            println!("  {out} pages swapped out, {equal} read back equal, {lost} bytes lost");
        }
        if let Some(ratio) = swap_ratio(&machine.last_swap) {
            let (pages, bytes) = objects(&machine.last_swap);
            println!(
                "  at its end {pages} pages, {} KiB, were stored in {} KiB: a ratio of {ratio}",
                pages * 4,
                bytes.div_ceil(1024)
            );
        }
        println!(
            "  ran {run_us} us; its end released {released} slots in {release_us} us, without the drain"
        );
        println!("  pool: {} objects, {} pages", stats.objects, stats.pages);
        println!(
            "  drain: {} enqueued, {} drained, {} helped, {} flushed, {} pending\n  {} drain interrupts",
            stats.enqueued,
            stats.drained,
            stats.helped,
            stats.flushed,
            stats.pending,
            stats.interrupts
        );
    }
    let alone = vm::summaries().all(|other| other.state != State::Running);
    let clean = matches!(machine.state, State::Ended(Reason::Exited(0) | Reason::PoweredOff));
    if !clean || lost != 0 || out != equal {
        return fail(format_args!("the guest did not end well"));
    }
    // What is pending is what was enqueued less all that was taken out.
    if !quiet || alone && stats.pending != 0 {
        return fail(format_args!(
            "the books do not balance: {} enqueued, {taken} taken out",
            stats.enqueued
        ));
    }
    if alone && (stats.objects, stats.pages) != (0, 0) {
        return fail(format_args!(
            "{} objects and {} pages stayed behind",
            stats.objects, stats.pages
        ));
    }
    // Fewer may be fetched by the drain's own timer, a few at a time.
    if machine.released >= 4 * pool::pool().config().watermark
        && stats.interrupts == before.interrupts
    {
        return fail(format_args!("no drain interrupt was raised"));
    }
    Ok(())
}
