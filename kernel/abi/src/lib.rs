//! The interface between Bale and the small guests that know it: hypercalls, memory layout,
//! start-up page.
//!
//! # Calls
//!
//! `HVC #0` with an SMCCC function identifier in w0 (Arm DEN 0028, vendor-specific hypervisor
//! service, fast calls, 64-bit convention but for the two discovery calls). Arguments are in x1,
//! x2, ...; the result is in x0, and x1 to x3 where a call says so. Other registers keep their
//! values. PSCI (DEN 0022) is answered beside them.
//!
//! | call | arguments | result in x0 |
//! |---|---|---|
//! | [`VENDOR_UID`] | | x0 to x3: [`UID`] |
//! | [`VENDOR_REVISION`] | | x0: [`REVISION_MAJOR`], x1: [`REVISION_MINOR`] |
//! | [`SWAP_INFO`] | | x0: [`SUCCESS`], x1: slots, x2: slots that hold something |
//! | [`SWAP_OUT`] | slot, IPA of a page | status: the page is stored, the caller may reuse it |
//! | [`SWAP_IN`] | slot, IPA of a page | status: the page holds what was stored, zeroes if nothing was |
//! | [`SWAP_FREE`] | first slot, count | status, x1: slots that held something |
//! | [`CONSOLE_WRITE`] | IPA, length (at most [`CONSOLE_LIMIT`]) | status: the text is on the hypervisor's console; [`NOT_SUPPORTED`] for a machine with devices |
//! | [`REPORT`] | key ([`report`]), value | status: the hypervisor shows the figure with the guest |
//! | [`EXITS`] | | status, x1: exits of the calling virtual CPU up to this call |
//! | [`EXIT`] | exit status, 0 for success | does not return: the guest is stopped and all it stored is released |
//!
//! A page is 4096 bytes at a 4096-aligned IPA inside the guest's memory; for [`SWAP_IN`] it must be
//! writable. Anything else is refused with a status and changes nothing.
//!
//! # Registers of a machine with devices
//!
//! User space of a guest cannot call (`HVC` is undefined at EL0), but may map a page of registers.
//! Its address is in the device tree, in the node that is compatible with `bale,report`. Registers
//! have 64 bits; other accesses are external aborts.
//!
//! | offset | | value |
//! |---|---|---|
//! | [`register::SWAP_USED_KIB`] | read, write | what the guest takes for in use on its swap disk; all ones before it says so |
//! | [`register::SWAP_STORED_KIB`] | read | what is stored on it |
//!
//! # Memory of a small guest
//!
//! | IPA | what |
//! |---|---|
//! | [`RAM_BASE`] | [`RAM_SIZE`] bytes of RAM; the image is loaded at its start plus the image's text offset |
//! | [`INFO_BASE`] | one read-only page with a [`GuestInfo`]; its address is in x0 at entry |
//! | [`PAGES_BASE`] | the captured pages, read-only |
#![no_std]
#![forbid(unsafe_code)]

/// Asks whose hypervisor this is (DEN 0028, 6.2).
pub const VENDOR_UID: u32 = 0x8600_ff01;
/// Asks for the revision of this interface.
pub const VENDOR_REVISION: u32 = 0x8600_ff03;
/// Size and use of the guest's swap device.
pub const SWAP_INFO: u32 = 0xc600_0010;
/// Stores a page.
pub const SWAP_OUT: u32 = 0xc600_0011;
/// Reads a page back; the slot keeps it.
pub const SWAP_IN: u32 = 0xc600_0012;
/// Releases a run of slots.
pub const SWAP_FREE: u32 = 0xc600_0013;
/// Prints text.
pub const CONSOLE_WRITE: u32 = 0xc600_0020;
/// Hands over a figure.
pub const REPORT: u32 = 0xc600_0021;
/// Ends the guest.
pub const EXIT: u32 = 0xc600_0022;
/// How often the calling virtual CPU has left for the hypervisor.
pub const EXITS: u32 = 0xc600_0023;

/// All of the calls.
pub const CALLS: [u32; 10] = [
    VENDOR_UID,
    VENDOR_REVISION,
    SWAP_INFO,
    SWAP_OUT,
    SWAP_IN,
    SWAP_FREE,
    CONSOLE_WRITE,
    REPORT,
    EXIT,
    EXITS,
];

/// Bale's identity, as the four words of [`VENDOR_UID`]: 6b1d5b5e-3c43-4d5f-9a5e-62616c650001.
pub const UID: [u32; 4] = [0x5e5b_1d6b, 0x5f4d_433c, 0x6162_5e9a, 0x0100_656c];
/// A change of this number breaks guests.
pub const REVISION_MAJOR: u64 = 1;
/// A change of this number adds calls.
pub const REVISION_MINOR: u64 = 1;

