//! Commands that show the pool and its drain: `pool`, `drain`.

use zsmalloc::CLASSES;

use super::{Arguments, Outcome, fail};
use crate::pool;
use crate::{cores, println, task};

/// A share in tenths of a percent, as text of a percentage.
fn percent(part: u64, whole: u64) -> (u64, u64) {
    let tenths = (part * 1000).checked_div(whole).unwrap_or(0);
    (tenths / 10, tenths % 10)
}

pub(super) fn pool(arguments: &Arguments<'_>) -> Outcome {
    let pool = pool::pool();
    match arguments.words() {
        [] => {
            let stats = pool.stats();
            let (whole, tenth) = percent(stats.object_bytes, (stats.pages + stats.metadata_pages) * 4096);
            println!("objects         {:>10}   of {} that fit", stats.objects, stats.capacity);
            println!("object bytes    {:>10}", stats.object_bytes);
            println!("pages           {:>10}   in {} zspages", stats.pages, stats.zspages);
            println!("metadata pages  {:>10}", stats.metadata_pages);
            println!(
                "ring pages      {:>10}   {} cores, {} handles each",
                stats.ring_pages,
                cores::all().len(),
                pool.config().ring_capacity
            );
            if stats.objects > 0 {
                println!("density         {whole:>8}.{tenth} %   object bytes to pages and metadata");
            }
            println!(
                "compaction      {:>10}   objects moved, {} pages given back",
                stats.moved, stats.compacted_pages
            );
            Ok(())
        }
        ["classes"] => {
            println!(
                "{:>5} {:>5} {:>9} {:>9} {:>8} {:>8}",
                "class", "size", "objects", "fit", "zspages", "pages"
            );
            for index in 0..CLASSES {
                if let Some(class) = pool.class_stats(index).filter(|class| class.zspages > 0) {
                    println!(
                        "{index:>5} {:>5} {:>9} {:>9} {:>8} {:>8}",
                        class.size, class.objects, class.capacity, class.zspages, class.pages
                    );
                }
            }
            Ok(())
        }
        ["compact"] => {
            let (mut moved, mut pages, mut complete) = (0, 0, false);
            while !complete {
                let step = pool.compact(64);
                (moved, pages, complete) = (moved + step.moved, pages + step.pages, step.complete);
                task::yield_now();
            }
            println!("{moved} objects were moved, {pages} pages given back");
            Ok(())
        }
        [other, ..] => fail(format_args!("pool takes nothing, `classes` or `compact`, not {other}")),
    }
}

pub(super) fn drain(arguments: &Arguments<'_>) -> Outcome {
    match arguments.words() {
        [] => {}
        ["flush"] => println!("{} handles and pages were flushed", pool::pool().flush()),
        [other, ..] => return fail(format_args!("drain takes nothing or `flush`, not {other}")),
    }
    let stats = pool::pool().stats();
    println!("enqueued     {:>10}", stats.enqueued);
    println!("drained      {:>10}   by drain tasks", stats.drained);
    println!("helped       {:>10}   by producers whose ring was full", stats.helped);
    println!("flushed      {:>10}   in need", stats.flushed);
    println!("pending      {:>10}", stats.pending);
    match stats.pending_bytes {
        Some(bytes) => println!("pending bytes{bytes:>10}"),
        None => println!("pending bytes         -   a ring is being drained"),
    }
    println!(
        "most pending {:>10}   in one ring of {}",
        stats.most_pending,
        pool::pool().config().ring_capacity
    );
    println!("synchronous  {:>10}   freed at once since nothing else served", stats.synchronous);
    println!("refused      {:>10}   stale or foreign handles", stats.refused);
    println!(
        "interrupts   {:>10}   raised, at a watermark of {}",
        stats.interrupts,
        pool::pool().config().watermark
    );
    println!("class locks  {:>10}   taken by drains", stats.batch_locks);
    let oldest = (0..cores::all().len()).filter_map(|core| pool::pool().oldest_pending(core)).max();
    if let Some(ticks) = oldest {
        println!("oldest       {:>10}   us", crate::clock::to_us(ticks));
    }
    Ok(())
}
