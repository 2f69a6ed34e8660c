//! `board report`: what is unknown about a board until it has run, in one text to be pasted into an
//! issue, or as JSON.
//!
//! Identification registers are recorded by each core as it starts; the rest is read when it is
//! asked for. What needs the firmware's own services (memory map, secure boot, screen) the loader
//! has written down before it left them.

use core::fmt::{Display, Write};

use bale_arch::identity::{self, Registers};
use bale_arch::timer;
use bale_core::acpi;
use bale_core::branch_history::{Action, Identity};
use bale_core::device_tree::{Conduit, Gic, Machine};
use bale_core::shell::sheet::{Column, Sheet, Value, column};
use heapless::String;
use smccc::psci::{PSCI_AFFINITY_INFO_64, PSCI_CPU_ON_64};
use smccc::{Call, Hvc, Smc};
use spin::Once;

use bale_rt::cores::{self, MAX_CORES};
use bale_rt::{platform, random};

/// What a core was and how it was entered.
struct Record {
    registers: Registers,
    /// `HCR_EL2` before Bale wrote it.
    found: u64,
}

static RECORDS: [Once<Record>; MAX_CORES] = [const { Once::new() }; MAX_CORES];

/// Records this core, which has its GIC registers on; `found` is `HCR_EL2` as it was at its first
/// instruction in Rust.
pub fn record(index: usize, found: u64) {
    if let Some(place) = RECORDS.get(index) {
        place.call_once(|| Record { registers: identity::read(), found });
    }
}

static OFF: [Column; 2] = [column("core", "core", 4), column("affinity", "affinity", 10)];
static REGISTERS: [Column; 3] =
    [column("register", "register", 18), column("core", "core", 4), column("value", "value", 18)];
static REDISTRIBUTORS: [Column; 2] =
    [column("address", "address", 14), column("typer", "TYPER", 18)];
static RANGES: [Column; 3] =
    [column("range", "range", 8), column("start", "start", 14), column("end", "end", 14)];
static WATCHED: [Column; 3] = [
    column("address", "address", 14),
    column("register", "register", 20),
    column("value", "value", 10),
];

/// Writes the report.
pub fn write<W: Write>(sheet: &mut Sheet<W>) {
    let Some(machine) = platform::machine() else { return };
    let (version, board) = (platform::build(), platform::board_name());
    sheet.note(format_args!("```text"));
    sheet.note(format_args!("Bale {version} on {board}"));
    sheet.hidden("build", version);
    sheet.hidden("board", board);
    sheet.note(format_args!("boot arguments: {}", machine.bootargs));
    sheet.hidden("boot_arguments", &*machine.bootargs);
    processors(sheet, machine);
    let (hertz, interrupt) = (timer::frequency(), machine.timer.hypervisor_physical);
    sheet.note(format_args!("counter {hertz} Hz, EL2 timer {interrupt}"));
    sheet.hidden("counter_hz", hertz);
    sheet.hidden("timer_interrupt", interrupt);
    random_numbers(sheet);
    match machine.psci {
        Conduit::Smc => firmware_calls::<Smc, W>(sheet, "SMC"),
        Conduit::Hvc => firmware_calls::<Hvc, W>(sheet, "HVC"),
    }
    interrupt_controller(sheet, &machine.gic);
    sheet.note(format_args!("UART {:#x}, interrupt {}", machine.uart.base, machine.uart.interrupt));
    sheet.hidden("uart", Value::Address(machine.uart.base));
    sheet.hidden("uart_interrupt", machine.uart.interrupt);
    ranges(sheet, machine);
    firmware(sheet, machine);
    watched(sheet, machine);
    sheet.note(format_args!("```"));
}

/// What random numbers were made of at boot.
fn random_numbers<W: Write>(sheet: &mut Sheet<W>) {
    let Some(found) = random::found() else { return };
    let of = if found.core { "the core's, " } else { "" };
    sheet.note(format_args!(
        "random numbers: {of}{} bytes of the firmware's, {} bits of jitter",
        found.firmware, found.jitter
    ));
    sheet.hidden("random_of_core", Value::Flag(found.core));
    sheet.hidden("random_firmware_bytes", found.firmware);
    sheet.hidden("random_jitter_bits", found.jitter);
}

