//! The virtual CPU: a task that enters the guest, and decides what to do when it comes out.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use bale_arch::mask::Masked;
use bale_arch::mmu;
use bale_arch::vcpu::{self, Exit, Registers, SimdState, SystemState};
use bale_core::exception::{Cause, Fault, Syndrome, fault_ipa};
use bale_swap::{Codec, Scratch};

use super::memory::GuestMemory;
use super::{MAX_VMS, Parts, Reason, SLOTS, SwapDevice, hypercall};
use crate::cores::{self, MAX_CORES};
use crate::memory::{Arena, PAGE_SIZE};
use crate::sync::Lock;
use crate::{clock, pool, task};

/// `SPSR_EL2` of a guest at entry: EL1h, everything masked.
const ENTRY_STATE: u64 = 0x3c5;

/// What only one virtual CPU at a time can have in a core's registers.
#[derive(Debug)]
struct State {
    system: SystemState,
    simd: SimdState,
    vtcr: u64,
    vttbr: u64,
}

/// Whose state each core's registers hold. Touched by tasks of that core alone, with interrupts masked.
static LOADED: [AtomicPtr<State>; MAX_CORES] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CORES];

/// What a slot keeps from one machine to the next: its swap device among it.
struct Workspace {
    device: &'static SwapDevice,
    scratch: &'static mut Scratch,
    page: &'static mut [u8; PAGE_SIZE],
    state: *mut State,
}

// SAFETY: `state` is this workspace's own place in an arena; whoever holds the workspace may use it.
unsafe impl Send for Workspace {}

/// What every codec's working memory is like at first: copied, since it is larger than what a stack should hold.
static SCRATCH: Scratch = Scratch::new();

static WORKSPACES: [Lock<Option<Workspace>>; MAX_VMS] = [const { Lock::new(None) }; MAX_VMS];

impl Workspace {
    fn new(slots: usize) -> Option<Self> {
        let bytes =
            slots * 8 + size_of::<Scratch>() + size_of::<State>() + size_of::<SwapDevice>() + 2 * PAGE_SIZE;
        let mut arena = Arena::new(bytes)?;
        let page = arena.place([0; PAGE_SIZE])?;
        let table = arena.place_each(slots, || AtomicU64::new(0))?;
        // The quota is the pool's own limit: one pool for all, and each guest may fill what is left.
        let device = arena.place(SwapDevice::new(
            pool::pool(),
            table,
            pool::pool().config().page_limit,
            Codec::Lz4,
        ))?;
        let state = State { system: SystemState::default(), simd: SimdState::zero(), vtcr: 0, vttbr: 0 };
        Some(Self {
            device,
            scratch: arena.place_copy(&SCRATCH)?,
            page,
            state: ptr::from_mut(arena.place(state)?),
        })
    }
}

/// Makes the workspaces of all slots, for swap devices of so many slots each, while memory lies in long ranges still.
/// A slot for which there is no memory stays without, and its machines end with [`Reason::NoWorkspace`].
pub(super) fn prepare(slots: usize) {
    for place in &WORKSPACES {
        let workspace = Workspace::new(slots);
        *place.lock() = workspace;
    }
}

/// What a machine's task works with while it runs.
pub(super) struct Vcpu {
    pub(super) slot: usize,
    pub(super) registers: Registers,
    pub(super) memory: GuestMemory,
    pub(super) device: &'static SwapDevice,
    pub(super) scratch: &'static mut Scratch,
    /// A private copy of the page that is on its way: the guest may change its own meanwhile.
    pub(super) page: &'static mut [u8; PAGE_SIZE],
    state: *mut State,
}

/// The task of the machine in slot `index`.
pub(super) extern "C" fn task(index: u64) -> ! {
    let index = index as usize;
    let Some(Parts { memory, entry }) = SLOTS[index].parts.lock().take() else { task::exit() };
    let Some(Workspace { device, scratch, page, state }) = WORKSPACES[index].lock().take() else {
        memory.release();
        super::ended(index, Reason::NoWorkspace, bale_swap::Statistics::new(), 0, 0);
        task::exit()
    };
    SLOTS[index].status.lock().device = Some(device);
    let mut cpu = Vcpu { slot: index, registers: Registers::default(), memory, device, scratch, page, state };
    let reason = cpu.run(entry);
    cpu.end(reason);
    task::exit()
}

