//! Whose state a core's registers hold: EL1 and SIMD registers, list registers, tables.
//!
//! A core keeps what the virtual CPU that ran there last had until another one takes it: exits,
//! preemption by other tasks and waiting move nothing. So SIMD state is switched eagerly, but only
//! from one virtual CPU to another; a trap on first use would cost an exit on each switch of two
//! guests that both use it, which Linux does at every context switch.

use core::ptr;
use core::sync::atomic::{AtomicU8, Ordering};

use bale_arch::further::{Further, FurtherState};
use bale_arch::gich::{self, VirtualInterface};
use bale_arch::mask::Masked;
use bale_arch::pmu::{self, Controls};
use bale_arch::simd::SimdState;
use bale_arch::vcpu::{self, SystemState};
use bale_arch::{debug, identity, mmu, timer};
use bale_core::guest_debug::DebugRegisters;
use bale_core::guest_pmu::{Hardware, Offered, Pmu};
use bale_core::guest_timer::PhysicalTimer;
use bale_core::vgic::{Lists, MAX_VCPUS};

use super::{MAX_VMS, Shared, Slot, delivery, offered};
use bale_rt::cores::{self, Core};

/// In [`State::beside`]: the guest has set debug registers that have an effect.
const DEBUG: u32 = 1;
/// In [`State::beside`]: the core has state of [`FurtherState`].
const FURTHER: u32 = 1 << 1;
/// In [`State::beside`]: the guest's physical timer is going to raise its line.
const TIMER: u32 = 1 << 2;
/// In [`State::beside`]: the guest's performance monitors count, or EL0 may look at them.
const PMU: u32 = 1 << 3;

/// What only one virtual CPU at a time can have in a core's registers.
pub(super) struct State {
    pub(super) slot: &'static Slot,
    /// Its part of the slot.
    pub(super) shared: &'static Shared,
    pub(super) number: usize,
    system: SystemState,
    simd: SimdState,
    pub(super) interface: VirtualInterface,
    pub(super) lists: Lists,
    /// The virtual timer has fired since the last fold, and its interrupt is active in the
    /// hardware.
    pub(super) fired: bool,
    vtcr: u64,
    vttbr: u64,
    /// Which of the machine's virtual CPUs last ran on this one's core, as [`Slot::last_on`] has
    /// it, and this one there.
    last_here: &'static AtomicU8,
    this: u8,
    /// What is switched beside the rest, a bit each: nothing for most.
    beside: u32,
    pub(super) debug: DebugRegisters,
    pub(super) timer: PhysicalTimer,
    pub(super) pmu: Pmu,
    has: Further,
    further: FurtherState,
}

/// Performance monitors of a machine's virtual CPUs.
fn offered_pmu(slot: &Slot) -> Option<Offered> {
    offered::performance_monitors().filter(|_| slot.pmu.load(Ordering::Relaxed))
}

impl State {
    /// Out of reset, with the tables of its machine.
    pub(super) fn new(slot: &'static Slot, number: usize, (vtcr, vttbr): (u64, u64)) -> Self {
        Self {
            slot,
            shared: &slot.vcpus[number],
            number,
            system: SystemState::reset(number as u64),
            simd: SimdState::zero(),
            interface: VirtualInterface::new(),
            lists: Lists::new(gich::list_registers()),
            fired: false,
            vtcr,
            vttbr,
            last_here: &slot.last_on[slot.vcpus[number].core.load(Ordering::Relaxed)],
            // Fewer than 256: see MAX_VCPUS.
            this: number as u8 + 1,
            beside: 0,
            debug: offered::debug_registers(),
            timer: PhysicalTimer::default(),
            pmu: Pmu::new(offered_pmu(slot)),
            has: Further::of(identity::extensions()),
            further: FurtherState::default(),
        }
    }

    /// As out of reset, its counter so much behind. No core has it loaded.
    pub(super) fn reset(&mut self, timer_offset: u64) {
        self.system = SystemState::reset(self.number as u64);
        self.system.timer_offset = timer_offset;
        self.simd = SimdState::zero();
        self.interface = VirtualInterface::new();
        self.debug = offered::debug_registers();
        self.timer = PhysicalTimer::default();
        self.pmu = Pmu::new(offered_pmu(self.slot));
        self.further = FurtherState::default();
        self.beside = if self.has.is_any() { FURTHER } else { 0 };
    }

