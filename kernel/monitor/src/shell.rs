//! The shell on the UART: commands of one line, several behind one another with `;`.
//!
//! With the boot argument `exec` it serves a script: nothing is echoed, a line `\x1eREADY` comes
//! before the first command is read, and a line `\x1eSTATUS n` after each line of commands, 0 when
//! all of them succeeded. A byte 0x03 stops what runs for long, as Ctrl-C does at a terminal:
//! status 1, and what came before it and was not read yet is dropped. Where nothing runs it drops
//! the line that was begun, and is answered with status 1 too.

mod alone;
mod completion;
mod familiar;
mod guest;
mod machine;
pub mod show;
mod store;
mod swap;
mod terminal;
mod tools;
mod trace;
mod watch;

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicBool, Ordering};

use bale_core::shell::wrap::{self, WIDTH};
use bale_core::shell::{Event, LineEditor, commands, number, words};
use heapless::String;
use spin::Once;

pub use self::show::show;
use self::show::{Show, say};
use bale_io::console::{self, Input, Text, pager, progress};
use bale_io::{last_words, print, println};
use bale_memory as memory;
use bale_rt::{cores, platform};

const PROMPT: &str = "bale> ";
const LONGEST_LINE: usize = 512;
const HISTORY: usize = 16;
/// Commands come from somebody at a terminal: neither a script's, nor those of the boot.
static TYPED_AT: AtomicBool = AtomicBool::new(false);

/// Why a command failed, in one line.
pub struct Failure(String<160>);

/// How a command ended.
pub type Outcome = Result<(), Failure>;

/// A failure with this reason.
///
/// # Errors
/// Always.
pub fn fail<T>(why: fmt::Arguments<'_>) -> Result<T, Failure> {
    let mut text = String::new();
    // A longer reason is cut.
    let _ = text.write_fmt(why);
    Err(Failure(text))
}

/// The words behind a command's name.
pub struct Arguments<'a> {
    command: &'static str,
    words: &'a [&'a str],
    /// What was typed before, if a person does.
    editor: Option<&'a Editor>,
}

impl<'a> Arguments<'a> {
    /// All of them.
    pub fn words(&self) -> &'a [&'a str] {
        self.words
    }

    /// The words but a last `--json`, and whether there was one.
    fn with_json(&self) -> (&'a [&'a str], bool) {
        match self.words {
            [words @ .., "--json"] => (words, true),
            words => (words, false),
        }
    }

    /// The same, as arguments.
    fn but_json(&self) -> (Self, bool) {
        let (words, json) = self.with_json();
        (Self { words, ..*self }, json)
    }

    /// The command takes nothing but `--json`; whether it got that.
    fn only_json(&self) -> Result<bool, Failure> {
        let (plain, json) = self.but_json();
        plain.none().map(|()| json)
    }

    /// The command takes no arguments.
    fn none(&self) -> Outcome {
        match self.words {
            [] => Ok(()),
            [first, ..] => {
                fail(format_args!("{} takes no argument, but got {first}", self.command))
            }
        }
    }

    /// The number behind `--name`, or `default` without it.
    fn option(&self, name: &str, default: u64) -> Result<u64, Failure> {
        let Some(place) = self.words.iter().position(|word| *word == name) else {
            return Ok(default);
        };
        match self.words.get(place + 1) {
            None => fail(format_args!("{name} needs a number behind it")),
            Some(word) => {
                number(word).or_else(|error| fail(format_args!("{name} {word}: {error}")))
            }
        }
    }

    /// Every word that starts with `--` is one of `known`; each takes a value.
    fn only_options(&self, known: &[&str], from: usize) -> Outcome {
        let mut rest = self.words.get(from..).unwrap_or(&[]);
        while let [word, after @ ..] = rest {
            if !known.contains(word) {
                return fail(format_args!(
                    "{}: {word} is not known here; `help {}` tells",
                    self.command, self.command
                ));
            }
            rest = after.get(1..).unwrap_or(&[]);
        }
        Ok(())
    }
}

