//! Checks that are counted: the number of the first that does not hold is reported, and ends the
//! guest.

use bale_abi::report;

use crate::call;

/// How many were made.
pub(crate) struct Checks {
    done: u64,
}

impl Checks {
    pub(crate) const fn new() -> Self {
        Self { done: 0 }
    }

    /// One more.
    pub(crate) fn holds(&mut self, condition: bool) {
        self.done += 1;
        if !condition {
            let _ = call::report(report::CHECK_FAILED, self.done);
            call::exit(1);
        }
    }

    /// A call gives this in x0.
    pub(crate) fn expect(&mut self, function: u64, arguments: [u64; 3], status: u64) {
        self.holds(call::raw(function, arguments)[0] == status);
    }

    /// All have held.
    pub(crate) fn pass(self) -> ! {
        let _ = call::report(report::CHECKS_PASSED, self.done);
        call::exit(0)
    }
}
