//! The virtual CPU: a task that enters the guest, and decides what to do when it comes out. Its
//! registers are this core's while [`super::loaded`] says so.

use core::sync::atomic::Ordering;

use bale_arch::mask::{self, Masked};
use bale_arch::mmu;
use bale_arch::vcpu::{self, Exit, Registers};
use bale_core::exception::Syndrome;
use bale_core::guest_pmu::PMU_INTERRUPT;
use bale_core::guest_timer::PHYSICAL_TIMER;
use bale_core::trace::Kind as Traced;
use bale_core::vgic::MAX_VCPUS;
use spin::rwlock::RwLockReadGuard;

use super::disk::Disk;
use super::loaded::{self, State, forget};
use super::memory::GuestMemory;
use super::store::Store;
use super::workspace::{self, Workspace};
use super::{Kind, Reason, SLOTS, Shared, Slot, delivery};
use bale_rt::{clock, cores, dispatch, task, trace};

/// Steps of putting pages out between two turns in the guest: each stores a page, or passes some
/// that are in use.
const SQUEEZE: usize = 64;
/// `SPSR_EL2` of a guest at entry: EL1h, everything masked.
const ENTRY_STATE: u64 = 0x3c5;

/// What a virtual CPU's task works with while it runs.
pub(super) struct Vcpu {
    pub(super) slot: &'static Slot,
    /// Its part of the slot.
    pub(super) shared: &'static Shared,
    pub(super) number: usize,
    pub(super) kind: Kind,
    /// Number of its machine.
    machine: u32,
    pub(super) registers: Registers,
    /// It turned itself off.
    pub(super) off: bool,
    /// It has put pages out since its last turn in the guest.
    squeezed: bool,
    memory: RwLockReadGuard<'static, Option<GuestMemory>>,
    /// A small guest's.
    pub(super) work: Option<Workspace>,
    pub(super) state: *mut State,
}

/// The task of a virtual CPU: slot times [`MAX_VCPUS`] plus its number.
pub(super) extern "C" fn task(argument: u64) -> ! {
    let (index, number) = (argument as usize / MAX_VCPUS, argument as usize % MAX_VCPUS);
    let slot = &SLOTS[index];
    // Its starter may not have run since: a wake-up by another virtual CPU would be lost.
    slot.vcpus[number].task.store(task::current().to_bits(), Ordering::Relaxed);
    task::groups::join(index);
    let kind = *slot.kind.lock();
    let mut cpu = Vcpu {
        slot,
        shared: &slot.vcpus[number],
        number,
        kind,
        machine: index as u32,
        registers: Registers::default(),
        off: false,
        squeezed: false,
        memory: slot.memory.read(),
        work: None,
        state: loaded::place(index, number),
    };
    if kind == Kind::Small {
        cpu.work = workspace::take(index);
        match &cpu.work {
            Some(work) => slot.status.lock().store = Some(Store::alone(work.device)),
            None => slot.finish(Reason::NoWorkspace),
        }
    }
    cpu.live(index);
    cpu.end(index);
    task::groups::leave();
    task::exit()
}

impl Vcpu {
    /// Exits up to now.
    pub(super) fn exits(&self) -> u64 {
        self.shared.exits.load(Ordering::Relaxed)
    }

    /// The machine's memory; `None` only for a machine that is being abandoned.
    pub(super) fn memory(&self) -> Option<&GuestMemory> {
        self.memory.as_ref()
    }

    /// Off and on, until the machine ends.
    fn live(&mut self, index: usize) {
        let Some((vtcr, vttbr)) = self.memory().map(|memory| memory.registers(index as u16 + 1))
        else {
            return;
        };
        let state = State::new(self.slot, self.number, (vtcr, vttbr));
        // SAFETY: the virtual CPU's own place; no core has it loaded, since its last user ended.
        unsafe { self.state.write(state) };
        loop {
            while !self.slot.stop.load(Ordering::Acquire) && !self.take_power() {
                self.park();
            }
            if self.slot.stop.load(Ordering::Acquire) {
                return;
            }
            self.run();
        }
    }

