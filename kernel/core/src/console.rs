//! Bytes on their way to a serial line, and the marks that programs at its other end look for.

/// Record separator: begins a mark. Text holds none, and of a guest none passes
/// ([`crate::guest_text::may_pass`]), so that nobody else can make one.
pub const MARK: u8 = 0x1e;
/// Behind a mark: the kernel has stopped, for the reason that follows up to the line's end.
pub const STOPPED: &str = "bale: stopped: ";

/// Bytes that wait, in their order: `N` at most.
#[derive(Debug)]
pub struct OutputRing<const N: usize> {
    bytes: [u8; N],
    /// Place of the oldest.
    first: usize,
    count: usize,
}

impl<const N: usize> OutputRing<N> {
    /// Empty.
    pub const fn new() -> Self {
        Self { bytes: [0; N], first: 0, count: 0 }
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that fit.
    pub const fn room(&self) -> usize {
        N - self.count
    }

    /// Appends all of these bytes, or none if they do not fit; whether they did.
    pub fn push(&mut self, new: &[u8]) -> bool {
        if new.len() > self.room() {
            return false;
        }
        let start = (self.first + self.count) % N.max(1);
        let straight = new.len().min(N - start);
        let (head, tail) = new.split_at(straight);
        self.bytes[start..start + straight].copy_from_slice(head);
        self.bytes[..tail.len()].copy_from_slice(tail);
        self.count += new.len();
        true
    }

    /// Takes the oldest byte.
    pub fn pop(&mut self) -> Option<u8> {
        if self.count == 0 {
            return None;
        }
        let byte = self.bytes[self.first];
        self.first = (self.first + 1) % N;
        self.count -= 1;
        Some(byte)
    }
}

impl<const N: usize> Default for OutputRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// Against a queue, whole pieces or nothing.
        #[test]
        fn keeps_bytes_in_order(calls in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)), 0..100)) {
            let mut ring = OutputRing::<16>::new();
            let mut model = VecDeque::new();
            for call in calls {
                match call {
                    Some(bytes) => {
                        let fits = model.len() + bytes.len() <= 16;
                        prop_assert_eq!(ring.push(&bytes), fits);
                        if fits {
                            model.extend(bytes);
                        }
                    }
                    None => prop_assert_eq!(ring.pop(), model.pop_front()),
                }
                prop_assert_eq!((ring.room(), ring.is_empty()), (16 - model.len(), model.is_empty()));
            }
        }
    }
}
