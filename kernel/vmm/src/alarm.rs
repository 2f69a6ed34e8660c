//! The alarm of a machine's clock of the day: while one is set, a task looks at it from time to
//! time.

use core::sync::atomic::Ordering;

use bale_core::guest_tree::CLOCK_SPI;
use bale_core::pl031::Pl031;
use bale_core::vgic::{PRIVATE, Refused};
use bale_rt::{clock, cores, task};

use super::slot::{SLOTS, Slot};

/// Between two looks. The clock counts seconds.
const LOOK_US: u64 = 100_000;

impl Slot {
    /// An access to the clock of the day; where nobody knows the time there is none.
    pub(super) fn access_clock(
        &self,
        offset: u64,
        width: u8,
        write: Option<u64>,
    ) -> Result<u64, Refused> {
        let now = clock::of_day().ok_or(Refused)?;
        let value = self.with_clock(|clock| clock.access(offset, width, write, now))?;
        if self.devices.clock.device.lock().is_armed() {
            self.watch_clock();
        }
        Ok(value)
    }

    /// Does something with the clock, and passes on what became of its interrupt line.
    fn with_clock<R>(&self, f: impl FnOnce(&mut Pl031) -> R) -> R {
        let mut device = self.devices.clock.device.lock();
        let before = device.line();
        let result = f(&mut device);
        let after = device.line();
        if before != after {
            self.deliver(|vgic| vgic.set_line(PRIVATE + CLOCK_SPI, after));
        }
        result
    }

    /// Has a task look at the clock from now on, unless one does.
    #[cold]
    fn watch_clock(&self) {
        // Acquire and release: pairs with the task's own store, behind which it looks once more.
        if self.devices.clock.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let core = cores::helper_of(0);
        if task::spawn_free("vm alarm", core, task::VCPU, watch, self.number() as u64).is_err() {
            self.devices.clock.watched.store(false, Ordering::Release);
            defmt::warn!(
                "no room for a task that looks at the alarm of vm {}",
                self.number() as u32
            );
        }
    }
}

/// Looks at a machine's clock until no alarm is set.
extern "C" fn watch(index: u64) -> ! {
    let slot = &SLOTS[index as usize];
    let watched = &slot.devices.clock.watched;
    let is_armed = || {
        // There is a time of day, or nobody could have set an alarm.
        slot.with_clock(|device| clock::of_day().map(|now| device.look(now)));
        slot.devices.clock.device.lock().is_armed()
    };
    loop {
        while is_armed() {
            task::sleep_us(LOOK_US);
        }
        watched.store(false, Ordering::Release);
        // Who set one meanwhile saw this task still.
        if !is_armed() || watched.swap(true, Ordering::AcqRel) {
            task::exit();
        }
    }
}
