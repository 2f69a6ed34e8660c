//! System calls of Linux on arm64 (include/uapi/asm-generic/unistd.h): number in x8, arguments in
//! x0 to x5, `svc #0`, the result in x0, from -4095 to -1 for an error.
//!
//! All unsafe code of this program is here. No thread is ever started, and only this module maps
//! memory.

pub(crate) mod debug;
mod process;

use core::arch::{asm, global_asm};
use core::ffi::CStr;
use core::panic::PanicInfo;

use crate::print::{self, Failure};
use crate::program;

pub(crate) use process::{Child, execute, exit, fork, lead_session, process, reap_until};

global_asm!(
    ".globl _start",
    "_start:",
    "    mov x29, xzr",
    "    mov x30, xzr",
    // The kernel leaves the stack aligned to 16 bytes.
    "    b {start}",
    start = sym start,
);

extern "C" fn start() -> ! {
    program::run()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    print::panic(info);
    power_off()
}

mod number {
    pub(super) const DUP3: usize = 24;
    pub(super) const IOCTL: usize = 29;
    pub(super) const MKDIRAT: usize = 34;
    pub(super) const MOUNT: usize = 40;
    pub(super) const OPENAT: usize = 56;
    pub(super) const CLOSE: usize = 57;
    pub(super) const LSEEK: usize = 62;
    pub(super) const READ: usize = 63;
    pub(super) const WRITE: usize = 64;
    pub(super) const PREAD64: usize = 67;
    pub(super) const PWRITE64: usize = 68;
    pub(super) const FSYNC: usize = 82;
    pub(super) const NANOSLEEP: usize = 101;
    pub(super) const CLOCK_GETTIME: usize = 113;
    pub(super) const KILL: usize = 129;
    pub(super) const REBOOT: usize = 142;
    pub(super) const PTRACE: usize = 117;
    pub(super) const SETSID: usize = 157;
    pub(super) const GETPID: usize = 172;
    pub(super) const PERF_EVENT_OPEN: usize = 241;
    pub(super) const MUNMAP: usize = 215;
    pub(super) const CLONE: usize = 220;
    pub(super) const EXECVE: usize = 221;
    pub(super) const MMAP: usize = 222;
    pub(super) const SWAPON: usize = 224;
    pub(super) const SWAPOFF: usize = 225;
    pub(super) const MLOCK: usize = 228;
    pub(super) const MADVISE: usize = 233;
    pub(super) const WAIT4: usize = 260;
    pub(super) const FINIT_MODULE: usize = 273;
}

const AT_FDCWD: usize = usize::MAX - 99;
const O_CLOEXEC: usize = 0o200_0000;
/// Past the caches, for registers.
const O_SYNC: usize = 0o401_0000;
/// Reads only.
pub(crate) const READ_ONLY: usize = 0;
/// Writes only.
pub(crate) const WRITE_ONLY: usize = 1;
/// Reads and writes.
pub(crate) const READ_WRITE: usize = 2;
/// Past the page cache; arm64 has a number of its own for it.
pub(crate) const DIRECT: usize = 0o20_0000;
/// Frees blocks of a device; takes their start and length in bytes (linux/fs.h: _IO(0x12, 119)).
const BLKDISCARD: usize = 0x1277;
/// Size of a device in bytes (linux/fs.h: _IOR(0x12, 114, size_t)).
const BLKGETSIZE64: usize = 0x8008_1272;
/// Makes a terminal that of the session (asm-generic/ioctls.h).
const TIOCSCTTY: usize = 0x540e;
const MADV_NOHUGEPAGE: usize = 15;
const MADV_PAGEOUT: usize = 21;
/// Not found.
pub(crate) const ENOENT: usize = 2;
/// There already.
pub(crate) const EEXIST: usize = 17;

/// # Safety
/// The call must not break what Rust takes for granted of this process's memory: pointers among the
/// arguments have to be valid for what the call does with them.
unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize, usize> {
    let result: usize;
    // SAFETY: the kernel keeps all registers but x0; the rest is the caller's promise.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") arguments[0] => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            in("x4") arguments[4],
            in("x5") arguments[5],
            options(nostack),
        );
    }
    if result > usize::MAX - 4095 { Err(result.wrapping_neg()) } else { Ok(result) }
}

