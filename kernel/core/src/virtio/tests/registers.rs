//! Registers, and interrupts.

use super::super::mmio::{Effect, Refused};
use super::*;

#[test]
fn interrupts_are_asked_for_by_index() {
    for (event, wanted) in [(0u16, true), (1, false), (0xffff, false)] {
        let mut machine = Machine::usual();
        machine.ram.put(AVAILABLE + 4 + 2 * u64::from(MOST_ENTRIES), &event.to_le_bytes());
        assert_eq!(machine.registers.queues[0].push(&machine.ram, 0, 1), Ok(wanted), "{event}");
    }
    let mut machine = Machine::new(VERSION_1);
    assert_eq!(machine.registers.queues[0].push(&machine.ram, 0, 1), Ok(true));
    machine.ram.put(AVAILABLE, &[1, 0]);
    assert_eq!(machine.registers.queues[0].push(&machine.ram, 0, 1), Ok(false));
}

#[test]
fn a_driver_that_wants_what_is_not_offered() {
    let mut registers: Registers = Registers::new(block::DEVICE, block::FEATURES);
    let mut write =
        |offset, value: u64| registers.access(offset, 4, Some(value), &[]).expect("a register").1;
    write(0x70, 3);
    write(0x24, 1);
    write(0x20, 1);
    write(0x24, 0);
    write(0x20, 1 << 5);
    write(0x70, 11);
    assert_eq!(
        registers.access(0x70, 4, None, &[]),
        Ok((3, Effect::None)),
        "FEATURES_OK stays clear"
    );
    // Without VERSION_1 neither.
    let mut registers: Registers = Registers::new(block::DEVICE, block::FEATURES);
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
    let mut registers: Registers = Registers::new(block::DEVICE, block::FEATURES);
    let mut read =
        |offset, width| registers.access(offset, width, None, &config).map(|(value, _)| value);
    assert_eq!([read(0, 4), read(4, 4), read(8, 4)], [Ok(0x7472_6976), Ok(2), Ok(2)]);
    assert_eq!((read(0x100, 8), read(0x114, 4)), (Ok(BLOCKS * 8), Ok(4096)));
    assert_eq!((read(0x122, 2), read(0x13c, 4)), (Ok(block::QUEUES as u64), Ok(0)));
    assert_eq!(read(2, 2), Err(Refused));
}

#[test]
fn the_queue_stands_still_while_it_is_ready() {
    let mut registers = Machine::usual().registers;
    for (offset, value) in [(0x38, 8u64), (0x80, 0x10), (0x94, 1)] {
        registers.access(offset, 4, Some(value), &[]).expect("a register");
    }
    assert_eq!(
        (registers.queues[0].size, registers.queues[0].descriptors),
        (MOST_ENTRIES, DESCRIPTORS)
    );
    for (offset, bad) in
        [(0x38, 0u64), (0x38, 3), (0x38, 512), (0x38, 0x1_0000), (0x80, 8), (0x90, 1), (0xa0, 2)]
    {
        let mut registers = Machine::usual().registers;
        for (offset, value) in [(0x44, 0), (offset, bad), (0x44, 1)] {
            registers.access(offset, 4, Some(value), &[]).expect("a register");
        }
        assert!(!registers.queues[0].ready, "{offset:#x} {bad}");
    }
    registers.fail();
    assert!(!registers.is_live(0) && registers.line());
    assert_eq!(registers.access(0x70, 4, Some(0), &[]), Ok((0, Effect::Reset)));
    assert!(!registers.line() && !registers.queues[0].ready);
}

#[test]
fn each_queue_has_registers_of_its_own() {
    let mut registers: Registers<2> = Registers::new(3, 0);
    bring_up(&mut registers, VERSION_1);
    assert_eq!(registers.queues[1].descriptors, DESCRIPTORS + NEXT_RINGS);
    assert_eq!(registers.queues[0].descriptors, DESCRIPTORS);
    let mut access = |offset, write| registers.access(offset, 4, write, &[]).expect("a register");
    for (value, effect) in [
        (0, Effect::Notify(0)),
        (1, Effect::Notify(1)),
        (2, Effect::None),
        (1 << 16, Effect::None),
        (u32::MAX.into(), Effect::None),
    ] {
        assert_eq!(access(0x50, Some(value)).1, effect, "{value}");
    }
    // A queue that there is not: no size, never ready, whatever is written.
    for selected in [2, 1 << 16, u64::from(u32::MAX)] {
        access(0x30, Some(selected));
        access(0x44, Some(1));
        assert_eq!([access(0x34, None).0, access(0x44, None).0], [0, 0], "{selected}");
    }
    access(0x30, Some(1));
    access(0x44, Some(0));
    assert_eq!(access(0x50, Some(1)).1, Effect::None);
    assert_eq!(access(0x50, Some(0)).1, Effect::Notify(0));
    assert!(registers.is_live(0) && !registers.is_live(1));
}
