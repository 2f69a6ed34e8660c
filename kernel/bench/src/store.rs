//! Instructions or cycles of the compressed store for each page, over pages of the bundle or made
//! here: codecs, the store's own work, release, density.
//!
//! It uses the kernel's own pool, which must be empty.

mod device;

use bale_arch::counter;
use bale_swap::{Codec, Level, Pick, Statistics, Stored};
use zsmalloc::PAGE_SIZE;

use self::device::{Bench, Codecs};
use super::counting::count;
use super::report::Hundredths;
use super::workbench::Workbench;
use super::{BenchError, Report, go_on};
use bale_reclaim::{drain, pool};
use bale_vmm::SwapDevice;
use bale_vmm::store::WORKSHOP;

type Result<T> = core::result::Result<T, BenchError<'static>>;

/// Why a figure about objects is left out.
const NO_OBJECT: &str = "no page of this mix is an object";
/// Why a figure about a codec's work is.
const NOT_COMPRESSED: &str = "no page of this mix is compressed";
/// Pages that the smaller density is of.
const FEW: usize = 2048;
/// How long the drain may take to empty the pool.
const PATIENCE_US: u64 = 10_000_000;

/// A codec, and what its figures are called.
struct Subject {
    codec: Codec,
    write: &'static str,
    read: &'static str,
    compress: &'static str,
    decompress: &'static str,
    ratio: &'static str,
}

const PAGE: Subject = Subject {
    codec: Codec::Page,
    write: "write",
    read: "read",
    compress: "compress-page",
    decompress: "decompress-page",
    ratio: "ratio-page",
};
const LZ4: Subject = Subject {
    codec: Codec::Lz4,
    write: "write-lz4",
    read: "read-lz4",
    compress: "compress-lz4",
    decompress: "decompress-lz4",
    ratio: "ratio-lz4",
};
/// What idle pages are recompressed with.
const SECOND: Codec = Codec::Zstd(Level::DEFAULT);

fn per(report: &Report, name: &str, taken: u64, pages: usize) {
    if pages == 0 {
        report.left_out(name, NOT_COMPRESSED);
        return;
    }
    report.figure(
        name,
        Hundredths::ratio(taken, pages as u64),
        report.units().per_page,
        pages as u64,
    );
}

/// What objects are made of to what they are.
fn say_ratio(report: &Report, name: &str, statistics: &Statistics) {
    let original = (statistics.stored - statistics.same_filled) * PAGE_SIZE as u64;
    if original == 0 {
        report.left_out(name, NO_OBJECT);
        return;
    }
    let ratio = Hundredths::ratio(original, statistics.compressed_bytes);
    report.figure(name, ratio, "to 1", original / PAGE_SIZE as u64);
}

pub(super) fn page(report: &mut Report) -> Result<()> {
    subject(report, &PAGE)
}

pub(super) fn lz4(report: &mut Report) -> Result<()> {
    subject(report, &LZ4)
}

fn subject(report: &Report, subject: &Subject) -> Result<()> {
    let mut bench = Bench::new(report, subject.codec, None, false)?;
    let pages = bench.count;
    per(report, subject.write, bench.write()?, pages);
    let (all, of_compressed) = bench.read()?;
    per(report, subject.read, all, pages);
    let (mut codec, mut write, mut compressed) = (Codecs::default(), 0, 0);
    for (slot, page) in bench.each() {
        let (taken, stored) =
            count(bench.overhead, || bench.device.write(slot, page, bench.scratch));
        if matches!(stored, Ok(Stored::Compressed(_))) {
            write += taken;
            compressed += 1;
            codec.add(bench.codec(subject.codec, page)?);
        }
    }
    per(report, subject.compress, codec.compress, compressed);
    per(report, subject.decompress, codec.decompress, compressed);
    let statistics = bench.device.statistics();
    say_ratio(report, subject.ratio, &statistics);
    if subject.codec == PAGE.codec {
        // A write over an old object frees that: the first round did not.
        per(report, "own-overwrite", write.saturating_sub(codec.compress), compressed);
        per(report, "own-read", of_compressed.saturating_sub(codec.decompress), compressed);
    }
    Ok(())
}

