//! One guest in place of the shell (boot argument `guest=NAME`): the serial line is its own, and
//! the machine goes off with it.
//!
//! What it writes goes out in frames ([`bale_core::relay`]), what arrives goes to it. A line
//! `\x1eGUEST` comes before it starts, and `\x1eSTATUS n` behind its end, with its status or why it
//! has none.

use bale_core::exit_status;

use bale_io::console::{self, Input};
use bale_io::println;
use bale_rt::{clock, platform, power, task};
use bale_vmm::{self as vm, Reason, State, relay};

/// How long what a guest writes without an end of line waits, and how often it is looked whether it
/// has ended.
const LOOK_US: u64 = 10_000;
/// How often it is looked whether the guest has taken what it was sent.
const ROOM_US: u64 = 1_000;

/// Runs the guest of this name, and turns the machine off.
pub(super) fn run(name: &str) -> ! {
    console::hold_input_back();
    relay::begin(platform::has_argument("noreboot"));
    console::mark();
    println!("GUEST");
    let status = match vm::start_described(name) {
        Ok(index) => serve(index),
        Err(error) => {
            println!("error: {error}");
            exit_status::FAILED
        }
    };
    relay::flush();
    console::mark();
    println!("STATUS {status}");
    power::power_off()
}

/// Until the guest has ended; its status.
fn serve(index: usize) -> u8 {
    let mut waiting = None;
    loop {
        if waiting.is_none() {
            waiting = match console::read_until(clock::now() + clock::from_us(LOOK_US)) {
                Some(Input::Byte(byte)) => Some(byte),
                Some(Input::Lost) | None => None,
            };
        }
        if let Some(byte) = waiting {
            if vm::has_room(index) {
                vm::send(index, byte);
                waiting = None;
            } else {
                task::sleep_us(ROOM_US);
            }
        }
        // What came behind one another is looked at less often than it comes.
        if waiting.is_some() || !console::has_input() {
            relay::flush();
            let ended = vm::summaries().find_map(|machine| match machine.state {
                State::Ended(reason) if machine.slot == index => Some(reason),
                _ => None,
            });
            if let Some(reason) = ended {
                return tell(reason);
            }
        }
    }
}

/// The status of the whole, and a line on what is no end of the guest's own.
fn tell(reason: Reason) -> u8 {
    match reason {
        Reason::Exited(status) => exit_status::of_guest(status),
        Reason::PoweredOff | Reason::Reset => 0,
        reason => {
            println!("the guest was {reason}");
            exit_status::STOPPED
        }
    }
}