/// An open file; closed when dropped.
pub(crate) struct File(usize);

impl File {
    /// Opens one.
    pub(crate) fn open(path: &CStr, how: usize) -> Result<Self, Failure> {
        let arguments = [AT_FDCWD, path.as_ptr().addr(), how | O_CLOEXEC, 0, 0, 0];
        // SAFETY: the path ends with a zero and is only read.
        let result = unsafe { call(number::OPENAT, arguments) };
        result.map(Self).map_err(Failure::call("open", path))
    }

    /// Makes it what is read and written where no other file is named.
    pub(crate) fn take_over(self) -> Result<(), Failure> {
        for standard in 0..3 {
            if standard != self.0 {
                // SAFETY: no memory is touched.
                unsafe { call(number::DUP3, [self.0, standard, 0, 0, 0, 0]) }
                    .map_err(Failure::call("dup3", c""))?;
            }
        }
        if self.0 < 3 {
            // It is one of them itself, and stays.
            core::mem::forget(self);
        }
        Ok(())
    }

    /// Makes a terminal the one that this session is controlled from.
    pub(crate) fn control(&self) -> Result<(), Failure> {
        // SAFETY: no memory is touched.
        let result = unsafe { call(number::IOCTL, [self.0, TIOCSCTTY, 0, 0, 0, 0]) };
        result.map(drop).map_err(Failure::call("TIOCSCTTY", c""))
    }

    /// Reads from where the file stands.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<usize, Failure> {
        // SAFETY: the buffer may be written over its whole length.
        let result = unsafe {
            call(number::READ, [self.0, buffer.as_mut_ptr().addr(), buffer.len(), 0, 0, 0])
        };
        result.map_err(Failure::call("read", c""))
    }

    /// Reads a whole buffer from this place.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), Failure> {
        let arguments = [self.0, buffer.as_mut_ptr().addr(), buffer.len(), offset as usize, 0, 0];
        // SAFETY: the buffer may be written over its whole length.
        let result = unsafe { call(number::PREAD64, arguments) };
        whole(result, buffer.len(), "read")
    }

    /// Writes where the file stands.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        // SAFETY: the bytes are only read.
        let result =
            unsafe { call(number::WRITE, [self.0, bytes.as_ptr().addr(), bytes.len(), 0, 0, 0]) };
        whole(result, bytes.len(), "write")
    }

    /// Writes at this place.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Failure> {
        let arguments = [self.0, bytes.as_ptr().addr(), bytes.len(), offset as usize, 0, 0];
        // SAFETY: the bytes are only read.
        let result = unsafe { call(number::PWRITE64, arguments) };
        whole(result, bytes.len(), "write")
    }

    /// Bytes of a regular file.
    pub(crate) fn length(&self) -> Result<u64, Failure> {
        // SAFETY: no memory is touched.
        let result = unsafe { call(number::LSEEK, [self.0, 0, 2, 0, 0, 0]) };
        result.map(|length| length as u64).map_err(Failure::call("lseek", c""))
    }

    /// Bytes of a block device.
    pub(crate) fn device_size(&self) -> Result<u64, Failure> {
        let mut size = 0_u64;
        // SAFETY: the call writes eight bytes, which are there.
        let result =
            unsafe { call(number::IOCTL, [self.0, BLKGETSIZE64, (&raw mut size).addr(), 0, 0, 0]) };
        result.map(|_| size).map_err(Failure::call("BLKGETSIZE64", c""))
    }

    /// Gives up a range of a block device, in bytes.
    pub(crate) fn discard(&self, start: u64, length: u64) -> Result<(), Failure> {
        let range = [start, length];
        // SAFETY: the call reads two numbers, which are there.
        let result =
            unsafe { call(number::IOCTL, [self.0, BLKDISCARD, range.as_ptr().addr(), 0, 0, 0]) };
        result.map(drop).map_err(Failure::call("BLKDISCARD", c""))
    }

    /// Waits until all is written.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        // SAFETY: no memory is touched.
        let result = unsafe { call(number::FSYNC, [self.0, 0, 0, 0, 0, 0]) };
        result.map(drop).map_err(Failure::call("fsync", c""))
    }

    /// Loads the file as a kernel module; one that is there already is no error.
    pub(crate) fn load_module(&self, name: &CStr) -> Result<(), Failure> {
        // SAFETY: the parameters are a text that is only read.
        let result =
            unsafe { call(number::FINIT_MODULE, [self.0, c"".as_ptr().addr(), 0, 0, 0, 0]) };
        match result {
            Err(EEXIST) => Ok(()),
            other => other.map(drop).map_err(Failure::call("finit_module", name)),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is this file's and not used afterwards.
        let _ = unsafe { call(number::CLOSE, [self.0, 0, 0, 0, 0, 0]) };
    }
}

