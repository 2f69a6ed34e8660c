//! What a boot loader hands to the kernel: a device tree that says what the machine has, whatever
//! the loader learned it from.
//!
//! The kernel reads one thing, [`Machine::from_dtb`]; a loader that found ACPI tables, or a
//! firmware's memory map, writes what it found with [`write`]. The tree is the boot block: its
//! format is public, versioned, and checked by the reader.

use heapless::Vec;

use crate::device_tree::{
    Conduit, EMULATED, LeftOut, MAX_MEMORY, MAX_REGIONS, Machine, Range, add_memory,
};
use crate::early_map;
use crate::guest_tree::TreeFull;
use crate::guest_tree::flat::Flat;

/// Ranges that are looked at at once, before neighbours are joined.
const MOST: usize = 512;
const SPI: u32 = 0;
const PPI: u32 = 1;
const LEVEL: u32 = 4;
/// Least numbers of private and shared interrupts, IHI 0069, 2.2.1.
const FIRST_PPI: u32 = 16;
const FIRST_SPI: u32 = 32;
const PHANDLE_GIC: u32 = 1;
/// Where memory ends that a kernel is laid into first.
const LOW: u64 = 512 << 30;

/// Usable memory, sorted and joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usable {
    /// The largest ranges, by address.
    pub ranges: Vec<Range, MAX_MEMORY>,
    /// Bytes in smaller ranges, which are left alone.
    pub left_out: u64,
}

/// Joins ranges of usable memory and keeps the largest, however many there are.
pub fn usable(ranges: impl Iterator<Item = Range>) -> Usable {
    let (mut all, mut left_out): (Vec<Range, MOST>, LeftOut) = Default::default();
    for range in
        ranges.filter(|range| range.size != 0 && range.base.checked_add(range.size).is_some())
    {
        // Maps are nearly sorted: joining as they come keeps them short.
        match all.last_mut() {
            Some(last) if last.base + last.size == range.base => last.size += range.size,
            _ => {
                if all.is_full() {
                    join(&mut all);
                }
                add_memory(&mut all, range, &mut left_out);
            }
        }
    }
    join(&mut all);
    let mut kept = Vec::new();
    all.into_iter().for_each(|range| add_memory(&mut kept, range, &mut left_out));
    kept.sort_unstable_by_key(|range| range.base);
    Usable { ranges: kept, left_out: left_out.memory }
}

/// Sorts ranges, and joins those that touch or overlap.
fn join(all: &mut Vec<Range, MOST>) {
    all.sort_unstable_by_key(|range| range.base);
    let mut last = 0;
    for place in 1..all.len() {
        let range = all[place];
        let before = &mut all[last];
        if before.base + before.size >= range.base {
            let end = (before.base + before.size).max(range.base + range.size);
            before.size = end - before.base;
        } else {
            last += 1;
            all[last] = range;
        }
    }
    all.truncate(last + 1);
}

/// Where a kernel of `size` bytes is to lie, a multiple of `step`, among these ranges of free
/// memory; `None` if it fits into none.
///
/// It is the middle of a range, since firmware takes memory from an end: so it is the same after a
/// warm reboot, and what the kernel before left there is found. Memory below 512 GiB comes first:
/// what starts the kernel, firmware at EL3 among it, is tried there most. Above it is only where a
/// machine has nothing else.
pub fn place(free: impl Iterator<Item = Range> + Clone, size: u64, step: u64) -> Option<u64> {
    let cut = |range: Range, from: u64, to: u64| {
        let end = range.base.saturating_add(range.size).min(to);
        let base = range.base.max(from);
        (base < end).then(|| Range { base, size: end - base })
    };
    let best = |from, to| {
        let middles =
            free.clone().filter_map(move |range| cut(range, from, to)).filter_map(|range| {
                let middle = (range.base + range.size / 2) & !(step - 1);
                let fits =
                    middle >= range.base && middle.checked_add(size)? <= range.base + range.size;
                fits.then_some((range.size, middle))
            });
        middles.max_by_key(|(size, _)| *size).map(|(_, middle)| middle)
    };
    best(0, LOW).or_else(|| best(LOW, early_map::END))
}

