//! Commands that show the machine: `cores`, `board`, `irq`, `tasks`, `mem`, `log`.

use core::sync::atomic::Ordering;

use bale_arch::{entry, timer};
use bale_core::core_kind::CoreKind;

use super::{Arguments, Outcome, fail};
use crate::memory::{frames, image_sections};
use crate::{boot, clock, console, cores, interrupts, log, print, println, report, task};

/// Ticks as microseconds with two decimals.
struct Microseconds(u64);

impl core::fmt::Display for Microseconds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let hundredths = clock::to_us(self.0.saturating_mul(100));
        let mut text: heapless::String<24> = heapless::String::new();
        core::fmt::write(&mut text, format_args!("{}.{:02}", hundredths / 100, hundredths % 100))?;
        f.pad(&text)
    }
}

pub(super) fn cores(arguments: &Arguments<'_>) -> Outcome {
    match arguments.words() {
        [] => {}
        ["reset"] => cores::all().iter().for_each(cores::Core::forget_longest),
        [other, ..] => return fail(format_args!("cores takes nothing or `reset`, not {other}")),
    }
    println!(
        "{:>4} {:>10} {:>7} {:>12} {:>12} {:>7} {:>10} {:>10}",
        "core", "affinity", "state", "interrupts", "switches", "idle %", "masked us", "timer us"
    );
    let uptime = clock::now().max(1);
    for core in cores::all() {
        let state = match (core.online(), core.kind()) {
            (false, _) => "off",
            (true, CoreKind::Fast) => "online",
            (true, CoreKind::Small) => "small",
        };
        let idle = core.idle_ticks.load(Ordering::Relaxed) * 100 / uptime;
        println!(
            "{:>4} {:>#10x} {:>7} {:>12} {:>12} {:>7} {:>10} {:>10}",
            core.index(),
            core.affinity(),
            state,
            core.interrupts.load(Ordering::Relaxed),
            core.switches.load(Ordering::Relaxed),
            idle.min(100),
            Microseconds(core.longest_masked()),
            Microseconds(core.latest_timer.load(Ordering::Relaxed))
        );
    }
    if let Some(core) = cores::all().iter().max_by_key(|core| core.longest_masked()) {
        // As a line of a backtrace, which `cargo bale` resolves.
        println!("the longest stretch with interrupts masked was core {}'s, and ended at", core.index());
        println!("  #0 +{:#x}", core.longest_ended().saturating_sub(entry::image_base()));
    }
    if let Some(machine) = boot::machine() {
        println!(
            "{}: {} of {} cores online, counter {} Hz, boot to shell {} us",
            boot::board_name(),
            cores::online(),
            machine.cpus.len(),
            timer::frequency(),
            boot::boot_us()
        );
    }
    Ok(())
}

pub(super) fn board(arguments: &Arguments<'_>) -> Outcome {
    match arguments.words() {
        ["report"] => {
            report::print();
            Ok(())
        }
        _ => fail(format_args!("board takes `report`")),
    }
}

pub(super) fn irq(arguments: &Arguments<'_>) -> Outcome {
    arguments.none()?;
    let (sources, unknown) = interrupts::sources();
    println!("{:>6} {:<12} {:>10}  by core", "INTID", "name", "taken");
    for source in sources {
        print!("{:>6} {:<12} {:>10} ", source.id, source.name, source.taken().sum::<u64>());
        for count in source.taken().take(cores::all().len()) {
            print!(" {count}");
        }
        println!();
    }
    println!("{unknown} interrupts came that nobody handles");
    Ok(())
}

pub(super) fn tasks(arguments: &Arguments<'_>) -> Outcome {
    arguments.none()?;
    println!("{:>4} {:<12} {:>4} {:>8} {:>8} state", "task", "name", "core", "priority", "overruns");
    for task in task::summaries() {
        let state = match task.state {
            _ if task.running => "running",
            task::State::Ready => "ready",
            task::State::Blocked => "parked",
            task::State::Starting | task::State::Departing | task::State::Free => "-",
        };
        println!(
            "{:>4} {:<12} {:>4} {:>8} {:>8} {state}",
            task.index, task.name, task.core, task.priority, task.overruns
        );
    }
    Ok(())
}

pub(super) fn mem(arguments: &Arguments<'_>) -> Outcome {
    arguments.none()?;
    println!("{:<10} {:>14} {:>14} {:>9}  access", "part", "start", "end", "KiB");
    for section in image_sections() {
        let access = match section.name {
            "text" => "read, execute",
            "rodata" => "read",
            "stacks" => "read, write; a hole below each",
            _ => "read, write",
        };
        let length = (section.end - section.start) / 1024;
        println!("{:<10} {:>#14x} {:>#14x} {length:>9}  {access}", section.name, section.start, section.end);
    }
    if let Some(machine) = boot::machine() {
        for range in &machine.memory {
            let end = range.base + range.size;
            println!("{:<10} {:>#14x} {:>#14x} {:>9}", "memory", range.base, end, range.size / 1024);
        }
        if let Some(initrd) = &machine.initrd {
            let end = initrd.base + initrd.size;
            println!("{:<10} {:>#14x} {:>#14x} {:>9}", "bundle", initrd.base, end, initrd.size / 1024);
        }
    }
    let usage = frames::usage();
    println!(
        "frames: {} of 4 KiB, {} free, never fewer than {} free",
        usage.total, usage.free, usage.least_free
    );
    Ok(())
}

pub(super) fn log(arguments: &Arguments<'_>) -> Outcome {
    match arguments.words() {
        [] => {
            println!("{:>4} {:>10} {:>8} {:>14}", "core", "frames", "dropped", "waiting bytes");
            for core in 0..cores::all().len() {
                let (frames, dropped, waiting) = log::counts(core);
                println!("{core:>4} {frames:>10} {dropped:>8} {waiting:>14}");
            }
            let state =
                if log::streaming() { "sent to the UART" } else { "kept; `log stream on` sends them" };
            println!("frames are {state}; {} bytes of input were lost", console::lost_input());
            Ok(())
        }
        ["stream", "on"] => {
            log::set_streaming(true);
            Ok(())
        }
        ["stream", "off"] => {
            log::set_streaming(false);
            Ok(())
        }
        ["dump"] => {
            dump();
            Ok(())
        }
        _ => fail(format_args!("log takes nothing, `stream on`, `stream off` or `dump`")),
    }
}

/// Every waiting frame as a line of hexadecimal digits, for `cargo bale log --decode`.
fn dump() {
    let mut frame = [0; 256];
    for core in 0..cores::all().len() {
        while let Some(length) = log::take(core, &mut frame) {
            print!("defmt:");
            for byte in &frame[..length] {
                print!("{byte:02x}");
            }
            println!();
        }
    }
}
