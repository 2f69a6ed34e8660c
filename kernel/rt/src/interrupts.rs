//! GICv3: setting it up, routing, raising software-generated interrupts (IHI 0069); who handles
//! what. [`crate::dispatch`] takes what it delivers.
//!
//! Only SGIs 0 to 7 are used: firmware keeps some of 8 to 15 for the secure side.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{
    GicCpuInterface, GicDistributor, GicRedistributor, GicRedistributorIterator, SgiTarget,
    SgiTargetGroup,
};
use arm_gic::{IntId, Trigger, UniqueMmioPointer};
use bale_arch::{gich, mask};
use bale_core::device_tree::MAX_REGIONS;
use heapless::Vec;
use spin::Once;

use crate::cores::{self, MAX_CORES};
use bale_memory::lock::Lock;

/// SGI: look at the run queue.
pub const RESCHEDULE: u32 = 0;
/// SGI: this core's ring wants its drain task.
pub const DRAIN: u32 = 1;
/// SGI: stop for good.
pub const STOP: u32 = 2;
/// SGI: for tests and benchmarks of interrupts.
pub const TEST: u32 = 3;

/// SGI: this core is to show that it takes interrupts.
pub const WATCHDOG: u32 = 4;

/// The first interrupt that belongs to no core (IHI 0069, 2.2.1).
const FIRST_SHARED: u32 = 32;

/// PPI: a guest's virtual timer, which the guest ends.
pub const VIRTUAL_TIMER: u32 = bale_core::vgic::VIRTUAL_TIMER;
/// PPI: a counter of the performance monitors overflowed (Arm BSA, B_PPI_00).
pub const COUNTER_OVERFLOW: u32 = bale_core::guest_pmu::PMU_INTERRUPT;
/// PPI: the virtual interrupt interface wants maintenance (Arm BSA, B_PPI_00).
pub const MAINTENANCE: u32 = 25;

/// An interrupt that somebody handles.
pub struct Source {
    /// GIC interrupt number.
    pub id: u32,
    /// As `irq` prints it.
    pub name: &'static str,
    pub(crate) handler: fn(),
    /// It stays active when its handler is done: somebody else ends it.
    pub(crate) kept: bool,
    pub(crate) taken: [AtomicU64; MAX_CORES],
}

impl Source {
    /// How often it was taken, by core.
    pub fn taken(&self) -> impl Iterator<Item = u64> {
        self.taken.iter().map(|count| count.load(Ordering::Relaxed))
    }
}

/// Every source, and where to find those of an SGI or a PPI without a search.
struct Table {
    all: Vec<Source, 16>,
    private: [u8; 32],
}

impl Table {
    #[inline(always)]
    fn find(&self, id: u32) -> Option<&Source> {
        match self.private.get(id as usize) {
            Some(&place) => self.all.get(usize::from(place)),
            None => self.all.iter().find(|source| source.id == id),
        }
    }
}

/// What was asked for and cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptError {
    /// The redistributor frames are neither GICv3's nor GICv4's.
    RedistributorLayout,
    /// No redistributor has this core's affinity.
    NoRedistributor,
    /// The GIC has no such interrupt.
    NoSuchInterrupt,
}

/// A distributor and the regions of redistributors, as the tables name them.
#[derive(Debug, Clone)]
pub struct Controller {
    /// Address of the distributor.
    pub distributor: u64,
    /// Addresses of the redistributor regions.
    pub redistributors: Vec<u64, MAX_REGIONS>,
}

static CONTROLLER: Once<Controller> = Once::new();
static SOURCES: Once<Table> = Once::new();
static DISTRIBUTOR: Lock<()> = Lock::new(());
/// Interrupts that nobody had asked for.
pub(crate) static UNKNOWN: AtomicU64 = AtomicU64::new(0);

