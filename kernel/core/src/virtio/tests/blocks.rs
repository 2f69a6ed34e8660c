//! Requests to a disk.

use proptest::prelude::*;

use super::*;

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|place| (place as u8).wrapping_mul(31) ^ seed ^ (place >> 8) as u8).collect()
}

#[test]
fn what_is_written_is_read() {
    let mut machine = Machine::usual();
    let bytes = pattern(3 * BLOCK, 5);
    machine.ram.put(DATA, &bytes);
    // Three blocks in buffers that split anywhere, to sectors that are not aligned to blocks.
    let parts = [(DATA, 1000), (DATA + 1000, 7000), (DATA + 8000, 3 * BLOCK as u32 - 8000)];
    assert_eq!(machine.request(1, 11, &parts, false), 0);
    machine.ram.put(DATA, &vec![0; 3 * BLOCK]);
    assert_eq!(machine.request(0, 11, &[(DATA + 0x8000, 3 * BLOCK as u32)], true), 0);
    assert_eq!(machine.ram.get(DATA + 0x8000, 3 * BLOCK), bytes);
    // What lies beside it was not touched, and reads as zeros.
    assert_eq!(machine.request(0, 8, &[(DATA, 1536)], true), 0);
    assert_eq!(machine.ram.get(DATA, 1536), vec![0; 1536]);
    assert_eq!(machine.ram.get(USED + 2, 2), [3, 0]);
}

