//! The performance monitors of a virtual CPU: PMUv3 as of Armv8.1 (DDI 0487, D13).
//!
//! Every access traps and is answered from this state, so that a guest reads what it wrote and
//! nothing that anybody else left. Counters count in the core's own registers while the virtual CPU
//! is loaded and has any that run: [`Pmu::hardware`] is what those are to hold, and what they held
//! comes back by [`Pmu::take_back`]. No event at EL2 is ever counted for a guest.

use crate::exception::SystemAccess;

/// The interrupt of counters that overflow (Arm BSA, B_PPI_00).
pub const PMU_INTERRUPT: u32 = 23;
/// Event counters that the architecture allows.
pub const MOST_COUNTERS: usize = 31;
/// The cycle counter's place among the counters, and its bit in a mask of them.
const CYCLES: usize = 31;

/// `PMCR_EL0`: E, P, C, D, DP, LC.
const ENABLE: u64 = 1;
const RESET_EVENTS: u64 = 1 << 1;
const RESET_CYCLES: u64 = 1 << 2;
const DIVIDE: u64 = 1 << 3;
const PROHIBIT: u64 = 1 << 5;
const LONG_CYCLES: u64 = 1 << 6;
const CONTROL: u64 = ENABLE | DIVIDE | PROHIBIT | LONG_CYCLES;
const COUNTERS_SHIFT: u32 = 11;

/// `PMEVTYPER<n>_EL0`: P and U keep EL1 and EL0 out, and the event.
const NOT_KERNEL: u64 = 1 << 31;
const NOT_USER: u64 = 1 << 30;
const EVENT: u64 = 0xffff;
/// What a guest may set of a filter; the levels and security states that it does not have read as
/// zero.
const FILTER: u64 = NOT_KERNEL | NOT_USER;
/// NSK and NSU: the same of the non-secure state, where a guest always is. NSH, EL2's, stays clear.
const TO_NONSECURE: u32 = 2;

/// The event that software counts.
const SOFTWARE_INCREMENT: u64 = 0;
/// `PMUSERENR_EL0`: EN, SW, CR, ER.
const USER: u64 = 0xf;

/// What guests are offered: what every core has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// Event counters.
    pub counters: usize,
    /// `PMCEID0_EL0` and `PMCEID1_EL0`: events that are counted.
    pub events: [u64; 2],
}

/// What the core's registers are to hold while the virtual CPU is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// `PMCR_EL0`.
    pub control: u64,
    /// `PMCNTENSET_EL0`.
    pub enabled: u64,
    /// `PMINTENSET_EL1`: none while the guest's line is high already.
    pub interrupts: u64,
    /// `PMOVSSET_EL0`.
    pub overflowed: u64,
    /// `PMUSERENR_EL0`, which decides whether EL0's accesses trap to EL1.
    pub user: u64,
    /// `PMCCFILTR_EL0` and `PMCCNTR_EL0`.
    pub cycles: [u64; 2],
}

/// Performance monitors of a virtual CPU.
#[derive(Debug, Clone)]
pub struct Pmu {
    /// `None` for a guest without any: every register is undefined.
    offered: Option<Offered>,
    control: u64,
    enabled: u64,
    interrupts: u64,
    overflowed: u64,
    selected: usize,
    user: u64,
    /// Filters and events, the cycle counter's last.
    types: [u64; MOST_COUNTERS + 1],
    counts: [u64; MOST_COUNTERS + 1],
}

/// A register that an access names.
enum Register {
    Control,
    Enable {
        set: bool,
    },
    Interrupts {
        set: bool,
    },
    Overflow {
        set: bool,
    },
    Increment,
    Select,
    Events(usize),
    User,
    Type(usize),
    Count(usize),
    /// One of a counter that is selected and not there: zero, and writes are ignored.
    Nothing,
}

impl Pmu {
    /// Out of reset.
    pub const fn new(offered: Option<Offered>) -> Self {
        Self {
            offered,
            control: LONG_CYCLES,
            enabled: 0,
            interrupts: 0,
            overflowed: 0,
            selected: 0,
            user: 0,
            types: [0; MOST_COUNTERS + 1],
            counts: [0; MOST_COUNTERS + 1],
        }
    }

    /// Whether the guest has performance monitors.
    pub const fn is_offered(&self) -> bool {
        self.offered.is_some()
    }

    /// Event counters that there are.
    pub const fn counters(&self) -> usize {
        match self.offered {
            Some(offered) => offered.counters,
            None => 0,
        }
    }

