//! The UART that a guest sees: an Arm PL011 (DDI 0183), as a machine with an endlessly fast line.
//!
//! What is written to the data register leaves at once, so the transmitter is always empty; what
//! arrives waits in a queue until it is read. Registers may be accessed by 8, 16 or 32 bits at
//! their own address.

use heapless::Deque;

use crate::vgic::Refused;

/// Bytes of its registers.
pub const SIZE: u64 = 0x1000;
/// Bytes that wait for the guest at most.
const QUEUE: usize = 256;
/// Bytes that a PL011 itself holds.
const FIFO: usize = 16;

/// Interrupts: receive, transmit, receive timeout.
const RECEIVE: u32 = 1 << 4;
const TRANSMIT: u32 = 1 << 5;
const TIMEOUT: u32 = 1 << 6;
/// Interrupts that there are.
const ALL: u32 = 0x7ff;

/// Flags: receiver empty, transmitter empty.
const FLAG_RECEIVER_EMPTY: u32 = 1 << 4;
const FLAG_TRANSMITTER_EMPTY: u32 = 1 << 7;

/// Peripheral and cell identification, from 0xfe0: part 0x011, designer Arm, revision r1p5.
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// What an access did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What is read; 0 for a write.
    pub value: u64,
    /// A byte that the guest sent.
    pub sent: Option<u8>,
}

/// A PL011.
#[derive(Debug)]
pub struct Pl011 {
    input: Deque<u8, QUEUE>,
    /// Raw transmit interrupt: set by the end of each transmission.
    sent: bool,
    mask: u32,
    control: u32,
    line_control: u32,
    baud: [u32; 2],
    levels: u32,
    dma: u32,
}

impl Default for Pl011 {
    fn default() -> Self {
        Self::new()
    }
}

impl Pl011 {
    /// A UART out of reset.
    pub const fn new() -> Self {
        Self {
            input: Deque::new(),
            sent: false,
            mask: 0,
            // Transmitter and receiver enabled, as after reset.
            control: 0x300,
            line_control: 0,
            baud: [0; 2],
            levels: 0x12,
            dma: 0,
        }
    }

    /// A byte for the guest; false if its queue is full.
    pub fn receive(&mut self, byte: u8) -> bool {
        self.input.push_back(byte).is_ok()
    }

    /// Whether less waits than the FIFO of a PL011 holds (DDI 0183, 2.4): whoever can wait sends no
    /// more than that at a time, so that a guest that empties its receiver as it starts loses no
    /// more than on a board.
    pub fn has_room(&self) -> bool {
        self.input.len() < FIFO
    }

    /// Whether its interrupt line is high.
    pub fn line(&self) -> bool {
        self.raw() & self.mask != 0
    }

    fn raw(&self) -> u32 {
        let received = if self.input.is_empty() { 0 } else { RECEIVE | TIMEOUT };
        received | if self.sent { TRANSMIT } else { 0 }
    }

    /// An access of `width` bytes.
    ///
    /// # Errors
    /// The width is none of 1, 2, 4, or the address is not that of a register.
    #[expect(clippy::cast_possible_truncation, reason = "registers are at most 32 bits wide")]
    pub fn access(
        &mut self,
        offset: u64,
        width: u8,
        write: Option<u64>,
    ) -> Result<Outcome, Refused> {
        if !matches!(width, 1 | 2 | 4) || !offset.is_multiple_of(4) || offset >= SIZE {
            return Err(Refused);
        }
        match write {
            Some(value) => {
                let mask = (1u64 << (8 * u32::from(width))) - 1;
                Ok(Outcome { value: 0, sent: self.write(offset, (value & mask) as u32) })
            }
            None => Ok(Outcome { value: self.read(offset).into(), sent: None }),
        }
    }

