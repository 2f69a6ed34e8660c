//! `watch`: a command's text, drawn anew until a key is pressed.

use core::sync::atomic::Ordering;

use super::{Arguments, Outcome, TYPED_AT, fail, run_command};
use bale_io::console::{self, pager};
use bale_io::{print, println};
use bale_rt::clock;

/// Seconds between two pictures, at most.
const LONGEST: u64 = 3600;

pub(super) fn watch(arguments: &Arguments<'_>) -> Outcome {
    let (mut seconds, mut count) = (2, None);
    let mut words = arguments.words();
    while let [option @ ("-n" | "--count"), rest @ ..] = words {
        let [value, rest @ ..] = rest else {
            return fail(format_args!("watch: {option} needs a number behind it"));
        };
        let value =
            bale_core::shell::number(value).or_else(|error| fail(format_args!("watch: {value}: {error}")))?;
        match *option {
            "-n" => seconds = value,
            _ => count = Some(value),
        }
        words = rest;
    }
    if !(1..=LONGEST).contains(&seconds) {
        return fail(format_args!("watch: -n is 1 to {LONGEST} seconds"));
    }
    match words {
        [] => return fail(format_args!("watch needs a command, such as `watch drain`")),
        ["watch", ..] => return fail(format_args!("watch does not watch itself")),
        _ => {}
    }
    let script = !TYPED_AT.load(Ordering::Relaxed);
    if script && count.is_none() {
        return fail(format_args!("watch: without anybody at a terminal it needs --count"));
    }
    if !script {
        pager::redraw();
        print!("\x1b[2J");
    }
    let outcome = pictures(words, seconds, count, script);
    pager::end();
    outcome
}

fn pictures(words: &[&str], seconds: u64, mut count: Option<u64>, script: bool) -> Outcome {
    let mut next = clock::now();
    loop {
        if !script {
            pager::picture();
            print!("\x1b[H");
            println!("every {seconds} s; a key ends it");
        }
        run_command(words)?;
        if !script {
            pager::picture();
            print!("\x1b[J");
        }
        if let Some(left) = &mut count {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Ok(());
            }
        }
        next += clock::from_us(seconds * 1_000_000);
        if console::read_until(next).is_some() {
            return Ok(());
        }
    }
}
