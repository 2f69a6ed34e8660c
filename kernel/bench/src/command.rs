//! The command `bench`: its options, checked before anything runs.

use core::fmt::Write as _;

use bale_arch::counter::Event;
use bale_core::shell::sheet::{Column, column};
use bale_core::shell::{MAX_WORDS, number};

use super::{CoreCounts, Mix, Options, PAGES};
use bale_io::{print, println};
use bale_monitor::shell::{Arguments, Command, Failure, Outcome, fail, print_wrapped, show};
use bale_rt::cores;

/// The command, for the shell.
pub const COMMANDS: &[Command] = &[Command {
    name: "bench",
    usage: &[
        "list [--json]",
        "run [NAME...] [--pages N] [--mix bundle|zeros|random|half] [--cores N[,N...]] [--seed S] [--cycles] [--json]",
    ],
    about: "measure: all, or suites and figures by name; --pages: objects or pages that are worked on; --mix: what the store's pages hold; --cores: how many free at once, several one after the other; --cycles: cycles of the core in place of instructions; Ctrl-C stops",
    run: bench,
    offers: |visit| super::names().for_each(visit),
}];

fn bench(arguments: &Arguments<'_>) -> Outcome {
    let mut names: heapless::Vec<&str, MAX_WORDS> = heapless::Vec::new();
    let mut words = arguments.words().iter().copied();
    match words.next() {
        Some("list") => {
            return match (words.next(), words.next()) {
                (None, _) => list_for_people(),
                (Some("--json"), None) => list_as_json(),
                (Some(other), _) => {
                    fail(format_args!("bench: list takes nothing but --json, not {other}"))
                }
            };
        }
        Some("run") => {}
        _ => words = arguments.words().iter().copied(),
    }
    let mut options = Options {
        pages: None,
        mix: Mix::Bundle,
        cores: None,
        seed: 1,
        event: Event::Instructions,
        json: false,
    };
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .map_or_else(|| fail(format_args!("bench: {word} needs a value behind it")), Ok)
        };
        match word {
            "--json" => options.json = true,
            "--cycles" => options.event = Event::Cycles,
            "--pages" => options.pages = Some(pages(value()?)?),
            "--mix" => options.mix = mix(value()?)?,
            "--cores" => options.cores = Some(core_counts(value()?)?),
            "--seed" => options.seed = value_of("--seed", value()?)?,
            _ if word.starts_with("--") => {
                return fail(format_args!("bench: {word} is not known here; `help bench` tells"));
            }
            // There are no more words than a command has.
            name => drop(names.push(name)),
        }
    }
    super::run(&names, options).or_else(|error| fail(format_args!("bench: {error}")))
}

fn list_for_people() -> Outcome {
    let mut before = "";
    super::for_each(|suite, name, about, takes| {
        if suite != before {
            println!("{suite}");
            before = suite;
        }
        print!("  {name:<23} ");
        let mut text: heapless::String<160> = heapless::String::new();
        // Cut nowhere: the longest has 90 characters.
        let _ = write!(text, "{about}{takes}");
        print_wrapped(&text, 26);
    });
    println!("In brackets: the options that a benchmark takes.");
    Ok(())
}

static BENCHES: [Column; 4] = [
    column("suite", "suite", 0),
    column("name", "name", 0),
    column("about", "about", 0),
    column("takes", "takes", 0),
];

fn list_as_json() -> Outcome {
    let mut sheet = show(true);
    sheet.table("benches", &BENCHES);
    super::for_each(|suite, name, about, takes| {
        let mut text: heapless::String<64> = heapless::String::new();
        // There is room for all that one can take.
        let _ = write!(text, "{takes}");
        let takes = text.trim_matches([' ', '[', ']']);
        sheet.row(&[suite.into(), name.into(), about.into(), takes.into()]);
    });
    Ok(())
}

fn value_of(option: &str, word: &str) -> Result<u64, Failure> {
    number(word).or_else(|error| fail(format_args!("bench: {option} {word}: {error}")))
}

fn pages(word: &str) -> Result<usize, Failure> {
    let pages = value_of("--pages", word)?;
    match usize::try_from(pages) {
        Ok(count) if PAGES.contains(&pages) => Ok(count),
        _ => fail(format_args!("bench: --pages is {} to {}", PAGES.start(), PAGES.end())),
    }
}

fn mix(word: &str) -> Result<Mix, Failure> {
    Mix::named(word).map_or_else(
        || {
            let mut names: heapless::String<64> = heapless::String::new();
            for (place, (name, _)) in Mix::ALL.iter().enumerate() {
                // There is room for the few that there are.
                let _ = write!(names, "{}{name}", if place == 0 { "" } else { ", " });
            }
            fail(format_args!("bench: there is no mix {word}; there are {names}"))
        },
        Ok,
    )
}

/// Numbers of cores between commas.
fn core_counts(list: &str) -> Result<CoreCounts, Failure> {
    let one = |word| match usize::try_from(value_of("--cores", word)?) {
        Ok(count) if (1..=cores::online()).contains(&count) => Ok(count),
        _ => fail(format_args!(
            "bench: --cores is 1 to {}, or several of these as 1,2",
            cores::online()
        )),
    };
    list.split(',').map(one).collect()
}
