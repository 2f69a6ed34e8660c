//! The clock of the day that a guest sees: an Arm PL031 (DDI 0224), as a machine that cannot be
//! woken by it.
//!
//! It counts seconds since 1970 from the time that its owner gives; a guest may set its own, which
//! nobody else sees. The match register sets the raw interrupt, which the mask lets through to the
//! registers alone: no line is wired, and the guest's device tree names none. Registers are 32 bits
//! wide.

use crate::vgic::Refused;

/// Bytes of its registers.
pub const SIZE: u64 = 0x1000;

/// Peripheral and cell identification, from 0xfe0: part 0x031, designer Arm, revision r0p0.
const IDENTIFICATION: [u8; 8] = [0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// A PL031.
#[derive(Debug, Clone, Default)]
pub struct Pl031 {
    /// What the guest's time is ahead of the owner's, modulo 2^32.
    ahead: u32,
    load: u32,
    matched: u32,
    mask: bool,
    raw: bool,
    /// The last time that was looked at.
    seen: u32,
}

impl Pl031 {
    /// A clock out of reset.
    pub const fn new() -> Self {
        Self { ahead: 0, load: 0, matched: 0, mask: false, raw: false, seen: 0 }
    }

    /// An access of `width` bytes while the owner's time is `now` seconds; what is read.
    ///
    /// # Errors
    /// The width is none of 1, 2, 4, or the address is not that of a register.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "registers have 32 bits, and the time wraps in 2106 as the device's does"
    )]
    pub fn access(
        &mut self,
        offset: u64,
        width: u8,
        write: Option<u64>,
        now: u64,
    ) -> Result<u64, Refused> {
        // Narrower ones too, as the PL011 has them: EDK2 reads the identification by bytes.
        if !matches!(width, 1 | 2 | 4) || !offset.is_multiple_of(4) || offset >= SIZE {
            return Err(Refused);
        }
        let mask = u32::MAX >> (32 - 8 * u32::from(width));
        let now = self.look(now);
        let Some(value) = write.map(|value| value as u32 & mask) else {
            return Ok((self.read(offset, now) & mask).into());
        };
        match offset {
            0x04 => self.matched = value,
            0x08 => {
                self.load = value;
                self.ahead = self.ahead.wrapping_add(value.wrapping_sub(now));
                self.seen = value;
            }
            0x10 => self.mask = value & 1 == 1,
            0x1c if value & 1 == 1 => self.raw = false,
            // The control register starts what runs already; the others are for reading.
            _ => {}
        }
        Ok(0)
    }

    /// Looks whether the match has been reached when the owner's time is `now` seconds; the clock's
    /// own time.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the time wraps in 2106 as the device's does"
    )]
    pub fn look(&mut self, now: u64) -> u32 {
        let now = (now as u32).wrapping_add(self.ahead);
        // The match may lie between two looks.
        let passed =
            self.matched.wrapping_sub(self.seen).wrapping_sub(1) < now.wrapping_sub(self.seen);
        self.raw |= passed;
        self.seen = now;
        now
    }

    /// Whether the interrupt line is high.
    pub fn line(&self) -> bool {
        self.raw && self.mask
    }

    /// Whether the line is going to rise by itself: somebody has to look from time to time.
    pub fn is_armed(&self) -> bool {
        self.mask && !self.raw
    }

    fn read(&self, offset: u64, now: u32) -> u32 {
        match offset {
            0x00 => now,
            0x04 => self.matched,
            0x08 => self.load,
            0x0c => 1,
            0x10 => self.mask.into(),
            0x14 => self.raw.into(),
            0x18 => self.line().into(),
            0xfe0..0x1000 => {
                IDENTIFICATION.get(((offset - 0xfe0) / 4) as usize).copied().unwrap_or(0).into()
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_700_000_000;

    fn read(clock: &mut Pl031, offset: u64, now: u64) -> u64 {
        clock.access(offset, 4, None, now).unwrap()
    }

    fn write(clock: &mut Pl031, offset: u64, value: u64, now: u64) {
        assert_eq!(clock.access(offset, 4, Some(value), now), Ok(0));
    }

    #[test]
    fn it_counts_and_can_be_set() {
        let mut clock = Pl031::new();
        assert_eq!(read(&mut clock, 0, NOW), NOW);
        assert_eq!(read(&mut clock, 0, NOW + 7), NOW + 7);
        write(&mut clock, 8, 1000, NOW + 10);
        assert_eq!((read(&mut clock, 0, NOW + 15), read(&mut clock, 8, NOW + 15)), (1005, 1000));
        assert_eq!(read(&mut Pl031::new(), 0, NOW + 15), NOW + 15, "another machine's clock");
        assert_eq!(read(&mut clock, 0, NOW + (1 << 32)), 990, "it wraps as its register does");
    }

    #[test]
    fn the_match_is_seen_and_cleared() {
        let mut clock = Pl031::new();
        write(&mut clock, 0x4, NOW + 5, NOW);
        write(&mut clock, 0x10, 1, NOW);
        // What was before the first look is past.
        write(&mut clock, 0x1c, 1, NOW);
        assert_eq!(read(&mut clock, 0x18, NOW + 4), 0);
        assert_eq!((read(&mut clock, 0x14, NOW + 9), read(&mut clock, 0x18, NOW + 9)), (1, 1));
        write(&mut clock, 0x1c, 1, NOW + 10);
        assert_eq!(read(&mut clock, 0x14, NOW + 11), 0);
    }

    #[test]
    fn what_linux_looks_for() {
        let mut clock = Pl031::new();
        let identification: Vec<u64> =
            (0..8).map(|at| read(&mut clock, 0xfe0 + 4 * at, NOW)).collect();
        assert_eq!(identification, [0x31, 0x10, 0x04, 0, 0x0d, 0xf0, 0x05, 0xb1]);
        assert_eq!(read(&mut clock, 0xc, NOW), 1, "it runs");
    }

    /// Reads and writes of all that there is and is not: what is refused changes nothing, and none
    /// but the load register changes the time.
    #[test]
    fn every_offset_and_width() {
        for (offset, width) in
            (0..SIZE + 16).flat_map(|offset| (0..=16u8).map(move |width| (offset, width)))
        {
            let good = matches!(width, 1 | 2 | 4) && offset % 4 == 0 && offset < SIZE;
            for write in [None, Some(0), Some(1), Some(u64::MAX)] {
                let mut clock = Pl031::new();
                let result = clock.access(offset, width, write, NOW);
                assert_eq!(result.is_ok(), good, "{offset:#x} {width} {write:?}");
                assert!(
                    write.is_none() || result.unwrap_or(0) == 0,
                    "{offset:#x}: a write reads nothing"
                );
                assert!(
                    result.unwrap_or(0) <= u32::MAX.into(),
                    "{offset:#x}: registers have 32 bits"
                );
                let bits = 8 * u32::from(width);
                let set = write
                    .filter(|_| good && offset == 0x08)
                    .map(|value| value & u64::MAX >> (64 - bits));
                assert_eq!(
                    read(&mut clock, 0, NOW),
                    set.unwrap_or(NOW),
                    "{offset:#x} {width} {write:?}"
                );
                if !good {
                    let registers = |clock: &mut Pl031| {
                        [0x04, 0x08, 0x10].map(|offset| read(clock, offset, NOW))
                    };
                    assert_eq!(registers(&mut clock), [0; 3], "{offset:#x} {width} {write:?}");
                }
            }
        }
    }

    #[test]
    fn an_alarm_raises_the_line_until_it_is_cleared() {
        let mut clock = Pl031::new();
        clock.access(0x04, 4, Some(NOW + 3), NOW).unwrap();
        assert!(!clock.is_armed(), "its interrupt is masked");
        clock.access(0x10, 4, Some(1), NOW).unwrap();
        assert!(clock.is_armed());
        clock.look(NOW + 2);
        assert!(!clock.line() && clock.is_armed());
        clock.look(NOW + 5);
        assert!(clock.line() && !clock.is_armed(), "also where nobody looked at the very second");
        clock.access(0x1c, 4, Some(1), NOW + 6).unwrap();
        assert!(!clock.line());
    }

    proptest! {
        /// Whatever is written, the time goes on by what has passed.
        #[test]
        fn time_goes_on(writes in proptest::collection::vec((0u64..0x400, any::<u64>()), 0..20), step in 0u64..1000) {
            let mut clock = Pl031::new();
            for (at, value) in writes {
                prop_assert_eq!(clock.access(at * 4, 4, Some(value), NOW), Ok(0));
            }
            let before = read(&mut clock, 0, NOW);
            let after = read(&mut clock, 0, NOW + step);
            prop_assert_eq!(after.wrapping_sub(before) & 0xffff_ffff, step);
        }
    }
}
