//! A control loop on Bale's executive, beside whatever guests run.
//!
//! `sample` reads a plant every millisecond and sends the reading to `control`, which runs every
//! five and steers; a device's interrupt (the alarm of the machine's PL031) wakes `report`, which
//! prints a line each second. One step in a thousand of `control` takes two periods, so the release
//! that it overruns is counted: the shell's `tasks` shows each task's period, how late it was at
//! most, its missed releases and its stack.
//!
//! `cargo bale run --app kernel/examples/control_loop` boots it.
#![no_std]
#![no_main]

use core::ptr;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bale_io::println;
use bale_qemu_virt::App;
use bale_rt::sync::{Queue, Semaphore};
use bale_rt::task::{self, Periodic, SpawnError};
use bale_rt::{clock, platform};

static APP: App =
    App { name: "control-loop", interrupts: &[(CLOCK_INTERRUPT, "rtc alarm", on_alarm)], start };
bale_qemu_virt::image!(APP);

/// The PL031 of QEMU's `virt` machine: shared interrupt 2, the 34th of the GIC (hw/arm/virt.c).
const CLOCK_INTERRUPT: u32 = 34;
/// Registers of the PL031 (DDI 0224, 3.2): data, match, mask, clear.
const DATA: u64 = 0x00;
const MATCH: u64 = 0x04;
const MASK: u64 = 0x10;
const CLEAR: u64 = 0x1c;

/// Above virtual CPUs, the drain and the shell; below the watchdog.
const SAMPLE: u8 = 11;
/// Below what it waits for.
const CONTROL: u8 = 9;

/// Readings on their way: five come for each step, and twice as many have room.
static READINGS: Queue<i64, 10> = Queue::new();
/// One for each alarm that `report` has not served.
static ALARM: Semaphore = Semaphore::new(0, 1);
/// The plant: what it is at, and the force that is put on it. Both are plain figures that one task
/// writes and others read, so no ordering is needed.
static PLANT: AtomicI64 = AtomicI64::new(1_000);
static FORCE: AtomicI64 = AtomicI64::new(0);
/// Steps of `control`.
static STEPS: AtomicU64 = AtomicU64::new(0);

fn start() -> Result<(), SpawnError> {
    task::spawn("sample", 0, SAMPLE, sample, 0)?;
    task::spawn("control", 0, CONTROL, control, 0)?;
    task::spawn("report", 0, task::HOUSEKEEPING, report, 0)?;
    Ok(())
}

extern "C" fn sample(_argument: u64) -> ! {
    let mut rhythm = Periodic::new(clock::from_us(1_000));
    loop {
        rhythm.wait();
        let now = PLANT.load(Ordering::Relaxed) + FORCE.load(Ordering::Relaxed);
        PLANT.store(now, Ordering::Relaxed);
        // A reading that finds no room is lost, since the next one is newer anyway.
        let _ = READINGS.try_send(now);
    }
}

extern "C" fn control(_argument: u64) -> ! {
    let period = clock::from_us(5_000);
    let mut rhythm = Periodic::new(period);
    loop {
        rhythm.wait();
        while let Some(reading) = READINGS.try_receive() {
            FORCE.store(-reading.signum() * (1 + reading.abs() / 16), Ordering::Relaxed);
        }
        if STEPS.fetch_add(1, Ordering::Relaxed) % 1_000 == 999 {
            // A step that takes two periods of processor time: the release in between is missed,
            // and counted.
            let end = clock::now() + 2 * period;
            while clock::now() < end {}
        }
    }
}

extern "C" fn report(_argument: u64) -> ! {
    set_alarm();
    loop {
        ALARM.take();
        set_alarm();
        println!(
            "control-loop: step {}, plant at {}",
            STEPS.load(Ordering::Relaxed),
            PLANT.load(Ordering::Relaxed)
        );
    }
}

/// The interrupt of the clock: takes it back, or it would come again at once, and wakes `report`.
fn on_alarm() {
    write_clock(CLEAR, 1);
    // Refused: `report` has not come to the last one yet.
    let _ = ALARM.give();
}

/// Sets the alarm to the next second, and lets its interrupt through.
fn set_alarm() {
    write_clock(MATCH, read_clock(DATA) + 1);
    write_clock(MASK, 1);
}

/// The address of a register of the clock.
fn clock_register(offset: u64) -> Option<u64> {
    Some(platform::machine()?.clock.as_ref()?.base + offset)
}

fn read_clock(offset: u64) -> u32 {
    // SAFETY: the tables name a PL031 here, which boot has mapped as device memory; its registers
    // are words, and reading one has no effect.
    clock_register(offset)
        .map_or(0, |register| unsafe { ptr::read_volatile(register as *const u32) })
}

fn write_clock(offset: u64, value: u32) {
    if let Some(register) = clock_register(offset) {
        // SAFETY: as above; nobody else writes the alarm's registers.
        unsafe { ptr::write_volatile(register as *mut u32, value) };
    }
}
