//! What commands show: figures as JSON, and text in as many columns as a terminal has.

use core::cell::RefCell;
use core::ops::Range;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::machine::Config;
use crate::run::{self, Scratch};
use crate::script::{Failure, Line, Session};
use crate::test::linux::Removed;
use crate::test::terminal::Terminal;
use crate::test::{Bench, MACHINE_LIMIT, described};

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Pages that are to be stored before its store is looked at.
const ENOUGH: u64 = 200;
/// Guests of the bundle: one that writes to its disk for some seconds, one whose name is as long as
/// a name may be, and one that cannot be started.
const GUESTS: [(&str, &str); 3] = [
    (
        "long",
        "memory = 16M\nkernel = kernel.img\nswap = 32M\nsecond = zstd:9\nbacking = on\ncmdline = bale.long",
    ),
    ("twenty-four-letters-long", "memory = 8M\nkernel = kernel.img"),
    ("nocodec", "memory = 8M\nkernel = kernel.img\nswap = 4M\ncodec = none"),
];
/// Every command that shows figures, and what goes before some of them.
const FIGURES: [&str; 17] = [
    "vm run --json",
    "cores --json",
    "irq --json",
    "irq 0 --json",
    "tasks --json",
    "mem --json",
    "pool --json",
    "pool classes --json",
    "drain --json",
    "log --json",
    "trace --json",
    "swap --json",
    "vm list --json",
    "vm stats 0 --json",
    "board report --json",
    "bench list --json",
    "vm start long --json",
];
/// The same, once that machine has stored some pages.
const FIGURES_OF_IT: [&str; 18] = [
    "vm pause long",
    "swap long --json",
    "swap long slots --json",
    "swap long slots 100 5 --json",
    "swap long idle --json",
    "swap long recompress --pages 64 --json",
    "swap long writeback 64 --json",
    "swap long limit 4",
    "vm resume long",
    "vm stop long --json",
    "vm wait long --json",
    "vm start --mode 5 --json",
    "vm kill swapper --json",
    "pool compact --json",
    "drain flush --json",
    "core offline 2 --json",
    "core online 2",
    "cores reset --json",
];

/// The usual machine with these guests and a disk behind the store, both of which go with the first
/// two.
fn machine(bench: &Bench<'_>, name: &str) -> Result<(Removed, Scratch, Config)> {
    let bundle = described::bundle(bench, name, &GUESTS)?;
    let mut config = bench.config();
    config.cores = 4;
    config.initrd = Some(bundle.0.clone());
    let disk = run::with_backing(&mut config, 64 << 20, &[])?;
    Ok((bundle, disk, config))
}

/// Every command with figures gives a line of JSON, and nothing is drawn for people; figures agree
/// with one another.
pub(super) fn as_json(bench: &Bench<'_>) -> Result<()> {
    let (_bundle, _disk, config) = machine(bench, "figures")?;
    let lines = RefCell::new(Vec::new());
    let stored =
        said(bench, &config, &lines).map_err(|failure| anyhow!("{failure}:\n{}", text(&lines)))?;
    let text = text(&lines);
    ensure!(!text.contains('\x1b') && !text.contains("error: "), "{text}");
    let found: Vec<Value> =
        lines.borrow().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // How far it was is asked time and again.
    let found: Vec<_> =
        found.into_iter().enumerate().filter(|(at, _)| !stored.contains(at)).collect();
    let found: Vec<_> = found.into_iter().map(|(_, value)| value).collect();
    let asked =
        || FIGURES.iter().chain(&FIGURES_OF_IT).filter_map(|line| line.strip_suffix(" --json"));
    let (shown, wanted) = (found.len(), asked().count());
    ensure!(shown == wanted, "{shown} of {wanted} lines:\n{text}");
    let of = |command: &str| {
        let place = asked().position(|asked| asked == command);
        place.map(|place| &found[place]).with_context(|| format!("no {command}"))
    };
    let number = |value: &Value, key: &str| {
        value[key].as_u64().with_context(|| format!("no number {key} in {value}"))
    };
    let drain = of("drain")?;
    // Nothing runs any more, so that nothing is pending: that is computed from the others.
    let taken = ["drained", "helped", "flushed"]
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
    let board = of("board report")?;
    let length = |key: &str| board[key].as_array().map(Vec::len);
    ensure!(number(board, "online")? == 4 && length("redistributors") == Some(4), "{board}");
    ensure!(
        board["psci_version"].as_str().is_some_and(|version| version.starts_with("1.")),
        "{board}"
    );
    let level = |row: &&Value| row["register"] == "CurrentEL" && row["value"] == "0x8";
    let levels = board["registers"].as_array().map(|rows| rows.iter().filter(level).count());
    ensure!(levels == Some(4), "{board}");
    let mem = of("mem")?;
    ensure!(number(mem, "free_frames")? < number(mem, "frames")?, "{mem}");
    let vm = of("vm stats 0")?;
    ensure!(vm["state"] == "exited with status 0" && number(vm, "calls")? > 0, "{vm}");
    ensure!(
        of("swap")?["swap"][0]["stored_pages"] == 3072
            || of("swap")?["swap"][0]["writes"].as_u64() > Some(0),
        "no swap"
    );
    let started = number(of("vm start long")?, "vm")?;
    let [run, stopped, killed] = ["vm run", "vm wait long", "vm kill swapper"].map(of);
    let (run, stopped, killed) = (run?, stopped?, killed?);
    ensure!(
        run["pages_equal"] == 4096 && run["bytes_lost"] == 0 && run["guest"] == "swapper",
        "{run}"
    );
    ensure!(
        stopped["vm"] == started && stopped["state"] == "killed" && killed["state"] == "killed",
        "{stopped} {killed}"
    );
    ensure!(number(of("vm stop long")?, "vm")? == started, "another one was stopped");
    let stored = number(of("swap long")?, "stored_pages")?;
    // The machine stands still, but for what was on its way.
    let idle = number(of("swap long idle")?, "idle_pages")?;
    ensure!(stored >= ENOUGH && idle >= ENOUGH, "{idle} of {stored} pages are idle");
    let slots = &of("swap long slots 100 5")?["slots"];
    ensure!(slots.as_array().is_some_and(|slots| slots.len() == 5), "{slots}");
    ensure!(
        of("swap long recompress --pages 64")?["tried_pages"] == 64,
        "not as many pages as were asked for"
    );
    ensure!(
        of("swap long writeback 64")?["written_pages"] == 64,
        "not as many pages as were asked for"
    );
    ensure!(number(of("drain flush")?, "pending")? == 0, "the drain is not done");
    ensure!(of("core offline 2")?["core"] == 2, "another core went");
    let benches = of("bench list")?["benches"].as_array().context("no benches")?;
    ensure!(
        benches.iter().any(|bench| bench["name"] == "malloc" && bench["takes"] == "pages cycles"),
        "{benches:?}"
    );
    Ok(())
}

