//! Loads and stores that a syndrome does not describe (ISV = 0): pairs, those that write their base
//! register back, and those of SIMD registers (DDI 0487, C4.1 "Loads and Stores", and ISS encoding
//! for Data Aborts).
//!
//! A guest may reach a device's registers by any of them, as it may on the machine that it takes
//! itself to be on. What has no meaning there is not decoded: exclusive and atomic accesses,
//! several structures, tags.

/// Where a piece of an access comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// A general register; 31 is the zero register.
    General(u8),
    /// Half of a SIMD register, the lower one first; what is smaller than a register fills it with
    /// zeros.
    Simd {
        /// Number of the register.
        number: u8,
        /// The upper 64 bits rather than the lower ones.
        upper: bool,
    },
}

/// One access of at most eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Bytes from the first byte of the whole access.
    pub offset: u64,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// What is loaded or stored.
    pub register: Register,
    /// A load extends the sign.
    pub sign_extend: bool,
    /// The register is 64 bits wide.
    pub wide: bool,
}

/// What an instruction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadStore {
    /// A store rather than a load.
    pub write: bool,
    /// The register that is written back, and what is added to it; 31, the stack pointer, is not
    /// decoded.
    pub write_back: Option<(u8, i64)>,
    /// In order of their addresses.
    pub pieces: heapless::Vec<Piece, 4>,
}

impl LoadStore {
    /// Decodes an instruction; `None` for one that is no load or store, or none of those above.
    pub fn decode(instruction: u32) -> Option<Self> {
        match instruction >> 24 & 0b0011_1011 {
            0b0010_1000 | 0b0010_1001 => Self::pair(instruction),
            0b0011_1000 => Self::single(instruction),
            // With an offset of twelve bits that is written in the instruction.
            0b0011_1001 => Self::of_one(instruction, None),
            _ => None,
        }
    }

    /// LDP, STP, LDPSW, LDNP and STNP.
    fn pair(instruction: u32) -> Option<Self> {
        let simd = instruction >> 26 & 1 == 1;
        let load = instruction >> 22 & 1 == 1;
        let size = match (instruction >> 30, simd) {
            (0, _) => 4,
            (1, true) => 8,
            // LDPSW; the store would be one of tags.
            (1, false) if load => 4,
            (2, true) => 16,
            (2, false) => 8,
            _ => return None,
        };
        let signed = !simd && instruction >> 30 == 1;
        let write_back = match instruction >> 23 & 7 {
            0 | 2 => None,
            1 | 3 => Some(signed_field(instruction, 15, 7) * size),
            _ => return None,
        };
        let mut access = Self::new(!load, written_back(instruction, write_back)?);
        for (number, place) in [(instruction, 0), (instruction >> 10, size as u64)] {
            access.add(simd, field(number), place, size, signed, signed || size == 8)?;
        }
        Some(access)
    }

    /// LDR and STR with an offset of nine bits or a register, of any size.
    fn single(instruction: u32) -> Option<Self> {
        let by_register = instruction >> 21 & 1 == 1;
        let write_back = match (by_register, instruction >> 10 & 3) {
            // LDUR, LDTR, and an offset in a register.
            (false, 0 | 2) | (true, 2) => None,
            (false, _) => Some(signed_field(instruction, 12, 9)),
            (true, _) => return None,
        };
        Self::of_one(instruction, write_back)
    }

    fn of_one(instruction: u32, write_back: Option<i64>) -> Option<Self> {
        let simd = instruction >> 26 & 1 == 1;
        let kind = instruction >> 22 & 3;
        let size = 1 << (instruction >> 30);
        let (size, load, signed, wide) = match (simd, kind, size) {
            (true, 0 | 1, _) => (size, kind == 1, false, true),
            (true, _, 1) => (16, kind == 3, false, true),
            (false, 0 | 1, _) => (size, kind == 1, false, size == 8),
            (false, 2, 1 | 2 | 4) => (size, true, true, true),
            (false, 3, 1 | 2) => (size, true, true, false),
            // A prefetch, or nothing.
            _ => return None,
        };
        let mut access = Self::new(!load, written_back(instruction, write_back)?);
        access.add(simd, field(instruction), 0, size, signed, wide)?;
        Some(access)
    }

    fn new(write: bool, write_back: Option<(u8, i64)>) -> Self {
        Self { write, write_back, pieces: heapless::Vec::new() }
    }

