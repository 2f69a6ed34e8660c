//! A device with slots over the kernel's pool, and the pages that are written to them.

use core::sync::atomic::{AtomicU32, AtomicU64};

use bale_swap::{Codec, Scratch, Setup, Tables};
use zsmalloc::PAGE_SIZE;
use zsmalloc::bench::Random;

use super::PATIENCE_US;
use crate::counting::{self, count};
use crate::options::Mix;
use crate::{BenchError, Report, go_on};
use bale_io::bundle;
use bale_memory::Arena;
use bale_memory::frames::{self, Block};
use bale_reclaim::{drain, pool};
use bale_vmm::SwapDevice;
use bale_vmm::store::setup;

type Result<T> = core::result::Result<T, BenchError<'static>>;
type Page = [u8; PAGE_SIZE];

/// Slots released at a time: what Linux discards at least when a cluster of its swap area becomes
/// free (512 with Debian's arm64 kernels).
const RUN: usize = 256;
/// Different pages of a mix that is made here.
const MADE: usize = 64;
/// Slots that such a mix is written to, unless another number is asked for.
const OWN_MADE: usize = 4096;

/// A device over the kernel's pool, in a block of its own.
pub(super) struct Bench {
    block: u64,
    pub(super) device: &'static SwapDevice,
    pub(super) scratch: &'static mut Scratch,
    pub(super) page: &'static mut Page,
    pages: &'static [Page],
    /// Slots that are written. There may be more than pages, which are then written several times,
    /// or fewer.
    pub(super) count: usize,
    pub(super) overhead: u32,
}

/// Pages of a mix that is made here.
fn make(arena: &mut Arena, mix: Mix, seed: u64) -> Option<&'static [Page]> {
    let pages = arena.place_each(MADE, || [0; PAGE_SIZE])?;
    let mut random = Random::new(seed);
    let length = match mix {
        Mix::Bundle | Mix::Zeros => 0,
        Mix::Half => PAGE_SIZE / 2,
        Mix::Random => PAGE_SIZE,
    };
    for byte in pages.iter_mut().flat_map(|page| &mut page[..length]) {
        *byte = random.below(256) as u8;
    }
    Some(pages)
}

impl Bench {
    pub(super) fn new(
        report: &Report,
        codec: Codec,
        second: Option<Codec>,
        checked: bool,
    ) -> Result<Self> {
        let overhead = counting::overhead().ok_or(BenchError::NoCounter)?;
        let mix = report.options.mix;
        let (bundled, _) = bundle::pages().as_chunks();
        if mix == Mix::Bundle && bundled.is_empty() {
            return Err(BenchError::Broken(
                "the bundle holds no pages; `cargo bale run` makes one that does, --mix needs none",
            ));
        }
        if pool::pool().stats().objects != 0 {
            return Err(BenchError::Broken("the pool is not empty: stop the guests first"));
        }
        let (mut arena, block) =
            Arena::in_block(bale_rt::blocks::allocate_block().ok_or(BenchError::OutOfMemory)?);
        let mut place = || {
            let pages = match mix {
                Mix::Bundle => bundled,
                made => make(&mut arena, made, report.options.seed)?,
            };
            let count = report.pages(if mix == Mix::Bundle { bundled.len() } else { OWN_MADE });
            let tables = Tables {
                slots: arena.place_each(count, || AtomicU64::new(0))?,
                notes: arena.place_each(count, || AtomicU32::new(0))?,
                checks: arena.place_each(if checked { count } else { 0 }, || AtomicU64::new(0))?,
            };
            let setup = Setup { second, ..setup(codec) };
            let device = arena.place(SwapDevice::new(pool::pool(), tables, setup))?;
            let scratch = arena.place_copy(&*bale_vmm::SCRATCH.read())?;
            let page = arena.place([0; PAGE_SIZE])?;
            Some(Self { block, device, scratch, page, pages, count, overhead })
        };
        place().ok_or_else(|| {
            release(block);
            BenchError::OutOfMemory
        })
    }

    /// The slots, and the page of each.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, &'static Page)> + use<> {
        self.pages.iter().cycle().take(self.count).enumerate()
    }

    /// Stores every page; events.
    pub(super) fn write(&mut self) -> Result<u64> {
        let mut sum = 0;
        for (slot, page) in self.each() {
            go_on()?;
            let (taken, stored) =
                count(self.overhead, || self.device.write(slot, page, self.scratch));
            stored.map_err(|_| BenchError::OutOfMemory)?;
            sum += taken;
        }
        Ok(sum)
    }

    /// Reads every page; events, all, and those of the compressed pages.
    pub(super) fn read(&mut self) -> Result<(u64, u64)> {
        let (mut all, mut compressed) = (0, 0);
        for (slot, page) in self.each() {
            go_on()?;
            let (taken, read) =
                count(self.overhead, || self.device.read(slot, self.page, self.scratch));
            if read.is_err() || self.page != page {
                return Err(BenchError::Broken("a page did not come back"));
            }
            all += taken;
            let length = self.device.state(slot).map_or(0, |state| state.length);
            compressed += if (1..PAGE_SIZE).contains(&length) { taken } else { 0 };
        }
        Ok((all, compressed))
    }

    /// Releases every slot; events.
    pub(super) fn release(&self) -> Result<u64> {
        let mut sum = 0;
        for first in (0..self.count).step_by(RUN) {
            let run = RUN.min(self.count - first);
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

/// What a codec took for some pages, and made of them.
#[derive(Default)]
pub(super) struct Codecs {
    pub(super) compress: u64,
    pub(super) decompress: u64,
    pub(super) bytes: u64,
}

impl Codecs {
    pub(super) fn add(&mut self, other: Self) {
        self.compress += other.compress;
        self.decompress += other.decompress;
        self.bytes += other.bytes;
    }
}

impl Bench {
    /// One page there and back by the codec alone.
    pub(super) fn codec(&mut self, codec: Codec, page: &Page) -> Result<Codecs> {
        let (compress, length) =
            count(self.overhead, || codec.compress(page, self.scratch).map(<[u8]>::len));
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
