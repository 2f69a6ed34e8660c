//! Bits that are read from the end: those last written come first. The highest bit that is set
//! marks where they begin.

/// Bits that are read.
pub(super) struct Reverse<'b> {
    bytes: &'b [u8],
    /// The next bits, highest first, of which `count` are there; below them is nothing but what
    /// comes next.
    bits: u64,
    count: u32,
}

impl<'b> Reverse<'b> {
    /// `None` if there is no mark.
    pub(super) fn new(bytes: &'b [u8]) -> Option<Self> {
        let mark = bytes.last().filter(|last| **last != 0)?.leading_zeros() + 1;
        let mut reader = Self { bytes, bits: 0, count: 0 };
        reader.fill();
        reader.pass(mark)?;
        Some(reader)
    }

    /// Makes at least 56 bits ready, or all that are left.
    #[inline(always)]
    fn fill(&mut self) {
        if let Some(chunk) = self.bytes.last_chunk() {
            self.bits |= u64::from_le_bytes(*chunk) >> self.count;
            let taken = (63 - self.count) / 8;
            self.count += taken * 8;
            self.bytes = &self.bytes[..self.bytes.len() - taken as usize];
            return;
        }
        while self.count <= 56
            && let Some((byte, rest)) = self.bytes.split_last()
        {
            self.bits |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
            self.bytes = rest;
        }
    }

    /// The next up to 32 bits as a number, 0 behind the end.
    #[inline(always)]
    pub(super) fn peek(&mut self, count: u32) -> usize {
        if self.count < 32 {
            self.fill();
        }
        ((self.bits >> 32) >> (32 - count)) as usize
    }

    /// Passes over bits that were seen.
    #[inline(always)]
    pub(super) fn pass(&mut self, count: u32) -> Option<()> {
        self.count = self.count.checked_sub(count)?;
        self.bits <<= count;
        Some(())
    }

    /// Takes up to 32 bits as a number.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> Option<usize> {
        let bits = self.peek(count);
        self.pass(count)?;
        Some(bits)
    }

    /// Whether every bit was taken.
    pub(super) const fn at_end(&self) -> bool {
        self.bytes.is_empty() && self.count == 0
    }
}
