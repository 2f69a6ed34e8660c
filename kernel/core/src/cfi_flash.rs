//! A parallel NOR flash as QEMU's `virt` machine has it for firmware's variables: Intel's command
//! set over two 16-bit chips side by side (JEDEC JEP137, CFI; Intel P30 datasheet, "Command Set"),
//! in blocks of 256 KiB.
//!
//! A 32-bit access reaches both chips, so commands, status and tables appear in both halves. What
//! the flash holds is its owner's: [`Storage`].

/// Bytes of the address range, as on QEMU's `virt`.
pub const SIZE: u64 = 64 << 20;
/// Bytes of a block, which is erased at once.
pub const BLOCK: u64 = 256 << 10;
/// Bytes of the write buffer of both chips.
const BUFFER: u64 = 2048;

/// The bytes behind a flash.
pub trait Storage {
    /// A byte; what was never programmed is 0xff.
    fn read(&self, offset: u64) -> u8;
    /// Clears bits of a byte; false where there is no room for it.
    fn program(&mut self, offset: u64, value: u8) -> bool;
    /// Sets all bits of a block; false where there is none.
    fn erase(&mut self, block: u64) -> bool;
}

/// What a read gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Array,
    Status,
    Identity,
    Query,
}

/// What the next write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Command,
    EraseConfirm,
    LockConfirm,
    Word,
    /// How many words of a buffer follow, less one.
    Count,
    /// Words of the buffer that are left.
    Buffer(u64),
    BufferConfirm,
}

/// A flash: its state beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flash {
    mode: Mode,
    expected: Expected,
    /// Status register: ready, and errors until they are cleared.
    status: u8,
}

const READY: u8 = 1 << 7;
const ERASE_ERROR: u8 = 1 << 5;
const PROGRAM_ERROR: u8 = 1 << 4;

/// Manufacturer and device of what QEMU calls `cfi.pflash01` on `virt`.
const IDENTITY: [u8; 2] = [0x89, 0x18];

/// The query table from word 0x10 (JEP137, 2): "QRY", Intel's extended command set, its table at
/// 0x31; times and voltages as usual; 2^25 bytes a chip, 16 bits wide, a buffer of 2^10 bytes, one
/// region of 256 blocks of 128 KiB; "PRI" version 1.0.
const QUERY: [u8; 0x2a] = [
    b'Q', b'R', b'Y', 1, 0, 0x31, 0, 0, 0, 0, 0, 0x45, 0x55, 0, 0, 7, 7, 10, 0, 4, 4, 4, 0, 25, 1,
    0, 10, 0, 1, 255, 0, 0, 2, b'P', b'R', b'I', 0x31, 0x30, 0, 0, 0, 0,
];
const QUERY_AT: u64 = 0x10;

impl Default for Flash {
    fn default() -> Self {
        Self::new()
    }
}

impl Flash {
    /// Out of reset.
    pub const fn new() -> Self {
        Self { mode: Mode::Array, expected: Expected::Command, status: READY }
    }

    /// A read of `width` bytes at an offset.
    pub fn read(&self, storage: &impl Storage, offset: u64, width: u8) -> u64 {
        (0..u64::from(width)).fold(0, |value, place| {
            let at = offset + place;
            // Which byte of its chip's 16 bits.
            let low = at & 1 == 0;
            let byte = match self.mode {
                Mode::Array => storage.read(at),
                Mode::Status if low => self.status,
                Mode::Identity if low => {
                    IDENTITY.get((at >> 2 & 0xff) as usize).copied().unwrap_or(0)
                }
                Mode::Query if low => query(at >> 2 & 0xff),
                _ => 0,
            };
            value | u64::from(byte) << (8 * place)
        })
    }