/// Runs all of them; which of the lines of JSON only told how many pages the machine has stored.
fn said(
    bench: &Bench<'_>,
    config: &Config,
    lines: &RefCell<Vec<String>>,
) -> Result<Range<usize>, Failure> {
    let mut show = |line: &Line| match line {
        Line::Text(text) | Line::Log(text) => lines.borrow_mut().push(text.clone()),
    };
    let mut session = Session::start(config, Some(bench.decoder), MACHINE_LIMIT, &mut show)?;
    for line in FIGURES {
        session.command(line)?;
    }
    let shown = || lines.borrow().iter().filter(|line| line.starts_with('{')).count();
    let first = shown();
    loop {
        session.command("swap long --json")?;
        let last =
            lines.borrow().iter().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        // An error is seen by who looks at the lines.
        if last
            .and_then(|figures| figures["stored_pages"].as_u64())
            .is_none_or(|pages| pages >= ENOUGH)
        {
            break;
        }
    }
    let asked = first..shown();
    for line in FIGURES_OF_IT {
        session.command(line)?;
    }
    session.power_off()?;
    Ok(asked)
}

fn text(lines: &RefCell<Vec<String>>) -> String {
    lines.borrow().join("\n")
}

pub(super) fn text_fits(bench: &Bench<'_>) -> Result<()> {
    let names = [
        "cores", "core", "board", "irq", "tasks", "mem", "pool", "swap", "drain", "vm", "log",
        "trace", "watch", "page", "selftest", "bench", "crash", "reboot", "poweroff", "top", "?",
        "clear", "dmesg", "exit", "free", "history", "ps", "uptime", "version",
    ];
    let helps: Vec<_> = names.iter().map(|name| format!("help {name}")).collect();
    // The guests of modes 1 and 2 do not end well, and `nocodec` cannot be started.
    let refused = "vm start nocodec\nvm run --mode 1\nvm run --mode 2";
    let commands = "help; vm run; cores; free; uptime; version; top --count 1; irq; irq 0; tasks; mem; pool; pool classes; drain; log; trace; swap; vm stats 0; \
                    bench list; bench run ladder --cores 2; vm run twenty-four-letters-long; vm start long; watch -n 1 --count 2 swap; \
                    vm pause long; swap long; swap long slots; swap long idle; swap long recompress --pages 64; swap long writeback 64; \
                    vm list; vm kill long; pool compact; drain flush; core offline 3";
    let (_bundle, _disk, config) = machine(bench, "fits")?;
    let script = format!("{}\n{refused}\nvm list\n{commands}", helps.join("; "));
    let lines = bench.answers(&config, &script, 3).map_err(|why| anyhow!(why))?;
    ensure!(
        lines.iter().any(|line| line.trim() == "may only read"),
        "no reason goes on:\n{}",
        lines.join("\n")
    );
    // The kernel's log, and what the tool says of an address, are not the shell's.
    let wide = lines.iter().find(|line| {
        line.chars().count() > WIDTH && !line.starts_with('[') && !line.contains("#0 +")
    });
    match wide {
        None => Ok(()),
        Some(line) => Err(anyhow!("{} columns: {line}", line.chars().count())),
    }
}

/// Why a command failed goes on in a second line where somebody is at a terminal; a script has one,
/// whatever its length.
pub(super) fn errors_fit(bench: &Bench<'_>) -> Result<()> {
    let name = "n".repeat(40);
    let command = format!("vm start {name}");
    let why = format!(
        "error: vm {name}: a machine's name has 24 letters at most; rename its description"
    );
    let said = Terminal::start(bench, 0)?.line(&command)?;
    let lines: Vec<_> = said.lines().collect();
    ensure!(lines.iter().all(|line| line.chars().count() < WIDTH), "{said}");
    let words: Vec<_> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
    ensure!(
        words.join(" ").contains(&why) && lines.iter().any(|line| line.starts_with("       ")),
        "{said}"
    );
    let lines = super::run(bench, &command, 1)?;
    ensure!(lines.contains(&why), "{lines:?}");
    Ok(())
}
