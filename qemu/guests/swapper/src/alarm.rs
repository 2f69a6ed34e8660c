//! The alarm of the clock of the day (PL031, DDI 0224): its interrupt comes at the second that was
//! set, and goes when it is cleared.

use core::arch::asm;

use crate::checks::Checks;
use crate::{measure, virtio};

const CLOCK: u64 = 0x0901_0000;
const DATA: u64 = CLOCK;
const MATCH: u64 = CLOCK + 0x04;
const MASK: u64 = CLOCK + 0x10;
const RAW: u64 = CLOCK + 0x14;
const MASKED: u64 = CLOCK + 0x18;
const CLEAR: u64 = CLOCK + 0x1c;
/// Shared interrupt 2.
const INTERRUPT: u64 = 34;
const NONE: u64 = 1023;
/// Seconds until the alarm.
const SOON: u32 = 2;

pub(crate) fn run() -> ! {
    let mut checks = Checks::new();
    virtio::set(measure::DISTRIBUTOR, 3);
    measure::prepare_interrupts(0);
    // Group 1, enabled.
    virtio::set(measure::DISTRIBUTOR + 0x84, u32::MAX);
    virtio::set(measure::DISTRIBUTOR + 0x104, 1 << (INTERRUPT - 32));
    for _ in 0..2 {
        let begin = virtio::get(DATA);
        virtio::set(MATCH, begin + SOON);
        virtio::set(MASK, 1);
        checks.holds(virtio::get(RAW) == 0 && measure::end_pending() == NONE);
        let number = wait();
        checks.holds(number == INTERRUPT);
        checks.holds(virtio::get(DATA) - begin >= SOON);
        checks.holds(virtio::get(MASKED) == 1);
        // A level: it comes again until it is cleared.
        checks.holds(wait() == INTERRUPT);
        virtio::set(CLEAR, 1);
        checks.holds(virtio::get(RAW) == 0 && measure::end_pending() == NONE);
        virtio::set(MASK, 0);
    }
    checks.pass()
}

fn wait() -> u64 {
    loop {
        match measure::end_pending() {
            NONE => {
                // SAFETY: an interrupt that is pending ends it though it is masked.
                unsafe { asm!("wfi") };
            }
            number => return number,
        }
    }
}
