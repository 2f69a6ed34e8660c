//! The walk of a guest's own tables, to find the level at which it failed (DDI 0487, D8.2): an
//! abort that stage 2 raised on a walk has the level of stage 2 in its syndrome, and the guest is
//! to be told that of its own.

/// What a walk begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Controls {
    /// `TCR_EL1`.
    pub translation: u64,
    /// `TTBR0_EL1` and `TTBR1_EL1`.
    pub tables: [u64; 2],
}

/// Bits of an address in the next table's descriptor, and in a base register.
const ADDRESS: u64 = 0xffff_ffff_f000;
/// Bits of a descriptor that say that it is a table's.
const TABLE: u64 = 3;
const LAST_LEVEL: u32 = 3;

/// Level of the table, in the walk for a virtual address, that lies in this page of guest-physical
/// memory; `read` reads a descriptor. `None` if the walk does not come there, or not any more.
pub fn level_of(
    controls: Controls,
    address: u64,
    page: u64,
    mut read: impl FnMut(u64) -> Option<u64>,
) -> Option<u8> {
    let upper = address >> 55 & 1;
    let size = controls.translation >> (16 * upper) & 0x3f;
    // TG0 and TG1: 4, 64 and 16 KiB have different codes in the two.
    let granule = match (upper, controls.translation >> (14 + 16 * upper) & 3) {
        (0, 0) | (1, 2) => 12,
        (0, 1) | (1, 3) => 16,
        (0, 2) | (1, 1) => 14,
        _ => return None,
    };
    let step = granule - 3;
    let bits = u32::try_from(64 - size).ok().filter(|bits| (granule + 1..=48).contains(bits))?;
    let offset = address & ((1 << bits) - 1);
    let base = *controls.tables.get(usize::from(upper == 1))?;
    // A table at the first level may be smaller than a page, and is aligned to its size.
    let mut table = base & (ADDRESS | 0xffe);
    let mut level = 4 - (bits - granule).div_ceil(step);
    let mut index = offset >> (granule + (LAST_LEVEL - level) * step);
    loop {
        let place = table + 8 * index;
        if place >> 12 == page >> 12 {
            return u8::try_from(level).ok();
        }
        let descriptor = read(place)?;
        if level == LAST_LEVEL || descriptor & TABLE != TABLE {
            return None;
        }
        level += 1;
        table = descriptor & ADDRESS & !((1 << granule) - 1);
        index = offset >> (granule + (LAST_LEVEL - level) * step) & ((1 << step) - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// TCR_EL1 of Linux with 48 bits and 4 KiB: T0SZ = T1SZ = 16, TG1 = 2.
    const LINUX: u64 = 16 | 16 << 16 | 2 << 30;
    const TABLES: [u64; 2] = [0x4000_1000, 0x4100_0001];

    fn level(translation: u64, address: u64, page: u64, memory: &[(u64, u64)]) -> Option<u8> {
        let read = |place| memory.iter().find(|(at, _)| *at == place).map(|(_, value)| *value);
        level_of(Controls { translation, tables: TABLES }, address, page, read)
    }

    #[test]
    fn each_level_of_a_walk() {
        let address = 0xffff_8000_0820_3000u64;
        let memory = [
            (0x4100_0000 + 8 * 256, 0x4200_0003),
            (0x4200_0000, 0x4300_0003),
            (0x4300_0000 + 8 * 65, 0x9_4400_0003),
        ];
        for (page, expected) in
            [(0x4100_0000, 0), (0x4200_0000, 1), (0x4300_0000, 2), (0x9_4400_0000, 3)]
        {
            assert_eq!(level(LINUX, address, page, &memory), Some(expected));
        }
        assert_eq!(level(LINUX, address, 0x5000_0000, &memory), None);
        // The lower half begins elsewhere, and what is not mapped has no further table.
        assert_eq!(level(LINUX, 0x1000, 0x4000_1000, &[]), Some(0));
        assert_eq!(level(LINUX, 0x1000, 0x4200_0000, &[(0x4000_1000, 0x4200_0001)]), None);
    }

    #[test]
    fn first_level_by_size_and_granule() {
        // T0SZ, TG0 and the first level: 39 and 48 bits of 4 KiB, 42 and 48 of 64 KiB, 36 and 47 of
        // 16 KiB.
        for (size, granule, first) in
            [(25, 0, 1), (16, 0, 0), (22, 1, 2), (16, 1, 1), (28, 2, 2), (17, 2, 1)]
        {
            assert_eq!(
                level(size | granule << 14, 0, 0x4000_1000, &[]),
                Some(first),
                "{size} {granule}"
            );
        }
    }

    proptest! {
        /// Whatever a guest has in its registers and memory: it ends, with a level of those that
        /// there are.
        #[test]
        fn any_tables(translation: u64, tables: [u64; 2], address: u64, page: u64, entry: u64) {
            let mut reads = 0;
            let read = |_| { reads += 1; Some(entry | 3) };
            let level = level_of(Controls { translation, tables }, address, page, read);
            prop_assert!(level.is_none_or(|level| level < 4));
            prop_assert!(reads <= 4);
        }
    }
}
