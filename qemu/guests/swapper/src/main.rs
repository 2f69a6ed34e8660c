//! The first guest: a small program at EL1 that swaps real pages through Bale's hypercalls.
//!
//! What it does is chosen by [`GuestInfo::mode`]; each mode ends with [`call::exit`], but for the
//! one that never ends and those that are stopped for what they do. Started from a description, it
//! does what its command line says.
#![no_std]
#![no_main]

mod accesses;
mod alarm;
mod call;
mod checks;
mod crowd;
mod debug;
mod described;
mod entry;
mod firmware;
mod hostile;
mod kept;
mod measure;
mod monitors;
mod physical_timer;
mod power;
mod simd;
mod standing;
mod storm;
mod swap;
mod text;
mod timers;
mod turns;
mod undefined;
mod virtio;

use bale_abi::{GuestInfo, INFO_BASE, INFO_MAGIC, PAGES_BASE, mode};

/// Status of a guest that was started with a page it does not understand.
const BAD_INFO: u64 = 100;
/// Status of a guest that was not stopped for what it did.
const NOT_STOPPED: u64 = 101;

/// First Rust line: MMU and caches are on, `info` is what x0 held at entry.
#[unsafe(no_mangle)]
extern "C" fn guest_main(info: *const GuestInfo) -> ! {
    if info as u64 != INFO_BASE {
        described::run(info as u64);
    }
    // SAFETY: the hypervisor maps the start-up page here, read-only.
    let info = unsafe { info.read_volatile() };
    if info.magic != INFO_MAGIC {
        call::exit(BAD_INFO);
    }
    match info.mode {
        mode::SWAP => swap::run(&info),
        mode::STRAY => {
            call::print("guest: reading outside of my memory\n");
            // SAFETY: it is the point of this mode that there is nothing: the hypervisor stops the
            // guest here.
            let _ = unsafe { ((PAGES_BASE + (3 << 30)) as *const u64).read_volatile() };
            call::exit(NOT_STOPPED)
        }
        mode::WRITE_READ_ONLY => {
            call::print("guest: writing to a page that is mine to read\n");
            // SAFETY: it is the point of this mode that stage 2 refuses it.
            unsafe { (PAGES_BASE as *mut u64).write_volatile(0) };
            call::exit(NOT_STOPPED)
        }
        mode::HOSTILE => hostile::run(&info),
        mode::MEASURE => measure::run(&info),
        mode::STORM | mode::FIRST_STORM..=mode::LAST_STORM => storm::run(&info),
        mode::FIRMWARE => firmware::run(),
        mode::SIMD => simd::run(&info),
        mode::TIMERS => timers::run(&info),
        mode::STANDING => standing::run(),
        mode::PHYSICAL_TIMER => physical_timer::run(&info),
        mode::MONITORS => monitors::run(&info),
        mode::DEBUG => debug::run(),
        mode::ALARM => alarm::run(),
        mode::CROWD => crowd::run(&info),
        mode::TURNS => turns::run(),
        mode::ACCESSES => accesses::run(),
        mode::REGISTERS => kept::run(&info),
        mode::UNDEFINED => call::exit(if undefined::all() { 0 } else { NOT_STOPPED }),
        mode::ENDLESS => loop {
            core::hint::spin_loop();
        },
        _ => call::exit(BAD_INFO),
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    call::print("guest: panic\n");
    call::exit(102)
}

/// First Rust line of another virtual CPU; `context` is what x0 held at its entry.
#[unsafe(no_mangle)]
extern "C" fn guest_secondary_main(context: u64) -> ! {
    if power::runs() {
        power::second();
    }
    // SAFETY: as above.
    let info = unsafe { (INFO_BASE as *const GuestInfo).read_volatile() };
    match info.mode {
        mode::MEASURE => measure::second(),
        mode::FIRMWARE => firmware::second(context),
        mode::SIMD => simd::second(&info),
        mode::TIMERS => timers::second(&info),
        mode::STANDING => standing::second(),
        mode::PHYSICAL_TIMER => physical_timer::second(),
        mode::MONITORS => monitors::second(),
        mode::DEBUG => debug::second(),
        mode::CROWD => crowd::work(&info),
        _ => storm::second(&info),
    }
}
