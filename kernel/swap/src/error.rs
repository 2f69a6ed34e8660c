//! What a device can refuse with.

use core::fmt;

/// Why an operation was refused. The slot keeps what it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapError {
    /// The device has no such slot.
    NoSuchSlot,
    /// The pool has no memory left, also after every deferred free was done.
    PoolFull,
    /// The device's own limit is reached.
    QuotaReached,
    /// What was stored cannot be read back.
    Corrupt,
    /// Another read of the same slot does not come to its end, or another caller works on the
    /// device.
    Busy,
    /// The page is on the backing device.
    Backed,
    /// The backing device failed.
    Io,
    /// The device has no second codec.
    NoCodec,
}

impl From<zsmalloc::Error> for SwapError {
    fn from(error: zsmalloc::Error) -> Self {
        use zsmalloc::Error;
        match error {
            Error::OutOfMemory | Error::LimitReached => Self::PoolFull,
            Error::Busy => Self::Busy,
            // A slot's handle is the pool's own and live, and lengths are 1 to 4096: otherwise the
            // slot table was damaged.
            Error::ZeroSize
            | Error::TooLarge
            | Error::StaleHandle
            | Error::ForeignHandle
            | Error::NotMovable
            | Error::BadConfig => Self::Corrupt,
        }
    }
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchSlot => "no such slot",
            Self::PoolFull => "the pool is full",
            Self::QuotaReached => "the quota of the device is reached",
            Self::Corrupt => "the stored page is corrupt",
            Self::Busy => "it is being worked on",
            Self::Backed => "the page is on the backing device",
            Self::Io => "the backing device failed",
            Self::NoCodec => "the device has no second codec",
        })
    }
}

impl core::error::Error for SwapError {}
