//! The bytes of objects. Raw memory lives here.

use core::slice;

use crate::{
    handle::{Base, Key},
    platform::{PAGE_SIZE, Platform},
    size_class::class_size,
    store::Store,
    zspage::{Descriptor, HUGE, parts},
};

/// A location, looked up: where an object's bytes are.
pub(crate) struct Place<'a> {
    pub(crate) location: u32,
    /// None of an object of a whole page.
    zspage: Option<Descriptor<'a>>,
}

impl<'a> Place<'a> {
    /// The place of the object at `location`, of which the caller knows by a lock: its cell's, or
    /// its class's.
    #[inline(always)]
    pub(crate) fn new<P: Platform>(store: &'a Store<P>, location: u32) -> Self {
        Self { location, zspage: (location & HUGE == 0).then(|| store.descriptor_at(location)) }
    }

    /// Whether the object is of the class and pool that a handle names; `base` is any of the pool.
    #[inline(always)]
    pub(crate) fn is_of(&self, key: Key, base: Base) -> bool {
        match self.zspage {
            Some(descriptor) => descriptor.state().is_owner_of(key.0),
            None => key.is_huge() && key.has_tag_of(base),
        }
    }

    /// The two runs of bytes that the object lies in; the second is empty where it does not cross
    /// pages.
    ///
    /// # Safety
    /// The object's bytes are the caller's for `'b`: its cell is locked, or nobody knows of it; and
    /// `class` is its class.
    #[inline(always)]
    pub(crate) unsafe fn bytes<'b, P: Platform>(
        &self,
        platform: &P,
        class: usize,
    ) -> (&'b mut [u8], &'b mut [u8]) {
        match self.zspage {
            // SAFETY: the caller's promise.
            Some(descriptor) => unsafe {
                descriptor.object(platform, class_size(class), parts(self.location).1)
            },
            // SAFETY: the caller's promise.
            None => (unsafe { whole(platform, self.location & !HUGE) }, &mut []),
        }
    }
}

impl Descriptor<'_> {
    /// # Safety
    /// As [`Place::bytes`]; `size` is the class's.
    #[inline]
    unsafe fn object<'b, P: Platform>(
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
/// The frame is the pool's, and the caller alone uses it for `'b`: a huge object's cell is locked,
/// all objects of a page are, or nobody knows of it.
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
