//! The command `swap`: what guests' swap devices hold, and work on them while their guests run.

mod work;

use bale_core::shell::number;
use bale_core::shell::sheet::{Column, Value, column};
use bale_swap::Statistics;

use super::{Arguments, Outcome, Show, fail, guest, show};
use bale_vmm as vm;
use bale_vmm::store::{self, StoreUser};

pub(super) fn swap(arguments: &Arguments<'_>) -> Outcome {
    let (words, json) = arguments.with_json();
    match words {
        [] => {
            table(&mut show(json));
            Ok(())
        }
        [machine, rest @ ..] => {
            let index = guest::slot(machine)?;
            if store::user(index).is_none() {
                return fail(format_args!("swap: no machine {machine} with a swap device runs"));
            }
            match rest {
                [] => details(index, json),
                ["slots", range @ ..] => work::slots(index, range, json),
                ["idle", age @ ..] => work::idle(index, age, json),
                ["recompress", options @ ..] => work::recompress(index, options, json),
                ["writeback", pages @ ..] => work::write_back(index, pages, json),
                [word @ ("limit" | "peak"), ..] if json => {
                    fail(format_args!("swap: {word} shows no figures, so it takes no --json"))
                }
                ["limit", pages] => limit(index, pages),
                ["peak"] => with(index, |device| device.forget_peak()),
                [other, ..] => {
                    fail(format_args!("swap: {other} is not known here; `help swap` tells"))
                }
            }
        }
    }
}

/// Does something with a machine's device, if that is still there.
fn with<R>(index: usize, f: impl FnOnce(&StoreUser) -> R) -> Result<R, super::Failure> {
    match store::user(index) {
        Some(device) => Ok(f(&device)),
        None => fail(format_args!("swap: machine {index} has ended")),
    }
}

fn numeral(what: &str, word: &str) -> Result<usize, super::Failure> {
    match number(word).ok().and_then(|value| usize::try_from(value).ok()) {
        Some(value) => Ok(value),
        None => fail(format_args!("swap: {what} is a number, not {word}")),
    }
}

/// Pages to their object bytes; unknown without objects.
fn ratio(swap: &Statistics) -> Value<'static> {
    guest::swap_ratio(swap).unwrap_or(Value::Unknown)
}

/// Slots that are stored and that the guest takes for free: it has not discarded them, or not yet.
fn stale(machine: &vm::Summary) -> Option<u64> {
    machine.swap_used.map(|used| machine.swap.stored.saturating_sub(used))
}

static MACHINES: [Column; 11] = [
    column("vm", "vm", 2),
    column("stored_pages", "stored", 7),
    column("stale_pages", "stale", 6),
    column("same_filled_pages", "same", 6),
    column("raw_pages", "raw", 5),
    column("ratio", "ratio", 5),
    column("writes", "writes", 8),
    column("reads", "reads", 8),
    column("released_slots", "released", 8),
    column("failed", "failed", 6),
    column("to_disk_pages", "to disk", 7),
];

fn table(sheet: &mut Show) {
    sheet.table("swap", &MACHINES);
    for machine in vm::summaries() {
        let swap = machine.swap;
        sheet.row(&[
            machine.slot.into(),
            swap.stored.into(),
            stale(&machine).into(),
            swap.same_filled.into(),
            swap.raw.into(),
            // Of a machine that has ended, what was stored is gone and what it was is worth
            // knowing.
            ratio(if matches!(machine.state, vm::State::Ended(_)) {
                &machine.last_swap
            } else {
                &swap
            }),
            swap.writes.into(),
            swap.reads.into(),
            swap.released.into(),
            (swap.failed_reads + swap.failed_writes).into(),
            machine.to_disk.into(),
        ]);
    }
}