    fn read(&mut self, offset: u64) -> u32 {
        match offset {
            0x00 => self.input.pop_front().map_or(0, u32::from),
            0x18 => {
                let empty = if self.input.is_empty() { FLAG_RECEIVER_EMPTY } else { 0 };
                FLAG_TRANSMITTER_EMPTY | empty
            }
            0x24 => self.baud[0],
            0x28 => self.baud[1],
            0x2c => self.line_control,
            0x30 => self.control,
            0x34 => self.levels,
            0x38 => self.mask,
            0x3c => self.raw(),
            0x40 => self.raw() & self.mask,
            0x48 => self.dma,
            0xfe0..0x1000 => {
                let place = usize::try_from((offset - 0xfe0) / 4).unwrap_or(0);
                IDENTIFICATION.get(place).copied().map_or(0, u32::from)
            }
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, value: u32) -> Option<u8> {
        match offset {
            0x00 => {
                self.sent = true;
                return Some(value.to_le_bytes()[0]);
            }
            0x24 => self.baud[0] = value & 0xffff,
            0x28 => self.baud[1] = value & 0x3f,
            0x2c => self.line_control = value & 0xff,
            0x30 => self.control = value & 0xffff,
            0x34 => self.levels = value & 0x3f,
            0x38 => self.mask = value & ALL,
            // The receive interrupts stand as long as something waits.
            0x44 => self.sent &= value & TRANSMIT == 0,
            0x48 => self.dma = value & 7,
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(uart: &mut Pl011, offset: u64) -> u64 {
        uart.access(offset, 4, None).unwrap().value
    }

    #[test]
    fn a_driver_finds_it() {
        let mut uart = Pl011::new();
        let id = |uart: &mut Pl011, from: u64| {
            (0..4).fold(0, |all, at| all | read(uart, from + 4 * at) << (8 * at))
        };
        assert_eq!(id(&mut uart, 0xfe0) & 0x000f_ffff, 0x0004_1011);
        assert_eq!(id(&mut uart, 0xff0), 0xb105_f00d);
        assert_eq!(read(&mut uart, 0x18), 0x90);
    }

    #[test]
    fn sends_and_interrupts() {
        let mut uart = Pl011::new();
        assert_eq!(uart.access(0, 2, Some(0xff41)), Ok(Outcome { value: 0, sent: Some(b'A') }));
        assert!(!uart.line(), "masked");
        uart.access(0x38, 2, Some(TRANSMIT.into())).unwrap();
        assert!(uart.line());
        uart.access(0x44, 2, Some(TRANSMIT.into())).unwrap();
        assert!(!uart.line());
    }

    #[test]
    fn receives_in_order_until_full() {
        let mut uart = Pl011::new();
        uart.access(0x38, 4, Some(RECEIVE.into())).unwrap();
        for byte in 0..=255 {
            assert!(uart.receive(byte));
        }
        assert!(!uart.receive(0));
        for byte in 0..=255 {
            assert!(uart.line());
            assert_eq!(read(&mut uart, 0), byte);
        }
        assert!(!uart.line());
        assert_eq!(read(&mut uart, 0), 0);
        assert_eq!(read(&mut uart, 0x18), 0x90);
    }

    #[test]
    fn every_offset_and_width() {
        for offset in 0..SIZE + 16 {
            for width in 0..=16u8 {
                for write in [None, Some(0), Some(u64::MAX)] {
                    let good = matches!(width, 1 | 2 | 4) && offset % 4 == 0 && offset < SIZE;
                    assert_eq!(
                        Pl011::new().access(offset, width, write).is_ok(),
                        good,
                        "{offset:#x} {width}"
                    );
                }
            }
        }
    }

    proptest! {
        /// Registers stay within their bits, and nothing but the data register sends.
        #[test]
        fn any_writes(writes in proptest::collection::vec((0..0x50u64, any::<u64>()), 0..50)) {
            let mut uart = Pl011::new();
            for (offset, value) in writes {
                let outcome = uart.access(offset & !3, 4, Some(value)).unwrap();
                prop_assert_eq!(outcome.sent.is_some(), offset & !3 == 0);
                for register in (0..0x50).step_by(4) {
                    prop_assert!(read(&mut uart, register) <= 0xffff);
                }
            }
        }
    }
}
