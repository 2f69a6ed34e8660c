//! A driver on the host's side: rings in made-up memory, requests as Linux makes them, and as nobody should.

#![expect(clippy::cast_possible_truncation, reason = "small numbers of the tests' own")]
#![expect(clippy::panic_in_result_fn, reason = "an assertion in a device's place fails the test")]

use core::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::Broken;
use super::block::{self, BLOCK, BlockStore, StoreError};
use super::mmio::{EVENT_IDX, Effect, INDIRECT_DESC, Refused, Registers, VERSION_1};
use super::queue::{Chain, MOST_ENTRIES, MOST_SEGMENTS};
use crate::guest_ram::{GuestRam, OutOfRam};

const BASE: u64 = 0x4000_0000;
const SIZE: usize = 1 << 20;
const DESCRIPTORS: u64 = BASE;
const AVAILABLE: u64 = BASE + 0x2000;
const USED: u64 = BASE + 0x3000;
const HEADER: u64 = BASE + 0x8000;
const STATUS: u64 = BASE + 0x8100;
const TABLE: u64 = BASE + 0x9000;
const DATA: u64 = BASE + 0x1_0000;

struct Ram(RefCell<Vec<u8>>);

impl Ram {
    fn new() -> Self {
        Self(RefCell::new(vec![0; SIZE]))
    }

    fn range(address: u64, length: usize) -> Result<core::ops::Range<usize>, OutOfRam> {
        let start = usize::try_from(address.checked_sub(BASE).ok_or(OutOfRam)?).map_err(|_| OutOfRam)?;
        let end = start.checked_add(length).filter(|end| *end <= SIZE).ok_or(OutOfRam)?;
        Ok(start..end)
    }

    fn put(&self, address: u64, bytes: &[u8]) {
        self.write(address, bytes).expect("memory");
    }

    fn get(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read(address, &mut bytes).expect("memory");
        bytes
    }

    fn descriptor(&self, table: u64, index: u16, (address, length, flags, next): (u64, u32, u16, u16)) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.put(table + 16 * u64::from(index), &bytes);
    }

    /// Makes the chain that begins at `head` available, the `count`th one.
    fn offer(&self, head: u16, count: u16) {
        let place = u64::from((count - 1) % MOST_ENTRIES);
        self.put(AVAILABLE + 4 + 2 * place, &head.to_le_bytes());
        self.put(AVAILABLE + 2, &count.to_le_bytes());
    }
}

impl GuestRam for Ram {
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), OutOfRam> {
        into.copy_from_slice(&self.0.borrow()[Self::range(ipa, into.len())?]);
        Ok(())
    }

    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), OutOfRam> {
        self.0.borrow_mut()[Self::range(ipa, from.len())?].copy_from_slice(from);
        Ok(())
    }
}

#[derive(Default)]
struct Store {
    blocks: HashMap<u64, [u8; BLOCK]>,
    released: Vec<(u64, u64)>,
    full: bool,
}

const BLOCKS: u64 = 64;

impl BlockStore for Store {
    fn blocks(&self) -> u64 {
        BLOCKS
    }

    fn read(&mut self, block: u64, into: &mut [u8; BLOCK]) -> Result<(), StoreError> {
        assert!(block < BLOCKS);
        *into = self.blocks.get(&block).copied().unwrap_or([0; BLOCK]);
        Ok(())
    }

    fn write(&mut self, block: u64, from: &[u8; BLOCK]) -> Result<(), StoreError> {
        assert!(block < BLOCKS);
        if self.full {
            return Err(StoreError);
        }
        self.blocks.insert(block, *from);
        Ok(())
    }

    fn release(&mut self, first: u64, count: u64) {
        assert!(count != 0 && first + count <= BLOCKS);
        self.blocks.retain(|block, _| !(first..first + count).contains(block));
        self.released.push((first, count));
    }
}

/// A device that a driver has set up.
struct Machine {
    ram: Ram,
    store: Store,
    registers: Registers,
    offered: u16,
}

impl Machine {
    fn new(features: u64) -> Self {
        let mut registers = Registers::new(block::DEVICE, block::FEATURES);
        let mut write =
            |offset, value: u64| registers.access(offset, 4, Some(value), &[]).expect("a register").1;
        for value in [0, 1, 3] {
            write(0x70, value);
        }
        for half in [0, 1] {
            write(0x24, half);
            write(0x20, features >> (32 * half) & 0xffff_ffff);
        }
        write(0x70, 11);
        write(0x38, MOST_ENTRIES.into());
        for (offset, address) in [(0x80, DESCRIPTORS), (0x90, AVAILABLE), (0xa0, USED)] {
            write(offset, address & 0xffff_ffff);
            write(offset + 4, address >> 32);
        }
        write(0x44, 1);
        write(0x70, 15);
        assert!(registers.is_live());
        Self { ram: Ram::new(), store: Store::default(), registers, offered: 0 }
    }

    fn usual() -> Self {
        Self::new(VERSION_1 | INDIRECT_DESC | EVENT_IDX)
    }