fn details(index: usize, json: bool) -> Outcome {
    with(index, |device| {
        let mut sheet = show(json);
        let (swap, setup) = (device.statistics(), device.setup());
        let kib = |bytes: u64| bytes.div_ceil(1024);
        sheet.figure("slots", "slots", device.slots(), format_args!("of 4 KiB"));
        sheet.figure("codec", "codec", name(setup.codec).as_str(), format_args!(""));
        match setup.second {
            Some(second) => sheet.figure(
                "second_codec",
                "second codec",
                name(second).as_str(),
                format_args!("recompresses"),
            ),
            None => sheet.figure("second_codec", "second codec", Value::Unknown, format_args!("")),
        }
        sheet.figure("checksums", "checksums", Value::Flag(device.is_checked()), format_args!(""));
        sheet.figure("stored_pages", "stored", swap.stored, format_args!("pages"));
        sheet.figure(
            "same_filled_pages",
            "same-filled",
            swap.same_filled,
            format_args!("in their slots alone"),
        );
        sheet.figure("raw_pages", "raw", swap.raw, format_args!("now; {} ever", swap.raw_ever));
        sheet.figure(
            "recompressed_pages",
            "recompressed",
            swap.recompressed,
            format_args!("now; {} ever, {} in vain", swap.recompressions, swap.without_gain),
        );
        sheet.figure("object_kib", "object bytes", kib(swap.compressed_bytes), format_args!("KiB"));
        sheet.figure("ratio", "ratio", ratio(&swap), format_args!("pages to object bytes"));
        sheet.figure("peak_kib", "peak", kib(swap.peak_bytes), format_args!("KiB"));
        let limit = (swap.quota_bytes != u64::MAX).then(|| kib(swap.quota_bytes));
        sheet.figure(
            "limit_kib",
            "limit",
            limit,
            format_args!("{}", if limit.is_some() { "KiB" } else { "" }),
        );
        sheet.figure(
            "reserve_kib",
            "reserve",
            kib(swap.reserve_bytes),
            format_args!("KiB, left by others"),
        );
        sheet.figure(
            "writes",
            "writes",
            swap.writes,
            format_args!(
                "{} refused, {} for want of room over what was there",
                swap.failed_writes, swap.written_over
            ),
        );
        sheet.hidden("written_over", swap.written_over);
        sheet.hidden("failed_writes", swap.failed_writes);
        let (failed, corrupt) = (swap.failed_reads, swap.corrupt);
        sheet.figure(
            "reads",
            "reads",
            swap.reads,
            format_args!("{failed} refused, {corrupt} of them corrupt"),
        );
        sheet.hidden("failed_reads", failed);
        sheet.hidden("corrupt_reads", corrupt);
        sheet.figure("released_slots", "released", swap.released, format_args!("slots"));
        let Some(cache) = device.cache().map(|cache| cache.statistics()) else { return };
        let (back, read) = (cache.written_back, cache.read_back);
        sheet.figure(
            "disk_pages",
            "on disk",
            swap.backed,
            format_args!("pages; {back} written back, {read} read"),
        );
        sheet.figure(
            "past_the_store_pages",
            "past the store",
            cache.to_disk() - back,
            format_args!("pages, of them:"),
        );
        for (key, label, pages, why) in [
            ("past_at_limit_pages", "  limit", cache.rejected_limit, "at the limit"),
            (
                "past_above_threshold_pages",
                "  threshold",
                cache.rejected_full,
                "above the threshold",
            ),
            ("past_without_memory_pages", "  memory", cache.rejected_memory, "for want of memory"),
        ] {
            sheet.figure(key, label, pages, format_args!("{why}"));
        }
        sheet.figure("disk_errors", "disk errors", cache.io_errors, format_args!(""));
    })
}

/// A codec's name.
fn name(codec: bale_swap::Codec) -> heapless::String<16> {
    let mut name = heapless::String::new();
    // Cut nowhere: names are short.
    let _ = core::fmt::write(&mut name, format_args!("{codec}"));
    name
}

/// `limit PAGES`.
fn limit(index: usize, pages: &str) -> Outcome {
    let pages = match pages {
        "none" => usize::MAX,
        pages => numeral("PAGES", pages)?,
    };
    with(index, |device| device.set_quota(pages))
}