    /// If it was told to go on: registers as at reset, and true.
    fn take_power(&mut self) -> bool {
        let Some((entry, argument)) = self.slot.power.take(self.number) else { return false };
        let masked = Masked::new();
        // What an earlier life left in the core's registers is not saved over what is written now.
        forget(self.state);
        // SAFETY: the virtual CPU's own place, which no core has loaded now.
        let state = unsafe { &mut *self.state };
        state.reset(self.slot.counter_offset.load(Ordering::Relaxed));
        for interrupt in [PHYSICAL_TIMER, PMU_INTERRUPT] {
            self.slot.set_private_line(state, interrupt, false, &masked);
        }
        drop(masked);
        self.off = false;
        self.registers = Registers::default();
        self.registers.pc = entry;
        self.registers.pstate = ENTRY_STATE;
        self.registers.x[0] = argument;
        // A pause that came while it was off was seen there, and is to be seen here.
        self.shared.attention.remind();
        true
    }

    /// Runs the guest until the virtual CPU goes off or the machine ends.
    fn run(&mut self) {
        let shared = self.shared;
        let mut masked = Masked::new();
        loop {
            let mut traced = false;
            // What is changed after the look below raises an interrupt that ends the guest's turn
            // at once.
            shared.attention.enter();
            if self.load(&masked) {
                // The longest ways into a guest lead through here, and the next place of this kind.
                mask::end_stretch();
            }
            if shared.attention.take() {
                if shared.attention.take_aside() {
                    if self.is_held() {
                        shared.attention.leave();
                        drop(masked);
                        if self.stand_still() {
                            return;
                        }
                        masked = Masked::new();
                        continue;
                    }
                    self.follow_counter();
                    if self.slot.devices.port.has_arrivals() {
                        // Whatever else was asked for is seen to afterwards.
                        shared.attention.remind();
                        shared.attention.leave();
                        drop(masked);
                        self.receive();
                        masked = Masked::new();
                        continue;
                    }
                    // SAFETY: the virtual CPU's own place, and interrupts are masked.
                    if unsafe { (*self.state).has_running_timer() } {
                        // At the next wait as well.
                        shared.attention.remind();
                    }
                    traced = cores::this(&masked).traced();
                    if traced {
                        // At the next turn as well: who begins to trace asks for the first look.
                        shared.attention.remind();
                    }
                }
                if self.is_over() {
                    // Also after this turn: there may be more to do.
                    shared.attention.remind();
                    if !core::mem::replace(&mut self.squeezed, true) {
                        shared.attention.leave();
                        drop(masked);
                        self.squeeze();
                        masked = Masked::new();
                        continue;
                    }
                }
                self.squeezed = false;
                self.sync(&masked);
                if traced {
                    self.note_turn(Traced::GuestEnter);
                }
                mask::end_stretch();
            }
            // SAFETY: interrupts are masked and this guest's state and tables are loaded.
            let exit = unsafe { vcpu::enter(&mut self.registers) };
            mask::begin_stretch();
            if traced {
                self.note_turn(Traced::GuestExit);
            }
            let syndrome = Syndrome::new(mmu::syndrome());
            shared.attention.leave();
            cores::count(&shared.exits);
            let handled = match exit {
                Exit::SYNCHRONOUS => self.handle(syndrome, masked),
                Exit::INTERRUPT => {
                    // Here and now: no exception of the kernel's own has to be taken for it.
                    dispatch::serve();
                    drop(masked);
                    Ok(Masked::new())
                }
                _ => {
                    drop(masked);
                    Err(Reason::Hardware)
                }
            };
            masked = match handled {
                Ok(masked) => masked,
                Err(reason) => return self.slot.finish(reason),
            };
            if self.off {
                return;
            }
        }
    }