    fn add(
        &mut self,
        simd: bool,
        number: u8,
        offset: u64,
        size: i64,
        sign_extend: bool,
        wide: bool,
    ) -> Option<()> {
        let halves: &[(u8, bool)] = match size {
            1 => &[(1, false)],
            2 => &[(2, false)],
            4 => &[(4, false)],
            8 => &[(8, false)],
            _ => &[(8, false), (8, true)],
        };
        for &(size, upper) in halves {
            let register =
                if simd { Register::Simd { number, upper } } else { Register::General(number) };
            let offset = offset + if upper { 8 } else { 0 };
            self.pieces.push(Piece { offset, size, register, sign_extend, wide }).ok()?;
        }
        Some(())
    }

    /// Bytes of the whole access.
    pub fn length(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.offset + u64::from(piece.size))
    }
}

/// The register in the lowest five bits.
const fn field(instruction: u32) -> u8 {
    (instruction & 31) as u8
}

/// A number with a sign.
const fn signed_field(instruction: u32, shift: u32, bits: u32) -> i64 {
    let value = (instruction >> shift << (32 - bits)) as i32;
    (value >> (32 - bits)) as i64
}

/// The base register with what is added to it; `None` if that is the stack pointer, which no device
/// is reached by.
#[expect(
    clippy::option_option,
    reason = "an instruction that is not decoded, and one that writes nothing back"
)]
fn written_back(instruction: u32, write_back: Option<i64>) -> Option<Option<(u8, i64)>> {
    let base = field(instruction >> 5);
    match write_back {
        Some(_) if base == 31 => None,
        other => Some(other.map(|step| (base, step))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(instruction: u32) -> LoadStore {
        LoadStore::decode(instruction).expect("a load or a store")
    }

    /// Encodings as an assembler gives them.
    #[test]
    fn known_instructions() {
        // ldp x2, x3, [x1], #16
        let pair = decoded(0xa8c1_0c22);
        assert_eq!((pair.write, pair.write_back, pair.length()), (false, Some((1, 16)), 16));
        assert_eq!(pair.pieces[1].register, Register::General(3));
        // stp w4, w5, [x1, #-8]!
        let store = decoded(0x29bf_1424);
        assert_eq!((store.write, store.write_back, store.length()), (true, Some((1, -8)), 8));
        assert_eq!((store.pieces[0].size, store.pieces[0].wide), (4, false));
        // ldpsw x6, x7, [x1]
        let signed = decoded(0x6940_1c26);
        assert!(
            signed.pieces.iter().all(|piece| piece.sign_extend && piece.wide && piece.size == 4)
        );
        // ldr w0, [x1], #4; strb w0, [x1, #-1]!; ldrsh w0, [x1, #2]!
        assert_eq!(decoded(0xb840_4420).write_back, Some((1, 4)));
        let byte = decoded(0x381f_fc20);
        assert_eq!((byte.write, byte.write_back, byte.pieces[0].size), (true, Some((1, -1)), 1));
        let half = decoded(0x78c0_2c20);
        assert_eq!(
            (half.pieces[0].sign_extend, half.pieces[0].wide, half.pieces[0].size),
            (true, false, 2)
        );
        // ldr q5, [x1]; str d6, [x1, #8]; ldp q0, q1, [x2]
        let quad = decoded(0x3dc0_0025);
        assert_eq!(quad.pieces[1].register, Register::Simd { number: 5, upper: true });
        assert_eq!((decoded(0xfd00_0426).write, decoded(0xfd00_0426).length()), (true, 8));
        assert_eq!((decoded(0xad40_0440).pieces.len(), decoded(0xad40_0440).length()), (4, 32));
    }

    #[test]
    fn what_is_not_decoded() {
        for (instruction, name) in [
            (0xd503_201f, "nop"),
            (0xc85f_7c20, "ldxr x0, [x1]"),
            (0xb820_0022, "ldadd w0, w2, [x1]"),
            (0xf980_0020, "prfm pldl1keep, [x1]"),
            (0x4c40_7020, "ld1 {v0.16b}, [x1]"),
            (0xf840_87e0, "ldr x0, [sp], #8"),
            (0x1400_0000, "b ."),
            (0x6900_0020, "stgp x0, x0, [x1]"),
        ] {
            assert_eq!(LoadStore::decode(instruction), None, "{name}");
        }
    }

    proptest! {
        /// Whatever the bytes: pieces follow each other without a gap, in whole registers, and
        /// nothing is longer than two of SIMD.
        #[test]
        fn pieces_are_whole(instruction: u32) {
            if let Some(access) = LoadStore::decode(instruction) {
                let mut end = 0;
                for piece in &access.pieces {
                    prop_assert_eq!(piece.offset, end);
                    prop_assert!(matches!(piece.size, 1 | 2 | 4 | 8));
                    end += u64::from(piece.size);
                }
                prop_assert!((1..=32).contains(&end) && end == access.length());
                prop_assert!(access.write_back.is_none_or(|(base, step)| base < 31 && (-1024..=1008).contains(&step)));
            }
        }
    }
}
