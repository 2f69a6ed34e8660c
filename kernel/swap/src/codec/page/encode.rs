//! One pass over the words: the neighbour of the last distance first, then the table of whole
//! words, then that of upper halves.

use super::{BYTES, WORDS, code};
use crate::{
    codec::{OUTPUT, lz4},
    device::PAGE_SIZE,
};

const HASH_BITS: u32 = 9;
/// Farthest word that one byte names.
const NEAR: usize = 256;
/// Words that may go whole, besides one in four, before the page is taken as bytes.
const WHOLE: usize = 16;
const WHOLE_SHARE: usize = 4;

/// Where a word, and an upper half of a word, was seen last; and the codes so far.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    whole: [u16; 1 << HASH_BITS],
    upper: [u16; 1 << HASH_BITS],
    codes: [u8; WORDS],
}

impl Tables {
    pub(crate) const fn new() -> Self {
        Self { whole: [0; 1 << HASH_BITS], upper: [0; 1 << HASH_BITS], codes: [0; WORDS] }
    }
}

#[inline(always)]
fn hash(word: u64) -> usize {
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS)) as usize
}

#[inline(always)]
fn word(words: &[[u8; 8]; WORDS], at: usize) -> Option<u64> {
    words.get(at).map(|bytes| u64::from_le_bytes(*bytes))
}

/// Words from `at` on that are equal to those from `from` on, the first of which are known to be,
/// up to `most`.
#[inline(always)]
fn equal(words: &[[u8; 8]; WORDS], from: usize, at: usize, most: usize) -> usize {
    let Some(later) = words.get(at..) else { return 0 };
    let earlier = words.get(from..).unwrap_or_default();
    let mut count = 0;
    for (one, other) in later.iter().zip(earlier).take(most) {
        if one != other {
            break;
        }
        count += 1;
    }
    count
}

struct Output<'o> {
    bytes: &'o mut [u8; OUTPUT],
    codes: &'o mut [u8; WORDS],
    at: usize,
    count: usize,
}

impl Output<'_> {
    /// Adds an operation, of whose operand the first `used` bytes count.
    #[inline(always)]
    fn push(&mut self, code: u8, operand: u64, used: usize) -> Option<()> {
        *self.codes.get_mut(self.count)? = code;
        self.count += 1;
        *self.bytes.get_mut(self.at..)?.first_chunk_mut()? = operand.to_le_bytes();
        self.at += used;
        Some(())
    }

    /// Head, and the codes in pairs behind the operands; the length of it all.
    fn finish(self) -> Option<usize> {
        let Self { bytes, codes, at, count } = self;
        let [low, high, ..] = count.to_le_bytes();
        bytes[..2].copy_from_slice(&[high, low]);
        let end = at + count.div_ceil(2);
        if end >= PAGE_SIZE {
            return None;
        }
        if let Some(unused) = codes.get_mut(count) {
            *unused = 0;
        }
        let (eights, _) = codes.as_chunks::<8>();
        let (places, _) = bytes.get_mut(at..)?.as_chunks_mut::<4>();
        for (place, eight) in places.iter_mut().zip(eights.get(..count.div_ceil(8))?) {
            let mut word = u64::from_le_bytes(*eight);
            word = (word | word >> 4) & 0x00ff_00ff_00ff_00ff;
            word = (word | word >> 8) & 0x0000_ffff_0000_ffff;
            *place = (((word | word >> 16) & 0xffff_ffff) as u32).to_le_bytes();
        }
        Some(end)
    }
}

/// Compresses a page; its length, or `None` if it does not become shorter than a page by anything.
pub(crate) fn compress(
    page: &[u8; PAGE_SIZE],
    tables: &mut Tables,
    table: &mut lz4::Table,
    output: &mut [u8; OUTPUT],
) -> Option<usize> {
    if let Some(length) = words(page, tables, output) {
        return Some(length);
    }
    output[0] = BYTES;
    lz4::compress(page, table, output, 1)
}

/// Compresses words; `None` if they are not like words.
#[expect(clippy::cast_possible_truncation, reason = "nine bits")]
fn words(page: &[u8; PAGE_SIZE], tables: &mut Tables, output: &mut [u8; OUTPUT]) -> Option<usize> {
    let (words, _) = page.as_chunks::<8>();
    let words: &[[u8; 8]; WORDS] = words.try_into().ok()?;
    let Tables { whole, upper, codes } = tables;
    whole.fill(0);
    upper.fill(0);
    let mut out = Output { bytes: output, codes, at: 2, count: 0 };
    let (mut at, mut last, mut spent) = (0, 1, 0);
    while let Some(now) = word(words, at) {
        if now == 0 {
            let count =
                words.get(at..)?.iter().take(257).take_while(|word| **word == [0; 8]).count();
            if count == 1 {
                out.push(code::ZERO, 0, 0)?;
            } else {
                out.push(code::ZEROS, count as u64 - 2, 1)?;
            }
            at += count;
            continue;
        }
        let again = word(words, at.wrapping_sub(last)).unwrap_or(!now) ^ now;
        if again == 0 {
            let count = equal(words, at - last, at, 257);
            if count == 1 {
                out.push(code::AGAIN, 0, 0)?;
            } else {
                out.push(code::AGAIN_RUN, count as u64 - 2, 1)?;
            }
            at += count;
            continue;
        }
        let place = &mut whole[hash(now)];
        let from = usize::from(*place);
        *place = at as u16;
        if from < at && word(words, from)? == now {
            let count = equal(words, from, at, 128);
            last = at - from;
            if count == 1 && last <= NEAR {
                out.push(code::COPY, last as u64 - 1, 1)?;
            } else {
                out.push(code::RUN, (last as u64 - 1) | (count as u64 - 1) << 9, 2)?;
            }
            at += count;
            continue;
        }
        if now < 1 << 16 {
            out.push(code::LOW2, now, 2)?;
            at += 1;
            continue;
        }
        let place = &mut upper[hash(now >> 32)];
        let from = usize::from(*place);
        *place = at as u16;
        if again < 1 << 8 {
            out.push(code::AGAIN1, now, 1)?;
        } else if again < 1 << 16 {
            out.push(code::AGAIN2, now, 2)?;
        } else if now < 1 << 32 {
            out.push(code::LOW4, now, 4)?;
        } else if from < at && at - from <= NEAR && (word(words, from)? ^ now) < 1 << 32 {
            last = at - from;
            let differ = word(words, from)? ^ now;
            let operand = now << 8 | (last as u64 - 1);
            if differ < 1 << 16 {
                out.push(code::NEAR2, operand, 3)?;
            } else if differ < 1 << 24 {
                out.push(code::NEAR3, operand, 4)?;
            } else {
                out.push(code::NEAR4, operand, 5)?;
            }
        } else if now as u32 == 0 {
            out.push(code::HIGH4, now >> 32, 4)?;
        } else if now as u32 <= 255 {
            out.push(code::ENDS, now >> 32 << 8 | now & 255, 5)?;
        } else {
            spent += 1;
            if spent > WHOLE + at / WHOLE_SHARE {
                return None;
            }
            out.push(code::WHOLE, now, 8)?;
        }
        at += 1;
    }
    out.finish()
}