/// Done.
pub const SUCCESS: u64 = 0;
/// No such function (the value that the SMCCC lays down).
pub const NOT_SUPPORTED: u64 = u64::MAX;
/// An argument is wrong: a misaligned or foreign address, a length beyond the limit, an unknown
/// key.
pub const INVALID_PARAMETER: u64 = -3i64 as u64;
/// The device has no such slot.
pub const NO_SUCH_SLOT: u64 = -16i64 as u64;
/// There is no memory to store the page in; the page was not taken, the slot keeps what it had.
pub const STORE_FULL: u64 = -17i64 as u64;
/// What was stored cannot be read back.
pub const STORE_CORRUPT: u64 = -18i64 as u64;
/// The slot is in use by somebody else at this moment; try again.
pub const STORE_BUSY: u64 = -19i64 as u64;

/// Bytes that one [`CONSOLE_WRITE`] takes at most.
pub const CONSOLE_LIMIT: u64 = 256;

/// Keys of [`REPORT`].
pub mod report {
    /// Pages swapped out.
    pub const PAGES_OUT: u64 = 1;
    /// Pages read back and equal to the original, byte for byte.
    pub const PAGES_EQUAL: u64 = 2;
    /// Bytes that differed.
    pub const BYTES_LOST: u64 = 3;
    /// Checks of a test guest that held.
    pub const CHECKS_PASSED: u64 = 4;
    /// Number of the first check that did not hold.
    pub const CHECK_FAILED: u64 = 5;
    /// First of the figures of [`mode::MEASURE`](super::mode::MEASURE): see
    /// [`measure`](super::measure).
    pub const MEASURED: u64 = 6;
    /// Number of keys; they start at 1.
    pub const KEYS: usize = 5 + super::measure::FIGURES;
}

/// Registers of a machine with devices: offsets in their page.
pub mod register {
    /// KiB of its swap disk that the guest takes for in use.
    pub const SWAP_USED_KIB: u64 = 0;
    /// KiB that are stored on the disk. More than are in use: of some slots nobody has said that
    /// they are free.
    pub const SWAP_STORED_KIB: u64 = 8;
    /// What [`SWAP_USED_KIB`] reads as before it is written.
    pub const UNKNOWN: u64 = u64::MAX;

    /// What an access to them is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Access {
        /// [`SWAP_USED_KIB`] is written.
        SetSwapUsed(u64),
        /// [`SWAP_USED_KIB`] is read.
        SwapUsed,
        /// [`SWAP_STORED_KIB`] is read.
        SwapStored,
    }

    impl Access {
        /// An access of `width` bytes, with what is written; `None` for one that gives an external
        /// abort.
        pub const fn of(offset: u64, width: u8, write: Option<u64>) -> Option<Self> {
            match (offset, width, write) {
                (SWAP_USED_KIB, 8, Some(kib)) => Some(Self::SetSwapUsed(kib)),
                (SWAP_USED_KIB, 8, None) => Some(Self::SwapUsed),
                (SWAP_STORED_KIB, 8, None) => Some(Self::SwapStored),
                _ => None,
            }
        }
    }
}

/// Where RAM starts, as on QEMU's `virt` machine.
pub const RAM_BASE: u64 = 0x4000_0000;
/// Bytes of RAM.
pub const RAM_SIZE: u64 = 2 << 20;
/// Where the start-up page is.
pub const INFO_BASE: u64 = 0x0700_0000;
/// Where the captured pages start.
pub const PAGES_BASE: u64 = 0x1_0000_0000;

