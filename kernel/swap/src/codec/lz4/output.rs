//! Sequences as the format has them.

use super::{NIBBLE, SHORT};
use crate::{codec::OUTPUT, device::PAGE_SIZE};

/// A block that is being written.
pub(super) struct Output<'o> {
    pub(super) bytes: &'o mut [u8; OUTPUT],
    pub(super) at: usize,
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
    pub(super) fn sequence(
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
            && let Some(place) =
                self.bytes.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut::<SHORT>)
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
    pub(super) fn literals(
        &mut self,
        page: &[u8; PAGE_SIZE],
        from: usize,
        to: usize,
        matched: usize,
    ) -> Option<()> {
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