    /// A write of `width` bytes at an offset.
    pub fn write(&mut self, storage: &mut impl Storage, offset: u64, width: u8, value: u64) {
        let command = (value & 0xff) as u8;
        match self.expected {
            Expected::Command => self.command(command),
            Expected::EraseConfirm => {
                let done = command == 0xd0 && storage.erase(offset / BLOCK);
                self.finish(done, ERASE_ERROR | if command == 0xd0 { 0 } else { PROGRAM_ERROR });
            }
            // Blocks are never locked: lock, unlock and lock-down are all done at once.
            Expected::LockConfirm => {
                self.finish(matches!(command, 0x01 | 0xd0 | 0x2f), ERASE_ERROR | PROGRAM_ERROR)
            }
            Expected::Word => {
                let done = program(storage, offset, width, value);
                self.finish(done, PROGRAM_ERROR);
            }
            Expected::Count => {
                let words = u64::from(command) + 1;
                self.expected = Expected::Buffer(words.min(BUFFER / 4));
            }
            Expected::Buffer(left) => {
                if !program(storage, offset, width, value) {
                    self.status |= PROGRAM_ERROR;
                }
                // The count is of words of both chips.
                let words = u64::from(width).div_ceil(4);
                self.expected = match left.checked_sub(words).filter(|left| *left > 0) {
                    Some(left) => Expected::Buffer(left),
                    None => Expected::BufferConfirm,
                };
            }
            Expected::BufferConfirm => self.finish(command == 0xd0, ERASE_ERROR | PROGRAM_ERROR),
        }
    }

    fn command(&mut self, command: u8) {
        (self.mode, self.expected) = match command {
            0x10 | 0x40 => (Mode::Status, Expected::Word),
            0x20 => (Mode::Status, Expected::EraseConfirm),
            0x60 => (Mode::Status, Expected::LockConfirm),
            0xe8 => (Mode::Status, Expected::Count),
            0x70 => (Mode::Status, Expected::Command),
            0x90 => (Mode::Identity, Expected::Command),
            0x98 => (Mode::Query, Expected::Command),
            0x50 => {
                self.status = READY;
                (self.mode, Expected::Command)
            }
            // 0xff, and what is no command.
            _ => (Mode::Array, Expected::Command),
        };
    }

    fn finish(&mut self, done: bool, error: u8) {
        self.mode = Mode::Status;
        self.expected = Expected::Command;
        if !done {
            self.status |= error;
        }
    }
}

fn query(word: u64) -> u8 {
    let place = word.checked_sub(QUERY_AT).and_then(|place| usize::try_from(place).ok());
    place.and_then(|place| QUERY.get(place)).copied().unwrap_or(0)
}

