//! The command `swap`: what guests' swap devices hold, and work on them while their guests run.

use bale_core::shell::number;
use bale_swap::{Kind, Pick, Statistics};

use super::{Arguments, Outcome, fail};
use crate::vm::store::{self, StoreUser};
use crate::{console, println, vm};

/// Pages between two looks at whether the user has had enough.
const STEP: usize = 64;
const CTRL_C: u8 = 3;

pub(super) fn swap(arguments: &Arguments<'_>) -> Outcome {
    match arguments.words() {
        [] => {
            table();
            Ok(())
        }
        [machine, rest @ ..] => {
            let index = number(machine)
                .ok()
                .and_then(|index| usize::try_from(index).ok())
                .filter(|index| store::user(*index).is_some());
            let Some(index) = index else {
                return fail(format_args!("swap: no machine {machine} with a swap device runs"));
            };
            match rest {
                [] => details(index),
                ["slots", range @ ..] => slots(index, range),
                ["idle", age @ ..] => idle(index, age),
                ["recompress", options @ ..] => recompress(index, options),
                ["writeback", pages @ ..] => write_back(index, pages),
                ["limit", pages] => limit(index, pages),
                ["peak"] => with(index, |device| device.forget_peak()),
                [other, ..] => fail(format_args!("swap: {other} is not known here; `help swap` tells")),
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

/// A ratio in tenths.
fn ratio(swap: &Statistics) -> (u64, u64) {
    let pages = swap.stored - swap.same_filled - swap.backed;
    let tenths = (pages * 4096 * 10).checked_div(swap.compressed_bytes).unwrap_or(0);
    (tenths / 10, tenths % 10)
}

fn table() {
    println!(
        "{:>3} {:>8} {:>8} {:>6} {:>6} {:>8} {:>8} {:>8} {:>6} {:>8}",
        "vm", "stored", "same", "raw", "ratio", "writes", "reads", "released", "failed", "to disk"
    );
    for machine in vm::summaries() {
        let swap = machine.swap;
        let (whole, tenth) = ratio(&swap);
        println!(
            "{:>3} {:>8} {:>8} {:>6} {:>4}.{} {:>8} {:>8} {:>8} {:>6} {:>8}",
            machine.slot,
            swap.stored,
            swap.same_filled,
            swap.raw,
            whole,
            tenth,
            swap.writes,
            swap.reads,
            swap.released,
            swap.failed_reads + swap.failed_writes,
            machine.to_disk
        );
    }
}

fn details(index: usize) -> Outcome {
    with(index, |device| {
        let (swap, setup) = (device.statistics(), device.setup());
        let (whole, tenth) = ratio(&swap);
        let kib = |bytes: u64| bytes.div_ceil(1024);
        println!("slots         {:>10}   of 4 KiB", device.slots());
        match setup.second {
            Some(second) => println!("codec         {:>10}   recompression by {second}", Text(setup.codec)),
            None => println!("codec         {:>10}   no second one", Text(setup.codec)),
        }
        println!("checksums     {:>10}", if device.is_checked() { "on" } else { "off" });
        println!("stored        {:>10}   pages", swap.stored);
        println!("same-filled   {:>10}   in their slots alone", swap.same_filled);
        println!("raw           {:>10}   now; {} ever", swap.raw, swap.raw_ever);
        println!(
            "recompressed  {:>10}   now; {} ever, {} in vain",
            swap.recompressed, swap.recompressions, swap.without_gain
        );
        println!("object bytes  {:>10}   KiB, ratio {whole}.{tenth}", kib(swap.compressed_bytes));
        println!("peak          {:>10}   KiB", kib(swap.peak_bytes));
        match swap.quota_bytes {
            u64::MAX => println!("limit               none"),
            bytes => println!("limit         {:>10}   KiB", kib(bytes)),
        }
        println!("writes        {:>10}   {} refused", swap.writes, swap.failed_writes);
        println!(
            "reads         {:>10}   {} refused, {} of them corrupt",
            swap.reads, swap.failed_reads, swap.corrupt
        );
        println!("released      {:>10}   slots", swap.released);
        let Some(cache) = device.cache().map(|cache| cache.statistics()) else { return };
        println!(
            "on disk       {:>10}   pages; {} written back, {} read",
            swap.backed, cache.written_back, cache.read_back
        );
        println!(
            "past the store {:>9}   pages: {} at the limit, {} above the threshold, {} for want of memory",
            cache.to_disk() - cache.written_back,
            cache.rejected_limit,
            cache.rejected_full,
            cache.rejected_memory
        );
        println!("disk errors   {:>10}", cache.io_errors);
    })
}

/// A codec's name, which `{:>10}` is to pad.
struct Text(bale_swap::Codec);

impl core::fmt::Display for Text {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut name: heapless::String<16> = heapless::String::new();
        core::fmt::write(&mut name, format_args!("{}", self.0))?;
        f.pad(&name)
    }
}

/// `slots [FIRST [COUNT]]`: those that hold something.
fn slots(index: usize, range: &[&str]) -> Outcome {
    let (first, count) = match range {
        [] => (0, 20),
        [first] => (numeral("FIRST", first)?, 20),
        [first, count] => (numeral("FIRST", first)?, numeral("COUNT", count)?),
        _ => return fail(format_args!("swap: slots takes FIRST and COUNT")),
    };
    println!(
        "{:>8} {:>6} {:>8}  state: Same, Written back, Huge, Idle, Recompressed, No gain",
        "slot", "bytes", "age s"
    );
    let (mut slot, mut shown) = (first, 0);
    while shown < count && !console::take_input(CTRL_C) {
        let Some(state) = with(index, |device| device.state(slot))? else { break };
        if state.kind != Kind::Empty {
            println!("{slot:>8} {:>6} {:>8}  {state}", state.length, store::seconds(state.age));
            shown += 1;
        }
        slot += 1;
    }
    Ok(())
}

/// `idle [SECONDS]`.
fn idle(index: usize, age: &[&str]) -> Outcome {
    let seconds = match age {
        [] => 0,
        [seconds] => numeral("SECONDS", seconds)?,
        _ => return fail(format_args!("swap: idle takes SECONDS, or nothing for all")),
    };
    let marked = with(index, |device| device.mark_idle(store::units(seconds as u64)))?;
    println!("{marked} pages are idle now");
    Ok(())
}

/// `recompress [idle] [huge] [--least BYTES] [--pages N]`: the largest first.
fn recompress(index: usize, options: &[&str]) -> Outcome {
    let (mut idle, mut huge, mut least, mut left) = (false, false, 1, usize::MAX);
    let mut rest = options;
    while let [word, after @ ..] = rest {
        rest = match (*word, after) {
            ("idle", _) => {
                idle = true;
                after
            }
            ("huge", _) => {
                huge = true;
                after
            }
            ("--least", [value, after @ ..]) => {
                least = numeral("--least", value)?;
                after
            }
            ("--pages", [value, after @ ..]) => {
                left = numeral("--pages", value)?;
                after
            }
            _ => return fail(format_args!("swap: {word} is not known here; `help swap` tells")),
        };
    }
    let Ok(mut shop) = store::WORKSHOP.lock() else {
        return fail(format_args!("swap: the working memory is locked for good"));
    };
    let (mut tried, mut smaller, mut bytes) = (0, 0, 0);
    // Large objects have the most to give.
    for threshold in [3072, 2048, 1024, least].into_iter().filter(|threshold| *threshold >= least) {
        let pick = Pick { idle, huge, least: threshold };
        let mut next = 0;
        while next < with(index, |device| device.slots())? && left > 0 {
            if console::take_input(CTRL_C) {
                return fail(format_args!(
                    "swap: interrupted after {tried} pages; {smaller} are smaller by {bytes} bytes"
                ));
            }
            let done = match with(index, |device| device.recompress(next, STEP.min(left), pick, &mut shop))? {
                Ok(done) => done,
                Err(error) => return fail(format_args!("swap: {error}")),
            };
            next = done.next;
            left -= done.tried;
            (tried, smaller, bytes) = (tried + done.tried, smaller + done.smaller, bytes + done.bytes);
        }
    }
    println!("{tried} pages were tried, {smaller} are smaller, by {bytes} bytes");
    Ok(())
}

/// `writeback [PAGES]`: the coldest go to the disk, all that are cold without a number.
fn write_back(index: usize, pages: &[&str]) -> Outcome {
    let mut left = match pages {
        [] => usize::MAX,
        [pages] => numeral("PAGES", pages)?,
        _ => return fail(format_args!("swap: writeback takes PAGES, or nothing for all that are cold")),
    };
    let Ok(mut shop) = store::WORKSHOP.lock() else {
        return fail(format_args!("swap: the working memory is locked for good"));
    };
    let (mut written, mut failed) = (0, 0);
    while left > 0 && failed == 0 && !console::take_input(CTRL_C) {
        let done = match with(index, |device| {
            device.cache().map(|cache| cache.write_back(STEP.min(left), &mut shop))
        })? {
            Some(Ok(done)) => done,
            Some(Err(error)) => return fail(format_args!("swap: {error}")),
            None => return fail(format_args!("swap: machine {index} has no disk behind its swap device")),
        };
        (written, failed, left) = (written + done.written, failed + done.failed, left - done.written);
        if done.written == 0 {
            break;
        }
    }
    println!("{written} pages were written back, {failed} failed");
    Ok(())
}

/// `limit PAGES`.
fn limit(index: usize, pages: &str) -> Outcome {
    let pages = match pages {
        "none" => usize::MAX,
        pages => numeral("PAGES", pages)?,
    };
    with(index, |device| device.set_quota(pages))
}
