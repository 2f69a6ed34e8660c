//! A long array of words in frames of its own, for the handles of a benchmark; the frames go back
//! with it.

use bale_memory::frames::{self, Frame};

const IN_FRAME: usize = 512;

/// Up to 262,144 words.
pub(super) struct Words {
    /// Holds the addresses of the frames with the words.
    directory: Frame,
    count: usize,
}

fn word(frame: &mut Frame, index: usize) -> &mut [u8; 8] {
    let place = index % IN_FRAME * 8;
    frame.bytes_mut()[place..place + 8].first_chunk_mut().expect("eight bytes were cut out")
}

impl Words {
    /// Room for `count` words; `None` if there is too little memory, or they are too many.
    pub(super) fn new(count: usize) -> Option<Self> {
        let directory = frames::allocate_zeroed()?;
        let mut words = Self { directory, count: 0 };
        if count > IN_FRAME * IN_FRAME {
            return None;
        }
        while words.count < count {
            let address = frames::allocate_zeroed()?.into_address();
            *word(&mut words.directory, words.count / IN_FRAME) = address.to_le_bytes();
            words.count += IN_FRAME;
        }
        words.count = count;
        Some(words)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Applies `f` to the word of this index.
    fn with<R>(&mut self, index: usize, f: impl FnOnce(&mut [u8; 8]) -> R) -> R {
        assert!(index < self.count, "no such word");
        let address = u64::from_le_bytes(*word(&mut self.directory, index / IN_FRAME));
        // SAFETY: the address was given up by `new`; the token is given up again below.
        let mut frame = unsafe { Frame::from_address(address) };
        let result = f(word(&mut frame, index));
        let _ = frame.into_address();
        result
    }

    pub(super) fn get(&mut self, index: usize) -> u64 {
        self.with(index, |place| u64::from_le_bytes(*place))
    }

    pub(super) fn set(&mut self, index: usize, word: u64) {
        self.with(index, |place| *place = word.to_le_bytes());
    }

    /// Copies words from `from` on; says how many there were.
    pub(super) fn copy_to(&mut self, from: usize, to: &mut [u64]) -> usize {
        let count = to.len().min(self.count.saturating_sub(from));
        for (offset, word) in to.iter_mut().take(count).enumerate() {
            *word = self.get(from + offset);
        }
        count
    }

    pub(super) fn swap(&mut self, one: usize, other: usize) {
        let word = self.get(one);
        let moved = self.get(other);
        self.set(one, moved);
        self.set(other, word);
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        for place in 0..self.count.div_ceil(IN_FRAME) {
            let address = u64::from_le_bytes(*word(&mut self.directory, place));
            // SAFETY: given up by `new`, and nobody looks there again.
            frames::release([unsafe { Frame::from_address(address) }]);
        }
        // SAFETY: the directory's own token is not used any more; a frame has nothing to drop.
        frames::release([unsafe { core::ptr::read(&raw const self.directory) }]);
    }
}
