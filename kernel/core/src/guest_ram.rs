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
