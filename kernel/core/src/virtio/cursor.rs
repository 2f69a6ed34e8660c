//! The bytes of a chain's buffers as one run.

use super::Broken;
use super::queue::Segment;
use crate::guest_ram::GuestRam;

/// Bytes of a run of buffers, taken or given front to back.
pub(super) struct Cursor<'a> {
    segments: &'a [Segment],
    /// Bytes of the first one that are done with.
    done: u32,
}

impl<'a> Cursor<'a> {
    /// At the first byte.
    pub(super) fn new(segments: &'a [Segment]) -> Self {
        Self { segments, done: 0 }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.length)).sum::<u64>()
            - u64::from(self.done)
    }

    /// Goes over the next `length` bytes, which are there: address in the guest, and which of the
    /// bytes. Inlined: for a header its length is a constant.
    #[inline(always)]
    pub(super) fn each(
        &mut self,
        length: usize,
        mut visit: impl FnMut(u64, core::ops::Range<usize>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let mut at = 0;
        while at < length {
            let segment = self.segments.first().ok_or(Broken::Request)?;
            let here = usize::try_from(segment.length - self.done)
                .map_err(|_| Broken::Request)?
                .min(length - at);
            let address = segment.address.checked_add(self.done.into()).ok_or(Broken::OutOfRam)?;
            visit(address, at..at + here)?;
            at += here;
            self.done += u32::try_from(here).map_err(|_| Broken::Request)?;
            if self.done == segment.length {
                (self.segments, self.done) = (&self.segments[1..], 0);
            }
        }
        Ok(())
    }

    /// Copies the next bytes out.
    #[inline(always)]
    pub(super) fn take(&mut self, ram: &impl GuestRam, bytes: &mut [u8]) -> Result<(), Broken> {
        self.each(bytes.len(), |address, place| Ok(ram.read(address, &mut bytes[place])?))
    }

    /// Copies bytes in, to where it stands.
    #[inline(always)]
    pub(super) fn give(&mut self, ram: &impl GuestRam, bytes: &[u8]) -> Result<(), Broken> {
        self.each(bytes.len(), |address, place| Ok(ram.write(address, &bytes[place])?))
    }
}
