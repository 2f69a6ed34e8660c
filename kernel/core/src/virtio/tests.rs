//! A driver on the host's side: rings in made-up memory, requests as Linux makes them, and as
//! nobody should.

#![expect(clippy::cast_possible_truncation, reason = "small numbers of the tests' own")]
#![expect(clippy::panic_in_result_fn, reason = "an assertion in a device's place fails the test")]

mod blocks;
mod console;
mod legacy;
mod registers;

use core::cell::RefCell;
use core::ops::Range;
use std::collections::HashMap;

use super::Broken;
use super::block::{self, BLOCK, BlockStore, StoreError};
use super::mmio::{EVENT_IDX, INDIRECT_DESC, Registers, VERSION_1};
use super::queue::{Chain, MOST_ENTRIES, MOST_SEGMENTS};
use crate::guest_ram::{GuestRam, OutOfRam};

const BASE: u64 = 0x4000_0000;
const SIZE: usize = 1 << 20;
const DESCRIPTORS: u64 = BASE;
const AVAILABLE: u64 = BASE + 0x2000;
const USED: u64 = BASE + 0x3000;
/// From a queue's rings to those of the next.
const NEXT_RINGS: u64 = 0x4000;
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
        let start =
            usize::try_from(address.checked_sub(BASE).ok_or(OutOfRam)?).map_err(|_| OutOfRam)?;
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

    fn descriptor(
        &self,
        table: u64,
        index: u16,
        (address, length, flags, next): (u64, u32, u16, u16),
    ) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.put(table + 16 * u64::from(index), &bytes);
    }

    /// Makes the chain that begins at `head` available in the first queue, the `count`th one.
    fn offer(&self, head: u16, count: u16) {
        self.offer_in(0, head, count);
    }

    fn offer_in(&self, queue: u64, head: u16, count: u16) {
        let (place, available) =
            (u64::from((count - 1) % MOST_ENTRIES), AVAILABLE + queue * NEXT_RINGS);
        self.put(available + 4 + 2 * place, &head.to_le_bytes());
        self.put(available + 2, &count.to_le_bytes());
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
    /// Blocks after which a request is to end.
    patience: Option<u32>,
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

    fn write_part(
        &mut self,
        block: u64,
        bytes: Range<usize>,
        from: &[u8; BLOCK],
    ) -> Result<(), StoreError> {
        assert!(!bytes.is_empty() && bytes != (0..BLOCK), "{bytes:?} is no part");
        let mut page = [0; BLOCK];
        self.read(block, &mut page)?;
        page[bytes.clone()].copy_from_slice(&from[bytes]);
        self.write(block, &page)
    }

    fn release(&mut self, first: u64, count: u64) {
        assert!(count != 0 && first + count <= BLOCKS);
        self.blocks.retain(|block, _| !(first..first + count).contains(block));
        self.released.push((first, count));
    }

    fn goes_on(&mut self) -> bool {
        let Some(left) = &mut self.patience else { return true };
        *left = left.saturating_sub(1);
        *left != 0
    }
}

/// What a driver does to a device: its features, and the rings of each queue, [`NEXT_RINGS`] apart.
fn bring_up<const QUEUES: usize>(registers: &mut Registers<QUEUES>, features: u64) {
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
    for queue in 0..QUEUES as u64 {
        write(0x30, queue);
        write(0x38, MOST_ENTRIES.into());
        for (offset, address) in [(0x80, DESCRIPTORS), (0x90, AVAILABLE), (0xa0, USED)] {
            let address = address + queue * NEXT_RINGS;
            write(offset, address & 0xffff_ffff);
            write(offset + 4, address >> 32);
        }
        write(0x44, 1);
    }
    write(0x70, 15);
    assert!((0..QUEUES).all(|queue| registers.is_live(queue)));
}

/// A disk that a driver has set up.
struct Machine {
    ram: Ram,
    store: Store,
    registers: Registers,
    offered: u16,
}

impl Machine {
    fn new(features: u64) -> Self {
        let mut registers = Registers::new(block::DEVICE, block::FEATURES);
        bring_up(&mut registers, features);
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
        let queue = &mut self.registers.queues[0];
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
