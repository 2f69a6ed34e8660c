//! The common sequence in blocks of fixed length, all others with care.

use super::{MIN_MATCH, NIBBLE, SHORT};
use crate::{
    codec::copy::{copy, repeat},
    device::PAGE_SIZE,
};

/// Decompresses into a page; `None` if the bytes are not exactly one page. Any bytes are safe, and
/// what the page holds after `None` is not said.
pub(crate) fn decompress(mut bytes: &[u8], page: &mut [u8; PAGE_SIZE]) -> Option<()> {
    let mut at = 0;
    loop {
        // The common sequence, short in both parts and far from both ends: blocks of fixed length,
        // and what is too much of them is written over.
        while let Some(block) = bytes.first_chunk::<SHORT>()
            && let Some(place) =
                page.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<{ 2 * SHORT }>)
        {
            let (literals, matched) = (usize::from(block[0] >> 4), usize::from(block[0] & 15));
            let offset =
                usize::from(u16::from_le_bytes([block[1 + literals], block[2 + literals]]));
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
