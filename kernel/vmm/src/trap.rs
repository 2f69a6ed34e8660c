//! What a guest comes out for: calls, aborts, system registers and device registers; and what it
//! gets for it.

use core::sync::atomic::Ordering;

use bale_arch::mask::{self, Masked};
use bale_arch::{mmu, vcpu as hardware};
use bale_core::exception::{Cause, Fault, Syndrome, SystemAccess, fault_ipa};
use bale_core::guest_pmu::PMU_INTERRUPT;
use bale_core::guest_ram::GuestRam;
use bale_core::guest_timer::{PHYSICAL_TIMER, TimerRegister};
use bale_core::guest_tree::RAM;
use bale_core::guest_walk::{self, Controls};
use bale_core::injection::{Exception, Place};
use bale_core::system_registers::{Action, DFR0_PLACE, decide, without_pmu};
use bale_core::treatment::{Stop, Treatment, treatment};

use super::held::Touched;
use super::vcpu::Vcpu;
use super::{Kind, Reason, hypercall, memory, offered};
use bale_rt::{clock, cores, task};

/// PSTATE: the exception level's bits.
const LEVEL: u64 = 0b1100;

impl Vcpu {
    /// What the guest wants, or has done: a reason if it cannot go on. What leads to another
    /// virtual CPU is done with interrupts masked, as they are since the exit: all of it is one
    /// stretch up to a turn in the guest.
    pub(super) fn handle(&mut self, syndrome: Syndrome, masked: Masked) -> Result<Masked, Reason> {
        let reason = match syndrome.cause() {
            Cause::HypervisorCall => {
                drop(masked);
                cores::count(&self.shared.calls);
                hypercall::answer(self)
            }
            Cause::Wait => {
                self.skip();
                return Ok(self.wait(masked));
            }
            Cause::SystemRegister if let Some(register) = syndrome.sends_interrupt() => {
                self.skip();
                self.send(register, &masked);
                return Ok(masked);
            }
            Cause::DataAbort => {
                // Here and below, before interrupts are unmasked: another exception overwrites it.
                let fault = faulting_address(syndrome);
                drop(masked);
                // Every device is below memory.
                if self.kind == Kind::Full && fault.0 < RAM && syndrome.fault() != Fault::External {
                    self.data_abort(syndrome, fault.0, fault.1);
                    None
                } else {
                    self.handle_seldom(syndrome, fault)
                }
            }
            cause => {
                let fetch = cause == Cause::InstructionAbort;
                let fault = if fetch { faulting_address(syndrome) } else { (0, 0) };
                drop(masked);
                self.handle_seldom(syndrome, fault)
            }
        };
        reason.map_or_else(|| Ok(Masked::new()), Err)
    }

    /// A write to `ICC_SGI1R_EL1`.
    #[inline(always)]
    fn send(&mut self, register: u8, masked: &Masked) {
        let value = self.operand(register);
        self.slot.send(self.number, value, masked);
        task::preempt_if_asked();
        mask::end_stretch();
    }

    /// What is no call, no device's register, and does not lead to another virtual CPU.
    #[inline(never)]
    fn handle_seldom(&mut self, syndrome: Syndrome, (ipa, address): (u64, u64)) -> Option<Reason> {
        match treatment(syndrome, self.kind == Kind::Full, ipa) {
            Treatment::TrappedCall => {
                cores::count(&self.shared.calls);
                // A trapped SMC returns to itself; HVC returns behind itself.
                self.skip();
                hypercall::answer(self)
            }
            Treatment::SystemRegister => {
                self.system_register(syndrome);
                None
            }
            Treatment::Memory { fetch } => {
                let exception =
                    if fetch { Exception::InstructionAbort } else { Exception::DataAbort };
                self.memory_abort(syndrome, (ipa, address), exception)
            }
            Treatment::Undefined => {
                self.inject(Exception::Undefined);
                None
            }
            Treatment::Stop(Stop::Hardware) => Some(Reason::Hardware),
            Treatment::Stop(Stop::StrayAccess) => {
                Some(Reason::from_fault(syndrome.fault(), ipa, syndrome.is_write()))
            }
            Treatment::Stop(Stop::StrayFetch) => Some(Reason::StrayFetch(ipa)),
            // The first three were seen to by the caller.
            Treatment::Call
            | Treatment::Device
            | Treatment::Wait
            | Treatment::Stop(Stop::Unsupported) => Some(Reason::Unsupported(syndrome)),
        }
    }