impl Vcpu {
    fn run(&mut self, entry: u64) -> Reason {
        let (vtcr, vttbr) = self.memory.registers(self.slot as u16 + 1);
        let state = State { system: SystemState::reset(0), simd: SimdState::zero(), vtcr, vttbr };
        // SAFETY: the workspace's own place; no core has it loaded, since its last user ended.
        unsafe { self.state.write(state) };
        self.registers.pc = entry;
        self.registers.pstate = ENTRY_STATE;
        self.registers.x[0] = bale_abi::INFO_BASE;
        loop {
            let masked = Masked::new();
            // Acquire: with the release in `kill`. Looked at with interrupts masked: a kill after this look raises an
            // interrupt that ends the guest's turn at once.
            if SLOTS[self.slot].kill.load(Ordering::Acquire) {
                return Reason::Killed;
            }
            self.load();
            // SAFETY: interrupts are masked and this guest's state and tables are loaded.
            let exit = unsafe { vcpu::enter(&mut self.registers) };
            let syndrome = Syndrome::new(mmu::syndrome());
            let ipa = faulting_address(syndrome);
            cores::count(&SLOTS[self.slot].exits);
            // The interrupt that ended the guest's turn, if one did, is taken here.
            drop(masked);
            let stop = match exit {
                Exit::Interrupt => None,
                Exit::SError => Some(Reason::Hardware),
                Exit::Synchronous => self.handle(syndrome, ipa),
            };
            if let Some(reason) = stop {
                return reason;
            }
        }
    }

    /// Makes this core's registers this guest's. Interrupts are masked.
    fn load(&mut self) {
        let loaded = &LOADED[cores::this_unpinned().index()];
        let other = loaded.load(Ordering::Relaxed);
        if other == self.state {
            return;
        }
        if !other.is_null() {
            // SAFETY: another machine of this core that was preempted between two turns; it leaves LOADED when it ends.
            let other = unsafe { &mut *other };
            other.system.save();
            other.simd.save();
        }
        // SAFETY: the workspace's own place.
        let state = unsafe { &*self.state };
        vcpu::stop_walks();
        state.system.load();
        state.simd.load();
        // SAFETY: the tables live until `end`, which drops their translations first.
        unsafe { mmu::load_stage2(state.vtcr, state.vttbr) };
        state.system.allow_walks();
        loaded.store(self.state, Ordering::Relaxed);
    }

    fn handle(&mut self, syndrome: Syndrome, ipa: u64) -> Option<Reason> {
        match syndrome.cause() {
            Cause::HypervisorCall => {
                cores::count(&SLOTS[self.slot].calls);
                hypercall::answer(self)
            }
            Cause::SecureMonitorCall => {
                cores::count(&SLOTS[self.slot].calls);
                // A trapped SMC returns to itself; HVC returns behind itself.
                self.registers.pc = self.registers.pc.wrapping_add(4);
                hypercall::answer(self)
            }
            Cause::Wait => {
                self.registers.pc = self.registers.pc.wrapping_add(syndrome.instruction_length());
                task::yield_now();
                None
            }
            Cause::DataAbort(Fault::External, _) | Cause::InstructionAbort(Fault::External) => {
                Some(Reason::Hardware)
            }
            Cause::DataAbort(fault, access) => {
                let write = access.map_or(syndrome.is_write(), |access| access.write);
                Some(Reason::from_fault(fault, ipa, write))
            }
            Cause::InstructionAbort(_) => Some(Reason::StrayFetch(ipa)),
            Cause::SystemRegister(_) | Cause::Other(_) => Some(Reason::Unsupported(syndrome)),
        }
    }

    /// Everything it stored goes into the rings, its memory goes back, its workspace waits for the next.
    fn end(self, reason: Reason) {
        let Self { slot, memory, device, scratch, page, state, .. } = self;
        let start = clock::now();
        // The range is the device's own, so it cannot be refused.
        let released = device.release(0, device.slots()).unwrap_or(0);
        let release_ticks = clock::now() - start;
        forget(state);
        memory.release();
        let swap = device.statistics();
        *WORKSPACES[slot].lock() = Some(Workspace { device, scratch, page, state });
        super::ended(slot, reason, swap, released, release_ticks);
    }
}

/// Guest-physical address of the abort that has just been taken, if it was one.
fn faulting_address(syndrome: Syndrome) -> u64 {
    let (page, address) = (mmu::fault_page(), mmu::fault_address());
    // HPFAR_EL2 is not promised for a permission fault on the guest's own access (DDI 0487, HPFAR_EL2).
    let own = matches!(syndrome.fault(), Fault::Permission(_)) && !syndrome.on_guest_table_walk();
    let abort = matches!(syndrome.cause(), Cause::DataAbort(..) | Cause::InstructionAbort(_));
    let looked_up = if abort && own { mmu::guest_physical(address) } else { None };
    looked_up.unwrap_or(fault_ipa(page, address))
}

/// Drops every trace of a machine that ended from the registers of this core and from all TLBs.
fn forget(state: *mut State) {
    let masked = Masked::new();
    let loaded = &LOADED[cores::this(&masked).index()];
    let other = loaded.load(Ordering::Relaxed);
    if other != state && !other.is_null() {
        // SAFETY: another machine of this core, preempted between two turns: it finds its state saved.
        let other = unsafe { &mut *other };
        other.system.save();
        other.simd.save();
    }
    // SAFETY: the workspace's own place, which its task still holds.
    let state = unsafe { &*state };
    vcpu::stop_walks();
    // SAFETY: the tables are still there; loading them names the machine whose translations go.
    unsafe { mmu::load_stage2(state.vtcr, state.vttbr) };
    mmu::invalidate_current_guest();
    mmu::unload_stage2();
    loaded.store(ptr::null_mut(), Ordering::Relaxed);
}
