//! The codec as a device uses it, with a caller's own working memory.

use crate::{
    device::PAGE_SIZE,
    lz4::{self, OUTPUT, Table},
};

/// One caller's working memory: the codec's table of 4 KiB and a compressed page.
pub struct Scratch {
    table: Table,
    pub(crate) buffer: [u8; OUTPUT],
}

impl Scratch {
    /// Working memory in its first state.
    #[expect(clippy::new_without_default, reason = "8 KiB are to be placed by who wants them, not by habit")]
    pub const fn new() -> Self {
        Self { table: Table::new(), buffer: [0; OUTPUT] }
    }
}

/// Compresses a page into the buffer; `None` if it does not get shorter.
pub(crate) fn compress<'s>(page: &[u8; PAGE_SIZE], scratch: &'s mut Scratch) -> Option<&'s [u8]> {
    lz4::compress(page, &mut scratch.table, &mut scratch.buffer)
}

pub(crate) use lz4::decompress;
