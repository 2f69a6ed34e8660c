//! Reading and writing an object's bytes.

use core::marker::PhantomData;

use crate::{
    cell::{Cell, Refused},
    error::Error,
    handle::{Handle, Key},
    platform::Platform,
    pool::Pool,
    size_class::class_size,
    zspage::parts,
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
    cell: Cell<'a>,
    location: u32,
    head: &'a [u8],
    tail: &'a [u8],
    pool: PhantomData<&'a Pool<P>>,
}

impl<P: Platform> ObjectView<'_, P> {
    /// The two runs of bytes that the object lies in, the second empty where it does not cross pages. Together they are as long as its
    /// size class, which is at least what was asked for.
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
        self.cell.unlock(self.location);
    }
}

impl<P: Platform> Pool<P> {
    /// Opens an object's bytes where they lie. Takes no lock but the object's own; one view of an object at a time.
    ///
    /// # Errors
    /// [`Error::StaleHandle`], [`Error::ForeignHandle`]; [`Error::Busy`] if another view of the object stays open.
    #[inline]
    pub fn read<'a>(&'a self, handle: &'a Handle) -> Result<ObjectView<'a, P>, Error> {
        let (cell, location, size) = self.begin(handle.key())?;
        let (unit, object) = parts(location);
        // SAFETY: the cell is locked until the view is dropped, and the size is its class's.
        let (head, tail) = unsafe { self.store.descriptor(unit).object(&self.store.platform, size, object) };
        Ok(ObjectView { cell, location, head, tail, pool: PhantomData })
    }

    /// Copies `bytes` to the start of an object.
    ///
    /// # Errors
    /// As [`Pool::read`]; [`Error::TooLarge`] if the object is smaller than `bytes`.
    #[inline]
    pub fn write(&self, handle: &Handle, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > class_size(usize::from(handle.key().class())) {
            return Err(Error::TooLarge);
        }
        let (cell, location, size) = self.begin(handle.key())?;
        let (unit, object) = parts(location);
        // SAFETY: the cell is locked until the end of this function, and the size is its class's.
        let (head, tail) = unsafe { self.store.descriptor(unit).object(&self.store.platform, size, object) };
        let (first, rest) = bytes.split_at(bytes.len().min(head.len()));
        head[..first.len()].copy_from_slice(first);
        tail[..rest.len()].copy_from_slice(rest);
        cell.unlock(location);
        Ok(())
    }

    /// Locks an object for its user.
    #[inline]
    fn begin(&self, key: Key) -> Result<(Cell<'_>, u32, usize), Error> {
        let class = usize::from(key.class());
        let cell = self.store.cell_of(key)?;
        let location = cell.lock(key.generation()).map_err(|refused| match refused {
            Refused::Stale => Error::StaleHandle,
            Refused::Busy => Error::Busy,
        })?;
        Ok((cell, location, class_size(class)))
    }
}
