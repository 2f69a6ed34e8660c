//! Tokens as they are written: operands to their place, codes beside them, behind the operands at
//! the end.

use super::tokens::{Kind, PATTERN, PATTERN_LEAST, RUN, RUN_BYTE, RUNS, long_code, match_code};
use super::{HEAD, WORD};
use crate::codec::OUTPUT;
use crate::codec::bytes::word64;
use crate::device::PAGE_SIZE;

/// Room for codes: a match is of four bytes at least, with literals between two.
pub(super) const CODES: usize = PAGE_SIZE / 2;
/// Operands end this far before a page would be full: a token's operands fit behind it.
const LIMIT: usize = PAGE_SIZE - 16;
/// Farthest distance in words that fits a byte.
pub(super) const MOST_WORDS: usize = 255 * WORD;

/// The operands and codes so far.
pub(super) struct Output<'o> {
    page: &'o [u8; PAGE_SIZE],
    bytes: &'o mut [u8; OUTPUT],
    codes: &'o mut [u8; CODES],
    /// Operands end here, the head before them.
    at: usize,
    count: usize,
    /// What the page holds up to here is written.
    anchor: usize,
}

impl<'o> Output<'o> {
    /// The first word, which is there as it is.
    pub(super) fn new(
        page: &'o [u8; PAGE_SIZE],
        bytes: &'o mut [u8; OUTPUT],
        codes: &'o mut [u8; CODES],
    ) -> Self {
        let (_, operands) = bytes.split_at_mut(HEAD);
        operands[..WORD].copy_from_slice(&page[..WORD]);
        Self { page, bytes, codes, at: HEAD + WORD, count: 0, anchor: WORD }
    }

    pub(super) fn anchor(&self) -> usize {
        self.anchor
    }

