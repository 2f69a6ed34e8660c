//! The unit of a swap device and of the codecs.

/// Bytes of a page.
pub const PAGE_SIZE: usize = zsmalloc::PAGE_SIZE;
