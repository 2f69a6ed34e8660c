//! Machines of several shapes that must work, and broken ones that must say so: one clear message,
//! no hang.

use std::fs;
use std::time::Duration;

use super::dialogue::ensure;
use super::report::{Case, Outcome};
use super::terminal::Terminal;
use super::uefi::passes_target_tests;
use super::{Bench, MACHINE_LIMIT};
use crate::build;
use crate::cli::SetupOptions;
use crate::machine::{Config, Start};
use crate::script::Failure;
use crate::{toolchain, workspace};

/// Long enough for a message, short enough to notice a hang.
const MESSAGE_LIMIT: Duration = Duration::from_secs(60);

/// Every case; the good shapes `repeat` times each.
pub(super) fn cases<'a>(bench: &'a Bench<'_>, repeat: u32) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    for cores in [1, 2, 4, 12] {
        for round in 1..=repeat {
            let name = format!("boot::swaps_on_{cores}_cores::{round}");
            cases.push(Case { name, run: Box::new(move || Outcome::of(swaps(bench, cores))) });
        }
    }
    for (name, firmware) in [("with_seeds", true), ("without_seeds", false)] {
        let run = move || Outcome::of(draws_anew(bench, firmware));
        cases.push(Case { name: format!("boot::draws_anew_{name}"), run: Box::new(run) });
    }
    // What the Orion O6 has and the usual machine has not: redistributors of four frames, memory
    // above 4 GiB, more in the ID registers; and firmware at EL3.
    let mut shape = |name: &str, change: fn(&mut Config)| {
        let run = move || Outcome::of(swaps_on(bench, change));
        cases.push(Case { name: format!("shape::{name}"), run: Box::new(run) });
    };
    shape("gic_v4", |config| config.gic = 4);
    shape("8_gib", |config| config.memory = "8G".into());
    // Two ranges of memory in the tables, of two nodes.
    shape("numa", |config| {
        let half = "memory-backend-ram,size=512M,id";
        config.extra = words(&["-numa", "node,memdev=a", "-numa", "node,memdev=b"]);
        config.extra.extend(
            ["a", "b"].into_iter().flat_map(|id| ["-object".into(), format!("{half}={id}")]),
        );
    });
    shape("cpu_max", |config| config.extra = words(&["-cpu", "max"]));
    shape("cpu_a76", |config| config.extra = words(&["-cpu", "cortex-a76"]));
    shape("firmware_at_el3", |config| config.extra = words(&["-machine", "secure=on"]));
    // What guests may rely on, and what they may not see of each other, differs with what cores
    // have.
    for cpu in toolchain::cores(&["cortex-a76", "neoverse-n1", "neoverse-n2", "max"]) {
        for test in [
            "guests::debugs_itself",
            "guests::no_register_is_shared",
            "mapping::code_is_entered_at_landing_pads",
        ] {
            let run = move || {
                let mut config = bench.config();
                config.extra = words(&["-cpu", cpu]);
                let (lines, status) = bench.script(&config, &format!("selftest {test}"))?;
                if status == 0 { Ok(()) } else { Err(lines.join("\n")) }
            };
            let name = format!("shape::{}_on_{}", test.replace("::", "_"), cpu.replace('-', "_"));
            cases.push(Case { name, run: Box::new(move || Outcome::of(run())) });
        }
    }
    cases.push(Case {
        name: "shape::cpu_max_shows_no_more".into(),
        run: Box::new(|| Outcome::of(hides(bench))),
    });
    cases.push(Case {
        name: "shape::small_cores_drain_for_fast_ones".into(),
        run: Box::new(|| Outcome::of(small_cores_drain(bench))),
    });
    cases.push(Case {
        name: "shape::target_tests_with_small_cores".into(),
        run: Box::new(|| {
            let mut config = bench.config();
            config.arguments.push_str(" small=8-11");
            Outcome::of(passes_target_tests(bench, &config))
        }),
    });
    cases.push(Case {
        name: "vm::stop_tells_later".into(),
        run: Box::new(|| Outcome::of(stops_later(bench))),
    });
    cases.push(Case {
        name: "limit::a_machine_that_hangs_is_ended".into(),
        run: Box::new(|| Outcome::of(ends(bench))),
    });
    let crashes_and_what_they_say = [
        ("panic", "panic on core "),
        ("read", "exception on core "),
        ("write", "data abort on a write, not permitted"),
        ("overflow", "attempt to add with overflow"),
        ("stack", "the stack of task "),
        ("emergency", "the emergency stack is full"),
    ];
    for (what, says) in crashes_and_what_they_say {
        let run = move || Outcome::of(crashes(bench, what, says));
        cases.push(Case { name: format!("crash::{what}_is_reported"), run: Box::new(run) });
    }
    cases.push(Case {
        name: "crash::a_hung_core_is_named".into(),
        run: Box::new(|| Outcome::of(hangs(bench))),
    });
    cases.push(Case {
        name: "crash::a_hung_boot_core_is_named".into(),
        run: Box::new(|| Outcome::of(boot_core_hangs(bench).map_err(|error| format!("{error:#}")))),
    });
    cases.push(Case {
        name: "limit::image_and_static_memory".into(),
        run: Box::new(|| Outcome::of(sizes(bench))),
    });
    let mut bad = |name: &str, words: &'static [&'static str], change: fn(&mut Config)| {
        let run = move || {
            let mut config = bench.config();
            change(&mut config);
            Outcome::of(stops(bench, &config, words))
        };
        cases.push(Case { name: format!("bad_input::{name}"), run: Box::new(run) });
    };
    bad("no_device_tree", &["device tree"], |config| {
        if let Start::Kernel(image) = &config.start {
            config.start = Start::Loader(vec![(image.clone(), 0x4020_0000)]);
        }
    });
    bad("memory_of_64_mib", &["MiB"], |config| config.memory = "64M".into());
    bad("gicv2", &["GIC"], |config| {
        config.gic = 2;
        config.cores = 8;
    });
    bad("no_virtualization", &["EL1", "virtualization=on"], |config| config.virtualization = false);
    for (name, content, word) in [
        ("missing", None, "cannot read"),
        ("empty", Some(0), "is empty"),
        ("cut", Some(4095), "4095 bytes"),
    ] {
        let run = move || Outcome::of(refuses_pages(name, content, word));
        cases.push(Case { name: format!("bad_input::pages_{name}"), run: Box::new(run) });
    }
    cases
}

