//! Instructions of the compressed store for each page, over the pages of the bundle: codecs, the store's own work, release, density.
//!
//! It uses the kernel's own pool, which must be empty.

use core::sync::atomic::{AtomicU32, AtomicU64};

use bale_swap::{Codec, Level, Pick, Scratch, Setup, Stored, Tables};
use zsmalloc::PAGE_SIZE;

use super::report::Hundredths;
use super::workbench::{self, count};
use super::{BenchError, Report, go_on};
use crate::memory::Arena;
use crate::memory::frames::{self, Block};
use crate::vm::SwapDevice;
use crate::vm::store::{WORKSHOP, setup};
use crate::{bundle, drain, pool};

type Result<T> = core::result::Result<T, BenchError<'static>>;
type Page = [u8; PAGE_SIZE];

const UNIT: &str = "instructions/page";
/// Pages that the smaller density is of.
const FEW: usize = 2048;
/// Slots released at a time: what Linux discards when a cluster of its swap area becomes free.
const RUN: usize = 256;
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

/// A device over the kernel's pool, in a block of its own.
struct Bench {
    block: u64,
    device: &'static SwapDevice,
    scratch: &'static mut Scratch,
    page: &'static mut Page,
    pages: &'static [Page],
    overhead: u32,
}

impl Bench {
    fn new(codec: Codec, second: Option<Codec>, checked: bool) -> Result<Self> {
        let overhead = workbench::overhead().ok_or(BenchError::NoCounter)?;
        let (pages, _) = bundle::pages().as_chunks();
        if pages.is_empty() {
            return Err(BenchError::Broken(
                "the bundle holds no pages; `cargo bale run` makes one that does",
            ));
        }
        if pool::pool().stats().objects != 0 {
            return Err(BenchError::Broken("the pool is not empty: stop the guests first"));
        }
        let (mut arena, block) = Arena::in_block(frames::allocate_block().ok_or(BenchError::OutOfMemory)?);
        let mut place = || {
            let tables = Tables {
                slots: arena.place_each(pages.len(), || AtomicU64::new(0))?,
                notes: arena.place_each(pages.len(), || AtomicU32::new(0))?,
                checks: arena.place_each(if checked { pages.len() } else { 0 }, || AtomicU64::new(0))?,
            };
            let setup = Setup { second, ..setup(codec) };
            let device = arena.place(SwapDevice::new(pool::pool(), tables, setup))?;
            let scratch = arena.place_copy(&crate::vm::SCRATCH)?;
            Some(Self { block, device, scratch, page: arena.place([0; PAGE_SIZE])?, pages, overhead })
        };
        place().ok_or_else(|| {
            release(block);
            BenchError::OutOfMemory
        })
    }

    /// Stores every page; instructions.
    fn write(&mut self) -> Result<u64> {
        let mut sum = 0;
        for (slot, page) in self.pages.iter().enumerate() {
            go_on()?;
            let (taken, stored) = count(self.overhead, || self.device.write(slot, page, self.scratch));
            stored.map_err(|_| BenchError::OutOfMemory)?;
            sum += taken;
        }
        Ok(sum)
    }

    /// Reads every page; instructions, all, and those of the compressed pages.
    fn read(&mut self) -> Result<(u64, u64)> {
        let (mut all, mut compressed) = (0, 0);
        for (slot, page) in self.pages.iter().enumerate() {
            go_on()?;
            let (taken, read) = count(self.overhead, || self.device.read(slot, self.page, self.scratch));
            if read.is_err() || self.page != page {
                return Err(BenchError::Broken("a page did not come back"));
            }
            all += taken;
            let length = self.device.state(slot).map_or(0, |state| state.length);
            compressed += if (1..PAGE_SIZE).contains(&length) { taken } else { 0 };
        }
        Ok((all, compressed))
    }

    /// Releases every slot; instructions.
    fn release(&self) -> Result<u64> {
        let mut sum = 0;
        for first in (0..self.pages.len()).step_by(RUN) {
            let run = RUN.min(self.pages.len() - first);
            let (taken, released) = count(self.overhead, || self.device.release(first, run));
            released.map_err(|_| BenchError::Broken("a slot is missing"))?;
            sum += taken;
        }
        Ok(sum)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.device.reset();
        // Nothing of the device is in a ring's way: its objects are the pool's.
        drain::wait_until_quiet(PATIENCE_US);
        release(self.block);
    }
}

