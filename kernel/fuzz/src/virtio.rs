//! A guest's disk, or its console, under a driver that does anything: registers, rings, chains, and
//! memory that changes meanwhile.

mod port;

use core::cell::RefCell;
use core::ops::Range;

use arbitrary::{Result, Unstructured};
use bale_core::guest_ram::{GuestRam, OutOfRam};
use bale_core::virtio::block::{self, BLOCK, BlockStore, QUEUES, StoreError};
use bale_core::virtio::mmio::{EVENT_IDX, Effect, INDIRECT_DESC, Registers, VERSION_1};
use bale_core::virtio::queue::{Chain, MOST_ENTRIES};

const BASE: u64 = 0x4000_0000;
const RAM: usize = 1 << 14;
const BLOCKS: u64 = 4;
/// Where a driver that means well puts its rings.
const RINGS: [(u64, u32); 3] = [(0x80, 0), (0x90, 0x1000), (0xa0, 0x2000)];
/// From a queue's rings to those of the next.
const NEXT: usize = 0x400;
/// `VIRTIO_BLK_F_DISCARD` and `_WRITE_ZEROES`, which it may take.
const FEATURES: u64 = VERSION_1 | INDIRECT_DESC | EVENT_IDX | 1 << 13 | 1 << 14;

struct Ram {
    bytes: RefCell<Vec<u8>>,
    written: RefCell<Vec<(u64, usize)>>,
}

impl Ram {
    fn place(ipa: u64, length: usize) -> core::result::Result<core::ops::Range<usize>, OutOfRam> {
        let start =
            usize::try_from(ipa.checked_sub(BASE).ok_or(OutOfRam)?).map_err(|_| OutOfRam)?;
        let end = start.checked_add(length).filter(|end| *end <= RAM).ok_or(OutOfRam)?;
        Ok(start..end)
    }
}

impl Ram {
    fn new() -> Self {
        Self { bytes: RefCell::new(vec![0; RAM]), written: RefCell::new(Vec::new()) }
    }

    /// One more chain, which begins at this descriptor, is available in this queue.
    fn offer(&self, queue: usize, head: u8, entries: u16) {
        let mut bytes = self.bytes.borrow_mut();
        let ring = &mut bytes[0x1000 + NEXT * queue..];
        let index = u16::from_le_bytes([ring[2], ring[3]]);
        let place = 4 + 2 * usize::from(index % entries.clamp(1, MOST_ENTRIES));
        ring[place..place + 2].copy_from_slice(&u16::from(head).to_le_bytes());
        ring[2..4].copy_from_slice(&index.wrapping_add(1).to_le_bytes());
    }

    /// Any bytes, anywhere.
    fn scribble(&self, input: &mut Unstructured<'_>) -> Result<()> {
        let at = usize::from(input.arbitrary::<u16>()?) % RAM;
        let length = usize::from(input.arbitrary::<u8>()?).min(RAM - at).min(input.len());
        self.bytes.borrow_mut()[at..at + length].copy_from_slice(input.bytes(length)?);
        Ok(())
    }

    /// All that was written since it was asked last lies in buffers of this chain that are to be
    /// written.
    fn written_inside(&self, chain: &Chain) {
        let writable = &chain.segments[chain.readable..];
        for (address, length) in self.written.borrow_mut().drain(..) {
            let end = address + length as u64;
            let inside = writable.iter().any(|segment| {
                segment.address <= address && end <= segment.address + u64::from(segment.length)
            });
            assert!(inside, "{length} bytes at {address:#x} are no buffer");
        }
    }
}

impl GuestRam for Ram {
    fn read(&self, ipa: u64, into: &mut [u8]) -> core::result::Result<(), OutOfRam> {
        into.copy_from_slice(&self.bytes.borrow()[Self::place(ipa, into.len())?]);
        Ok(())
    }

    fn write(&self, ipa: u64, from: &[u8]) -> core::result::Result<(), OutOfRam> {
        self.bytes.borrow_mut()[Self::place(ipa, from.len())?].copy_from_slice(from);
        self.written.borrow_mut().push((ipa, from.len()));
        Ok(())
    }
}

struct Blocks(Vec<[u8; BLOCK]>);

impl Blocks {
    fn at(&mut self, block: u64) -> &mut [u8; BLOCK] {
        assert!(block < BLOCKS, "block {block} is asked for");
        &mut self.0[usize::try_from(block).expect("checked")]
    }
}

impl BlockStore for Blocks {
    fn blocks(&self) -> u64 {
        BLOCKS
    }

    fn read(&mut self, block: u64, into: &mut [u8; BLOCK]) -> core::result::Result<(), StoreError> {
        *into = *self.at(block);
        Ok(())
    }

    fn write(&mut self, block: u64, from: &[u8; BLOCK]) -> core::result::Result<(), StoreError> {
        // So that a full store is met too.
        if from[0] == 0xff {
            return Err(StoreError);
        }
        *self.at(block) = *from;
        Ok(())
    }

    fn write_part(
        &mut self,
        block: u64,
        bytes: Range<usize>,
        from: &[u8; BLOCK],
    ) -> core::result::Result<(), StoreError> {
        let mut page = *self.at(block);
        page[bytes.clone()].copy_from_slice(&from[bytes]);
        self.write(block, &page)
    }

    fn release(&mut self, first: u64, count: u64) {
        (first..first + count).for_each(|block| self.at(block).fill(0));
    }

    fn goes_on(&mut self) -> bool {
        true
    }
}

pub(crate) fn run(bytes: &[u8]) {
    // Ends where the input does.
    let mut input = Unstructured::new(bytes);
    let _ = input
        .arbitrary()
        .and_then(|port| if port { port::run(&mut input) } else { run_disk(&mut input) });
}

