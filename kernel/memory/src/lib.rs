//! Memory: frames, the map of EL2, stacks.
#![no_std]
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "usize is 64 bits here; narrower casts take fields of registers or indexes of small tables"
)]

pub mod frames;
pub mod lock;
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

/// Memory that is handed out in typed pieces, once and for good: workspaces whose size is known at
/// boot only.
#[derive(Debug)]
pub struct Arena(&'static mut [u8]);

impl Arena {
    /// `bytes` of zeroed memory from the frames; `None` if no range of unused memory is long
    /// enough.
    pub fn new(bytes: usize) -> Option<Self> {
        frames::allocate_static(bytes.div_ceil(PAGE_SIZE)).map(Self)
    }

    /// One over a block, which is taken back by its address when nothing in it is used any more.
    pub fn in_block(block: frames::Block) -> (Self, u64) {
        let address = block.into_address();
        // SAFETY: the token was given up, so the memory is ours alone; any bytes are valid.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(address as *mut u8, frames::BLOCK_SIZE as usize)
        };
        (Self(bytes), address)
    }

    /// Room for one `T`, and the place where it goes; `None` once the arena is used up.
    pub fn place<T: 'static>(&mut self, value: T) -> Option<&'static mut T> {
        let room = self.take(align_of::<T>(), size_of::<T>())?;
        let place = room.as_mut_ptr().cast::<T>();
        // SAFETY: `take` gave out aligned room for one T that nobody else has.
        unsafe { place.write(value) };
        // SAFETY: just initialised, and ours for good.
        Some(unsafe { &mut *place })
    }

    /// Room for a copy of `template`, made without a stop on the stack; `None` once the arena is
    /// used up.
    pub fn place_copy<T: Copy + 'static>(&mut self, template: &T) -> Option<&'static mut T> {
        let room = self.take(align_of::<T>(), size_of::<T>())?;
        let place = room.as_mut_ptr().cast::<T>();
        // SAFETY: `take` gave out aligned room for one T that nobody else has, and a T may be
        // copied.
        unsafe { place.copy_from_nonoverlapping(template, 1) };
        // SAFETY: just initialised, and ours for good.
        Some(unsafe { &mut *place })
    }

    /// Room for `count` values, each made by `make`; `None` once the arena is used up.
    pub fn place_each<T: 'static>(
        &mut self,
        count: usize,
        make: impl Fn() -> T,
    ) -> Option<&'static mut [T]> {
        let room = self.take(align_of::<T>(), count.checked_mul(size_of::<T>())?)?;
        let first = room.as_mut_ptr().cast::<T>();
        for index in 0..count {
            let place = first.wrapping_add(index);
            // SAFETY: `take` gave out aligned room for `count` values that nobody else has.
            unsafe { place.write(make()) };
        }
        // SAFETY: all of them were just initialised, and are ours for good.
        Some(unsafe { core::slice::from_raw_parts_mut(first, count) })
    }

    /// Bytes that are left, some of which alignment may take.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, align: usize, size: usize) -> Option<&'static mut [u8]> {
        let rest = core::mem::take(&mut self.0);
        let skip = rest.as_ptr().align_offset(align);
        if skip.checked_add(size).is_none_or(|end| end > rest.len()) {
            self.0 = rest;
            return None;
        }
        let (room, rest) = rest.split_at_mut(skip).1.split_at_mut(size);
        self.0 = rest;
        Some(room)
    }
}
