//! Processes: fork, other programs, their ends (clone(2), execve(2), wait4(2)).

use core::ffi::CStr;

use super::{call, number};
use crate::print::{self, Failure};

/// A process of our own.
pub(crate) struct Child(pub(super) usize);

/// Forks: the child runs `body` and ends with status 0, or 1 if it failed.
pub(crate) fn fork(body: impl FnOnce() -> Result<(), Failure>) -> Result<Child, Failure> {
    const SIGCHLD: usize = 17;
    // SAFETY: without flags the child has a copy of all memory, and the process has one thread.
    match unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0, 0]) } {
        Ok(0) => {
            let status = match body() {
                Ok(()) => 0,
                Err(failure) => {
                    print::error(&failure);
                    1
                }
            };
            exit(status)
        }
        Ok(id) => Ok(Child(id)),
        Err(error) => Err(Failure::call("clone", c"")(error)),
    }
}

impl Child {
    /// Kills it.
    pub(crate) fn kill(&self) -> Result<(), Failure> {
        const SIGKILL: usize = 9;
        // SAFETY: no memory is touched.
        let result = unsafe { call(number::KILL, [self.0, SIGKILL, 0, 0, 0, 0]) };
        result.map(drop).map_err(Failure::call("kill", c""))
    }

    /// Waits for its end: the status as wait4 gives it.
    pub(crate) fn wait(self) -> Result<u32, Failure> {
        let mut status = 0_u32;
        // SAFETY: the call writes four bytes, which are there.
        let result = unsafe { call(number::WAIT4, [self.0, (&raw mut status).addr(), 0, 0, 0, 0]) };
        result.map(|_| status).map_err(Failure::call("wait4", c""))
    }
}

/// The number of this process.
pub(crate) fn process() -> usize {
    // SAFETY: no memory is touched, and the call never fails.
    unsafe { call(number::GETPID, [0; 6]) }.unwrap_or(0)
}

/// Makes this process the first one of a session of its own.
pub(crate) fn lead_session() -> Result<(), Failure> {
    // SAFETY: no memory is touched.
    let result = unsafe { call(number::SETSID, [0; 6]) };
    result.map(drop).map_err(Failure::call("setsid", c""))
}

/// Words of a list of arguments, and the zero behind them.
const MOST_ARGUMENTS: usize = 8;

/// What a program finds around it.
const ENVIRONMENT: [&CStr; 4] =
    [c"PATH=/usr/sbin:/usr/bin:/sbin:/bin", c"HOME=/root", c"TERM=vt100", c"LC_ALL=C.UTF-8"];

/// Becomes another program, with these arguments, its own name among them; returns if it cannot.
pub(crate) fn execute<const N: usize>(path: &CStr, arguments: &[&CStr; N]) -> Result<(), Failure> {
    // Each list ends with a zero.
    const { assert!(N < MOST_ARGUMENTS, "a zero ends the list") };
    let mut given = [0; MOST_ARGUMENTS];
    given.iter_mut().zip(arguments).for_each(|(to, from)| *to = from.as_ptr().addr());
    let mut around = [0; ENVIRONMENT.len() + 1];
    around.iter_mut().zip(ENVIRONMENT).for_each(|(to, from)| *to = from.as_ptr().addr());
    let lists = [path.as_ptr().addr(), given.as_ptr().addr(), around.as_ptr().addr(), 0, 0, 0];
    // SAFETY: the path, the lists and the texts that they name end with zeros and are only read.
    let result = unsafe { call(number::EXECVE, lists) };
    result.map(drop).map_err(Failure::call("execve", path))
}

/// Waits for a child's end, and for that of all whose parents ended before them, as a first process
/// has to: the child's status as wait4 gives it.
pub(crate) fn reap_until(child: Child) -> Result<u32, Failure> {
    loop {
        let mut status = 0_u32;
        // SAFETY: the call writes four bytes, which are there.
        let result =
            unsafe { call(number::WAIT4, [usize::MAX, (&raw mut status).addr(), 0, 0, 0, 0]) };
        if result.map_err(Failure::call("wait4", c""))? == child.0 {
            return Ok(status);
        }
    }
}

/// Ends this process.
pub(crate) fn exit(status: usize) -> ! {
    const EXIT: usize = 93;
    loop {
        // SAFETY: no memory is touched.
        let _ = unsafe { call(EXIT, [status, 0, 0, 0, 0, 0]) };
    }
}
