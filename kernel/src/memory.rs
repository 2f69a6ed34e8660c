//! Memory: frames, the map of EL2, stacks.

pub mod frames;
pub mod map;
pub mod stacks;

/// Bytes of a page and of a frame.
pub const PAGE_SIZE: usize = 4096;

unsafe extern "C" {
    safe static __text_start: u8;
    safe static __text_end: u8;
    safe static __rodata_end: u8;
    safe static __data_end: u8;
    safe static __bss_start: u8;
    safe static __bss_end: u8;
    safe static __stacks_start: u8;
    safe static __stacks_end: u8;
}

/// A named part of the image.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// As `mem` prints it.
    pub name: &'static str,
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// The image's parts, in order of address. Each starts on a page.
pub fn image_sections() -> [Section; 5] {
    let at = |symbol: *const u8| symbol as u64;
    let section = |name, start, end| Section { name, start, end };
    [
        section("text", at(&raw const __text_start), at(&raw const __text_end)),
        section("rodata", at(&raw const __text_end), at(&raw const __rodata_end)),
        section("data", at(&raw const __rodata_end), at(&raw const __data_end)),
        section("bss", at(&raw const __bss_start), at(&raw const __bss_end)),
        section("stacks", at(&raw const __stacks_start), at(&raw const __stacks_end)),
    ]
}
