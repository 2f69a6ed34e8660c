//! Bale's boot loader for UEFI firmware, `EFI/BOOT/BOOTAA64.EFI` on a stick or a disk.
//!
//! 1. From the partition that it was started from it takes `bale/kernel.elf`, and, if they are
//!    there, `bale/bundle.tar` (guests and pages), guests as plain files (`bundle`) and `bale.toml`
//!    ([`bale_core::boot_config`]).
//! 2. It learns what the machine has from the ACPI tables, or else from the firmware's device tree.
//! 3. It ends the firmware's boot services; what their memory map calls free is the kernel's.
//! 4. It enters the kernel as the arm64 boot protocol says: EL2, MMU and caches off, x0 = device
//!    tree. That tree is the boot block, made by [`bale_core::handover`]: the same for every
//!    firmware.
//!
//! What is missing or broken is said on the firmware's console, and the firmware goes on to its
//! next boot entry.
#![no_std]
#![no_main]

mod bundle;
mod error;
mod files;
mod image;
mod jump;
mod machine;
mod name;
mod random;
mod report;

use core::time::Duration;

use bale_core::device_tree::Range;
use bale_core::{boot_config, handover};
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::mem::memory_map::MemoryMap as _;
use uefi::{Status, entry, println};

use crate::error::LoadError;
use crate::files::Volume;

/// Bytes for the device tree.
const TREE: usize = 64 << 10;

#[entry]
fn main() -> Status {
    println!("Bale {}: loader", env!("CARGO_PKG_VERSION"));
    let Err(error) = load();
    println!("bale: not started: {error}");
    println!("bale: back to the firmware in 10 seconds");
    boot::stall(Duration::from_secs(10));
    Status::LOAD_ERROR
}

fn load() -> Result<core::convert::Infallible, LoadError> {
    jump::check_level()?;
    // The firmware would reset the machine five minutes from now (UEFI 2.10, 7.5).
    if let Err(error) = boot::set_watchdog_timer(0, 0x1_0000, None) {
        // Not every firmware has one, and none that has outlives its boot services (7.5): no reason
        // to stay here.
        println!(
            "bale: the firmware does not turn its watchdog off ({:?}); the boot goes on",
            error.status()
        );
    }
    let mut volume = Volume::of_this_program()?;
    let kernel = image::load(volume.read("bale\\kernel.elf")?.ok_or(LoadError::NoKernel)?)?;
    let bundle = bundle::read(&mut volume)?;
    let text = volume.read("bale.toml")?.unwrap_or_default();
    let config = boot_config::parse(text).map_err(LoadError::Config)?;
    let mut machine = machine::find(config.console)?;
    config.apply(&mut machine, jump::affinity());
    machine.initrd =
        bundle.map(|bundle| Range { base: bundle.as_ptr() as u64, size: bundle.len() as u64 });
    let tree = files::pages(TREE, MemoryType::LOADER_DATA)?;
    let bundle = bundle.unwrap_or_default();
    let firmware = report::write(jump::cleaned(&kernel, &[("tree", &*tree), ("bundle", bundle)]))?;
    machine.kept = kernel.kept;
    machine.firmware = Some(Range { base: firmware.as_ptr() as u64, size: firmware.len() as u64 });
    // Tried while there is somebody to tell; the map changes a little until the firmware is gone.
    let map = boot::memory_map(MemoryType::LOADER_DATA).map_err(|_| LoadError::NoMap)?;
    let found = handover::usable(machine::usable(map.entries()));
    machine.memory = found.ranges;
    let mut seed = random::seed();
    handover::write(&machine, &seed, tree).map_err(|_| LoadError::TooMuch)?;
    println!(
        "bale: kernel at {:#x}, {} cores, {} MiB of memory, {} KiB left out",
        kernel.base,
        machine.cpus.len(),
        machine.memory.iter().map(|range| range.size).sum::<u64>() >> 20,
        found.left_out >> 10,
    );
    if machine.left_out.is_any() {
        println!(
            "bale: the tables name more than there is room for; left out: {}",
            machine.left_out
        );
    }
    machine.started = machine::time();
    // SAFETY: nothing of the firmware's is used from here on; no handle or protocol is open but the
    // volume, which is forgotten.
    let map = unsafe {
        core::mem::forget(volume);
        boot::exit_boot_services(None)
    };
    machine.memory = handover::usable(machine::usable(map.entries())).ranges;
    let written = handover::write(&machine, &seed, tree);
    // The tree has it; this copy lies in memory that is free from here on.
    core::hint::black_box(&mut seed).fill(0);
    core::mem::forget(map);
    match written {
        Ok(_) => {
            jump::enter(&kernel, &[("tree", &*tree), ("report", firmware), ("bundle", bundle)])
        }
        // The firmware's console is gone; its map, which has the UART, is still on.
        Err(_) => {
            jump::halt(machine.uart.base, "bale: stopped: the boot block became too large\r\n")
        }
    }
}

/// Pages of the firmware's, by size in bytes; see [`files::pages`].
fn allocate(bytes: usize, kind: MemoryType) -> Result<core::ptr::NonNull<u8>, LoadError> {
    boot::allocate_pages(AllocateType::AnyPages, kind, bytes.div_ceil(4096))
        .map_err(|_| LoadError::NoMemory(bytes))
}
