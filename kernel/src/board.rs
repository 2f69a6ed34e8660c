//! A board's page of facts: what must be known before, or instead of, what the firmware's tables
//! say.

use bale_monitor::shell::Command;
use bale_rt::task::SpawnError;

/// Facts of one board. Everything else is discovered.
#[derive(Debug)]
pub struct Board {
    /// As printed.
    pub name: &'static str,
    /// PL011 that firmware has set up: the voice before the tables are read.
    pub early_uart: u64,
    /// Least memory Bale starts with, in bytes.
    pub least_memory: u64,
}

/// Tasks and interrupts that come with an image beside the kernel's own: an application.
#[derive(Debug)]
pub struct App {
    /// As printed where it cannot start.
    pub name: &'static str,
    /// Interrupts of devices that it drives: each one's number, what `irq` calls it, and its
    /// handler, which runs masked on the boot core and hands over to a task. Level-triggered.
    pub interrupts: &'static [(u32, &'static str, fn())],
    /// Spawns its tasks. Called once, on the boot core, when the kernel is up and before the shell
    /// begins; it must not wait.
    pub start: fn() -> Result<(), SpawnError>,
}

/// What an image has beside the kernel.
pub struct Extras {
    /// An application.
    pub app: Option<&'static App>,
    /// Commands of layers above the shell: benchmarks, self tests.
    pub commands: &'static [&'static [Command]],
}
