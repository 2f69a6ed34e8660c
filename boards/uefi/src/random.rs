//! Random numbers of the firmware's (UEFI 2.10, 37.5: EFI_RNG_PROTOCOL).

use heapless::Vec;
use uefi::proto::rng::Rng;
use uefi::{boot, println};

/// Bytes that are asked for: as much as the generator's state is worth, twice.
const SEED: usize = 64;

/// Some, for the kernel; none where the firmware has none, which is said, and which the kernel
/// makes up for.
pub(crate) fn seed() -> Vec<u8, SEED> {
    let mut seed = [0; SEED];
    match fill(&mut seed) {
        Ok(()) => seed.into_iter().collect(),
        Err(error) => {
            println!("bale: the firmware has no random numbers ({:?})", error.status());
            Vec::new()
        }
    }
}

/// One for the loader itself, which is no part of the kernel's; none where the firmware has none.
pub(crate) fn number() -> Option<u64> {
    let mut number = [0; 8];
    fill(&mut number).ok().map(|()| u64::from_le_bytes(number))
}

fn fill(bytes: &mut [u8]) -> uefi::Result {
    boot::get_handle_for_protocol::<Rng>()
        .and_then(boot::open_protocol_exclusive::<Rng>)
        .and_then(|mut rng| rng.get_rng(None, bytes))
}
