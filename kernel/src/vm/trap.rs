//! What a guest traps for: system registers and device registers.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_arch::vcpu as hardware;
use bale_core::exception::{MemoryAccess, Syndrome, SystemAccess};
use bale_core::injection::Exception;
use bale_core::system_registers::{Action, SHOWN, common, decide, identification};

use super::devices::Device;
use super::vcpu::Vcpu;

/// What all cores offer, in the order of [`SHOWN`]; written by each core as it comes up.
static OFFERED: [AtomicU64; SHOWN.len()] = [const { AtomicU64::new(NOT_YET) }; SHOWN.len()];
/// No core has been asked: a value that no register has.
const NOT_YET: u64 = u64::MAX;

/// `ID_AA64MMFR1_EL1` and its field PAN.
const MMFR1: (u8, u8) = (7, 1);

/// Takes this core's identification registers into what is offered to guests. Once on each core.
pub fn learn_identification() {
    for (place, (crm, op2)) in OFFERED.iter().zip(SHOWN) {
        let here = hardware::identification(crm, op2);
        // Whoever comes second sees the first one's value: nothing is lost between two cores.
        let _ = place.fetch_update(Ordering::AcqRel, Ordering::Acquire, |known| {
            Some(if known == NOT_YET { here } else { common(crm, op2, known, here) })
        });
    }
}

fn offered(crm: u8, op2: u8) -> u64 {
    let place = SHOWN.iter().position(|shown| *shown == (crm, op2));
    place.map_or(0, |place| identification(crm, op2, OFFERED[place].load(Ordering::Acquire)))
}

/// Whether every core has FEAT_PAN.
pub(super) fn has_pan() -> bool {
    offered(MMFR1.0, MMFR1.1) >> 20 & 0xf != 0
}

impl Vcpu {
    /// A trapped access to a system register.
    pub(super) fn system_register(&mut self, syndrome: Syndrome, access: SystemAccess) {
        match decide(access) {
            Action::Value(value) => self.set_operand(access.register, value),
            Action::Identification(crm, op2) => self.set_operand(access.register, offered(crm, op2)),
            Action::Ignored => {}
            Action::Send { group1 } => {
                let value = self.operand(access.register);
                self.slot.deliver(|vgic| vgic.send(self.number, value, group1));
            }
            Action::Undefined => return self.inject(Exception::Undefined),
        }
        self.skip(syndrome);
    }

    /// An access to what stage 2 does not map: a device's register, or nothing, which gives an external abort.
    pub(super) fn data_abort(
        &mut self,
        syndrome: Syndrome,
        access: Option<MemoryAccess>,
        ipa: u64,
        address: u64,
    ) {
        // Without a description of the access it cannot be emulated.
        let (Some(access), Some(device)) = (access, Device::at(ipa)) else {
            return self.inject(Exception::DataAbort(address));
        };
        if syndrome.on_guest_table_walk() {
            return self.inject(Exception::DataAbort(address));
        }
        if device.concerns_lists(access.write) {
            self.fold();
        }
        let bits = 8 * u32::from(access.size);
        let mask = u64::MAX >> (64 - bits);
        let write = access.write.then(|| self.operand(access.register) & mask);
        match self.slot.access(device, access.size, write, self.memory()) {
            Ok(_) if access.write => {}
            Ok(value) => self.set_operand(access.register, extend(value & mask, bits, access)),
            Err(_) => return self.inject(Exception::DataAbort(address)),
        }
        self.skip(syndrome);
    }
}

/// What a load of `bits` bits leaves in its register.
fn extend(value: u64, bits: u32, access: MemoryAccess) -> u64 {
    let negative = access.sign_extend && bits < 64 && value >> (bits - 1) & 1 == 1;
    let wide = if negative { value | u64::MAX << bits } else { value };
    if access.wide { wide } else { wide & 0xffff_ffff }
}
