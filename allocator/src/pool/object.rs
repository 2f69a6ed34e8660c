//! Reading and writing an object's bytes.

use core::marker::PhantomData;

use crate::{
    cell::{PATIENCE, reopen},
    error::Error,
    handle::{Handle, Key},
    platform::Platform,
    pool::Pool,
    size_class::class_size,
    sync::AtomicU32,
    zspage::bytes::Place,
};

/// An object's bytes, in place. While it lives the object neither moves nor goes.
///
/// The handle stays borrowed, so it cannot be freed meanwhile:
///
/// ```compile_fail
/// fn use_after_free<P: zsmalloc::Platform>(pool: &zsmalloc::Pool<P>, handle: zsmalloc::Handle) {
///     let view = pool.read(&handle);
///     let _ = pool.free(handle);
///     drop(view);
/// }
/// ```
pub struct ObjectView<'a, P: Platform> {
    word: &'a AtomicU32,
    location: u32,
    head: &'a [u8],
    tail: &'a [u8],
    pool: PhantomData<&'a Pool<P>>,
}

impl<P: Platform> ObjectView<'_, P> {
    /// The two runs of bytes that the object lies in, the second empty where it does not cross
    /// pages. Together they are as long as its size class, which is at least what was asked for.
    #[inline]
    pub fn parts(&self) -> (&[u8], &[u8]) {
        (self.head, self.tail)
    }

    /// Size of the object's class.
    #[expect(clippy::len_without_is_empty, reason = "an object is never empty")]
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Copies the object's first `to.len()` bytes, or as many as there are; says how many.
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        let head = self.head.len().min(to.len());
        let (first, rest) = to.split_at_mut(head);
        first.copy_from_slice(&self.head[..head]);
        let tail = self.tail.len().min(rest.len());
        rest[..tail].copy_from_slice(&self.tail[..tail]);
        head + tail
    }
}

impl<P: Platform> Drop for ObjectView<'_, P> {
    #[inline]
    fn drop(&mut self) {
        reopen(self.word, self.location);
    }
}

impl<P: Platform> Pool<P> {
    /// Opens an object's bytes where they lie. Takes no lock but the object's own; one view of an
    /// object at a time.
    ///
    /// # Errors
    /// [`Error::StaleHandle`], [`Error::ForeignHandle`]; [`Error::Busy`] if another view of the
    /// object stays open.
    #[inline(always)]
    pub fn read<'a>(&'a self, handle: &'a Handle) -> Result<ObjectView<'a, P>, Error> {
        let (word, place) = self.open(handle.key())?;
        // SAFETY: the cell is locked until the view is dropped.
        let (head, tail) = unsafe { place.bytes(&self.store.platform, handle.class()) };
        Ok(ObjectView { word, location: place.location, head, tail, pool: PhantomData })
    }

    /// Copies `bytes` to the start of an object.
    ///
    /// # Errors
    /// As [`Pool::read`]; [`Error::TooLarge`] if the object is smaller than `bytes`.
    #[inline]
    pub fn write(&self, handle: &Handle, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > class_size(handle.class()) {
            return Err(Error::TooLarge);
        }
        let (word, place) = self.open(handle.key())?;
        // SAFETY: the cell is locked until the end of this function.
        let (head, tail) = unsafe { place.bytes(&self.store.platform, handle.class()) };
        if let Some(head) = head.get_mut(..bytes.len()) {
            head.copy_from_slice(bytes);
        } else {
            let (first, rest) = bytes.split_at(head.len());
            head.copy_from_slice(first);
            tail[..rest.len()].copy_from_slice(rest);
        }
        reopen(word, place.location);
        Ok(())
    }

    /// Locks an object for its user.
    #[inline(always)]
    fn open(&self, key: Key) -> Result<(&AtomicU32, Place<'_>), Error> {
        if let Some(cell) = self.store.cell_of(key)
            && let Some(at) = cell.lock_at_once(key.generation())
        {
            let place = Place::new(&self.store, at);
            if place.is_of(key, self.base(0)) {
                return Ok((cell.word, place));
            }
            cell.unlock(at);
        }
        self.open_contended(key)
    }

    #[cold]
    #[inline(never)]
    fn open_contended(&self, key: Key) -> Result<(&AtomicU32, Place<'_>), Error> {
        let cell = self.store.cell_of(key).ok_or(Error::ForeignHandle)?;
        let at = cell.lock(key.generation(), PATIENCE)?;
        let place = Place::new(&self.store, at);
        if place.is_of(key, self.base(0)) {
            return Ok((cell.word, place));
        }
        cell.unlock(at);
        Err(Error::ForeignHandle)
    }
}
