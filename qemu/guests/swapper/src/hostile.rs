//! Calls with wrong arguments, and what must come back.

use bale_abi::{
    CALLS, CONSOLE_LIMIT, CONSOLE_WRITE, GuestInfo, INFO_BASE, INVALID_PARAMETER, NO_SUCH_SLOT,
    NOT_SUPPORTED, PAGES_BASE, RAM_BASE, REPORT, REVISION_MAJOR, SUCCESS, SWAP_FREE, SWAP_IN,
    SWAP_OUT, UID, VENDOR_REVISION, VENDOR_UID, report,
};

use crate::call::{self, Page};
use crate::checks::Checks;
use crate::entry::Static;

static PAGE: Static<Page> = Static::new(Page([0; 4096]));

pub(crate) fn run(info: &GuestInfo) -> ! {
    let page = PAGE.borrow();
    let good = core::ptr::from_mut(page) as u64;
    let (slots, beyond) = (info.slots, RAM_BASE + info.ram_size);
    let mut checks = Checks::new();
    let bad_addresses = [
        0,
        good + 1,
        good + 2048,
        beyond,
        beyond - 1,
        PAGES_BASE + info.pages * 4096,
        INFO_BASE - 4096,
        1 << 39,
        1 << 40,
        !0xfff,
        u64::MAX,
    ];
    for function in [SWAP_OUT, SWAP_IN].map(u64::from) {
        for slot in [slots, slots + 1, 1 << 32, u64::MAX] {
            checks.expect(function, [slot, good, 0], NO_SUCH_SLOT);
        }
        for address in bad_addresses {
            checks.expect(function, [0, address, 0], INVALID_PARAMETER);
        }
    }
    // Read-only memory can be stored from and not be read into.
    for address in [INFO_BASE, PAGES_BASE] {
        checks.expect(SWAP_OUT.into(), [1, address, 0], SUCCESS);
        checks.expect(SWAP_IN.into(), [1, address, 0], INVALID_PARAMETER);
    }
    for (first, count) in [
        (slots, 1),
        (0, slots + 1),
        (slots - 1, 2),
        (1, u64::MAX),
        (u64::MAX, u64::MAX),
        (u64::MAX, 1),
    ] {
        checks.expect(SWAP_FREE.into(), [first, count, 0], NO_SUCH_SLOT);
    }
    checks.expect(SWAP_FREE.into(), [0, slots, 0], SUCCESS);
    checks.expect(SWAP_FREE.into(), [0, 0, 0], SUCCESS);
    for (address, length) in [
        (good, CONSOLE_LIMIT + 1),
        (beyond, 1),
        (beyond - 1, 2),
        (u64::MAX, 2),
        (0, 1),
        (good, u64::MAX),
    ] {
        checks.expect(CONSOLE_WRITE.into(), [address, length, 0], INVALID_PARAMETER);
    }
    for key in [0, report::KEYS as u64 + 1, u64::MAX] {
        checks.expect(REPORT.into(), [key, 1, 0], INVALID_PARAMETER);
    }
    // Functions that nobody has: other owners, neighbours of ours, SMCCC queries of things not
    // offered.
    for function in [
        0,
        1,
        0x8000_7fff,
        0x8400_00ff,
        0xc200_000b,
        0xc600_000f,
        0xc600_0024,
        0xc700_0000,
        0xffff_ffff,
    ] {
        checks.expect(function, [good, good, good], NOT_SUPPORTED);
    }
    // Every number of the range that ours are in, 32-bit and 64-bit: those that are not ours change
    // nothing but the status.
    for function in (0x8600_0000..=0x8600_ffff).chain(0xc600_0000..=0xc600_ffff) {
        if !CALLS.contains(&function) {
            checks.holds(call::raw(function.into(), [good, 1, 2]) == [NOT_SUPPORTED, good, 1, 2]);
        }
    }
    let uid = call::raw(VENDOR_UID.into(), [0; 3]);
    let revision = call::raw(VENDOR_REVISION.into(), [0; 3]);
    checks.holds(uid == UID.map(u64::from));
    checks.holds(revision[0] == REVISION_MAJOR);
    checks.pass()
}
