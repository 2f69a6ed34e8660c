//! `watch` and `top`: text that is drawn anew until a key is pressed.

use core::sync::atomic::Ordering;

use super::{Arguments, Failure, Outcome, TYPED_AT, fail, familiar, run_command};
use bale_io::console::{self, pager};
use bale_io::{print, println};
use bale_rt::clock;

/// Seconds between two pictures, at most.
const LONGEST: u64 = 3600;

pub(super) fn watch(arguments: &Arguments<'_>) -> Outcome {
    let (pace, words) = Pace::read(arguments)?;
    match words {
        [] => return fail(format_args!("watch needs a command, such as `watch drain`")),
        ["watch", ..] => return fail(format_args!("watch does not watch itself")),
        _ => {}
    }
    pace.draw(&mut || run_command(words, arguments.editor))
}

/// `top`: cores, machines and tasks, drawn anew until a key is pressed.
pub(super) fn top(arguments: &Arguments<'_>) -> Outcome {
    let (pace, words) = Pace::read(arguments)?;
    if let [word, ..] = words {
        return fail(format_args!("top takes -n SECONDS and --count N, but got {word}"));
    }
    let mut load = familiar::Load::new();
    pace.draw(&mut || {
        familiar::overview(&mut load);
        Ok(())
    })
}

/// How often something is drawn anew, and how many times at most.
struct Pace {
    seconds: u64,
    count: Option<u64>,
    script: bool,
}

impl Pace {
    /// Reads the options, and leaves what is behind them.
    #[inline(never)]
    fn read<'a>(arguments: &Arguments<'a>) -> Result<(Self, &'a [&'a str]), Failure> {
        let (mut seconds, mut count) = (2, None);
        let (command, mut words) = (arguments.command, arguments.words());
        while let [option @ ("-n" | "--count"), rest @ ..] = words {
            let [value, rest @ ..] = rest else {
                return fail(format_args!("{command}: {option} needs a number behind it"));
            };
            let value = bale_core::shell::number(value)
                .or_else(|error| fail(format_args!("{command}: {value}: {error}")))?;
            match *option {
                "-n" => seconds = value,
                _ => count = Some(value),
            }
            words = rest;
        }
        if !(1..=LONGEST).contains(&seconds) {
            return fail(format_args!("{command}: -n is 1 to {LONGEST} seconds"));
        }
        let script = !TYPED_AT.load(Ordering::Relaxed);
        if script && count.is_none() {
            return fail(format_args!("{command}: without anybody at a terminal it needs --count"));
        }
        Ok((Self { seconds, count, script }, words))
    }

    fn draw(self, picture: &mut dyn FnMut() -> Outcome) -> Outcome {
        if !self.script {
            pager::redraw();
            print!("\x1b[2J");
        }
        let outcome = pictures(self, picture);
        pager::end();
        outcome
    }
}

fn pictures(pace: Pace, picture: &mut dyn FnMut() -> Outcome) -> Outcome {
    let Pace { seconds, mut count, script } = pace;
    let mut next = clock::now();
    loop {
        if !script {
            pager::picture();
            print!("\x1b[H");
            println!("every {seconds} s; a key ends it");
        }
        picture()?;
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
