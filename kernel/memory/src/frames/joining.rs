//! Frames that were given back one by one become blocks again, once somebody wants a block and
//! there is none.
//!
//! A pass over all bundles counts the free frames of each block; a second one takes those of some
//! blocks that are whole out of their bundles. Each goes bundle by bundle, so that interrupts are
//! masked for a moment only; the first one lays what it has seen aside, from where it is taken when
//! nothing else is left. Frames that are taken meanwhile leave a block incomplete, whose other
//! frames go back.

use heapless::Vec;

use super::blocks::{BLOCK_SIZE, Block};
use super::bundle::{BUNDLE, Bundle};
use super::{FRAMES, Frame, PAGE_SIZE, allocate_zeroed, cache};

/// Frames of a block.
const WHOLE: u16 = (BLOCK_SIZE / PAGE_SIZE as u64) as u16;
/// Blocks that are joined at a time: their frames are nobody's meanwhile.
const AT_ONCE: usize = 16;
/// Of the whole blocks one in so many is joined, so that most of what is free can be had all the
/// time.
const PART: usize = 4;
/// Frames to count in: what lies more than 128 GiB behind the first frame is left alone.
const TABLES: usize = 32;
/// Counts in a frame.
const COUNTS: usize = PAGE_SIZE / 2;

/// A number for each block of memory, in frames of its own: its free frames, or [`WHOLE`] and the
/// place of a block that is being joined, counted from 1.
struct Counts {
    first: usize,
    tables: Vec<Frame, TABLES>,
}

impl Counts {
    /// For the frames with these numbers; `None` without memory.
    fn new(numbers: core::ops::Range<u32>) -> Option<Self> {
        let first = block_of(numbers.start);
        let mut tables = Vec::new();
        for _ in 0..(block_of(numbers.end) + 1 - first).div_ceil(COUNTS).min(TABLES) {
            // There is room for so many.
            tables.push(allocate_zeroed()?).ok()?;
        }
        Some(Self { first, tables })
    }

    /// The number of a block.
    fn of(&mut self, block: usize) -> Option<&mut [u8; 2]> {
        let place = block.checked_sub(self.first)?;
        self.tables.get_mut(place / COUNTS)?.bytes_mut().as_chunks_mut().0.get_mut(place % COUNTS)
    }

    fn get(&mut self, block: usize) -> u16 {
        self.of(block).map_or(0, |place| u16::from_ne_bytes(*place))
    }

    fn set(&mut self, block: usize, number: u16) {
        if let Some(place) = self.of(block) {
            *place = number.to_ne_bytes();
        }
    }

    /// Blocks all of whose frames are free.
    fn whole(&mut self) -> impl Iterator<Item = usize> {
        let (first, blocks) = (self.first, self.tables.len() * COUNTS);
        (first..first + blocks).filter(|block| self.get(*block) == WHOLE)
    }
}

fn block_of(number: u32) -> usize {
    (number / u32::from(WHOLE)) as usize
}

/// A block whose frames are being collected.
struct Joined {
    block: usize,
    frames: u16,
    which: [u64; WHOLE as usize / 64],
}

impl Joined {
    fn add(&mut self, number: u32) {
        let place = (number % u32::from(WHOLE)) as usize;
        self.which[place / 64] |= 1 << (place % 64);
        self.frames += 1;
    }

    /// Numbers of its frames.
    fn numbers(&self) -> impl Iterator<Item = u32> {
        let first = self.block as u32 * u32::from(WHOLE);
        let is_there = |place: &u32| self.which[*place as usize / 64] >> (place % 64) & 1 != 0;
        (0..u32::from(WHOLE)).filter(is_there).map(move |place| first + place)
    }
}

/// Frames on their way back into bundles.
struct Rest(Vec<u32, BUNDLE>);

impl Rest {
    fn push(&mut self, number: u32, counts_as_free: bool) {
        // It is emptied whenever it is full.
        let _ = self.0.push(number);
        let Ok(bundle) = Bundle::try_from(self.0.as_slice()) else { return };
        let mut frames = FRAMES.lock();
        frames.returned.push(&bundle);
        frames.add_free(if counts_as_free { 0 } else { BUNDLE });
        drop(frames);
        self.0.clear();
    }

    /// What fills no bundle goes to this core's own frames, which are counted elsewhere.
    fn finish(self, counts_as_free: bool) {
        FRAMES.lock().lessen(if counts_as_free { self.0.len() } else { 0 });
        cache::put(&self.0);
    }
}

/// Joins what can be joined, some blocks at a time; how many blocks there are more. Two at once are
/// sound, but each finds only a part of the frames.
pub(super) fn join() -> usize {
    let (numbers, bundles) = {
        let frames = FRAMES.lock();
        (frames.numbers.clone(), frames.usage.total / BUNDLE)
    };
    let Some(mut counts) = Counts::new(numbers) else { return 0 };
    let made = count_and_collect(&mut counts, bundles);
    super::release(counts.tables);
    let unjoined = if made == 0 { super::usage().free } else { 0 };
    FRAMES.lock().unjoined = unjoined;
    made
}

fn count_and_collect(counts: &mut Counts, bundles: usize) -> usize {
    let mut count = |number: u32| {
        let block = block_of(number);
        let before = counts.get(block);
        counts.set(block, (before + 1).min(WHOLE));
    };
    // What cores keep for themselves counts as well; what of it fills no bundle stays at hand.
    let mut loose = Rest(Vec::new());
    cache::empty_all(|number| loose.push(number, false));
    loose.0.iter().copied().for_each(&mut count);
    // Others give back meanwhile: there are never more bundles than this.
    for _ in 0..bundles {
        let Some(bundle) = FRAMES.lock().lay_aside() else { break };
        bundle.into_iter().for_each(&mut count);
    }
    let mut chosen: Vec<Joined, AT_ONCE> = Vec::new();
    let wanted = counts.whole().count().div_ceil(PART).min(AT_ONCE);
    let blocks: Vec<usize, AT_ONCE> = counts.whole().take(wanted).collect();
    for block in blocks {
        // There is room for so many.
        let _ = chosen.push(Joined { block, frames: 0, which: [0; WHOLE as usize / 64] });
        counts.set(block, WHOLE + chosen.len() as u16);
    }
    let mut rest = Rest(Vec::new());
    let mut collect = |number: u32| {
        let place = counts.get(block_of(number)).checked_sub(WHOLE + 1);
        match place.and_then(|place| chosen.get_mut(usize::from(place))) {
            Some(joined) => joined.add(number),
            None => rest.push(number, true),
        }
    };
    FRAMES.lock().add_free(loose.0.len());
    loose.0.into_iter().for_each(&mut collect);
    for _ in 0..bundles {
        let bundle = FRAMES.lock().aside.pop();
        let Some(bundle) = bundle else { break };
        bundle.into_iter().for_each(&mut collect);
    }
    let mut made = 0;
    for joined in &chosen {
        if joined.frames == WHOLE {
            FRAMES.lock().blocks.push(Block::new(joined.block as u64 * BLOCK_SIZE));
            made += 1;
        } else {
            joined.numbers().for_each(|number| rest.push(number, true));
        }
    }
    rest.finish(true);
    made
}
