//! The per-core block, and which cores there are.

use core::ptr;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

use bale_arch::identity;
use bale_arch::mask::{
    self, INDEX_OFFSET, LONGEST_ENDED_OFFSET, LONGEST_MASKED_OFFSET, MASKED_SINCE_OFFSET, Masked,
};
use bale_arch::vectors::{BRANCHES_OFFSET, VCPU_OFFSET};

use bale_core::core_kind::{self, CoreKind};
use bale_core::idle_time::IdleTime;
use bale_core::schedule::ReadyQueue;

use bale_memory::lock::Lock;
use bale_memory::stacks::STACKS_FOR_TASKS;

pub use bale_arch::mask::MAX_CORES;

/// What one core owns. The first words are read by the vectors and by what masks interrupts.
#[repr(C, align(256))]
pub struct Core {
    vcpu: AtomicU64,
    masked_since: AtomicU64,
    longest_masked: AtomicU64,
    longest_ended: AtomicU64,
    index: AtomicUsize,
    affinity: AtomicU64,
    /// How many branches clear its branch history; zero where an instruction does, or nothing.
    branches: AtomicU64,
    online: AtomicBool,
    /// Its idle task is to turn it off: see [`crate::hotplug`].
    pub leaving: AtomicBool,
    /// It is meant for economy ([`CoreKind::Small`]).
    small: AtomicBool,
    /// Index of the running task.
    pub current_task: AtomicU16,
    /// Priority of the running task.
    pub current_priority: AtomicU8,
    /// A task that outranks the running one became ready: switch at the end of the interrupt.
    pub reschedule: AtomicBool,
    /// An interrupt is being handled.
    pub in_interrupt: AtomicBool,
    /// Tasks that are ready here, but for the running one.
    pub ready: Lock<ReadyQueue<STACKS_FOR_TASKS>>,
    /// What is to be done beside the common path: see [`Core::mark_departed`] and
    /// [`Core::set_traced`], [`Core::set_accounted`]. One word, so that the common path looks
    /// once.
    aside: AtomicU32,
    /// Whose state the guests' registers hold: a virtual CPU's, of which [`bale_vmm`] knows more;
    /// null for nobody's.
    pub guest: AtomicPtr<()>,
    /// The nearer one of `next_deadline` and `lazy_deadline`.
    pub wake_at: AtomicU64,
    /// Nearest deadline of the core's timer queue; [`u64::MAX`] for none.
    pub next_deadline: AtomicU64,
    /// What the timer is set to; [`u64::MAX`] if it is off.
    pub armed: AtomicU64,
    /// Deadline, and period, of the task whose timer waits while the core is idle; [`u64::MAX`] for
    /// none.
    pub lazy_deadline: AtomicU64,
    /// See `lazy_deadline`.
    pub lazy_period: AtomicU64,
    /// Index of that task.
    pub lazy_task: AtomicU16,
    /// Longest time from a deadline to the timer's handler, in ticks.
    pub latest_timer: AtomicU64,
    /// Interrupts taken.
    pub interrupts: AtomicU64,
    /// Task switches.
    pub switches: AtomicU64,
    /// Time spent in the idle task.
    pub idle: IdleTime,
}

const _: () = assert!(core::mem::offset_of!(Core, vcpu) == VCPU_OFFSET);
const _: () = assert!(core::mem::offset_of!(Core, masked_since) == MASKED_SINCE_OFFSET);
const _: () = assert!(core::mem::offset_of!(Core, longest_masked) == LONGEST_MASKED_OFFSET);
const _: () = assert!(core::mem::offset_of!(Core, index) == INDEX_OFFSET);
const _: () = assert!(core::mem::offset_of!(Core, branches) == BRANCHES_OFFSET);
const _: () = assert!(core::mem::offset_of!(Core, longest_ended) == LONGEST_ENDED_OFFSET);

/// In [`Core::aside`]: the core traces. The bits below hold the task that departed, plus one.
const TRACED: u32 = 1 << 16;
/// In [`Core::aside`]: the core measures what its groups run.
const ACCOUNTED: u32 = 1 << 17;

