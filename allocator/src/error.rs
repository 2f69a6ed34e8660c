//! What an operation of the pool can refuse with.

/// Why an operation was refused. Nothing was changed by an operation that returns one.
///
/// As wide as a handle, so that a result of either travels in two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// An object of zero bytes was asked for.
    ZeroSize,
    /// The object is larger than a page, or the bytes to be written are more than the object holds.
    TooLarge,
    /// The frame source is exhausted, also after every ring was drained.
    OutOfMemory,
    /// The limit of the pool is reached, also after every ring was drained.
    LimitReached,
    /// The object of this handle was freed before.
    StaleHandle,
    /// The handle is not one of this pool.
    ForeignHandle,
    /// A view of this object is open; or, of pages, something else is being done with them.
    Busy,
    /// No objects that could be moved lie in this frame.
    NotMovable,
    /// The configuration cannot be met; for instance no core, or a ring that is not a power of two.
    BadConfig,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ZeroSize => "an object has at least one byte",
            Self::TooLarge => "larger than the object can be",
            Self::OutOfMemory => "no frame left",
            Self::LimitReached => "the limit of the pool is reached",
            Self::StaleHandle => "the object was freed before",
            Self::ForeignHandle => "not a handle of this pool",
            Self::Busy => "in use at the moment",
            Self::NotMovable => "no objects that could be moved lie in this frame",
            Self::BadConfig => "the configuration cannot be met",
        })
    }
}

impl core::error::Error for Error {}
