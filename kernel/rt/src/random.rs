//! Random numbers: gathered once at boot, drawn by whoever needs a seed.
//!
//! [`bale_core::entropy`] says what they are made of and why in this order.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_arch::{random, timer};
use bale_core::device_tree::take_seeds;
use bale_core::entropy::{ENOUGH_BITS, Found, Gathering, Key, Source, least_bits};
use spin::Once;

/// Samples of jitter that are taken at once.
const SAMPLES: usize = 128;
/// How often they are taken at most, while there is not enough.
const ROUNDS: usize = 16;
/// Numbers of the core, at boot and at each draw.
const FROM_CORE: usize = 4;

static KEY: Once<(Key, Found)> = Once::new();
/// Draws so far.
static DRAWN: AtomicU64 = AtomicU64::new(0);

/// Gathers what there is: the counter, the core's own random numbers, the firmware's from its tree,
/// where they are wiped, and the jitter of the core. Once, on the boot core; a second call changes
/// nothing.
#[inline(never)]
pub fn gather(tree: &mut [u8]) {
    let mut gathering = Gathering::new();
    let mut found = Found::default();
    gathering.add(Source::Counter, &timer::now().to_le_bytes());
    for number in (0..FROM_CORE).filter_map(|_| random::number()) {
        found.core = true;
        gathering.add(Source::Core, &number.to_le_bytes());
    }
    found.firmware = take_seeds(tree, |seed| gathering.add(Source::Firmware, seed));
    let mut samples = [0; SAMPLES];
    for _ in 0..ROUNDS {
        random::jitter(&mut samples);
        for sample in &samples {
            gathering.add(Source::Jitter, &sample.to_le_bytes());
        }
        found.jitter += least_bits(&mut samples);
        // Twice as much, since the most frequent value does not tell everything.
        if found.jitter >= 2 * ENOUGH_BITS {
            break;
        }
    }
    KEY.call_once(|| (gathering.finish(), found));
}

/// What was gathered; `None` before that.
pub fn found() -> Option<Found> {
    KEY.get().map(|(_, found)| *found)
}

/// Fills bytes with random numbers, which nobody else has and which say nothing about any others.
///
/// # Panics
/// Before boot has gathered anything.
pub fn fill(into: &mut [u8]) {
    let Some((key, _)) = KEY.get() else { panic!("random numbers before boot gathered any") };
    let mut fresh = [[0; 8]; 1 + FROM_CORE];
    fresh[0] = timer::now().to_le_bytes();
    for (place, number) in fresh[1..].iter_mut().zip(core::iter::from_fn(random::number)) {
        *place = number.to_le_bytes();
    }
    // Relaxed: no two draws have the same number, and nothing else is said by it.
    key.draw(DRAWN.fetch_add(1, Ordering::Relaxed), fresh.as_flattened(), into);
}