fn whole(result: Result<usize, usize>, length: usize, what: &'static str) -> Result<(), Failure> {
    match result {
        Ok(count) if count == length => Ok(()),
        Ok(_) => Err(Failure::Short(what)),
        Err(error) => Err(Failure::call(what, c"")(error)),
    }
}

/// Writes to the console, as far as that goes.
pub(crate) fn say(bytes: &[u8]) {
    // SAFETY: the bytes are only read.
    let _ = unsafe { call(number::WRITE, [1, bytes.as_ptr().addr(), bytes.len(), 0, 0, 0]) };
}

/// Reads from the console: a line, or a part of one that fills the buffer; how many bytes.
pub(crate) fn hear(buffer: &mut [u8]) -> Result<usize, Failure> {
    // SAFETY: the buffer may be written over its whole length.
    let result =
        unsafe { call(number::READ, [0, buffer.as_mut_ptr().addr(), buffer.len(), 0, 0, 0]) };
    result.map_err(Failure::call("read", c"the console"))
}

/// Mounts a file system that needs no device, on a folder that is made for it.
pub(crate) fn mount(kind: &CStr, folder: &CStr) -> Result<(), Failure> {
    // SAFETY: the path is only read.
    match unsafe { call(number::MKDIRAT, [AT_FDCWD, folder.as_ptr().addr(), 0o755, 0, 0, 0]) } {
        Ok(_) | Err(EEXIST) => {}
        Err(error) => return Err(Failure::call("mkdir", folder)(error)),
    }
    let arguments = [kind.as_ptr().addr(), folder.as_ptr().addr(), kind.as_ptr().addr(), 0, 0, 0];
    // SAFETY: the texts are only read.
    let result = unsafe { call(number::MOUNT, arguments) };
    result.map(drop).map_err(Failure::call("mount", folder))
}

/// Puts a swap device to use, with these flags.
pub(crate) fn swap_on(path: &CStr, flags: usize) -> Result<(), Failure> {
    // SAFETY: the path is only read.
    let result = unsafe { call(number::SWAPON, [path.as_ptr().addr(), flags, 0, 0, 0, 0]) };
    result.map(drop).map_err(Failure::call("swapon", path))
}

/// Takes a swap device out of use.
pub(crate) fn swap_off(path: &CStr) -> Result<(), Failure> {
    // SAFETY: the path is only read.
    let result = unsafe { call(number::SWAPOFF, [path.as_ptr().addr(), 0, 0, 0, 0, 0]) };
    result.map(drop).map_err(Failure::call("swapoff", path))
}

