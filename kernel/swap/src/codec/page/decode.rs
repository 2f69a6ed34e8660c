//! One load of eight operand bytes an operation, and one jump; what the operation leaves of the
//! eight is the next one's.

use core::cell::Cell;

use super::{BYTES, WORDS, code};
use crate::{codec::lz4, device::PAGE_SIZE};

/// Codes that are taken at once.
const GROUP: usize = 16;
/// Bytes that a group's operands can be read from: at most 8 of each.
const BLOCK: usize = GROUP * 8 + 8;

/// Decompresses into a page; `None` if the bytes are not exactly one page. Any bytes are safe, and
/// what the page holds after `None` is not said.
pub(crate) fn decompress(bytes: &[u8], page: &mut [u8; PAGE_SIZE]) -> Option<()> {
    let (&[high, low], rest) = bytes.split_first_chunk()?;
    if high == BYTES {
        return lz4::decompress(bytes.get(1..)?, page);
    }
    let count = usize::from(u16::from_be_bytes([high, low]));
    if !(1..=WORDS).contains(&count) {
        return None;
    }
    let operands = rest.len().checked_sub(count.div_ceil(2))?;
    let codes = rest.get(operands..)?;
    if count % 2 == 1 && codes.last()? >> 4 != 0 {
        return None;
    }
    operations(rest, codes, count, page)
}

/// Carries out the operations, whose operands lie at the front of `rest` and must leave the codes
/// of it.
fn operations(
    rest: &[u8],
    codes: &[u8],
    mut count: usize,
    page: &mut [u8; PAGE_SIZE],
) -> Option<()> {
    let (words, _) = page.as_chunks_mut::<8>();
    let words: &mut [[u8; 8]; WORDS] = words.try_into().ok()?;
    let words = Cell::from_mut(words).as_array_of_cells();
    let mut cursor = Cursor { words, at: 0, last: 1 };
    let mut end = [0; 2 * BLOCK];
    let mut end = Some(&mut end);
    let mut rest = rest;
    let mut behind = codes.len();
    for group in codes.chunks(GROUP / 2) {
        let block = match rest.first_chunk() {
            Some(block) => block,
            // Near the end: what is left, and zeros that only wrong bytes reach.
            None => {
                let end = end.take()?;
                end.get_mut(..rest.len())?.copy_from_slice(rest);
                rest = end.get(..rest.len() + BLOCK)?;
                behind += BLOCK;
                rest.first_chunk()?
            }
        };
        let codes = match group.first_chunk() {
            Some(codes) => *codes,
            None => {
                let mut codes = [0; GROUP / 2];
                codes.get_mut(..group.len())?.copy_from_slice(group);
                codes
            }
        };
        let used = cursor.group(u64::from_le_bytes(codes), count.min(GROUP), block)?;
        count = count.saturating_sub(GROUP);
        rest = rest.get(used..)?;
    }
    (cursor.at == WORDS && rest.len() == behind).then_some(())
}

/// The words, how many are there, and the last distance.
struct Cursor<'w> {
    words: &'w [Cell<[u8; 8]>; WORDS],
    at: usize,
    last: usize,
}

impl Cursor<'_> {
    /// Carries out up to sixteen operations; how many bytes of operands they had.
    #[inline(always)]
    fn group(&mut self, mut codes: u64, count: usize, block: &[u8; BLOCK]) -> Option<usize> {
        let Self { words, mut at, mut last } = *self;
        let near = |at: usize, distance: usize| -> Option<u64> {
            Some(u64::from_le_bytes(words.get(at.wrapping_sub(distance))?.get()))
        };
        let mut used = 0;
        for _ in 0..count {
            // Never above 120 for an operation of the sixteen: the mask only says so.
            let operand = u64::from_le_bytes(*block[used & 127..].first_chunk()?);
            let code = (codes & 15) as u8;
            codes >>= 4;
            let distance = (operand & 0xff) as usize + 1;
            let (word, length) = match code {
                code::ZERO => (0, 0),
                code::ZEROS => {
                    let count = distance + 1;
                    zeros(words.get(at..at + count)?);
                    at += count;
                    used += 1;
                    continue;
                }
                code::COPY => {
                    last = distance;
                    (near(at, last)?, 1)
                }
                code::RUN => {
                    last = (operand & 511) as usize + 1;
                    let count = (operand >> 9 & 127) as usize + 1;
                    run(words, at, last, count)?;
                    at += count;
                    used += 2;
                    continue;
                }
                code::LOW2 => (operand & 0xffff, 2),
                code::NEAR2 => {
                    last = distance;
                    (near(at, last)? & !0xffff | operand >> 8 & 0xffff, 3)
                }
                code::NEAR3 => {
                    last = distance;
                    (near(at, last)? & !0xff_ffff | operand >> 8 & 0xff_ffff, 4)
                }
                code::LOW4 => (operand & 0xffff_ffff, 4),
                code::HIGH4 => (operand << 32, 4),
                code::NEAR4 => {
                    last = distance;
                    (near(at, last)? & !0xffff_ffff | operand >> 8 & 0xffff_ffff, 5)
                }
                code::ENDS => (operand & 0xff | operand >> 8 << 32, 5),
                code::WHOLE => (operand, 8),
                code::AGAIN => (near(at, last)?, 0),
                code::AGAIN_RUN => {
                    let count = distance + 1;
                    run(words, at, last, count)?;
                    at += count;
                    used += 1;
                    continue;
                }
                code::AGAIN1 => (near(at, last)? & !0xff | operand & 0xff, 1),
                _ => (near(at, last)? & !0xffff | operand & 0xffff, 2),
            };
            // Too many words wrap around, and are refused at the end.
            words[at % WORDS].set(word.to_le_bytes());
            used += length;
            at += 1;
        }
        *self = Self { words, at, last };
        Some(used)
    }
}

#[inline(always)]
fn zeros(words: &[Cell<[u8; 8]>]) {
    // Not a constant, so that a run of two is not a call of memset.
    let zero = core::hint::black_box([0; 8]);
    for word in words {
        word.set(zero);
    }
}

/// Copies words from `distance` before; the two may overlap.
#[inline(always)]
fn run(words: &[Cell<[u8; 8]>; WORDS], at: usize, distance: usize, count: usize) -> Option<()> {
    let from = at.checked_sub(distance)?;
    let target = words.get(at..at + count)?;
    for (to, from) in target.iter().zip(words.get(from..)?) {
        to.set(from.get());
    }
    Some(())
}
