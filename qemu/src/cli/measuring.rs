//! Figures: of time, of bytes.

use std::path::PathBuf;

use clap::Args;

use super::SetupOptions;

/// Measure on the target, and hold the figures against goals and budgets
///
/// Boots Bale under QEMU once for each number of cores and runs the suites there. On one core QEMU
/// counts instructions (-icount), and the figures repeat to the digit; on more, cores run side by
/// side, and only counts mean something, not times. With --serial a board takes QEMU's place.
#[derive(Args)]
#[command(after_long_help = "\
Goals and budgets are in files beside what is measured: allocator/goals.toml, kernel/swap/goals.toml for the store,
kernel/swap/codecs-goals.toml for codecs (on the host), kernel/goals.toml for rtos, kernel/vm-goals.toml,
kernel/thread-metric-goals.toml. A goal is what a figure is to reach, a budget what it has reached and must keep. `cargo bale test --filter budgets` fails for a figure that is worse than its
budget.

Status: 0 all goals are met and all budgets kept; 1 a goal is missed or was not measured, or a budget exceeded, the
last lines say which; 2 something failed.

Examples:
  cargo bale bench --cores 1                     the exact figures only
  cargo bale bench --json now.json               keep all figures
  cargo bale bench ladder --pages 1000 --cores 1 what a burst costs that fits the ring
  cargo bale bench --compare before.json         what changed, and what got worse by more than 1 %
  cargo bale bench --cores 1 --write-budgets     the budgets are what is counted now
  cargo bale bench --serial /dev/ttyUSB0         on a board that was started with the argument `exec`
  cargo bale bench rtos --serial /dev/ttyUSB0 --cores 1 --cycles   in cycles of that board")]
pub(crate) struct BenchOptions {
    /// Suites to run, as the shell's `bench list` names them
    #[arg(value_name = "SUITE", default_value = "allocator", value_parser = suite)]
    pub(crate) suites: Vec<String>,
    /// Of the suite `codecs`: pages of one kind of process only, as `cargo bale pages --list` names
    /// it
    #[arg(long, value_name = "NAME")]
    pub(crate) kind: Option<String>,
    /// Write every figure, with all that the target said of it, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a line for each value to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Draw scaling, ladders and latencies as SVG into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) plots: Option<PathBuf>,
    /// Print the change against a file that --json wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
    /// Cores of the machines, one machine for each number
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,2,4,8,12",
        value_parser = clap::value_parser!(u32).range(1..=512)
    )]
    pub(crate) cores: Vec<u32>,
    /// Seed of sizes and orders
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Objects or pages that are worked on, from each core that takes part, in place of each
    /// benchmark's own number: a burst of 1000 fits a core's ring, so that the ladder shows
    /// deferral alone. Goals and budgets are for their own numbers
    #[arg(long, value_name = "N", conflicts_with_all = ["write_budgets", "peer"])]
    pub(crate) pages: Option<u32>,
    /// Count cycles of the core in place of instructions: what a board is timed in; goals and
    /// budgets are in instructions
    #[arg(long, conflicts_with_all = ["write_budgets", "peer"])]
    pub(crate) cycles: bool,
    /// Make what one core counts the suites' budgets, rounded up to one decimal (three below 1)
    #[arg(long, conflicts_with = "serial")]
    pub(crate) write_budgets: bool,
    /// Measure another system in the same way, and put it beside Bale's store
    #[arg(long, value_name = "NAME", conflicts_with_all = ["serial", "write_budgets", "compare", "plots"])]
    pub(crate) peer: Option<Peer>,
    /// Run on the board at this serial line, 115200 8N1, instead of QEMU
    #[arg(long, value_name = "DEVICE")]
    pub(crate) serial: Option<PathBuf>,
    /// Seconds after which a machine is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// Another system to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Linux's zram
    Linux,
}

/// A suite's name becomes part of a command line on the target.
fn suite(text: &str) -> Result<String, String> {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    let good =
        text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.chars().all(plain);
    if good {
        Ok(text.to_owned())
    } else {
        Err("a suite's name has letters, digits, - and _".into())
    }
}

#[derive(Args)]
pub(crate) struct SizeOptions {
    /// Of this ELF, instead of the kernel's
    #[arg(long, value_name = "FILE")]
    pub(crate) elf: Option<PathBuf>,
    /// All of it, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::BenchOptions;
    use crate::bench::goals::SUITES;

    #[test]
    fn the_help_names_every_file_of_goals() {
        let help = BenchOptions::augment_args(Command::new("bench")).render_long_help().to_string();
        for (suite, file) in SUITES {
            assert!(help.contains(file), "{suite}'s {file} is not in:\n{help}");
        }
    }
}
