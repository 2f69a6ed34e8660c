//! Calls from a guest: those of `bale_abi`, and PSCI and SMCCC beside them. What nobody has is
//! refused; the swap calls are there for guests with a workspace, the small ones.

use bale_abi::{
    CONSOLE_LIMIT, CONSOLE_WRITE, EXIT, EXITS, INVALID_PARAMETER, NO_SUCH_SLOT, NOT_SUPPORTED,
    REPORT, REVISION_MAJOR, REVISION_MINOR, STORE_BUSY, STORE_CORRUPT, STORE_FULL, SUCCESS,
    SWAP_FREE, SWAP_IN, SWAP_INFO, SWAP_OUT, UID, VENDOR_REVISION, VENDOR_UID,
};
use bale_core::guest_ram::GuestRam;
use bale_swap::SwapError;

use super::memory::GuestMemory;
use super::vcpu::Vcpu;
use super::workspace::Workspace;
use super::{Kind, Reason, firmware};
use bale_rt::trace;

/// Answers the call whose function and arguments are in the guest's registers; a reason if it ends
/// the guest.
#[inline(always)]
pub(super) fn answer(cpu: &mut Vcpu) -> Option<Reason> {
    // SMCCC: the identifier is w0; the upper half of x0 is not looked at (DEN 0028, 2.5).
    match cpu.registers.x[0] as u32 {
        // The shortest of all is answered here and now.
        VENDOR_REVISION => {
            (cpu.registers.x[0], cpu.registers.x[1]) = (REVISION_MAJOR, REVISION_MINOR);
            None
        }
        SWAP_OUT | SWAP_IN | SWAP_FREE | SWAP_INFO | CONSOLE_WRITE | REPORT | EXITS | EXIT
        | VENDOR_UID => answer_own(cpu),
        _ => firmware::answer(cpu),
    }
}

#[inline(never)]
fn answer_own(cpu: &mut Vcpu) -> Option<Reason> {
    let [function, first, second] = [cpu.registers.x[0], cpu.registers.x[1], cpu.registers.x[2]];
    let results: &[u64] = match function as u32 {
        function @ (SWAP_OUT | SWAP_IN | SWAP_FREE | SWAP_INFO) => {
            &swap(cpu, function, first, second)
        }
        CONSOLE_WRITE if cpu.kind == Kind::Small => &[console_write(cpu, first, second)],
        // It has a console, whose lines bear its number: this text could pass for the shell's.
        CONSOLE_WRITE => &[NOT_SUPPORTED],
        REPORT if cpu.slot.report(first, second) => &[SUCCESS],
        REPORT => &[INVALID_PARAMETER],
        EXITS => &[SUCCESS, cpu.exits()],
        EXIT => return Some(Reason::Exited(first)),
        // `VENDOR_UID`: nothing else comes here.
        _ => &UID.map(u64::from),
    };
    for (register, result) in cpu.registers.x.iter_mut().zip(results) {
        *register = *result;
    }
    None
}

/// A call about the swap device: x0 to x2.
#[inline(never)]
fn swap(cpu: &mut Vcpu, function: u32, first: u64, second: u64) -> [u64; 3] {
    let [_, x1, x2, ..] = cpu.registers.x;
    let Some(mut work) = cpu.work.take() else { return [NOT_SUPPORTED, x1, x2] };
    let results = match cpu.memory() {
        None => [NOT_SUPPORTED, x1, x2],
        Some(memory) => match function {
            SWAP_OUT => [swap_out(&mut work, memory, first, second), x1, x2],
            SWAP_IN => [swap_in(&mut work, memory, first, second), x1, x2],
            SWAP_FREE => {
                let [status, held] = swap_free(&work, first, second);
                [status, held, x2]
            }
            _ => [SUCCESS, work.device.slots() as u64, work.device.statistics().stored],
        },
    };
    cpu.work = Some(work);
    results
}

fn swap_out(work: &mut Workspace, memory: &GuestMemory, slot: u64, ipa: u64) -> u64 {
    if slot >= work.device.slots() as u64 {
        return NO_SUCH_SLOT;
    }
    if !memory.read_page(ipa, work.page) {
        return INVALID_PARAMETER;
    }
    status(work.device.write(slot as usize, work.page, work.scratch))
}

fn swap_in(work: &mut Workspace, memory: &GuestMemory, slot: u64, ipa: u64) -> u64 {
    if slot >= work.device.slots() as u64 {
        return NO_SUCH_SLOT;
    }
    let read = memory
        .with_page_mut(ipa, |page| status(work.device.read(slot as usize, page, work.scratch)));
    read.unwrap_or(INVALID_PARAMETER)
}

fn swap_free(work: &Workspace, first: u64, count: u64) -> [u64; 2] {
    let slots = work.device.slots() as u64;
    if first.checked_add(count).is_none_or(|end| end > slots) {
        return [NO_SUCH_SLOT, 0];
    }
    match work.device.release(first as usize, count as usize) {
        Ok(held) => {
            trace::released(held);
            [SUCCESS, held as u64]
        }
        Err(error) => [status::<()>(Err(error)), 0],
    }
}

fn status<T>(result: Result<T, SwapError>) -> u64 {
    match result {
        Ok(_) => SUCCESS,
        Err(SwapError::NoSuchSlot) => NO_SUCH_SLOT,
        // A small guest's device has no backing device and no second codec.
        Err(SwapError::Corrupt | SwapError::Backed | SwapError::Io | SwapError::NoCodec) => {
            STORE_CORRUPT
        }
        Err(SwapError::Busy) => STORE_BUSY,
        Err(SwapError::PoolFull | SwapError::QuotaReached) => STORE_FULL,
    }
}

/// Passes a guest's text on to its console, as the byte stream of a UART would be.
#[inline(never)]
fn console_write(cpu: &Vcpu, ipa: u64, length: u64) -> u64 {
    let mut bytes = [0; CONSOLE_LIMIT as usize];
    if length > CONSOLE_LIMIT {
        return INVALID_PARAMETER;
    }
    let bytes = &mut bytes[..length as usize];
    if cpu.memory().is_none_or(|memory| memory.read(ipa, bytes).is_err()) {
        return INVALID_PARAMETER;
    }
    cpu.slot.console.put(cpu.slot.number(), bytes);
    SUCCESS
}