/// The whole way: guest, swap, verify, exit, drain; checked by the kernel's own test on a machine
/// of this shape.
fn swaps(bench: &Bench<'_>, cores: u32) -> Result<(), String> {
    let mut config = bench.config();
    config.cores = cores;
    swaps_with(bench, &config)
}

fn swaps_on(bench: &Bench<'_>, change: fn(&mut Config)) -> Result<(), String> {
    let mut config = bench.config();
    change(&mut config);
    swaps_with(bench, &config)
}

pub(super) fn swaps_with(bench: &Bench<'_>, config: &Config) -> Result<(), String> {
    let test = "guests::exit_releases_everything";
    // The command's status is 0 only if the books balance and an interrupt was raised.
    let (lines, status) = bench.script(config, &format!("vm run; selftest {test}"))?;
    let wanted = [
        "read back equal, 0 bytes lost",
        "pool: 0 objects, 0 pages",
        &format!("test {test} ... ok"),
    ];
    let said = |text: &str| lines.iter().any(|line| line.contains(text));
    if status == 0 && wanted.iter().all(|text| said(text)) { Ok(()) } else { Err(lines.join("\n")) }
}

/// No two boots of the same machine draw the same random number, whether its device tree has seeds
/// or not.
fn draws_anew(bench: &Bench<'_>, firmware: bool) -> Result<(), String> {
    let mut config = bench.config();
    let randomness = if firmware { "on" } else { "off" };
    config.extra = words(&["-machine", &format!("dtb-randomness={randomness}")]);
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let test = "selftest drawing::no_number_comes_twice; board report --json";
        let (lines, status) = bench.script(&config, test)?;
        let number = lines.iter().find_map(|line| line.strip_prefix("drawn "));
        let report =
            lines.iter().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let bytes = report.and_then(|report| report["random_firmware_bytes"].as_u64());
        match (status, number, bytes) {
            (0, Some(number), Some(bytes)) if (bytes > 0) == firmware => {
                drawn.push(number.to_owned())
            }
            _ => return Err(lines.join("\n")),
        }
    }
    if drawn[0] == drawn[1] { Err(format!("both drew {}", drawn[0])) } else { Ok(()) }
}

