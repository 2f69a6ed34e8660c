//! Machines as another loader hands them over: image and boot block at addresses of ours, memory
//! where a real board has it.
//!
//! QEMU's machine has one range of memory. A boot block that names parts of it makes a machine with
//! holes, whose kernel lies where the firmware of a board put it; a few instructions stand for the
//! loader.

use std::fs;

use bale_core::device_tree::{
    Conduit, Cpu, Gic, LeftOut, MAX_RESERVED, Machine, Range, Timer, Uart,
};
use bale_core::handover;

use super::Bench;
use super::matrix::{stops, swaps_with};
use super::report::{Case, Outcome};
use crate::machine::{Config, Start};
use crate::run::Scratch;

/// Where things lie.
struct Layout {
    /// Memory that the boot block names.
    memory: &'static [(u64, u64)],
    /// Parts of it that are reserved.
    reserved: &'static [(u64, u64)],
    kernel: u64,
    tree: u64,
    bundle: u64,
}

/// The Radxa Orion O6 with 64 GiB, as boot logs of others have it: two banks, the larger one from
/// 512 GiB on, whose middle was the largest free range's; firmware's records at the beginning, its
/// kernel image at 0xa000_0000.
static ORION_O6: Layout = Layout {
    memory: &[(0x8000_0000, 0x7_8000_0000), (0x80_0000_0000, 0x8_8000_0000)],
    reserved: &[(0x8000_0000, 0x0680_0000), (0xa000_0000, 0x0800_0000)],
    kernel: 0x84_4000_0000,
    tree: 0x88_7ffe_0000,
    bundle: 0x7_0000_0000,
};

/// Memory begins at 1 TiB, as sbsa-ref's, and nothing lies below.
static FROM_1_TIB: Layout = Layout {
    memory: &[(0x100_0000_0000, 0x1_0000_0000)],
    reserved: &[],
    kernel: 0x100_0020_0000,
    tree: 0x100_8000_0000,
    bundle: 0x100_4000_0000,
};

/// The image crosses from the last gigabyte below 512 GiB into the first above, and so does the
/// tree from one gigabyte to the next.
static ACROSS: Layout = Layout {
    memory: &[(0x7f_0000_0000, 0x2_0000_0000)],
    reserved: &[],
    kernel: 0x7f_ffe0_0000,
    tree: 0x80_7fff_f800,
    bundle: 0x7f_4000_0000,
};

pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    let layouts = [
        ("64_gib_as_the_orion_o6", &ORION_O6),
        ("memory_from_1_tib", &FROM_1_TIB),
        ("across_512_gib", &ACROSS),
    ];
    let works = layouts.into_iter().map(|(name, layout)| Case {
        name: format!("handed_over::{name}"),
        run: Box::new(move || Outcome::of(swaps(bench, layout))),
    });
    let broken = BROKEN.iter().map(|broken| Case {
        name: format!("handed_over::stops_{}", broken.name),
        run: Box::new(move || Outcome::of(stops_with(bench, broken))),
    });
    let run = move || Outcome::of(starts_with_more_than_fits(bench));
    let more = Case { name: "handed_over::more_than_there_is_room_for".into(), run: Box::new(run) };
    works.chain(broken).chain([more]).collect()
}

/// A boot block that the kernel cannot start with: the bytes of it that are changed, and what has
/// to be said about it.
struct Broken {
    name: &'static str,
    from: &'static [u8],
    to: &'static [u8],
    says: &'static str,
}

/// Each way in which the boot can end before there is a console, by what is wrong with the boot
/// block. All are said on the UART that it names, but for the last two, whose block cannot be read:
/// there the board's own is all that is known.
static BROKEN: &[Broken] = &[
    Broken {
        name: "without_memory",
        from: b"memory\0\0",
        to: b"memorz\0\0",
        says: "names no memory",
    },
    Broken { name: "without_cores", from: b"\x01cpus\0", to: b"\x01cpuz\0", says: "names no core" },
    Broken {
        name: "without_psci",
        from: b"arm,psci-1.0\0arm,psci-",
        to: b"arm,qsci-1.0\0arm,qsci-",
        says: "names no PSCI",
    },
    Broken {
        name: "with_a_strange_conduit",
        from: b"smc\0",
        to: b"abc\0",
        says: "PSCI method is malformed",
    },
    Broken {
        name: "without_a_timer",
        from: b"arm,armv8-timer",
        to: b"arm,armv9-timer",
        says: "no armv8 timer",
    },
    Broken {
        name: "without_a_gic",
        from: b"arm,gic-v3\0",
        to: b"arm,gic-v9\0",
        says: "names no GICv3",
    },
    Broken {
        name: "with_an_interrupt_of_no_kind",
        from: b"\0\0\0\x01\0\0\0\x0b",
        to: b"\0\0\0\x07\0\0\0\x0b",
        says: "timer interrupts",
    },
    Broken {
        name: "with_a_node_that_is_none",
        from: b"\0\0\0\x01cpus\0",
        to: b"\0\0\0\x07cpus\0",
        says: "the device tree is broken",
    },
    Broken {
        name: "without_a_tree",
        from: b"\xd0\x0d\xfe\xed",
        to: b"\xd0\x0d\xfe\xee",
        says: "no device tree",
    },
];

