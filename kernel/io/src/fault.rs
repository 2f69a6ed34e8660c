//! Panics and exceptions from EL2: say what happened, stop the other cores, turn the machine off.
//!
//! Every line is plain text. Backtrace lines read `#N +0xOFFSET`, relative to the image, so that
//! `cargo bale` can name function and line from the ELF wherever the image was loaded.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bale_arch::vectors::{Kind, TrapFrame};
use bale_arch::{entry, mask, mmu, vcpu};
use bale_core::console::STOPPED;
use bale_core::exception::Syndrome;

use crate::{console, last_words, log, println};
use bale_memory::{self as memory, stacks};
use bale_rt::cores::MAX_CORES;
use bale_rt::{clock, cores, interrupts, platform, power, task};

/// A core is reporting; others that fault meanwhile just stop.
static REPORTING: AtomicBool = AtomicBool::new(false);
/// A report, or what led to it, has used up the emergency stack: there is one more report, and no
/// third.
static EMERGENCY_USED_UP: AtomicBool = AtomicBool::new(false);

/// One core's probe: see [`probe`]. Only that core touches it.
struct Probe {
    /// Where to go on after a fault; 0 while no probe is under way.
    resume: AtomicU64,
    /// What the fault was; 0 for none.
    syndrome: AtomicU64,
}

static PROBES: [Probe; MAX_CORES] =
    [const { Probe { resume: AtomicU64::new(0), syndrome: AtomicU64::new(0) } }; MAX_CORES];

/// The probe of the core that runs.
fn this_probe() -> &'static Probe {
    &PROBES[if cores::claimed() { cores::this_unpinned().index() } else { 0 }]
}

/// From the vectors: an exception from EL2 that is not an interrupt.
#[unsafe(no_mangle)]
extern "C" fn bale_exception(frame: &mut TrapFrame, kind: u64) {
    let (kind, syndrome) = (Kind::from_raw(kind), mmu::syndrome());
    if kind == Kind::SError && vcpu::is_left_by_guest(frame.elr) {
        // Once is enough: what comes after it is masked again.
        frame.spsr |= mask::SERROR_MASKED;
        return;
    }
    let probe = this_probe();
    let resume = probe.resume.load(Ordering::Relaxed);
    if resume != 0 && kind == Kind::Synchronous {
        probe.resume.store(0, Ordering::Relaxed);
        probe.syndrome.store(syndrome, Ordering::Relaxed);
        frame.elr = resume;
        // Where it goes on is no landing pad: the branch that faulted is over (SPSR_EL2.BTYPE).
        frame.spsr &= !(0b11 << 10);
        return;
    }
    begin_report(kind == Kind::EmergencyOverflow);
    match kind {
        Kind::Synchronous => println!("bale: exception on {}: {}", Here, Syndrome::new(syndrome)),
        Kind::SError => println!("bale: SError on {}: {}", Here, Syndrome::new(syndrome)),
        Kind::Unused => {
            println!(
                "bale: exception through an unused vector on {}: {}",
                Here,
                Syndrome::new(syndrome)
            )
        }
        Kind::StackOverflow => {
            let owner = stacks::guard_owner(mmu::fault_address())
                .or_else(|| stacks::guard_owner(frame.stack));
            let name = owner.map_or("?", task::name_of);
            println!("bale: stack overflow on {}: the stack of task {name} is full", Here);
        }
        Kind::EmergencyOverflow => {
            println!("bale: stack overflow on {}: the emergency stack is full", Here)
        }
    }
    println!(
        "  ESR {syndrome:#x}  FAR {:#x}  ELR {:#x}  SPSR {:#x}",
        mmu::fault_address(),
        frame.elr,
        frame.spsr
    );
    registers(frame);
    backtrace(Some(frame.elr), frame.registers[29]);
    finish_report("a fault in the hypervisor")
}

/// Reads a word that may not be there. For tests of the map.
///
/// # Errors
/// The syndrome of the fault.
pub fn probe(address: u64) -> Result<u64, u64> {
    let masked = mask::Masked::new();
    let probe = this_probe();
    probe.syndrome.store(0, Ordering::Relaxed);
    let value: u64;
    // SAFETY: a load has no effect beside its value; if it faults, the handler goes on behind it.
    unsafe {
        core::arch::asm!(
            "adr {resume}, 2f", "str {resume}, [{slot}]", "mov {value}, #0", "ldr {value}, [{address}]", "2: str xzr, [{slot}]",
            resume = out(reg) _, slot = in(reg) probe.resume.as_ptr(), value = out(reg) value, address = in(reg) address,
            options(nostack));
    }
    drop(masked);
    match probe.syndrome.load(Ordering::Relaxed) {
        0 => Ok(value),
        syndrome => Err(syndrome),
    }
}

