//! `cargo bale`: builds Bale, boots it under QEMU, tests it.
//!
//! | module | subject |
//! |---|---|
//! | [`cli`] | commands and their options |
//! | [`workspace`] | paths, and commands free of the outer cargo's environment |
//! | [`toolchain`], [`setup`] | what builds bare metal here, and how to get what is missing |
//! | [`build`], [`image`] | the kernel's ELF, its flat arm64 Image, the guests |
//! | [`pages`], [`bundle`] | captured pages of a real process; the archive that the kernel starts with |
//! | [`guests`] | guests of the user's own |
//! | [`guest_run`] | one guest of any make, its console on this process's |
//! | [`linux`] | Debian's kernel, our init for it, and the two as a guest |
//! | [`machine`], [`stream`] | a QEMU process; its one UART taken apart into text and log frames |
//! | [`monitor`] | where the cores of a QEMU are that does not go on |
//! | [`log`], [`symbols`] | log frames and backtraces made readable |
//! | [`size`] | whose the bytes of image and static memory are |
//! | [`disk`], [`board`], [`flash`] | a disk image that UEFI starts, what is in it, and the way onto a stick |
//! | [`console`], [`script`] | a person, or a list of commands, at the shell |
//! | [`serial`] | a board on a serial line |
//! | [`run`], [`test`], [`bench`], [`trace`], [`fuzz`], [`check`] | the commands themselves |

#![allow(
    clippy::std_instead_of_core,
    reason = "a program with std; the lint is for the crates without"
)]

mod bench;
mod board;
mod build;
mod bundle;
mod check;
mod cli;
mod console;
mod disk;
mod flash;
mod fuzz;
mod guest_run;
mod guests;
mod image;
mod linux;
mod log;
mod machine;
mod monitor;
mod pages;
mod run;
mod script;
mod serial;
mod setup;
mod size;
mod stream;
mod symbols;
mod test;
mod toolchain;
mod trace;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = cli::Cli::parse().command;
    // The status 1 of `bench` says that a goal is missed.
    // A guest may end with 1 by itself.
    let failure = match command {
        cli::Command::Bench(_) => bench::FAILED,
        cli::Command::Guest(_) => guest_run::FAILED,
        _ => 1,
    };
    let result = match command {
        cli::Command::Run(options) => run::run(&options),
        cli::Command::Test(options) => test::run(&options),
        cli::Command::Bench(options) => bench::run(&options),
        cli::Command::Trace(options) => trace::run(&options),
        cli::Command::Fuzz(options) => fuzz::run(&options),
        cli::Command::Build(options) => build::run(&options),
        cli::Command::Check(options) => check::run(&options),
        cli::Command::Pages(options) => pages::run(&options),
        cli::Command::Image(options) => board::image(&options),
        cli::Command::Flash(options) => board::flash(&options),
        cli::Command::Console(options) => console::serial(&options),
        cli::Command::Guest(cli::GuestCommand::Run(options)) => guest_run::run(&options),
        cli::Command::Linux(command) => linux::run(&command),
        cli::Command::Log(options) => log::run(&options),
        cli::Command::Size(options) => size::run(&options),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("bale: {error:#}");
            ExitCode::from(failure)
        }
    }
}