/// A command of the shell.
pub struct Command {
    /// The word that is typed.
    pub name: &'static str,
    /// What there is to be typed behind it, a form each.
    pub usage: &'static [&'static str],
    /// What `help` says of it.
    pub about: &'static str,
    /// What it does.
    pub run: fn(&Arguments<'_>) -> Outcome,
    /// Visits the words that Tab offers for its arguments beside those that its usage names.
    pub offers: fn(&mut dyn FnMut(&'static str)),
}

/// For [`Command::offers`]: no words beside those of the usage.
pub fn offers_nothing(_visit: &mut dyn FnMut(&'static str)) {}

macro_rules! commands {
    ($($name:literal, [$($usage:literal),*], $about:literal => $run:path;)*) => {
        &[$(Command { name: $name, usage: &[$($usage),*], about: $about, run: $run, offers: offers_nothing }),*]
    };
}

/// Commands whose text comes as it comes: they run for long, have the terminal to themselves, or
/// are to be copied.
const NEVER_PAGED: [&str; 8] =
    ["bench", "board", "clear", "selftest", "top", "trace", "vm", "watch"];

/// Commands that only an image which measures itself has.
const MEASURING: [&str; 2] = ["bench", "selftest"];

/// Commands of the layers above, which boot adds.
static ADDED: Once<&'static [&'static [Command]]> = Once::new();

/// Adds the commands of layers above the shell. Once, at boot, before the shell's task runs.
pub fn add_commands(commands: &'static [&'static [Command]]) {
    ADDED.call_once(|| commands);
}

/// All commands: the shell's own, then those that were added.
fn all_commands() -> impl Iterator<Item = &'static Command> + Clone {
    COMMANDS.iter().chain(ADDED.get().into_iter().flat_map(|lists| lists.iter().copied().flatten()))
}

static COMMANDS: &[Command] = commands![
    "help", ["[COMMAND]"], "what there is, or how one command is used" => help;
    "cores", ["[--json]", "reset"], "cores: interrupts, switches, idle time; the longest stretch with interrupts masked, and the latest timer, which `reset` forgets" => machine::cores;
    "core", ["offline N [--json]", "online N"], "takes a core off, its ring emptied and its drains moved, or brings it back" => tools::core;
    "board", ["report [--json]"], "what cores, interrupt controller, firmware and tables say, to be pasted into an issue" => machine::board;
    "irq", ["[INTID] [--json]"], "interrupts: who handles them, how often they were taken" => machine::irq;
    "tasks", ["[--json]"], "tasks: core, priority, state" => machine::tasks;
    "mem", ["[--json]"], "memory: the image's parts, ranges, free frames, what pool and rings take" => machine::mem;
    "pool", ["[--json]", "classes [--json]", "compact [--json]"], "the compressed pool: objects, pages, metadata; its classes; give back now what part-filled zspages hold" => store::pool;
    "swap", ["[--json]", "VM [--json]", "VM slots [FIRST [COUNT]] [--json]", "VM idle [SECONDS] [--json]", "VM recompress [idle] [huge] [--least BYTES] [--pages N] [--json]", "VM writeback [PAGES] [--json]", "VM limit PAGES|none", "VM peak"], "swap devices of guests: what they hold; mark what is idle, pack it anew with the second codec, put it on the disk, change the limit, forget the peak" => swap::swap;
    "drain", ["[--json]", "flush [--json]"], "deferred frees: enqueued, drained, pending, interrupts" => store::drain;
    "vm", ["list [--json]", "stats VM [--json]", "start NAME [--json]", "stop VM [--json]", "kill|destroy VM [--json]", "wait VM [--json]", "pause VM", "resume VM", "console VM", "set VM memory SIZE", "set VM shares PART", "set VM cpu_limit BUDGET/PERIOD|none", "run NAME [--json]", "start|run [--mode M] [--core C] [--seed S] [--steps N] [--json]"], "virtual machines: those of the bundle by name, or without one the small guest; its mode 0 swaps, modes 1 to 6 each misbehave in a way, 7 measures exits; VM is a number of `vm list`, or a name" => guest::vm;
    "log", ["[--json]", "show", "stream on|off", "dump", "last"], "the defmt log: frames by core; `show` sends what waits, which `cargo bale` makes readable; `last` shows what the boot before left: a crash's report, the end of its log" => machine::log;
    "trace", ["[--json]", "on", "off", "dump"], "what each core did last: interrupts, switches, wake-ups, drain, guests; `cargo bale trace` makes a picture of it" => trace::trace;
    "watch", ["[-n SECONDS] [--count N] COMMAND"], "a command's text, drawn anew every two seconds until a key is pressed" => watch::watch;
    "page", ["ROWS", "off"], "how many lines the terminal has, if it did not say so itself: longer text stops behind each screen; `off` lets it run" => tools::page;
    "top", ["[-n SECONDS] [--count N]"], "load of the cores, memory, machines and tasks, drawn anew every two seconds until a key is pressed" => watch::top;
    "crash", ["panic", "read", "write", "overflow", "stack", "emergency", "hang [CORE]", "memory SECONDS"], "crash on purpose, to see the report; `emergency` uses up the stack that reports of full stacks are written on; `hang` takes a core away, the last one or CORE, which the watchdog finds: with core 0 goes the shell; `memory` takes all free memory for a while, which ends nothing" => tools::crash;
    "reboot", [""], "start the machine anew" => tools::reboot;
    "poweroff", [""], "turn the machine off" => tools::poweroff;
    "?", ["[COMMAND]"], "as help" => help;
    "clear", [""], "an empty screen" => familiar::clear;
    "dmesg", [""], "as log show" => familiar::log;
    "exit", [""], "how to leave" => familiar::exit;
    "free", ["[--json]"], "memory in KiB: all, taken, free, and what of it is the pool's" => familiar::free;
    "history", [""], "what was typed before; the upward key brings it back" => familiar::history;
    "ps", ["[--json]"], "as tasks" => machine::tasks;
    "uptime", ["[--json]"], "time since the start, and the load of all cores since then" => familiar::uptime;
    "version", ["[--json]"], "version, build and board" => familiar::version;
];

/// Prints words, in lines that begin behind `indent` blanks; the first one has begun, and stands
/// there.
pub fn print_wrapped(text: &str, indent: usize) {
    let room = WIDTH - indent;
    for (place, line) in wrap::lines(text, room, room).enumerate() {
        println!("{:indent$}{line}", "", indent = if place == 0 { 0 } else { indent });
    }
}

/// Why a command failed, in lines that fit behind what the first one begins with.
struct Wrapped<'a>(&'a str, usize);

