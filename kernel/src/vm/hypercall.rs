//! Calls from a guest: those of `bale_abi`, and PSCI and SMCCC beside them. What nobody has is refused.

use bale_abi::{
    CONSOLE_LIMIT, CONSOLE_WRITE, EXIT, INVALID_PARAMETER, NO_SUCH_SLOT, NOT_SUPPORTED, REPORT,
    REVISION_MAJOR, REVISION_MINOR, STORE_BUSY, STORE_CORRUPT, STORE_FULL, SUCCESS, SWAP_FREE, SWAP_IN,
    SWAP_INFO, SWAP_OUT, UID, VENDOR_REVISION, VENDOR_UID,
};
use bale_core::psci::{self, Answer};
use bale_swap::SwapError;

use super::vcpu::Vcpu;
use super::{Reason, SLOTS};
use crate::print;

/// Answers the call whose function and arguments are in the guest's registers; a reason if it ends the guest.
pub(super) fn answer(cpu: &mut Vcpu) -> Option<Reason> {
    let [function, first, second] = [cpu.registers.x[0], cpu.registers.x[1], cpu.registers.x[2]];
    // SMCCC: the identifier is w0; the upper half of x0 is not looked at (DEN 0028, 2.5).
    let results: &[u64] = match function as u32 {
        SWAP_OUT => &[swap_out(cpu, first, second)],
        SWAP_IN => &[swap_in(cpu, first, second)],
        SWAP_FREE => &swap_free(cpu, first, second),
        SWAP_INFO => &[SUCCESS, cpu.device.slots() as u64, cpu.device.statistics().stored],
        CONSOLE_WRITE => &[console_write(cpu, first, second)],
        REPORT if SLOTS[cpu.slot].report(first, second) => &[SUCCESS],
        REPORT => &[INVALID_PARAMETER],
        EXIT => return Some(Reason::Exited(first)),
        VENDOR_UID => &UID.map(u64::from),
        VENDOR_REVISION => &[REVISION_MAJOR, REVISION_MINOR],
        _ => return firmware(cpu),
    };
    cpu.registers.x[..results.len()].copy_from_slice(results);
    None
}

fn swap_out(cpu: &mut Vcpu, slot: u64, ipa: u64) -> u64 {
    if slot >= cpu.device.slots() as u64 {
        return NO_SUCH_SLOT;
    }
    if !cpu.memory.read_page(ipa, cpu.page) {
        return INVALID_PARAMETER;
    }
    status(cpu.device.write(slot as usize, cpu.page, cpu.scratch))
}

fn swap_in(cpu: &mut Vcpu, slot: u64, ipa: u64) -> u64 {
    if slot >= cpu.device.slots() as u64 {
        return NO_SUCH_SLOT;
    }
    let Some(page) = cpu.memory.page_mut(ipa) else { return INVALID_PARAMETER };
    status(cpu.device.read(slot as usize, page, cpu.scratch))
}

fn swap_free(cpu: &Vcpu, first: u64, count: u64) -> [u64; 2] {
    let slots = cpu.device.slots() as u64;
    if first.checked_add(count).is_none_or(|end| end > slots) {
        return [NO_SUCH_SLOT, 0];
    }
    match cpu.device.release(first as usize, count as usize) {
        Ok(held) => [SUCCESS, held as u64],
        Err(error) => [status::<()>(Err(error)), 0],
    }
}

fn status<T>(result: Result<T, SwapError>) -> u64 {
    match result {
        Ok(_) => SUCCESS,
        Err(SwapError::NoSuchSlot) => NO_SUCH_SLOT,
        Err(SwapError::Corrupt) => STORE_CORRUPT,
        Err(SwapError::Busy) => STORE_BUSY,
        Err(SwapError::PoolFull | SwapError::QuotaReached) => STORE_FULL,
    }
}

/// Prints a guest's text; what is not printable ASCII becomes a dot, so that a guest cannot speak to the terminal.
fn console_write(cpu: &Vcpu, ipa: u64, length: u64) -> u64 {
    let mut bytes = [0; CONSOLE_LIMIT as usize];
    if length > CONSOLE_LIMIT {
        return INVALID_PARAMETER;
    }
    let bytes = &mut bytes[..length as usize];
    if !cpu.memory.read_bytes(ipa, bytes) {
        return INVALID_PARAMETER;
    }
    for byte in bytes.iter_mut() {
        if !matches!(byte, b' '..=b'~' | b'\n') {
            *byte = b'.';
        }
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        print!("{text}");
    }
    SUCCESS
}

/// PSCI and SMCCC, and the refusal of everything else.
fn firmware(cpu: &mut Vcpu) -> Option<Reason> {
    let x = &cpu.registers.x;
    match psci::answer(x[0], [x[1], x[2], x[3]]) {
        Answer::SystemOff | Answer::CpuOff => return Some(Reason::PoweredOff),
        Answer::SystemReset => return Some(Reason::PoweredOff),
        Answer::Suspend => {
            cpu.registers.x[0] = 0;
            crate::task::yield_now();
        }
        Answer::Value(value) => cpu.registers.x[0] = value,
        // One virtual CPU a machine, affinity 0: there is no other to turn on, and it is on itself.
        Answer::CpuOn { .. } => cpu.registers.x[0] = psci::INVALID_PARAMETERS,
        Answer::AffinityInfo { target: 0, level: 0 } => cpu.registers.x[0] = psci::ON,
        Answer::AffinityInfo { .. } => cpu.registers.x[0] = psci::INVALID_PARAMETERS,
        Answer::NotSupported => cpu.registers.x[0] = NOT_SUPPORTED,
    }
    None
}