/// The line comes, once, and the machine ends.
fn stops_with(bench: &Bench<'_>, broken: &Broken) -> Result<(), String> {
    let mut config = bench.config();
    let mut tree = tree_of(&machine(&FROM_1_TIB, &config)?)?;
    let (from, to) = (broken.from, broken.to);
    let place = tree
        .windows(from.len())
        .position(|bytes| bytes == from)
        .ok_or("the boot block has no such bytes")?;
    tree[place..place + to.len()].copy_from_slice(to);
    let kept = hand_over(&mut config, &tree, &FROM_1_TIB)?;
    let outcome = stops(bench, &config, &[broken.says]);
    drop(kept);
    outcome
}

/// More of everything than tables hold: it starts, and says what it does without, with its number.
fn starts_with_more_than_fits(bench: &Bench<'_>) -> Result<(), String> {
    let mut config = bench.config();
    let mut made = machine(&FROM_1_TIB, &config)?;
    // Cores that nobody starts, since there is no place for them; their number is what counts.
    made.cpus = (0..100).map(|affinity| Cpu { affinity }).collect();
    // As many holes as a boot block names, of a page each, each in another 2 MiB.
    let hole = |index: u64| Range { base: 0x100_c000_0000 + (index << 21), size: 0x1000 };
    made.reserved = (0..MAX_RESERVED as u64).map(hole).collect();
    let kept = hand_over(&mut config, &tree_of(&made)?, &FROM_1_TIB)?;
    let answer = bench.script(&config, "cores");
    drop(kept);
    let (lines, status) = answer?;
    let said =
        lines.iter().any(|line| line == "bale: 84 of 100 cores stay off: there is room for 16");
    if status == 0 && said { Ok(()) } else { Err(lines.join("\n")) }
}

fn swaps(bench: &Bench<'_>, layout: &Layout) -> Result<(), String> {
    let mut config = bench.config();
    let machine = machine(layout, &config)?;
    let kept = hand_over(&mut config, &tree_of(&machine)?, layout)?;
    let outcome = swaps_with(bench, &config);
    drop(kept);
    outcome
}

/// QEMU's `virt` (hw/arm/virt.c) with GICv3, as far as the layout does not say otherwise.
fn machine(layout: &Layout, config: &Config) -> Result<Machine, String> {
    let range = |&(base, size): &(u64, u64)| Range { base, size };
    let bundle = config.initrd.as_ref().ok_or("there is no bundle")?;
    let length = fs::metadata(bundle).map_err(|error| error.to_string())?.len();
    Ok(Machine {
        model: "handed over".try_into().unwrap_or_default(),
        emulated: true,
        memory: layout.memory.iter().map(range).collect(),
        reserved: layout.reserved.iter().map(range).collect(),
        cpus: (0..config.cores.into()).map(|affinity| Cpu { affinity }).collect(),
        gic: Gic {
            distributor: Range { base: 0x0800_0000, size: 0x1_0000 },
            redistributors: [Range { base: 0x080a_0000, size: 0xf6_0000 }].into_iter().collect(),
        },
        uart: Uart { base: 0x0900_0000, interrupt: 33 },
        timer: Timer { physical: 30, virtual_timer: 27, hypervisor_physical: 26 },
        psci: Conduit::Smc,
        bootargs: config.arguments.as_str().try_into().unwrap_or_default(),
        initrd: Some(Range { base: layout.bundle, size: length }),
        virtio: [].into_iter().collect(),
        clock: None,
        started: None,
        firmware: None,
        kept: None,
        commands: "".try_into().unwrap_or_default(),
        left_out: LeftOut::default(),
    })
}

/// The boot block of a machine.
fn tree_of(machine: &Machine) -> Result<Vec<u8>, String> {
    let mut tree = vec![0; 64 << 10];
    let length = handover::write(machine, &[], &mut tree).map_err(|_| "the boot block is full")?;
    tree.truncate(length);
    Ok(tree)
}

/// Puts all of it where the layout says; what has to be kept while the machine runs.
fn hand_over(config: &mut Config, tree: &[u8], layout: &Layout) -> Result<[Scratch; 2], String> {
    let text = |error: std::io::Error| error.to_string();
    let Start::Kernel(image) = &config.start else { return Err("there is no image".into()) };
    let made = |kind, bytes: &[u8]| -> Result<Scratch, String> {
        let file = Scratch::named(kind).map_err(|error| format!("{error:#}"))?;
        fs::write(file.path(), bytes).map_err(text)?;
        Ok(file)
    };
    let tree = made("tree", tree)?;
    let stub = made("stub", &stub(layout.tree, layout.kernel))?;
    let bundle = config.initrd.take().ok_or("there is no bundle")?;
    config.start = Start::Loader(vec![
        // Where QEMU has memory, which the boot block does not name, behind a tree of its own.
        (stub.path().to_owned(), 0x4020_0000),
        (image.clone(), layout.kernel),
        (tree.path().to_owned(), layout.tree),
        (bundle, layout.bundle),
    ]);
    config.set_sparse_memory(1100);
    Ok([tree, stub])
}

/// `ldr x0, tree; ldr x4, kernel; br x4; nop`, and the two addresses: x0 holds the tree's, as the
/// arm64 boot protocol wants it.
fn stub(tree: u64, kernel: u64) -> Vec<u8> {
    let code = [0x5800_0080_u32, 0x5800_00a4, 0xd61f_0080, 0xd503_201f];
    let code = code.into_iter().flat_map(u32::to_le_bytes);
    code.chain([tree, kernel].into_iter().flat_map(u64::to_le_bytes)).collect()
}