/// What the largest core has and guests are not shown is undefined there, as on the usual one.
fn hides(bench: &Bench<'_>) -> Result<(), String> {
    let mut config = bench.config();
    config.extra = words(&["-cpu", "max"]);
    let test = "guests::undefined_instruction";
    let (lines, status) = bench.script(&config, &format!("selftest {test}"))?;
    if status == 0 { Ok(()) } else { Err(lines.join("\n")) }
}

/// Some cores are called small: those take the drain interrupts of the others, and all memory comes
/// back.
fn small_cores_drain(bench: &Bench<'_>) -> Result<(), String> {
    let mut config = bench.config();
    config.arguments.push_str(" small=1-4");
    swaps_with(bench, &config)?;
    let lines = bench.answers(&config, "vm run; irq --json", 0)?;
    let irq = lines.iter().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let irq = irq.ok_or("no line of JSON")?;
    let name = |row: &serde_json::Value| {
        irq["sources"].as_array()?.iter().find(|source| source["intid"] == row["intid"])?["name"]
            .as_str()
    };
    let rows =
        irq["by_core"].as_array().into_iter().flatten().filter(|row| name(row) == Some("drain"));
    let counts: Vec<u64> = rows.filter_map(|row| row["taken"].as_u64()).collect();
    let small = counts.iter().skip(1).take(4).sum::<u64>();
    if small > 0 && small == counts.iter().sum::<u64>() { Ok(()) } else { Err(lines.join("\n")) }
}

