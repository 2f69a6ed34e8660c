//! A guest's memory as its devices see it: bytes at guest-physical addresses, copied, never
//! referred to.

/// The guest has no such memory, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRam;

/// Checked access to a guest's memory. The guest may change what lies there at any time.
pub trait GuestRam {
    /// Copies bytes out, beginning at a guest-physical address.
    ///
    /// # Errors
    /// Not all of the range is the guest's memory; what `into` holds is undefined then.
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), OutOfRam>;

    /// Copies bytes in, beginning at a guest-physical address.
    ///
    /// # Errors
    /// Not all of the range is the guest's writable memory; a front part may have been written.
    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), OutOfRam>;
}

/// One past the last byte of a range, as any sum of this crate is made. `crash overflow` shows by
/// it what becomes of one that does not fit, in a release build: no address of somebody else's.
#[inline(never)]
pub fn end_of(ipa: u64, length: u64) -> u64 {
    ipa + length
}