fn release(block: u64) {
    // SAFETY: taken by `Bench::new`, whose device nobody refers to any more.
    frames::release_block(unsafe { Block::from_address(block) });
}

fn per(report: &Report, name: &str, instructions: u64, pages: usize) {
    report.figure(name, Hundredths::ratio(instructions, pages as u64), UNIT, pages as u64);
}

pub(super) fn page(report: &mut Report) -> Result<()> {
    subject(report, &PAGE)
}

pub(super) fn lz4(report: &mut Report) -> Result<()> {
    subject(report, &LZ4)
}

fn subject(report: &Report, subject: &Subject) -> Result<()> {
    let mut bench = Bench::new(subject.codec, None, false)?;
    let pages = bench.pages.len();
    per(report, subject.write, bench.write()?, pages);
    let (all, of_compressed) = bench.read()?;
    per(report, subject.read, all, pages);
    let (mut codec, mut write, mut compressed) = (Codecs::default(), 0, 0);
    for (slot, page) in bench.pages.iter().enumerate() {
        let (taken, stored) = count(bench.overhead, || bench.device.write(slot, page, bench.scratch));
        if matches!(stored, Ok(Stored::Compressed(_))) {
            write += taken;
            compressed += 1;
            codec.add(bench.codec(subject.codec, page)?);
        }
    }
    per(report, subject.compress, codec.compress, compressed);
    per(report, subject.decompress, codec.decompress, compressed);
    let statistics = bench.device.statistics();
    let original = (statistics.stored - statistics.same_filled) * PAGE_SIZE as u64;
    report.figure(
        subject.ratio,
        Hundredths::ratio(original, statistics.compressed_bytes),
        "to 1",
        original / 4096,
    );
    if subject.codec == PAGE.codec {
        // A write over an old object frees that: the first round did not.
        per(report, "own-overwrite", write.saturating_sub(codec.compress), compressed);
        per(report, "own-read", of_compressed.saturating_sub(codec.decompress), compressed);
    }
    Ok(())
}

/// What a codec took for some pages, and made of them.
#[derive(Default)]
struct Codecs {
    compress: u64,
    decompress: u64,
    bytes: u64,
}

impl Codecs {
    fn add(&mut self, other: Self) {
        self.compress += other.compress;
        self.decompress += other.decompress;
        self.bytes += other.bytes;
    }
}

impl Bench {
    /// One page there and back by the codec alone.
    fn codec(&mut self, codec: Codec, page: &Page) -> Result<Codecs> {
        let (compress, length) = count(self.overhead, || codec.compress(page, self.scratch).map(<[u8]>::len));
        let Some(length) = length else {
            return Ok(Codecs { compress, decompress: 0, bytes: PAGE_SIZE as u64 });
        };
        let mut bytes = [0; PAGE_SIZE];
        bytes[..length].copy_from_slice(codec.compress(page, self.scratch).unwrap_or_default());
        let (decompress, done) =
            count(self.overhead, || codec.decompress(&bytes[..length], self.page, self.scratch));
        done.ok_or(BenchError::Broken("a page did not come back"))?;
        Ok(Codecs { compress, decompress, bytes: length as u64 })
    }
}

/// Our codec against LZ4 over the pages that are not same-filled: percent of its instructions, percent of its ratio.
pub(super) fn against(report: &mut Report) -> Result<()> {
    let mut bench = Bench::new(PAGE.codec, None, false)?;
    let [mut own, mut lz4, mut second] = [const { Codecs { compress: 0, decompress: 0, bytes: 0 } }; 3];
    let mut count = 0;
    for page in bench.pages {
        if page[8..] == page[..PAGE_SIZE - 8] {
            continue;
        }
        own.add(bench.codec(PAGE.codec, page)?);
        lz4.add(bench.codec(LZ4.codec, page)?);
        second.add(bench.codec(SECOND, page)?);
        count += 1;
    }
    let percent = |part: u64, whole: u64| Hundredths::ratio(part * 100, whole);
    report.figure("compress-to-lz4", percent(own.compress, lz4.compress), "%", count);
    report.figure("decompress-to-lz4", percent(own.decompress, lz4.decompress), "%", count);
    report.figure("ratio-to-lz4", percent(lz4.bytes, own.bytes), "%", count);
    report.figure("second-to-lz4", percent(lz4.bytes, second.bytes), "%", count);
    Ok(())
}

