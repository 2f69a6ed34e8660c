//! The kernel's shell at a terminal: what is typed, pasted, stopped and paged; its tables and its JSON.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use super::Bench;
use super::report::{Case, Outcome};
use super::terminal::Terminal;

/// Columns of a terminal.
const WIDTH: usize = 80;

pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    let case = |name: &str, test: fn(&Bench<'_>) -> Result<()>| Case {
        name: format!("shell::{name}"),
        run: Box::new(move || Outcome::of(test(bench).map_err(|error| format!("{error:#}")))),
    };
    vec![
        case("figures_as_json", figures_as_json),
        case("text_fits_80_columns", text_fits),
        case("bad_arguments_get_a_line", bad_arguments),
        case("ctrl_c_stops_a_benchmark", ctrl_c_stops),
        case("a_paste_of_10_kb", paste),
        case("long_text_stops_behind_a_screen", paged),
        case("watch_draws_until_a_key", watch),
        case("last_words_outlive_a_warm_reboot", last_words),
    ]
}

fn run(bench: &Bench<'_>, commands: &str) -> Result<Vec<String>> {
    let mut config = bench.config();
    config.cores = 4;
    bench.script(&config, commands).map(|(lines, _)| lines).map_err(|why| anyhow!(why))
}

/// Every command with figures gives a line of JSON, whose figures agree with one another.
fn figures_as_json(bench: &Bench<'_>) -> Result<()> {
    let commands = [
        "cores",
        "irq",
        "tasks",
        "mem",
        "pool",
        "pool classes",
        "drain",
        "log",
        "trace",
        "swap",
        "vm list",
        "vm stats 0",
    ];
    let script: Vec<_> = commands.iter().map(|command| format!("{command} --json")).collect();
    let lines = run(bench, &format!("vm run\n{}", script.join("\n")))?;
    let found: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    ensure!(
        found.len() == commands.len(),
        "{} of {} lines:\n{}",
        found.len(),
        commands.len(),
        lines.join("\n")
    );
    let of = |command: &str| {
        let place = commands.iter().position(|known| *known == command);
        place.map(|place| &found[place]).with_context(|| format!("no {command}"))
    };
    let number =
        |value: &Value, key: &str| value[key].as_u64().with_context(|| format!("no number {key} in {value}"));
    let drain = of("drain")?;
    let taken = ["drained", "helped", "flushed", "pending"]
        .iter()
        .map(|key| number(drain, key))
        .sum::<Result<u64>>()?;
    ensure!(number(drain, "enqueued")? == taken && taken > 0, "the books do not balance: {drain}");
    let pool = of("pool")?;
    ensure!(number(pool, "objects")? == 0 && number(pool, "pages")? == 0, "{pool}");
    let cores = &of("cores")?["cores"];
    ensure!(cores.as_array().is_some_and(|cores| cores.len() == 4), "{cores}");
    let irq = of("irq")?;
    for source in irq["sources"].as_array().context("no sources")? {
        let by_core = irq["by_core"].as_array().context("no cores")?.iter();
        let sum: u64 = by_core
            .filter(|row| row["intid"] == source["intid"])
            .filter_map(|row| row["taken"].as_u64())
            .sum();
        // More may have come between the two.
        ensure!(sum >= number(source, "taken")?, "{irq}");
    }
    let mem = of("mem")?;
    ensure!(number(mem, "free_frames")? < number(mem, "frames")?, "{mem}");
    let vm = of("vm stats 0")?;
    ensure!(vm["state"] == "exited with status 0" && number(vm, "calls")? > 0, "{vm}");
    ensure!(
        of("swap")?["swap"][0]["stored_pages"] == 3072 || of("swap")?["swap"][0]["writes"].as_u64() > Some(0),
        "no swap"
    );
    Ok(())
}

