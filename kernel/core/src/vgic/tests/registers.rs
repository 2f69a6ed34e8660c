//! What a guest reads and writes.

use super::*;

/// Each offset in each width: nothing panics, and what is refused is what the layout says.
#[test]
fn every_offset_and_width() {
    let mut vgic = ready(2);
    for write in [None, Some(0), Some(u64::MAX)] {
        for width in [1u8, 2, 4, 8] {
            for offset in 0..DISTRIBUTOR_SIZE {
                let aligned = offset % u64::from(width) == 0;
                let allowed = match offset {
                    0x400..0x800 => matches!(width, 1 | 4),
                    0x6100..0x8000 => matches!(width, 4 | 8),
                    _ => width == 4,
                };
                let result = vgic.distributor(offset, width, write);
                // Priorities beyond the last interrupt ignore every width.
                let reserved = matches!(offset, 0x400..0x420 | 0x460..0x800) && aligned;
                assert_eq!(result.is_ok(), reserved || aligned && allowed, "{offset:#x} {width}");
            }
            for offset in 0..REDISTRIBUTOR_SIZE {
                let aligned = offset % u64::from(width) == 0;
                let allowed = match offset {
                    0x8..0x10 => matches!(width, 4 | 8),
                    0x1_0400..0x1_0420 => matches!(width, 1 | 4),
                    _ => width == 4,
                };
                let result = vgic.redistributor(REDISTRIBUTOR_SIZE + offset, width, write);
                let reserved = matches!(offset, 0x1_0420..0x1_0800) && aligned;
                assert_eq!(result.is_ok(), reserved || aligned && allowed, "{offset:#x} {width}");
            }
        }
    }
    for width in [0, 3, 5, 16, 255] {
        assert_eq!(vgic.distributor(0, width, None), Err(Refused));
    }
    assert_eq!(vgic.redistributor(2 * REDISTRIBUTOR_SIZE, 4, None), Err(Refused));
    assert_eq!(vgic.redistributor(u64::MAX, 1, None), Err(Refused));
}

#[test]
fn what_linux_reads_at_boot() {
    let mut vgic = Vgic::new(4);
    assert_eq!(vgic.distributor(0xffe8, 4, None), Ok(0x3b));
    assert_eq!(vgic.distributor(4, 4, None).map(|typer| typer & 31), Ok(2));
    write(&mut vgic, 0, 0x13);
    assert_eq!(vgic.distributor(0, 4, None), Ok(0x53));
    for vcpu in 0..4 {
        let typer = vgic.redistributor(vcpu * REDISTRIBUTOR_SIZE + 8, 8, None);
        assert_eq!(typer, Ok(vcpu << 32 | vcpu << 8 | if vcpu == 3 { 1 << 4 } else { 0 }));
        let waker = vcpu * REDISTRIBUTOR_SIZE + 0x14;
        assert_eq!(vgic.redistributor(waker, 4, None), Ok(6));
        assert_eq!(vgic.redistributor(waker, 4, Some(0)), Ok(0));
        assert_eq!(vgic.redistributor(waker, 4, None), Ok(0));
    }
}

proptest! {
    /// Registers hold what is written to them.
    #[test]
    fn enables_and_priorities_read_back(writes in proptest::collection::vec((32..96u64, any::<bool>(), any::<u8>()), 1..100)) {
        let mut vgic = Vgic::new(MAX_VCPUS);
        let mut model = [(false, 0u8); 96];
        for (number, enable, priority) in writes {
            let offset = if enable { ISENABLER } else { ICENABLER } + number / 32 * 4;
            write(&mut vgic, offset, 1 << (number % 32));
            prop_assert_eq!(vgic.distributor(IPRIORITYR + number, 1, Some(priority.into())), Ok(0));
            model[number as usize] = (enable, priority & 0xf8);
        }
        for (number, (enabled, priority)) in model.iter().enumerate().skip(32) {
            let word = vgic.distributor(ISENABLER + number as u64 / 32 * 4, 4, None).unwrap();
            prop_assert_eq!(word >> (number % 32) & 1 == 1, *enabled);
            prop_assert_eq!(vgic.distributor(IPRIORITYR + number as u64, 1, None), Ok(u64::from(*priority)));
        }
    }
}