    /// Whether something counts.
    pub const fn counts(&self) -> bool {
        self.control & ENABLE != 0 && self.enabled != 0
    }

    /// Whether the core's registers have to hold anything for it: something counts, or EL0 may
    /// look.
    pub const fn is_used(&self) -> bool {
        self.counts() || self.user != 0
    }

    /// Whether the line of its interrupt is high.
    pub const fn line(&self) -> bool {
        self.control & ENABLE != 0 && self.overflowed & self.interrupts != 0
    }

    /// A mask of the counters that there are.
    const fn mask(offered: Offered) -> u64 {
        ((1 << offered.counters) - 1) | 1 << CYCLES
    }

    fn register(&self, offered: Offered, encoding: [u8; 5]) -> Option<Register> {
        let numbered = |crm: u8, op2: u8| usize::from(crm & 3) << 3 | usize::from(op2);
        Some(match encoding {
            [3, 3, 9, 12, 0] => Register::Control,
            [3, 3, 9, 12, op2 @ (1 | 2)] => Register::Enable { set: op2 == 1 },
            [3, 3, 9, 12, 3] => Register::Overflow { set: false },
            [3, 3, 9, 14, 3] => Register::Overflow { set: true },
            [3, 0, 9, 14, op2 @ (1 | 2)] => Register::Interrupts { set: op2 == 1 },
            [3, 3, 9, 12, 4] => Register::Increment,
            [3, 3, 9, 12, 5] => Register::Select,
            [3, 3, 9, 12, op2 @ (6 | 7)] => Register::Events(usize::from(op2) - 6),
            [3, 3, 9, 13, 0] => Register::Count(CYCLES),
            [3, 3, 9, 13, 1] if self.selected == CYCLES => Register::Type(CYCLES),
            [3, 3, 9, 13, 1] if self.selected < offered.counters => Register::Type(self.selected),
            [3, 3, 9, 13, 2] if self.selected < offered.counters => Register::Count(self.selected),
            [3, 3, 9, 13, 1 | 2] => Register::Nothing,
            [3, 3, 9, 14, 0] => Register::User,
            [3, 3, 14, crm @ 8..=11, op2] if numbered(crm, op2) < offered.counters => {
                Register::Count(numbered(crm, op2))
            }
            [3, 3, 14, 15, 7] => Register::Type(CYCLES),
            [3, 3, 14, crm @ 12..=15, op2] if numbered(crm, op2) < offered.counters => {
                Register::Type(numbered(crm, op2))
            }
            _ => return None,
        })
    }

    /// A trapped read; `None` for a register that is not there.
    pub fn read(&self, access: SystemAccess) -> Option<u64> {
        let offered = self.offered?;
        Some(match self.register(offered, access.encoding)? {
            Register::Control => self.control | (offered.counters as u64) << COUNTERS_SHIFT,
            Register::Enable { .. } => self.enabled,
            Register::Interrupts { .. } => self.interrupts,
            Register::Overflow { .. } => self.overflowed,
            Register::Select => self.selected as u64,
            Register::Events(which) => offered.events[which],
            Register::User => self.user,
            Register::Type(number) => self.types[number],
            Register::Count(number) => self.counts[number],
            Register::Nothing => 0,
            Register::Increment => return None,
        })
    }

    /// A trapped write, from EL0 if `from_user`; `None` for a register that is not there.
    pub fn write(&mut self, access: SystemAccess, value: u64, from_user: bool) -> Option<()> {
        let offered = self.offered?;
        let bits = value & Self::mask(offered);
        let put = |word: &mut u64, set: bool| if set { *word |= bits } else { *word &= !bits };
        match self.register(offered, access.encoding)? {
            Register::Control => {
                self.control = value & CONTROL;
                if value & RESET_EVENTS != 0 {
                    self.counts[..CYCLES].fill(0);
                }
                if value & RESET_CYCLES != 0 {
                    self.counts[CYCLES] = 0;
                }
            }
            Register::Enable { set } => put(&mut self.enabled, set),
            Register::Interrupts { set } => put(&mut self.interrupts, set),
            Register::Overflow { set } => put(&mut self.overflowed, set),
            Register::Increment => self.increment(bits, from_user),
            Register::Select => self.selected = (value & 31) as usize,
            Register::User => self.user = value & USER,
            Register::Type(CYCLES) => self.types[CYCLES] = value & FILTER,
            Register::Type(number) => self.types[number] = value & (FILTER | EVENT),
            Register::Count(CYCLES) => self.counts[CYCLES] = value,
            Register::Count(number) => self.counts[number] = value & 0xffff_ffff,
            Register::Nothing => {}
            Register::Events(_) => return None,
        }
        Some(())
    }

