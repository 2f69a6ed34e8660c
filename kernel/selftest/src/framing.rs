//! The frame allocator on all cores at once: no frame has two owners, none is lost, and the books
//! are exact.

use core::sync::atomic::{AtomicU32, Ordering};

use heapless::Vec;
use zsmalloc::bench::Random;

use super::scheduling::eventually;
use super::{Failure, Verdict, ensure, failure};
use bale_memory::frames::{self, Block, Frame};
use bale_reclaim::drain;
use bale_rt::sync::Lock;
use bale_rt::{cores, task};

static DONE: AtomicU32 = AtomicU32::new(0);
static BROKEN: AtomicU32 = AtomicU32::new(0);
/// Frames on their way from the core that has them to one that gives them back.
static EXCHANGE: Lock<Vec<Frame, 256>> = Lock::new(Vec::new());

/// Frames that a task holds at most: more than a cache does.
const HELD: usize = 160;
const ROUNDS: u32 = 2_000;

/// Writes the owner into the frame's first and last word.
fn mark(frame: &mut Frame, owner: u64) {
    let bytes = frame.bytes_mut();
    bytes[..8].copy_from_slice(&owner.to_le_bytes());
    bytes[4088..].copy_from_slice(&owner.to_le_bytes());
}

fn is_marked(frame: &mut Frame, owner: u64) -> bool {
    let bytes = frame.bytes_mut();
    bytes[..8] == owner.to_le_bytes() && bytes[4088..] == owner.to_le_bytes()
}

/// Counts the frames that somebody else has marked.
fn check(held: &mut [Frame], owner: u64) {
    let broken = held.iter_mut().map(|frame| u32::from(!is_marked(frame, owner))).sum();
    BROKEN.fetch_add(broken, Ordering::Relaxed);
}

/// Waits until `tasks` tasks have counted themselves done.
fn all_done(tasks: usize) -> Verdict {
    let mut finished = 0;
    while (finished as usize) < tasks {
        ensure!(
            eventually(|| DONE.load(Ordering::Acquire) > finished),
            "only {finished} of {tasks} finished"
        );
        finished = DONE.load(Ordering::Acquire);
    }
    let broken = BROKEN.load(Ordering::Relaxed);
    ensure!(broken == 0, "{broken} frames were missing or had another's mark");
    Ok(())
}

fn on_each_core(count: usize, entry: extern "C" fn(u64) -> !) -> Verdict {
    DONE.store(0, Ordering::Relaxed);
    BROKEN.store(0, Ordering::Relaxed);
    for number in 0..count {
        let core = cores::in_turn(number);
        ensure!(
            task::spawn("framer", core, task::VCPU, entry, number as u64).is_ok(),
            "no task on core {core}"
        );
    }
    all_done(count)
}

fn free_when_quiet() -> Result<usize, Failure> {
    if drain::wait_until_quiet(10_000_000) {
        Ok(frames::usage().free)
    } else {
        Err(failure(format_args!("the pool does not get quiet")))
    }
}

