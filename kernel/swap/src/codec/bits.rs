//! Bits, the lowest of a byte first: what DEFLATE and Zstandard have in common.

/// Bits that are read.
pub(crate) struct Reader<'b> {
    bytes: &'b [u8],
    /// The next bits, of which `count` are there.
    bits: u64,
    count: u32,
}

impl<'b> Reader<'b> {
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, bits: 0, count: 0 }
    }

    /// Makes at least 48 bits ready, or all that are left.
    #[inline(always)]
    fn fill(&mut self) {
        while self.count <= 56
            && let Some((byte, rest)) = self.bytes.split_first()
        {
            self.bits |= u64::from(*byte) << self.count;
            self.count += 8;
            self.bytes = rest;
        }
    }

    /// The next bits, 0 behind the end.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> u64 {
        if self.count < 16 {
            self.fill();
        }
        self.bits
    }

    /// Passes over bits that were seen.
    #[inline(always)]
    pub(crate) fn pass(&mut self, count: u32) -> Option<()> {
        self.count = self.count.checked_sub(count)?;
        self.bits >>= count;
        Some(())
    }

    /// Takes up to 16 bits as a number.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: u32) -> Option<usize> {
        let bits = self.peek() & ((1 << count) - 1);
        self.pass(count)?;
        Some((bits & 0xffff) as usize)
    }

    /// Passes over the rest of a byte.
    pub(crate) fn align(&mut self) -> Option<()> {
        self.pass(self.count % 8)
    }

    /// Bytes of which no bit was taken.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() + (self.count / 8) as usize
    }

    /// Whether only the rest of the last byte is left, and it is 0.
    pub(crate) fn at_end(&self) -> bool {
        self.bytes.is_empty() && self.count < 8 && self.bits == 0
    }
}

/// Bits that are written.
pub(crate) struct Writer<'b> {
    bytes: &'b mut [u8],
    at: usize,
    bits: u64,
    count: u32,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, at: 0, bits: 0, count: 0 }
    }

    /// Adds up to 16 bits; `None` once there is no room.
    #[inline(always)]
    pub(crate) fn put(&mut self, bits: usize, count: u32) -> Option<()> {
        self.bits |= (bits as u64) << self.count;
        self.count += count;
        while self.count >= 8 {
            *self.bytes.get_mut(self.at)? = (self.bits & 0xff) as u8;
            self.at += 1;
            self.bits >>= 8;
            self.count -= 8;
        }
        Some(())
    }

    /// Fills the last byte; how many bytes there are.
    pub(crate) fn finish(mut self) -> Option<usize> {
        self.put(0, (8 - self.count) % 8)?;
        Some(self.at)
    }
}