    /// Software counts one on each of these counters that takes such events.
    fn increment(&mut self, bits: u64, from_user: bool) {
        let kept_out = if from_user { NOT_USER } else { NOT_KERNEL };
        for number in 0..CYCLES {
            let counts = bits & self.enabled & 1 << number != 0
                && self.control & ENABLE != 0
                && self.types[number] & (EVENT | kept_out) == SOFTWARE_INCREMENT;
            if counts {
                self.counts[number] = self.counts[number].wrapping_add(1) & 0xffff_ffff;
                if self.counts[number] == 0 {
                    self.overflowed |= 1 << number;
                }
            }
        }
    }

    /// What the core's registers are to hold.
    pub fn hardware(&self) -> Hardware {
        Hardware {
            control: self.control,
            enabled: self.enabled,
            interrupts: if self.line() { 0 } else { self.interrupts },
            overflowed: self.overflowed,
            user: self.user,
            cycles: [filtered(self.types[CYCLES]), self.counts[CYCLES]],
        }
    }

    /// `PMEVTYPER<n>_EL0` and `PMEVCNTR<n>_EL0`.
    #[inline(always)]
    pub fn event(&self, number: usize) -> [u64; 2] {
        let number = number & CYCLES;
        [filtered(self.types[number]), self.counts[number]]
    }

    /// Takes back what the core's registers held: `PMOVSSET_EL0` and the cycle counter.
    pub fn take_back(&mut self, overflowed: u64, cycles: u64) {
        let Some(offered) = self.offered else { return };
        self.overflowed = overflowed & Self::mask(offered);
        self.counts[CYCLES] = cycles;
    }

    /// Takes back what an event counter held.
    #[inline(always)]
    pub fn take_back_event(&mut self, number: usize, count: u64) {
        self.counts[number & CYCLES] = count & 0xffff_ffff;
    }

    /// Whether an access concerns what the core's registers hold: a write, or a read of what counts
    /// by itself.
    pub fn concerns_core(&self, access: SystemAccess) -> bool {
        let register = self.offered.and_then(|offered| self.register(offered, access.encoding));
        match register {
            None | Some(Register::Select | Register::Nothing | Register::Events(_)) => false,
            Some(Register::Count(_) | Register::Overflow { .. }) => true,
            Some(_) => !access.read,
        }
    }
}

