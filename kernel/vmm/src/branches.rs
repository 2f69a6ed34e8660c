//! What a core does at each exit from a guest, so that the branches which the guest took do not
//! steer those of EL2 ([`bale_core::branch_history`]). Cores that need nothing have vectors that do
//! nothing about it.

use bale_arch::mask::Masked;
use bale_arch::{vcpu, vectors};
use bale_core::branch_history::{Action, Identity};
use bale_rt::{cores, platform};

/// What this core needs.
pub fn needed() -> Action {
    let identity = Identity {
        main_id: bale_arch::identity::main_id(),
        processor: vcpu::identification(4, 0),
        memory_model: vcpu::identification(7, 1),
        instructions: vcpu::identification(6, 2),
    };
    Action::of(identity, platform::machine().is_some_and(|machine| machine.emulated))
}

/// This core does what it needs, from its start on.
pub(super) fn begin() {
    let action = needed();
    if let Action::Clear | Action::Loop(_) = action {
        set(action);
    }
}

/// This core does that from now on. Otherwise than as it needs only for tests.
pub fn set(action: Action) {
    let masked = Masked::new();
    let (branches, clears) = match action {
        Action::None | Action::Firmware => (0, false),
        Action::Clear => (0, true),
        Action::Loop(branches) => (u64::from(branches), true),
    };
    cores::this(&masked).set_branches(branches);
    vectors::clear_branch_history(clears);
    drop(masked);
}
