//! Accesses of a guest to what its memory does not map: a device's registers, or nothing, which
//! gives an external abort.

use bale_arch::mask::Masked;
use bale_arch::{mmu, simd};
use bale_core::device_map::Device;
use bale_core::exception::{MemoryAccess, Syndrome};
use bale_core::guest_ram::GuestRam;
use bale_core::injection::{Exception, Place};
use bale_core::load_store::{LoadStore, Piece, Register};
use bale_core::vgic::Refused;

use super::vcpu::Vcpu;

/// The smallest pages that a guest may have.
const PAGE: u64 = 4096;

impl Vcpu {
    /// A data abort below memory.
    pub(super) fn data_abort(&mut self, syndrome: Syndrome, ipa: u64, address: u64) {
        let Some(device) = Device::at(ipa) else { return self.refuse(syndrome, ipa, address) };
        if syndrome.on_guest_table_walk() {
            return self.refuse(syndrome, ipa, address);
        }
        let Some(access) = syndrome.memory_access() else {
            return match self.undescribed(ipa, address) {
                Some(Ok(())) => self.skip(),
                Some(Err(Refused)) => self.inject(Exception::DataAbort(address, Place::Access)),
                None => self.refuse(syndrome, ipa, address),
            };
        };
        let given = access.write.then(|| self.operand(access.register));
        match self.access(device, access.size, given) {
            Ok(_) if access.write => {}
            Ok(value) => {
                let MemoryAccess { size, sign_extend, wide, .. } = access;
                self.set_operand(access.register, extend(value, size, sign_extend, wide));
            }
            Err(Refused) => return self.inject(Exception::DataAbort(address, Place::Access)),
        }
        self.skip();
    }

    /// Nothing answers: the guest is given an external abort.
    fn refuse(&mut self, syndrome: Syndrome, ipa: u64, address: u64) {
        self.inject_abort(syndrome, (ipa, address), Exception::DataAbort);
    }

    /// An access that the syndrome does not describe: the instruction does. `None` for one that no
    /// device can be reached by.
    #[cold]
    #[inline(never)]
    fn undescribed(&mut self, ipa: u64, address: u64) -> Option<Result<(), Refused>> {
        let mut instruction = [0; 4];
        let place = self.translated(self.registers.pc)?;
        self.memory()?.read(place, &mut instruction).ok()?;
        let access = LoadStore::decode(u32::from_le_bytes(instruction))?;
        // The first byte is what faulted, or there would be memory in front of a device.
        if !self.begins_at(&access, address) {
            return None;
        }
        for piece in &access.pieces {
            let within = (ipa & (PAGE - 1)) + piece.offset;
            if within % PAGE + u64::from(piece.size) > PAGE {
                return None;
            }
            // What is beyond the page may lie anywhere.
            let at = if within < PAGE {
                ipa + piece.offset
            } else {
                self.translated(address + piece.offset)?
            };
            if let Err(refused) = self.access_piece(at, *piece, access.write) {
                return Some(Err(refused));
            }
        }
        if let Some((base, step)) = access.write_back {
            // A load into its own base is CONSTRAINED UNPREDICTABLE; the base is what stays.
            self.set_operand(base, self.operand(base).wrapping_add_signed(step));
        }
        Some(Ok(()))
    }

    /// Guest-physical address of a virtual one, by the guest's own tables.
    fn translated(&mut self, address: u64) -> Option<u64> {
        let masked = Masked::new();
        self.load(&masked);
        let place = mmu::guest_physical(address);
        drop(masked);
        place
    }

    /// Whether an access that writes its base back begins at the address that faulted; of the
    /// others the instruction may say so by a register that need not be looked at.
    fn begins_at(&self, access: &LoadStore, address: u64) -> bool {
        access.write_back.is_none_or(|(base, step)| {
            let base = self.operand(base);
            // Tags in the upper byte are no part of an address.
            [base, base.wrapping_add_signed(step)].iter().any(|first| (first ^ address) << 8 == 0)
        })
    }

    /// One access of at most eight bytes to a device: what is read.
    #[inline(always)]
    fn access(&mut self, device: Device, size: u8, write: Option<u64>) -> Result<u64, Refused> {
        if device.concerns_lists(write.is_some()) {
            self.fold();
        }
        let mask = u64::MAX >> (64 - 8 * u32::from(size));
        let value =
            self.slot.access(device, size, write.map(|value| value & mask), self.memory())?;
        Ok(value & mask)
    }

    /// One access between a device and any kind of register.
    fn access_piece(&mut self, ipa: u64, piece: Piece, write: bool) -> Result<(), Refused> {
        let device = Device::at(ipa).ok_or(Refused)?;
        let given = write.then(|| self.given(piece.register));
        let value = self.access(device, piece.size, given)?;
        if !write {
            self.take(piece, value);
        }
        Ok(())
    }

    /// What a store takes from its register.
    fn given(&mut self, register: Register) -> u64 {
        match register {
            Register::General(number) => self.operand(number),
            Register::Simd { number, upper } => {
                let masked = Masked::new();
                self.load(&masked);
                let value = simd::half(number, upper);
                drop(masked);
                value
            }
        }
    }

    /// What a load leaves in its register.
    fn take(&mut self, piece: Piece, value: u64) {
        match piece.register {
            Register::General(number) => {
                let Piece { size, sign_extend, wide, .. } = piece;
                self.set_operand(number, extend(value, size, sign_extend, wide));
            }
            Register::Simd { number, upper } => {
                let masked = Masked::new();
                self.load(&masked);
                simd::set_half(number, upper, value);
                drop(masked);
            }
        }
    }
}

/// What a load of so many bytes leaves in its register.
fn extend(value: u64, size: u8, sign_extend: bool, wide: bool) -> u64 {
    let bits = 8 * u32::from(size);
    let negative = sign_extend && bits < 64 && value >> (bits - 1) & 1 == 1;
    let whole = if negative { value | u64::MAX << bits } else { value };
    if wide { whole } else { whole & 0xffff_ffff }
}
