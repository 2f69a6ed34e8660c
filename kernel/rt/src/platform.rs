//! What boot learned of the machine: the firmware's tables, the board, the boot arguments, how long
//! it took.
//!
//! Boot writes each value once, on the boot core; every layer above reads it from here, so none of
//! them has to know who boots.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_core::device_tree::Machine;
use spin::Once;

/// What this image was built from.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// The board that the image was built for, as printed where the tables name no model.
    pub board: &'static str,
    /// The version, and the commit where whoever built it knew one.
    pub build: &'static str,
    /// The version alone.
    pub version: &'static str,
}

static MACHINE: Once<Machine> = Once::new();
static IMAGE: Once<Image> = Once::new();
/// Microseconds from the first Rust line to the shell's task.
static BOOT_US: AtomicU64 = AtomicU64::new(0);

/// Keeps what the tables said. Once, on the boot core; a second call changes nothing.
pub fn set_machine(machine: Machine) -> &'static Machine {
    MACHINE.call_once(|| machine)
}

/// Keeps what the image was built from. Once, on the boot core; a second call changes nothing.
pub fn set_image(image: Image) {
    IMAGE.call_once(|| image);
}

/// Keeps the microseconds that the boot took.
pub fn set_boot_us(us: u64) {
    BOOT_US.store(us, Ordering::Relaxed);
}

/// What the tables said; `None` before they were read.
pub fn machine() -> Option<&'static Machine> {
    MACHINE.get()
}

/// The model that the tables name, or else the board that the image was built for.
pub fn board_name() -> &'static str {
    let named = machine().map(|machine| machine.model.as_str()).filter(|model| !model.is_empty());
    named.unwrap_or_else(|| IMAGE.get().map_or("unknown board", |image| image.board))
}

/// The version, and the commit where whoever built the image knew one.
pub fn build() -> &'static str {
    IMAGE.get().map_or("", |image| image.build)
}

/// The version of the image.
pub fn version() -> &'static str {
    IMAGE.get().map_or("", |image| image.version)
}

/// Microseconds from the first Rust line to the start of the shell's task.
pub fn boot_us() -> u64 {
    BOOT_US.load(Ordering::Relaxed)
}

/// Whether `word` is one of the boot arguments.
pub fn has_argument(word: &str) -> bool {
    machine()
        .is_some_and(|machine| machine.bootargs.split_whitespace().any(|argument| argument == word))
}

/// What stands behind `name=` in the boot arguments, the first time.
pub fn argument(name: &str) -> Option<&'static str> {
    let mut words = machine()?.bootargs.split_whitespace();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}
