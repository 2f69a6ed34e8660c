//! A console's two queues.

use super::*;
use crate::virtio::console::{self, MOST_BYTES, QUEUES, RECEIVE, TRANSMIT};

/// Address, length, flags.
type Buffer = (u64, u32, u16);

/// A console that a driver has set up.
struct Port {
    ram: Ram,
    registers: Registers<QUEUES>,
    offered: [u16; QUEUES],
}

impl Port {
    fn new() -> Self {
        let mut registers = Registers::new(console::DEVICE, console::FEATURES);
        bring_up(&mut registers, VERSION_1 | INDIRECT_DESC | EVENT_IDX);
        Self { ram: Ram::new(), registers, offered: [0; QUEUES] }
    }

    /// Makes a chain of these buffers available, with these flags beside that for the next one.
    fn offer(&mut self, queue: usize, buffers: &[Buffer]) {
        let table = DESCRIPTORS + queue as u64 * NEXT_RINGS;
        for (index, &(address, length, flags)) in (0..).zip(buffers) {
            let more = u16::from(usize::from(index) + 1 < buffers.len());
            self.ram.descriptor(table, index, (address, length, flags | more, index + 1));
        }
        self.offered[queue] += 1;
        self.ram.offer_in(queue as u64, 0, self.offered[queue]);
    }

    /// What the guest says, until there is no chain.
    fn transmitted(&mut self) -> Vec<u8> {
        let (mut chain, mut all) = (Chain::default(), Vec::new());
        while self.registers.fetch(TRANSMIT, &self.ram, &mut chain) {
            let served = console::transmit(&chain, &self.ram, |bytes| {
                all.extend(bytes);
                true
            });
            self.registers.tell(TRANSMIT, &self.ram, &chain, served);
        }
        all
    }

    /// Types to the guest; how many bytes went into one chain, or none if there is no chain.
    fn typed(&mut self, bytes: &[u8]) -> Option<u32> {
        let mut chain = Chain::default();
        if !self.registers.fetch(RECEIVE, &self.ram, &mut chain) {
            return None;
        }
        let served = console::receive(&chain, &self.ram, bytes);
        self.registers.tell(RECEIVE, &self.ram, &chain, served);
        served.ok()
    }

    fn used(&self, queue: usize) -> u16 {
        let bytes = self.ram.get(USED + queue as u64 * NEXT_RINGS + 2, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    fn needs_reset(&mut self) -> bool {
        self.registers.access(0x70, 4, None, &[]).expect("the status").0 & 0x40 != 0
    }
}

#[test]
fn a_driver_finds_it() {
    let mut port = Port::new();
    let mut read =
        |offset, width| port.registers.access(offset, width, None, &[]).expect("a register").0;
    assert_eq!([read(0, 4), read(8, 4)], [0x7472_6976, 3]);
    // No features of its own: its configuration is zeros.
    assert_eq!([read(0x10, 4), read(0x100, 2), read(0x102, 2), read(0x104, 4)], [3 << 28, 0, 0, 0]);
}

#[test]
fn what_is_transmitted_arrives_once_and_in_order() {
    let mut port = Port::new();
    let text: Vec<u8> = (0..700u32).map(|place| (place * 7) as u8).collect();
    port.ram.put(DATA, &text);
    port.offer(
        TRANSMIT,
        &[(DATA, 3, 0), (DATA + 3, 0, 0), (DATA + 3, 500, 0), (DATA + 503, 197, 0)],
    );
    assert_eq!(port.transmitted(), text);
    assert!(port.registers.line());
    assert_eq!((port.used(TRANSMIT), port.used(RECEIVE)), (1, 0));
    assert_eq!(port.transmitted(), []);
    port.offer(TRANSMIT, &[(DATA, 2, 0)]);
    assert_eq!(port.transmitted(), text[..2]);
    // Nothing at all is no mistake.
    port.offer(TRANSMIT, &[(DATA, 0, 0)]);
    assert_eq!((port.transmitted().len(), port.used(TRANSMIT), port.needs_reset()), (0, 3, false));
}

#[test]
fn whoever_has_heard_enough_stops_it() {
    let mut port = Port::new();
    port.offer(TRANSMIT, &[(DATA, 4096, 0)]);
    let mut chain = Chain::default();
    assert!(port.registers.fetch(TRANSMIT, &port.ram, &mut chain));
    let mut pieces = 0;
    let served = console::transmit(&chain, &port.ram, |_| {
        pieces += 1;
        pieces < 3
    });
    assert_eq!((served, pieces), (Ok(0), 3));
}

#[test]
fn what_is_typed_fills_the_room_there_is() {
    let mut port = Port::new();
    assert_eq!(port.typed(b"early"), None);
    port.offer(RECEIVE, &[(DATA, 2, 2), (DATA + 100, 2, 2)]);
    assert_eq!(port.typed(b"abcdef"), Some(4));
    assert_eq!(
        (port.ram.get(DATA, 3), port.ram.get(DATA + 100, 3)),
        (b"ab\0".to_vec(), b"cd\0".to_vec())
    );
    port.offer(RECEIVE, &[(DATA, 4096, 2)]);
    assert_eq!(port.typed(b"ef"), Some(2));
    assert_eq!(port.ram.get(DATA, 3), b"ef\0");
    // The length that the driver is told.
    assert_eq!(port.ram.get(USED + 4 + 8 + 4, 4), [2, 0, 0, 0]);
    assert_eq!((port.used(RECEIVE), port.typed(b"x")), (2, None));
}

#[test]
fn chains_that_break_the_rules_stop_the_device() {
    let far = MOST_BYTES as u32;
    let cases: [(usize, &[Buffer]); 9] = [
        // The wrong way, alone and behind a good one.
        (TRANSMIT, &[(DATA, 1, 2)]),
        (TRANSMIT, &[(DATA, 1, 0), (DATA, 1, 2)]),
        (RECEIVE, &[(DATA, 1, 0)]),
        (RECEIVE, &[(DATA, 1, 0), (DATA, 1, 2)]),
        // No room; no memory; too much.
        (RECEIVE, &[(DATA, 0, 2)]),
        (RECEIVE, &[(BASE - 1, 1, 2)]),
        (TRANSMIT, &[(BASE + SIZE as u64 - 1, 2, 0)]),
        (TRANSMIT, &[(u64::MAX, 2, 0)]),
        (TRANSMIT, &[(BASE, far, 0), (BASE, 1, 0)]),
    ];
    for (queue, buffers) in cases {
        let mut port = Port::new();
        port.offer(queue, buffers);
        if queue == TRANSMIT {
            port.transmitted();
        } else {
            assert_eq!(port.typed(b"x"), None, "{buffers:x?}");
        }
        assert!(port.needs_reset() && port.registers.line(), "{queue} {buffers:x?}");
        // Neither queue goes on.
        port.offer(TRANSMIT, &[(DATA, 1, 0)]);
        assert_eq!((port.transmitted(), port.typed(b"x")), (vec![], None));
        bring_up(&mut port.registers, VERSION_1);
        assert!(!port.needs_reset() && !port.registers.line());
    }
    // As much as there may be.
    let mut port = Port::new();
    port.offer(TRANSMIT, &[(BASE, far, 0)]);
    assert_eq!((port.transmitted().len() as u64, port.needs_reset()), (MOST_BYTES, false));
}
