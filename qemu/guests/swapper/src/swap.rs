//! Every page out, every page back, byte for byte; then most of them are left to the hypervisor.

use bale_abi::{GuestInfo, PAGES_BASE, SUCCESS, report};

use crate::call::{self, Page};
use crate::entry::Static;

static OUT: Static<Page> = Static::new(Page([0; 4096]));
static IN: Static<Page> = Static::new(Page([0; 4096]));

/// Status: the device has fewer slots than there are pages.
const TOO_FEW_SLOTS: u64 = 10;
/// Status: a call was refused.
const REFUSED: u64 = 11;
/// Status: what came back is not what went out.
const LOST: u64 = 12;
/// Status: slots that were released or never written do not read as zeroes, or were counted
/// wrongly.
const BAD_RELEASE: u64 = 13;

/// One captured page.
fn original(index: u64) -> &'static [u8; 4096] {
    // SAFETY: the hypervisor maps `pages` read-only pages from PAGES_BASE on, and the callers stay
    // below that.
    unsafe { &*((PAGES_BASE + index * 4096) as *const [u8; 4096]) }
}

/// Pages are visited in an order that strides through the capture, so that slots and pages of like
/// content do not come in one run. The stride is odd and larger than any small factor; a full cycle
/// when it shares none with the count, which the search for it ensures.
fn stride(count: u64, seed: u64) -> u64 {
    let mut stride = ((seed | 1) % count.max(1)) | 1;
    while greatest_common_divisor(stride, count) != 1 {
        stride += 2;
    }
    stride
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

pub(crate) fn run(info: &GuestInfo) -> ! {
    let (_, slots, _) = call::swap_info();
    if slots < info.pages || info.pages == 0 {
        call::exit(TOO_FEW_SLOTS);
    }
    let out = OUT.borrow();
    let back = IN.borrow();
    let step = stride(info.pages, info.seed);
    let mut at = 0;
    let mut stored = 0;
    for _ in 0..info.pages {
        out.0.copy_from_slice(original(at));
        if call::swap_out(at, out) != SUCCESS {
            let _ = call::report(report::PAGES_OUT, stored);
            call::exit(REFUSED);
        }
        // The frame is reused: what is read back later cannot come from it.
        out.0.fill(0xdb);
        stored += 1;
        at = (at + step) % info.pages;
    }
    let _ = call::report(report::PAGES_OUT, stored);

    let (equal, lost) = verify(info.pages, step, back);
    let _ = call::report(report::PAGES_EQUAL, equal);
    let _ = call::report(report::BYTES_LOST, lost);
    if lost != 0 || equal != info.pages {
        call::exit(LOST);
    }
    if !overwrite_and_release(info.pages, out, back) {
        call::exit(BAD_RELEASE);
    }
    call::exit(0)
}

fn verify(pages: u64, step: u64, back: &mut Page) -> (u64, u64) {
    let (mut equal, mut lost, mut at) = (0, 0, 0);
    for _ in 0..pages {
        back.0.fill(0xbd);
        if call::swap_in(at, back) != SUCCESS {
            lost += 4096;
        } else if back.0 == *original(at) {
            equal += 1;
        } else {
            lost += back.0.iter().zip(original(at)).filter(|(a, b)| a != b).count() as u64;
        }
        at = (at + step) % pages;
    }
    (equal, lost)
}

/// Overwrites every eighth slot with another page, releases a run of slots, and checks both.
fn overwrite_and_release(pages: u64, out: &mut Page, back: &mut Page) -> bool {
    for slot in (0..pages).step_by(8) {
        let other = (slot + 1) % pages;
        out.0.copy_from_slice(original(other));
        if call::swap_out(slot, out) != SUCCESS
            || call::swap_in(slot, back) != SUCCESS
            || back.0 != *original(other)
        {
            return false;
        }
    }
    let run = pages / 4;
    if call::swap_free(0, run) != (SUCCESS, run) || call::swap_free(0, run) != (SUCCESS, 0) {
        return false;
    }
    (0..run)
        .step_by(7)
        .all(|slot| call::swap_in(slot, back) == SUCCESS && back.0.iter().all(|byte| *byte == 0))
        && call::swap_info() == (SUCCESS, call::swap_info().1, pages - run)
}