/// Names the controller and every interrupt that will be handled. Once, on the boot core, before
/// any is enabled.
///
/// # Panics
/// With more sources than the table holds.
pub fn initialise(controller: Controller, sources: &[(u32, &'static str, fn())]) {
    let mut table = Table { all: Vec::new(), private: [u8::MAX; 32] };
    for (place, &(id, name, handler)) in sources.iter().enumerate() {
        let taken = [const { AtomicU64::new(0) }; MAX_CORES];
        let source = Source { id, name, handler, kept: id == VIRTUAL_TIMER, taken };
        if let Some(private) = table.private.get_mut(id as usize) {
            *private = place as u8;
        }
        assert!(table.all.push(source).is_ok(), "more interrupt sources than the table holds");
    }
    SOURCES.call_once(|| table);
    let controller = CONTROLLER.call_once(|| controller);
    with_distributor(controller, |distributor| distributor.configure_default_settings());
}

fn with_distributor<R>(controller: &Controller, f: impl FnOnce(&mut GicDistributor<'_>) -> R) -> R {
    let _exclusive = DISTRIBUTOR.lock();
    let registers =
        NonNull::new(controller.distributor as *mut Gicd).unwrap_or(NonNull::dangling());
    // SAFETY: the tables name a distributor here, the map has it as device memory, and the lock
    // makes us the only user.
    let pointer = unsafe { UniqueMmioPointer::new(registers) };
    f(&mut GicDistributor::new(pointer))
}

fn with_redistributor<R>(
    f: impl FnOnce(&mut GicRedistributor<'_>) -> R,
) -> Result<R, InterruptError> {
    let controller = CONTROLLER.get().ok_or(InterruptError::NoRedistributor)?;
    for region in &controller.redistributors {
        let base = NonNull::new(*region as *mut GicrSgi).ok_or(InterruptError::NoRedistributor)?;
        // SAFETY: the tables name a region of redistributors here. Each core uses only the frame
        // with its own affinity; of the others only GICR_TYPER is read.
        let frames = unsafe { GicRedistributorIterator::new(base) };
        for mut frame in frames.map_err(|_| InterruptError::RedistributorLayout)? {
            if frame.typer().core_mpidr() == mask::affinity() {
                return Ok(f(&mut frame));
            }
        }
    }
    Err(InterruptError::NoRedistributor)
}

/// Sets up this core's redistributor and CPU interface; SGIs and the named PPIs are enabled.
///
/// # Errors
/// See [`InterruptError`].
pub fn initialise_core(private: &[u32]) -> Result<(), InterruptError> {
    with_redistributor(|redistributor| {
        // An error here says that firmware has woken it already.
        let _ = redistributor.mark_core_awake();
        redistributor.configure_default_settings();
        for &id in private.iter().chain(&[RESCHEDULE, DRAIN, STOP, TEST, WATCHDOG]) {
            let id = IntId::try_from(id).map_err(|_| InterruptError::NoSuchInterrupt)?;
            redistributor
                .enable_interrupt(id, true)
                .map_err(|_| InterruptError::NoSuchInterrupt)?;
        }
        Ok(())
    })??;
    GicCpuInterface::enable_system_register_el2(true);
    gich::keep_interface_selection();
    GicCpuInterface::set_priority_mask(0xff);
    open_core();
    gich::split_end_of_interrupt();
    Ok(())
}

/// Lets interrupts reach this core.
pub fn open_core() {
    GicCpuInterface::enable_group1(true);
}

/// Keeps interrupts from this core, which is about to be turned off; none of a device's is routed
/// to it.
pub fn close_core() {
    GicCpuInterface::enable_group1(false);
}

/// Enables a shared peripheral interrupt, level-triggered, delivered to the core with this
/// affinity.
///
/// # Errors
/// The GIC has no such interrupt.
pub fn enable_shared(id: u32, affinity: u64) -> Result<(), InterruptError> {
    let controller = CONTROLLER.get().ok_or(InterruptError::NoSuchInterrupt)?;
    let id = IntId::try_from(id).map_err(|_| InterruptError::NoSuchInterrupt)?;
    with_distributor(controller, |distributor| {
        distributor.set_trigger(id, Trigger::Level)?;
        distributor.set_routing(id, Some(affinity))?;
        distributor.enable_interrupt(id, true)
    })
    .map_err(|_| InterruptError::NoSuchInterrupt)
}

/// Delivers what devices raise to the core with this index from now on.
pub fn route_devices(core: usize) {
    let (Some(controller), Some(table)) = (CONTROLLER.get(), SOURCES.get()) else { return };
    let affinity = cores::all()[core].affinity();
    with_distributor(controller, |distributor| {
        for source in table.all.iter().filter(|source| source.id >= FIRST_SHARED) {
            // It was enabled, so there is one.
            let _ =
                IntId::try_from(source.id).map(|id| distributor.set_routing(id, Some(affinity)));
        }
    });
}

/// Raises SGI `id` on the core with this index.
pub fn raise(core: usize, id: u32) {
    let affinity = cores::all()[core].affinity();
    let level = |shift: u32| (affinity >> shift) as u8;
    // The target list holds 16 values of affinity level 0; a range selector would be needed beyond.
    let target_list = 1u16 << (level(0) & 15);
    let target = SgiTarget::List {
        affinity3: level(32),
        affinity2: level(16),
        affinity1: level(8),
        target_list,
    };
    if let Ok(id) = IntId::try_from(id) {
        // What was stored before the interrupt must be visible to its handler.
        aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::ISHST);
        let _ = GicCpuInterface::send_sgi(id, target, SgiTargetGroup::CurrentGroup1);
    }
}

/// Stops every other core.
pub fn stop_others() {
    if let Ok(id) = IntId::try_from(STOP) {
        let _ = GicCpuInterface::send_sgi(id, SgiTarget::All, SgiTargetGroup::CurrentGroup1);
    }
}

/// The source of an interrupt that was delivered, if somebody handles it.
#[inline(always)]
pub(crate) fn find(id: u32) -> Option<&'static Source> {
    SOURCES.get().and_then(|sources| sources.find(id))
}

/// The interrupts that are handled, and how many came that are not.
pub fn sources() -> (&'static [Source], u64) {
    (SOURCES.get().map_or(&[], |sources| sources.all.as_slice()), UNKNOWN.load(Ordering::Relaxed))
}