    /// An abort in memory: the page comes back, or the guest is told.
    fn memory_abort(
        &mut self,
        syndrome: Syndrome,
        (ipa, address): (u64, u64),
        exception: fn(u64, Place) -> Exception,
    ) -> Option<Reason> {
        match self.touch(syndrome.fault(), ipa) {
            Ok(true) => None,
            Ok(false) => {
                self.inject_abort(syndrome, (ipa, address), exception);
                None
            }
            Err(reason) => Some(reason),
        }
    }

    /// Gives the guest the abort on what it has not: on its access, or on the walk for it.
    #[inline(never)]
    pub(super) fn inject_abort(
        &mut self,
        syndrome: Syndrome,
        (ipa, address): (u64, u64),
        exception: fn(u64, Place) -> Exception,
    ) {
        let place = match syndrome.on_guest_table_walk() {
            true => Place::TableWalk(self.walk_level(ipa, address)),
            false => Place::Access,
        };
        self.inject(exception(address, place));
    }

    /// Level at which the guest's walk for an address met this one.
    fn walk_level(&mut self, ipa: u64, address: u64) -> u8 {
        let masked = Masked::new();
        self.load(&masked);
        let (translation, tables) = mmu::guest_translation();
        drop(masked);
        let read = |place| {
            let mut descriptor = [0; 8];
            self.memory()?.read(place, &mut descriptor).ok()?;
            Some(u64::from_le_bytes(descriptor))
        };
        // The tables have changed since: the level where most walks end.
        guest_walk::level_of(Controls { translation, tables }, address, ipa, read).unwrap_or(3)
    }

