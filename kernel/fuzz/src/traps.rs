//! What a guest's exits say, and what its UART, its clock and firmware calls do.

use arbitrary::{Result, Unstructured};
use bale_core::exception::{Cause, Syndrome};
use bale_core::guest_debug::{Counts, DebugRegisters};
use bale_core::guest_pmu::{Offered, Pmu};
use bale_core::guest_timer::{PhysicalTimer, TimerRegister};
use bale_core::injection::{Exception, Place};
use bale_core::pl011::Pl011;
use bale_core::pl031::Pl031;
use bale_core::psci::{self, Answer};
use bale_core::system_registers::{self, Action};

pub(crate) fn run(bytes: &[u8]) {
    let (mut uart, mut clock) = (Pl011::new(), Pl031::new());
    // A guest of cores with four breakpoints, on one with six.
    let mut debug = DebugRegisters::new(Counts::of(0x0010_3106), Counts::of(0x1030_5106));
    let mut input = Unstructured::new(bytes);
    while !input.is_empty() {
        if step(&mut input, &mut uart, &mut clock, &mut debug).is_err() {
            break;
        }
    }
}

fn step(
    input: &mut Unstructured<'_>,
    uart: &mut Pl011,
    clock: &mut Pl031,
    debug: &mut DebugRegisters,
) -> Result<()> {
    match input.int_in_range(0..=5u8)? {
        0 => exit(Syndrome::new(input.arbitrary()?), input.arbitrary()?, debug),
        1 => {
            let function: u32 = input.arbitrary()?;
            let answer = psci::answer(function.into(), input.arbitrary()?);
            let narrow = function >> 30 & 1 == 0;
            if let Answer::CpuOn { target, entry, context } = answer {
                assert!(
                    !narrow
                        || [target, entry, context].iter().all(|value| *value <= u32::MAX.into())
                );
            }
        }
        2 => {
            let (pstate, vectors, control): (u64, u64, u64) = input.arbitrary()?;
            let entry =
                Exception::DataAbort(input.arbitrary()?, Place::TableWalk(input.arbitrary()?))
                    .entry(pstate, vectors, control, true);
            assert_eq!(entry.pstate & 0x3df, 0x3c5, "EL1h, all masked");
            assert!(entry.pc.wrapping_sub(vectors) < 0x800);
        }
        3 => drop(uart.receive(input.arbitrary()?)),
        4 => {
            let (offset, width, write, now): (u16, u8, Option<u64>, u64) = input.arbitrary()?;
            let read = clock.access(offset.into(), width, write, now);
            assert!(
                read.is_ok_and(|value| value <= u32::MAX.into()) || read.is_err(),
                "wider than its registers"
            );
        }
        _ => {
            let (offset, width, write): (u16, u8, Option<u64>) = input.arbitrary()?;
            let sent =
                uart.access(offset.into(), width, write).ok().and_then(|outcome| outcome.sent);
            assert!(sent.is_none() || offset == 0 && write.is_some(), "something else sent a byte");
        }
    }
    Ok(())
}

fn exit(syndrome: Syndrome, value: u64, debug: &mut DebugRegisters) {
    let access = syndrome.system_access();
    match syndrome.cause() {
        Cause::SystemRegister => match system_registers::decide(access) {
            Action::Identification(crm, op2) => {
                let shown = system_registers::identification(crm, op2, value);
                assert_eq!(
                    system_registers::identification(crm, op2, shown),
                    shown,
                    "shown twice, it changes"
                );
                assert_eq!(system_registers::common(crm, op2, shown, shown), shown);
            }
            Action::Pmu => {
                let mut pmu = Pmu::new(Some(Offered { counters: 6, events: [value; 2] }));
                let _ = pmu.write(access, value, access.read);
                assert!(pmu.read(access).is_none() || pmu.is_offered());
                assert!((0..6).all(|number| pmu.event(number)[0] >> 27 & 1 == 0), "counted at EL2");
            }
            Action::PhysicalTimer(register) => {
                let mut timer = PhysicalTimer::default();
                timer.write(register, value, value >> 8);
                assert!(
                    timer.read(register, value)
                        <= u64::MAX >> if register == TimerRegister::Compare { 0 } else { 32 }
                );
                assert!(
                    !timer.line() || timer.wake_up().is_none(),
                    "a line that is high rises again"
                );
            }
            Action::Debug => {
                let _ = if access.read {
                    debug.read(access)
                } else {
                    debug.write(access, value).map(|()| 0)
                };
                let points =
                    debug.hardware().breakpoints().iter().chain(debug.hardware().watchpoints());
                // HMC and SSC: no other exception level, no other security state.
                assert!(points.into_iter().all(|[_, control]| control & (1 << 13 | 3 << 14) == 0));
            }
            Action::Ignored | Action::Send { .. } => assert!(!access.read),
            Action::Value(_) => assert!(access.read),
            Action::Undefined => {}
        },
        Cause::DataAbort => {
            let access = syndrome.memory_access();
            assert!(
                access.is_none_or(
                    |access| matches!(access.size, 1 | 2 | 4 | 8) && access.register < 32
                )
            );
        }
        _ => {}
    }
    assert!(matches!(syndrome.instruction_length(), 2 | 4));
}
