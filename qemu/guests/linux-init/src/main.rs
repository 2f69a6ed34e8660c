//! The first process of a Linux guest.
//!
//! It loads the modules that its initramfs holds, does what `bale.work=` on the kernel's command
//! line asks for, prints figures as lines `bale-init: KEY=VALUE`, and powers the machine off. An
//! error is the line `bale-init: error=...`; success ends with `bale-init: done=1`.
//!
//! | module | subject |
//! |---|---|
//! | [`call`] | system calls; all unsafe code is there |
//! | [`files`] | files by name |
//! | [`print`] | figures and errors |
//! | [`swap`] | the swap disk, and memory beyond what there is; memory alone |
//! | [`shell`] | a shell of Debian's, for a person or a script |
//! | [`practice`] | what this program does where it is not the first one |
//! | [`debug`] | single steps, break- and watchpoints, probes, counters |
//! | [`report`] | what the hypervisor is told |
//! | [`munmap`] | the end of a process whose memory is swapped |
//! | [`peer`] | Linux's zram, measured |

#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    target_os = "none",
    expect(clippy::cast_possible_truncation, reason = "a word has 64 bits here")
)]

#[cfg(target_os = "none")]
mod call;
#[cfg(target_os = "none")]
mod debug;
#[cfg(target_os = "none")]
mod files;
#[cfg(target_os = "none")]
mod munmap;
#[cfg(target_os = "none")]
mod peer;
#[cfg(target_os = "none")]
mod practice;
#[cfg(target_os = "none")]
mod print;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod setup;
#[cfg(target_os = "none")]
mod shell;
#[cfg(target_os = "none")]
mod swap;

/// Elsewhere there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use linux_init::work::{Work, seed};

    use crate::print::{Failure, figure};
    use crate::{call, debug, files, munmap, peer, practice, print, setup, shell, swap};

    /// What programs of many languages print: UTF-8, and the colours of a terminal.
    const LOCALE: &str = "\x1b[1;32mäöü ñ λόγος 日本語 ✓\x1b[0m";

    pub(crate) fn run() -> ! {
        if call::process() != 1 {
            practice::run();
            call::exit(0);
        }
        match work() {
            Ok(()) => figure("done", 1),
            Err(failure) => print::error(&failure),
        }
        call::power_off()
    }

    fn work() -> Result<(), Failure> {
        let uptime = call::uptime();
        setup::mount()?;
        let mut line = [0; 4096];
        let line = files::text(c"/proc/cmdline", &mut line)?;
        setup::load_modules()?;
        setup::open_console(line)?;
        figure("locale", LOCALE);
        figure("uptime_us", uptime / 1000);
        figure("clock_s", call::time_of_day());
        match Work::from_command_line(line).map_err(Failure::Work)? {
            Work::Boot => Ok(()),
            Work::Reboot => call::reboot(),
            Work::Debug => debug::run(),
            Work::Echo => echo(),
            Work::Shell => shell::at_the_console(line),
            Work::Script => shell::script(),
            Work::Swap { pages, seconds, workers } => {
                swap::run(pages, seconds, workers, seed(line).map_err(Failure::Work)?)
            }
            Work::Fill { pages, seconds } => swap::fill_only(pages, seconds),
            Work::Outgrow { pages, swap } => swap::outgrow(pages, swap),
            Work::Pageout { pages } => swap::put_out(pages),
            Work::Munmap { repetitions } => munmap::run(repetitions),
            Work::Peer { repetitions } => peer::run(repetitions),
        }
    }

    /// Says back what it hears: the first line.
    fn echo() -> Result<(), Failure> {
        let mut heard = [0; 80];
        let count = call::hear(&mut heard)?;
        let text =
            core::str::from_utf8(&heard[..count]).map_err(|_| Failure::Content("the line"))?;
        figure("heard", text.trim_end());
        Ok(())
    }
}