    #[inline(always)]
    fn code(&mut self, code: u8) {
        // There are never as many: the mask only says so.
        self.codes[self.count % CODES] = code;
        self.count += 1;
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N], used: usize) -> Option<()> {
        *self.bytes.get_mut(self.at..)?.first_chunk_mut()? = bytes;
        self.at += used;
        Some(())
    }

    /// A match: what lies between the anchor and `start` as literals, and up to `end` what is
    /// `distance` before it. The distance is that of a match before if `again`. `None` if the
    /// output is full.
    #[inline(always)]
    pub(super) fn copy(
        &mut self,
        start: usize,
        end: usize,
        distance: usize,
        again: bool,
    ) -> Option<()> {
        let literals = start - self.anchor;
        if again && literals != 0 {
            if (literals > 4) | (distance > self.anchor) {
                return self.copy_any(start, end, distance, Kind::Last);
            }
            return self.token(Kind::Last, literals, end, distance);
        }
        if literals > 3 {
            // Four bytes behind four literals have a code, behind five they have none.
            if literals > 5 || distance > self.anchor || (literals == 5 && end - start < 5) {
                self.literals(start)?;
                return self.named(0, end, distance);
            }
            return self.token(Kind::Far, literals, end, distance);
        }
        if literals != 0 && distance > self.anchor {
            return self.copy_any(start, end, distance, Kind::Far);
        }
        self.named(literals, end, distance)
    }

    /// The same with up to 3 literals and a distance that is not the last one.
    #[inline(always)]
    fn named(&mut self, literals: usize, end: usize, distance: usize) -> Option<()> {
        if distance.is_multiple_of(WORD) && distance <= MOST_WORDS {
            self.token(Kind::Words, literals, end, distance)
        } else if distance < 256 {
            self.token(Kind::Near, literals, end, distance)
        } else {
            self.token(Kind::Far, literals, end, distance)
        }
    }

    /// A match of whole words, of the first of which `literals` bytes are not the source's; 5 at
    /// most.
    #[inline(always)]
    pub(super) fn words(&mut self, literals: usize, end: usize, distance: usize) -> Option<()> {
        // With a distance of two bytes instead of literals in a token of their own.
        let kind = if distance <= MOST_WORDS && literals < 4 { Kind::Words } else { Kind::Far };
        self.token(kind, literals, end, distance)
    }

    /// The same at the last distance.
    #[inline(always)]
    pub(super) fn again(&mut self, literals: usize, end: usize, distance: usize) -> Option<()> {
        self.token(Kind::Last, literals, end, distance)
    }

    /// A word as it is.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "counts, distances and lengths of their bytes"
    )]
    #[inline(always)]
    pub(super) fn word(&mut self, word: u64) -> Option<()> {
        if self.at > LIMIT {
            return None;
        }
        self.put(word.to_le_bytes(), WORD)?;
        self.code(WORD as u8 - 1);
        self.anchor += WORD;
        Some(())
    }

    /// A token with so many literals, up to `end`. There is one if its code is, else it takes more.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "counts, distances and lengths of their bytes"
    )]
    #[inline(always)]
    fn token(&mut self, kind: Kind, literals: usize, end: usize, distance: usize) -> Option<()> {
        let length = end - self.anchor - literals;
        let code = match_code(kind, literals, length);
        if code == 0 || length > 32 {
            return self.copy_any(self.anchor + literals, end, distance, kind);
        }
        if self.at > LIMIT {
            return None;
        }
        self.put(word64(self.page, self.anchor).to_le_bytes(), literals)?;
        match kind {
            Kind::Words => self.put([(distance / WORD) as u8], 1)?,
            Kind::Near => self.put([distance as u8], 1)?,
            Kind::Far => self.put((distance as u16).to_le_bytes(), 2)?,
            Kind::Last | Kind::Zeros => {}
        }
        self.code(code);
        self.anchor = end;
        Some(())
    }

    /// Zeros, behind what lies between the anchor and `start` as literals.
    #[inline(always)]
    pub(super) fn zeros(&mut self, start: usize, end: usize) -> Option<()> {
        let literals = start - self.anchor;
        if literals > 4 {
            return self.copy_any(start, end, 0, Kind::Zeros);
        }
        self.token(Kind::Zeros, literals, end, 0)
    }

    /// A match that takes more than a code, or than one token.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "counts, distances and lengths of their bytes"
    )]
    #[inline(never)]
    fn copy_any(&mut self, start: usize, end: usize, distance: usize, kind: Kind) -> Option<()> {
        // As it is named in a token of any length.
        let named = |kind| match kind {
            Kind::Last | Kind::Zeros => kind,
            _ if distance.is_multiple_of(WORD) && distance <= MOST_WORDS => Kind::Words,
            _ if distance < 256 => Kind::Near,
            _ => Kind::Far,
        };
        let kind = named(kind);
        let literals = start - self.anchor;
        if literals > 0 && kind != Kind::Zeros && self.anchor < distance {
            self.literals(start)?;
        } else if literals > kind.most_literals() {
            // A match at the last distance has one literal at least.
            let kept = if kind == Kind::Last { 1 } else { 0 };
            self.literals(start - kept)?;
        }
        while self.anchor < end {
            if self.at > LIMIT {
                return None;
            }
            let literals = start.saturating_sub(self.anchor);
            let length = end - self.anchor - literals;
            // Without literals there is no code for the last distance: it is named again.
            let kind = if kind == Kind::Last && literals == 0 { named(Kind::Far) } else { kind };
            // Too short for the token that would name its distance again.
            let Some(more) = length.checked_sub(kind.least()) else { return self.literals(end) };
            // Also within the last word, where there are not eight bytes ahead.
            let behind = self.anchor.saturating_sub(PAGE_SIZE - WORD);
            let eight = word64(self.page, self.anchor - behind) >> (8 * (behind % WORD));
            self.put(eight.to_le_bytes(), literals)?;
            let operand = if kind == Kind::Words { distance / WORD } else { distance };
            self.put((operand as u16).to_le_bytes(), kind.distance_bytes())?;
            let code = if length <= 32 { match_code(kind, literals, length) } else { 0 };
            if code != 0 {
                self.code(code);
                self.anchor = end;
                return Some(());
            }
            // What is left for another token must be long enough for it.
            let byte = if more > 255 && more < 255 + 5 { 250 } else { more.min(255) };
            self.put([byte as u8], 1)?;
            self.code(long_code(kind, literals));
            self.anchor += literals + kind.least() + byte;
        }
        Some(())
    }

    /// What repeats itself after less than a word, from `start` to `end`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "counts, distances and lengths of their bytes"
    )]
    #[inline(never)]
    pub(super) fn pattern(&mut self, start: usize, end: usize, period: usize) -> Option<()> {
        self.literals(start)?;
        while self.anchor < end {
            if self.at > LIMIT {
                return None;
            }
            let more = (end - self.anchor).checked_sub(PATTERN_LEAST)?;
            let byte = if more > 255 && more < 255 + PATTERN_LEAST { 250 } else { more.min(255) };
            self.put([period as u8, byte as u8], 2)?;
            self.code(PATTERN);
            self.anchor += PATTERN_LEAST + byte;
        }
        Some(())
    }

    /// Everything up to `end` as literals.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "counts, distances and lengths of their bytes"
    )]
    #[inline(never)]
    pub(super) fn literals(&mut self, end: usize) -> Option<()> {
        while self.anchor < end {
            let count = (end - self.anchor).min(RUN + 255);
            if self.at + count > LIMIT {
                return None;
            }
            if count < RUN {
                self.code(count as u8 - 1);
            } else if count - RUN < usize::from(RUN_BYTE - RUNS) {
                self.code(RUNS + (count - RUN) as u8);
            } else {
                self.put([(count - RUN) as u8], 1)?;
                self.code(RUN_BYTE);
            }
            let from = self.page.get(self.anchor..)?;
            let to = self.bytes.get_mut(self.at..)?;
            // In blocks, the last of which may be too long, away from the page's end.
            if count <= 32
                && let Some(from) = from.first_chunk::<32>()
                && let Some(to) = to.first_chunk_mut::<32>()
            {
                to[..16].copy_from_slice(&from[..16]);
                if count > 16 {
                    to[16..].copy_from_slice(&from[16..]);
                }
            } else {
                to.get_mut(..count)?.copy_from_slice(from.get(..count)?);
            }
            self.at += count;
            self.anchor += count;
        }
        Some(())
    }

    /// The rest as literals, the head, and the codes behind the operands; the length of it all, if
    /// it is below a page.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "counts, distances and lengths of their bytes"
    )]
    pub(super) fn finish(mut self) -> Option<usize> {
        self.literals(PAGE_SIZE)?;
        let end = self.at + self.count;
        if end >= PAGE_SIZE || self.count > CODES {
            return None;
        }
        self.bytes[..HEAD].copy_from_slice(&(self.count as u16).to_le_bytes());
        self.bytes.get_mut(self.at..end)?.copy_from_slice(self.codes.get(..self.count)?);
        Some(end)
    }
}
