//! What lies in the slots of a swap device, and work on it: a look, marks, the second codec, the
//! disk behind.

use bale_core::shell::sheet::{Column, column};
use bale_swap::{Kind, Pick};

use super::{numeral, with};
use crate::shell::{Outcome, fail, say, show};
use bale_io::console;
use bale_io::console::progress::Pace;
use bale_vmm::store;

/// Pages between two looks at whether the user has had enough.
const STEP: usize = 64;

static SLOTS: [Column; 4] = [
    column("slot", "slot", 8),
    column("bytes", "bytes", 6),
    column("age_s", "age s", 8),
    column("state", "state", 24),
];

/// `slots [FIRST [COUNT]]`: those that hold something.
pub(super) fn slots(index: usize, range: &[&str], json: bool) -> Outcome {
    let (first, count) = match range {
        [] => (0, 20),
        [first] => (numeral("FIRST", first)?, 20),
        [first, count] => (numeral("FIRST", first)?, numeral("COUNT", count)?),
        _ => return fail(format_args!("swap: slots takes FIRST and COUNT")),
    };
    let mut sheet = show(json);
    sheet.table("slots", &SLOTS);
    let (mut slot, mut shown) = (first, 0);
    while shown < count && !console::interrupted() {
        let Some(state) = with(index, |device| device.state(slot))? else { break };
        if state.kind != Kind::Empty {
            let mut text: heapless::String<32> = heapless::String::new();
            // A letter each, and there are fewer.
            let _ = core::fmt::write(&mut text, format_args!("{state}"));
            sheet.row(&[
                slot.into(),
                state.length.into(),
                store::seconds(state.age).into(),
                text.as_str().into(),
            ]);
            shown += 1;
        }
        slot += 1;
    }
    sheet.note(format_args!("state: Same, Written back, Huge, Idle, Recompressed, No gain"));
    Ok(())
}

/// `idle [SECONDS]`.
pub(super) fn idle(index: usize, age: &[&str], json: bool) -> Outcome {
    let seconds = match age {
        [] => 0,
        [seconds] => numeral("SECONDS", seconds)?,
        _ => return fail(format_args!("swap: idle takes SECONDS, or nothing for all")),
    };
    let marked = with(index, |device| device.mark_idle(store::units(seconds as u64)))?;
    say(json, format_args!("{marked} pages are idle now"), &[("idle_pages", marked.into())]);
    Ok(())
}

/// `recompress [idle] [huge] [--least BYTES] [--pages N]`: the largest first.
pub(super) fn recompress(index: usize, options: &[&str], json: bool) -> Outcome {
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
    let mut pace = Pace::new(!json);
    // Large objects have the most to give.
    for threshold in [3072, 2048, 1024, least].into_iter().filter(|threshold| *threshold >= least) {
        let pick = Pick { idle, huge, least: threshold };
        let mut next = 0;
        loop {
            let slots = with(index, |device| device.slots())?;
            if next >= slots || left == 0 {
                break;
            }
            if console::interrupted() {
                return fail(format_args!(
                    "swap: interrupted after {tried} pages; {smaller} are smaller by {bytes} bytes"
                ));
            }
            let percent = next * 100 / slots;
            pace.show(format_args!(
                "swap: {percent} % of what has {threshold} bytes or more; {tried} pages tried, {smaller} smaller"
            ));
            let done = match with(index, |device| {
                device.recompress(next, STEP.min(left), pick, &mut shop)
            })? {
                Ok(done) => done,
                Err(error) => return fail(format_args!("swap: {error}")),
            };
            next = done.next;
            left -= done.tried;
            (tried, smaller, bytes) =
                (tried + done.tried, smaller + done.smaller, bytes + done.bytes);
        }
    }
    say(
        json,
        format_args!("{tried} pages were tried, {smaller} are smaller, by {bytes} bytes"),
        &[
            ("tried_pages", tried.into()),
            ("smaller_pages", smaller.into()),
            ("saved_bytes", bytes.into()),
        ],
    );
    Ok(())
}

/// `writeback [PAGES]`: the coldest go to the disk, all that are cold without a number.
pub(super) fn write_back(index: usize, pages: &[&str], json: bool) -> Outcome {
    let mut left = match pages {
        [] => usize::MAX,
        [pages] => numeral("PAGES", pages)?,
        _ => {
            return fail(format_args!(
                "swap: writeback takes PAGES, or nothing for all that are cold"
            ));
        }
    };
    let Ok(mut shop) = store::WORKSHOP.lock() else {
        return fail(format_args!("swap: the working memory is locked for good"));
    };
    let (mut written, mut failed) = (0, 0);
    let mut pace = Pace::new(!json);
    while left > 0 && failed == 0 {
        if console::interrupted() {
            return fail(format_args!("swap: interrupted after {written} pages were written back"));
        }
        pace.show(format_args!("swap: {written} pages are written back"));
        let done = match with(index, |device| {
            device.cache().map(|cache| cache.write_back(STEP.min(left), &mut shop))
        })? {
            Some(Ok(done)) => done,
            Some(Err(error)) => return fail(format_args!("swap: {error}")),
            None => {
                return fail(format_args!(
                    "swap: machine {index} has no disk behind its swap device"
                ));
            }
        };
        (written, failed, left) =
            (written + done.written, failed + done.failed, left - done.written);
        if done.written == 0 {
            break;
        }
    }
    say(
        json,
        format_args!("{written} pages were written back, {failed} failed"),
        &[("written_pages", written.into()), ("failed_pages", failed.into())],
    );
    Ok(())
}
