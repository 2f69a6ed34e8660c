//! LZ4's block format through a core's own working memory.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use crate::device::PAGE_SIZE;

const OUTPUT: usize = get_maximum_output_size(PAGE_SIZE);

/// One caller's working memory: the codec's table of 8 KiB, and room for a page that grew by being compressed.
pub struct Scratch {
    table: CompressTable,
    pub(crate) buffer: [u8; OUTPUT],
}

impl Scratch {
    /// Working memory in its first state.
    #[expect(clippy::new_without_default, reason = "a default would be made on the stack by habit")]
    pub const fn new() -> Self {
        Self { table: CompressTable::small(), buffer: [0; OUTPUT] }
    }
}

/// Compresses a page into the buffer; its length there, which may be more than a page.
pub(crate) fn compress<'s>(page: &[u8; PAGE_SIZE], scratch: &'s mut Scratch) -> Option<&'s [u8]> {
    let length = compress_into_with_table(page, &mut scratch.buffer, &mut scratch.table).ok()?;
    scratch.buffer.get(..length)
}

/// Decompresses into a page; `None` if the bytes are not a page. Any bytes are safe, and what the page holds after `None` is not said.
pub(crate) fn decompress(bytes: &[u8], page: &mut [u8; PAGE_SIZE]) -> Option<()> {
    (decompress_into(bytes, page).ok()? == PAGE_SIZE).then_some(())
}
