//! The console: what a guest transmits, and what is typed to it.

use arbitrary::{Result, Unstructured};
use bale_core::virtio::console::{self, MOST_BYTES, PIECE, QUEUES, RECEIVE, TRANSMIT};
use bale_core::virtio::mmio::{EVENT_IDX, Effect, INDIRECT_DESC, Registers, VERSION_1};
use bale_core::virtio::queue::{Chain, MOST_ENTRIES};

use super::{NEXT, Ram, descriptor, put_descriptor, set_up};

const FEATURES: u64 = VERSION_1 | INDIRECT_DESC | EVENT_IDX;

pub(super) fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let ram = Ram::new();
    let mut registers: Registers<QUEUES> = Registers::new(console::DEVICE, console::FEATURES);
    if input.arbitrary()? {
        set_up(&mut registers, FEATURES, input.int_in_range(1..=8)?);
    }
    while !input.is_empty() {
        match input.int_in_range(0..=5u8)? {
            0 => {
                let (offset, width, write): (u16, u8, Option<u64>) = input.arbitrary()?;
                match registers.access((offset & 0x1ff).into(), width, write, &[]) {
                    Ok((_, Effect::Notify(TRANSMIT))) => transmit(&mut registers, &ram),
                    Ok((_, Effect::Notify(queue))) => assert_eq!(queue, RECEIVE, "no such queue"),
                    _ => {}
                }
            }
            1 => ram.scribble(input)?,
            2 => descriptor(input, &ram)?,
            3 => buffers(input, &ram)?,
            4 => {
                let queue = input.int_in_range(0..=1usize)?;
                ram.offer(queue, input.int_in_range(0..=8)?, registers.queues[queue].size);
                transmit(&mut registers, &ram);
            }
            _ => {
                let length = input.int_in_range(1..=PIECE)?.min(input.len().max(1));
                receive(&mut registers, &ram, &vec![b'x'; length]);
            }
        }
    }
    Ok(())
}

/// Writes a chain of two buffers as the queue wants them.
fn buffers(input: &mut Unstructured<'_>, ram: &Ram) -> Result<()> {
    let queue = input.int_in_range(0..=1u16)?;
    let writes = if usize::from(queue) == RECEIVE { 2 } else { 0 };
    let table = queue * u16::try_from(NEXT).expect("small");
    for (place, flags) in [(0, 1), (1, 0)] {
        let address = input.int_in_range(0x2800..=0x3fff)?;
        let length = *input.choose(&[0, 1, 5, 300, 4096])?;
        put_descriptor(ram, table + 16 * place, address, length, flags | writes, place + 1);
    }
    Ok(())
}

/// The device's turn at what the guest says, as the kernel takes it.
fn transmit(registers: &mut Registers<QUEUES>, ram: &Ram) {
    let mut chain = Chain::default();
    for turn in 0.. {
        assert!(turn <= MOST_ENTRIES, "more chains than the ring holds");
        if !registers.fetch(TRANSMIT, ram, &mut chain) {
            return;
        }
        ram.written.borrow_mut().clear();
        let mut said = 0;
        let served = console::transmit(&chain, ram, |bytes| {
            assert!((1..=PIECE).contains(&bytes.len()));
            said += bytes.len() as u64;
            true
        });
        assert!(ram.written.borrow().is_empty(), "it writes what it is to read");
        let all: u64 = chain.segments.iter().map(|segment| u64::from(segment.length)).sum();
        assert!(said <= MOST_BYTES && (served.is_err() || served == Ok(0) && said == all));
        registers.tell(TRANSMIT, ram, &chain, served);
    }
}

/// The device's turn at what is typed: each chain takes some of it, or is the last.
fn receive(registers: &mut Registers<QUEUES>, ram: &Ram, mut typed: &[u8]) {
    let mut chain = Chain::default();
    while !typed.is_empty() && registers.fetch(RECEIVE, ram, &mut chain) {
        ram.written.borrow_mut().clear();
        let served = console::receive(&chain, ram, typed);
        ram.written_inside(&chain);
        match served {
            Ok(taken) => {
                let taken = usize::try_from(taken).expect("small");
                assert!((1..=typed.len()).contains(&taken), "{taken} bytes taken");
                typed = &typed[taken..];
            }
            Err(_) => typed = &[],
        }
        registers.tell(RECEIVE, ram, &chain, served);
        assert!(served.is_ok() || !registers.is_live(RECEIVE), "a broken chain, and it goes on");
    }
}