/// Cores, and what their registers say: for people each value once, with the cores that have it.
fn processors<W: Write>(sheet: &mut Sheet<W>, machine: &Machine) {
    let (online, all, boot_us) = (cores::online(), machine.cpus.len(), platform::boot_us());
    sheet.note(format_args!("cores: {online} of {all} online, {boot_us} us to the shell"));
    sheet.hidden("cores", all);
    sheet.hidden("online", online);
    sheet.hidden("boot_us", boot_us);
    let off = || cores::all().iter().filter(|core| !core.online());
    for core in off() {
        sheet.note(format_args!("  core {} ({:#x}) is off", core.index(), core.affinity()));
    }
    if sheet.is_json() {
        sheet.table("off", &OFF);
        off().for_each(|core| sheet.row(&[core.index().into(), Value::Address(core.affinity())]));
        sheet.table("registers", &REGISTERS);
    }
    for (place, name) in identity::NAMES.iter().enumerate() {
        by_core(sheet, name, |record| record.registers[place]);
    }
    by_core(sheet, "HCR_EL2 at entry", |record| record.found);
    branch_history(sheet, machine);
}

/// A register's values, each with the cores that have it; as JSON a row for each core.
/// What each kind of core does at an exit from a guest.
fn branch_history<W: Write>(sheet: &mut Sheet<W>, machine: &Machine) {
    let place = |name| identity::NAMES.iter().position(|other| *other == name).unwrap_or(0);
    let [main_id, processor, memory_model, instructions] =
        ["MIDR_EL1", "ID_AA64PFR0_EL1", "ID_AA64MMFR1_EL1", "ID_AA64ISAR2_EL1"].map(place);
    let mut last = None;
    for (index, record) in RECORDS.iter().enumerate() {
        let Some(Record { registers, .. }) = record.get() else { continue };
        let core = Identity {
            main_id: registers[main_id],
            processor: registers[processor],
            memory_model: registers[memory_model],
            instructions: registers[instructions],
        };
        let action = Action::of(core, machine.emulated);
        if last.replace(action) != Some(action) {
            sheet.note(format_args!("branch history from core {index} on: {action}"));
        }
    }
}

fn by_core<W: Write>(sheet: &mut Sheet<W>, name: &str, value: impl Fn(&Record) -> u64) {
    let records = || {
        RECORDS.iter().enumerate().filter_map(|(core, record)| Some((core, value(record.get()?))))
    };
    if sheet.is_json() {
        records().for_each(|(core, value)| {
            sheet.row(&[name.into(), core.into(), Value::Address(value)])
        });
        return;
    }
    let mut label = name;
    for (first, value) in records() {
        if records().any(|(core, other)| core < first && other == value) {
            continue;
        }
        let mut list: String<64> = String::new();
        for (core, _) in records().filter(|(_, other)| *other == value) {
            // There is room for the numbers of all cores.
            let _ = write!(list, " {core}");
        }
        sheet.note(format_args!("{label:<18} {value:#018x} cores{list}"));
        label = "";
    }
}

/// What the firmware at EL3 answers (DEN 0022, 5.1; DEN 0028, 7.2).
fn firmware_calls<C: Call, W: Write>(sheet: &mut Sheet<W>, how: &str) {
    fn show<T: Display, E: Display, W: Write>(
        sheet: &mut Sheet<W>,
        key: &str,
        what: &str,
        answer: Result<T, E>,
    ) {
        let mut text: String<64> = String::new();
        // A longer answer is cut.
        let _ = match answer {
            Ok(value) => write!(text, "{value}"),
            Err(error) => write!(text, "{error}"),
        };
        sheet.note(format_args!("{what}: {text}"));
        sheet.hidden(key, text.as_str());
    }
    show(sheet, "psci_version", "PSCI version", smccc::psci::version::<C>());
    sheet.note(format_args!("PSCI by {how}"));
    sheet.hidden("psci_by", how);
    let features = smccc::psci::psci_features::<C>;
    show(sheet, "psci_cpu_on", "PSCI features of CPU_ON", features(PSCI_CPU_ON_64));
    let what = "PSCI features of AFFINITY_INFO";
    show(sheet, "psci_affinity_info", what, features(PSCI_AFFINITY_INFO_64));
    // Before version 1.1 of the calling convention, only PSCI tells whether its version can be
    // asked for.
    match features(smccc::arch::SMCCC_VERSION) {
        Ok(_) => show(sheet, "smccc_version", "SMCCC version", smccc::arch::version::<C>()),
        Err(_) => show(sheet, "smccc_version", "SMCCC version", Ok::<_, &str>("1.0")),
    }
}

