//! A frame into one page.

mod huffman;
mod literals;
mod sequences;
mod table;

use super::OFFSETS;
use crate::device::PAGE_SIZE;

/// Logarithm of the largest window that libzstd takes.
const LARGEST_WINDOW: u64 = 31;

/// What blocks say for those behind them, and the literals of one.
#[derive(Clone, Copy)]
pub(crate) struct Decoder {
    literals: [u8; PAGE_SIZE],
    huffman: huffman::Code,
    tables: sequences::Tables,
    offsets: [usize; 3],
}

impl Decoder {
    pub(crate) const fn new() -> Self {
        Self {
            literals: [0; PAGE_SIZE],
            huffman: huffman::Code::new(),
            tables: sequences::Tables::new(),
            // Each frame sets them; zeros, so that working memory as a static takes no room in an
            // image.
            offsets: [0; 3],
        }
    }

    /// Decompresses a block of at most `most` bytes to `at`; where it ends.
    fn block(
        &mut self,
        bytes: &[u8],
        page: &mut [u8; PAGE_SIZE],
        at: usize,
        most: usize,
    ) -> Option<usize> {
        let literals = self.literals.get_mut(..most)?;
        let (count, bytes) = literals::read(bytes, literals, &mut self.huffman)?;
        let literals = literals.get(..count)?;
        let end = sequences::run(bytes, literals, &mut self.tables, &mut self.offsets, page, at)?;
        (end - at <= most).then_some(end)
    }
}

/// Takes the first `count` bytes, 8 at most, as a number, the lowest first.
fn number(bytes: &mut &[u8], count: usize) -> Option<u64> {
    let (front, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(front.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Takes the head of a frame; the most bytes that a block of it may have.
fn head(bytes: &mut &[u8]) -> Option<usize> {
    let flags = number(bytes, 1)?;
    let (size, single) = (flags >> 6, flags & 1 << 5 != 0);
    // A reserved bit, a checksum, a dictionary.
    if flags & 0b1111 != 0 {
        return None;
    }
    let mut most = PAGE_SIZE;
    if !single {
        let window = number(bytes, 1)?;
        let log = 10 + (window >> 3);
        if log > LARGEST_WINDOW {
            return None;
        }
        let base = 1usize << log;
        most = most.min(base + base / 8 * (window & 7) as usize);
    }
    let size = match (size, single) {
        (0, false) => None,
        (0, true) => Some(number(bytes, 1)?),
        (1, _) => Some(number(bytes, 2)? + 256),
        (2, _) => Some(number(bytes, 4)?),
        _ => Some(number(bytes, 8)?),
    };
    size.is_none_or(|size| size == PAGE_SIZE as u64).then_some(most)
}

/// Decompresses into a page; `None` if the bytes are not exactly one page. Any bytes are safe, and
/// what the page holds after `None` is not said.
pub(crate) fn decompress(
    mut bytes: &[u8],
    page: &mut [u8; PAGE_SIZE],
    decoder: &mut Decoder,
) -> Option<()> {
    let most = head(&mut bytes)?;
    decoder.offsets = OFFSETS;
    decoder.huffman.forget();
    decoder.tables.forget();
    let mut at = 0;
    loop {
        let block = usize::try_from(number(&mut bytes, 3)?).ok()?;
        let size = block >> 3;
        if size > most {
            return None;
        }
        match block >> 1 & 3 {
            0 => {
                let (raw, rest) = bytes.split_at_checked(size)?;
                page.get_mut(at..)?.get_mut(..size)?.copy_from_slice(raw);
                bytes = rest;
                at += size;
            }
            1 => {
                let (byte, rest) = bytes.split_first()?;
                page.get_mut(at..)?.get_mut(..size)?.fill(*byte);
                bytes = rest;
                at += size;
            }
            2 => {
                let (block, rest) = bytes.split_at_checked(size)?;
                at = decoder.block(block, page, at, most)?;
                bytes = rest;
            }
            _ => return None,
        }
        if block & 1 != 0 {
            break;
        }
    }
    (at == PAGE_SIZE && bytes.is_empty()).then_some(())
}
