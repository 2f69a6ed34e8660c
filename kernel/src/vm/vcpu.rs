//! The virtual CPU: a task that enters the guest, and decides what to do when it comes out. Its registers are this core's while
//! [`super::loaded`] says so.

use core::sync::atomic::{Ordering, fence};

use bale_arch::gich;
use bale_arch::mask::Masked;
use bale_arch::mmu;
use bale_arch::vcpu::{self, Exit, Registers};
use bale_core::exception::{Cause, Fault, Syndrome, fault_ipa};
use bale_core::guest_tree::RAM;
use bale_core::injection::Exception;
use bale_core::trace::Kind as Traced;
use bale_core::vgic::MAX_VCPUS;
use spin::rwlock::RwLockReadGuard;

use super::disk::Disk;
use super::held::Touched;
use super::loaded::{self, State, forget};
use super::memory::GuestMemory;
use super::store::Store;
use super::workspace::{self, Workspace};
use super::{Kind, Power, Reason, SLOTS, Shared, Slot, delivery, hypercall, trap};
use crate::{clock, cores, interrupts, task, trace};

/// Steps of putting pages out between two turns in the guest: each stores a page, or passes some that are in use.
const SQUEEZE: usize = 64;
/// Between two looks for a frame for a page that is to come back.
const PATIENCE_US: u64 = 1_000;

/// `SPSR_EL2` of a guest at entry: EL1h, everything masked.
const ENTRY_STATE: u64 = 0x3c5;

/// What a virtual CPU's task works with while it runs.
pub(super) struct Vcpu {
    pub(super) slot: &'static Slot,
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
    state: *mut State,
}

