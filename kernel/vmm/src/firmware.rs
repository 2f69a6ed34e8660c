//! PSCI and SMCCC for guests, and the refusal of everything else.

use bale_abi::NOT_SUPPORTED;
use bale_core::psci::{self, Answer};

use super::vcpu::Vcpu;
use super::{Reason, offered, semihosting};

/// Answers a firmware call; a reason if it ends the machine.
#[inline(always)]
pub(super) fn answer(cpu: &mut Vcpu) -> Option<Reason> {
    let x = &cpu.registers.x;
    match psci::answer(x[0], [x[1], x[2], x[3]]) {
        Answer::Value(value) => {
            cpu.registers.x[0] = value;
            None
        }
        answer => act(cpu, answer),
    }
}

/// Does what was asked for.
#[inline(never)]
fn act(cpu: &mut Vcpu, answer: Answer) -> Option<Reason> {
    match answer {
        Answer::SystemOff => return Some(Reason::PoweredOff),
        Answer::SystemReset => return Some(Reason::Reset),
        Answer::CpuOff => return off(cpu),
        Answer::Suspend => {
            cpu.registers.x[0] = 0;
            cpu.suspend();
        }
        Answer::Value(value) => cpu.registers.x[0] = value,
        Answer::CpuOn { target, entry, context } => {
            cpu.registers.x[0] = on(cpu, target, entry, context)
        }
        Answer::AffinityInfo(target) => cpu.registers.x[0] = affinity(cpu, target),
        Answer::Discover(workaround) => {
            cpu.registers.x[0] = offered::mitigations().discovered(workaround)
        }
        Answer::Apply(workaround) => cpu.registers.x[0] = offered::mitigations().called(workaround),
        // Behind all that has an answer: telling one costs a look at the instruction.
        Answer::NotSupported if semihosting::is_call(cpu) => return semihosting::answer(cpu),
        Answer::NotSupported => cpu.registers.x[0] = NOT_SUPPORTED,
    }
    None
}

/// The caller goes off; the machine with it if no other one is on.
fn off(cpu: &mut Vcpu) -> Option<Reason> {
    cpu.off = true;
    cpu.slot.power.turn_off(cpu.number).then_some(Reason::PoweredOff)
}

/// Number of the virtual CPU with an affinity.
fn number(cpu: &Vcpu, target: u64) -> Option<usize> {
    usize::try_from(target).ok().filter(|number| *number < cpu.slot.vgic.lock().vcpus())
}

fn on(cpu: &Vcpu, target: u64, entry: u64, context: u64) -> u64 {
    let Some(number) = number(cpu, target) else { return psci::INVALID_PARAMETERS };
    let mut instruction = [0; 4];
    let readable = cpu.memory().is_some_and(|memory| {
        bale_core::guest_ram::GuestRam::read(memory, entry, &mut instruction).is_ok()
    });
    if !entry.is_multiple_of(4) || !readable {
        return psci::INVALID_ADDRESS;
    }
    if !cpu.slot.power.turn_on(number, entry, context) {
        return psci::ALREADY_ON;
    }
    cpu.slot.vcpus[number].kick();
    0
}

fn affinity(cpu: &Vcpu, target: u64) -> u64 {
    match number(cpu, target) {
        Some(number) if cpu.slot.power.is_on(number) => psci::ON,
        Some(_) => psci::OFF,
        None => psci::INVALID_PARAMETERS,
    }
}
