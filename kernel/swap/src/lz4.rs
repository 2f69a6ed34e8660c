//! LZ4's block format for pages of 4096 bytes, after the format's description (lz4_Block_format.md, 2022-07-31).
//!
//! General LZ4 codecs are made for long inputs: at 4 KiB their set-up and their checks per sequence weigh more than the bytes. Here positions fit
//! 12 bits, input and output are arrays of known size, and the common sequence is copied in blocks of fixed length.

use crate::device::PAGE_SIZE;

/// Shortest match of the format.
const MIN_MATCH: usize = 4;
/// The last match starts at least this far before the end.
const MATCH_LIMIT: usize = 12;
/// The last bytes of a block are literals.
const LAST_LITERALS: usize = 5;
/// Bytes that are hashed.
const HASHED: u32 = 5;
const HASH_BITS: u32 = 11;
/// Misses after which the search takes longer steps: 1 in 2 to this power.
const SKIP: usize = 5;
/// Bytes that a token's nibble can count; more follow it.
const NIBBLE: usize = 15;

/// Input that the common sequence needs: a token, 16 bytes of which at most 14 are its literals, an offset.
const SHORT: usize = 24;
/// The longest multiple of a period within eight bytes.
const STRIDES: [usize; 8] = [0, 8, 8, 6, 8, 5, 6, 7];

/// Room for a page, and for a sequence more.
pub(crate) const OUTPUT: usize = PAGE_SIZE + 32;

/// Where a sequence of four bytes was seen last.
pub(crate) struct Table([u16; 1 << HASH_BITS]);

impl Table {
    pub(crate) const fn new() -> Self {
        Self([0; 1 << HASH_BITS])
    }
}

#[inline(always)]
fn word32(page: &[u8; PAGE_SIZE], at: usize) -> u32 {
    match page.get(at..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => 0,
    }
}

#[inline(always)]
fn word64(page: &[u8; PAGE_SIZE], at: usize) -> u64 {
    match page.get(at..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// Of five bytes: what repeats in memory is seldom as short as four, and a sequence of four saves one byte.
#[inline(always)]
fn hash(word: u64) -> usize {
    ((word << (64 - 8 * HASHED)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS)) as usize
}

/// Bytes from `at` on that are equal to those from `from` on, up to the last literals.
#[inline(always)]
fn common(page: &[u8; PAGE_SIZE], from: usize, at: usize) -> usize {
    let mut length = 0;
    while at + length + 8 <= PAGE_SIZE - LAST_LITERALS {
        let differ = word64(page, at + length) ^ word64(page, from + length);
        if differ != 0 {
            return length + (differ.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    while at + length < PAGE_SIZE - LAST_LITERALS && page[at + length] == page[from + length] {
        length += 1;
    }
    length
}

struct Output<'o> {
    bytes: &'o mut [u8; OUTPUT],
    at: usize,
}

impl Output<'_> {
    #[inline(always)]
    fn byte(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.at)? = byte;
        self.at += 1;
        Some(())
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 255 behind the loop")]
    fn more(&mut self, mut rest: usize) -> Option<()> {
        while rest >= 255 {
            self.byte(255)?;
            rest -= 255;
        }
        self.byte(rest as u8)
    }

    /// Token, literals, offset, and what remains of the match's length.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "two nibbles")]
    fn sequence(
        &mut self,
        page: &[u8; PAGE_SIZE],
        from: usize,
        to: usize,
        offset: usize,
        matched: usize,
    ) -> Option<()> {
        let length = to - from;
        let [low, high, ..] = offset.to_le_bytes();
        if length < NIBBLE
            && let Some(source) = page.get(from..).and_then(<[u8]>::first_chunk::<16>)
            && let Some(place) = self.bytes.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut::<SHORT>)
        {
            // The literals go as one block; what is too much of it is written over.
            place[0] = (length << 4 | matched.min(NIBBLE)) as u8;
            place[1..17].copy_from_slice(source);
            place[1 + length] = low;
            place[2 + length] = high;
            self.at += 3 + length;
        } else {
            self.literals(page, from, to, matched)?;
            self.byte(low)?;
            self.byte(high)?;
        }
        if matched >= NIBBLE {
            self.more(matched - NIBBLE)?;
        }
        Some(())
    }

    /// Token and literals.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "two nibbles")]
    fn literals(&mut self, page: &[u8; PAGE_SIZE], from: usize, to: usize, matched: usize) -> Option<()> {
        let length = to - from;
        self.byte((length.min(NIBBLE) << 4 | matched.min(NIBBLE)) as u8)?;
        if length >= NIBBLE {
            self.more(length - NIBBLE)?;
        }
        self.bytes.get_mut(self.at..)?.get_mut(..length)?.copy_from_slice(page.get(from..to)?);
        self.at += length;
        Some(())
    }
}

/// Compresses a page; `None` if it does not become shorter than a page by anything.
pub(crate) fn compress<'o>(
    page: &[u8; PAGE_SIZE],
    table: &mut Table,
    output: &'o mut [u8; OUTPUT],
) -> Option<&'o [u8]> {
    table.0.fill(0);
    let mut out = Output { bytes: output, at: 0 };
    let (mut literals, mut at, mut misses) = (0, 1, 0usize);
    while at <= PAGE_SIZE - MATCH_LIMIT {
        let word = word32(page, at);
        let entry = &mut table.0[hash(word64(page, at))];
        let mut from = usize::from(*entry);
        #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
        {
            *entry = at as u16;
        }
        if word32(page, from) != word {
            at += 1 + (misses >> SKIP);
            misses += 1;
            continue;
        }
        misses = 0;
        while at > literals && from > 0 && page[at - 1] == page[from - 1] {
            (at, from) = (at - 1, from - 1);
        }
        let length = MIN_MATCH + common(page, from + MIN_MATCH, at + MIN_MATCH);
        out.sequence(page, literals, at, at - from, length - MIN_MATCH)?;
        at += length;
        literals = at;
        let behind = at - 2;
        #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
        {
            table.0[hash(word64(page, behind))] = behind as u16;
        }
    }
    out.literals(page, literals, PAGE_SIZE, 0)?;
    let length = out.at;
    if length < PAGE_SIZE { output.get(..length) } else { None }
}