impl Core {
    const fn new() -> Self {
        Self {
            vcpu: AtomicU64::new(0),
            masked_since: AtomicU64::new(0),
            longest_masked: AtomicU64::new(0),
            longest_ended: AtomicU64::new(0),
            index: AtomicUsize::new(0),
            affinity: AtomicU64::new(0),
            branches: AtomicU64::new(0),
            online: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            small: AtomicBool::new(false),
            current_task: AtomicU16::new(0),
            current_priority: AtomicU8::new(0),
            reschedule: AtomicBool::new(false),
            in_interrupt: AtomicBool::new(false),
            ready: Lock::new(ReadyQueue::new()),
            aside: AtomicU32::new(0),
            guest: AtomicPtr::new(ptr::null_mut()),
            wake_at: AtomicU64::new(u64::MAX),
            next_deadline: AtomicU64::new(u64::MAX),
            armed: AtomicU64::new(u64::MAX),
            lazy_deadline: AtomicU64::new(u64::MAX),
            lazy_period: AtomicU64::new(0),
            lazy_task: AtomicU16::new(0),
            latest_timer: AtomicU64::new(0),
            interrupts: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            idle: IdleTime::new(),
        }
    }

    /// So many branches clear this core's history; zero where an instruction does, or nothing.
    pub fn set_branches(&self, branches: u64) {
        // Relaxed: the core's own, read by its vectors.
        self.branches.store(branches, Ordering::Relaxed);
    }

    /// Position among the cores, from 0.
    pub fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    /// Affinity fields of the core's MPIDR.
    pub fn affinity(&self) -> u64 {
        self.affinity.load(Ordering::Relaxed)
    }

    /// What the core is meant for; known once it is online.
    pub fn kind(&self) -> CoreKind {
        if self.small.load(Ordering::Relaxed) { CoreKind::Small } else { CoreKind::Fast }
    }

    /// Says that it is a small one.
    pub fn call_small(&self) {
        self.small.store(true, Ordering::Relaxed);
    }

    /// Nothing runs or waits here: as at the boot, also where the core was off for a while. On the
    /// core itself, masked.
    pub fn begin(&self) {
        self.reschedule.store(false, Ordering::Relaxed);
        self.in_interrupt.store(false, Ordering::Relaxed);
        self.armed.store(u64::MAX, Ordering::Relaxed);
        self.next_deadline.store(u64::MAX, Ordering::Relaxed);
        self.set_lazy_deadline(u64::MAX);
        self.take_departed();
    }

    /// Whether tasks may be started here from now on.
    pub fn set_online(&self, online: bool) {
        // Release: with the acquire in `online`, what was done before is visible.
        self.online.store(online, Ordering::Release);
    }