fn run_disk(input: &mut Unstructured<'_>) -> Result<()> {
    let ram = Ram::new();
    let mut store = Blocks(vec![[0; BLOCK]; 4]);
    let mut registers: Registers<QUEUES> = Registers::new(2, FEATURES);
    let config = block::config(BLOCKS);
    if input.arbitrary()? {
        set_up(&mut registers, FEATURES, input.int_in_range(1..=8)?);
    }
    while !input.is_empty() {
        match input.int_in_range(0..=4u8)? {
            0 => {
                let (offset, width, write): (u16, u8, Option<u64>) = input.arbitrary()?;
                let effect = registers.access((offset & 0x1ff).into(), width, write, &config);
                if let Ok((_, Effect::Notify(queue))) = effect {
                    serve(&mut registers, queue, &ram, &mut store);
                }
            }
            1 => ram.scribble(input)?,
            2 => descriptor(input, &ram)?,
            3 => request(input, &ram)?,
            _ => {
                let queue = input.int_in_range(0..=QUEUES - 1)?;
                ram.offer(queue, input.int_in_range(0..=8)?, registers.queues[queue].size);
                serve(&mut registers, queue, &ram, &mut store);
            }
        }
    }
    Ok(())
}

/// What a driver that means well does.
fn set_up<const QUEUES: usize>(registers: &mut Registers<QUEUES>, features: u64, entries: u32) {
    let mut write = |offset: u64, value: u32| {
        let done = registers.access(offset, 4, Some(value.into()), &[]);
        assert!(done.is_ok(), "register {offset:#x} is refused");
    };
    let [low, high] =
        [features & 0xffff_ffff, features >> 32].map(|half| u32::try_from(half).expect("a half"));
    for (offset, value) in
        [(0x70, 1), (0x70, 3), (0x24, 0), (0x20, low), (0x24, 1), (0x20, high), (0x70, 11)]
    {
        write(offset, value);
    }
    for queue in 0..QUEUES {
        let first = u32::try_from(queue * NEXT).expect("few queues");
        write(0x30, u32::try_from(queue).expect("few queues"));
        write(0x38, entries.next_power_of_two());
        for (offset, ring) in RINGS {
            write(offset, 0x4000_0000 + first + ring);
        }
        write(0x44, 1);
    }
    write(0x70, 15);
    assert!((0..QUEUES).all(|queue| registers.is_live(queue)));
}

/// Writes a request of three buffers, direct or in a table of their own.
fn request(input: &mut Unstructured<'_>, ram: &Ram) -> Result<()> {
    const HEADER: u16 = 0x3000;
    const STATUS: u16 = 0x3010;
    const TABLE: u16 = 0x3100;
    const DATA: u16 = 0x2800;
    let kind: u8 = *input.choose(&[0, 1, 4, 8, 11, 13, 99])?;
    let sector: u8 = input.int_in_range(0..=33)?;
    let length = *input.choose(&[0, 16, 20, 32, 512, 1024, 2048])?;
    let (given, nested): (bool, bool) = input.arbitrary()?;
    {
        let bytes = &mut ram.bytes.borrow_mut()[usize::from(HEADER)..][..16];
        bytes.fill(0);
        (bytes[0], bytes[8]) = (kind, sector);
    }
    let direct = input.int_in_range(0..=1u16)? * u16::try_from(NEXT).expect("small");
    let first = if nested { TABLE } else { direct };
    let buffers = [(HEADER, 16, 1), (DATA, length, if given { 1 } else { 3 }), (STATUS, 1, 2)];
    for ((address, length, flags), place) in buffers.into_iter().zip(0u16..) {
        put_descriptor(ram, first + 16 * place, address, length, flags, place + 1);
    }
    if nested {
        put_descriptor(ram, direct, TABLE, 48, 4, 0);
    }
    Ok(())
}

fn put_descriptor(ram: &Ram, place: u16, address: u16, length: u32, flags: u16, next: u16) {
    let mut bytes = (BASE + u64::from(address)).to_le_bytes().to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    ram.bytes.borrow_mut()[usize::from(place)..][..16].copy_from_slice(&bytes);
}

/// Writes a descriptor that may well be sound.
fn descriptor(input: &mut Unstructured<'_>, ram: &Ram) -> Result<()> {
    let place = 16 * input.int_in_range(0..=31u16)?;
    let address = input.arbitrary()?;
    let length = match input.int_in_range(0..=3u8)? {
        0 => 16,
        1 => 1,
        2 => 4096,
        _ => u32::from(input.arbitrary::<u16>()?),
    };
    let (flags, next): (u8, u8) = input.arbitrary()?;
    put_descriptor(ram, place, address, length, (flags & 7).into(), (next & 31).into());
    Ok(())
}

/// The device's turn, as the kernel takes it.
fn serve(registers: &mut Registers<QUEUES>, queue: usize, ram: &Ram, store: &mut Blocks) {
    let mut chain = Chain::default();
    let mut page = [0; BLOCK];
    for turn in 0.. {
        assert!(turn <= MOST_ENTRIES, "more chains than the ring holds");
        if !registers.fetch(queue, ram, &mut chain) {
            return;
        }
        ram.written.borrow_mut().clear();
        let served = block::serve(&chain, ram, store, &mut page);
        ram.written_inside(&chain);
        let writable = &chain.segments[chain.readable..];
        let room: u64 = writable.iter().map(|segment| u64::from(segment.length)).sum();
        assert!(served.is_err() || served.is_ok_and(|written| u64::from(written) <= room));
        registers.tell(queue, ram, &chain, served);
    }
}