fn text_fits(bench: &Bench<'_>) -> Result<()> {
    let names = [
        "cores", "core", "board", "irq", "tasks", "mem", "pool", "swap", "drain", "vm", "log", "trace",
        "watch", "page", "selftest", "bench", "crash", "reboot", "poweroff",
    ];
    let helps: Vec<_> = names.iter().map(|name| format!("help {name}")).collect();
    let commands = "help; vm run; cores; irq; irq 0; tasks; mem; pool; pool classes; drain; log; trace; swap; vm list; vm stats 0; \
                    bench list; bench run ladder --cores 2";
    let lines = run(bench, &format!("{}\n{commands}", helps.join("; ")))?;
    // The kernel's log, and what the tool says of an address, are not the shell's.
    let wide = lines
        .iter()
        .find(|line| line.chars().count() > WIDTH && !line.starts_with('[') && !line.contains("#0 +"));
    match wide {
        None => Ok(()),
        Some(line) => Err(anyhow!("{} columns: {line}", line.chars().count())),
    }
}

/// Each gets one line that begins with `error: `, and the shell goes on.
fn bad_arguments(bench: &Bench<'_>) -> Result<()> {
    let bad = [
        "nonsense",
        "help nonsense",
        "help a b",
        "cores all",
        "cores --json x",
        "core",
        "core offline",
        "core offline x",
        "core offline 0",
        "core offline 99",
        "core online 1",
        "core nonsense 1",
        "board",
        "irq x",
        "irq 9999",
        "irq 1 2",
        "tasks x",
        "mem x",
        "pool x",
        "pool compact --json",
        "swap 99",
        "swap x",
        "swap 0 --json",
        "drain x",
        "vm x",
        "vm stop",
        "vm stop 99",
        "vm stop x",
        "vm stats 3",
        "vm start nobody",
        "vm start --mode 999",
        "vm start --core 99",
        "vm start --seed",
        "vm wait 3",
        "vm set 0 memory x",
        "vm stop 0 --json",
        "log x",
        "trace x",
        "watch",
        "watch -n 0 pool",
        "watch -n x pool",
        "watch pool",
        "watch --count 1 watch pool",
        "watch --count 1 nonsense",
        "page",
        "page 1",
        "page 99999",
        "selftest nonsense",
        "bench run nonsense",
        "bench run malloc --cores 0",
        "bench run malloc --cores 99",
        "bench run malloc --seed x",
        "bench run --nonsense",
        "crash",
        "crash x",
        "reboot x",
        "poweroff x",
        "\"open",
        "a b c d e f g h i j k l m n o p q",
        "pool 18446744073709551616",
        "vm wait 18446744073709551616",
    ];
    let lines = run(bench, &bad.join("\n"))?;
    let errors = lines.iter().filter(|line| line.starts_with("error: ")).count();
    ensure!(errors == bad.len(), "{errors} errors for {} commands:\n{}", bad.len(), lines.join("\n"));
    Ok(())
}

/// In the midst of a benchmark: it stops, gives back what it had, and the shell goes on.
fn ctrl_c_stops(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    let before = terminal.line("mem --json")?;
    for command in ["bench run ladder --cores 2", "bench run jitter", "selftest", "vm run --mode 5"] {
        terminal.send(command.as_bytes())?;
        terminal.send(b"\r")?;
        terminal.wait("\n")?;
        // What each says once it is at it; the machine that never ends says nothing.
        match command.split(' ').next() {
            Some("bench") => drop(terminal.wait("Bale 0.")?),
            Some("selftest") => drop(terminal.wait("... ok")?),
            _ => std::thread::sleep(Duration::from_millis(300)),
        }
        terminal.send(b"\x03")?;
        let said = terminal.prompt()?;
        ensure!(
            said.contains("stopped") || said.contains("interrupted"),
            "{command} was not stopped:\n{said}"
        );
    }
    terminal.line("vm kill 0")?;
    let pool = terminal.line("drain flush; pool --json")?;
    ensure!(pool.contains("\"objects\":0,"), "{pool}");
    let after = terminal.line("mem --json")?;
    let free = |text: &str| -> Option<u64> {
        text.split_once("\"free_frames\":")?.1.split(',').next()?.parse().ok()
    };
    // Tables of the pool's metadata may stay.
    let lost = free(&before).zip(free(&after)).map(|(before, after)| before.saturating_sub(after));
    ensure!(lost.is_some_and(|lost| lost < 64), "{lost:?} frames are missing:\n{before}\n{after}");
    Ok(())
}