    fn header(&self, kind: u32, sector: u64) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(sector.to_le_bytes());
        self.ram.put(HEADER, &bytes);
    }

    /// Puts a request of these data buffers down, by a table of its own; its status.
    fn request(&mut self, kind: u32, sector: u64, data: &[(u64, u32)], to_guest: bool) -> u8 {
        self.header(kind, sector);
        self.ram.put(STATUS, &[0xff]);
        let last = u16::try_from(data.len() + 1).expect("small");
        self.ram.descriptor(TABLE, 0, (HEADER, 16, 1, 1));
        for (index, &(address, length)) in (1..).zip(data) {
            let flags = if to_guest { 3 } else { 1 };
            self.ram.descriptor(TABLE, index, (address, length, flags, index + 1));
        }
        self.ram.descriptor(TABLE, last, (STATUS, 1, 2, 0));
        self.ram.descriptor(DESCRIPTORS, 7, (TABLE, 16 * (u32::from(last) + 1), 4, 0));
        self.offered += 1;
        self.ram.offer(7, self.offered);
        self.run().expect("a good request");
        self.ram.get(STATUS, 1)[0]
    }

    fn run(&mut self) -> Result<usize, Broken> {
        let (mut chain, mut page, mut served) = (Chain::default(), [0; BLOCK], 0);
        let queue = &mut self.registers.queue;
        while queue.pop(&self.ram, &mut chain)? {
            let written = block::serve(&chain, &self.ram, &mut self.store, &mut page)?;
            queue.push(&self.ram, chain.head, written)?;
            served += 1;
            assert!(served < 1000, "work without an end");
        }
        queue.rest(&self.ram)?;
        Ok(served)
    }
}

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
    // A loop, an index outside, a table in a table, tables of no length or a cut one, a table that goes on.
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

#[test]
fn interrupts_are_asked_for_by_index() {
    for (event, wanted) in [(0u16, true), (1, false), (0xffff, false)] {
        let mut machine = Machine::usual();
        machine.ram.put(AVAILABLE + 4 + 2 * u64::from(MOST_ENTRIES), &event.to_le_bytes());
        assert_eq!(machine.registers.queue.push(&machine.ram, 0, 1), Ok(wanted), "{event}");
    }
    let mut machine = Machine::new(VERSION_1);
    assert_eq!(machine.registers.queue.push(&machine.ram, 0, 1), Ok(true));
    machine.ram.put(AVAILABLE, &[1, 0]);
    assert_eq!(machine.registers.queue.push(&machine.ram, 0, 1), Ok(false));
}

#[test]
fn a_driver_that_wants_what_is_not_offered() {
    let mut registers = Registers::new(block::DEVICE, block::FEATURES);
    let mut write = |offset, value: u64| registers.access(offset, 4, Some(value), &[]).expect("a register").1;
    write(0x70, 3);
    write(0x24, 1);
    write(0x20, 1);
    write(0x24, 0);
    write(0x20, 1 << 5);
    write(0x70, 11);
    assert_eq!(registers.access(0x70, 4, None, &[]), Ok((3, Effect::None)), "FEATURES_OK stays clear");
    // Without VERSION_1 neither.
    let mut registers = Registers::new(block::DEVICE, block::FEATURES);
    registers.access(0x70, 4, Some(11), &[]).expect("a register");
    assert_eq!(registers.access(0x70, 4, None, &[]), Ok((3, Effect::None)));
}

#[test]
fn every_register_at_every_width() {
    let config = block::config(BLOCKS);
    for offset in 0..0x200u64 {
        for width in [0u8, 1, 2, 3, 4, 5, 8, 16] {
            let mut registers = Machine::usual().registers;
            let aligned = width != 0 && offset.is_multiple_of(width.into());
            let answered =
                aligned && if offset < 0x100 { width == 4 } else { matches!(width, 1 | 2 | 4 | 8) };
            let read = registers.access(offset, width, None, &config);
            assert_eq!(read.is_ok(), answered, "{offset:#x} {width}");
            let before = registers.clone();
            let written = registers.access(offset, width, Some(u64::MAX), &config);
            assert_eq!(written.is_ok(), answered, "{offset:#x} {width}");
            if offset >= 0x100 {
                assert_eq!(format!("{registers:?}"), format!("{before:?}"));
            }
        }
    }
    let mut registers = Registers::new(block::DEVICE, block::FEATURES);
    let mut read = |offset, width| registers.access(offset, width, None, &config).map(|(value, _)| value);
    assert_eq!([read(0, 4), read(4, 4), read(8, 4)], [Ok(0x7472_6976), Ok(2), Ok(2)]);
    assert_eq!((read(0x100, 8), read(0x114, 4)), (Ok(BLOCKS * 8), Ok(4096)));
    assert_eq!(read(0x13c, 4), Ok(0));
    assert_eq!(read(2, 2), Err(Refused));
}

#[test]
fn the_queue_stands_still_while_it_is_ready() {
    let mut registers = Machine::usual().registers;
    for (offset, value) in [(0x38, 8u64), (0x80, 0x10), (0x94, 1)] {
        registers.access(offset, 4, Some(value), &[]).expect("a register");
    }
    assert_eq!((registers.queue.size, registers.queue.descriptors), (MOST_ENTRIES, DESCRIPTORS));
    for (offset, bad) in
        [(0x38, 0u64), (0x38, 3), (0x38, 512), (0x38, 0x1_0000), (0x80, 8), (0x90, 1), (0xa0, 2)]
    {
        let mut registers = Machine::usual().registers;
        for (offset, value) in [(0x44, 0), (offset, bad), (0x44, 1)] {
            registers.access(offset, 4, Some(value), &[]).expect("a register");
        }
        assert!(!registers.queue.ready, "{offset:#x} {bad}");
    }
    registers.fail();
    assert!(!registers.is_live() && registers.line());
    assert_eq!(registers.access(0x70, 4, Some(0), &[]), Ok((0, Effect::Reset)));
    assert!(!registers.line() && !registers.queue.ready);
}

proptest! {
    /// Rings of any bytes, and registers written in any order: no panic, no endless work, no access outside of the guest's memory or the store.
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
            if machine.registers.is_live() && machine.run().is_err() {
                machine.registers.fail();
                prop_assert!(!machine.registers.is_live());
            }
        }
        if machine.registers.is_live() {
            let _ = machine.run();
        }
    }
}