/// Distributor and every redistributor, as they name themselves (IHI 0069, 12.9 and 12.11).
fn interrupt_controller<W: Write>(sheet: &mut Sheet<W>, gic: &Gic) {
    const CONTROL: u64 = 0x0;
    const TYPE: u64 = 0x4;
    const IMPLEMENTER: u64 = 0x8;
    const R_TYPE: u64 = 0x8;
    const FRAMES: u64 = 0x2_0000;
    let at = gic.distributor.base;
    let [control, kind, implementer] =
        [CONTROL, TYPE, IMPLEMENTER].map(|offset| register(at + offset));
    sheet.note(format_args!(
        "GICD {at:#x}: CTLR {control:#010x} TYPER {kind:#010x} IIDR {implementer:#010x}"
    ));
    sheet.hidden("gicd", Value::Address(at));
    sheet.hidden("gicd_ctlr", Value::Address(control.into()));
    sheet.hidden("gicd_typer", Value::Address(kind.into()));
    sheet.hidden("gicd_iidr", Value::Address(implementer.into()));
    if sheet.is_json() {
        sheet.table("redistributors", &REDISTRIBUTORS);
    }
    for region in &gic.redistributors {
        let mut at = region.base;
        while at + FRAMES <= region.base + region.size {
            let kind =
                u64::from(register(at + R_TYPE + 4)) << 32 | u64::from(register(at + R_TYPE));
            if sheet.is_json() {
                sheet.row(&[Value::Address(at), Value::Address(kind)]);
            } else {
                sheet.note(format_args!("GICR {at:#x}: TYPER {kind:#018x}"));
            }
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
    // SAFETY: of the interrupt controller or one that the board's page names, mapped as device
    // memory at the start; reading changes nothing.
    unsafe { (address as *const u32).read_volatile() }
}

fn ranges<W: Write>(sheet: &mut Sheet<W>, machine: &Machine) {
    if sheet.is_json() {
        sheet.table("ranges", &RANGES);
    }
    for (what, ranges) in
        [("memory", machine.memory.as_slice()), ("kept out", machine.reserved.as_slice())]
    {
        for range in ranges {
            let (start, end) = (range.base, range.base + range.size);
            if sheet.is_json() {
                sheet.row(&[what.into(), Value::Address(start), Value::Address(end)]);
            } else {
                sheet.note(format_args!("{what} {start:#x}..{end:#x}"));
            }
        }
    }
}

/// What the loader wrote down.
fn firmware<W: Write>(sheet: &mut Sheet<W>, machine: &Machine) {
    let Some(range) = &machine.firmware else {
        sheet.note(format_args!("firmware: none, entered as an arm64 Image"));
        sheet.hidden("firmware", Value::Unknown);
        return;
    };
    // SAFETY: the loader's text, taken out of what is given away, and mapped as memory.
    let bytes =
        unsafe { core::slice::from_raw_parts(range.base as *const u8, range.size as usize) };
    match core::str::from_utf8(bytes) {
        Ok(text) => {
            text.lines().for_each(|line| sheet.note(format_args!("{line}")));
            sheet.hidden("firmware", text);
        }
        Err(_) => {
            sheet.note(format_args!("firmware: the loader's text at {:#x} is damaged", range.base));
            sheet.hidden("firmware", "damaged");
        }
    }
}

/// Last: on a board that is not the one it says, these may be nobody's. What is read is said
/// before.
fn watched<W: Write>(sheet: &mut Sheet<W>, machine: &Machine) {
    let watched = acpi::watched(&machine.model);
    if sheet.is_json() {
        sheet.table("watched", &WATCHED);
        for (what, address) in watched {
            sheet.row(&[
                Value::Address(*address),
                (*what).into(),
                Value::Address(register(*address).into()),
            ]);
        }
        return;
    }
    for (what, address) in watched {
        sheet.note(format_args!("{address:#x} {what}:"));
        sheet.note(format_args!("  {:#010x}", register(*address)));
    }
}