    /// Its counter is so much behind from now on. Loaded, with interrupts masked.
    #[cold]
    #[inline(never)]
    pub(super) fn set_counter_offset(&mut self, offset: u64) {
        if self.system.timer_offset != offset {
            self.system.timer_offset = offset;
            vcpu::set_counter_offset(offset);
        }
    }

    /// Reads this core's registers, but for those of interrupts: see [`delivery`].
    #[inline(always)]
    fn save(&mut self) {
        self.system.save();
        self.simd.save();
        if self.beside != 0 {
            self.save_beside();
        }
    }

    /// Reads what [`State::beside`] names, and leaves the core's registers so that whoever comes
    /// next need not know of it.
    #[inline(never)]
    fn save_beside(&mut self) {
        if self.beside & DEBUG != 0 {
            // Every write of the guest is in `debug` already.
            debug::set_control(0);
        }
        if self.beside & FURTHER != 0 {
            self.further.save(self.has);
        }
        if self.beside & TIMER != 0 {
            timer::disarm_guest();
        }
        if self.beside & PMU != 0 {
            self.take_back_pmu();
        }
    }

    /// Writes what [`State::beside`] names.
    #[inline(never)]
    fn load_beside(&self) {
        if self.beside & DEBUG != 0 {
            self.load_debug_registers();
        }
        if self.beside & FURTHER != 0 {
            self.further.load(self.has);
        }
        if self.beside & TIMER != 0 {
            self.load_timer();
        }
        if self.beside & PMU != 0 {
            self.load_pmu();
        }
    }

    /// Stops this core's performance monitors, and reads what they counted for the guest.
    fn take_back_pmu(&mut self) {
        pmu::stop();
        if !self.pmu.counts() {
            // What there is stands in the books.
            return;
        }
        pmu::read_events(self.pmu.counters(), |number, count| {
            self.pmu.take_back_event(number, count)
        });
        let (overflowed, cycles) = pmu::read_overflow_and_cycles();
        self.pmu.take_back(overflowed, cycles);
    }

    fn load_pmu(&self) {
        if !self.pmu.counts() {
            return pmu::open(self.pmu.hardware().user);
        }
        let counters = self.pmu.counters();
        pmu::write_events(counters, |number| self.pmu.event(number));
        let Hardware { control, enabled, interrupts, overflowed, user, cycles } =
            self.pmu.hardware();
        pmu::start(counters, &Controls { control, enabled, interrupts, overflowed, user, cycles });
    }

    /// Brings what the guest's performance monitors have counted into the books. Loaded, with
    /// interrupts masked.
    pub(super) fn look_at_pmu(&mut self) {
        if self.beside & PMU != 0 {
            self.take_back_pmu();
        }
    }

    /// Lets them count on, after [`Self::look_at_pmu`].
    pub(super) fn follow_pmu(&mut self) {
        if self.pmu.is_used() {
            self.beside |= PMU;
            self.load_pmu();
        } else {
            self.beside &= !PMU;
        }
    }

    /// Whether the guest's physical timer is going to raise its line.
    #[inline(always)]
    pub(super) fn has_running_timer(&self) -> bool {
        self.beside & TIMER != 0
    }

    /// Lets the core's timer fire when the guest's line is to rise.
    fn load_timer(&self) {
        match self.timer.wake_up() {
            Some(deadline) => timer::arm_guest(deadline),
            None => timer::disarm_guest(),
        }
    }

    /// The guest's physical timer has changed. Loaded, with interrupts masked.
    pub(super) fn follow_timer(&mut self) {
        match self.timer.wake_up() {
            Some(_) => self.beside |= TIMER,
            None => self.beside &= !TIMER,
        }
        self.load_timer();
    }

    fn load_debug_registers(&self) {
        let hardware = self.debug.hardware();
        if hardware.uses_points() {
            // All that the core has: those that this guest does not use may be another one's still.
            debug::set_breakpoints(hardware.breakpoints());
            debug::set_watchpoints(hardware.watchpoints());
        }
        debug::set_control(hardware.control);
    }