/// What the guest is to do: see the guest's own page.
pub mod mode {
    /// Swap every page out and in again, verify, leave most of it stored.
    pub const SWAP: u64 = 0;
    /// Read outside of its memory.
    pub const STRAY: u64 = 1;
    /// Write to a read-only page.
    pub const WRITE_READ_ONLY: u64 = 2;
    /// Make calls with wrong arguments and check what comes back.
    pub const HOSTILE: u64 = 3;
    /// Execute instructions that are undefined and read registers that are hidden, and report that
    /// its own vector saw each.
    pub const UNDEFINED: u64 = 4;
    /// Never end.
    pub const ENDLESS: u64 = 5;
    /// Storm on everything that traps, with several virtual CPUs, as a machine with devices.
    pub const STORM: u64 = 6;
    /// Report what calls, trapped registers, interrupts and the swap disk cost
    /// ([`measure`](super::measure)), as a machine with devices.
    pub const MEASURE: u64 = 7;
    /// Storm on registers of devices and addresses of none, in every width.
    pub const STORM_DEVICES: u64 = 8;
    /// Storm on system registers.
    pub const STORM_REGISTERS: u64 = 9;
    /// Wild PSCI calls, and calls of everybody.
    pub const STORM_FIRMWARE: u64 = 10;
    /// Interrupts to virtual CPUs, those that there are and those that there are not.
    pub const STORM_INTERRUPTS: u64 = 11;
    /// Wild descriptor chains on the swap disk.
    pub const STORM_CHAINS: u64 = 12;
    /// Bale's own calls with wild arguments, as a small guest.
    pub const STORM_CALLS: u64 = 13;
    /// Translation tables that change while they are used.
    pub const STORM_TABLES: u64 = 14;
    /// Sectors of the same blocks of the swap disk, written through several queues at once and read
    /// back.
    pub const STORM_SECTORS: u64 = 15;
    /// First of the storms of one kind.
    pub const FIRST_STORM: u64 = STORM_DEVICES;
    /// Last of them.
    pub const LAST_STORM: u64 = STORM_SECTORS;
    /// Make firmware calls of two virtual CPUs, by HVC and by SMC, and check what comes back, as a
    /// machine with devices.
    pub const FIRMWARE: u64 = 16;
    /// Keep SIMD registers of two virtual CPUs while these and others take turns, as a machine with
    /// devices; so many turns as there are steps, for ever without any.
    pub const SIMD: u64 = 17;
    /// Hand one core from one virtual CPU to the other as often as there are steps, with timers
    /// that must not fire, as a machine with devices.
    pub const TIMERS: u64 = 18;
    /// Debug itself at EL1 with every breakpoint and watchpoint and by steps, beside a virtual CPU
    /// that does not, as a machine with devices.
    pub const DEBUG: u64 = 19;
    /// Keep patterns in every system register that can be reached, and look what is left of them,
    /// as a machine with devices; without any steps print which can be reached, and no more.
    pub const REGISTERS: u64 = 20;
    /// Use the physical timers of two virtual CPUs on one core so many rounds as there are steps,
    /// as a machine with devices.
    pub const PHYSICAL_TIMER: u64 = 21;
    /// Use the performance monitors of two virtual CPUs on one core so many rounds as there are
    /// steps, as a machine with devices.
    pub const MONITORS: u64 = 22;
    /// Reach a device's registers by every form of load and store, as a machine with devices.
    pub const ACCESSES: u64 = 23;
    /// Set the alarm of the clock of the day and wait for it, as a machine with devices.
    pub const ALARM: u64 = 24;
    /// Look at the virtual counter and its timer with two virtual CPUs on one core, for ever, as a
    /// machine with devices: the largest step in milliseconds is reported as
    /// [`report::MEASURED`](super::report::MEASURED).
    pub const STANDING: u64 = 25;
    /// Want all of a core for ever, with eight virtual CPUs that each spin for so many microseconds
    /// as there are steps between two short rests, or without rest.
    pub const CROWD: u64 = 26;
    /// Report for how long it runs at a stretch beside another machine of the mode, and for how
    /// long it does not ([`turns`](super::turns)), as a machine with devices.
    pub const TURNS: u64 = 27;
    /// Largest of the modes.
    pub const LAST: u64 = TURNS;
}

/// What a guest in [`mode::MEASURE`] reports: figures in hundredths of a nanosecond of its own
/// counter for each operation, those of its loop included, under [`report::MEASURED`] plus these
/// places. Both of its virtual CPUs are on one core.
pub mod measure {
    /// A hypercall and back.
    pub const HYPERCALL: usize = 0;
    /// A call of PSCI and back.
    pub const FIRMWARE_CALL: usize = 1;
    /// Read of an identification register.
    pub const IDENTIFICATION: usize = 2;
    /// Read of an emulated device's register.
    pub const DEVICE_REGISTER: usize = 3;
    /// An interrupt to itself, sent, taken and ended.
    pub const SELF_INTERRUPT: usize = 4;
    /// From the sending of an interrupt to another virtual CPU, which waits, to the first
    /// instruction of its handler; with what the sender does until it waits itself, and the switch.
    pub const INTERRUPT: usize = 5;
    /// From the virtual timer's deadline to the first instruction of the handler, while the guest
    /// runs.
    pub const TIMER: usize = 6;
    /// The same while it waits.
    pub const TIMER_WAITING: usize = 7;
    /// A page written to the swap disk, in batches of [`BATCH`]: notification, interrupt and its
    /// acknowledgement included.
    pub const DISK_WRITE: usize = 8;
    /// Hundredths of exits for each end of an interrupt: half of them of the timer, half of one to
    /// itself.
    pub const ENDS: usize = 9;
    /// As [`INTERRUPT`], of virtual CPUs with a breakpoint and a watchpoint each.
    pub const INTERRUPT_DEBUGGING: usize = 10;
    /// As [`INTERRUPT`], of virtual CPUs with two counters of the performance monitors at work.
    pub const INTERRUPT_COUNTING: usize = 11;
    /// How many there are.
    pub const FIGURES: usize = 12;

