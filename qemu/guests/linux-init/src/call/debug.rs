//! Debugging another process, and counters of events: ptrace(2), perf_event_open(2)
//! (linux/ptrace.h, uapi/asm/ptrace.h of arm64, linux/perf_event.h).

use core::arch::global_asm;
use core::ffi::CStr;

use super::{Child, File, call, number};
use crate::print::Failure;

const SIGTRAP: u32 = 5;
const SIGSTOP: usize = 19;

const TRACE_ME: usize = 0;
const CONTINUE: usize = 7;
const SINGLE_STEP: usize = 9;
const GET_SET: usize = 0x4204;
const SET_SET: usize = 0x4205;
const GENERAL: usize = 1;
const HARDWARE_BREAK: usize = 0x402;
const HARDWARE_WATCH: usize = 0x403;

/// Break- or watchpoints that the architecture allows.
const MOST: usize = 16;

global_asm!(
    // What is stepped: five instructions in a circle, one of which reads a device's register.
    ".globl init_circle",
    "init_circle:",
    "    add x9, x9, #1",
    "    mrs x10, cntvct_el0",
    "    ldr x11, [x0]",
    "    cmp x9, x10",
    "    b init_circle",
    // What breakpoints and uprobes are set on: one instruction for each, and a return.
    ".globl init_row",
    "init_row:",
    ".rept 16",
    "    add x0, x0, #1",
    ".endr",
    "    ret",
);

unsafe extern "C" {
    fn init_circle(register: *const u64) -> !;
    safe fn init_row(start: u64) -> u64;
}

/// Instructions of the circle, from its first address.
pub(crate) const CIRCLE: u64 = 5;

/// Where the circle begins.
pub(crate) fn circle() -> u64 {
    (init_circle as *const ()).expose_provenance() as u64
}

/// Where the row begins.
pub(crate) fn row() -> u64 {
    (init_row as *const ()).expose_provenance() as u64
}

/// Goes through the row, whose every instruction adds one.
pub(crate) fn go_along_the_row(start: u64) -> u64 {
    init_row(start)
}

/// Goes round for ever.
pub(crate) fn go_in_circles(register: &super::Registers) -> ! {
    // SAFETY: reads a register of the page that was mapped, and changes registers that the call may
    // change.
    unsafe { init_circle(register.0.cast_const()) }
}

/// Writes each of these words, from the first, which a debugger may look at.
pub(crate) fn write_each(words: &mut [u64]) {
    for word in words {
        // SAFETY: a word that is borrowed for writing.
        unsafe { (&raw mut *word).write_volatile(1) };
    }
}

/// From here on the parent debugs this process, which stops.
pub(crate) fn be_debugged() -> Result<(), Failure> {
    // SAFETY: no memory is touched.
    unsafe { call(number::PTRACE, [TRACE_ME, 0, 0, 0, 0, 0]) }
        .map_err(Failure::call("ptrace", c""))?;
    // SAFETY: as above.
    let own = unsafe { call(number::GETPID, [0; 6]) }.map_err(Failure::call("getpid", c""))?;
    // SAFETY: as above.
    unsafe { call(number::KILL, [own, SIGSTOP, 0, 0, 0, 0]) }
        .map(drop)
        .map_err(Failure::call("kill", c""))
}

/// `struct user_hwdebug_state` of arm64.
#[repr(C)]
struct Points {
    about: u32,
    unused: u32,
    points: [(u64, u32, u32); MOST],
}

#[repr(C)]
struct Vector {
    base: usize,
    length: usize,
}

/// Which hardware points.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Break,
    Watch,
}

impl Kind {
    fn set(self) -> usize {
        match self {
            Self::Break => HARDWARE_BREAK,
            Self::Watch => HARDWARE_WATCH,
        }
    }

    /// Enabled, at EL0: four bytes that are executed, or eight that are written.
    fn control(self) -> u32 {
        match self {
            Self::Break => 1 | 2 << 1 | 0xf << 5,
            Self::Watch => 1 | 2 << 1 | 2 << 3 | 0xff << 5,
        }
    }
}

impl Child {
    fn ptrace(&self, request: usize, set: usize, data: usize) -> Result<usize, Failure> {
        // SAFETY: `data` is 0, or a vector whose memory the callers own for as long as it says.
        unsafe { call(number::PTRACE, [request, self.0, set, data, 0, 0]) }
            .map_err(Failure::call("ptrace", c""))
    }

