//! Debug registers of a virtual CPU: what it wrote, and what the core's own hold for it (DDI 0487,
//! D2 and D19).
//!
//! Every access of a guest traps, so that it reads what it wrote, and the core's registers get only
//! what can concern EL1 and EL0: no break- or watchpoint that names EL2, EL3, another security
//! state or a VMID, and none that is linked to one which is not there. A core's context-aware
//! breakpoints are its last ones, and cores differ in how many they have: [`Counts::place`] says
//! which of the core's stands for which of the guest's.

use crate::exception::SystemAccess;

/// Breakpoints, and watchpoints, that the architecture allows.
pub const MOST: usize = 16;

/// `MDSCR_EL1`: software step, traps of the communication channel, debugging of EL1 itself, break-
/// and watchpoints.
const STEP: u64 = 1;
const CHANNEL_TRAPPED: u64 = 1 << 12;
const KERNEL: u64 = 1 << 13;
const MONITOR: u64 = 1 << 15;
/// What a guest sets in it at any time.
const CONTROL: u64 = STEP | CHANNEL_TRAPPED | KERNEL | MONITOR;
/// What it may set while the OS lock is closed, to save and restore an external debugger's state:
/// ERR, HDE, TDA, INTdis, TXU, RXO, TXfull, RXfull.
const EXTERNAL: u64 = 1 << 6 | 1 << 14 | 1 << 21 | 3 << 22 | 3 << 26 | 3 << 29;

/// `DBGBCR<n>_EL1`: E, PMC, BAS, HMC, SSC, LBN, BT.
const BREAKPOINT: u64 = 0x00ff_e1e7;
/// `DBGWCR<n>_EL1`: E, PAC, LSC, BAS, HMC, SSC, LBN, WT, MASK.
const WATCHPOINT: u64 = 0x1f1f_ffff;
/// Of both: E and the levels, PMC or PAC.
const ENABLED: u64 = 1;
const LEVELS: u64 = 3 << 1;
const HIGHER: u64 = 1 << 13;
/// The upper bit of SSC: not this security state.
const ELSEWHERE: u64 = 1 << 15;
const LINK_SHIFT: u32 = 16;
const LINK: u64 = 0xf << LINK_SHIFT;
const TYPE_SHIFT: u32 = 20;
/// What of a breakpoint's control means for the core what it means for the guest.
const BREAKPOINT_KEPT: u64 = ENABLED | LEVELS | 0xf << 5 | 0xf << TYPE_SHIFT;
const WATCHPOINT_KEPT: u64 = ENABLED | LEVELS | 3 << 3 | 0xff << 5 | 1 << TYPE_SHIFT | 0x1f << 24;

/// `OSLSR_EL1`: the OS lock is there; it is closed.
const LOCK_IMPLEMENTED: u64 = 1 << 3;
const LOCK_CLOSED: u64 = 1 << 1;

/// How many a core has, or a guest is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    breakpoints: usize,
    /// How many of them, the last ones, can match a context.
    context: usize,
    watchpoints: usize,
    double_lock: bool,
}

impl Counts {
    /// From `ID_AA64DFR0_EL1`: BRPs, CTX_CMPs, WRPs, DoubleLock.
    pub const fn of(identification: u64) -> Self {
        Self {
            breakpoints: Self::field(identification, 12) + 1,
            context: Self::field(identification, 28) + 1,
            watchpoints: Self::field(identification, 20) + 1,
            double_lock: Self::field(identification, 36) == 0,
        }
    }

    const fn field(identification: u64, shift: u32) -> usize {
        (identification >> shift & 0xf) as usize
    }

    /// Whether the guest's breakpoint with this number can match a context.
    const fn is_context(self, number: usize) -> bool {
        number < self.breakpoints && number + self.context >= self.breakpoints
    }

    /// Which of `core`'s breakpoints stands for the guest's with this number, which is below what
    /// the guest is offered; a core has no fewer of either sort.
    const fn place(self, core: Self, number: usize) -> usize {
        if self.is_context(number) {
            core.breakpoints - (self.breakpoints - number)
        } else {
            number
        }
    }
}

/// A value and its control.
pub type Point = [u64; 2];

/// What the core's registers hold for a virtual CPU that is loaded.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// `MDSCR_EL1`; 0 if nothing else has an effect.
    pub control: u64,
    breakpoints: [Point; MOST],
    watchpoints: [Point; MOST],
    core: Counts,
}

impl Hardware {
    /// Every one of the core's breakpoints.
    pub fn breakpoints(&self) -> &[Point] {
        &self.breakpoints[..self.core.breakpoints]
    }

