//! What a debugger and a profiler need of the machine: single steps, break- and watchpoints,
//! probes, counters.

use linux_init::work::PAGE;

use crate::call::debug::{self, Counter, EventAttributes, Kind};
use crate::call::{self, Child, Region};
use crate::files;
use crate::print::{Failure, figure};
use crate::report::Report;

/// Steps in the circle.
const STEPS: u64 = 10_000;
/// Turns along the row that the probe is to see.
const PROBED: u64 = 100;
/// `PERF_TYPE_HARDWARE`: cycles, instructions.
const HARDWARE: u32 = 0;
const CYCLES: u64 = 0;
const INSTRUCTIONS: u64 = 1;

/// Tries all of it.
pub(crate) fn run() -> Result<(), Failure> {
    figure("steps", steps()?);
    figure("breakpoints", breakpoints()?);
    figure("watchpoints", watchpoints()?);
    figure("probed", probe()?);
    figure("cycles", count(CYCLES)?);
    // Not every machine counts them: an emulator that does not count instructions itself has no
    // such event.
    if let Ok(instructions) = count(INSTRUCTIONS) {
        figure("instructions", instructions);
    }
    Ok(())
}

/// Steps a child round the circle: each step is one instruction, also over the one that the
/// hypervisor emulates.
fn steps() -> Result<u64, Failure> {
    let report = Report::open()?;
    let registers = report.registers().ok_or(Failure::Content("report@b000000"))?;
    let child = call::fork(|| {
        debug::be_debugged()?;
        debug::go_in_circles(registers)
    })?;
    child.wait_for_stop()?;
    let first = debug::circle();
    let inside = |place: u64| place >= first && place < first + 4 * debug::CIRCLE;
    let mut place = child.place()?;
    while !inside(place) {
        child.step()?;
        place = child.place()?;
    }
    let mut done = 0;
    while done < STEPS {
        child.step()?;
        let expected = first + (place - first + 4) % (4 * debug::CIRCLE);
        place = child.place()?;
        if place != expected {
            return Err(Failure::Content("the place after a step"));
        }
        done += 1;
    }
    end(child)?;
    Ok(done)
}

/// Every breakpoint at once, each on an instruction of its own; how many there are.
fn breakpoints() -> Result<usize, Failure> {
    let child = call::fork(|| {
        debug::be_debugged()?;
        loop {
            debug::go_along_the_row(0);
        }
    })?;
    child.wait_for_stop()?;
    let count = child.count(Kind::Break)?;
    let row = debug::row();
    let mut points = [None; 16];
    (0..)
        .map(|number: u64| row + 4 * number)
        .zip(&mut points[..count])
        .for_each(|(at, point)| *point = Some(at));
    child.set_points(Kind::Break, &points[..count])?;
    for number in 0..count {
        child.go_on()?;
        if child.place()? != row + 4 * number as u64 {
            return Err(Failure::Content("the place of a breakpoint"));
        }
        // It would hit again at once.
        points[number] = None;
        child.set_points(Kind::Break, &points[..count])?;
    }
    end(child)?;
    Ok(count)
}

/// Every watchpoint at once, each on a word of its own; how many there are.
fn watchpoints() -> Result<usize, Failure> {
    let mut memory = Region::map(PAGE)?;
    let first = memory.words().as_ptr().expose_provenance() as u64;
    let child = call::fork(|| {
        debug::be_debugged()?;
        debug::write_each(memory.words());
        Err(Failure::Content("a watchpoint that did not hit"))
    })?;
    child.wait_for_stop()?;
    let count = child.count(Kind::Watch)?;
    let mut points = [None; 16];
    // Other words than neighbours, the last one first.
    let address = |number: usize| first + 64 * (count - number) as u64;
    (0..count).for_each(|number| points[number] = Some(address(number)));
    child.set_points(Kind::Watch, &points[..count])?;
    for number in (0..count).rev() {
        child.go_on()?;
        points[number] = None;
        child.set_points(Kind::Watch, &points[..count])?;
    }
    end(child)?;
    Ok(count)
}

fn end(child: Child) -> Result<(), Failure> {
    child.kill()?;
    child.wait().map(drop)
}

/// A probe on an `add` of this program, which the kernel executes elsewhere and steps over: how
/// often it was hit.
fn probe() -> Result<u64, Failure> {
    let mut buffer = [0; 32];
    let kind = files::text(c"/sys/bus/event_source/devices/uprobe/type", &mut buffer)?;
    let kind = kind.trim_end().parse().map_err(|_| Failure::Content("the type of uprobes"))?;
    let offset = offset_in_file(debug::row())?;
    let counter = Counter::open(EventAttributes::probe(kind, c"/init", offset))?;
    for turn in 0..PROBED {
        if debug::go_along_the_row(turn) != turn + 16 {
            return Err(Failure::Content("what a probed function returns"));
        }
    }
    counter.count()
}

/// Where an address of this program's code lies in its file, by /proc/self/maps.
fn offset_in_file(address: u64) -> Result<u64, Failure> {
    let mut buffer = [0; 4096];
    let maps = files::text(c"/proc/self/maps", &mut buffer)?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let found = maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let offset = hex(words.nth(1)?)?;
        let start = hex(start)?;
        (start..hex(end)?).contains(&address).then_some(address - start + offset)
    });
    found.ok_or(Failure::Content("/proc/self/maps"))
}

/// What a counter of the hardware counts while this process works.
fn count(config: u64) -> Result<u64, Failure> {
    let counter = Counter::open(EventAttributes::of(HARDWARE, config))?;
    for turn in 0..10_000 {
        debug::go_along_the_row(turn);
    }
    counter.count()
}