/// Takes and gives back random numbers of frames, some by way of another core.
extern "C" fn trader(number: u64) -> ! {
    let owner = 0xf7a3_e000 + number;
    let mut held: Vec<Frame, HELD> = Vec::new();
    let mut random = Random::new(number);
    for _ in 0..ROUNDS {
        for _ in 0..random.below((HELD - held.len()) as u64 + 1) {
            match frames::allocate() {
                Some(mut frame) => {
                    mark(&mut frame, owner);
                    let _ = held.push(frame);
                }
                None => {
                    BROKEN.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if random.below(4) == 0 {
            task::yield_now();
        }
        let keep = random.below(held.len() as u64 + 1) as usize;
        check(&mut held, owner);
        match random.below(3) {
            0 => frames::release(held.drain(keep..)),
            1 => held.drain(keep..).for_each(|frame| frames::release([frame])),
            _ => {
                let mut passed: Vec<Frame, 256> = Vec::new();
                core::mem::swap(&mut passed, &mut *EXCHANGE.lock());
                frames::release(passed);
                let mut exchange = EXCHANGE.lock();
                let room = exchange.capacity() - exchange.len();
                let passed = held.len().saturating_sub(keep).min(room);
                let from = held.len() - passed;
                exchange.extend(held.drain(from..));
            }
        }
    }
    frames::release(held);
    DONE.fetch_add(1, Ordering::Release);
    task::exit()
}

pub(super) fn no_frame_has_two_owners() -> Verdict {
    let before = free_when_quiet()?;
    on_each_core(2 * cores::online(), trader)?;
    frames::release(core::mem::take(&mut *EXCHANGE.lock()));
    let after = free_when_quiet()?;
    ensure!(after == before, "{after} frames are free, {before} were before");
    Ok(())
}

/// A chain of frames through their first words.
struct Chain {
    first: u64,
    length: usize,
}

impl Chain {
    /// Takes every frame there is.
    fn of_all() -> Self {
        let mut chain = Self { first: 0, length: 0 };
        while let Some(mut frame) = frames::allocate() {
            mark(&mut frame, chain.first);
            chain.first = frame.into_address();
            chain.length += 1;
        }
        chain
    }
}

impl Iterator for Chain {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        if self.first == 0 {
            return None;
        }
        // SAFETY: `of_all` put the address here or into the frame before, and it is taken out once.
        let mut frame = unsafe { Frame::from_address(self.first) };
        let mut word = [0; 8];
        word.copy_from_slice(&frame.bytes_mut()[..8]);
        self.first = u64::from_le_bytes(word);
        if !is_marked(&mut frame, self.first) {
            BROKEN.fetch_add(1, Ordering::Relaxed);
        }
        self.length -= 1;
        Some(frame)
    }
}

/// Blocks that can be had at once, as far as they are counted; all are given back.
fn blocks() -> usize {
    let mut held: Vec<u64, 512> = Vec::new();
    while !held.is_full() {
        let Some(block) = bale_rt::blocks::allocate_block() else { break };
        let _ = held.push(block.into_address());
    }
    let count = held.len();
    for address in held {
        // SAFETY: taken above, and forgotten here.
        frames::release_block(unsafe { Block::from_address(address) });
    }
    count
}

/// All memory is taken frame by frame and given back: there are as many blocks as before then, also
/// while other cores take and give frames.
pub(super) fn frames_become_blocks_again() -> Verdict {
    let before = (free_when_quiet()?, blocks());
    ensure!(before.1 > 16, "only {} blocks at the beginning", before.1);
    frames::release(Chain::of_all());
    DONE.store(0, Ordering::Relaxed);
    BROKEN.store(0, Ordering::Relaxed);
    let others = cores::online();
    for core in cores::indexes() {
        ensure!(
            task::spawn("framer", core, task::VCPU, trader, core as u64).is_ok(),
            "no task on core {core}"
        );
    }
    let beside_others = blocks();
    all_done(others)?;
    frames::release(core::mem::take(&mut *EXCHANGE.lock()));
    let after = (free_when_quiet()?, blocks());
    ensure!(beside_others > 0, "no block beside others, {} before", before.1);
    // What is counted in lies in a block, and a part of one was never handed out.
    ensure!(after.1 + 2 >= before.1, "{} blocks, {} before", after.1, before.1);
    let again = free_when_quiet()?;
    ensure!(
        after.0 == before.0 && again == before.0,
        "{again} frames are free, {} were before",
        before.0
    );
    Ok(())
}

/// Leaves frames in its core's cache.
extern "C" fn hoarder(_: u64) -> ! {
    let mut held: Vec<Frame, HELD> = Vec::new();
    while !held.is_full() {
        let Some(frame) = frames::allocate() else { break };
        let _ = held.push(frame);
    }
    frames::release(held);
    DONE.fetch_add(1, Ordering::Release);
    task::exit()
}

pub(super) fn one_core_gets_every_frame() -> Verdict {
    on_each_core(cores::online(), hoarder)?;
    let before = free_when_quiet()?;
    let chain = Chain::of_all();
    let (length, usage) = (chain.length, frames::usage());
    frames::release(chain);
    ensure!(length == before, "{length} frames were to be had, {before} were free");
    ensure!(usage.free == 0 && usage.least_free == 0, "with none left: {usage:?}");
    ensure!(BROKEN.load(Ordering::Relaxed) == 0, "a frame in the chain changed");
    let after = free_when_quiet()?;
    ensure!(after == before, "{after} frames are free, {before} were before");
    Ok(())
}

/// Takes what it can get, and gives it back, while there is almost nothing.
extern "C" fn starveling(number: u64) -> ! {
    let owner = 0x5a00 + number;
    let mut held: Vec<Frame, HELD> = Vec::new();
    let mut random = Random::new(number);
    for _ in 0..ROUNDS {
        while !held.is_full() {
            let Some(mut frame) = frames::allocate() else { break };
            mark(&mut frame, owner);
            let _ = held.push(frame);
        }
        check(&mut held, owner);
        let keep = random.below(held.len() as u64 + 1) as usize;
        frames::release(held.drain(keep..));
    }
    frames::release(held);
    DONE.fetch_add(1, Ordering::Release);
    task::exit()
}

pub(super) fn cores_take_from_each_other() -> Verdict {
    let before = free_when_quiet()?;
    let mut chain = Chain::of_all();
    // Fewer than the cores hold together, so each goes through the others' caches all the time.
    frames::release(chain.by_ref().take(50 * cores::online()));
    let outcome = on_each_core(cores::online(), starveling);
    frames::release(chain);
    outcome?;
    let after = free_when_quiet()?;
    ensure!(after == before, "{after} frames are free, {before} were before");
    Ok(())
}

/// Who may have which of the last frames.
pub(super) fn the_last_frames_are_kept() -> Verdict {
    let before = free_when_quiet()?;
    let mut chain = Chain::of_all();
    let mut seen: Vec<(usize, bool, bool), 4> = Vec::new();
    for more in [0, frames::LAST, frames::RESERVE - frames::LAST, 1] {
        frames::release(chain.by_ref().take(more));
        let (free, reserved) = (frames::usage().free, frames::are_reserved());
        let one = frames::allocate_but_last();
        let _ = seen.push((free, reserved, one.is_some()));
        frames::release(one);
    }
    frames::release(chain);
    let wanted = [
        (0, true, false),
        (frames::LAST, true, false),
        (frames::RESERVE, true, true),
        (frames::RESERVE + 1, false, true),
    ];
    ensure!(seen == wanted, "free, reserved, to be had: {seen:?}");
    let after = free_when_quiet()?;
    ensure!(after == before, "{after} frames are free, {before} were before");
    Ok(())
}