fn clock(id: usize) -> u64 {
    let mut time = [0_u64; 2];
    // SAFETY: the call writes two numbers, which are there.
    let _ = unsafe { call(number::CLOCK_GETTIME, [id, time.as_mut_ptr().addr(), 0, 0, 0, 0]) };
    time[0] * 1_000_000_000 + time[1]
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn now() -> u64 {
    clock(1)
}

/// Nanoseconds since the kernel's start, by CLOCK_BOOTTIME.
pub(crate) fn uptime() -> u64 {
    clock(7)
}

/// Seconds since 1970.
pub(crate) fn time_of_day() -> u64 {
    clock(0) / 1_000_000_000
}

/// Sleeps.
pub(crate) fn sleep_ms(ms: u64) {
    let time = [ms / 1000, ms % 1000 * 1_000_000];
    // SAFETY: the call reads two numbers, which are there.
    let _ = unsafe { call(number::NANOSLEEP, [time.as_ptr().addr(), 0, 0, 0, 0, 0]) };
}

/// Turns the machine off.
pub(crate) fn power_off() -> ! {
    // LINUX_REBOOT_CMD_POWER_OFF.
    end_machine(0x4321_fedc)
}

/// Restarts the machine.
pub(crate) fn reboot() -> ! {
    // LINUX_REBOOT_CMD_RESTART.
    end_machine(0x0123_4567)
}

fn end_machine(how: usize) -> ! {
    // linux/reboot.h: LINUX_REBOOT_MAGIC1, MAGIC2.
    let arguments = [0xfee1_dead, 672_274_793, how, 0, 0, 0];
    loop {
        // SAFETY: no memory is touched.
        let _ = unsafe { call(number::REBOOT, arguments) };
    }
}

/// A page of a device's registers, of 64 bits each.
pub(crate) struct Registers(*mut u64);

impl Registers {
    /// Maps those at a physical address, for good.
    pub(crate) fn map(base: u64) -> Result<Self, Failure> {
        let memory = File::open(c"/dev/mem", READ_WRITE | O_SYNC)?;
        // Readable and writable, shared.
        let arguments = [0, linux_init::work::PAGE, 3, 1, memory.0, base as usize];
        // SAFETY: a new mapping, at a place that the kernel chooses, of a device and no memory.
        let base =
            unsafe { call(number::MMAP, arguments) }.map_err(Failure::call("mmap", c"/dev/mem"))?;
        Ok(Self(core::ptr::with_exposed_provenance_mut(base)))
    }

    /// Reads one.
    pub(crate) fn read(&self, place: usize) -> u64 {
        // SAFETY: a register of the page that was mapped.
        unsafe { self.0.wrapping_add(place).read_volatile() }
    }

    /// Writes one.
    pub(crate) fn write(&self, place: usize, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.wrapping_add(place).write_volatile(value) };
    }
}

/// Anonymous memory, zero at first, in pages of 4 KiB; unmapped when dropped.
pub(crate) struct Region {
    base: *mut u8,
    length: usize,
}

impl Region {
    /// Maps this many bytes, private to the process, without a reservation.
    pub(crate) fn map(length: usize) -> Result<Self, Failure> {
        Self::map_as(length, 0x2 | 0x4000)
    }

    /// Maps this many bytes, shared with the children to come.
    pub(crate) fn shared(length: usize) -> Result<Self, Failure> {
        Self::map_as(length, 0x1)
    }

    fn map_as(length: usize, how: usize) -> Result<Self, Failure> {
        // Readable and writable, anonymous.
        let arguments = [0, length, 3, how | 0x20, usize::MAX, 0];
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let base = unsafe { call(number::MMAP, arguments) }.map_err(Failure::call("mmap", c""))?;
        let region = Self { base: core::ptr::with_exposed_provenance_mut(base), length };
        // A kernel without huge pages refuses, and has none to refuse.
        let _ = region.advise(MADV_NOHUGEPAGE);
        Ok(region)
    }

    /// The bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped over this length until `self` is dropped, and borrowed only through
        // `self`.
        unsafe { core::slice::from_raw_parts_mut(self.base, self.length) }
    }

    /// The memory as numbers.
    pub(crate) fn words(&mut self) -> &mut [u64] {
        let base = core::ptr::with_exposed_provenance_mut(self.base.expose_provenance());
        // SAFETY: as for `bytes`; a mapping begins at a page, and any bytes are a number.
        unsafe { core::slice::from_raw_parts_mut(base, self.length / 8) }
    }

    /// Keeps the memory where it is.
    pub(crate) fn lock(&self) -> Result<(), Failure> {
        // SAFETY: the memory's content stays as it is.
        let result = unsafe { call(number::MLOCK, [self.base.addr(), self.length, 0, 0, 0, 0]) };
        result.map(drop).map_err(Failure::call("mlock", c""))
    }

    /// Asks the kernel to write the memory to swap now.
    pub(crate) fn page_out(&self) -> Result<(), Failure> {
        self.advise(MADV_PAGEOUT)
    }

    fn advise(&self, how: usize) -> Result<(), Failure> {
        // SAFETY: both kinds of advice that are given leave the content as it is.
        let result =
            unsafe { call(number::MADVISE, [self.base.addr(), self.length, how, 0, 0, 0]) };
        result.map(drop).map_err(Failure::call("madvise", c""))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's, and nothing borrows from it any more.
        let _ = unsafe { call(number::MUNMAP, [self.base.addr(), self.length, 0, 0, 0, 0]) };
    }
}
