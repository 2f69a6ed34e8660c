//! Memory beyond what there is, on a swap disk: written, verified byte by byte, forked and killed.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};

use linux_init::content;
use linux_init::work::{MOST_WORKERS, PAGE};

use crate::call::{self, File, Region};
use crate::files::{self, Pages};
use crate::print::{Failure, figure};
use crate::report::Report;
use crate::setup;

pub(crate) const DISK: &CStr = c"/dev/vda";
/// Of the pages, this part is written by a child that is then killed.
const CHILD_PART: u64 = 4;
const SIGKILL: u32 = 9;
/// Between two looks whether discards go on, and how many of these there are at most.
const DISCARD_LOOK_MS: u64 = 500;
const DISCARD_LOOKS: u32 = 20;

/// Swaps to the disk from now on.
pub(crate) fn open_disk() -> Result<(), Failure> {
    // Linux takes a virtio disk for a rotational one, and frees slots of such a disk without a word
    // to it.
    drop(setup::device(DISK, call::READ_ONLY)?);
    files::set(c"/sys/block/vda/queue/rotational", "0")?;
    figure("disk_queues", queues());
    figure("swap_pages", setup::make_swap(DISK)?);
    call::swap_on(DISK, setup::DISCARD)
}

/// Works on `pages` pages for some seconds, one round at least, in so many processes.
pub(crate) fn run(pages: usize, seconds: u64, workers: usize, seed: u64) -> Result<(), Failure> {
    open_disk()?;
    figure("memory_kib", memory("MemTotal")?);
    let start = call::now();
    let report = Report::open()?;
    let mut team = Team::of(workers, seed)?;
    let mut others = [const { None }; MOST_WORKERS - 1];
    for other in &mut others[..workers - 1] {
        *other = Some(call::fork(|| work(pages / workers, seconds, &mut team, &report).map(drop))?);
    }
    let region = work(pages / workers, seconds, &mut team, &report)?;
    for other in others.into_iter().flatten() {
        match other.wait()? {
            0 => {}
            status => return Err(Failure::Child(status)),
        }
    }
    figure("worked_us", (call::now() - start) / 1000);
    figure("swapped_in", vmstat("pswpin ")?);
    figure("swapped_out", vmstat("pswpout ")?);
    let used = |free| Ok::<_, Failure>(memory("SwapTotal")?.saturating_sub(free));
    figure("swap_used_kib", used(memory("SwapFree")?)?);
    let before = discards()?.requests;
    drop(region);
    figure("swap_used_after_kib", used(memory("SwapFree")?)?);
    let stale = report.swap_used()?;
    figure("discards", settled_discards(before)?);
    if let (Some(before), Some(after)) = (stale, report.swap_used()?) {
        figure("stale_kib", before);
        figure("stale_after_kib", after);
    }
    call::swap_off(DISK)
}

/// Verifies a region of so many pages for some seconds, and returns it.
fn work(pages: usize, seconds: u64, team: &mut Team, report: &Report) -> Result<Region, Failure> {
    let captured = Pages::open()?;
    let mut region = Region::map(pages * PAGE)?;
    figure("verified_pages", rounds(&mut region, &captured, seconds, team, report)?);
    Ok(region)
}

/// Processes that work at once, each with memory of its own.
struct Team {
    /// How many have filled theirs, in a page that all of them have.
    filled: Region,
    workers: u64,
    /// Number of the first round.
    first: u64,
}

impl Team {
    /// One of so many, before they are forked.
    fn of(workers: usize, first: u64) -> Result<Self, Failure> {
        Ok(Self { filled: Region::shared(PAGE)?, workers: workers as u64, first })
    }

    /// Waits until all have filled their memory: from then on all of it is there at once.
    fn wait(&mut self) -> Result<(), Failure> {
        const STEP_MS: u64 = 5;
        const PATIENCE_MS: u64 = 120_000;
        // SAFETY: a word of a page that is mapped as long as `self`, and that every process takes
        // for an atomic.
        let filled = unsafe { AtomicU64::from_ptr(&raw mut self.filled.words()[0]) };
        // Relaxed: the count alone is looked at, nothing that lies behind it.
        filled.fetch_add(1, Ordering::Relaxed);
        for _ in 0..PATIENCE_MS / STEP_MS {
            if filled.load(Ordering::Relaxed) >= self.workers {
                return Ok(());
            }
            call::sleep_ms(STEP_MS);
        }
        Err(Failure::Content("the other workers' memory"))
    }
}

/// Works on `pages` pages of memory for some seconds, one round at least, without a disk: whoever
/// takes memory away is the hypervisor.
pub(crate) fn fill_only(pages: usize, seconds: u64) -> Result<(), Failure> {
    figure("memory_kib", memory("MemTotal")?);
    work(pages, seconds, &mut Team::of(1, 0)?, &Report::nobody()).map(drop)
}

/// A process writes and verifies so many pages, and may be killed for it: how it ended is a figure.
pub(crate) fn outgrow(pages: usize, swap: bool) -> Result<(), Failure> {
    if swap {
        open_disk()?;
    }
    figure("memory_kib", memory("MemTotal")?);
    let child = call::fork(|| {
        let captured = Pages::open()?;
        let mut region = Region::map(pages * PAGE)?;
        fill(&mut region, &captured, 0)?;
        figure("verified_pages", verify(&mut region, &captured, 0)?);
        Ok(())
    })?;
    figure("child", child.wait()?);
    if swap {
        figure("swapped_out", vmstat("pswpout ")?);
        call::swap_off(DISK)?;
    }
    Ok(())
}