/// A guest's filter in the core's register: of the non-secure state alone, and never at EL2.
const fn filtered(guest: u64) -> u64 {
    guest | (guest & FILTER) >> TO_NONSECURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIX: Offered = Offered { counters: 6, events: [0x7fff_0f3f, 0x00ff] };

    fn access(encoding: [u8; 5], read: bool) -> SystemAccess {
        SystemAccess { encoding, register: 0, read }
    }

    fn set(pmu: &mut Pmu, encoding: [u8; 5], value: u64) {
        pmu.write(access(encoding, false), value, false).expect("it is there");
    }

    fn get(pmu: &Pmu, encoding: [u8; 5]) -> u64 {
        pmu.read(access(encoding, true)).expect("it is there")
    }

    const PMCR: [u8; 5] = [3, 3, 9, 12, 0];
    const ENABLE_SET: [u8; 5] = [3, 3, 9, 12, 1];
    const OVERFLOW_CLEAR: [u8; 5] = [3, 3, 9, 12, 3];
    const INCREMENT: [u8; 5] = [3, 3, 9, 12, 4];
    const SELECT: [u8; 5] = [3, 3, 9, 12, 5];
    const SELECTED_TYPE: [u8; 5] = [3, 3, 9, 13, 1];
    const SELECTED_COUNT: [u8; 5] = [3, 3, 9, 13, 2];
    const INTERRUPT_SET: [u8; 5] = [3, 0, 9, 14, 1];

    #[test]
    fn software_counts_and_overflows() {
        let mut pmu = Pmu::new(Some(SIX));
        set(&mut pmu, [3, 3, 14, 8, 2], u64::MAX);
        set(&mut pmu, INCREMENT, 4);
        assert_eq!(get(&pmu, [3, 3, 14, 8, 2]), 0xffff_ffff, "nothing is enabled");
        set(&mut pmu, ENABLE_SET, 4);
        set(&mut pmu, PMCR, 1);
        set(&mut pmu, INTERRUPT_SET, u64::MAX);
        assert!(!pmu.line());
        set(&mut pmu, INCREMENT, 4);
        assert_eq!(get(&pmu, [3, 3, 14, 8, 2]), 0);
        assert!(pmu.line() && pmu.hardware().interrupts == 0, "the core does not ask again");
        set(&mut pmu, OVERFLOW_CLEAR, 4);
        assert!(!pmu.line() && pmu.hardware().interrupts == 0x8000_003f);
    }

    #[test]
    fn the_selected_counter_is_the_numbered_one() {
        let mut pmu = Pmu::new(Some(SIX));
        for number in 0..6u8 {
            set(&mut pmu, SELECT, number.into());
            set(&mut pmu, SELECTED_TYPE, 0x8000_0011);
            set(&mut pmu, SELECTED_COUNT, 100 + u64::from(number));
            assert_eq!(get(&pmu, [3, 3, 14, 12, number]), 0x8000_0011);
            assert_eq!(get(&pmu, [3, 3, 14, 8, number]), 100 + u64::from(number));
        }
        set(&mut pmu, SELECT, 31);
        set(&mut pmu, SELECTED_TYPE, u64::MAX);
        assert_eq!(get(&pmu, [3, 3, 14, 15, 7]), FILTER, "PMCCFILTR_EL0");
        set(&mut pmu, SELECT, 6);
        set(&mut pmu, SELECTED_COUNT, 1);
        assert_eq!(get(&pmu, SELECTED_COUNT), 0, "there is no seventh");
    }

    #[test]
    fn only_what_is_offered_is_there() {
        let pmu = Pmu::new(Some(SIX));
        assert_eq!(get(&pmu, PMCR) >> COUNTERS_SHIFT & 31, 6);
        assert_eq!(pmu.read(access([3, 3, 14, 8, 6], true)), None, "PMEVCNTR6_EL0");
        assert_eq!(pmu.read(access(INCREMENT, true)), None, "it is for writing alone");
        let mut none = Pmu::new(None);
        assert_eq!(none.read(access(PMCR, true)), None);
        assert_eq!(none.write(access(PMCR, false), 1, false), None);
        assert!(!none.is_used());
    }

    #[test]
    fn reset_bits_reset() {
        let mut pmu = Pmu::new(Some(SIX));
        set(&mut pmu, [3, 3, 14, 8, 0], 7);
        set(&mut pmu, [3, 3, 9, 13, 0], 9);
        set(&mut pmu, PMCR, RESET_EVENTS);
        assert_eq!((get(&pmu, [3, 3, 14, 8, 0]), get(&pmu, [3, 3, 9, 13, 0])), (0, 9));
        set(&mut pmu, PMCR, RESET_CYCLES);
        assert_eq!(get(&pmu, [3, 3, 9, 13, 0]), 0);
    }

    proptest! {
        /// Whatever is written: nothing counts at EL2, nothing beyond what is offered is touched,
        /// and what the core is given comes back as it was.
        #[test]
        fn the_core_is_asked_for_nothing_else(
            counters in 0..=MOST_COUNTERS,
            writes in proptest::collection::vec((any::<bool>(), 9..=14u8, 0..16u8, 0..8u8, any::<u64>()), 0..60),
        ) {
            let mut pmu = Pmu::new(Some(Offered { counters, events: [0; 2] }));
            for (el1, crn, crm, op2, value) in writes {
                let crn = if crn == 14 { 14 } else { 9 };
                let _ = pmu.write(access([3, if el1 { 0 } else { 3 }, crn, crm, op2], false), value, el1);
                let hardware = pmu.hardware();
                // NSH and M, MT and the counter's higher bits.
                let forbidden = 0x0fff_0000 | !0xffff_ffff;
                prop_assert!((0..counters).all(|number| pmu.event(number)[0] & forbidden == 0));
                prop_assert_eq!(hardware.cycles[0] & (forbidden | EVENT), 0);
                let mask = ((1u64 << counters) - 1) | 1 << 31;
                prop_assert_eq!((hardware.enabled | hardware.interrupts | hardware.overflowed) & !mask, 0);
                prop_assert!(!pmu.line() || hardware.interrupts == 0);
                let before = pmu.clone();
                (0..counters).for_each(|number| pmu.take_back_event(number, before.event(number)[1]));
                pmu.take_back(hardware.overflowed, hardware.cycles[1]);
                prop_assert!((0..counters).all(|number| pmu.event(number) == before.event(number)));
                prop_assert_eq!(pmu.hardware(), before.hardware());
            }
        }
    }
}
