//! The trace: what each core did last, in a ring of its own that overwrites the oldest.
//!
//! Off, an event costs two instructions: a load and a branch; a switch none, since it looks at the
//! same word anyway ([`crate::cores::Core::has_aside`]). On, an event is written under the ring's
//! lock, which masks interrupts: no core waits for another but for one that dumps, and that takes
//! one event at a time.

use bale_arch::timer;
use bale_core::trace::{Event, Head, Kind};
use heapless::HistoryBuf;

use crate::cores::{self, Core, MAX_CORES};
use crate::{clock, hooks};
use bale_memory::lock::Lock;

/// Events that a core keeps.
pub const KEPT: usize = 1024;

struct Ring {
    events: HistoryBuf<Event<'static>, KEPT>,
    written: u64,
}

static RINGS: [Lock<Ring>; MAX_CORES] =
    [const { Lock::new(Ring { events: HistoryBuf::new(), written: 0 }) }; MAX_CORES];
/// When the trace was stopped.
static STOPPED: Lock<u64> = Lock::new(0);

/// Keeps an event of this core, if it traces.
#[inline(always)]
pub fn note(core: &Core, kind: Kind, number: u32, name: &'static str) {
    if core.traced() {
        keep(core, kind, number, name);
    }
}

#[cold]
#[inline(never)]
fn keep(core: &Core, kind: Kind, number: u32, name: &'static str) {
    let mut ring = RINGS[core.index()].lock();
    // Under the lock, so that the ring is in the order of time.
    ring.events.write(Event { at: timer::now(), kind, number, name });
    ring.written += 1;
}

/// A guest gave so many slots back that held something. In a task that is pinned to its core.
#[inline]
pub fn released(slots: usize) {
    note(cores::this_unpinned(), Kind::Release, slots as u32, "");
}

/// Forgets what was traced and begins anew.
pub fn start() {
    stop();
    for ring in &RINGS {
        let mut ring = ring.lock();
        ring.events.clear();
        ring.written = 0;
    }
    cores::all().iter().for_each(|core| core.set_traced(true));
    if let Some(hooks) = hooks::get() {
        (hooks.trace_begins)();
    }
}

/// Stops, and keeps what there is. An event that a core is about to write may still come.
pub fn stop() {
    if is_on() {
        cores::all().iter().for_each(|core| core.set_traced(false));
        *STOPPED.lock() = clock::now();
    }
}

/// Whether the cores trace.
pub fn is_on() -> bool {
    cores::all().iter().any(Core::traced)
}

/// Events of a core that are kept, and how many were written.
pub fn counts(core: usize) -> (usize, u64) {
    let ring = RINGS[core].lock();
    (ring.events.len(), ring.written)
}

/// What a dump begins with.
pub fn head() -> Head {
    Head { frequency: timer::frequency(), stopped: *STOPPED.lock() }
}

/// Events of a core, the oldest first. While the core traces it may overwrite what comes next.
pub fn events(core: usize) -> impl Iterator<Item = Event<'static>> {
    (0..KEPT).map_while(move |at| {
        let ring = RINGS[core].lock();
        let (old, new) = ring.events.as_slices();
        old.get(at).or_else(|| new.get(at.checked_sub(old.len())?)).copied()
    })
}