    /// Every one of the core's watchpoints.
    pub fn watchpoints(&self) -> &[Point] {
        &self.watchpoints[..self.core.watchpoints]
    }

    /// Whether break- and watchpoints have an effect.
    pub fn uses_points(&self) -> bool {
        self.control & MONITOR != 0
    }
}

/// Debug registers of a virtual CPU.
#[derive(Debug, Clone)]
pub struct DebugRegisters {
    offered: Counts,
    control: u64,
    closed: bool,
    double_lock: bool,
    claimed: u8,
    breakpoints: [Point; MOST],
    watchpoints: [Point; MOST],
    hardware: Hardware,
}

/// What a guest may do with a register that it names.
enum Register {
    Breakpoint(usize, usize),
    Watchpoint(usize, usize),
    Control,
    Lock,
    LockStatus,
    DoubleLock,
    ClaimSet,
    ClaimClear,
    /// Of an external debugger, who is not there: reads as zero, ignores writes; which of the two
    /// there is.
    Absent {
        read: bool,
        write: bool,
    },
}

impl DebugRegisters {
    /// Out of reset, for a guest that is offered so many on a core that has so many: the OS lock is
    /// closed.
    pub const fn new(offered: Counts, core: Counts) -> Self {
        let none = [[0; 2]; MOST];
        Self {
            offered,
            control: 0,
            closed: true,
            double_lock: false,
            claimed: 0,
            breakpoints: none,
            watchpoints: none,
            hardware: Hardware { control: 0, breakpoints: none, watchpoints: none, core },
        }
    }

    /// What the core's registers are to hold.
    pub const fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Which register an access names; `None` for one that a core with so many does not have.
    fn register(&self, encoding: [u8; 5]) -> Option<Register> {
        let absent = |read, write| Some(Register::Absent { read, write });
        match encoding {
            [2, 0, 0, 2, 2] => Some(Register::Control),
            [2, 0, 0, number, part @ (4 | 5)] if usize::from(number) < self.offered.breakpoints => {
                Some(Register::Breakpoint(number.into(), usize::from(part) - 4))
            }
            [2, 0, 0, number, part @ (6 | 7)] if usize::from(number) < self.offered.watchpoints => {
                Some(Register::Watchpoint(number.into(), usize::from(part) - 6))
            }
            [2, 0, 1, 0, 4] => Some(Register::Lock),
            [2, 0, 1, 1, 4] => Some(Register::LockStatus),
            [2, 0, 1, 3, 4] => Some(Register::DoubleLock),
            [2, 0, 7, 8, 6] => Some(Register::ClaimSet),
            [2, 0, 7, 9, 6] => Some(Register::ClaimClear),
            // MDCCINT_EL1, OSDTRRX_EL1, OSDTRTX_EL1, OSECCR_EL1, DBGPRCR_EL1, DBGDTR_EL0,
            // DBGDTRRX_EL0 and DBGDTRTX_EL0.
            [2, 0, 0, 2, 0] | [2, 0, 0, 0 | 3 | 6, 2] | [2, 0, 1, 4, 4] | [2, 3, 0, 4 | 5, 0] => {
                absent(true, true)
            }
            // MDRAR_EL1, DBGAUTHSTATUS_EL1, MDCCSR_EL0.
            [2, 0, 1, 0, 0] | [2, 0, 7, 14, 6] | [2, 3, 0, 1, 0] => absent(true, false),
            _ => None,
        }
    }

    /// A trapped read; `None` for a register that is not there.
    pub fn read(&self, access: SystemAccess) -> Option<u64> {
        Some(match self.register(access.encoding)? {
            Register::Breakpoint(number, part) => self.breakpoints[number][part],
            Register::Watchpoint(number, part) => self.watchpoints[number][part],
            Register::Control => self.control,
            Register::LockStatus => LOCK_IMPLEMENTED | if self.closed { LOCK_CLOSED } else { 0 },
            Register::DoubleLock => self.double_lock.into(),
            Register::ClaimSet => 0xff,
            Register::ClaimClear => self.claimed.into(),
            Register::Absent { read: true, .. } => 0,
            Register::Lock | Register::Absent { .. } => return None,
        })
    }

