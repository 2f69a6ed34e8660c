//! `core`, `page`, `crash`, `reboot`, `poweroff`.

use super::{Arguments, Outcome, fail, say};
use bale_arch::context::{self, Context};
use bale_arch::mask;
use bale_core::guest_ram::end_of;
use bale_core::shell::number;

use bale_io::console::{self, pager};
use bale_io::{last_words, println};
use bale_memory::frames::{self, Frame};
use bale_memory::{image_sections, stacks};
use bale_rt::{clock, cores, hotplug, power, task};

#[expect(clippy::panic_in_result_fn, reason = "it is what the command is for")]
pub(super) fn crash(arguments: &Arguments<'_>) -> Outcome {
    match arguments.words() {
        ["panic"] => panic!("asked for by the shell"),
        ["read"] => {
            // SAFETY: it is the point of this command that nothing is mapped there: it ends in the
            // fault report.
            let value = unsafe { (0xdead_0000_0000_u64 as *const u64).read_volatile() };
            fail(format_args!("the read came back with {value:#x}"))
        }
        ["write"] => {
            let code = image_sections()[0].start as *mut u32;
            // SAFETY: it is the point of this command that code cannot be written: it ends in the
            // fault report. If it could, the word is nobody's: the branch at the image's beginning.
            unsafe { code.write_volatile(0) };
            fail(format_args!("code was written"))
        }
        ["overflow"] => {
            let end = end_of(core::hint::black_box(u64::MAX), 1);
            fail(format_args!("the sum came back as {end:#x}"))
        }
        ["stack"] => fail(format_args!("the recursion came back with {}", descend(1))),
        ["emergency"] => use_up_emergency_stack(),
        ["hang"] => {
            match cores::all().iter().skip(1).rfind(|core| core.online()).map(cores::Core::index) {
                None => fail(format_args!("crash hang wants a second core, or a CORE")),
                Some(core) => hang(core),
            }
        }
        ["hang", core] => {
            let number =
                number(core).or_else(|error| fail(format_args!("crash hang {core}: {error}")))?;
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            match cores::all().get(index) {
                Some(core) if core.online() => hang(index),
                _ => fail(format_args!("crash hang: no core {number} is online")),
            }
        }
        ["memory", seconds] => match number(seconds) {
            Ok(seconds @ 1..=60) => {
                println!("{} frames were taken, and are back", take_frames(seconds));
                Ok(())
            }
            _ => fail(format_args!("crash memory takes 1 to 60 seconds")),
        },
        _ => fail(format_args!(
            "crash takes `panic`, `read`, `write`, `overflow`, `stack`, `emergency`, `hang [CORE]` or `memory SECONDS`"
        )),
    }
}

/// Takes a core away for good: whoever runs at this priority or below it, the shell of the boot
/// core once it waits.
fn hang(core: usize) -> Outcome {
    extern "C" fn halt(_argument: u64) -> ! {
        mask::halt()
    }
    let spawned = task::spawn("hang", core, task::VCPU, halt, 0);
    spawned.map(drop).or_else(|error| fail(format_args!("crash hang: {error:?}")))
}

/// Takes every frame that is or becomes free for some seconds, as others in need do; how many.
fn take_frames(seconds: u64) -> usize {
    const LOOK_US: u64 = 1_000;
    let end = clock::now() + clock::from_us(seconds * 1_000_000);
    let (mut last, mut count) = (0, 0);
    while clock::now() < end && !console::interrupted() {
        while let Some(mut frame) = frames::allocate() {
            // Each holds the address of the one before it.
            frame.bytes_mut()[..8].copy_from_slice(&u64::to_ne_bytes(last));
            last = frame.into_address();
            count += 1;
        }
        task::sleep_us(LOOK_US);
    }
    frames::release(core::iter::from_fn(|| {
        // SAFETY: taken above, and given back once.
        let mut frame = (last != 0).then(|| unsafe { Frame::from_address(last) })?;
        let (before, _) = frame.bytes_mut().split_first_chunk()?;
        last = u64::from_ne_bytes(*before);
        Some(frame)
    }));
    count
}

/// Uses up the stack.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    let space = core::hint::black_box([depth; 32]);
    if depth == 0 { 0 } else { descend(depth + 1) + space[31] }
}

/// Uses up the stack on which a full stack is reported.
fn use_up_emergency_stack() -> ! {
    extern "C" fn deep(_argument: u64) -> ! {
        descend(1);
        mask::halt()
    }
    mask::mask_all();
    let (mut from, to) = (Context::empty(), Context::new(stacks::emergency_top(), deep, 0));
    // SAFETY: interrupts are masked; nobody is on that stack unless it reports, which ends the
    // machine, and so does this.
    unsafe { context::switch(&raw mut from, &raw const to) };
    mask::halt()
}

/// `core online N`, `core offline N`.
pub(super) fn core(arguments: &Arguments<'_>) -> Outcome {
    let (plain, json) = arguments.but_json();
    let [what @ ("online" | "offline"), index] = plain.words() else {
        return fail(format_args!("core takes `online N` or `offline N`"));
    };
    let number = number(index).or_else(|error| fail(format_args!("core {index}: {error}")))?;
    let place = usize::try_from(number).unwrap_or(usize::MAX);
    if *what == "online" {
        if json {
            return fail(format_args!("core online shows no figures, so it takes no --json"));
        }
        hotplug::bring_online(place).or_else(|why| fail(format_args!("core {index}: {why}")))?;
        println!("core {index} is online");
        return Ok(());
    }
    let emptied =
        hotplug::take_offline(place).or_else(|why| fail(format_args!("core {index}: {why}")))?;
    let line = format_args!("core {index} is off; its ring held {emptied} handles at the end");
    say(json, line, &[("core", number.into()), ("emptied_handles", emptied.into())]);
    Ok(())
}

pub(super) fn page(arguments: &Arguments<'_>) -> Outcome {
    match arguments.words() {
        ["off"] => pager::set_rows(0),
        [rows] => match number(rows) {
            Ok(rows) if (2..=1000).contains(&rows) => pager::set_rows(rows as u32),
            Ok(_) => return fail(format_args!("page: ROWS is 2 to 1000")),
            Err(error) => return fail(format_args!("page: {rows}: {error}")),
        },
        _ => return fail(format_args!("page takes ROWS or `off`")),
    }
    Ok(())
}

pub(super) fn reboot(arguments: &Arguments<'_>) -> Outcome {
    arguments.none()?;
    last_words::part("started anew from the shell");
    power::reset()
}

pub(super) fn poweroff(arguments: &Arguments<'_>) -> Outcome {
    arguments.none()?;
    power::power_off()
}