/// Our codec against LZ4 over the pages that are not same-filled: percent of its instructions,
/// percent of its ratio.
pub(super) fn against(report: &mut Report) -> Result<()> {
    let mut bench = Bench::new(report, PAGE.codec, None, false)?;
    let [mut own, mut lz4, mut second] =
        [const { Codecs { compress: 0, decompress: 0, bytes: 0 } }; 3];
    let mut count = 0;
    for (_, page) in bench.each() {
        if page[8..] == page[..PAGE_SIZE - 8] {
            continue;
        }
        own.add(bench.codec(PAGE.codec, page)?);
        lz4.add(bench.codec(LZ4.codec, page)?);
        second.add(bench.codec(SECOND, page)?);
        count += 1;
    }
    if count == 0 {
        report.left_out("against", "every page of this mix is of one word");
        return Ok(());
    }
    for (name, part, whole) in [
        ("compress-to-lz4", own.compress, lz4.compress),
        ("decompress-to-lz4", own.decompress, lz4.decompress),
        ("ratio-to-lz4", lz4.bytes, own.bytes),
        ("second-to-lz4", lz4.bytes, second.bytes),
    ] {
        if whole == 0 {
            report.left_out(name, NOT_COMPRESSED);
        } else {
            report.figure(name, Hundredths::ratio(part * 100, whole), "%", count);
        }
    }
    Ok(())
}

/// What the store takes for a page, in hundredths of an event, and for how many it was counted: so
/// many of the bundle's first ones as `first` says of their number.
pub(super) fn write_alone(
    report: &Report,
    first: impl FnOnce(usize) -> usize,
) -> Result<(u64, usize)> {
    let mut bench = Bench::new(report, PAGE.codec, None, false)?;
    bench.count = first(bench.count).min(bench.count);
    Ok((bench.write()? * 100 / bench.count.max(1) as u64, bench.count))
}

/// Writes so many pages into a device's first slots.
pub(super) fn write_to(report: &Report, device: &SwapDevice, count: usize) -> Result<()> {
    let bench = Bench::new(report, PAGE.codec, None, false)?;
    if count > device.slots().min(bench.count) {
        return Err(BenchError::Broken("the bundle holds too few pages"));
    }
    bench.each().take(count).try_for_each(|(slot, page)| {
        device.write(slot, page, bench.scratch).map(drop).map_err(|_| BenchError::OutOfMemory)
    })
}

/// The store's own work on a write into empty slots.
pub(super) fn own_write(report: &mut Report) -> Result<()> {
    let bench = Bench::new(report, PAGE.codec, None, false)?;
    let (mut own, mut compressed) = (0, 0);
    for (slot, page) in bench.each() {
        let (taken, stored) =
            count(bench.overhead, || bench.device.write(slot, page, bench.scratch));
        if matches!(stored, Ok(Stored::Compressed(_))) {
            let (codec, _) =
                count(bench.overhead, || PAGE.codec.compress(page, bench.scratch).is_some());
            own += taken.saturating_sub(codec);
            compressed += 1;
        }
    }
    per(report, "own-write", own, compressed);
    Ok(())
}

/// A page of zeros, and slots given up.
pub(super) fn zero_and_release(report: &mut Report) -> Result<()> {
    let mut bench = Bench::new(report, PAGE.codec, None, false)?;
    let before = pool::pool().stats().objects;
    bench.page.fill(0);
    let (mut sum, zeros) = (0, 1000.min(bench.count));
    for slot in 0..zeros {
        let (taken, stored) =
            count(bench.overhead, || bench.device.write(slot, bench.page, bench.scratch));
        if stored != Ok(Stored::Same) || pool::pool().stats().objects != before {
            return Err(BenchError::Broken("a page of zeros took memory"));
        }
        sum += taken;
    }
    per(report, "write-zero", sum, zeros);
    bench.write()?;
    per(report, "release", bench.release()?, bench.count);
    Ok(())
}

