//! Block requests (5.2) over a store of 4096-byte blocks. A sector has 512 bytes, whatever the
//! block.

use core::ops::Range;

use super::Broken;
use super::cursor::Cursor;
use super::mmio::{EVENT_IDX, INDIRECT_DESC};
use super::queue::{Chain, MOST_SEGMENTS};
use crate::guest_ram::GuestRam;

/// Bytes of a block of the store.
pub const BLOCK: usize = BLOCK_BYTES as usize;
const BLOCK_BYTES: u32 = 4096;
const SECTOR_BYTES: u32 = 512;
const SECTOR: u64 = SECTOR_BYTES as u64;
const SECTORS: u64 = BLOCK as u64 / SECTOR;

/// The device number (5.2.1).
pub const DEVICE: u32 = 2;
/// What is offered: `SEG_MAX`, `BLK_SIZE`, `FLUSH`, `TOPOLOGY`, `MQ`, `DISCARD`, `WRITE_ZEROES`,
/// and the rings' two.
pub const FEATURES: u64 =
    1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14 | INDIRECT_DESC | EVENT_IDX;
/// Queues: so many requests are served at once. Linux takes one for each of its CPUs, as far as
/// there are.
pub const QUEUES: usize = QUEUE_COUNT as usize;
const QUEUE_COUNT: u16 = 4;

/// Ranges of one request to discard.
const MOST_RANGES: u32 = 64;
/// Bytes that name the device.
const ID: &[u8; 20] = b"bale-swap\0\0\0\0\0\0\0\0\0\0\0";

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// Status of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// Not done, or not all of it.
    Error = 1,
    /// No such request.
    Unsupported = 2,
}

/// A block could not be stored, or not be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreError;

/// Where blocks are kept. A block that was never written, or was released, reads as zeros.
pub trait BlockStore {
    /// How many there are.
    fn blocks(&self) -> u64;

    /// Reads a block.
    ///
    /// # Errors
    /// It cannot be read; what `into` holds is undefined.
    fn read(&mut self, block: u64, into: &mut [u8; BLOCK]) -> Result<(), StoreError>;

    /// Stores a block.
    ///
    /// # Errors
    /// There is no room; the block is what it was.
    fn write(&mut self, block: u64, from: &[u8; BLOCK]) -> Result<(), StoreError>;

    /// Stores these bytes of a block: those at the same places of `from`. Nobody else writes the
    /// block meanwhile, so that what another one writes to its other bytes stays.
    ///
    /// # Errors
    /// It cannot be read, or there is no room; the block is what it was.
    fn write_part(
        &mut self,
        block: u64,
        bytes: Range<usize>,
        from: &[u8; BLOCK],
    ) -> Result<(), StoreError>;

    /// Gives blocks up, all of which exist.
    fn release(&mut self, first: u64, count: u64);

    /// Whether a request is to go on behind a block that it has done: one may be as long as the
    /// disk.
    fn goes_on(&mut self) -> bool;
}

/// Blocks that are given up between two looks at whether to go on.
const RELEASED_AT_ONCE: u64 = 8192;

/// The configuration of a device of so many blocks (5.2.4).
pub fn config(blocks: u64) -> [u8; 60] {
    let mut bytes = [0; 60];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let most = u32::try_from(blocks * SECTORS).unwrap_or(u32::MAX) & !7;
    put(0x0c, MOST_DATA);
    put(0x14, BLOCK_BYTES);
    put(0x24, most);
    put(0x28, MOST_RANGES);
    put(0x2c, BLOCK_BYTES / SECTOR_BYTES);
    put(0x30, most);
    put(0x34, MOST_RANGES);
    put(0x38, 1);
    bytes[..8].copy_from_slice(&(blocks * SECTORS).to_le_bytes());
    bytes[0x22..0x24].copy_from_slice(&QUEUE_COUNT.to_le_bytes());
    bytes
}

/// Buffers of data in a request, beside its header and its status.
const MOST_DATA: u32 = MOST_SEGMENTS - 2;

/// A range of sectors within the device.
#[derive(Clone, Copy)]
struct Sectors {
    first: u64,
    count: u64,
}

impl Sectors {
    fn new(first: u64, count: u64, store: &impl BlockStore) -> Option<Self> {
        let end = first.checked_add(count)?;
        (end <= store.blocks().saturating_mul(SECTORS)).then_some(Self { first, count })
    }

    /// The blocks that it touches: which one, where in it, how many bytes.
    fn parts(self) -> impl Iterator<Item = (u64, usize, usize)> {
        let (mut at, end) = (self.first, self.first + self.count);
        core::iter::from_fn(move || {
            let left = end.checked_sub(at).filter(|left| *left != 0)?;
            let (block, within) = (at / SECTORS, at % SECTORS);
            let count = left.min(SECTORS - within);
            at += count;
            #[expect(clippy::cast_possible_truncation, reason = "at most a block")]
            Some((block, (within * SECTOR) as usize, (count * SECTOR) as usize))
        })
    }
}

