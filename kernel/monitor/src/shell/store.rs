//! Commands that show the pool and its drain: `pool`, `drain`.

use bale_core::shell::sheet::{Column, Value, column};
use zsmalloc::CLASSES;

use super::{Arguments, Outcome, Show, fail, say, show};
use bale_io::console::progress::Pace;
use bale_io::{console, println};
use bale_reclaim::drain::wait_until_quiet;
use bale_reclaim::pool;
use bale_rt::{clock, cores, task};
use bale_vmm as vm;

/// For what is being drained when it is to be flushed.
const QUIET_LIMIT_US: u64 = 10_000_000;

pub(super) fn pool(arguments: &Arguments<'_>) -> Outcome {
    let (words, json) = arguments.with_json();
    match words {
        [] => totals(&mut show(json)),
        ["classes"] => classes(&mut show(json)),
        ["compact"] => return compact(json),
        [.., other] => {
            return fail(format_args!("pool takes nothing, `classes` or `compact`, not {other}"));
        }
    }
    Ok(())
}

fn totals(sheet: &mut Show) {
    let pool = pool::pool();
    let stats = pool.stats();
    sheet.figure(
        "objects",
        "objects",
        stats.objects,
        format_args!("of {} that fit", stats.capacity),
    );
    sheet.figure("object_bytes", "object bytes", stats.object_bytes, format_args!(""));
    sheet.figure("pages", "pages", stats.pages, format_args!("in {} zspages", stats.zspages));
    sheet.hidden("zspages", stats.zspages);
    sheet.figure("metadata_pages", "metadata pages", stats.metadata_pages, format_args!(""));
    let handles = pool.config().ring_capacity;
    let cores = cores::all().len();
    sheet.figure(
        "ring_pages",
        "ring pages",
        stats.ring_pages,
        format_args!("{cores} cores, {handles} handles each"),
    );
    if let Some(density) =
        (stats.object_bytes * 1000).checked_div((stats.pages + stats.metadata_pages) * 4096)
        && stats.objects > 0
    {
        let what = format_args!("%: object bytes to pages and metadata");
        sheet.figure("density_percent", "density", Value::Tenths(density), what);
    }
    let given = stats.compacted_pages;
    sheet.figure(
        "moved_objects",
        "compaction",
        stats.moved,
        format_args!("objects moved, {given} pages given back"),
    );
    sheet.hidden("compacted_pages", given);
}

static CLASS: [Column; 6] = [
    column("class", "class", 5),
    column("size_bytes", "size", 5),
    column("objects", "objects", 9),
    column("capacity", "fit", 9),
    column("zspages", "zspages", 8),
    column("pages", "pages", 8),
];

fn classes(sheet: &mut Show) {
    sheet.table("classes", &CLASS);
    for index in 0..CLASSES {
        if let Some(class) = pool::pool().class_stats(index).filter(|class| class.zspages > 0) {
            sheet.row(&[
                index.into(),
                class.size.into(),
                class.objects.into(),
                class.capacity.into(),
                class.zspages.into(),
                class.pages.into(),
            ]);
        }
    }
}

fn compact(json: bool) -> Outcome {
    let (mut moved, mut pages, mut complete) = (0, 0, false);
    let mut pace = Pace::new(!json);
    while !complete {
        if console::interrupted() {
            return fail(format_args!(
                "pool: interrupted after {moved} objects were moved and {pages} pages given back"
            ));
        }
        pace.show(format_args!("pool: {moved} objects are moved, {pages} pages given back"));
        let step = pool::pool().compact(64);
        (moved, pages, complete) = (moved + step.moved, pages + step.pages, step.complete);
        task::yield_now();
    }
    let line = format_args!("{moved} objects were moved, {pages} pages given back");
    say(json, line, &[("moved_objects", moved.into()), ("given_back_pages", pages.into())]);
    Ok(())
}

pub(super) fn drain(arguments: &Arguments<'_>) -> Outcome {
    let (words, json) = arguments.with_json();
    let flushed = match words {
        [] => None,
        ["flush"] => {
            let flushed = pool::pool().flush();
            if !json {
                println!("{flushed} handles and pages were flushed");
            }
            // What others are at counts as well, unless a machine goes on to free things.
            let rests = vm::summaries().all(|machine| machine.state != vm::State::Running);
            if rests && !wait_until_quiet(QUIET_LIMIT_US) {
                return fail(format_args!(
                    "the drain is not done after 10 s; `tasks` shows what it waits for"
                ));
            }
            Some(flushed)
        }
        [.., other] => return fail(format_args!("drain takes nothing or `flush`, not {other}")),
    };
    let mut sheet = show(json);
    if let Some(flushed) = flushed {
        sheet.hidden("flushed_now", flushed);
    }
    let stats = pool::pool().stats();
    let config = pool::pool().config();
    sheet.figure("enqueued", "enqueued", stats.enqueued, format_args!(""));
    sheet.figure("drained", "drained", stats.drained, format_args!("by drain tasks"));
    sheet.figure(
        "helped",
        "helped",
        stats.helped,
        format_args!("by producers whose ring was full"),
    );
    sheet.figure("flushed", "flushed", stats.flushed, format_args!("in need"));
    sheet.figure("pending", "pending", stats.pending, format_args!(""));
    let moving = if stats.pending_bytes.is_none() { "a ring is being drained" } else { "" };
    sheet.figure("pending_bytes", "pending bytes", stats.pending_bytes, format_args!("{moving}"));
    sheet.figure(
        "most_pending",
        "most pending",
        stats.most_pending,
        format_args!("in one ring of {}", config.ring_capacity),
    );
    sheet.figure(
        "synchronous",
        "synchronous",
        stats.synchronous,
        format_args!("freed at once since nothing else served"),
    );
    sheet.figure("refused", "refused", stats.refused, format_args!("stale or foreign handles"));
    sheet.figure(
        "interrupts",
        "interrupts",
        stats.interrupts,
        format_args!("raised, at a watermark of {}", config.watermark),
    );
    sheet.figure("class_locks", "class locks", stats.batch_locks, format_args!("taken by drains"));
    let oldest = (0..cores::all().len()).filter_map(|core| pool::pool().oldest_pending(core)).max();
    sheet.figure(
        "oldest_us",
        "oldest",
        oldest.map(clock::to_us),
        format_args!("us that a handle has waited"),
    );
    Ok(())
}