    /// An abort, perhaps for want of a mapping or an access flag: whether the guest can try the
    /// same instruction again. A reason if it cannot go on at all.
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
            Touched::There => self.shared.attention.remind(),
            // Others give frames back, or this one does: it puts a page out before the next try.
            // Who stops the machine is heard before, too.
            Touched::NoFrame => {
                task::sleep_us(memory::PATIENCE_US);
                self.shared.attention.remind();
            }
        }
        Ok(true)
    }

    /// A trapped access to a system register.
    fn system_register(&mut self, syndrome: Syndrome) {
        let access = syndrome.system_access();
        match decide(access) {
            Action::Value(value) => self.set_operand(access.register, value),
            Action::Identification(crm, op2) => {
                let value = offered::register(crm, op2);
                let hides_pmu = (crm, op2) == DFR0_PLACE && !self.slot.pmu.load(Ordering::Relaxed);
                self.set_operand(
                    access.register,
                    if hides_pmu { without_pmu(value) } else { value },
                )
            }
            Action::Debug if self.debug_register(access).is_none() => {
                return self.inject(Exception::Undefined);
            }
            Action::Pmu if self.pmu_register(access).is_none() => {
                return self.inject(Exception::Undefined);
            }
            Action::Debug | Action::Pmu | Action::Ignored => {}
            Action::PhysicalTimer(register) => self.physical_timer(register, access),
            Action::Send { group1 } => {
                let value = self.operand(access.register);
                self.slot.deliver(|vgic| vgic.send(self.number, value, group1));
            }
            Action::Undefined => return self.inject(Exception::Undefined),
        }
        self.skip();
    }

    /// A trapped access to a debug register; `None` for one that is not there.
    fn debug_register(&mut self, access: SystemAccess) -> Option<()> {
        let masked = Masked::new();
        self.load(&masked);
        // SAFETY: the virtual CPU's own place, and nobody else of this core runs.
        let state = unsafe { &mut *self.state };
        if access.read {
            let value = state.debug.read(access)?;
            self.set_operand(access.register, value);
        } else {
            state.debug.write(access, self.operand(access.register))?;
            state.use_debug_registers();
        }
        drop(masked);
        Some(())
    }

    /// A trapped access to the performance monitors; `None` for a register that is not there.
    fn pmu_register(&mut self, access: SystemAccess) -> Option<()> {
        let masked = Masked::new();
        self.load(&masked);
        // SAFETY: the virtual CPU's own place, and nobody else of this core runs.
        let state = unsafe { &mut *self.state };
        let concerns_core = state.pmu.concerns_core(access);
        if concerns_core {
            state.look_at_pmu();
        }
        let done = if access.read {
            state.pmu.read(access).map(|value| self.set_operand(access.register, value))
        } else {
            let from_user = self.registers.pstate & LEVEL == 0;
            let before = state.pmu.line();
            let done = state.pmu.write(access, self.operand(access.register), from_user);
            if state.pmu.line() != before {
                self.slot.set_private_line(state, PMU_INTERRUPT, !before, &masked);
            }
            done
        };
        if concerns_core {
            state.follow_pmu();
        }
        drop(masked);
        done
    }

    /// A trapped access to the physical timer.
    fn physical_timer(&mut self, register: TimerRegister, access: SystemAccess) {
        let masked = Masked::new();
        self.load(&masked);
        // SAFETY: the virtual CPU's own place, and nobody else of this core runs.
        let state = unsafe { &mut *self.state };
        if access.read {
            self.set_operand(access.register, state.timer.read(register, clock::now()));
        } else {
            let before = state.timer.line();
            state.timer.write(register, self.operand(access.register), clock::now());
            if state.timer.line() != before {
                self.slot.set_private_line(state, PHYSICAL_TIMER, !before, &masked);
            }
            state.follow_timer();
            if state.timer.wake_up().is_some() {
                // While it runs, a wait has a second deadline: see `Vcpu::look`.
                self.shared.attention.remind();
            }
        }
        drop(masked);
    }

    /// Gives the guest an exception of its own.
    pub(super) fn inject(&mut self, exception: Exception) {
        if let Exception::DataAbort(address, _) | Exception::InstructionAbort(address, _) =
            exception
            && self.slot.external_aborts.fetch_add(1, Ordering::Relaxed) == 0
        {
            defmt::info!(
                "vm {}: a first access to what it has not, at {:#x} by {:#x}, given back as an external abort",
                self.slot.number() as u32,
                address,
                self.registers.pc
            );
        }
        let masked = Masked::new();
        self.load(&masked);
        let (vectors, control) = hardware::exception_controls();
        let entry = exception.entry(self.registers.pstate, vectors, control, offered::has_pan());
        // With the guest's translation off nothing can change what is there, and with interrupts
        // masked nothing else comes: it would take the same abort for ever.
        let stuck =
            matches!(exception, Exception::InstructionAbort(..)) && entry.pc == self.registers.pc;
        if stuck && control & 1 == 0 {
            self.slot.finish(Reason::NoVectors(entry.pc));
        }
        hardware::set_exception(
            self.registers.pc,
            self.registers.pstate,
            entry.syndrome,
            entry.fault_address,
        );
        self.registers.pc = entry.pc;
        self.registers.pstate = entry.pstate;
        drop(masked);
    }

    /// Goes on behind the instruction that trapped, which counts as executed: a guest that steps
    /// takes its step exception next (DDI 0487, D2.12: PSTATE.SS is clear once the instruction is
    /// done).
    pub(super) fn skip(&mut self) {
        const STEP: u64 = 1 << 21;
        // In AArch64 every instruction has four bytes.
        self.registers.pc = self.registers.pc.wrapping_add(4);
        self.registers.pstate &= !STEP;
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
}

/// Guest-physical and virtual address of the abort that has just been taken.
fn faulting_address(syndrome: Syndrome) -> (u64, u64) {
    let (page, address) = (mmu::fault_page(), mmu::fault_address());
    // HPFAR_EL2 is not promised for a permission fault on the guest's own access (DDI 0487,
    // HPFAR_EL2).
    let own = matches!(syndrome.fault(), Fault::Permission(_)) && !syndrome.on_guest_table_walk();
    let looked_up = if own { mmu::guest_physical(address) } else { None };
    (looked_up.unwrap_or(fault_ipa(page, address)), address)
}