/// The whole device at once, as when a machine ends: what its releaser is at, and everything until
/// the last page is back. Interrupts come, and the drain, as they like: that is part of it.
pub(super) fn release_device(report: &mut Report) -> Result<()> {
    let mut bench = Bench::new(report, PAGE.codec, None, false)?;
    bench.write()?;
    let begin = counter::read();
    let released = bench.device.release(0, bench.count);
    let releaser = counter::read().wrapping_sub(begin);
    released.map_err(|_| BenchError::Broken("a slot is missing"))?;
    if !drain::wait_until_quiet(PATIENCE_US) || pool::pool().stats().objects != 0 {
        return Err(BenchError::Broken("pages did not come back"));
    }
    let all = counter::read().wrapping_sub(begin);
    per(report, "release-device", releaser.into(), bench.count);
    per(report, "release-device-in-all", all.into(), bench.count);
    Ok(())
}

/// Bytes of objects to memory of a pool that holds nothing else and never did: a pool keeps its
/// metadata, so the kernel's own one has that of whatever ran before.
pub(super) fn density(report: &mut Report) -> Result<()> {
    let mut bench = Bench::new(report, PAGE.codec, None, false)?;
    let all = bench.count;
    for (name, pages) in [("density-2048", FEW.min(all)), ("density", all)] {
        bench.count = pages;
        let mut fresh = Workbench::new(report, pages)?;
        let (mut objects, mut bytes) = (0, 0);
        for (slot, page) in bench.each() {
            go_on()?;
            let size = match bench.device.write(slot, page, bench.scratch) {
                Ok(Stored::Same) => continue,
                Ok(Stored::Compressed(size)) => size,
                Ok(Stored::Raw) => PAGE_SIZE,
                Err(_) => return Err(BenchError::OutOfMemory),
            };
            fresh.words.set(objects, fresh.pool.malloc(size)?.into_raw());
            (objects, bytes) = (objects + 1, bytes + size as u64);
        }
        let stats = fresh.pool.stats();
        let memory = (stats.pages + stats.metadata_pages) * PAGE_SIZE as u64;
        if objects == 0 {
            report.left_out(name, NO_OBJECT);
        } else {
            report.figure(name, Hundredths::ratio(bytes * 100, memory), "%", pages as u64);
        }
        bench.device.reset();
        drain::wait_until_quiet(PATIENCE_US);
    }
    Ok(())
}

/// What checksums add.
pub(super) fn checksum(report: &mut Report) -> Result<()> {
    let (plain_write, plain_read, pages) = {
        let mut bench = Bench::new(report, PAGE.codec, None, false)?;
        (bench.write()?, bench.read()?.0, bench.count)
    };
    let mut bench = Bench::new(report, PAGE.codec, None, true)?;
    per(report, "checksum-write", bench.write()?.saturating_sub(plain_write), pages);
    per(report, "checksum-read", bench.read()?.0.saturating_sub(plain_read), pages);
    Ok(())
}

/// What the second codec makes of all pages.
pub(super) fn recompress(report: &mut Report) -> Result<()> {
    let mut shop =
        WORKSHOP.lock().map_err(|_| BenchError::Broken("its memory is locked for good"))?;
    let mut bench = Bench::new(report, PAGE.codec, Some(SECOND), false)?;
    bench.write()?;
    let (mut next, mut sum, mut tried) = (0, 0, 0);
    while next < bench.count {
        let pick = Pick { idle: false, huge: false, least: 1 };
        let (taken, done) =
            count(bench.overhead, || bench.device.recompress(next, 1, pick, &mut shop));
        let done = done.map_err(|_| BenchError::Broken("somebody works on the device"))?;
        (next, sum, tried) = (done.next, sum + taken, tried + done.tried);
    }
    per(report, "recompress", sum, tried);
    let statistics = bench.device.statistics();
    say_ratio(report, "ratio-recompressed", &statistics);
    bench.read()?;
    Ok(())
}
