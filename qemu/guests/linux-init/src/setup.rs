//! File systems, kernel modules, swap areas.

use core::ffi::CStr;

use crate::call::{self, File, READ_ONLY, READ_WRITE};
use crate::files;
use crate::print::Failure;

/// Modules to load, a path on each line, in order; the initramfs holds it.
const ORDER: &CStr = c"/modules/order";
/// Give a swap device the pages that it no longer needs (linux/swap.h: SWAP_FLAG_DISCARD).
pub(crate) const DISCARD: usize = 0x1_0000;
/// A device comes up some time after its driver.
const PATIENCE_MS: u64 = 10_000;

/// Mounts what the kernel shows of itself.
pub(crate) fn mount() -> Result<(), Failure> {
    call::mount(c"proc", c"/proc")?;
    call::mount(c"sysfs", c"/sys")?;
    call::mount(c"devtmpfs", c"/dev")
}

/// Mounts what programs expect beside that.
pub(crate) fn mount_further() -> Result<(), Failure> {
    call::mount(c"devpts", c"/dev/pts")?;
    call::mount(c"tmpfs", c"/dev/shm")?;
    call::mount(c"tmpfs", c"/tmp")?;
    call::mount(c"tmpfs", c"/run")
}

/// Loads the modules.
pub(crate) fn load_modules() -> Result<(), Failure> {
    let mut buffer = [0; 4096];
    for name in files::text(ORDER, &mut buffer)?.lines() {
        let mut path = [0; 256];
        let Some(room) = path.get_mut(..name.len()) else {
            return Err(Failure::Content("/modules/order"));
        };
        room.copy_from_slice(name.as_bytes());
        let path =
            CStr::from_bytes_until_nul(&path).map_err(|_| Failure::Content("/modules/order"))?;
        File::open(path, READ_ONLY)?.load_module(path)?;
    }
    Ok(())
}

/// The console that the command line names, where its driver is a module: the kernel had none to
/// give when it started this program.
pub(crate) fn open_console(command_line: &str) -> Result<(), Failure> {
    if command_line.split_ascii_whitespace().any(|word| word == "console=hvc0") {
        device(c"/dev/hvc0", READ_WRITE)?.take_over()?;
    }
    Ok(())
}

/// Opens a device, once it is there.
pub(crate) fn device(path: &CStr, how: usize) -> Result<File, Failure> {
    let mut waited = 0;
    loop {
        match File::open(path, how) {
            Err(Failure::Call(_, _, call::ENOENT)) if waited < PATIENCE_MS => {
                call::sleep_ms(10);
                waited += 10;
            }
            other => return other,
        }
    }
}

/// Makes a swap area of a device (linux/swap.h: union swap_header) and returns its pages, the
/// header left out.
pub(crate) fn make_swap(path: &CStr) -> Result<u64, Failure> {
    const PAGE: usize = linux_init::work::PAGE;
    let disk = device(path, READ_WRITE)?;
    let pages = disk.device_size()? / PAGE as u64;
    let Ok(last) = u32::try_from(pages.saturating_sub(1)) else {
        return Err(Failure::Content("the swap disk"));
    };
    if last == 0 {
        return Err(Failure::Content("the swap disk"));
    }
    let mut header = [0; PAGE];
    header[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    header[1028..1032].copy_from_slice(&last.to_le_bytes());
    header[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    disk.write_at(&header, 0)?;
    disk.sync()?;
    Ok(u64::from(last))
}

/// A number behind a name in a file such as /proc/vmstat, or none.
pub(crate) fn number(path: &CStr, name: &str) -> Result<Option<u64>, Failure> {
    let mut buffer = [0; 8192];
    let text = files::text(path, &mut buffer)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.and_then(|rest| {
        rest.trim_start_matches(':').split_ascii_whitespace().next()?.parse().ok()
    }))
}