/// Decompresses into a page; `None` if the bytes are not exactly one page. Any bytes are safe, and what the page holds after `None` is not said.
pub(crate) fn decompress(mut bytes: &[u8], page: &mut [u8; PAGE_SIZE]) -> Option<()> {
    let mut at = 0;
    loop {
        // The common sequence, short in both parts and far from both ends: blocks of fixed length, and what is too much of them is written over.
        while let Some(block) = bytes.first_chunk::<SHORT>()
            && let Some(place) = page.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<{ 2 * SHORT }>)
        {
            let (literals, matched) = (usize::from(block[0] >> 4), usize::from(block[0] & 15));
            let offset = usize::from(u16::from_le_bytes([block[1 + literals], block[2 + literals]]));
            if literals == NIBBLE || offset > at + literals {
                break;
            }
            place[..16].copy_from_slice(&block[1..17]);
            at += literals;
            bytes = bytes.get(3 + literals..)?;
            if matched == NIBBLE || offset < 8 {
                let rest = if matched == NIBBLE { more(&mut bytes)? } else { 0 };
                repeat(page, at, offset, matched + rest + MIN_MATCH)?;
                at += matched + rest + MIN_MATCH;
                continue;
            }
            let from = at - offset;
            if offset >= 16 {
                copy::<16>(page, from, at)?;
                // Longer than one block: as often as not.
                if matched + MIN_MATCH > 16 {
                    copy::<8>(page, from + 16, at + 16)?;
                }
            } else {
                copy::<8>(page, from, at)?;
                if matched + MIN_MATCH > 8 {
                    copy::<8>(page, from + 8, at + 8)?;
                    copy::<8>(page, from + 16, at + 16)?;
                }
            }
            at += matched + MIN_MATCH;
        }
        let (&token, rest) = bytes.split_first()?;
        bytes = rest;
        let mut literals = usize::from(token >> 4);
        if literals == NIBBLE {
            literals += more(&mut bytes)?;
        }
        let (run, rest) = bytes.split_at_checked(literals)?;
        bytes = rest;
        page.get_mut(at..)?.get_mut(..literals)?.copy_from_slice(run);
        at += literals;
        if bytes.is_empty() {
            return (at == PAGE_SIZE).then_some(());
        }
        let (offset, rest) = bytes.split_first_chunk()?;
        bytes = rest;
        let mut matched = usize::from(token & 15);
        if matched == NIBBLE {
            matched += more(&mut bytes)?;
        }
        matched += MIN_MATCH;
        repeat(page, at, usize::from(u16::from_le_bytes(*offset)), matched)?;
        at += matched;
    }
}

/// Copies a block that may overlap its source only if it lies `N` or more behind it.
#[inline(always)]
fn copy<const N: usize>(page: &mut [u8; PAGE_SIZE], from: usize, to: usize) -> Option<()> {
    // One comparison each, behind which the two slices need no other.
    if from > PAGE_SIZE - N || to > PAGE_SIZE - N {
        return None;
    }
    let block: [u8; N] = *page[from..from + N].first_chunk()?;
    *page[to..to + N].first_chunk_mut()? = block;
    Some(())
}

/// Copies `length` bytes to `at` from `offset` bytes before.
#[inline(always)]
fn repeat(page: &mut [u8; PAGE_SIZE], at: usize, offset: usize, length: usize) -> Option<()> {
    if offset == 0 || offset > at || at + length > PAGE_SIZE {
        return None;
    }
    let (from, end) = (at - offset, at + length);
    let mut to = at;
    if offset >= 16 {
        while to < end && to + 16 <= PAGE_SIZE {
            copy::<16>(page, to - offset, to)?;
            to += 16;
        }
    } else if at + 8 <= PAGE_SIZE {
        // A short period: the longest multiple of it that fits eight bytes, over and over.
        let pattern: [u8; 8] = if offset >= 8 {
            *page.get(from..)?.first_chunk()?
        } else {
            core::array::from_fn(|index| page[from + index % offset])
        };
        if offset >= 8 {
            while to < end && to + 8 <= PAGE_SIZE {
                copy::<8>(page, to - offset, to)?;
                to += 8;
            }
        } else {
            let stride = STRIDES[offset];
            while to < end && to + 8 <= PAGE_SIZE {
                *page.get_mut(to..)?.first_chunk_mut()? = pattern;
                to += stride;
            }
        }
    }
    while to < end {
        page[to] = page[to - offset];
        to += 1;
    }
    Some(())
}

/// The bytes of a length that does not fit its nibble.
#[inline]
fn more(bytes: &mut &[u8]) -> Option<usize> {
    let mut sum = 0;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        sum += usize::from(byte);
        if byte != 255 {
            return Some(sum);
        }
    }
}

#[cfg(test)]
mod tests;
