//! What the searches at bytes have in common.

use crate::device::PAGE_SIZE;

#[inline(always)]
pub(crate) fn word32(page: &[u8; PAGE_SIZE], at: usize) -> u32 {
    match page.get(at..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => 0,
    }
}

#[inline(always)]
pub(crate) fn word64(page: &[u8; PAGE_SIZE], at: usize) -> u64 {
    match page.get(at..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// Bytes from `at` on that are equal to those from `from` on, up to `end`.
#[inline(always)]
pub(crate) fn common(page: &[u8; PAGE_SIZE], from: usize, at: usize, end: usize) -> usize {
    let mut length = 0;
    while at + length + 8 <= end {
        let differ = word64(page, at + length) ^ word64(page, from + length);
        if differ != 0 {
            return length + (differ.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    while at + length < end && page[at + length] == page[from + length] {
        length += 1;
    }
    length
}
