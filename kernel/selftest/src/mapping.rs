//! The map of EL2 holds what it promises: W^X, holes below stacks, nothing at address 0.

use super::{Verdict, ensure};
use bale_io::fault::{execute_probe, probe, probe_write};
use bale_memory::{image_sections, stacks};

/// Permission fault at any level, from the fault status code of an abort (DDI 0487, ESR_ELx.ISS).
fn is_permission_fault(syndrome: u64) -> bool {
    (0xc..=0xf).contains(&(syndrome & 0x3f))
}

/// Translation fault at any level.
fn is_translation_fault(syndrome: u64) -> bool {
    (0x4..=0x7).contains(&(syndrome & 0x3f))
}

pub(super) fn code_is_not_writable() -> Verdict {
    refuses_writes("text", 0)
}

pub(super) fn constants_are_not_writable() -> Verdict {
    refuses_writes("rodata", 1)
}

fn refuses_writes(name: &str, section: usize) -> Verdict {
    let address = image_sections()[section].start;
    // SAFETY: if the map failed to protect it, this zeroes the image's first byte or the first
    // constant, and the test fails.
    match unsafe { probe_write(address) } {
        Ok(()) => Err(super::failure(format_args!("{name} was written"))),
        Err(syndrome) => {
            ensure!(is_permission_fault(syndrome), "{name}: no permission fault but {syndrome:#x}");
            Ok(())
        }
    }
}

pub(super) fn data_is_not_executable() -> Verdict {
    // A `ret` in writable memory.
    static CODE: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0xd65f_03c0);
    match execute_probe(CODE.as_ptr() as u64) {
        Ok(()) => Err(super::failure(format_args!("data was executed"))),
        Err(syndrome) => {
            ensure!(is_permission_fault(syndrome), "no permission fault but {syndrome:#x}");
            Ok(())
        }
    }
}

pub(super) fn guard_pages_fault() -> Verdict {
    for (address, length) in stacks::guards() {
        for address in [address, address + length as u64 - 8] {
            match probe(address) {
                Ok(_) => {
                    return Err(super::failure(format_args!(
                        "guard page at {address:#x} was read"
                    )));
                }
                Err(syndrome) => {
                    ensure!(
                        is_translation_fault(syndrome),
                        "{address:#x}: no translation fault but {syndrome:#x}"
                    );
                }
            }
        }
        ensure!(
            probe(address + length as u64).is_ok(),
            "the stack above {address:#x} is not mapped"
        );
    }
    Ok(())
}

pub(super) fn nothing_at_zero() -> Verdict {
    ensure!(probe(0).is_err(), "address 0 is mapped");
    Ok(())
}