#[test]
fn discards_give_runs_up_and_zeroes_clear_the_edges() {
    let mut machine = Machine::usual();
    machine.ram.put(DATA, &pattern(8 * BLOCK, 9));
    assert_eq!(machine.request(1, 0, &[(DATA, 8 * BLOCK as u32)], false), 0);
    let range = |first: u64, count: u32, flags: u32| {
        let mut bytes = first.to_le_bytes().to_vec();
        bytes.extend(count.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes
    };
    machine.ram.put(DATA, &[range(3, 40, 0), range(48, 8, 0)].concat());
    assert_eq!(machine.request(11, 0, &[(DATA, 32)], false), 0);
    assert_eq!(machine.store.released, [(1, 4), (6, 1)]);
    machine.ram.put(DATA, &range(3, 2, 1));
    assert_eq!(machine.request(13, 0, &[(DATA, 16)], false), 0);
    let block = machine.store.blocks[&0];
    assert!(block[3 * 512..5 * 512].iter().all(|&byte| byte == 0));
    assert_eq!(block[..3 * 512], pattern(8 * BLOCK, 9)[..3 * 512]);
    // Flags that are not known, ranges that pass the end, too many ranges.
    for (kind, bytes, status) in [
        (11, range(0, 8, 1), 2),
        (13, range(0, 8, 2), 2),
        (11, range(BLOCKS * 8, 1, 0), 1),
        (11, range(u64::MAX, 8, 0), 1),
        (11, range(0, 8, 0)[..15].to_vec(), 1),
        (11, vec![0; 65 * 16], 1),
    ] {
        machine.ram.put(DATA, &bytes);
        let length = u32::try_from(bytes.len()).expect("small");
        assert_eq!(machine.request(kind, 0, &[(DATA, length)], false), status, "{kind} {bytes:?}");
    }
}

#[test]
fn other_requests() {
    let mut machine = Machine::usual();
    assert_eq!(machine.request(4, 0, &[], false), 0);
    assert_eq!(machine.request(8, 0, &[(DATA, 20)], true), 0);
    assert_eq!(machine.ram.get(DATA, 9), b"bale-swap");
    assert_eq!(machine.request(8, 0, &[(DATA, 19)], true), 1);
    assert_eq!(machine.request(14, 0, &[(DATA, 512)], true), 2);
    assert_eq!(machine.request(0, BLOCKS * 8, &[(DATA, 512)], true), 1);
    assert_eq!(machine.request(0, u64::MAX, &[(DATA, 512)], true), 1);
    assert_eq!(machine.request(0, 0, &[(DATA, 513)], true), 1);
    assert_eq!(machine.request(0, 0, &[], true), 1);
    machine.store.full = true;
    assert_eq!(machine.request(1, 0, &[(DATA, 4096)], false), 1);
}

#[test]
fn chains_that_break_the_rules() {
    let broken = |make: &dyn Fn(&Ram)| {
        let mut machine = Machine::usual();
        machine.header(0, 0);
        make(&machine.ram);
        machine.ram.offer(0, 1);
        machine.run().expect_err("broken")
    };
    let table = |ram: &Ram, found| ram.descriptor(DESCRIPTORS, 0, found);
    // A loop, an index outside, a table in a table, tables of no length or a cut one, a table that
    // goes on.
    assert_eq!(broken(&|ram| table(ram, (HEADER, 16, 1, 0))), Broken::TooLong);
    assert_eq!(broken(&|ram| table(ram, (HEADER, 16, 1, MOST_ENTRIES))), Broken::Descriptor);
    assert_eq!(broken(&|ram| ram.offer(MOST_ENTRIES, 1)), Broken::Request);
    for length in [0, 8, 24, 16 * (MOST_SEGMENTS + 1)] {
        assert_eq!(broken(&|ram| table(ram, (TABLE, length, 4, 0))), Broken::Indirect);
    }
    assert_eq!(broken(&|ram| table(ram, (TABLE, 16, 5, 1))), Broken::Indirect);
    assert_eq!(
        broken(&|ram| {
            table(ram, (TABLE, 16, 4, 0));
            ram.descriptor(TABLE, 0, (TABLE, 16, 4, 0));
        }),
        Broken::Indirect
    );
    // Outside of memory, wrong order, no header, no status.
    assert_eq!(broken(&|ram| table(ram, (BASE - 16, 16, 4, 0))), Broken::OutOfRam);
    assert_eq!(broken(&|ram| table(ram, (u64::MAX - 7, 16, 4, 0))), Broken::OutOfRam);
    assert_eq!(
        broken(&|ram| {
            table(ram, (STATUS, 1, 3, 1));
            ram.descriptor(DESCRIPTORS, 1, (HEADER, 16, 0, 0));
        }),
        Broken::Order
    );
    assert_eq!(broken(&|ram| table(ram, (HEADER, 16, 0, 0))), Broken::Request);
    assert_eq!(
        broken(&|ram| {
            table(ram, (HEADER, 15, 1, 1));
            ram.descriptor(DESCRIPTORS, 1, (STATUS, 1, 2, 0));
        }),
        Broken::Request
    );
    // An index further on than the ring is long.
    let mut machine = Machine::usual();
    machine.ram.put(AVAILABLE + 2, &(MOST_ENTRIES + 1).to_le_bytes());
    assert_eq!(machine.run(), Err(Broken::Index));
    // Tables that were not negotiated.
    let mut machine = Machine::new(VERSION_1);
    machine.ram.descriptor(DESCRIPTORS, 0, (TABLE, 16, 4, 0));
    machine.ram.offer(0, 1);
    assert_eq!(machine.run(), Err(Broken::Indirect));
}

/// A request that is to end does so behind the block at hand, and says that it is not done.
#[test]
fn long_requests_are_cut_short() {
    let mut machine = Machine::usual();
    machine.ram.put(DATA, &vec![5; 10 * BLOCK]);
    machine.store.patience = Some(3);
    assert_eq!(machine.request(1, 0, &[(DATA, 10 * BLOCK as u32)], false), 1);
    assert_eq!(machine.store.blocks.len(), 3);
    machine.store.patience = Some(2);
    assert_eq!(machine.request(0, 0, &[(DATA + 0x2_0000, 10 * BLOCK as u32)], true), 1);
    assert_eq!(machine.ram.get(DATA + 0x2_0000, 2 * BLOCK), [5; 2 * BLOCK]);
    assert_eq!(machine.ram.get(DATA + 0x2_0000 + 2 * BLOCK as u64, BLOCK), [0; BLOCK]);
    // Two ranges of a discard, of which one is done.
    machine.store.patience = Some(1);
    let range = |first: u64| [first.to_le_bytes(), 8_u64.to_le_bytes()].concat();
    machine.ram.put(DATA, &[range(0), range(8)].concat());
    assert_eq!(machine.request(11, 0, &[(DATA, 32)], false), 1);
    assert_eq!(machine.store.released, [(0, 1)]);
    machine.store.patience = None;
    assert_eq!(machine.request(11, 0, &[(DATA, 32)], false), 0);
}

#[test]
fn plain_descriptors_before_a_table() {
    let mut machine = Machine::usual();
    machine.header(4, 0);
    machine.ram.descriptor(DESCRIPTORS, 3, (HEADER, 16, 1, 9));
    machine.ram.descriptor(DESCRIPTORS, 9, (TABLE, 16, 4 | 2, 0));
    machine.ram.descriptor(TABLE, 0, (STATUS, 1, 2, 0));
    machine.ram.put(STATUS, &[0xff]);
    machine.ram.offer(3, 1);
    assert_eq!(machine.run(), Ok(1));
    assert_eq!(machine.ram.get(STATUS, 1), [0]);
}

proptest! {
    /// Rings of any bytes, and registers written in any order: no panic, no endless work, no access
    /// outside of the guest's memory or the store.
    #[test]
    fn wild_drivers(
        accesses in prop::collection::vec((0u64..0x120, 0u8..9, any::<Option<u32>>()), 0..40),
        rings in prop::collection::vec((0usize..0x4000, any::<u8>()), 0..400),
        table in prop::collection::vec((0u64..0x2_0000, 0u32..0x3000, 0u16..8, 0u16..16), 16),
        index in any::<u16>(),
        kind in prop::sample::select(vec![0u32, 1, 4, 8, 11, 13, 99]),
        sector in 0u64..600,
    ) {
        let mut machine = Machine::usual();
        machine.header(kind, sector);
        for (place, &(address, length, flags, next)) in (0..).zip(&table) {
            machine.ram.descriptor(DESCRIPTORS, place, (BASE + address, length, flags, next));
            machine.ram.descriptor(TABLE, place, (HEADER, length % 20, flags & 3, next));
        }
        for (place, byte) in rings {
            machine.ram.put(BASE + place as u64, &[byte]);
        }
        machine.ram.put(AVAILABLE + 2, &(index % 300).to_le_bytes());
        let config = block::config(BLOCKS);
        for (offset, width, value) in accesses {
            let _ = machine.registers.access(offset, width, value.map(u64::from), &config);
            if machine.registers.is_live(0) && machine.run().is_err() {
                machine.registers.fail();
                prop_assert!(!machine.registers.is_live(0));
            }
        }
        if machine.registers.is_live(0) {
            let _ = machine.run();
        }
    }
}