impl fmt::Display for Wrapped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(text, indent) = self;
        let room = WIDTH - indent;
        wrap::lines(text, room, room).enumerate().try_for_each(|(place, line)| match place {
            0 => f.write_str(line),
            _ => write!(f, "\n{:indent$}{line}", ""),
        })
    }
}

/// Says why a command failed: in one line where a program reads it, in lines that fit where a
/// person does. In one piece, whatever guests say meanwhile.
fn complain(why: &str) {
    const BEGINS: &str = "error: ";
    if TYPED_AT.load(Ordering::Relaxed) {
        println!("{BEGINS}{}", Wrapped(why, BEGINS.len()));
    } else {
        println!("{BEGINS}{why}");
    }
}

fn help(arguments: &Arguments<'_>) -> Outcome {
    match arguments.words() {
        [] => {
            for command in all_commands() {
                print!("  {:<10}", command.name);
                print_wrapped(command.about, 12);
            }
            println!("Several commands go on one line with `;` between them.");
            Ok(())
        }
        [name] => match all_commands().find(|command| command.name == *name) {
            Some(command) => {
                for form in command.usage {
                    print!("  {} ", command.name);
                    print_wrapped(form, command.name.len() + 3);
                }
                print_wrapped(command.about, 0);
                Ok(())
            }
            None => familiar::no_such_command(name),
        },
        _ => fail(format_args!("help takes one command")),
    }
}