    /// Sets `lazy_deadline`. On the core itself, with interrupts masked.
    pub fn set_lazy_deadline(&self, deadline: u64) {
        self.lazy_deadline.store(deadline, Ordering::Relaxed);
        self.wake_at
            .store(deadline.min(self.next_deadline.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Longest stretch with interrupts masked since boot or the last [`Core::forget_longest`], in
    /// ticks.
    pub fn longest_masked(&self) -> u64 {
        self.longest_masked.load(Ordering::Relaxed)
    }

    /// Address at which that stretch ended.
    pub fn longest_ended(&self) -> u64 {
        self.longest_ended.load(Ordering::Relaxed)
    }

    /// Begins anew with the longest stretch and the latest timer. Racy beside the core itself,
    /// which may put back what it has just measured.
    pub fn forget_longest(&self) {
        self.longest_masked.store(0, Ordering::Relaxed);
        self.latest_timer.store(0, Ordering::Relaxed);
    }

    /// The running task is over: its stack may be reused once this core has left it. On the core
    /// itself, masked.
    pub fn mark_departed(&self, task: u16) {
        self.aside.fetch_or(u32::from(task) + 1, Ordering::Relaxed);
    }

    /// The task that was marked, once.
    pub fn take_departed(&self) -> Option<u16> {
        let aside = self.aside.fetch_and(TRACED | ACCOUNTED, Ordering::Relaxed);
        (aside as u16).checked_sub(1)
    }

    /// Whether a switch has left something to be done: a task that departed, a trace, an account.
    #[inline(always)]
    pub fn has_aside(&self) -> bool {
        self.aside.load(Ordering::Relaxed) != 0
    }

    /// Whether the core traces.
    #[inline(always)]
    pub fn traced(&self) -> bool {
        self.aside.load(Ordering::Relaxed) & TRACED != 0
    }

    /// Lets the core trace or not, from now on.
    pub fn set_traced(&self, on: bool) {
        self.set_aside(TRACED, on);
    }

    /// Whether the core measures what its groups run: see [`crate::task::groups`].
    #[inline(always)]
    pub fn accounted(&self) -> bool {
        self.aside.load(Ordering::Relaxed) & ACCOUNTED != 0
    }

    /// Lets the core measure or not, from its next switch on.
    pub fn set_accounted(&self, on: bool) {
        self.set_aside(ACCOUNTED, on);
    }

    fn set_aside(&self, bit: u32, on: bool) {
        if on {
            self.aside.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.aside.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether the core has come up.
    pub fn online(&self) -> bool {
        // Acquire: with the release in `Core::set_online`, what the core set up before is visible.
        self.online.load(Ordering::Acquire)
    }
}

static CORES: [Core; MAX_CORES] = [const { Core::new() }; MAX_CORES];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Adds one to a counter that only its own core writes, with interrupts masked or from one context
/// alone: a load and a store, no atomic read-modify-write.
pub fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Names the cores there are, in the order of their indexes. Once, on the boot core.
pub fn name(affinities: &[u64]) {
    for (index, (core, affinity)) in CORES.iter().zip(affinities).enumerate() {
        core.index.store(index, Ordering::Relaxed);
        core.affinity.store(*affinity, Ordering::Relaxed);
    }
    COUNT.store(affinities.len().min(MAX_CORES), Ordering::Release);
}

/// Makes this core the one with this index. Before anything asks for [`this`].
pub fn claim(index: usize) {
    mask::set_core_pointer(ptr::from_ref(&CORES[index]) as u64);
}

/// This core has everything it needs. Partner: [`Core::online`].
pub fn set_online() {
    mask::begin_stretch();
    if CoreKind::from_midr(identity::main_id()) == CoreKind::Small {
        this_unpinned().call_small();
    }
    this_unpinned().set_online(true);
}

/// This core's block. The guard proves that the caller stays on it.
pub fn this(_pinned: &Masked) -> &'static Core {
    this_unpinned()
}

/// This core's block, for code that cannot be moved: with interrupts masked, in a task that is
/// pinned to its core, or where another core's block does as well.
#[inline(always)]
pub fn this_unpinned() -> &'static Core {
    // SAFETY: `claim` put the address of an element of CORES there before any of this ran.
    unsafe { &*(mask::core_pointer() as *const Core) }
}

/// Whether this core has claimed its block: false only in the first moments of boot.
pub fn claimed() -> bool {
    mask::core_pointer() >= (&raw const CORES) as u64
        && mask::core_pointer() < (&raw const CORES) as u64 + size_of_val(&CORES) as u64
}

/// All cores that were named, online or not.
pub fn all() -> &'static [Core] {
    // Acquire: with the release in `name`, the named blocks are visible.
    &CORES[..COUNT.load(Ordering::Acquire)]
}

/// How many cores are online; which ones say [`indexes`].
pub fn online() -> usize {
    indexes().count()
}

/// The indexes of the cores that are online, ascending.
pub fn indexes() -> impl DoubleEndedIterator<Item = usize> + Clone {
    all().iter().filter(|core| core.online()).map(Core::index)
}

/// The last one that is online.
pub fn last_online() -> usize {
    indexes().next_back().unwrap_or(0)
}

/// The core whose turn it is in round `round` over those that are online.
pub fn in_turn(round: usize) -> usize {
    // None goes while another one counts: who takes a core offline waits for its own.
    round.checked_rem(online()).and_then(|place| indexes().nth(place)).unwrap_or(0)
}

/// Where what belongs to a core is done that need not be done on it; see [`core_kind::helper_of`].
pub fn helper_of(core: usize) -> usize {
    let online = all().iter().filter(|core| core.online());
    core_kind::helper_of(core, online.map(|core| (core.index(), core.kind())))
}
