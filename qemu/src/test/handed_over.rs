//! Machines as another loader hands them over: image and boot block at addresses of ours, memory where a real board has it.
//!
//! QEMU's machine has one range of memory. A boot block that names parts of it makes a machine with holes, whose kernel lies where the
//! firmware of a board put it; a few instructions stand for the loader.

use std::fs;

use bale_core::device_tree::{Conduit, Cpu, Gic, Machine, Range, Timer, Uart};
use bale_core::handover;

use super::Bench;
use super::matrix::swaps_with;
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

/// The Radxa Orion O6 with 64 GiB, as boot logs of others have it: two banks, the larger one from 512 GiB on, whose middle was the largest
/// free range's; firmware's records at the beginning, its kernel image at 0xa000_0000.
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

/// The image crosses from the last gigabyte below 512 GiB into the first above, and so does the tree from one gigabyte to the next.
static ACROSS: Layout = Layout {
    memory: &[(0x7f_0000_0000, 0x2_0000_0000)],
    reserved: &[],
    kernel: 0x7f_ffe0_0000,
    tree: 0x80_7fff_f800,
    bundle: 0x7f_4000_0000,
};

pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    [("64_gib_as_the_orion_o6", &ORION_O6), ("memory_from_1_tib", &FROM_1_TIB), ("across_512_gib", &ACROSS)]
        .into_iter()
        .map(|(name, layout)| Case {
            name: format!("handed_over::{name}"),
            run: Box::new(move || Outcome::of(swaps(bench, layout))),
        })
        .collect()
}

fn swaps(bench: &Bench<'_>, layout: &Layout) -> Result<(), String> {
    let mut config = bench.config();
    let machine = machine(layout, &config)?;
    let kept = hand_over(&mut config, &machine, layout)?;
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
        commands: "".try_into().unwrap_or_default(),
    })
}

/// Puts all of it where the layout says; what has to be kept while the machine runs.
fn hand_over(config: &mut Config, machine: &Machine, layout: &Layout) -> Result<[Scratch; 2], String> {
    let text = |error: std::io::Error| error.to_string();
    let Start::Kernel(image) = &config.start else { return Err("there is no image".into()) };
    let mut tree = vec![0; 64 << 10];
    let length = handover::write(machine, &mut tree).map_err(|_| "the boot block is full")?;
    let made = |kind, bytes: &[u8]| -> Result<Scratch, String> {
        let file = Scratch::named(kind).map_err(|error| format!("{error:#}"))?;
        fs::write(file.path(), bytes).map_err(text)?;
        Ok(file)
    };
    let tree = made("tree", &tree[..length])?;
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

/// `ldr x0, tree; ldr x4, kernel; br x4; nop`, and the two addresses: x0 holds the tree's, as the arm64 boot protocol wants it.
fn stub(tree: u64, kernel: u64) -> Vec<u8> {
    let code = [0x5800_0080_u32, 0x5800_00a4, 0xd61f_0080, 0xd503_201f];
    let code = code.into_iter().flat_map(u32::to_le_bytes);
    code.chain([tree, kernel].into_iter().flat_map(u64::to_le_bytes)).collect()
}
