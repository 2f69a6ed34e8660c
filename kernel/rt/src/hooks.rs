//! The executive's turning points at which layers above it have something to do.
//!
//! The executive knows nothing of what is built on it; boot registers one set of functions before
//! the first task runs. Each field says where it is called and what it may do there.

use core::fmt;

use spin::Once;

/// What the layers above do. A field's function may be called from the moment it is registered.
#[derive(Debug)]
pub struct Hooks {
    /// Whether a core's lazy timer may stand still while the core is idle. Called by the idle task,
    /// interrupts masked: a few loads, no lock.
    pub may_rest: fn(core: usize) -> bool,
    /// A core is about to leave, and counts as online no more: what runs there for the layers above
    /// goes elsewhere. False if it did not within a while, and the core stays. In a task.
    pub core_leaves: fn(core: usize) -> bool,
    /// A core has left: what it still owned is taken over, and counted. `None` to be asked again.
    /// In a task.
    pub core_left: fn(core: usize) -> Option<usize>,
    /// A core has come, or has not left after all. In a task.
    pub core_joins: fn(core: usize),
    /// The machine is about to be turned off or started anew. Anywhere.
    pub machine_stops: fn(),
    /// The trace begins: cores that are in a guest are to come out once. In a task.
    pub trace_begins: fn(),
    /// A group of tasks is to stand still, since it has used up what it may run in this period, or
    /// to go on. In a task.
    pub limit_group: fn(group: usize, still: bool),
    /// Says a line to the user. In a task, or at boot.
    pub say: fn(fmt::Arguments<'_>),
}

static HOOKS: Once<&'static Hooks> = Once::new();

/// Registers the hooks. Once, on the boot core, before the first task runs.
pub fn register(hooks: &'static Hooks) {
    HOOKS.call_once(|| hooks);
}

/// The hooks; `None` before they are registered.
#[inline(always)]
pub(crate) fn get() -> Option<&'static Hooks> {
    HOOKS.get().copied()
}

/// See [`Hooks::limit_group`].
pub(crate) fn limit_group(group: usize, still: bool) {
    if let Some(hooks) = get() {
        (hooks.limit_group)(group, still);
    }
}

/// Says a line to the user, if there is somebody to say it to.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    if let Some(hooks) = get() {
        (hooks.say)(line);
    }
}