/// Writes a zero byte to a place that may not be writable.
///
/// # Errors
/// The syndrome of the fault.
///
/// # Safety
/// If the place can be written, nobody minds a zero there.
pub unsafe fn probe_write(address: u64) -> Result<(), u64> {
    let masked = mask::Masked::new();
    let probe = this_probe();
    probe.syndrome.store(0, Ordering::Relaxed);
    // SAFETY: the caller's promise; if it faults, the handler goes on behind it.
    unsafe {
        core::arch::asm!(
            "adr {resume}, 2f", "str {resume}, [{slot}]", "strb wzr, [{address}]", "2: str xzr, [{slot}]",
            resume = out(reg) _, slot = in(reg) probe.resume.as_ptr(), address = in(reg) address,
            options(nostack));
    }
    drop(masked);
    match probe.syndrome.load(Ordering::Relaxed) {
        0 => Ok(()),
        syndrome => Err(syndrome),
    }
}

/// Calls code at a place that may not be executable.
///
/// # Errors
/// The syndrome of the fault.
pub fn execute_probe(address: u64) -> Result<(), u64> {
    let masked = mask::Masked::new();
    let probe = this_probe();
    probe.syndrome.store(0, Ordering::Relaxed);
    // SAFETY: the place holds a `ret`; if the fetch faults, the handler goes on behind the call.
    unsafe {
        core::arch::asm!(
            "adr {resume}, 2f", "str {resume}, [{slot}]", "blr {address}", "2: str xzr, [{slot}]",
            resume = out(reg) _, slot = in(reg) probe.resume.as_ptr(), address = in(reg) address, out("x30") _);
    }
    drop(masked);
    match probe.syndrome.load(Ordering::Relaxed) {
        0 => Ok(()),
        syndrome => Err(syndrome),
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin_report(false);
    println!("bale: panic on {Here}: {}", info.message());
    if let Some(location) = info.location() {
        println!("  at {}:{}", location.file(), location.line());
    }
    let (frame_pointer, stack, link): (u64, u64, u64);
    // SAFETY: reads registers.
    unsafe {
        core::arch::asm!("mov {0}, x29", "mov {1}, sp", "mov {2}, x30",
            out(reg) frame_pointer, out(reg) stack, out(reg) link, options(nomem, nostack, preserves_flags));
    }
    println!(
        "  fp {frame_pointer:#x}  sp {stack:#x}  lr {link:#x}  uptime {} us",
        clock::uptime_us()
    );
    backtrace(None, frame_pointer);
    finish_report("a panic in the hypervisor")
}

/// The core and task that run.
struct Here;

impl core::fmt::Display for Here {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if !cores::claimed() {
            return f.write_str("the boot core");
        }
        let core = cores::this_unpinned();
        let task = usize::from(core.current_task.load(Ordering::Relaxed));
        write!(f, "core {} (task {task})", core.index())
    }
}

/// One core reports; it stops the others first. If the emergency stack is full, this core is the
/// one, or none was: who is on that stack has it alone.
fn begin_report(emergency_is_full: bool) {
    mask::mask_all();
    // Relaxed: only the core that has the emergency stack comes here with it full.
    let is_last = emergency_is_full && !EMERGENCY_USED_UP.swap(true, Ordering::Relaxed);
    if REPORTING.swap(true, Ordering::AcqRel) && !is_last {
        mask::halt();
    }
    if cores::claimed() {
        interrupts::stop_others();
        let until = clock::now() + clock::from_us(20_000);
        while clock::now() < until {
            core::hint::spin_loop();
        }
    }
    // SAFETY: the other cores were told to stop and had twenty milliseconds for it.
    unsafe { console::seize() };
    log::send_last();
    last_words::begin_crash();
}

/// Where the interrupt that stops this core leads.
pub fn on_stop() {
    mask::halt()
}

fn registers(frame: &TrapFrame) {
    for (row, values) in frame.registers.chunks(4).enumerate() {
        for (column, value) in values.iter().enumerate() {
            crate::print!("  x{:<2} {value:016x}", row * 4 + column);
        }
        println!();
    }
    println!("  sp  {:016x}", frame.stack);
}

/// Follows the chain of frame records (return address above saved x29) as long as it stays on one
/// stack.
fn backtrace(at: Option<u64>, mut frame_pointer: u64) {
    let base = entry::image_base();
    let [text, ..] = memory::image_sections();
    let mut depth = 0;
    let mut line = |address: u64| {
        if (text.start..text.end).contains(&address) {
            println!("  #{depth} +{:#x}", address - base);
        } else {
            println!("  #{depth} {address:#x}");
        }
        depth += 1;
    };
    if let Some(at) = at {
        line(at);
    }
    let Some((low, high)) = stacks::bounds_of(frame_pointer) else { return };
    for _ in 0..32 {
        if frame_pointer < low || frame_pointer > high - 16 || !frame_pointer.is_multiple_of(8) {
            break;
        }
        // SAFETY: inside the mapped part of a stack and aligned, checked above.
        let next = unsafe { *(frame_pointer as *const u64) };
        // SAFETY: as above.
        let link = unsafe { *((frame_pointer + 8) as *const u64) };
        if link == 0 {
            break;
        }
        line(link - 4);
        if next <= frame_pointer {
            break;
        }
        frame_pointer = next;
    }
}

fn finish_report(what: &str) -> ! {
    console::mark();
    println!("{STOPPED}{what}");
    if platform::argument("crash") == Some("reboot") {
        power::reset()
    }
    power::power_off()
}
