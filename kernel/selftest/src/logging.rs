//! The log: that a core's ring, once it is full, holds the end of it and counts the rest.

use super::{Verdict, ensure};
use bale_io::log;
use bale_rt::cores;

/// More than a ring holds, however short they are.
const FRAMES: u32 = 1000;

/// Leaves this core's ring full of frames with numbers, the last of which is [`FRAMES`].
pub(super) fn a_full_ring_drops_its_oldest() -> Verdict {
    let streaming = log::streaming();
    // Nobody takes any.
    log::set_streaming(false);
    let verdict = overfill();
    log::set_streaming(streaming);
    verdict
}

fn overfill() -> Verdict {
    let core = cores::this_unpinned().index();
    let before = log::counts(core);
    for number in 1..=FRAMES {
        // At whatever level the kernel was built.
        defmt::println!("frame {=u32} of a full ring", number);
    }
    let after = log::counts(core);
    let (logged, dropped) = (after.logged - before.logged, after.dropped - before.dropped);
    ensure!(logged >= u64::from(FRAMES), "{logged} of {FRAMES} frames were logged");
    ensure!(dropped > 0, "nothing was dropped");
    let (waited, waiting) = (before.waiting.frames, after.waiting);
    ensure!(
        dropped == waited + logged - waiting.frames,
        "{dropped} frames count as dropped; {logged} came to {waited}, and {} wait",
        waiting.frames
    );
    let room = log::RING - waiting.bytes;
    ensure!(room <= log::LONGEST_FRAME, "{room} bytes are free in a full ring");
    Ok(())
}