    /// A trapped write; `None` for a register that is not there, otherwise [`Self::hardware`] is as
    /// it is to be now.
    pub fn write(&mut self, access: SystemAccess, value: u64) -> Option<()> {
        match self.register(access.encoding)? {
            Register::Breakpoint(number, 0) => self.breakpoints[number][0] = value,
            Register::Breakpoint(number, _) => self.breakpoints[number][1] = value & BREAKPOINT,
            // The two lowest bits of a watchpoint's address are RES0.
            Register::Watchpoint(number, 0) => self.watchpoints[number][0] = value & !3,
            Register::Watchpoint(number, _) => self.watchpoints[number][1] = value & WATCHPOINT,
            Register::Control if self.closed => self.control = value & (CONTROL | EXTERNAL),
            Register::Control => self.control = self.control & EXTERNAL | value & CONTROL,
            Register::Lock => self.closed = value & 1 != 0,
            Register::DoubleLock => self.double_lock = self.offered.double_lock && value & 1 != 0,
            // The eight claim tags.
            Register::ClaimSet => self.claimed |= value.to_le_bytes()[0],
            Register::ClaimClear => self.claimed &= !value.to_le_bytes()[0],
            Register::Absent { write: true, .. } => {}
            Register::LockStatus | Register::Absent { .. } => return None,
        }
        self.arm();
        Some(())
    }

    /// Works out what the core's registers are to hold.
    fn arm(&mut self) {
        let locked = self.closed || self.double_lock;
        self.hardware.control = self.control & if locked { CHANNEL_TRAPPED } else { CONTROL };
        if !self.hardware.uses_points() {
            return;
        }
        self.hardware.breakpoints = [[0; 2]; MOST];
        for number in 0..self.offered.breakpoints {
            let [value, control] = self.breakpoints[number];
            let place = self.offered.place(self.hardware.core, number);
            let control = self.breakpoint_control(number, control);
            // An address is a multiple of four, a context any 32 bits.
            let mask = if control >> TYPE_SHIFT & 2 == 0 { !3 } else { 0xffff_ffff };
            if let Some(point) = self.hardware.breakpoints.get_mut(place) {
                *point = [value & mask, control];
            }
        }
        for number in 0..self.offered.watchpoints {
            let [value, control] = self.watchpoints[number];
            let linked = control >> TYPE_SHIFT & 1 != 0;
            self.hardware.watchpoints[number] =
                [value, self.control_of(control, WATCHPOINT_KEPT, linked)];
        }
    }

    /// A breakpoint's control for the core: address or context, linked or not; 0 for all others.
    fn breakpoint_control(&self, number: usize, control: u64) -> u64 {
        match control >> TYPE_SHIFT & 0xf {
            0 => self.control_of(control, BREAKPOINT_KEPT, false),
            1 => self.control_of(control, BREAKPOINT_KEPT, true),
            // A context that others link to matches wherever these say.
            2 | 3 if self.offered.is_context(number) => {
                self.control_of(control, BREAKPOINT_KEPT, false)
            }
            _ => 0,
        }
    }

