//! The first process of a Linux guest.
//!
//! It loads the modules that its initramfs holds, does what `bale.work=` on the kernel's command line asks for, prints
//! figures as lines `bale-init: KEY=VALUE`, and powers the machine off. An error is the line `bale-init: error=...`;
//! success ends with `bale-init: done=1`.
//!
//! | module | subject |
//! |---|---|
//! | [`call`] | system calls; all unsafe code is there |
//! | [`files`] | files by name |
//! | [`print`] | figures and errors |
//! | [`swap`] | the swap disk, and memory beyond what there is; memory alone |
//! | [`peer`] | Linux's zram, measured |

#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(target_os = "none", expect(clippy::cast_possible_truncation, reason = "a word has 64 bits here"))]

#[cfg(target_os = "none")]
mod call;
#[cfg(target_os = "none")]
mod files;
#[cfg(target_os = "none")]
mod peer;
#[cfg(target_os = "none")]
mod print;
#[cfg(target_os = "none")]
mod setup;
#[cfg(target_os = "none")]
mod swap;

/// Elsewhere there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use linux_init::work::Work;

    use crate::print::{Failure, figure};
    use crate::{call, files, peer, print, setup, swap};

    pub(crate) fn run() -> ! {
        match work() {
            Ok(()) => figure("done", 1),
            Err(failure) => print::error(&failure),
        }
        call::power_off()
    }

    fn work() -> Result<(), Failure> {
        let uptime = call::uptime();
        setup::mount()?;
        figure("uptime_us", uptime / 1000);
        figure("clock_s", call::time_of_day());
        let mut line = [0; 4096];
        let work =
            Work::from_command_line(files::text(c"/proc/cmdline", &mut line)?).map_err(Failure::Work)?;
        setup::load_modules()?;
        match work {
            Work::Boot => Ok(()),
            Work::Swap { pages, seconds } => swap::run(pages, seconds),
            Work::Fill { pages, seconds } => swap::fill_only(pages, seconds),
            Work::Peer { repetitions } => peer::run(repetitions),
        }
    }
}