/// 10 kB at once, as a line that is too long and as many lines: clear errors, and what is typed next works.
fn paste(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 0)?;
    // At the pace of a fast serial line: QEMU's has none, and a FIFO of 32 bytes would overflow as no line makes it.
    let send = |terminal: &mut Terminal, bytes: &[u8]| {
        bytes.chunks(16).try_for_each(|piece| {
            std::thread::sleep(Duration::from_micros(1_000));
            terminal.send(piece)
        })
    };
    send(&mut terminal, &vec![b'x'; 10_000])?;
    send(&mut terminal, b"\r")?;
    let said = terminal.prompt()?;
    ensure!(
        said.contains("longer than") && said.contains("nothing was run"),
        "{}",
        &said[said.len().saturating_sub(300)..]
    );
    let noise: Vec<u8> = (0..10_000u32)
        .map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .filter(|byte| *byte != 0x1d)
        .collect();
    send(&mut terminal, &noise)?;
    // Whatever the noise left behind in the line, or in the middle of a key.
    send(&mut terminal, b"\x1b[A\x03")?;
    send(&mut terminal, b"\rpool --json\r")?;
    let said = terminal.wait("\"objects\":")?;
    ensure!(!said.contains("panic"), "{said}");
    Ok(())
}

fn paged(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 10)?;
    terminal.send(b"help\r")?;
    terminal.wait("\n")?;
    let first = terminal.wait("--more--")?;
    ensure!(first.matches('\n').count() == 9, "{first}");
    terminal.send(b"\r")?;
    let second = terminal.wait("--more--")?;
    ensure!(second.matches('\n').count() == 1, "{second}");
    terminal.send(b" ")?;
    let third = terminal.wait("--more--")?;
    ensure!(third.matches('\n').count() == 9, "{third}");
    terminal.send(b"q")?;
    let rest = terminal.prompt()?;
    ensure!(!rest.contains('\n'), "{rest}");
    let all = terminal.line("page off; help")?;
    ensure!(all.contains("poweroff") && !all.contains("--more--"), "{all}");
    Ok(())
}

fn watch(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::start(bench, 10)?;
    terminal.send(b"watch -n 1 drain\r")?;
    terminal.wait("\x1b[2J")?;
    for _ in 0..2 {
        terminal.wait("\x1b[H")?;
        let picture = terminal.wait("\x1b[J")?;
        ensure!(picture.contains("enqueued") && picture.contains("\x1b[K\r\n"), "{picture:?}");
    }
    terminal.send(b" ")?;
    terminal.prompt()?;
    let once = terminal.line("watch --count 1 pool")?;
    ensure!(once.contains("objects"), "{once}");
    Ok(())
}

/// A crash's report, and why the machine was started anew, are there at the next boot, and only there.
fn last_words(bench: &Bench<'_>) -> Result<()> {
    let mut terminal = Terminal::with(bench, |config| {
        config.arguments = "noguest crash=reboot".into();
        config.reboots = true;
    })?;
    let none = terminal.line("log last")?;
    ensure!(none.contains("left nothing"), "{none}");
    terminal.send(b"crash panic\r")?;
    terminal.wait("its last words: `log last` shows them.")?;
    terminal.prompt()?;
    let crash = terminal.line("log last")?;
    // The log that nobody had taken, what went to the wire, and where it was.
    let wanted = ["defmt:", "panic on core 0", "asked for by the shell", "#0 +0x", "bale: stopped: a panic"];
    ensure!(wanted.iter().all(|text| crash.contains(text)), "{crash}");
    terminal.send(b"reboot\r")?;
    terminal.wait("its last words")?;
    terminal.prompt()?;
    let part = terminal.line("log last")?;
    ensure!(part.contains("started anew from the shell after") && !part.contains("panic"), "{part}");
    Ok(())
}
