//! Tables of made-up machines: one like QEMU's, one like the Radxa Orion O6, and broken ones.

use proptest::prelude::*;

use super::{AcpiError, Memory, Signature, describe};
use crate::device_tree::{Conduit, Machine as Found, Range, Timer, Uart};

fn machine(image: &Image, root: u64) -> Result<Found, AcpiError> {
    super::machine(image, root, None, Some("Radxa Orion O6"))
}

const BASE: u64 = 0x8000_0000;

/// Tables one after the other at [`BASE`].
struct Image(Vec<u8>);

impl Memory for Image {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(address.checked_sub(BASE)?).ok()?;
        self.0.get(start..start.checked_add(length)?)
    }
}

fn fix(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[at] = 0u8.wrapping_sub(sum);
}

fn table(signature: &[u8; 4], maker: &[u8; 6], content: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend(u32::try_from(36 + content.len()).expect("small").to_le_bytes());
    bytes.extend([1, 0]);
    bytes.extend(maker);
    bytes.resize(36, 0);
    bytes.extend(content);
    fix(&mut bytes, 9);
    bytes
}

/// A field at its place in a table whose header is cut off.
fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let at = at - 36;
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

fn gicc(affinity: u64, redistributor: u64, enabled: bool) -> Vec<u8> {
    let mut bytes = vec![0; 82];
    (bytes[0], bytes[1]) = (0x0b, 82);
    bytes[12] = enabled.into();
    bytes[60..68].copy_from_slice(&redistributor.to_le_bytes());
    bytes[68..76].copy_from_slice(&affinity.to_le_bytes());
    bytes
}

/// The entry as ACPI 6.2 has it, without the interrupt of the trace buffer.
fn short(mut gicc: Vec<u8>) -> Vec<u8> {
    gicc.truncate(80);
    gicc[1] = 80;
    gicc
}

fn gicd(base: u64, version: u8) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    (bytes[0], bytes[1], bytes[20]) = (0x0c, 24, version);
    bytes[8..16].copy_from_slice(&base.to_le_bytes());
    bytes
}