/// Where a kernel of `size` bytes is to lie so that nobody can tell it beforehand: one of all
/// multiples of `step` where it fits, by `number`, which is random. Memory below 512 GiB comes
/// first, as in [`place`].
pub fn place_anywhere(
    free: impl Iterator<Item = Range> + Clone,
    size: u64,
    step: u64,
    number: u64,
) -> Option<u64> {
    // First place, and how many there are from it on.
    let places = |from: u64, to: u64| {
        free.clone().filter_map(move |range| {
            let first = range.base.max(from).checked_next_multiple_of(step)?;
            let end = range.base.saturating_add(range.size).min(to);
            let room = end.checked_sub(first)?.checked_sub(size)?;
            Some((first, room / step + 1))
        })
    };
    let choose = |from, to| {
        let count: u64 = places(from, to).map(|(_, count)| count).sum();
        let mut chosen = number.checked_rem(count)?;
        places(from, to).find_map(|(first, count)| {
            if chosen < count {
                return Some(first + chosen * step);
            }
            chosen -= count;
            None
        })
    };
    choose(0, LOW).or_else(|| choose(LOW, early_map::END))
}

/// Writes a machine as a device tree, with random numbers of the firmware's; its length in bytes.
///
/// # Errors
/// It does not fit.
pub fn write(machine: &Machine, seed: &[u8], into: &mut [u8]) -> Result<usize, TreeFull> {
    let mut tree = Flat::new(into)?;
    tree.begin("")?;
    tree.cells("#address-cells", &[2])?;
    tree.cells("#size-cells", &[2])?;
    tree.text("compatible", &["bale,handover"])?;
    if machine.emulated {
        tree.text("model", &[EMULATED])?;
    } else if !machine.model.is_empty() {
        tree.text("model", &[&machine.model])?;
    }
    tree.cells("interrupt-parent", &[PHANDLE_GIC])?;
    chosen(&mut tree, machine, seed)?;
    for range in &machine.memory {
        tree.begin_at("memory", range.base)?;
        tree.text("device_type", &["memory"])?;
        tree.pair("reg", range.base, range.size)?;
        tree.end()?;
    }
    if !machine.reserved.is_empty() {
        tree.begin("reserved-memory")?;
        tree.cells("#address-cells", &[2])?;
        tree.cells("#size-cells", &[2])?;
        tree.empty("ranges")?;
        for range in &machine.reserved {
            tree.begin_at("kept", range.base)?;
            tree.pair("reg", range.base, range.size)?;
            tree.end()?;
        }
        tree.end()?;
    }
    cpus(&mut tree, machine)?;
    tree.begin("psci")?;
    tree.text("compatible", &["arm,psci-1.0", "arm,psci-0.2"])?;
    tree.text("method", &[if machine.psci == Conduit::Smc { "smc" } else { "hvc" }])?;
    tree.end()?;
    tree.begin("timer")?;
    tree.text("compatible", &["arm,armv8-timer"])?;
    let timer = &machine.timer;
    // The secure timer is nobody's here; its place has to be filled.
    let numbers = [timer.physical, timer.physical, timer.virtual_timer, timer.hypervisor_physical];
    let interrupts = numbers.map(|number| [PPI, number.wrapping_sub(FIRST_PPI), LEVEL]);
    tree.cells("interrupts", interrupts.as_flattened())?;
    tree.end()?;
    interrupt_controller(&mut tree, machine)?;
    if let Some(clock) = machine.clock {
        tree.begin_at("rtc", clock.base)?;
        tree.text("compatible", &["arm,pl031", "arm,primecell"])?;
        tree.pair("reg", clock.base, clock.size)?;
        tree.end()?;
    }
    tree.begin_at("serial", machine.uart.base)?;
    tree.text("compatible", &["arm,pl011", "arm,primecell"])?;
    tree.pair("reg", machine.uart.base, 0x1000)?;
    tree.cells("interrupts", &[SPI, machine.uart.interrupt.wrapping_sub(FIRST_SPI), LEVEL])?;
    tree.end()?;
    for place in &machine.virtio {
        tree.begin_at("virtio_mmio", place.registers.base)?;
        tree.text("compatible", &["virtio,mmio"])?;
        tree.pair("reg", place.registers.base, place.registers.size)?;
        tree.cells("interrupts", &[SPI, place.interrupt.wrapping_sub(FIRST_SPI), LEVEL])?;
        tree.end()?;
    }
    tree.end()?;
    tree.finish()
}