    /// A turn in the guest begins or ends, for the trace. Interrupts are masked.
    #[cold]
    fn note_turn(&self, what: Traced) {
        trace::note(cores::this_unpinned(), what, self.machine, "");
    }

    /// Whether more of the machine's memory is resident than may be.
    pub(super) fn is_over(&self) -> bool {
        self.memory().is_some_and(GuestMemory::is_over)
    }

    /// Puts pages out, as many as one turn may take.
    #[cold]
    #[inline(never)]
    fn squeeze(&mut self) {
        // A guard of its own, since what it guards is used while this virtual CPU's registers are
        // loaded.
        let memory = self.slot.memory.read();
        let Some(memory) = memory.as_ref() else { return };
        let with_tables = |cpu: &mut Self, look: &mut dyn FnMut()| {
            let masked = Masked::new();
            cpu.load(&masked);
            look();
            drop(masked);
        };
        for _ in 0..SQUEEZE {
            if !memory.put_out(|look| with_tables(self, look)) {
                break;
            }
        }
    }

    /// When the guest's physical timer raises its line, if it is going to.
    pub(super) fn timer_wakes(&self) -> Option<u64> {
        // SAFETY: the virtual CPU's own place; interrupts are masked, whose handlers are the only
        // others to touch it.
        unsafe { (*self.state).timer.wake_up() }
    }

    /// The machine's virtual counter may have stood still. Loaded, with interrupts masked.
    fn follow_counter(&mut self) {
        // Relaxed: whatever changed it asked for a look behind that.
        let offset = self.slot.counter_offset.load(Ordering::Relaxed);
        // SAFETY: the virtual CPU's own place, which is loaded.
        unsafe { (*self.state).set_counter_offset(offset) };
    }

    /// Gives the guest what was typed.
    #[cold]
    #[inline(never)]
    fn receive(&mut self) {
        if let Some(memory) = self.memory() {
            self.slot.take_arrivals(memory);
        }
    }

    /// Makes this core's registers this guest's; whether they were another one's.
    #[inline(always)]
    pub(super) fn load(&mut self, masked: &Masked) -> bool {
        loaded::load(self.state, masked)
    }

    /// Brings list registers and books together. Loaded.
    #[inline(always)]
    pub(super) fn sync(&mut self, masked: &Masked) {
        // SAFETY: the virtual CPU's own place, and nobody else of this core runs.
        delivery::sync(unsafe { &mut *self.state }, masked);
    }

    /// Takes the list registers into the books, before these are looked at or changed by the guest.
    pub(super) fn fold(&mut self) {
        let masked = Masked::new();
        self.load(&masked);
        // SAFETY: as above.
        let state = unsafe { &mut *self.state };
        if state.lists.used == 0 && !state.fired {
            return;
        }
        self.slot.fold_loaded(state, &masked);
        self.shared.attention.remind_of_books();
        drop(masked);
    }

    /// Leaves the core; the last one of a machine gives back everything: what it stored goes into
    /// the rings, its memory to the frames, its workspace waits for the next.
    fn end(self, index: usize) {
        let Self { slot, memory, work, state, .. } = self;
        // A state that was never written has no tables to forget: then `live` returned at once,
        // without memory.
        if memory.is_some() {
            forget(state);
        }
        drop(memory);
        super::note_swap(slot);
        let start = clock::now();
        let mut released = 0;
        if let Some(Workspace { device, scratch, page }) = work {
            // The range is the device's own, so it cannot be refused.
            released = device.release(0, device.slots()).unwrap_or(0);
            workspace::put_back(index, Workspace { device, scratch, page });
        }
        if slot.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            let disk = slot.devices.disk.unplug();
            released += disk.as_ref().map_or(0, Disk::empty);
            let release_ticks = clock::now() - start;
            trace::released(released);
            super::note_holding(index);
            super::release_memory(index);
            slot.console.flush(index);
            super::forget_device(slot);
            if let Some(disk) = disk {
                slot.wait_for_store_users();
                disk.release();
            }
            super::ended(index, released, release_ticks);
        }
    }
}