/// Carries out a request; how many bytes of its buffers were written. `page` is working memory.
///
/// # Errors
/// What is no request at all. Everything else is said in the request's own status.
pub fn serve(
    chain: &Chain,
    ram: &impl GuestRam,
    store: &mut impl BlockStore,
    page: &mut [u8; BLOCK],
) -> Result<u32, Broken> {
    let (readable, writable) = chain.segments.split_at(chain.readable);
    let (mut from, mut to) = (Cursor::new(readable), Cursor::new(writable));
    // The last byte to write is the status (5.2.6); all before it are data.
    let data = to.left().checked_sub(1).ok_or(Broken::Request)?;
    if from.left() < 16 || from.left() > u64::from(u32::MAX) || data >= u64::from(u32::MAX) {
        return Err(Broken::Request);
    }
    let mut header = [0; 16];
    from.take(ram, &mut header)?;
    let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = header;
    let sector = u64::from_le_bytes(sector);
    let status = match u32::from_le_bytes([t0, t1, t2, t3]) {
        IN => read(sector, data, &mut to, ram, store, page)?,
        OUT => write(sector, &mut from, ram, store, page)?,
        FLUSH => Status::Ok,
        GET_ID if data >= ID.len() as u64 => {
            to.give(ram, ID)?;
            Status::Ok
        }
        GET_ID => Status::Error,
        kind @ (DISCARD | WRITE_ZEROES) => {
            erase(kind == WRITE_ZEROES, &mut from, ram, store, page)?
        }
        _ => Status::Unsupported,
    };
    // What was not written of the data is skipped, so that the status comes last.
    let written = data - (to.left() - 1);
    let skipped = usize::try_from(to.left() - 1).map_err(|_| Broken::Request)?;
    to.each(skipped, |_, _| Ok(()))?;
    to.give(ram, &[status as u8])?;
    // The driver looks at the status, which is the last byte; so all before it counts only if all
    // was written.
    let all = if written == data { data + 1 } else { written };
    u32::try_from(all).map_err(|_| Broken::Request)
}

fn read(
    sector: u64,
    data: u64,
    to: &mut Cursor<'_>,
    ram: &impl GuestRam,
    store: &mut impl BlockStore,
    page: &mut [u8; BLOCK],
) -> Result<Status, Broken> {
    let Some(range) = whole_sectors(sector, data, store) else { return Ok(Status::Error) };
    for (at, (block, start, length)) in range.parts().enumerate() {
        if (at != 0 && !store.goes_on()) || store.read(block, page).is_err() {
            return Ok(Status::Error);
        }
        to.give(ram, &page[start..start + length])?;
    }
    Ok(Status::Ok)
}

fn write(
    sector: u64,
    from: &mut Cursor<'_>,
    ram: &impl GuestRam,
    store: &mut impl BlockStore,
    page: &mut [u8; BLOCK],
) -> Result<Status, Broken> {
    let Some(range) = whole_sectors(sector, from.left(), store) else { return Ok(Status::Error) };
    for (at, (block, start, length)) in range.parts().enumerate() {
        if at != 0 && !store.goes_on() {
            return Ok(Status::Error);
        }
        let bytes = start..start + length;
        from.take(ram, &mut page[bytes.clone()])?;
        let stored = if length == BLOCK {
            store.write(block, page)
        } else {
            store.write_part(block, bytes, page)
        };
        if stored.is_err() {
            return Ok(Status::Error);
        }
    }
    Ok(Status::Ok)
}

fn whole_sectors(first: u64, bytes: u64, store: &impl BlockStore) -> Option<Sectors> {
    if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
        return None;
    }
    Sectors::new(first, bytes / SECTOR, store)
}

/// Ranges that are discarded (5.2.6.1), or are to read as zeros; here both give blocks up.
fn erase(
    zeroes: bool,
    from: &mut Cursor<'_>,
    ram: &impl GuestRam,
    store: &mut impl BlockStore,
    page: &mut [u8; BLOCK],
) -> Result<Status, Broken> {
    const RANGE: usize = 16;
    /// Flag: the range may be given up. Only for zeroes.
    const UNMAP: u32 = 1;
    let bytes = from.left();
    let ranges = bytes / RANGE as u64;
    if ranges == 0 || !bytes.is_multiple_of(RANGE as u64) || ranges > MOST_RANGES.into() {
        return Ok(Status::Error);
    }
    for _ in 0..ranges {
        let mut range = [0; RANGE];
        from.take(ram, &mut range)?;
        let [a, b, c, d, e, f, g, h, n0, n1, n2, n3, f0, f1, f2, f3] = range;
        let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let count = u32::from_le_bytes([n0, n1, n2, n3]);
        let flags = u32::from_le_bytes([f0, f1, f2, f3]);
        if flags & !(if zeroes { UNMAP } else { 0 }) != 0 {
            return Ok(Status::Unsupported);
        }
        let Some(range) = Sectors::new(first, count.into(), store) else {
            return Ok(Status::Error);
        };
        if !erase_range(range, zeroes, store, page) {
            return Ok(Status::Error);
        }
    }
    Ok(Status::Ok)
}

/// Gives up the whole blocks of a range in long runs, and clears what is left at its ends where
/// zeros are promised.
fn erase_range(
    range: Sectors,
    zeroes: bool,
    store: &mut impl BlockStore,
    page: &mut [u8; BLOCK],
) -> bool {
    let end = range.first + range.count;
    let (first, last) = (range.first.div_ceil(SECTORS), end / SECTORS);
    let mut at = first;
    while at < last {
        let count = RELEASED_AT_ONCE.min(last - at);
        store.release(at, count);
        at += count;
        if !store.goes_on() {
            return false;
        }
    }
    if !zeroes {
        return true;
    }
    let edge = |first, end| Sectors { first, count: u64::saturating_sub(end, first) };
    let ends = if first <= last {
        [edge(range.first, first * SECTORS), edge(last * SECTORS, end)]
    } else {
        [range, edge(0, 0)]
    };
    page.fill(0);
    let mut parts = ends.into_iter().flat_map(Sectors::parts);
    parts.all(|(block, start, length)| store.write_part(block, start..start + length, page).is_ok())
}
