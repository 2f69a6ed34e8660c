//! Started as a machine with a device tree: does what is asked for in its command line, and turns itself off.

use bale_abi::{RAM_BASE, RAM_SIZE};

use crate::{BAD_INFO, call};

/// In the command line: restart at once, each time.
const RESET: &[u8] = b"bale.reset";
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;
/// First word of a device tree, big-endian.
const TREE_MAGIC: u32 = 0xd00d_feed;
/// Bytes of it that are looked through.
const LOOKED_AT: usize = 4096;

pub(crate) fn run(tree: u64) -> ! {
    // Only a machine of more memory than a small guest's has its tree behind that.
    if !tree.is_multiple_of(8) || tree < RAM_BASE + RAM_SIZE {
        call::exit(BAD_INFO);
    }
    // SAFETY: where the boot protocol puts a device tree, in memory that nothing else of this program is in.
    let bytes = unsafe { &*(tree as *const [u8; LOOKED_AT]) };
    if !bytes.starts_with(&TREE_MAGIC.to_be_bytes()) {
        call::exit(BAD_INFO);
    }
    let resets = bytes.windows(RESET.len()).any(|place| place == RESET);
    let _ = call::raw(if resets { SYSTEM_RESET } else { SYSTEM_OFF }, [0; 3]);
    call::exit(BAD_INFO)
}