/// The task of a virtual CPU: slot times [`MAX_VCPUS`] plus its number.
pub(super) extern "C" fn task(argument: u64) -> ! {
    let (index, number) = (argument as usize / MAX_VCPUS, argument as usize % MAX_VCPUS);
    let slot = &SLOTS[index];
    // Who started it may not have run since: a wake-up by another virtual CPU would be lost.
    *slot.vcpus[number].task.lock() = Some(task::current());
    let kind = *slot.kind.lock();
    let mut cpu = Vcpu {
        slot,
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
    task::exit()
}

impl Vcpu {
    fn shared(&self) -> &'static Shared {
        &self.slot.vcpus[self.number]
    }

    /// Exits up to now.
    pub(super) fn exits(&self) -> u64 {
        self.shared().exits.load(Ordering::Relaxed)
    }

    /// The machine's memory; `None` only for a machine that is being abandoned.
    pub(super) fn memory(&self) -> Option<&GuestMemory> {
        self.memory.as_ref()
    }

    /// Off and on, until the machine ends.
    fn live(&mut self, index: usize) {
        let Some((vtcr, vttbr)) = self.memory().map(|memory| memory.registers(index as u16 + 1)) else {
            return;
        };
        let state = State::new(index, self.number, (vtcr, vttbr));
        // SAFETY: the virtual CPU's own place; no core has it loaded, since its last user ended.
        unsafe { self.state.write(state) };
        loop {
            while !self.slot.stop.load(Ordering::Acquire) && !self.take_power() {
                self.park(None);
            }
            if self.slot.stop.load(Ordering::Acquire) {
                return;
            }
            self.run();
        }
    }

    /// If it was told to go on: registers as at reset, and true.
    fn take_power(&mut self) -> bool {
        let (entry, argument) = {
            let mut power = self.shared().power.lock();
            let Power::Coming(entry, argument) = *power else { return false };
            *power = Power::On;
            (entry, argument)
        };
        let masked = Masked::new();
        // What an earlier life left in the core's registers is not saved over what is written now.
        forget(self.state);
        // SAFETY: the virtual CPU's own place, which no core has loaded now.
        let state = unsafe { &mut *self.state };
        state.reset(self.slot.counter_offset.load(Ordering::Relaxed));
        drop(masked);
        self.off = false;
        self.registers = Registers::default();
        self.registers.pc = entry;
        self.registers.pstate = ENTRY_STATE;
        self.registers.x[0] = argument;
        true
    }

    /// Runs the guest until the virtual CPU goes off or the machine ends.
    fn run(&mut self) {
        let shared = self.shared();
        loop {
            let masked = Masked::new();
            let mut traced = false;
            shared.in_guest.store(true, Ordering::Relaxed);
            // Partner: the fence in `Shared::kick`. What is changed after the look below raises an interrupt that ends the
            // guest's turn at once; whoever wants the machine to stop or stand still asks for attention as well.
            fence(Ordering::SeqCst);
            self.load();
            if shared.attention.load(Ordering::Relaxed) {
                shared.attention.store(false, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                if self.is_held() {
                    shared.in_guest.store(false, Ordering::Relaxed);
                    drop(masked);
                    if self.stand_still() {
                        return;
                    }
                    continue;
                }
                if self.is_over() {
                    // Also after this turn: there may be more to do.
                    shared.attention.store(true, Ordering::Relaxed);
                    if !core::mem::replace(&mut self.squeezed, true) {
                        shared.in_guest.store(false, Ordering::Relaxed);
                        drop(masked);
                        self.squeeze();
                        continue;
                    }
                }
                self.squeezed = false;
                self.sync();
                traced = cores::this(&masked).traced();
                if traced {
                    // At the next turn as well: who begins to trace asks for the first look.
                    shared.attention.store(true, Ordering::Relaxed);
                    self.note_turn(Traced::GuestEnter);
                }
            }
            // SAFETY: interrupts are masked and this guest's state and tables are loaded.
            let exit = unsafe { vcpu::enter(&mut self.registers) };
            bale_arch::mask::begin_stretch();
            if traced {
                self.note_turn(Traced::GuestExit);
            }
            let syndrome = Syndrome::new(mmu::syndrome());
            // Only read where there is one, and before another exception can overwrite it.
            let fault = if exit == Exit::Synchronous { faulting_address(syndrome) } else { None };
            shared.in_guest.store(false, Ordering::Relaxed);
            cores::count(&shared.exits);
            if exit == Exit::Interrupt {
                // Here and now: no exception of the kernel's own has to be taken for it.
                interrupts::serve();
            }
            drop(masked);
            let stop = match exit {
                Exit::Interrupt => None,
                Exit::SError => Some(Reason::Hardware),
                Exit::Synchronous => self.handle(syndrome, fault.unwrap_or((0, 0))),
            };
            if let Some(reason) = stop {
                self.slot.finish(reason);
                return;
            }
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
    fn is_over(&self) -> bool {
        self.memory().is_some_and(GuestMemory::is_over)
    }

    /// Puts pages out, as many as one turn may take.
    #[cold]
    #[inline(never)]
    fn squeeze(&mut self) {
        // A guard of its own, since what it guards is used while this virtual CPU's registers are loaded.
        let memory = self.slot.memory.read();
        let Some(memory) = memory.as_ref() else { return };
        let with_tables = |cpu: &mut Self, look: &mut dyn FnMut()| {
            let masked = Masked::new();
            cpu.load();
            look();
            drop(masked);
        };
        for _ in 0..SQUEEZE {
            if !memory.put_out(|look| with_tables(self, look)) {
                break;
            }
        }
    }

    /// An abort, perhaps for want of a mapping or an access flag: whether the guest can try the same instruction again. A reason if it cannot
    /// go on at all.
    #[cold]
    #[inline(never)]
    fn touch(&mut self, fault: Fault, ipa: u64) -> Result<bool, Reason> {
        if !matches!(fault, Fault::Translation(_) | Fault::AccessFlag(_)) {
            return Ok(false);
        }
        let Some(memory) = self.memory() else { return Ok(false) };
        match memory.touch(ipa) {
            Touched::Foreign => return Ok(false),
            Touched::Lost => return Err(Reason::MemoryLost(ipa)),
            Touched::There if !memory.is_over() => {}
            // The next one pays for it.
            Touched::There => self.shared().attention.store(true, Ordering::Relaxed),
            // Others give frames back; who stops the machine is heard before the next try.
            Touched::NoFrame => task::sleep_until(clock::now() + clock::from_us(PATIENCE_US)),
        }
        Ok(true)
    }

    /// Whether the machine is to stop or to stand still.
    fn is_held(&self) -> bool {
        self.slot.stop.load(Ordering::Acquire) || self.slot.paused.load(Ordering::Acquire)
    }

    /// Stands still while the machine is paused; whether it is to stop.
    fn stand_still(&mut self) -> bool {
        while self.slot.paused.load(Ordering::Acquire) && !self.slot.stop.load(Ordering::Acquire) {
            self.park(None);
        }
        self.shared().attention.store(true, Ordering::Relaxed);
        self.slot.stop.load(Ordering::Acquire)
    }

    /// Makes this core's registers this guest's. Interrupts are masked.
    #[inline(always)]
    fn load(&mut self) {
        if loaded::load(self.state) {
            self.shared().attention.store(true, Ordering::Relaxed);
        }
    }

    /// Brings list registers and books together. Loaded, interrupts masked.
    fn sync(&mut self) {
        // SAFETY: the virtual CPU's own place, and nobody else of this core runs.
        delivery::sync(unsafe { &mut *self.state });
    }

    /// Takes the list registers into the books, before these are looked at or changed by the guest.
    pub(super) fn fold(&mut self) {
        let masked = Masked::new();
        self.load();
        // SAFETY: as above.
        let state = unsafe { &mut *self.state };
        if state.lists.used == 0 && !state.fired {
            return;
        }
        self.slot.deliver(|vgic| delivery::fold(state, vgic));
        self.shared().attention.store(true, Ordering::Relaxed);
        drop(masked);
    }

    /// Parks unless attention is asked for already, until somebody kicks or `deadline` has passed. What was asked for counts as
    /// seen: the caller looks at everything, and asks for itself what it does not look at.
    fn park(&mut self, deadline: Option<u64>) {
        let shared = self.shared();
        shared.parked.store(true, Ordering::Relaxed);
        // Partner: the fence in `Shared::kick`.
        fence(Ordering::SeqCst);
        if !shared.attention.swap(false, Ordering::Acquire) {
            match deadline {
                Some(deadline) => task::park_until(deadline),
                None => task::park(),
            }
        }
        shared.parked.store(false, Ordering::Relaxed);
    }

    /// WFI: waits until an interrupt is there or the virtual timer fires.
    pub(super) fn wait(&mut self) {
        let deadline = {
            let masked = Masked::new();
            self.load();
            if self.shared().attention.load(Ordering::Relaxed) {
                self.shared().attention.store(false, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                self.sync();
            }
            let timer = vcpu::virtual_timer();
            let waits = !timer.fired && !self.something_listed();
            drop(masked);
            if self.is_held() {
                // This asked for the attention that was just taken away.
                self.shared().attention.store(true, Ordering::Relaxed);
                return;
            }
            if !waits {
                return;
            }
            if self.is_over() {
                // Time to put pages out.
                self.shared().attention.store(true, Ordering::Relaxed);
                return;
            }
            timer.armed.then_some(timer.deadline)
        };
        self.park(deadline);
        self.shared().attention.store(true, Ordering::Relaxed);
    }

    /// Whether the list registers hold an interrupt that the guest's priority mask lets through.
    fn something_listed(&self) -> bool {
        // SAFETY: the virtual CPU's own place.
        let lists = unsafe { &(*self.state).lists };
        lists.any_pending(gich::priority_mask(), gich::list)
    }

    /// Gives the guest an exception of its own.
    pub(super) fn inject(&mut self, exception: Exception) {
        let masked = Masked::new();
        self.load();
        let (vectors, control) = vcpu::exception_controls();
        let entry = exception.entry(self.registers.pstate, vectors, control, trap::has_pan());
        vcpu::set_exception(self.registers.pc, self.registers.pstate, entry.syndrome, entry.fault_address);
        self.registers.pc = entry.pc;
        self.registers.pstate = entry.pstate;
        drop(masked);
    }

    /// What the guest wants, or has done: a reason if it cannot go on.
    fn handle(&mut self, syndrome: Syndrome, fault: (u64, u64)) -> Option<Reason> {
        match syndrome.cause() {
            Cause::HypervisorCall => {
                cores::count(&self.shared().calls);
                hypercall::answer(self)
            }
            // Every device is below memory.
            Cause::DataAbort(cause, access)
                if self.kind == Kind::Full && cause != Fault::External && fault.0 < RAM =>
            {
                self.data_abort(syndrome, access, fault.0, fault.1);
                None
            }
            cause => self.handle_seldom(cause, syndrome, fault),
        }
    }

    /// What is no call and no device's register.
    #[inline(never)]
    fn handle_seldom(
        &mut self,
        cause: Cause,
        syndrome: Syndrome,
        (ipa, address): (u64, u64),
    ) -> Option<Reason> {
        match cause {
            Cause::SecureMonitorCall => {
                cores::count(&self.shared().calls);
                // A trapped SMC returns to itself; HVC returns behind itself.
                self.skip(syndrome);
                hypercall::answer(self)
            }
            Cause::Wait => {
                self.skip(syndrome);
                self.wait();
                None
            }
            Cause::DataAbort(Fault::External, _) | Cause::InstructionAbort(Fault::External) => {
                Some(Reason::Hardware)
            }
            Cause::DataAbort(fault, _) if self.kind == Kind::Full => {
                self.memory_abort(fault, ipa, Exception::DataAbort(address))
            }
            Cause::InstructionAbort(fault) if self.kind == Kind::Full => {
                self.memory_abort(fault, ipa, Exception::InstructionAbort(address))
            }
            Cause::DataAbort(fault, access) => {
                let write = access.map_or(syndrome.is_write(), |access| access.write);
                Some(Reason::from_fault(fault, ipa, write))
            }
            Cause::InstructionAbort(_) => Some(Reason::StrayFetch(ipa)),
            Cause::SystemRegister(access) => {
                self.system_register(syndrome, access);
                None
            }
            Cause::Other(_) if self.kind == Kind::Full => {
                self.inject(Exception::Undefined);
                None
            }
            Cause::HypervisorCall | Cause::Other(_) => Some(Reason::Unsupported(syndrome)),
        }
    }

    /// An abort in memory: the page comes back, or the guest is told.
    fn memory_abort(&mut self, fault: Fault, ipa: u64, exception: Exception) -> Option<Reason> {
        match self.touch(fault, ipa) {
            Ok(true) => None,
            Ok(false) => {
                self.inject(exception);
                None
            }
            Err(reason) => Some(reason),
        }
    }

    /// Goes on behind the instruction that trapped.
    pub(super) fn skip(&mut self, syndrome: Syndrome) {
        self.registers.pc = self.registers.pc.wrapping_add(syndrome.instruction_length());
    }

    /// A general register as an operand; 31 is zero.
    pub(super) fn operand(&self, register: u8) -> u64 {
        self.registers.x.get(usize::from(register)).copied().unwrap_or(0)
    }

    /// Writes a general register; 31 is none.
    pub(super) fn set_operand(&mut self, register: u8, value: u64) {
        if let Some(place) = self.registers.x.get_mut(usize::from(register)) {
            *place = value;
        }
    }

    /// Leaves the core; the last one of a machine gives back everything: what it stored goes into the rings, its memory
    /// to the frames, its workspace waits for the next.
    fn end(self, index: usize) {
        let Self { slot, memory, work, state, .. } = self;
        // A state that was never written has no tables to forget: then `live` returned at once, without memory.
        if memory.is_some() {
            forget(state);
        }
        drop(memory);
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

/// Guest-physical and virtual address of the abort that has just been taken, if it was one.
fn faulting_address(syndrome: Syndrome) -> Option<(u64, u64)> {
    if !syndrome.is_guest_abort() {
        return None;
    }
    let (page, address) = (mmu::fault_page(), mmu::fault_address());
    // HPFAR_EL2 is not promised for a permission fault on the guest's own access (DDI 0487, HPFAR_EL2).
    let own = matches!(syndrome.fault(), Fault::Permission(_)) && !syndrome.on_guest_table_walk();
    let looked_up = if own { mmu::guest_physical(address) } else { None };
    Some((looked_up.unwrap_or(fault_ipa(page, address)), address))
}
