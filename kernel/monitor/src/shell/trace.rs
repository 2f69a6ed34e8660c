//! `trace`.

use bale_core::shell::sheet::{Column, Value, column};
use bale_core::trace::Line;

use super::{Arguments, Outcome, fail, show};
use bale_io::println;
use bale_rt::{cores, trace};

static RINGS: [Column; 3] = [
    column("core", "core", 4),
    column("kept", "kept", 6),
    column("overwritten", "overwritten", 12),
];

pub(super) fn trace(arguments: &Arguments<'_>) -> Outcome {
    let (words, json) = arguments.with_json();
    match words {
        [] => {
            let mut sheet = show(json);
            sheet.table("trace", &RINGS);
            for core in 0..cores::all().len() {
                let (kept, written) = trace::counts(core);
                sheet.row(&[core.into(), kept.into(), (written - kept as u64).into()]);
            }
            sheet.hidden("on", Value::Flag(trace::is_on()));
            let state = if trace::is_on() { "on" } else { "off" };
            sheet.note(format_args!("the trace is {state}; a core keeps {} events", trace::KEPT));
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