/// What the store takes for a page, in hundredths of an instruction, and for how many it was counted: so many of the bundle's first ones as `first`
/// says of their number.
pub(super) fn write_alone(first: impl FnOnce(usize) -> usize) -> Result<(u64, usize)> {
    let mut bench = Bench::new(PAGE.codec, None, false)?;
    let count = first(bench.pages.len()).min(bench.pages.len());
    bench.pages = &bench.pages[..count];
    Ok((bench.write()? * 100 / count.max(1) as u64, count))
}

/// The store's own work on a write into empty slots.
pub(super) fn own_write(report: &mut Report) -> Result<()> {
    let bench = Bench::new(PAGE.codec, None, false)?;
    let (mut own, mut compressed) = (0, 0);
    for (slot, page) in bench.pages.iter().enumerate() {
        let (taken, stored) = count(bench.overhead, || bench.device.write(slot, page, bench.scratch));
        if matches!(stored, Ok(Stored::Compressed(_))) {
            let (codec, _) = count(bench.overhead, || PAGE.codec.compress(page, bench.scratch).is_some());
            own += taken.saturating_sub(codec);
            compressed += 1;
        }
    }
    per(report, "own-write", own, compressed);
    Ok(())
}

/// A page of zeros, and slots given up.
pub(super) fn zero_and_release(report: &mut Report) -> Result<()> {
    let mut bench = Bench::new(PAGE.codec, None, false)?;
    let before = pool::pool().stats().objects;
    bench.page.fill(0);
    let (mut sum, zeros) = (0, 1000.min(bench.pages.len()));
    for slot in 0..zeros {
        let (taken, stored) = count(bench.overhead, || bench.device.write(slot, bench.page, bench.scratch));
        if stored != Ok(Stored::Same) || pool::pool().stats().objects != before {
            return Err(BenchError::Broken("a page of zeros took memory"));
        }
        sum += taken;
    }
    per(report, "write-zero", sum, zeros);
    bench.write()?;
    per(report, "release", bench.release()?, bench.pages.len());
    Ok(())
}

/// Bytes of objects to memory of the pool.
pub(super) fn density(report: &mut Report) -> Result<()> {
    let mut bench = Bench::new(PAGE.codec, None, false)?;
    let all = bench.pages;
    for (name, pages) in [("density-2048", &all[..FEW.min(all.len())]), ("density", all)] {
        bench.pages = pages;
        bench.write()?;
        let stats = pool::pool().stats();
        let memory = (stats.pages + stats.metadata_pages) * PAGE_SIZE as u64;
        let stored = bench.device.statistics().compressed_bytes;
        report.figure(name, Hundredths::ratio(stored * 100, memory), "%", pages.len() as u64);
        bench.device.reset();
        drain::wait_until_quiet(PATIENCE_US);
    }
    Ok(())
}

/// What checksums add.
pub(super) fn checksum(report: &mut Report) -> Result<()> {
    let (plain_write, plain_read, pages) = {
        let mut bench = Bench::new(PAGE.codec, None, false)?;
        (bench.write()?, bench.read()?.0, bench.pages.len())
    };
    let mut bench = Bench::new(PAGE.codec, None, true)?;
    per(report, "checksum-write", bench.write()?.saturating_sub(plain_write), pages);
    per(report, "checksum-read", bench.read()?.0.saturating_sub(plain_read), pages);
    Ok(())
}

/// What the second codec makes of all pages.
pub(super) fn recompress(report: &mut Report) -> Result<()> {
    let mut shop = WORKSHOP.lock().map_err(|_| BenchError::Broken("its memory is locked for good"))?;
    let mut bench = Bench::new(PAGE.codec, Some(SECOND), false)?;
    bench.write()?;
    let (mut next, mut sum, mut tried) = (0, 0, 0);
    while next < bench.pages.len() {
        let pick = Pick { idle: false, huge: false, least: 1 };
        let (taken, done) = count(bench.overhead, || bench.device.recompress(next, 1, pick, &mut shop));
        let done = done.map_err(|_| BenchError::Broken("somebody works on the device"))?;
        (next, sum, tried) = (done.next, sum + taken, tried + done.tried);
    }
    per(report, "recompress", sum, tried.max(1));
    let statistics = bench.device.statistics();
    let original = (statistics.stored - statistics.same_filled) * PAGE_SIZE as u64;
    let ratio = Hundredths::ratio(original, statistics.compressed_bytes);
    report.figure("ratio-recompressed", ratio, "to 1", original / 4096);
    bench.read()?;
    Ok(())
}