/// Has memory that there is put out to the disk, and verifies it: what the disk has refused stays
/// where it is.
pub(crate) fn put_out(pages: usize) -> Result<(), Failure> {
    open_disk()?;
    let captured = Pages::open()?;
    let mut region = Region::map(pages * PAGE)?;
    fill(&mut region, &captured, 0)?;
    region.page_out()?;
    figure("verified_pages", verify(&mut region, &captured, 0)?);
    figure("swapped_out", vmstat("pswpout ")?);
    drop(region);
    call::swap_off(DISK)
}

/// Round after round for some seconds, one at least; how many pages were verified. The first is
/// verified once all of a team have filled.
fn rounds(
    region: &mut Region,
    captured: &Pages,
    seconds: u64,
    team: &mut Team,
    report: &Report,
) -> Result<u64, Failure> {
    let end = call::now() + seconds * 1_000_000_000;
    let mut round = team.first;
    let mut verified = 0;
    loop {
        fill(region, captured, round)?;
        child(region, captured, round)?;
        if round == team.first {
            team.wait()?;
        }
        verified += verify(region, captured, round)?;
        round += 1;
        figure("rounds", round - team.first);
        report.swap_used()?;
        if call::now() >= end {
            break;
        }
    }
    Ok(verified)
}

/// A child's own copy of a part, changed, and lost with the child.
fn child(region: &mut Region, captured: &Pages, round: u64) -> Result<(), Failure> {
    let child = call::fork(|| {
        let part = region.bytes().len() / PAGE / CHILD_PART as usize;
        for number in 0..part as u64 {
            write(region, captured, number, !round)?;
        }
        loop {
            call::sleep_ms(1000);
        }
    })?;
    call::sleep_ms(50);
    child.kill()?;
    match child.wait()? {
        SIGKILL => Ok(()),
        other => Err(Failure::Child(other)),
    }
}

fn fill(region: &mut Region, captured: &Pages, round: u64) -> Result<(), Failure> {
    for number in 0..(region.bytes().len() / PAGE) as u64 {
        write(region, captured, number, round)?;
    }
    Ok(())
}

fn write(region: &mut Region, captured: &Pages, number: u64, round: u64) -> Result<(), Failure> {
    let page = expected(captured, number, round)?;
    let at = number as usize * PAGE;
    region.bytes()[at..at + PAGE].copy_from_slice(&page);
    Ok(())
}

/// Every byte of every page; how many pages.
fn verify(region: &mut Region, captured: &Pages, round: u64) -> Result<u64, Failure> {
    let pages = (region.bytes().len() / PAGE) as u64;
    for step in 0..pages {
        let number = content::shuffled(step, pages);
        let at = number as usize * PAGE;
        if region.bytes()[at..at + PAGE] != expected(captured, number, round)? {
            return Err(Failure::Corrupt(number, round));
        }
    }
    Ok(pages)
}

fn expected(captured: &Pages, number: u64, round: u64) -> Result<[u8; PAGE], Failure> {
    let mut page = [0; PAGE];
    captured.read(content::source(number, round, captured.count()), &mut page)?;
    content::stamp(&mut page, number, round);
    Ok(page)
}

pub(crate) fn memory(name: &str) -> Result<u64, Failure> {
    setup::number(c"/proc/meminfo", name)?.ok_or(Failure::Content("/proc/meminfo"))
}

fn vmstat(name: &str) -> Result<u64, Failure> {
    setup::number(c"/proc/vmstat", name)?.ok_or(Failure::Content("/proc/vmstat"))
}

/// Queues of the disk that Linux uses: each has a folder.
fn queues() -> usize {
    const FOLDERS: [&CStr; 4] = [
        c"/sys/block/vda/mq/0/nr_tags",
        c"/sys/block/vda/mq/1/nr_tags",
        c"/sys/block/vda/mq/2/nr_tags",
        c"/sys/block/vda/mq/3/nr_tags",
    ];
    FOLDERS.iter().filter(|path| File::open(path, call::READ_ONLY).is_ok()).count()
}

/// Discards that the disk got.
pub(crate) struct Discards {
    pub(crate) requests: u64,
    pub(crate) sectors: u64,
}

/// The twelfth and the fourteenth number of the disk's statistics (Documentation/block/stat.rst).
pub(crate) fn discards() -> Result<Discards, Failure> {
    let mut buffer = [0; 512];
    let text = files::text(c"/sys/block/vda/stat", &mut buffer)?;
    let number = |place| {
        let number = text.split_ascii_whitespace().nth(place).and_then(|word| word.parse().ok());
        number.ok_or(Failure::Content("/sys/block/vda/stat"))
    };
    Ok(Discards { requests: number(11)?, sectors: number(13)? })
}

/// The clusters that are free are discarded from a work item: how many requests there are once half
/// a second brings no more, where there were `before` of them.
fn settled_discards(before: u64) -> Result<u64, Failure> {
    let mut last = before;
    for _ in 0..DISCARD_LOOKS {
        call::sleep_ms(DISCARD_LOOK_MS);
        let now = discards()?.requests;
        if now == last && now != before {
            break;
        }
        last = now;
    }
    Ok(last)
}
