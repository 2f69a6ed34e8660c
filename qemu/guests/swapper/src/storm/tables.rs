//! Translation tables that change under their own feet: entries of every kind for addresses that
//! this program does not use, tables that lie outside of its memory, in devices or in themselves,
//! with and without maintenance, and reads through them.

use core::arch::asm;

use bale_abi::{RAM_BASE, RAM_SIZE};

use super::Random;
use crate::entry;

/// Entries of the root that the program itself stands on: a gigabyte each.
const OWN: u64 = 8;

/// Where a table or a block may be.
fn place(random: &mut Random, root: u64) -> u64 {
    match random.below(8) {
        0 => random.value(),
        1 => root,
        2 => [0x0800_0000, 0x080a_0000, 0x0900_0000, 0x0a00_0000][random.below(4) as usize],
        3 => RAM_BASE + RAM_SIZE + random.below(1 << 30),
        4 => random.below(1 << 48),
        // The end of memory, whose words are what this writes there.
        _ => RAM_BASE + RAM_SIZE - (random.below(32) + 1) * 4096,
    }
}

fn descriptor(random: &mut Random, root: u64) -> u64 {
    let place = place(random, root) & 0xffff_ffff_f000;
    let attributes = random.next() & 0xfff0_0000_0000_0ffc;
    place | attributes | random.below(4)
}

/// Writes an entry of the root, or of a table at the end of memory, and reads through some of them.
pub(super) fn step(random: &mut Random) {
    let root = entry::table_address();
    let at = if random.below(2) == 0 {
        root + 8 * (OWN + random.below(512 - OWN))
    } else {
        RAM_BASE + RAM_SIZE - (random.below(32) + 1) * 4096 + 8 * random.below(512)
    };
    let value = descriptor(random, root);
    // SAFETY: an entry for addresses that are not used, or a word at the end of memory, where
    // nothing of this program is.
    unsafe { asm!("str {0}, [{1}]", in(reg) value, in(reg) at) };
    if random.below(4) != 0 {
        // SAFETY: maintenance changes nothing that the program can see.
        unsafe { asm!("dsb ish", "tlbi vmalle1is", "dsb ish", "isb") };
    }
    let address = (OWN + random.below(512 - OWN)) << 30 | random.below(1 << 30);
    #[expect(
        clippy::multiple_unsafe_ops_per_block,
        reason = "one of six reads, all safe for one reason"
    )]
    // SAFETY: reads only, to a register that is thrown away; what faults is skipped by the vectors.
    unsafe {
        match random.below(6) {
            0 => asm!("ldrb {0:w}, [{1}]", out(reg) _, in(reg) address),
            1 => asm!("ldr {0}, [{1}]", out(reg) _, in(reg) address & !7),
            2 => asm!("ldp {0}, {2}, [{1}]", out(reg) _, in(reg) address & !7, out(reg) _),
            3 => asm!("at s1e1r, {0}", "isb", in(reg) address),
            4 => asm!("dc cvac, {0}", in(reg) address),
            _ => asm!("ldxr {0}, [{1}]", out(reg) _, in(reg) address & !7),
        }
    }
}