/// Runs the commands of a line, up to the first that fails; whether all succeeded.
fn run_line(line: &str, editor: Option<&Editor>) -> bool {
    for command in commands(line) {
        let words = match words(command) {
            Ok(words) => words,
            Err(error) => {
                let mut why: String<160> = String::new();
                // There is room for each of them.
                let _ = write!(why, "{error}");
                complain(&why);
                return false;
            }
        };
        if words.first().is_some_and(|name| !NEVER_PAGED.contains(name)) {
            pager::begin();
        }
        let outcome = run_command(&words, editor);
        pager::end();
        if let Err(Failure(why)) = outcome {
            complain(&why);
            return false;
        }
    }
    true
}

/// Runs one command.
fn run_command(words: &[&str], editor: Option<&Editor>) -> Outcome {
    let Some((name, rest)) = words.split_first() else { return Ok(()) };
    match all_commands().find(|command| command.name == *name) {
        Some(command) => (command.run)(&Arguments { command: command.name, words: rest, editor })
            .map_err(|failure| familiar::explain(command, rest, failure)),
        None if MEASURING.contains(name) => fail(format_args!(
            "this image has no {name}; the one that `cargo bale run` boots has it"
        )),
        None => familiar::no_such_command(name),
    }
}

type Editor = LineEditor<LONGEST_LINE, HISTORY>;

static EDITOR: spin::Mutex<Editor> = spin::Mutex::new(LineEditor::new(PROMPT));

/// The shell's task.
pub extern "C" fn task(_argument: u64) -> ! {
    if let Some(name) = platform::argument("guest") {
        alone::run(name);
    }
    let script = platform::has_argument("exec");
    // Only this task's, and for good: its stack has better uses.
    let mut editor = EDITOR.lock();
    if script {
        editor.silence();
    }
    greet();
    // Nobody need be there yet.
    run_at_boot();
    if !script {
        TYPED_AT.store(true, Ordering::Relaxed);
        progress::attend();
    }
    let mut typed = None;
    if script {
        println!("\x1eREADY");
    } else {
        if !platform::has_argument("noguest") {
            guest::start_first();
        }
        typed = terminal::find_rows(&mut editor);
    }
    loop {
        let event = typed.take().unwrap_or_else(|| feed(&mut editor, console::read(), &mut Text));
        let succeeded = match event {
            // An answer of the terminal that came too late is none any more.
            Event::None | Event::EndOfFile | Event::CursorAt { .. } => continue,
            Event::Complete => {
                completion::complete(&mut editor);
                continue;
            }
            Event::Interrupt => false,
            Event::TooLong => {
                println!(
                    "error: the line is longer than {LONGEST_LINE} characters; nothing was run"
                );
                false
            }
            Event::Foreign => {
                println!(
                    "error: commands are ASCII, and the line has other characters (?); nothing was run"
                );
                false
            }
            Event::Damaged => {
                println!("error: bytes of the line were lost; nothing was run");
                false
            }
            Event::Line => run_line(editor.line(), (!script).then_some(&*editor)),
        };
        if script {
            println!("\x1eSTATUS {}", u8::from(!succeeded));
        } else {
            print!("{PROMPT}");
        }
    }
}

/// Gives the editor what came from the line.
fn feed(editor: &mut Editor, input: Input, out: &mut dyn fmt::Write) -> Event {
    match input {
        Input::Byte(byte) => editor.feed(byte, out),
        Input::Lost => {
            editor.lose();
            Event::None
        }
    }
}

/// What the loader's `bale.toml` names, as if it were typed.
fn run_at_boot() {
    for line in platform::machine().map_or("", |machine| machine.commands.as_str()).lines() {
        println!("{PROMPT}{line}");
        run_line(line, None);
    }
}

fn greet() {
    let memory = memory::frames::usage().total / 256;
    println!(
        "Bale {} on {}: {} cores, {memory} MiB of memory, up after {} us.",
        env!("CARGO_PKG_VERSION"),
        platform::board_name(),
        cores::online(),
        platform::boot_us()
    );
    if last_words::length() > 0 {
        println!("The boot before left its last words: `log last` shows them.");
    }
    println!("`help` lists the commands.");
}
