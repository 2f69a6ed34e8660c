//! The end of a process whose memory is swapped: munmap of a region whose pages are on the disk,
//! and the discards that follow it. Measured with CLOCK_MONOTONIC: under `-icount shift=0` a
//! nanosecond is an instruction, or a time without any.

use linux_init::work::PAGE;

use crate::call::{self, Region};
use crate::print::{Failure, figure};
use crate::swap::{self, DISK};
use crate::{files, peer, setup};

/// Pages that may be left when the region counts as given back: Linux discards whole clusters, of
/// 512 slots where huge pages are swapped in one piece, as by Debian's arm64 kernels. The first and
/// the last are shared with others, and it keeps one for the next page; no more than this was left
/// of these in any run.
const KEPT: u64 = 3 * 256;
const PATIENCE_MS: u64 = 10_000;
/// Of a page.
const SECTORS: u64 = PAGE as u64 / 512;

/// Measures and prints the least of all repetitions.
pub(crate) fn run(repetitions: u32) -> Result<(), Failure> {
    swap::open_disk()?;
    let mut content = files::pages()?;
    content.lock()?;
    let pages = (content.bytes().len() / PAGE) as u64;
    figure("pages", pages);
    let mut least = [u64::MAX; 2];
    for _ in 0..repetitions {
        let region = swapped(content.bytes())?;
        let before = swap::discards()?.sectors;
        let begin = call::now();
        let munmap = peer::timed(|| {
            drop(region);
            Ok(())
        })?;
        let mut waited = 0;
        while swap::discards()?.sectors - before < pages.saturating_sub(KEPT) * SECTORS {
            if waited == PATIENCE_MS {
                return Err(Failure::Content("the discards after munmap"));
            }
            call::sleep_ms(1);
            waited += 1;
        }
        for (least, time) in least.iter_mut().zip([munmap, call::now() - begin]) {
            *least = (*least).min(time);
        }
    }
    figure("munmap_ns", least[0]);
    figure("discarded_ns", least[1]);
    call::swap_off(DISK)
}

/// A region with this content that is swapped out.
pub(crate) fn swapped(content: &[u8]) -> Result<Region, Failure> {
    let mut region = Region::map(content.len())?;
    region.bytes().copy_from_slice(content);
    region.page_out()?;
    let swapped =
        setup::number(c"/proc/self/status", "VmSwap")?.ok_or(Failure::Content("VmSwap"))?;
    if swapped < content.len() as u64 / 1024 * 9 / 10 {
        return Err(Failure::Content("VmSwap after MADV_PAGEOUT"));
    }
    forget_copies(content.len() as u64)?;
    Ok(region)
}

/// A disk that is not synchronous leaves a copy of each page in memory, until somebody wants that:
/// here somebody does.
fn forget_copies(region: u64) -> Result<(), Failure> {
    for _ in 0..4 {
        let copies = swap::memory("SwapCached")? * 1024;
        if copies < region / 20 {
            return Ok(());
        }
        let mut pressure = Region::map((swap::memory("MemFree")? * 1024 + copies) as usize)?;
        pressure.bytes().iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    }
    Err(Failure::Content("SwapCached under pressure"))
}