fn program(storage: &mut impl Storage, offset: u64, width: u8, value: u64) -> bool {
    (0..u64::from(width))
        .all(|place| storage.program(offset + place, (value >> (8 * place) & 0xff) as u8))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "offsets of a test are small")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two blocks of bytes.
    struct Bytes(Vec<u8>);

    impl Storage for Bytes {
        fn read(&self, offset: u64) -> u8 {
            self.0.get(offset as usize).copied().unwrap_or(0xff)
        }
        fn program(&mut self, offset: u64, value: u8) -> bool {
            self.0.get_mut(offset as usize).map(|byte| *byte &= value).is_some()
        }
        fn erase(&mut self, block: u64) -> bool {
            let start = (block * BLOCK) as usize;
            self.0.get_mut(start..start + BLOCK as usize).map(|bytes| bytes.fill(0xff)).is_some()
        }
    }

    fn flash() -> (Flash, Bytes) {
        (Flash::new(), Bytes(vec![0xff; 2 * BLOCK as usize]))
    }

    const STATUS_READY: u64 = 0x0080_0080;

    #[test]
    fn words_are_programmed_and_blocks_erased() {
        let (mut flash, mut bytes) = flash();
        flash.write(&mut bytes, 0x100, 4, 0x0040_0040);
        flash.write(&mut bytes, 0x100, 4, 0x1234_5678);
        assert_eq!(flash.read(&bytes, 0x100, 4), STATUS_READY);
        flash.write(&mut bytes, 0, 4, 0x00ff_00ff);
        assert_eq!(flash.read(&bytes, 0x100, 4), 0x1234_5678);
        // Bits are only cleared.
        flash.write(&mut bytes, 0x100, 4, 0x0040_0040);
        flash.write(&mut bytes, 0x100, 4, 0xffff_0000);
        flash.write(&mut bytes, 0, 4, 0x00ff_00ff);
        assert_eq!(flash.read(&bytes, 0x100, 8), 0xffff_ffff_1234_0000);
        flash.write(&mut bytes, 0x100, 4, 0x0020_0020);
        flash.write(&mut bytes, 0x100, 4, 0x00d0_00d0);
        flash.write(&mut bytes, 0, 4, 0x00ff_00ff);
        assert_eq!(flash.read(&bytes, 0x100, 4), 0xffff_ffff);
    }

    #[test]
    fn a_buffer_is_programmed_by_words() {
        let (mut flash, mut bytes) = flash();
        flash.write(&mut bytes, BLOCK, 4, 0x00e8_00e8);
        flash.write(&mut bytes, BLOCK, 4, 0x0003_0003);
        for word in 0..4u64 {
            flash.write(&mut bytes, BLOCK + 4 * word, 4, word << 8 | 5);
        }
        flash.write(&mut bytes, BLOCK, 4, 0x00d0_00d0);
        assert_eq!(flash.read(&bytes, 0, 4), STATUS_READY);
        flash.write(&mut bytes, 0, 4, 0x00ff_00ff);
        assert_eq!(flash.read(&bytes, BLOCK + 12, 4), 3 << 8 | 5);
    }

    #[test]
    fn what_has_no_room_is_an_error_until_it_is_cleared() {
        let (mut flash, mut bytes) = flash();
        flash.write(&mut bytes, 2 * BLOCK, 4, 0x0040_0040);
        flash.write(&mut bytes, 2 * BLOCK, 4, 0);
        assert_eq!(flash.read(&bytes, 0, 1), u64::from(READY | PROGRAM_ERROR));
        flash.write(&mut bytes, 2 * BLOCK, 4, 0x0020_0020);
        flash.write(&mut bytes, 2 * BLOCK, 4, 0x00d0_00d0);
        assert_eq!(flash.read(&bytes, 0, 1), u64::from(READY | PROGRAM_ERROR | ERASE_ERROR));
        flash.write(&mut bytes, 0, 4, 0x0050_0050);
        assert_eq!(flash.read(&bytes, 0, 4), STATUS_READY);
    }

    /// As a driver finds it (CFI): "QRY" in both halves, and sizes that make up the whole.
    #[test]
    fn the_query_names_the_size() {
        let (mut flash, mut bytes) = flash();
        flash.write(&mut bytes, 0x55 * 4, 4, 0x0098_0098);
        let word = |at: u64| flash.read(&bytes, at * 4, 4);
        assert_eq!([word(0x10), word(0x11), word(0x12)], [0x0051_0051, 0x0052_0052, 0x0059_0059]);
        assert_eq!(word(0x27) & 0xff, 25, "2^25 bytes a chip");
        let blocks = (word(0x2d) & 0xff | (word(0x2e) & 0xff) << 8) + 1;
        let block = (word(0x2f) & 0xff | (word(0x30) & 0xff) << 8) * 256;
        assert_eq!((2 * blocks * block, 2 * block), (SIZE, BLOCK));
        assert_eq!([word(0x31), word(0x32), word(0x33)].map(|word| (word & 0xff) as u8), *b"PRI");
    }

    proptest! {
        /// Whatever is written where: nothing but clears bits, or erases whole blocks.
        #[test]
        fn any_writes(steps in proptest::collection::vec((0..SIZE, 0..4u32, any::<u64>()), 0..200)) {
            let (mut flash, mut bytes) = flash();
            for (offset, width, value) in steps {
                let width = 1 << width;
                let offset = offset & !(u64::from(width) - 1);
                flash.write(&mut bytes, offset, width, value);
                let read = flash.read(&bytes, offset, width);
                prop_assert!(width == 8 || read < 1 << (8 * u32::from(width)));
            }
            flash.write(&mut bytes, 0, 4, 0x00ff_00ff);
            prop_assert_eq!(bytes.0.len(), 2 * BLOCK as usize);
        }
    }
}