fn chosen(tree: &mut Flat<'_>, machine: &Machine, seed: &[u8]) -> Result<(), TreeFull> {
    let mut path: heapless::String<32> = heapless::String::new();
    core::fmt::write(&mut path, format_args!("/serial@{:x}", machine.uart.base))
        .map_err(|_| TreeFull)?;
    tree.begin("chosen")?;
    tree.text("stdout-path", &[&path])?;
    if !machine.bootargs.is_empty() {
        tree.text("bootargs", &[&machine.bootargs])?;
    }
    if let Some(initrd) = &machine.initrd {
        tree.long("linux,initrd-start", initrd.base)?;
        tree.long("linux,initrd-end", initrd.base + initrd.size)?;
    }
    if let Some(text) = &machine.firmware {
        tree.pair("bale,firmware", text.base, text.size)?;
    }
    if let Some(kept) = machine.kept {
        tree.pair("bale,kept", kept.base, kept.size)?;
    }
    if let Some(seconds) = machine.started {
        tree.long("bale,started", seconds)?;
    }
    if !machine.commands.is_empty() {
        tree.text("bale,commands", &[&machine.commands])?;
    }
    if !seed.is_empty() {
        tree.bytes("rng-seed", seed)?;
    }
    tree.end()
}

fn cpus(tree: &mut Flat<'_>, machine: &Machine) -> Result<(), TreeFull> {
    tree.begin("cpus")?;
    tree.cells("#address-cells", &[2])?;
    tree.cells("#size-cells", &[0])?;
    for cpu in &machine.cpus {
        tree.begin_at("cpu", cpu.affinity)?;
        tree.text("device_type", &["cpu"])?;
        tree.text("compatible", &["arm,armv8"])?;
        tree.text("enable-method", &["psci"])?;
        tree.long("reg", cpu.affinity)?;
        tree.end()?;
    }
    tree.end()
}

