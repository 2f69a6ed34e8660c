//! The map of EL2 holds what it promises: W^X, holes below stacks, nothing at address 0.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::scheduling::eventually;
use super::{Verdict, ensure, failure};
use bale_arch::mmu;
use bale_io::fault::{execute_probe, probe, probe_write};
use bale_memory::{image_sections, map, stacks};
use bale_rt::{cores, task};

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

/// A call that leads past a landing pad is refused where cores have FEAT_BTI and the compiler laid
/// landing pads.
pub(super) fn code_is_entered_at_landing_pads() -> Verdict {
    // Of any function the last instruction: no landing pad, and harmless to call.
    let start = code_is_entered_at_landing_pads as fn() -> Verdict as usize as u64 & !7;
    let ret = (start..start + 0x10000).step_by(8).find_map(|at| {
        let words = probe(at).ok()?;
        match [words & 0xffff_ffff, words >> 32].map(|word| word == 0xd65f_03c0) {
            [true, _] => Some(at),
            [_, true] => Some(at + 4),
            _ => None,
        }
    });
    let Some(ret) = ret else { return Err(failure(format_args!("no function returns"))) };
    match (execute_probe(ret), map::has_landing_pads()) {
        (Err(syndrome), true) => {
            let class = syndrome >> 26 & 0x3f;
            ensure!(class == 0x0d, "no branch target exception but {syndrome:#x}");
            Ok(())
        }
        (Ok(()), false) => Ok(()),
        (Ok(()), true) => Err(failure(format_args!("code was entered anywhere"))),
        (Err(syndrome), false) => Err(failure(format_args!("a call was refused: {syndrome:#x}"))),
    }
}

/// What a descriptor of the map says (DDI 0487, D8.3), and where.
struct Descriptor {
    at: u64,
    value: u64,
    level: u32,
    /// The first address that it is about.
    start: u64,
}

impl Descriptor {
    const ADDRESS: u64 = 0xffff_ffff_f000;

    fn covers(&self) -> u64 {
        1 << (39 - 9 * self.level)
    }

    fn is_valid(&self) -> bool {
        self.value & 1 != 0
    }

    fn is_table(&self) -> bool {
        self.level < 3 && self.value & 3 == 3
    }

    /// AP[2] clear.
    fn is_written(&self) -> bool {
        self.value & 1 << 7 == 0
    }

    /// XN clear.
    fn is_executed(&self) -> bool {
        self.value & 1 << 54 == 0
    }
}

/// Looks at every descriptor that the tables at `table` lead to, as the walker of the core does.
fn walk(
    table: u64,
    level: u32,
    start: u64,
    visit: &mut dyn FnMut(&Descriptor) -> Verdict,
) -> Verdict {
    for index in 0..512 {
        let at = table + index * 8;
        let Ok(value) = probe(at) else {
            return Err(failure(format_args!("the table at {table:#x} cannot be read")));
        };
        let mut descriptor = Descriptor { at, value, level, start };
        descriptor.start += index * descriptor.covers();
        if descriptor.is_valid() {
            visit(&descriptor)?;
            if descriptor.is_table() {
                walk(value & Descriptor::ADDRESS, level + 1, descriptor.start, visit)?;
            }
        }
    }
    Ok(())
}

pub(super) fn no_page_is_written_and_executed() -> Verdict {
    let (root, _) = mmu::map_in_use();
    let [text, constants, ..] = image_sections();
    let (mut pages, mut code) = (0_u64, 0);
    walk(root & Descriptor::ADDRESS, 0, 0, &mut |descriptor| {
        let (start, end) = (descriptor.start, descriptor.start + descriptor.covers());
        if descriptor.is_table() {
            // It limits nothing (APTable, XNTable), so that each page's own bits count.
            ensure!(descriptor.value >> 59 == 0, "a limit in the table of {start:#x}");
            return Ok(());
        }
        pages += 1;
        let to = descriptor.value & Descriptor::ADDRESS & !(descriptor.covers() - 1);
        ensure!(to == start, "{start:#x} leads to {to:#x}, so that something has two addresses");
        ensure!(
            !(descriptor.is_written() && descriptor.is_executed()),
            "{start:#x} is written and executed"
        );
        ensure!(
            !descriptor.is_executed() || text.start <= start && end <= text.end,
            "{start:#x} is executed, and is none of the code"
        );
        ensure!(
            !descriptor.is_written() || end <= text.start || constants.end <= start,
            "{start:#x} is written, and is code or a constant"
        );
        if descriptor.is_executed() {
            code += end - start;
        }
        Ok(())
    })?;
    ensure!(pages > 0 && code == text.end - text.start, "{code} bytes of code in {pages} pages");
    // And nobody changes that: the tables themselves are only read.
    let mut last = 0;
    walk(root & Descriptor::ADDRESS, 0, 0, &mut |descriptor| {
        let table = descriptor.at & !0xfff;
        if core::mem::replace(&mut last, table) == table {
            return Ok(());
        }
        // A descriptor that leads nowhere, of which nothing is lost.
        let empty = (table..table + 4096).step_by(8).find(|at| probe(*at) == Ok(0));
        let Some(at) = empty else { return Ok(()) };
        // SAFETY: a zero where there is one.
        match unsafe { probe_write(at) } {
            Ok(()) => Err(failure(format_args!("the table at {table:#x} was written"))),
            Err(syndrome) => {
                ensure!(is_permission_fault(syndrome), "no permission fault but {syndrome:#x}");
                Ok(())
            }
        }
    })
}

pub(super) fn every_core_refuses_written_code() -> Verdict {
    static WITH: AtomicU64 = AtomicU64::new(0);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn look(root: u64) -> ! {
        let (tables, control) = mmu::map_in_use();
        if tables == root && control == mmu::SYSTEM_CONTROL {
            WITH.fetch_add(1, Ordering::Relaxed);
        }
        // Release: whoever counts this one sees what it found.
        SEEN.fetch_add(1, Ordering::Release);
        task::exit()
    }
    ensure!(mmu::SYSTEM_CONTROL & mmu::WRITE_NEVER_EXECUTE != 0, "WXN is not asked for");
    WITH.store(0, Ordering::Relaxed);
    SEEN.store(0, Ordering::Relaxed);
    let mut asked = 0;
    for core in cores::indexes() {
        ensure!(task::spawn("look", core, task::VCPU, look, map::root()).is_ok(), "no task");
        asked += 1;
    }
    // Acquire: pairs with the release in `look`.
    ensure!(eventually(|| SEEN.load(Ordering::Acquire) == asked), "not every core looked");
    let with = WITH.load(Ordering::Relaxed);
    ensure!(with == asked as u64, "{with} of {asked} cores have the map and WXN");
    Ok(())
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