    /// The part of a control that is kept, for EL1 and EL0 alone and linked to the core's
    /// breakpoint; 0 if it names only what no guest is.
    fn control_of(&self, control: u64, kept: u64, linked: bool) -> u64 {
        let elsewhere = control & ELSEWHERE != 0 || control & HIGHER != 0 && control & LEVELS == 0;
        if control & ENABLED == 0 || elsewhere {
            return 0;
        }
        if !linked {
            return control & kept;
        }
        let number = (control & LINK) >> LINK_SHIFT;
        let number = usize::try_from(number).unwrap_or(MOST);
        if !self.offered.is_context(number) {
            return 0;
        }
        control & kept | (self.offered.place(self.hardware.core, number) as u64) << LINK_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(encoding: [u8; 5]) -> SystemAccess {
        SystemAccess { encoding, register: 0, read: false }
    }

    /// Six breakpoints, two of them for contexts, four watchpoints.
    const A72: u64 = 0x1030_5106;
    /// The same, less two.
    const LITTLE: u64 = 0x0010_3106;

    fn registers(offered: u64, core: u64) -> DebugRegisters {
        let mut registers = DebugRegisters::new(Counts::of(offered), Counts::of(core));
        assert_eq!(registers.read(at([2, 0, 1, 1, 4])), Some(0xa), "the lock is closed at reset");
        assert_eq!(registers.write(at([2, 0, 1, 0, 4]), 0), Some(()));
        registers
    }

    #[test]
    fn what_is_written_is_read() {
        let mut registers = registers(A72, A72);
        for number in 0..6 {
            registers.write(at([2, 0, 0, number, 4]), 0xffff_0000_1234_5678).unwrap();
            registers.write(at([2, 0, 0, number, 5]), 0x1e7).unwrap();
            assert_eq!(registers.read(at([2, 0, 0, number, 4])), Some(0xffff_0000_1234_5678));
            assert_eq!(registers.read(at([2, 0, 0, number, 5])), Some(0x1e7));
        }
        assert_eq!(registers.hardware().control, 0);
        registers.write(at([2, 0, 0, 2, 2]), MONITOR | STEP).unwrap();
        assert_eq!(registers.hardware().control, MONITOR | STEP);
        assert_eq!(registers.hardware().breakpoints(), [[0xffff_0000_1234_5678, 0x1e7]; 6]);
        // The lock keeps what is set, and keeps it from having an effect.
        registers.write(at([2, 0, 1, 0, 4]), 1).unwrap();
        assert_eq!(
            (registers.read(at([2, 0, 0, 2, 2])), registers.hardware().control),
            (Some(MONITOR | STEP), 0)
        );
        assert_eq!(registers.read(at([2, 0, 0, 6, 4])), None, "there are six");
        assert_eq!(registers.read(at([2, 0, 0, 4, 6])), None, "there are four");
        assert_eq!(registers.write(at([2, 0, 1, 1, 4]), 0), None, "it is read-only");
    }

    #[test]
    fn claim_tags_are_set_and_cleared() {
        let mut registers = registers(A72, A72);
        registers.write(at([2, 0, 7, 8, 6]), 0x155).unwrap();
        registers.write(at([2, 0, 7, 9, 6]), 5).unwrap();
        assert_eq!(registers.read(at([2, 0, 7, 9, 6])), Some(0x50));
        assert_eq!(registers.read(at([2, 0, 7, 8, 6])), Some(0xff));
    }

    /// A guest of cores with four breakpoints, the last of them for contexts, on one whose last two
    /// of six are.
    #[test]
    fn contexts_are_the_last_ones() {
        let mut registers = registers(LITTLE, A72);
        registers.write(at([2, 0, 0, 3, 4]), 77).unwrap();
        registers.write(at([2, 0, 0, 3, 5]), 3 << TYPE_SHIFT | 0x1e7).unwrap();
        registers.write(at([2, 0, 0, 0, 5]), 1 << TYPE_SHIFT | 3 << LINK_SHIFT | 0x1e7).unwrap();
        registers.write(at([2, 0, 0, 1, 7]), 1 << TYPE_SHIFT | 3 << LINK_SHIFT | 0x1fff).unwrap();
        registers.write(at([2, 0, 0, 1, 5]), 1 << TYPE_SHIFT | 2 << LINK_SHIFT | 0x1e7).unwrap();
        registers.write(at([2, 0, 0, 2, 2]), MONITOR).unwrap();
        let hardware = registers.hardware();
        assert_eq!(hardware.breakpoints()[5], [77, 3 << TYPE_SHIFT | 0x1e7]);
        assert_eq!(hardware.breakpoints()[0][1], 1 << TYPE_SHIFT | 5 << LINK_SHIFT | 0x1e7);
        assert_eq!(hardware.watchpoints()[1][1], 1 << TYPE_SHIFT | 5 << LINK_SHIFT | 0x1fff);
        assert_eq!(
            hardware.breakpoints()[1],
            [0, 0],
            "it is linked to one that matches no context"
        );
    }

    proptest! {
        /// Whatever a guest writes, the core gets nothing that names EL2, another state, a VMID or
        /// a link that leads nowhere.
        #[test]
        fn nothing_beyond_the_guest(writes in prop::collection::vec((0..3u8, 0..16u8, 0..8u8, any::<u64>()), 0..64), little: bool) {
            let mut registers = registers(if little { LITTLE } else { A72 }, A72);
            for (crn, crm, op2, value) in writes {
                let _ = registers.write(at([2, 0, crn, crm, op2]), value);
            }
            let _ = registers.write(at([2, 0, 1, 0, 4]), 0);
            registers.write(at([2, 0, 0, 2, 2]), MONITOR | KERNEL).unwrap();
            let hardware = registers.hardware();
            for [_, control] in hardware.breakpoints() {
                prop_assert!(control & (HIGHER | 3 << 14) == 0 && control >> TYPE_SHIFT < 4, "{control:#x}");
                prop_assert!(control >> TYPE_SHIFT & 1 == 0 || *control >> TYPE_SHIFT == 3 || (4..6).contains(&((control & LINK) >> LINK_SHIFT)));
            }
            for [_, control] in hardware.watchpoints() {
                prop_assert!(control & (HIGHER | 3 << 14) == 0);
                prop_assert!(control >> TYPE_SHIFT & 1 == 0 || (4..6).contains(&((control & LINK) >> LINK_SHIFT)));
            }
            prop_assert_eq!(hardware.control & !CONTROL, 0);
        }
    }
}
