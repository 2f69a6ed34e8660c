//! A driver of the legacy interface that does as little as test suites do: no status, no features.

use super::super::console::{DEVICE, QUEUES, TRANSMIT};
use super::super::legacy::Legacy;
use super::super::mmio::Effect;
use super::*;

fn write(device: &mut Legacy<QUEUES>, offset: u64, value: u64) -> Effect {
    device.access(offset, 4, Some(value)).expect("a register").1
}

fn read(device: &mut Legacy<QUEUES>, offset: u64) -> u64 {
    device.access(offset, 4, None).expect("a register").0
}

#[test]
fn a_queue_without_ceremony() {
    let (ram, mut device) = (Ram::new(), Legacy::<QUEUES>::new(DEVICE));
    assert_eq!([0x00, 0x04, 0x08].map(|at| read(&mut device, at)), [0x7472_6976, 1, 3]);
    write(&mut device, 0x14, 1);
    assert_eq!(read(&mut device, 0x10), 0, "no feature, not even VERSION_1");
    write(&mut device, 0x28, 0x1000);
    write(&mut device, 0x30, TRANSMIT as u64);
    assert!(read(&mut device, 0x34) >= 128);
    write(&mut device, 0x38, 128);
    write(&mut device, 0x3c, 0x1000);
    assert_eq!(write(&mut device, 0x50, TRANSMIT as u64), Effect::None, "no queue yet");
    write(&mut device, 0x40, BASE >> 12);
    assert_eq!(read(&mut device, 0x40), BASE >> 12);
    // 128 descriptors, the ring behind them, and the other at the next page.
    let (available, used) = (BASE + 0x800, BASE + 0x1000);
    ram.put(DATA, b"3q");
    ram.descriptor(BASE, 0, (DATA, 2, 0, 0));
    ram.put(available + 4, &0u16.to_le_bytes());
    ram.put(available + 2, &1u16.to_le_bytes());
    assert_eq!(write(&mut device, 0x50, TRANSMIT as u64), Effect::Notify(TRANSMIT));
    let mut chain = Chain::default();
    assert!(device.fetch(TRANSMIT, &ram, &mut chain));
    assert_eq!((chain.readable, chain.segments.len()), (1, 1));
    device.tell(TRANSMIT, &ram, &chain, Ok(0));
    assert_eq!(ram.get(used + 2, 2), [1, 0]);
    assert!(device.line());
    assert!(!device.fetch(TRANSMIT, &ram, &mut chain));
    // Reset takes the queue away.
    write(&mut device, 0x70, 0);
    assert_eq!((read(&mut device, 0x40), device.line()), (0, false));
    assert_eq!(write(&mut device, 0x50, TRANSMIT as u64), Effect::None);
}

#[test]
fn nothing_of_the_newer_interface() {
    let mut device = Legacy::<QUEUES>::new(DEVICE);
    for offset in [0x44, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4] {
        write(&mut device, offset, 1);
        assert_eq!(read(&mut device, offset), 0, "{offset:#x}");
    }
    // Pages and alignments that are none leave what was there.
    for (offset, value) in
        [(0x28, 0), (0x28, 3), (0x28, 0x8000_0000), (0x3c, 0), (0x3c, 3), (0x3c, 0x8000_0000)]
    {
        write(&mut device, offset, value);
    }
    for page in [1, u64::from(u32::MAX)] {
        write(&mut device, 0x30, 5);
        write(&mut device, 0x40, page);
        assert_eq!(read(&mut device, 0x40), 0, "no such queue");
        write(&mut device, 0x30, 0);
        write(&mut device, 0x40, page);
    }
    assert!(device.access(0x40, 2, None).is_err() && device.access(0x41, 4, None).is_err());
    assert_eq!(device.access(0x100, 1, None), Ok((0, Effect::None)));
}
