//! A shell of Debian's: at the console, or with a script.

use core::ffi::CStr;

use crate::call::{self, READ_WRITE};
use crate::print::{Failure, figure};
use crate::setup;

/// Debian's, in the root that `--with` makes.
const SHELL: &CStr = c"/bin/sh";

/// Runs one for whoever is at the console, until it ends.
pub(crate) fn at_the_console(command_line: &str) -> Result<(), Failure> {
    setup::mount_further()?;
    // `/dev/console` stands for whichever it is, and so cannot be a process's own terminal.
    let hvc = command_line.split_ascii_whitespace().any(|word| word == "console=hvc0");
    let terminal = if hvc { c"/dev/hvc0" } else { c"/dev/ttyAMA0" };
    let shell = call::fork(|| {
        call::lead_session()?;
        let terminal = setup::device(terminal, READ_WRITE)?;
        terminal.control()?;
        terminal.take_over()?;
        call::execute(SHELL, &[c"-sh", c"-i"])
    })?;
    tell(call::reap_until(shell)?)
}

/// Runs the script that the initramfs holds.
pub(crate) fn script() -> Result<(), Failure> {
    setup::mount_further()?;
    let shell = call::fork(|| {
        call::lead_session()?;
        call::execute(SHELL, &[c"sh", c"/script"])
    })?;
    tell(call::reap_until(shell)?)
}

/// Tells how it ended, as a shell would.
fn tell(status: u32) -> Result<(), Failure> {
    let signal = status & 0x7f;
    figure("status", if signal == 0 { status >> 8 & 0xff } else { 128 + signal });
    Ok(())
}