    /// The guest has written debug registers. Loaded, with interrupts masked.
    pub(super) fn use_debug_registers(&mut self) {
        // Those that are off are not switched.
        if self.debug.hardware().control == 0 {
            self.beside &= !DEBUG;
            debug::set_control(0);
        } else {
            self.beside |= DEBUG;
            self.load_debug_registers();
        }
    }
}

/// Whose state a core's registers hold. Touched by that core alone, with interrupts masked.
fn loaded(core: &Core) -> *mut State {
    core.guest.load(Ordering::Relaxed).cast()
}

/// Does something with the state that this core holds, from an interrupt handler; `None` if it
/// holds none.
pub(super) fn with_loaded<R>(f: impl FnOnce(&mut State) -> R) -> Option<R> {
    let masked = Masked::new();
    let loaded = loaded(cores::this(&masked));
    // SAFETY: it leaves the core before its place is used anew, and does so on this core alone;
    // whoever else refers to it does so with interrupts masked, and is not interrupted.
    unsafe { loaded.as_mut() }.map(f)
}

/// Makes this core's registers those of a virtual CPU, list registers as the books say; whether
/// they were others before.
#[inline(always)]
pub(super) fn load(state: *mut State, masked: &Masked) -> bool {
    let core = cores::this(masked);
    let other = loaded(core);
    if other == state {
        return false;
    }
    load_in_place_of(state, other, masked);
    core.guest.store(state.cast(), Ordering::Relaxed);
    true
}

#[inline(never)]
fn load_in_place_of(state: *mut State, other: *mut State, masked: &Masked) {
    // SAFETY: another virtual CPU of this core that was preempted between two turns; it leaves the
    // core when it ends.
    let mut other = unsafe { other.as_mut() };
    // SAFETY: the virtual CPU's own place, of which its task is the caller, and which is not the
    // other one's.
    let new = unsafe { &mut *state };
    if let Some(other) = &mut other {
        other.save();
    }
    let same_machine = delivery::change(other, new, masked);
    vcpu::stop_walks();
    new.system.load();
    new.simd.load();
    if new.beside != 0 {
        new.load_beside();
    }
    if !same_machine {
        // SAFETY: the tables live until every virtual CPU has ended, which drops their translations
        // first.
        unsafe { mmu::load_stage2(new.vtcr, new.vttbr) };
    }
    // A processor's own translations are nobody else's, but all of a machine have one VMID: what
    // the last one of them that ran on this core left in its TLB goes, however many virtual CPUs of
    // other machines ran in between.
    if new.last_here.load(Ordering::Relaxed) != new.this {
        new.last_here.store(new.this, Ordering::Relaxed);
        mmu::invalidate_current_guest_here();
    }
    new.system.resume();
}

/// The place of a virtual CPU's state: its task's own, but for what this module does with what is
/// loaded.
pub(super) fn place(slot: usize, number: usize) -> *mut State {
    PLACES[slot][number].0.get().cast()
}

/// The place of a virtual CPU's state.
struct Place(core::cell::UnsafeCell<core::mem::MaybeUninit<State>>);

// SAFETY: used by the task of that virtual CPU, and by others of the core that has it loaded.
unsafe impl Sync for Place {}

static PLACES: [[Place; MAX_VCPUS]; MAX_VMS] = [const {
    [const { Place(core::cell::UnsafeCell::new(core::mem::MaybeUninit::uninit())) }; MAX_VCPUS]
}; MAX_VMS];

/// Drops every trace of a virtual CPU from the registers of this core, and of its machine from all
/// TLBs.
pub(super) fn forget(state: *mut State) {
    let masked = Masked::new();
    let core = cores::this(&masked);
    let other = loaded(core);
    // SAFETY: either this virtual CPU's own place, or another one of this core, preempted between
    // two turns, which finds its state saved.
    if let Some(other) = unsafe { other.as_mut() } {
        other.save();
        delivery::leave(other, &masked);
    }
    // SAFETY: the virtual CPU's own place, which its task still holds.
    let state = unsafe { &*state };
    vcpu::stop_walks();
    gich::control(0);
    // SAFETY: the tables are still there; loading them names the machine whose translations go.
    unsafe { mmu::load_stage2(state.vtcr, state.vttbr) };
    mmu::invalidate_current_guest();
    mmu::unload_stage2();
    core.guest.store(ptr::null_mut(), Ordering::Relaxed);
}