fn interrupt_controller(tree: &mut Flat<'_>, machine: &Machine) -> Result<(), TreeFull> {
    let gic = &machine.gic;
    let mut regions: Vec<u64, { 2 * (1 + MAX_REGIONS) }> = Vec::new();
    for range in core::iter::once(&gic.distributor).chain(&gic.redistributors) {
        regions.extend_from_slice(&[range.base, range.size]).map_err(|_| TreeFull)?;
    }
    tree.begin_at("interrupt-controller", gic.distributor.base)?;
    tree.text("compatible", &["arm,gic-v3"])?;
    tree.cells("#interrupt-cells", &[3])?;
    tree.empty("interrupt-controller")?;
    tree.cells("phandle", &[PHANDLE_GIC])?;
    tree.cells(
        "#redistributor-regions",
        &[u32::try_from(gic.redistributors.len()).map_err(|_| TreeFull)?],
    )?;
    tree.longs("reg", &regions)?;
    tree.end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Usable, place, place_anywhere, usable, write};
    use crate::device_tree::{
        Conduit, Cpu, Gic, LeftOut, MAX_CPUS, MAX_MEMORY, MAX_REGIONS, MAX_RESERVED, MAX_VIRTIO,
        Machine, Range, Timer, Uart, VirtioPlace, take_seeds,
    };

    /// As long as the loader's.
    const SEED: &[u8] = &[0x5a; 64];

    fn range(base: u64, size: u64) -> Range {
        Range { base, size }
    }

    fn machine() -> Machine {
        let affinities = [0xa00, 0xb00, 0x1_0000, 0x1_0001, 0x2_0000_0300];
        Machine {
            model: "Some board".try_into().expect("short"),
            emulated: false,
            memory: [range(0x8680_0000, 0x1000_0000), range(0x80_0000_0000, 0x7_0000_0000)]
                .into_iter()
                .collect(),
            reserved: [range(0xa000_0000, 0x800_0000)].into_iter().collect(),
            cpus: affinities.into_iter().map(|affinity| Cpu { affinity }).collect(),
            gic: Gic {
                distributor: range(0x0e01_0000, 0x1_0000),
                redistributors: [range(0x0e09_0000, 0x30_0000), range(0x1e00_0000, 0x10_0000)]
                    .into_iter()
                    .collect(),
            },
            uart: Uart { base: 0x040d_0000, interrupt: 330 },
            timer: Timer { physical: 30, virtual_timer: 27, hypervisor_physical: 26 },
            psci: Conduit::Smc,
            bootargs: "exec log=defmt".try_into().expect("short"),
            initrd: Some(range(0x9000_0000, 0x123_4567)),
            virtio: [VirtioPlace { registers: range(0x0a00_3e00, 0x200), interrupt: 79 }]
                .into_iter()
                .collect(),
            clock: Some(range(0x0901_0000, 0x1000)),
            started: Some(1_764_420_000),
            firmware: Some(range(0x9200_0000, 0x321)),
            kept: Some(range(0x9300_0000, 0x2000)),
            commands: "mem\nvm start \"linux\"\n".try_into().expect("short"),
            left_out: LeftOut::default(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = vec![0; 64 << 10];
        for change in [
            |_: &mut Machine| {},
            |made: &mut Machine| made.reserved.clear(),
            |made: &mut Machine| {
                made.initrd = None;
                made.firmware = None;
                made.kept = None;
                made.started = None;
                made.commands.clear();
                made.bootargs.clear();
                made.psci = Conduit::Hvc;
            },
        ] {
            let mut made = machine();
            change(&mut made);
            let length = write(&made, SEED, &mut bytes).expect("it fits");
            assert_eq!(Machine::from_dtb(&bytes[..length]).expect("a machine"), made);
        }
    }

    #[test]
    fn the_seed_is_handed_over_once() {
        let mut bytes = vec![0; 64 << 10];
        let length = write(&machine(), SEED, &mut bytes).expect("it fits");
        let mut seeds = vec![];
        let tree = &mut bytes[..length];
        assert_eq!(take_seeds(tree, |seed| seeds.extend_from_slice(seed)), SEED.len());
        assert_eq!(seeds, SEED);
        assert_eq!(take_seeds(tree, |_| ()), 0);
        assert_eq!(Machine::from_dtb(tree).expect("a machine"), machine());
        // A firmware that has none.
        let length = write(&machine(), &[], &mut bytes).expect("it fits");
        assert_eq!(take_seeds(&mut bytes[..length], |_| ()), 0);
    }

    /// The loader has this much room, and nobody to tell that it was too little.
    #[test]
    fn the_largest_machine_fits() {
        let mut made = machine();
        let scattered = |index: u64| range(0xf000_0000_0000 + (index << 32), 0x1000);
        made.memory = (0..MAX_MEMORY as u64).map(scattered).collect();
        made.reserved = (0..MAX_RESERVED as u64).map(scattered).collect();
        made.cpus =
            (0..MAX_CPUS as u64).map(|cpu| Cpu { affinity: 0xff_00ff_0000 + cpu }).collect();
        made.gic.redistributors = (0..MAX_REGIONS as u64).map(scattered).collect();
        let place = |index| VirtioPlace { registers: scattered(index), interrupt: 79 };
        made.virtio = (0..MAX_VIRTIO as u64).map(place).collect();
        let mut bytes = vec![0; 64 << 10];
        let length = write(&made, SEED, &mut bytes).expect("it fits");
        assert_eq!(Machine::from_dtb(&bytes[..length]).expect("a machine"), made);
    }

    #[test]
    fn too_little_room_is_an_error() {
        let length = write(&machine(), SEED, &mut vec![0; 64 << 10]).expect("it fits");
        for room in [0, 39, 100, length - 1] {
            assert!(write(&machine(), SEED, &mut vec![0; room]).is_err(), "{room}");
        }
        assert_eq!(write(&machine(), SEED, &mut vec![0; length]), Ok(length));
    }

    #[test]
    fn neighbours_are_joined_and_the_largest_kept() {
        let ranges = [(0x5000, 0x1000), (0x1000, 0x1000), (0x2000, 0x3000), (0x1_0000, 0x100)];
        let found = usable(ranges.into_iter().map(|(base, size)| range(base, size)));
        assert_eq!(found.ranges, [range(0x1000, 0x5000), range(0x1_0000, 0x100)]);
        let many = (0..44).map(|index| range(index * 0x10_0000, (index + 1) * 0x1000));
        let found = usable(many);
        assert_eq!(found.ranges.len(), MAX_MEMORY);
        assert_eq!(found.ranges[0], range(12 * 0x10_0000, 13 * 0x1000));
        assert_eq!(found.left_out, (1..=12).map(|size| size * 0x1000).sum::<u64>());
        // More than are looked at at once, and the largest last.
        let scattered = (0..2000).map(|index| range(index * 0x2000, 0x1000));
        let found = usable(scattered.chain([range(1 << 40, 1 << 30)]));
        assert_eq!(found.ranges.last(), Some(&range(1 << 40, 1 << 30)));
        assert_eq!(found.left_out, (2001 - MAX_MEMORY as u64) * 0x1000);
        // The same in an order in which neighbours do not follow each other: they are joined all
        // the same.
        let mixed = (0..1000).map(|index| range((index * 7 % 1000) * 0x1000, 0x1000));
        assert_eq!(usable(mixed).ranges, [range(0, 1000 * 0x1000)]);
        assert_eq!(usable([range(u64::MAX, 2), range(5, 0)].into_iter()), Usable::default());
    }

    #[test]
    fn a_kernel_goes_to_low_memory_first() {
        const STEP: u64 = 64 << 20;
        let place = |ranges: &[Range]| place(ranges.iter().copied(), 5 << 20, STEP);
        // 64 GiB as the Orion O6 has them: the larger bank begins at 512 GiB.
        let banks = [range(0x8680_0000, 0x7_7980_0000), range(0x80_0000_0000, 0x8_8000_0000)];
        assert_eq!(place(&banks), Some(0x4_4000_0000));
        assert_eq!(place(&banks[1..]), Some(0x84_4000_0000), "nothing else");
        assert_eq!(
            place(&[range(0x100_0000_0000, 0x4000_0000)]),
            Some(0x100_2000_0000),
            "as sbsa-ref"
        );
        // One range that crosses the boundary: its low part.
        assert_eq!(place(&[range(0x4000_0000, 1100 << 30)]), Some(0x40_2000_0000));
        // Where the middle does not do, a smaller range does.
        assert_eq!(
            place(&[range(0x100_0000, 0x200_0000), range(0x400_0000, 0x100_0000)]),
            Some(0x400_0000)
        );
        assert_eq!(place(&[range(0x4000_0000, 4 << 20), range(1 << 48, 1 << 30)]), None);
    }

    #[test]
    fn a_random_place_is_any_of_all() {
        const STEP: u64 = 2 << 20;
        let place = |ranges: &[Range], number| {
            place_anywhere(ranges.iter().copied(), 3 << 20, STEP, number)
        };
        // Places at 4, 6 and 8 MiB, none in the second range, and at 32 MiB.
        let banks = [
            range(0x30_0000, 8 << 20),
            range(0x100_0000, STEP),
            range(0x200_0000, 3 << 20),
            range(0x80_0000_0000, 1 << 30),
        ];
        let found: std::vec::Vec<_> = (0..8).map(|number| place(&banks, number)).collect();
        let all = [0x40_0000, 0x60_0000, 0x80_0000, 0x200_0000].map(Some);
        assert_eq!(found, [all, all].concat());
        assert_eq!(place(&banks, u64::MAX), Some(0x200_0000));
        assert_eq!(place(&banks[3..], 3), Some(0x80_0060_0000), "nothing else");
        assert_eq!(place(&banks[1..2], 0), None);
        assert_eq!(place(&[], 5), None);
        assert_eq!(place(&[range(u64::MAX - 5, 5), range(1 << 48, 1 << 30)], 5), None);
    }

    proptest! {
        #[test]
        fn no_byte_is_usable_that_was_not(parts in prop::collection::vec((0u64..64, 0u64..8), 0..40)) {
            let ranges = || parts.iter().map(|&(page, pages)| range(page << 12, pages << 12));
            let found = usable(ranges());
            let is_in = |at: u64, range: &Range| (range.base..range.base + range.size).contains(&at);
            let mut covered = 0;
            for page in 0..80u64 {
                let given = ranges().any(|range| is_in(page << 12, &range));
                let taken = found.ranges.iter().filter(|range| is_in(page << 12, range)).count();
                prop_assert!(taken <= usize::from(given));
                covered += u64::from(given) - taken as u64;
            }
            prop_assert_eq!(covered << 12, found.left_out);
        }
    }
}
