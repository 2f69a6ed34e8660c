//! Linux's zram under the captured pages, measured with CLOCK_MONOTONIC: under `-icount shift=0` a
//! nanosecond is an instruction. Each page is timed by itself, and the least of all repetitions
//! counts, which leaves timer interrupts out; what reading the clock costs is taken off.

use core::ffi::CStr;

use linux_init::work::PAGE;

use crate::call::{self, DIRECT, READ_WRITE, Region};
use crate::files;
use crate::print::{Failure, figure};
use crate::{munmap, setup};

const DISK: &CStr = c"/dev/zram0";
const RESET: &CStr = c"/sys/block/zram0/reset";

/// Measures and prints.
pub(crate) fn run(repetitions: u32) -> Result<(), Failure> {
    let mut content = files::pages()?;
    figure("pages", (content.bytes().len() / PAGE) as u64);
    let clock = (0..1000)
        .map(|_| timed(|| Ok(())))
        .try_fold(u64::MAX, |least, time| Ok(least.min(time?)))?;
    figure("clock_ns", clock);
    slots(content.bytes(), repetitions, clock)?;
    let mut least = [u64::MAX; 3];
    for _ in 0..repetitions {
        for (least, time) in least.iter_mut().zip(release(content.bytes())?) {
            *least = (*least).min(time);
        }
    }
    figure("release_discard_ns", least[0]);
    figure("release_reset_ns", least[1]);
    figure("munmap_ns", least[2]);
    Ok(())
}

pub(crate) fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<u64, Failure> {
    let begin = call::now();
    work()?;
    Ok(call::now() - begin)
}

/// Sets the device up with lz4 and this size.
fn set_up(pages: usize) -> Result<(), Failure> {
    files::set(c"/sys/block/zram0/comp_algorithm", "lz4")?;
    let mut digits = Digits { bytes: [0; 20], length: 0 };
    let _ = core::fmt::write(&mut digits, format_args!("{}", pages * PAGE));
    let text = core::str::from_utf8(&digits.bytes[..digits.length]).unwrap_or_default();
    files::set(c"/sys/block/zram0/disksize", text)
}

/// Room for a number.
struct Digits {
    bytes: [u8; 20],
    length: usize,
}

impl core::fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room =
            self.bytes.get_mut(self.length..self.length + text.len()).ok_or(core::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// Write, read and discard of single pages, past the page cache.
fn slots(content: &[u8], repetitions: u32, clock: u64) -> Result<(), Failure> {
    let pages = content.len() / PAGE;
    set_up(pages)?;
    let mut buffer = Region::map(PAGE)?;
    let mut least = Region::map(3 * 8 * pages)?;
    least.words().fill(u64::MAX);
    for repetition in 0..repetitions {
        let disk = setup::device(DISK, READ_WRITE | DIRECT)?;
        let (writes, rest) = least.words().split_at_mut(pages);
        let (reads, discards) = rest.split_at_mut(pages);
        for (number, page) in content.chunks_exact(PAGE).enumerate() {
            let time = timed(|| disk.write_at(page, (number * PAGE) as u64))?;
            writes[number] = writes[number].min(time);
        }
        if repetition == 0 {
            mm_stat()?;
        }
        for (number, page) in content.chunks_exact(PAGE).enumerate() {
            let time = timed(|| disk.read_at(buffer.bytes(), (number * PAGE) as u64))?;
            reads[number] = reads[number].min(time);
            if buffer.bytes() != page {
                return Err(Failure::Corrupt(number as u64, u64::from(repetition)));
            }
        }
        for (number, least) in discards.iter_mut().enumerate() {
            *least = (*least).min(timed(|| disk.discard((number * PAGE) as u64, PAGE as u64))?);
        }
    }
    for (name, times) in ["write", "read", "discard"].iter().zip(least.words().chunks_exact(pages))
    {
        let sum: u64 = times.iter().map(|time| time.saturating_sub(clock)).sum();
        print_mean(name, sum, pages as u64);
    }
    files::set(RESET, "1")
}

fn print_mean(name: &str, sum: u64, pages: u64) {
    match name {
        "write" => figure("write_ns_per_page", sum / pages),
        "read" => figure("read_ns_per_page", sum / pages),
        _ => figure("discard_ns_per_page", sum / pages),
    }
}

/// What zram says of its pool (Documentation/admin-guide/blockdev/zram.rst, mm_stat).
fn mm_stat() -> Result<(), Failure> {
    let mut buffer = [0; 512];
    let text = files::text(c"/sys/block/zram0/mm_stat", &mut buffer)?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next().and_then(Result::ok).ok_or(Failure::Content("mm_stat"));
    figure("original_bytes", next()?);
    figure("compressed_bytes", next()?);
    figure("pool_bytes", next()?);
    Ok(())
}

/// The whole device at once, by a discard, by a reset, and by an unmapped region that was swapped
/// to it.
fn release(content: &[u8]) -> Result<[u64; 3], Failure> {
    let pages = content.len() / PAGE;
    let write = || {
        set_up(pages)?;
        let disk = setup::device(DISK, READ_WRITE | DIRECT)?;
        for (number, page) in content.chunks_exact(PAGE).enumerate() {
            disk.write_at(page, (number * PAGE) as u64)?;
        }
        Ok(disk)
    };
    let disk = write()?;
    let discard = timed(|| disk.discard(0, content.len() as u64))?;
    drop(disk);
    files::set(RESET, "1")?;
    drop(write()?);
    let reset = timed(|| files::set(RESET, "1"))?;
    // Room for the header, and for what else the kernel swaps out meanwhile.
    set_up(2 * pages)?;
    setup::make_swap(DISK)?;
    call::swap_on(DISK, setup::DISCARD)?;
    let region = munmap::swapped(content)?;
    let munmap = timed(|| {
        drop(region);
        Ok(())
    })?;
    call::swap_off(DISK)?;
    files::set(RESET, "1")?;
    Ok([discard, reset, munmap])
}