/// `vm stop` asks and goes on; the end, and that the drain is done, are told when they come.
fn stops_later(bench: &Bench<'_>) -> Result<(), String> {
    let endless = "vm start --mode 5\nvm stop 0\nvm wait 0\nvm stop 0\nvm run";
    let mut lines = Vec::new();
    let status = bench.session(&bench.config(), endless, MACHINE_LIMIT, &mut lines);
    let place = |text: &str| lines.iter().position(|line| line.contains(text));
    let told = [
        place("vm 0 is asked to stop"),
        place("vm 0 has stopped, 0 slots released"),
        place("the drain is done"),
    ];
    let refused =
        place("vm 0 does not run").is_some() && status.as_ref().is_ok_and(|status| *status != 0);
    if refused && told.iter().all(Option::is_some) && told.is_sorted() {
        Ok(())
    } else {
        Err(lines.join("\n"))
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A guest that never ends, with nobody to kill it: the time limit ends the machine, and that is a
/// failure.
fn ends(bench: &Bench<'_>) -> Result<(), String> {
    let limit = Duration::from_secs(15);
    let mut lines = Vec::new();
    let result = bench.session(&bench.config(), "vm run --mode 5", limit, &mut lines);
    // The guest spins on the last core, and QEMU's monitor says so.
    let place = |core: u32| lines.iter().any(|line| line.starts_with(&format!("  #{core} ")));
    match result {
        Err(Failure::TimedOut(_, what)) if what.contains("vm run") && place(0) && place(11) => {
            Ok(())
        }
        Err(other) => Err(format!("ended otherwise: {other}")),
        Ok(status) => Err(format!("an endless guest ended with status {status}")),
    }
}

/// A crash of the kernel: its report has a cause and a backtrace that names this command's
/// function.
fn crashes(bench: &Bench<'_>, what: &str, says: &str) -> Result<(), String> {
    let mut lines = Vec::new();
    let result =
        bench.session(&bench.config(), &format!("crash {what}"), MESSAGE_LIMIT, &mut lines);
    let report = lines.join("\n");
    match result {
        Err(Failure::Stopped(_))
            if report.contains(says)
                && report.contains(" on core ")
                && report.contains("bale_monitor::shell::tools::") =>
        {
            Ok(())
        }
        Err(other) => Err(format!("{other}\n{report}")),
        Ok(_) => Err(format!("it went on:\n{report}")),
    }
}

/// The product's image is to fit into a MiB, and static memory of the one that measures itself,
/// stacks and all, into four, whatever the number of cores.
fn sizes(bench: &Bench<'_>) -> Result<(), String> {
    // The toolchain is there, or this test would not run: nothing is installed.
    let product =
        build::product(&SetupOptions { yes: false }).map_err(|error| format!("{error:#}"))?;
    let image = std::fs::metadata(product).map_err(|error| error.to_string())?.len();
    let lines = bench.answers(&bench.config(), "mem --json", 0)?;
    let mem = lines
        .iter()
        .find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .ok_or("no JSON")?;
    let parts = mem["parts"].as_array().into_iter().flatten();
    let fixed =
        parts.filter(|part| ["data", "bss", "stacks"].iter().any(|name| part["part"] == *name));
    let kib: u64 = fixed.filter_map(|part| part["kib"].as_u64()).sum();
    if image <= 1 << 20 && (1..=4096).contains(&kib) {
        Ok(())
    } else {
        Err(format!(
            "the image has {image} bytes, of at most {}; static memory {kib} KiB, of at most 4096",
            1 << 20
        ))
    }
}

/// A core that takes no interrupts any more: the watchdog names it and its task, and the rest goes
/// on.
fn hangs(bench: &Bench<'_>) -> Result<(), String> {
    let mut config = bench.config();
    config.cores = 3;
    config.arguments.push_str(" watchdog=3");
    bench.talk(&config, |machine| {
        machine.ask("crash hang")?;
        machine.until("cores", |cores| cores["cores"][2]["state"] == "hung")?;
        let named = machine.until_said("bale: core 2 has taken no interrupt for 3 s; task ")?;
        ensure(named.ends_with("(hang) runs there"), "the task is not named")?;
        let accused = |core| machine.has_said(&format!("bale: core {core} has taken"));
        ensure(!accused(0) && !accused(1), "a core that is well is accused")?;
        machine.ask("vm run --core 1")?;
        ensure(
            machine.has_said("  4096 pages swapped out, 4096 read back equal"),
            "no guest ran beside it",
        )
    })
}

/// The boot core takes no interrupts any more, and its own watchdog neither: another core names it.
/// The shell has gone with it.
fn boot_core_hangs(bench: &Bench<'_>) -> anyhow::Result<()> {
    // Far longer than a busy host keeps one of its threads from running.
    let mut terminal =
        Terminal::with(bench, |config| config.arguments = "noguest rows=0 watchdog=6".into())?;
    terminal.send(b"crash hang 0\r")?;
    terminal.wait("bale: core 0 has taken no interrupt for 6 s; task ")?;
    let task = terminal.wait(") runs there")?;
    anyhow::ensure!(task.ends_with(" (hang) runs there"), "{task}");
    // A byte more than the UART's FIFO holds: the last one comes by its interrupt, which was the
    // boot core's.
    terminal.wait("\nbale: the shell is on that core\r\n")?;
    Ok(())
}

pub(super) fn stops(bench: &Bench<'_>, config: &Config, words: &[&str]) -> Result<(), String> {
    let mut lines = Vec::new();
    match bench.session(config, "help", MESSAGE_LIMIT, &mut lines) {
        Err(Failure::Stopped(reason)) if words.iter().all(|word| reason.contains(word)) => {
            let messages = lines.iter().filter(|line| line.starts_with("bale: ")).count();
            if messages == 1 {
                Ok(())
            } else {
                Err(format!("{messages} messages instead of one:\n{}", lines.join("\n")))
            }
        }
        Err(failure) => Err(format!("{failure}\n{}", lines.join("\n"))),
        Ok(_) => Err("it started as if nothing were wrong".into()),
    }
}

/// The tool itself, as a user calls it, with a bad pages file.
fn refuses_pages(name: &str, content: Option<usize>, word: &str) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let path = std::env::temp_dir().join(format!("bale-pages-{name}-{}", std::process::id()));
    if let Some(length) = content {
        fs::write(&path, vec![0x5a; length]).map_err(text)?;
    }
    let tool = std::env::current_exe().map_err(text)?;
    let output = workspace::command(tool)
        .args(["run", "--exec", "help", "--pages"])
        .arg(&path)
        .output()
        .map_err(text)?;
    // It was not there in one of the cases.
    let _ = fs::remove_file(&path);
    let message = String::from_utf8_lossy(&output.stderr);
    let lines = message.lines().count();
    if !output.status.success() && lines == 1 && message.contains(word) {
        Ok(())
    } else {
        Err(format!("{}, {lines} lines: {message}", output.status))
    }
}
