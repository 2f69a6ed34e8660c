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
    let asked = boot::get_handle_for_protocol::<Rng>()
        .and_then(boot::open_protocol_exclusive::<Rng>)
        .and_then(|mut rng| rng.get_rng(None, &mut seed));
    match asked {
        Ok(()) => seed.into_iter().collect(),
        Err(error) => {
            println!("bale: the firmware has no random numbers ({:?})", error.status());
            Vec::new()
        }
    }
}
