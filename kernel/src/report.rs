//! `board report`: what is unknown about a board until it has run, in one text to be pasted into an issue.
//!
//! Identification registers are recorded by each core as it starts; the rest is read when it is asked for. What needs the firmware's own
//! services (memory map, secure boot, screen) the loader has written down before it left them.

use core::fmt::Display;

use bale_arch::identity::{self, Registers};
use bale_arch::timer;
use bale_core::acpi;
use bale_core::device_tree::{Conduit, Gic, Machine};
use smccc::psci::{PSCI_AFFINITY_INFO_64, PSCI_CPU_ON_64};
use smccc::{Call, Hvc, Smc};
use spin::Once;

use crate::cores::{self, MAX_CORES};
use crate::{boot, print, println};

/// What a core was and how it was entered.
struct Record {
    registers: Registers,
    /// `HCR_EL2` before Bale wrote it.
    found: u64,
}

static RECORDS: [Once<Record>; MAX_CORES] = [const { Once::new() }; MAX_CORES];

/// Records this core, which has its GIC registers on; `found` is `HCR_EL2` as it was at its first instruction in Rust.
pub fn record(index: usize, found: u64) {
    if let Some(place) = RECORDS.get(index) {
        place.call_once(|| Record { registers: identity::read(), found });
    }
}

/// Prints the report.
pub fn print() {
    let Some(machine) = boot::machine() else { return };
    println!("```text");
    println!("Bale {} on {}", env!("CARGO_PKG_VERSION"), boot::board_name());
    println!("boot arguments: {}", machine.bootargs);
    println!(
        "cores: {} of {} online, {} us to the shell",
        cores::online(),
        machine.cpus.len(),
        boot::boot_us()
    );
    for core in cores::all().iter().filter(|core| !core.online()) {
        println!("  core {} ({:#x}) is off", core.index(), core.affinity());
    }
    for (place, name) in identity::NAMES.iter().enumerate() {
        by_core(name, |record| record.registers[place]);
    }
    by_core("HCR_EL2 at entry", |record| record.found);
    println!("counter {} Hz, EL2 timer {}", timer::frequency(), machine.timer.hypervisor_physical);
    match machine.psci {
        Conduit::Smc => firmware_calls::<Smc>("SMC"),
        Conduit::Hvc => firmware_calls::<Hvc>("HVC"),
    }
    interrupt_controller(&machine.gic);
    println!("UART {:#x}, interrupt {}", machine.uart.base, machine.uart.interrupt);
    for (what, ranges) in [("memory", machine.memory.as_slice()), ("kept out", machine.reserved.as_slice())] {
        ranges.iter().for_each(|range| println!("{what} {:#x}..{:#x}", range.base, range.base + range.size));
    }
    firmware(machine);
    // Last: on a board that is not the one it says, these may be nobody's.
    for (what, address) in acpi::watched(&machine.model) {
        print!("{address:#x} {what}: ");
        println!("{:#010x}", register(*address));
    }
    println!("```");
}

/// A register's values, each with the cores that have it.
fn by_core(name: &str, value: impl Fn(&Record) -> u64) {
    let records =
        || RECORDS.iter().enumerate().filter_map(|(core, record)| Some((core, value(record.get()?))));
    let mut label = name;
    for (first, value) in records() {
        if records().any(|(core, other)| core < first && other == value) {
            continue;
        }
        print!("{label:<18} {value:#018x} cores");
        records().filter(|(_, other)| *other == value).for_each(|(core, _)| print!(" {core}"));
        println!();
        label = "";
    }
}

/// What the firmware at EL3 answers (DEN 0022, 5.1; DEN 0028, 7.2).
fn firmware_calls<C: Call>(how: &str) {
    fn show<T: Display, E: Display>(what: &str, answer: Result<T, E>) {
        match answer {
            Ok(value) => println!("{what}: {value}"),
            Err(error) => println!("{what}: {error}"),
        }
    }
    show("PSCI version", smccc::psci::version::<C>());
    println!("PSCI by {how}");
    show("PSCI features of CPU_ON", smccc::psci::psci_features::<C>(PSCI_CPU_ON_64));
    show("PSCI features of AFFINITY_INFO", smccc::psci::psci_features::<C>(PSCI_AFFINITY_INFO_64));
    // Before version 1.1 of the calling convention, only PSCI tells whether its version can be asked for.
    match smccc::psci::psci_features::<C>(smccc::arch::SMCCC_VERSION) {
        Ok(_) => show("SMCCC version", smccc::arch::version::<C>()),
        Err(_) => println!("SMCCC version: 1.0"),
    }
}

/// Distributor and every redistributor, as they name themselves (IHI 0069, 12.9 and 12.11).
fn interrupt_controller(gic: &Gic) {
    const CONTROL: u64 = 0x0;
    const TYPE: u64 = 0x4;
    const IMPLEMENTER: u64 = 0x8;
    const R_TYPE: u64 = 0x8;
    const FRAMES: u64 = 0x2_0000;
    let at = gic.distributor.base;
    println!(
        "GICD {at:#x}: CTLR {:#010x} TYPER {:#010x} IIDR {:#010x}",
        register(at + CONTROL),
        register(at + TYPE),
        register(at + IMPLEMENTER)
    );
    for region in &gic.redistributors {
        let mut at = region.base;
        while at + FRAMES <= region.base + region.size {
            let kind = u64::from(register(at + R_TYPE + 4)) << 32 | u64::from(register(at + R_TYPE));
            println!("GICR {at:#x}: TYPER {kind:#018x}");
            let (virtual_frames, last) = (kind & 2 != 0, kind & 16 != 0);
            if last {
                break;
            }
            at += if virtual_frames { 2 * FRAMES } else { FRAMES };
        }
    }
}

/// A device's register.
fn register(address: u64) -> u32 {
    // SAFETY: of the interrupt controller or one that the board's page names, mapped as device memory at the start; reading changes nothing.
    unsafe { (address as *const u32).read_volatile() }
}

/// What the loader wrote down.
fn firmware(machine: &Machine) {
    let Some(range) = &machine.firmware else {
        println!("firmware: none, entered as an arm64 Image");
        return;
    };
    // SAFETY: the loader's text, taken out of what is given away, and mapped as memory.
    let bytes = unsafe { core::slice::from_raw_parts(range.base as *const u8, range.size as usize) };
    match core::str::from_utf8(bytes) {
        Ok(text) => text.lines().for_each(|line| println!("{line}")),
        Err(_) => println!("firmware: the loader's text at {:#x} is damaged", range.base),
    }
}