    /// Waits until it stops for a trap, or for the first time.
    pub(crate) fn wait_for_stop(&self) -> Result<(), Failure> {
        let mut status = 0_u32;
        // SAFETY: the call writes four bytes, which are there.
        unsafe { call(number::WAIT4, [self.0, (&raw mut status).addr(), 0, 0, 0, 0]) }
            .map_err(Failure::call("wait4", c""))?;
        match (status & 0xff, status >> 8) {
            (0x7f, SIGTRAP) => Ok(()),
            (0x7f, signal) if signal as usize == SIGSTOP => Ok(()),
            _ => Err(Failure::Child(status)),
        }
    }

    /// Executes one instruction of it.
    pub(crate) fn step(&self) -> Result<(), Failure> {
        self.ptrace(SINGLE_STEP, 0, 0)?;
        self.wait_for_stop()
    }

    /// Lets it go on until it stops again.
    pub(crate) fn go_on(&self) -> Result<(), Failure> {
        self.ptrace(CONTINUE, 0, 0)?;
        self.wait_for_stop()
    }

    /// Address of its next instruction.
    pub(crate) fn place(&self) -> Result<u64, Failure> {
        // x0 to x30, SP, PC, PSTATE.
        let mut registers = [0_u64; 34];
        let vector =
            Vector { base: registers.as_mut_ptr().addr(), length: size_of_val(&registers) };
        self.ptrace(GET_SET, GENERAL, (&raw const vector).addr())?;
        Ok(registers[32])
    }

    /// How many hardware points there are.
    pub(crate) fn count(&self, kind: Kind) -> Result<usize, Failure> {
        let mut points = Points { about: 0, unused: 0, points: [(0, 0, 0); MOST] };
        let vector = Vector { base: (&raw mut points).addr(), length: size_of::<Points>() };
        self.ptrace(GET_SET, kind.set(), (&raw const vector).addr())?;
        Ok((points.about & 0xff) as usize)
    }

    /// Sets hardware points, from the first; the others are off.
    pub(crate) fn set_points(&self, kind: Kind, addresses: &[Option<u64>]) -> Result<(), Failure> {
        let mut points = Points { about: 0, unused: 0, points: [(0, 0, 0); MOST] };
        for (point, address) in points.points.iter_mut().zip(addresses) {
            *point = address.map_or((0, 0, 0), |address| (address, kind.control(), 0));
        }
        let length = size_of::<Points>() - (MOST - addresses.len().min(MOST)) * 16;
        let vector = Vector { base: (&raw const points).addr(), length };
        self.ptrace(SET_SET, kind.set(), (&raw const vector).addr()).map(drop)
    }
}

/// `struct perf_event_attr`, as of PERF_ATTR_SIZE_VER1.
#[repr(C)]
#[derive(Default)]
pub(crate) struct EventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    sample: [u64; 3],
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    config1: u64,
    config2: u64,
}

impl EventAttributes {
    /// An event of this type.
    pub(crate) fn of(kind: u32, config: u64) -> Self {
        Self { kind, config, size: size_of::<Self>() as u32, ..Self::default() }
    }

    /// Turns at this place of a file's code, where `kind` is that of uprobes.
    pub(crate) fn probe(kind: u32, path: &'static CStr, offset: u64) -> Self {
        Self {
            config1: path.as_ptr().expose_provenance() as u64,
            config2: offset,
            ..Self::of(kind, 0)
        }
    }
}

/// Events of this process, counted from now on.
pub(crate) struct Counter(File);

impl Counter {
    /// Opens one that counts.
    pub(crate) fn open(attributes: EventAttributes) -> Result<Self, Failure> {
        let arguments = [(&raw const attributes).addr(), 0, usize::MAX, usize::MAX, 0, 0];
        // SAFETY: the call reads the attributes, which are there, and a text that they may name.
        let result = unsafe { call(number::PERF_EVENT_OPEN, arguments) };
        result.map(|file| Self(File(file))).map_err(Failure::call("perf_event_open", c""))
    }

    /// Events so far.
    pub(crate) fn count(&self) -> Result<u64, Failure> {
        let mut count = [0; 8];
        self.0.read(&mut count)?;
        Ok(u64::from_le_bytes(count))
    }
}
