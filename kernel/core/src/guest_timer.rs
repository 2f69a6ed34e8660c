//! The physical timer of a virtual CPU: `CNTP_CTL_EL0`, `CNTP_CVAL_EL0`, `CNTP_TVAL_EL0` (DDI 0487,
//! D12.2).
//!
//! Every access traps, so that a guest that never uses it pays nothing for it. The core's own EL1
//! physical timer raises an interrupt at [`PhysicalTimer::wake_up`] while the virtual CPU is
//! loaded; the line of the guest's interrupt is kept here, since its level lasts until the guest
//! writes the timer.

/// The timer's private interrupt (Arm BSA, B_PPI_00).
pub const PHYSICAL_TIMER: u32 = 30;

const ENABLE: u64 = 1;
const MASKED: u64 = 1 << 1;
const REACHED: u64 = 1 << 2;

/// A register of the timer, as the last field of its encoding names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerRegister {
    /// `CNTP_TVAL_EL0`: the signed 32-bit distance to the compare value.
    Distance,
    /// `CNTP_CTL_EL0`.
    Control,
    /// `CNTP_CVAL_EL0`.
    Compare,
}

impl TimerRegister {
    /// `S3_3_C14_C2_<op2>`.
    pub const fn of(op2: u8) -> Option<Self> {
        match op2 {
            0 => Some(Self::Distance),
            1 => Some(Self::Control),
            2 => Some(Self::Compare),
            _ => None,
        }
    }
}

/// A physical timer; out of reset it is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PhysicalTimer {
    control: u64,
    compare: u64,
    /// The guest's line is high.
    line: bool,
}

impl PhysicalTimer {
    /// A read when the physical counter is at `now`.
    pub const fn read(&self, register: TimerRegister, now: u64) -> u64 {
        match register {
            TimerRegister::Distance => self.compare.wrapping_sub(now) & 0xffff_ffff,
            TimerRegister::Control => {
                let reached = self.control & ENABLE != 0 && now >= self.compare;
                self.control | if reached { REACHED } else { 0 }
            }
            TimerRegister::Compare => self.compare,
        }
    }

    /// A write when the physical counter is at `now`; the line follows.
    pub const fn write(&mut self, register: TimerRegister, value: u64, now: u64) {
        match register {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the register has 32 bits, with a sign"
            )]
            TimerRegister::Distance => self.compare = now.wrapping_add_signed(value as i32 as i64),
            TimerRegister::Control => self.control = value & (ENABLE | MASKED),
            TimerRegister::Compare => self.compare = value,
        }
        self.line = self.is_armed() && now >= self.compare;
    }

    /// The core's timer has fired, or the virtual CPU looks again: whether the line is high from
    /// now on.
    pub const fn look(&mut self, now: u64) -> bool {
        self.line = self.is_armed() && now >= self.compare;
        self.line
    }

    /// Whether the guest's line is high.
    pub const fn line(&self) -> bool {
        self.line
    }

    /// Value of the physical counter at which the line rises, if it is going to.
    pub const fn wake_up(&self) -> Option<u64> {
        if self.is_armed() && !self.line { Some(self.compare) } else { None }
    }

    /// It runs, and its interrupt is not masked.
    const fn is_armed(&self) -> bool {
        self.control & (ENABLE | MASKED) == ENABLE
    }
}

#[cfg(test)]
mod tests {
    use super::TimerRegister::{Compare, Control, Distance};
    use super::*;
    use proptest::prelude::*;

    /// The same timer by the architecture's pseudocode: a condition, and what shows it.
    fn condition(control: u64, compare: u64, now: u64) -> bool {
        control & 1 == 1 && now >= compare
    }

    #[test]
    fn a_deadline_comes_once() {
        let mut timer = PhysicalTimer::default();
        timer.write(Distance, 100, 1000);
        assert_eq!(timer.wake_up(), None, "it is off");
        timer.write(Control, ENABLE, 1000);
        assert_eq!((timer.wake_up(), timer.line()), (Some(1100), false));
        assert!(!timer.look(1099) && timer.look(1100));
        assert_eq!(timer.wake_up(), None, "the line is high already");
        assert_eq!(timer.read(Control, 1100), ENABLE | REACHED);
        timer.write(Distance, 50, 1200);
        assert_eq!(
            (timer.wake_up(), timer.line()),
            (Some(1250), false),
            "a new deadline lowers it"
        );
    }

    #[test]
    fn a_masked_timer_shows_its_state_and_raises_nothing() {
        let mut timer = PhysicalTimer::default();
        timer.write(Compare, 10, 20);
        timer.write(Control, ENABLE | MASKED, 20);
        assert_eq!(timer.read(Control, 20), ENABLE | MASKED | REACHED);
        assert_eq!((timer.line(), timer.wake_up()), (false, None));
    }

    #[test]
    fn distances_have_a_sign() {
        let mut timer = PhysicalTimer::default();
        timer.write(Distance, 0xffff_ffff, 5);
        assert_eq!(timer.read(Compare, 0), 4);
        timer.write(Distance, 0x8000_0000, 1 << 32);
        assert_eq!(timer.read(Compare, 0), (1 << 32) - (1 << 31));
        assert_eq!(timer.read(Distance, 1 << 32), 0x8000_0000);
    }

    proptest! {
        /// Line, status and deadline agree with each other and with the condition, whatever is
        /// written and whenever.
        #[test]
        fn agrees_with_the_condition(
            steps in proptest::collection::vec((0..3u8, any::<u64>(), 0..1u64 << 40), 1..40),
        ) {
            let mut timer = PhysicalTimer::default();
            let mut now = 0;
            for (op2, value, later) in steps {
                now += later;
                timer.write(TimerRegister::of(op2).unwrap(), value, now);
                let (control, compare) = (timer.read(Control, now), timer.read(Compare, now));
                let met = condition(control, compare, now);
                prop_assert_eq!(control & REACHED != 0, met);
                prop_assert_eq!(timer.line(), met && control & MASKED == 0);
                prop_assert_eq!(timer.wake_up().is_some(), control & 3 == 1 && !met);
                if let Some(deadline) = timer.wake_up() {
                    prop_assert!(!timer.clone().look(deadline - 1) && timer.clone().look(deadline));
                }
            }
        }
    }
}
