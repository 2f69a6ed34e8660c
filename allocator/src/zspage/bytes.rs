//! The bytes of objects. Raw memory lives here.

use core::slice;

use crate::{
    platform::{PAGE_SIZE, Platform},
    zspage::Descriptor,
};

impl Descriptor<'_> {
    /// The two runs of bytes that an object of `size` bytes lies in; the second is empty where it does not cross pages.
    ///
    /// # Safety
    /// The object's cell is locked by the caller for `'b`, and `size` is its class's.
    #[inline]
    pub(crate) unsafe fn object<'b, P: Platform>(
        self,
        platform: &P,
        size: usize,
        object: u32,
    ) -> (&'b mut [u8], &'b mut [u8]) {
        let offset = object as usize * size;
        let (page, within) = (offset / PAGE_SIZE, offset % PAGE_SIZE);
        let first = size.min(PAGE_SIZE - within);
        let head = platform.address(self.frame(page)).wrapping_add(within);
        // An object of at most a page crosses at most once; the last object ends in the last page.
        let tail = if first < size { platform.address(self.frame(page + 1)) } else { head };
        // SAFETY: within one frame of ours; the object's lock makes the bytes the caller's.
        let head = unsafe { slice::from_raw_parts_mut(head, first) };
        // SAFETY: as above, and apart from `head`, being in another frame or empty.
        let tail = unsafe { slice::from_raw_parts_mut(tail, size - first) };
        (head, tail)
    }
}

/// A frame's bytes.
///
/// # Safety
/// The frame is the pool's, and the caller alone uses it for `'b`: a huge object's cell is locked, all objects of a page are, or nobody knows of it.
#[inline]
pub(crate) unsafe fn whole<'b, P: Platform>(platform: &P, number: u32) -> &'b mut [u8] {
    // SAFETY: 4096 initialised bytes; the caller's promise.
    unsafe { slice::from_raw_parts_mut(platform.address(number), PAGE_SIZE) }
}

/// Writes a number into a frame that nobody uses any more, to link it to the next.
pub(crate) fn link<P: Platform>(platform: &P, number: u32, next: u32) {
    let address: *mut u32 = platform.address(number).cast();
    // SAFETY: page-aligned, and the object that lay here has been freed.
    unsafe { address.write(next) };
}

/// The number that [`link`] wrote.
pub(crate) fn linked<P: Platform>(platform: &P, number: u32) -> u32 {
    let address: *mut u32 = platform.address(number).cast();
    // SAFETY: written by `link`; nobody else has used the frame since.
    unsafe { address.read() }
}
