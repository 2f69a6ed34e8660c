//! Semihosting calls of a guest ([`bale_core::semihosting`]): addresses are virtual ones of the
//! guest, and looked up page by page.

use core::sync::atomic::Ordering;

use bale_arch::mask::Masked;
use bale_arch::mmu;
use bale_core::guest_ram::GuestRam;
use bale_core::semihosting::{self, FAILED, HVC, MOST_BYTES, Request, parameters, request};

use super::Reason;
use super::vcpu::Vcpu;
use bale_rt::clock;

const PAGE: u64 = 4096;
/// Bytes that are copied at a time.
const PIECE: usize = 128;
/// Letters of a file's name that are looked at.
const NAME: usize = 32;

/// A page that the guest's own tables do not map, or where it has no memory.
struct Unmapped;

/// Whether the call that the guest has just made is a semihosting call, and it may make one: the
/// instruction says it.
pub(super) fn is_call(cpu: &mut Vcpu) -> bool {
    let mut instruction = [0; 4];
    cpu.slot.devices.test.answers_semihosting()
        && read(cpu, cpu.registers.pc.wrapping_sub(4), &mut instruction).is_ok()
        && u32::from_le_bytes(instruction) == HVC
}

/// Answers it; a reason if it ends the machine.
pub(super) fn answer(cpu: &mut Vcpu) -> Option<Reason> {
    let [operation, block] = [cpu.registers.x[0], cpu.registers.x[1]];
    #[expect(clippy::cast_possible_truncation, reason = "the operation is w0")]
    let operation = operation as u32;
    let mut words = [0; 3];
    for (at, word) in words.iter_mut().enumerate().take(parameters(operation)) {
        let mut bytes = [0; 8];
        if read(cpu, block.wrapping_add(8 * at as u64), &mut bytes).is_err() {
            cpu.registers.x[0] = FAILED;
            return None;
        }
        *word = u64::from_le_bytes(bytes);
    }
    let result = match request(operation, block, words) {
        Request::Exit(status) => return Some(Reason::Exited(status)),
        request => act(cpu, request),
    };
    cpu.registers.x[0] = result.unwrap_or(FAILED);
    None
}

fn act(cpu: &mut Vcpu, request: Request) -> Result<u64, Unmapped> {
    let us = clock::to_us(clock::now() - cpu.slot.counter_offset.load(Ordering::Relaxed));
    Ok(match request {
        Request::Value(value) => value,
        Request::Write { from: (address, length), then } => {
            print(cpu, address, length, false)?;
            then
        }
        Request::WriteString(address) => {
            print(cpu, address, MOST_BYTES, true)?;
            0
        }
        Request::Read { to: (address, room), bytes } => {
            let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            write(cpu, address, &bytes[..taken])?;
            room - taken as u64
        }
        Request::Zeros(address, words) => {
            for at in 0..words as u64 {
                write(cpu, address.wrapping_add(8 * at), &[0; 8])?;
            }
            0
        }
        Request::Open(address, length) => {
            let mut name = [0; NAME];
            let Some(name) = usize::try_from(length).ok().and_then(|length| name.get_mut(..length))
            else {
                return Ok(FAILED);
            };
            for (at, byte) in name.iter_mut().enumerate() {
                read(cpu, address.wrapping_add(at as u64), core::slice::from_mut(byte))?;
            }
            semihosting::open(name)
        }
        Request::Centiseconds => us / 10_000,
        Request::Seconds => clock::of_day().unwrap_or(0),
        Request::Nanoseconds(address) => {
            write(cpu, address, &(us * 1_000).to_le_bytes())?;
            0
        }
        // The caller's.
        Request::Exit(_) => FAILED,
    })
}

/// Writes to the console up to `length` bytes, or up to a NUL.
fn print(cpu: &mut Vcpu, address: u64, length: u64, to_nul: bool) -> Result<(), Unmapped> {
    let number = cpu.slot.number();
    let mut done = 0;
    // Interrupts are unmasked, and whoever ends the machine is heard: the text may be long.
    while done < length && !cpu.slot.stop.load(Ordering::Relaxed) {
        let here = address.wrapping_add(done);
        let room = (PAGE - here % PAGE).min(length - done).min(PIECE as u64);
        let mut bytes = [0; PIECE];
        #[expect(clippy::cast_possible_truncation, reason = "a piece at most")]
        let bytes = &mut bytes[..room as usize];
        read(cpu, here, bytes)?;
        let nul = if to_nul { bytes.iter().position(|byte| *byte == 0) } else { None };
        cpu.slot.console.put(number, &bytes[..nul.unwrap_or(bytes.len())]);
        if nul.is_some() {
            return Ok(());
        }
        done += room;
    }
    Ok(())
}

/// Where a virtual address of the guest is in its memory.
fn translate(cpu: &mut Vcpu, address: u64) -> Result<u64, Unmapped> {
    let masked = Masked::new();
    cpu.load(&masked);
    let found = mmu::guest_physical(address);
    drop(masked);
    found.ok_or(Unmapped)
}

/// Copies from the guest; pieces are on one page or the next.
fn read(cpu: &mut Vcpu, address: u64, into: &mut [u8]) -> Result<(), Unmapped> {
    let first = usize::try_from(PAGE - address % PAGE).unwrap_or(usize::MAX).min(into.len());
    let (here, behind) = into.split_at_mut(first);
    let ipa = translate(cpu, address)?;
    cpu.memory().ok_or(Unmapped)?.read(ipa, here).map_err(|_| Unmapped)?;
    if behind.is_empty() {
        return Ok(());
    }
    let ipa = translate(cpu, address.wrapping_add(first as u64))?;
    cpu.memory().ok_or(Unmapped)?.read(ipa, behind).map_err(|_| Unmapped)
}

/// Copies to the guest, likewise.
fn write(cpu: &mut Vcpu, address: u64, from: &[u8]) -> Result<(), Unmapped> {
    let first = usize::try_from(PAGE - address % PAGE).unwrap_or(usize::MAX).min(from.len());
    for (at, part) in [(0, &from[..first]), (first, &from[first..])] {
        if !part.is_empty() {
            let ipa = translate(cpu, address.wrapping_add(at as u64))?;
            cpu.memory().ok_or(Unmapped)?.write(ipa, part).map_err(|_| Unmapped)?;
        }
    }
    Ok(())
}