    /// Slots of its swap disk, of which each is written once as far as there are pages.
    pub const SLOTS: u64 = 1024;
    /// Pages that a notification is for.
    pub const BATCH: u64 = 32;
}

/// What a guest in [`mode::TURNS`] reports, in hundredths of a nanosecond of its own counter, under
/// [`report::MEASURED`] plus these places.
pub mod turns {
    /// The median time that it runs before another machine gets the core.
    pub const STRETCH: u64 = 0;
    /// The median time until it has it back.
    pub const GAP: u64 = 1;
}

/// Virtual CPUs of a guest in [`mode::CROWD`].
pub const CROWD_VCPUS: u64 = 8;
/// Virtual CPUs of a guest in [`mode::STORM`].
pub const STORM_VCPUS: u64 = 4;
/// What they do together unless told otherwise: so many accesses, calls and interrupts.
pub const STORM_STEPS: u64 = 100_000;

/// First word of a [`GuestInfo`]: "BALEGST1" in memory.
pub const INFO_MAGIC: u64 = u64::from_le_bytes(*b"BALEGST1");

/// The start-up page.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestInfo {
    /// [`INFO_MAGIC`].
    pub magic: u64,
    /// One of [`mode`].
    pub mode: u64,
    /// Captured pages at [`PAGES_BASE`].
    pub pages: u64,
    /// Slots of the swap device.
    pub slots: u64,
    /// Bytes of RAM at [`RAM_BASE`].
    pub ram_size: u64,
    /// For choices that should differ from run to run.
    pub seed: u64,
    /// Steps of a storm, of all virtual CPUs together.
    pub steps: u64,
}

impl GuestInfo {
    /// Bytes of the structure in its page.
    pub const SIZE: usize = size_of::<Self>();

    /// The structure as it lies in memory, little-endian.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let words =
            [self.magic, self.mode, self.pages, self.slots, self.ram_size, self.seed, self.steps];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_lie_in_the_vendor_hypervisor_range() {
        for call in CALLS {
            assert_eq!(call >> 31, 1, "{call:#x}: fast call");
            assert_eq!(call >> 24 & 0x3f, 6, "{call:#x}: vendor-specific hypervisor service");
            assert_eq!(call >> 16 & 0xff, 0, "{call:#x}: these bits must be zero");
        }
    }

    #[test]
    fn uid_is_the_one_of_the_text() {
        let bytes: [u8; 16] = core::array::from_fn(|at| UID[at / 4].to_le_bytes()[at % 4]);
        assert_eq!(u128::from_be_bytes(bytes), 0x6b1d5b5e_3c43_4d5f_9a5e_62616c650001);
    }

    #[test]
    fn statuses_differ() {
        let all = [
            SUCCESS,
            NOT_SUPPORTED,
            INVALID_PARAMETER,
            NO_SUCH_SLOT,
            STORE_FULL,
            STORE_CORRUPT,
            STORE_BUSY,
        ];
        for (at, status) in all.iter().enumerate() {
            assert!(!all[..at].contains(status));
        }
    }

    #[test]
    fn every_offset_and_width_of_the_registers() {
        use register::Access;
        for (offset, width) in
            (0..4096 + 16).flat_map(|offset| (0..=16).map(move |width| (offset, width)))
        {
            for kib in [0, 4, u64::MAX] {
                let written = (offset == 0 && width == 8).then_some(Access::SetSwapUsed(kib));
                assert_eq!(Access::of(offset, width, Some(kib)), written, "{offset:#x} {width}");
            }
            let read = match (offset, width) {
                (0, 8) => Some(Access::SwapUsed),
                (8, 8) => Some(Access::SwapStored),
                _ => None,
            };
            assert_eq!(Access::of(offset, width, None), read, "{offset:#x} {width}");
        }
        assert_eq!(Access::of(1 << 32, 8, None), None);
    }

    #[test]
    fn info_is_laid_out_as_declared() {
        let info = GuestInfo {
            magic: INFO_MAGIC,
            mode: 1,
            pages: 2,
            slots: 3,
            ram_size: 4,
            seed: 5,
            steps: 6,
        };
        assert_eq!(&info.to_bytes()[..8], b"BALEGST1");
        assert_eq!(info.to_bytes()[core::mem::offset_of!(GuestInfo, seed)], 5);
    }
}
