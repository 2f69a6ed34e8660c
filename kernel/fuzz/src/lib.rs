//! What the kernel reads from those whom it does not trust, each as a function of any bytes: it
//! must not panic, and what it checks must hold. `cargo bale fuzz NAME` feeds one of them, guided
//! by coverage; the tests feed all of them a little.
//!
//! | target | who is hostile | what must hold beside "no panic" |
//! |---|---|---|
//! | `acpi` | firmware | a machine that is found can be handed over and is found again |
//! | `bundle` | whoever made the archive | names and contents lie within it |
//! | `codec` | memory that went bad | a page comes back; what is accepted does not depend on what lay there before |
//! | `description` | whoever wrote the file | what is accepted is within its limits |
//! | `device-tree` | firmware, boot loader | as `acpi` |
//! | `shell` | the serial line | a line fits its buffer, its words are parts of it |
//! | `text` | a guest at its console | a line holds nothing but plain characters, and fits its row; the rate is kept |
//! | `traps` | a guest at its UART, registers, firmware calls | values stay within their registers |
//! | `vgic` | a guest at its interrupt controller | list registers are such as the architecture allows |
//! | `virtio` | a guest at its disk, its console | nothing is touched but its rings and buffers; work is bounded |
#![expect(
    clippy::panic_in_result_fn,
    reason = "a panic is how a target says that something does not hold"
)]

mod acpi;
mod bundle;
mod codec;
mod description;
mod device_tree;
mod shell;
mod text;
mod traps;
mod vgic;
mod virtio;

/// A function of any bytes that panics if something does not hold.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 10] = [
    ("acpi", acpi::run),
    ("bundle", bundle::run),
    ("codec", codec::run),
    ("description", description::run),
    ("device-tree", device_tree::run),
    ("shell", shell::run),
    ("text", text::run),
    ("traps", traps::run),
    ("vgic", vgic::run),
    ("virtio", virtio::run),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
