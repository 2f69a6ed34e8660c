//! `trace`.

use bale_core::trace::Line;

use super::{Arguments, Outcome, fail};
use crate::{cores, println, trace};

pub(super) fn trace(arguments: &Arguments<'_>) -> Outcome {
    match arguments.words() {
        [] => {
            println!("{:>4} {:>6} {:>12}", "core", "kept", "overwritten");
            for core in 0..cores::all().len() {
                let (kept, written) = trace::counts(core);
                println!("{core:>4} {kept:>6} {:>12}", written - kept as u64);
            }
            println!(
                "the trace is {}; a core keeps {} events",
                if trace::is_on() { "on" } else { "off" },
                trace::KEPT
            );
        }
        ["on"] => trace::start(),
        ["off"] => trace::stop(),
        ["dump"] => {
            trace::stop();
            println!("{}", trace::head());
            for core in 0..cores::all().len() {
                trace::events(core).for_each(|event| println!("{}", Line(core, event)));
            }
        }
        _ => return fail(format_args!("trace takes nothing, `on`, `off` or `dump`")),
    }
    Ok(())
}