fn gicr(base: u64, size: u32) -> Vec<u8> {
    let mut bytes = vec![0x0e, 16, 0, 0];
    bytes.extend(base.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes
}

/// The boot core, then the others.
const O6_ORDER: [u64; 12] =
    [0xa00, 0x000, 0x100, 0x200, 0x300, 0x400, 0x500, 0x600, 0x700, 0x800, 0x900, 0xb00];

/// The tables of a machine, to be changed before they are laid out.
struct Machine {
    maker: [u8; 6],
    madt: Vec<Vec<u8>>,
    boot_flags: u16,
    uart: Option<(u8, u64, u32)>,
    timer: u32,
}

impl Machine {
    fn like_qemu() -> Self {
        let mut madt = vec![gicd(0x0800_0000, 3)];
        madt.extend((0..4).map(|core| gicc(core, 0, true)));
        madt.push(gicr(0x080a_0000, 0xf6_0000));
        Self { maker: *b"BOCHS ", madt, boot_flags: 1, uart: Some((3, 0x0900_0000, 33)), timer: 26 }
    }

    /// As the vendor's tables are: twelve cores with the boot core first, entries of 80 bytes
    /// without a redistributor, one region for all, no SPCR.
    fn like_o6() -> Self {
        let mut madt: Vec<_> =
            O6_ORDER.iter().map(|core| short(gicc(0x8100_0000 | core, 0, true))).collect();
        madt.push(gicd(0x0e01_0000, 4));
        madt.push(gicr(0x0e09_0000, 12 * 0x4_0000));
        Self { maker: *b"CIXTEK", madt, boot_flags: 1, uart: None, timer: 26 }
    }

    fn image(&self) -> Image {
        lay_out(&self.maker, &self.tables())
    }

    fn tables(&self) -> Vec<Vec<u8>> {
        let mut madt = vec![0; 8];
        self.madt.iter().for_each(|structure| madt.extend(structure));
        let mut fadt = Vec::new();
        put(&mut fadt, 129, &self.boot_flags.to_le_bytes());
        let mut gtdt = Vec::new();
        for (at, number) in [(56, 30), (64, 27), (72, self.timer)] {
            put(&mut gtdt, at, &u32::to_le_bytes(number));
        }
        put(&mut gtdt, 76, &[0; 20]);
        let mut tables = vec![
            table(b"FACP", &self.maker, &fadt),
            table(b"APIC", &self.maker, &madt),
            table(b"GTDT", &self.maker, &gtdt),
        ];
        if let Some((kind, base, interrupt)) = self.uart {
            let mut spcr = Vec::new();
            put(&mut spcr, 36, &[kind]);
            put(&mut spcr, 44, &base.to_le_bytes());
            put(&mut spcr, 52, &[8, 0]);
            put(&mut spcr, 54, &interrupt.to_le_bytes());
            put(&mut spcr, 58, &[0; 22]);
            tables.push(table(b"SPCR", &self.maker, &spcr));
        }
        tables
    }
}

fn lay_out(maker: &[u8; 6], tables: &[Vec<u8>]) -> Image {
    let list_length = 36 + 8 * tables.len() as u64;
    let mut at = BASE + 36 + list_length;
    let mut list = Vec::new();
    for table in tables {
        list.extend(at.to_le_bytes());
        at += table.len() as u64;
    }
    let mut root = b"RSD PTR ".to_vec();
    root.resize(36, 0);
    root[15] = 2;
    root[20] = 36;
    root[24..32].copy_from_slice(&(BASE + 36).to_le_bytes());
    fix(&mut root[..20], 8);
    fix(&mut root, 32);
    Image([root, table(b"XSDT", maker, &list), tables.concat()].concat())
}

#[test]
fn a_machine_like_qemus() {
    let found = machine(&Machine::like_qemu().image(), BASE).expect("a machine");
    assert_eq!(found.cpus.iter().map(|cpu| cpu.affinity).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(found.uart, Uart { base: 0x0900_0000, interrupt: 33 });
    assert_eq!(found.gic.redistributors, [Range { base: 0x080a_0000, size: 0xf6_0000 }]);
    assert_eq!((found.psci, found.timer.hypervisor_physical), (Conduit::Smc, 26));
    assert!(found.memory.is_empty());
}

#[test]
fn a_machine_like_the_orion_o6() {
    let found = machine(&Machine::like_o6().image(), BASE).expect("a machine");
    let affinities: Vec<u64> = found.cpus.iter().map(|cpu| cpu.affinity).collect();
    assert_eq!(
        affinities, O6_ORDER,
        "the table's order, without the bits of MPIDR that are no affinity"
    );
    assert_eq!(found.timer, Timer { physical: 30, virtual_timer: 27, hypervisor_physical: 26 });
    assert_eq!(found.gic.distributor.base, 0x0e01_0000);
    assert_eq!(found.uart, Uart { base: 0x040d_0000, interrupt: 330 });
    assert_eq!(found.model, "CIX P1 (Radxa Orion O6)");
    let record = 0x83c0_000c;
    assert!(found.reserved.iter().any(|kept| (kept.base..kept.base + kept.size).contains(&record)));
    assert_eq!(found.gic.redistributors, [Range { base: 0x0e09_0000, size: 12 * 0x4_0000 }]);
    assert!(super::watched(&found.model).iter().any(|(_, address)| *address == 0x1600_0508));
    assert!(super::watched("").is_empty() && super::watched("CIX P10").is_empty());
    // A chip with a core that was found bad: its entry is there and not enabled.
    let mut binned = Machine::like_o6();
    binned.madt[3] = short(gicc(0x8100_0200, 0, false));
    let found = machine(&binned.image(), BASE).expect("a machine");
    assert_eq!(found.cpus.len(), 11);
    assert!(found.cpus.iter().all(|cpu| cpu.affinity != 0x200));
}

#[test]
fn tables_are_described_for_a_report() {
    let mut o6 = Machine::like_o6();
    o6.uart = Some((3, 0x040e_0000, 331));
    let described = |image: &Image, root| {
        let mut text = String::new();
        describe(image, root, &mut text).expect("room");
        text
    };
    let image = o6.image();
    let text = described(&image, BASE);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[0].starts_with("acpi: FACP at 0x80000") && lines[0].ends_with(" bytes, CIXTEK "),
        "{text}"
    );
    assert!(lines[3].ends_with(", UART 0x40e0000"), "{text}");
    assert_eq!(
        described(&image, BASE + 1),
        "acpi: there is no ACPI root pointer of version 2 or later\n"
    );
    let mut broken = o6.image().0;
    *broken.last_mut().expect("bytes") ^= 1;
    assert!(
        described(&Image(broken), BASE)
            .ends_with("acpi: the ACPI table SPCR has a wrong checksum\n")
    );
}

#[test]
fn an_spcr_of_the_orion_o6_is_not_believed() {
    let mut o6 = Machine::like_o6();
    o6.uart = Some((3, 0x040e_0000, 331));
    assert_eq!(machine(&o6.image(), BASE).expect("a machine").uart.base, 0x040d_0000);
}

/// Chips of the same maker on other boards: what is the chip's is put right there as well, the name
/// is the board's.
#[test]
fn a_sister_board_has_its_own_name() {
    let image = Machine::like_o6().image();
    let found = |product| super::machine(&image, BASE, None, product).expect("a machine");
    let (ours, sister, unknown) =
        (found(Some("Radxa Orion O6")), found(Some("Radxa Orion O6N")), found(None));
    assert_eq!(sister.model, "CIX P1 (Radxa Orion O6N)");
    assert_eq!(unknown.model, "CIX P1 (of unknown make)");
    assert_eq!(found(Some("A name of far more than 28 letters")).model.len(), 37);
    for other in [sister, unknown] {
        assert_eq!((&other.reserved, other.uart), (&ours.reserved, ours.uart));
        assert_eq!(super::watched(&other.model).len(), super::watched(&ours.model).len());
    }
}

/// Without an SPCR the message says what DBG2 knows, and what to write where.
#[test]
fn dbg2_is_a_hint() {
    let mut silent = Machine::like_qemu();
    silent.uart = None;
    let with = |kind: u16, base: u64, count: u32, cut: usize| {
        let mut port = vec![0; 22 + 12];
        (port[1], port[3], port[18]) = (34, 1, 22);
        port[12..14].copy_from_slice(&0x8000_u16.to_le_bytes());
        port[14..16].copy_from_slice(&kind.to_le_bytes());
        port[26..34].copy_from_slice(&base.to_le_bytes());
        let mut content = [44_u32.to_le_bytes(), count.to_le_bytes()].concat();
        content.extend(port);
        content.truncate(content.len() - cut);
        let mut tables = silent.tables();
        tables.push(table(b"DBG2", &silent.maker, &content));
        machine(&lay_out(&silent.maker, &tables), BASE)
    };
    assert_eq!(with(3, 0x6000_0000, 1, 0), Err(AcpiError::NoUart(Some(0x6000_0000))));
    assert_eq!(with(0x0e, 0x6000_0000, 9, 0), Err(AcpiError::NoUart(Some(0x6000_0000))));
    assert_eq!(with(0, 0x3f8, 1, 0), Err(AcpiError::NoUart(None)), "another kind");
    assert_eq!(with(3, 0x6000_0000, 0, 0), Err(AcpiError::NoUart(None)), "none");
    assert_eq!(with(3, 0x6000_0000, 1, 1), Err(AcpiError::NoUart(None)), "cut");
    let text = AcpiError::NoUart(Some(0x6000_0000)).to_string();
    assert!(text.contains("`console = [0x60000000, N]`") && text.contains("bale.toml"), "{text}");
}

#[test]
fn more_cores_than_there_is_room_for_are_counted() {
    let mut made = Machine::like_qemu();
    made.madt.extend((1..=130).map(|core| gicc(core << 8, 0, true)));
    let found = machine(&made.image(), BASE).expect("a machine");
    assert_eq!((found.cpus.len(), found.left_out.cores), (128, 6));
    assert_eq!(found.left_out.to_string(), "6 cores");
}

#[test]
fn redistributors_by_core() {
    let mut other = Machine::like_qemu();
    let at = |core: u64| 0x2f10_0000 + core * 0x2_0000;
    other.madt = vec![gicd(0x2f00_0000, 3), gicc(0x100, at(1), true), gicc(0, at(0), true)];
    other.madt.push(gicc(0x200, 0x3f00_0000, true));
    other.madt.push(gicc(0x300, 0, false));
    let gic = machine(&other.image(), BASE).expect("a machine").gic;
    assert_eq!(
        gic.redistributors,
        [Range { base: at(0), size: 0x6_0000 }, Range { base: 0x3f00_0000, size: 0x4_0000 }]
    );
    other.madt.push(gicc(0x400, 0, true));
    assert_eq!(machine(&other.image(), BASE), Err(AcpiError::NoRedistributors));
}

#[test]
fn what_is_missing_is_named() {
    let with = |change: fn(&mut Machine)| {
        let mut made = Machine::like_qemu();
        change(&mut made);
        machine(&made.image(), BASE).expect_err("not a machine")
    };
    let mut silent = Machine::like_qemu();
    silent.uart = None;
    let given = Uart { base: 0x0900_0000, interrupt: 33 };
    let found =
        super::machine(&silent.image(), BASE, Some(given), None).expect("a console was given");
    assert_eq!(found.uart, given);
    assert_eq!(with(|made| made.boot_flags = 0), AcpiError::NoPsci);
    assert_eq!(with(|made| made.uart = None), AcpiError::NoUart(None));
    assert_eq!(with(|made| made.uart = Some((0, 0x3f8, 33))), AcpiError::NoUart(None));
    assert_eq!(with(|made| made.timer = 0), AcpiError::NoTimer);
    assert_eq!(with(|made| made.madt[0] = gicd(0x0800_0000, 2)), AcpiError::NoGic);
    assert_eq!(with(|made| made.madt.retain(|part| part[0] != 0x0b)), AcpiError::NoCpus);
    assert_eq!(with(|made| made.madt.push(vec![0x0b, 0])), AcpiError::Length(Signature::APIC));
    assert_eq!(with(|made| made.madt.push(vec![0x0b, 200])), AcpiError::Length(Signature::APIC));
    assert_eq!(with(|made| made.madt.push(gicr(u64::MAX, 9))), AcpiError::Length(Signature::APIC));
    let regions = |made: &mut Machine| made.madt.extend((1..40).map(|at| gicr(at << 32, 0x1_0000)));
    assert_eq!(with(regions), AcpiError::TooMany("redistributor regions", 16));
}

#[test]
fn broken_tables_are_named_and_not_used() {
    let good = Machine::like_qemu().image();
    let place =
        |signature: &[u8]| good.0.windows(4).position(|part| part == signature).expect("there");
    for (signature, named) in [
        (b"XSDT", Signature::XSDT),
        (b"APIC", Signature::APIC),
        (b"GTDT", Signature::GTDT),
        (b"SPCR", Signature::SPCR),
        (b"FACP", Signature::FACP),
    ] {
        let at = place(signature);
        let mut bytes = good.0.clone();
        bytes[at + 30] ^= 1;
        assert_eq!(machine(&Image(bytes), BASE), Err(AcpiError::Checksum(named)));
        for length in [0u32, 35, 0x7fff_ffff, 0x10_0001] {
            let mut bytes = good.0.clone();
            bytes[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
            assert_eq!(machine(&Image(bytes), BASE), Err(AcpiError::Length(named)));
        }
        let mut bytes = good.0.clone();
        bytes[at + 4..at + 8].copy_from_slice(&0xffff_u32.to_le_bytes());
        assert_eq!(machine(&Image(bytes), BASE), Err(AcpiError::Unreadable(named)));
    }
    assert_eq!(machine(&good, BASE + 1), Err(AcpiError::NoRoot));
    assert_eq!(machine(&good, 0), Err(AcpiError::Unreadable(Signature::RSDP)));
    let mut bytes = good.0.clone();
    bytes[9] ^= 1;
    assert_eq!(machine(&Image(bytes), BASE), Err(AcpiError::Checksum(Signature::RSDP)));
}

proptest! {
    /// Bytes changed anywhere, checksums put right or not: an error or a machine, never a panic.
    #[test]
    fn changed_bytes_never_panic(
        o6: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        mended: bool,
    ) {
        let made = if o6 { Machine::like_o6() } else { Machine::like_qemu() };
        let mut bytes = made.image().0;
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if mended {
            let starts: Vec<usize> = [b"XSDT", b"APIC", b"GTDT", b"SPCR", b"FACP"]
                .iter()
                .filter_map(|name| bytes.windows(4).position(|part| part == *name))
                .collect();
            for start in starts {
                let length = u32::from_le_bytes(bytes[start + 4..start + 8].try_into().expect("four"));
                if let Some(table) = bytes.get_mut(start..start.saturating_add(length as usize))
                    && table.len() >= 36
                {
                    fix(table, 9);
                }
            }
        } else {
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        let _ = machine(&Image(bytes), BASE);
    }
}
