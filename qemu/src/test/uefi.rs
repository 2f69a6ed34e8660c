//! Machines that start as a board does: UEFI firmware, the loader, the very disk image; and what
//! they say of themselves.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::matrix::swaps_with;
use super::report::{Case, Outcome};
use super::{Bench, MACHINE_LIMIT, described, target};
use crate::cli::{SetupOptions, Tables};
use crate::disk::File;
use crate::machine::{Config, Event, Machine, Start};
use crate::script::Failure;
use crate::{board, run};

pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    for (name, tables) in [("acpi", Tables::Acpi), ("dtb", Tables::Dtb)] {
        let run = move || Outcome::of(by_uefi(bench, tables, "", swaps_with));
        cases.push(Case { name: format!("uefi::{name}_12_cores"), run: Box::new(run) });
        let run = move || Outcome::of(by_uefi(bench, tables, "", reports_firmware));
        cases.push(Case { name: format!("report::by_uefi_{name}"), run: Box::new(run) });
        let run = move || Outcome::of(by_uefi(bench, tables, "", passes_target_tests));
        cases.push(Case { name: format!("uefi::{name}_target_tests"), run: Box::new(run) });
    }
    // Its middle is above 512 GiB, and the firmware's own memory at its end.
    let run = move || {
        let mut config = bench.config();
        config.set_sparse_memory(1100);
        Outcome::of(by_uefi_on(bench, config, Tables::Acpi, "", swaps_with))
    };
    cases.push(Case { name: "uefi::acpi_1100_gib".into(), run: Box::new(run) });
    let run = move || {
        let mut config = bench.config();
        config.extra = RANDOM_NUMBERS.map(str::to_owned).to_vec();
        Outcome::of(by_uefi_on(bench, config, Tables::Acpi, "", lies_elsewhere))
    };
    cases.push(Case { name: "uefi::the_kernel_lies_anywhere".into(), run: Box::new(run) });
    let run = move || Outcome::of(by_uefi(bench, Tables::Acpi, CONFIG, follows_config));
    cases.push(Case { name: "uefi::bale_toml_is_followed".into(), run: Box::new(run) });
    let run = move || Outcome::of(refuses_config(bench));
    cases.push(Case { name: "uefi::a_broken_bale_toml_is_said".into(), run: Box::new(run) });
    let run = move || Outcome::of(finds_plain_guests(bench));
    cases.push(Case { name: "uefi::guests_beside_bale_toml".into(), run: Box::new(run) });
    let run = move || Outcome::of(reports(bench, &bench.config()).map(drop));
    cases.push(Case { name: "report::by_kernel".into(), run: Box::new(run) });
    cases
}

type Check = fn(&Bench<'_>, &Config) -> Result<(), String>;

/// The very disk image that a board gets, started by UEFI firmware.
fn by_uefi(bench: &Bench<'_>, tables: Tables, further: &str, check: Check) -> Result<(), String> {
    by_uefi_on(bench, bench.config(), tables, further, check)
}

/// The same on another machine than the usual one.
fn by_uefi_on(
    bench: &Bench<'_>,
    mut config: Config,
    tables: Tables,
    further: &str,
    check: Check,
) -> Result<(), String> {
    let setup = SetupOptions { yes: true };
    let text = |error| format!("{error:#}");
    let file = board::config(&config.arguments, further).map_err(text)?;
    let disk = run::by_uefi(&mut config, bench.built, tables, file, &setup).map_err(text)?;
    let outcome = check(bench, &config);
    drop(disk);
    outcome
}

/// A device by which QEMU's firmware has random numbers.
pub(super) const RANDOM_NUMBERS: [&str; 2] = ["-device", "virtio-rng-pci"];

/// Where the firmware has random numbers, five boots have the kernel at different places (two may
/// have it at the same one by chance), a backtrace is explained wherever it is, and the kernel has
/// a seed of the firmware's.
fn lies_elsewhere(bench: &Bench<'_>, config: &Config) -> Result<(), String> {
    const BOOTS: usize = 5;
    let mut places = std::collections::BTreeSet::new();
    for _ in 0..BOOTS {
        let mut lines = Vec::new();
        let commands = "mem --json; board report --json; crash panic";
        let end = bench.session(config, commands, MACHINE_LIMIT, &mut lines);
        let text = lines.join("\n");
        let json: Vec<serde_json::Value> =
            lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let found = |name: &str| json.iter().find_map(|value| value.get(name));
        let parts = found("parts").and_then(|parts| parts.as_array()).into_iter().flatten();
        let place =
            parts.filter(|part| part["part"] == "text").find_map(|part| part["start"].as_str());
        let seed = found("random_firmware_bytes").and_then(serde_json::Value::as_u64);
        match (end, place, seed) {
            (Err(Failure::Stopped(_)), Some(place), Some(64))
                if text.contains("bale_monitor::shell::tools::") =>
            {
                places.insert(place.to_owned())
            }
            (end, ..) => return Err(format!("{end:?}\n{text}")),
        };
    }
    if places.len() + 1 < BOOTS { Err(format!("{BOOTS} boots at {places:?}")) } else { Ok(()) }
}

/// All tests of the target, on one machine since the firmware takes its time.
pub(super) fn passes_target_tests(bench: &Bench<'_>, config: &Config) -> Result<(), String> {
    const LIMIT: Duration = Duration::from_secs(900);
    let names = target::names(bench).map_err(|error| format!("{error:#}"))?;
    let commands: Vec<String> = names.iter().map(|name| format!("selftest {name}")).collect();
    let mut lines = Vec::new();
    let status = bench.session(config, &commands.join("\n"), LIMIT, &mut lines);
    let passed = |name: &String| lines.contains(&format!("test {name} ... ok"));
    match (status, names.iter().find(|name| !passed(name))) {
        (Ok(0), None) => Ok(()),
        (status, failed) => {
            Err(format!("{status:?}, first without `ok`: {failed:?}\n{}", lines.join("\n")))
        }
    }
}

/// Every key of `bale.toml` beside the arguments. The console is QEMU's own; the others change what
/// is seen.
const CONFIG: &str = r#"
console = [0x0900_0000, 33]
cores = 3
guests = ["nobody"]
commands = ["board report", "nonsense", "mem; tasks"]
"#;

fn follows_config(bench: &Bench<'_>, config: &Config) -> Result<(), String> {
    // Text that comes before the shell serves the script is among the lines.
    let (lines, status) = bench.script(config, "help")?;
    let wanted = [
        "vm start nobody",
        "error: ",
        "board report",
        "boot arguments: exec noguest",
        "cores: 3 of 3 online",
        "UART 0x9000000, interrupt 33",
        "nonsense",
        "error: there is no command nonsense",
        "mem; tasks",
        "task         name",
    ];
    let mut rest = lines.iter();
    match wanted.iter().find(|start| !rest.any(|line| line.starts_with(**start))) {
        None if status == 0 => Ok(()),
        missing => Err(format!("status {status}; missing: {missing:?}\n{}", lines.join("\n"))),
    }
}

/// The loader says what is wrong and where, and the firmware goes on: nothing ends by itself.
fn refuses_config(bench: &Bench<'_>) -> Result<(), String> {
    let text = |error| format!("{error:#}");
    let mut config = bench.config();
    let file = "arguments = \"exec\"\n\ncores = \"four\"\n".to_owned();
    let setup = SetupOptions { yes: true };
    let disk = run::by_uefi(&mut config, bench.built, Tables::Acpi, file, &setup).map_err(text)?;
    let (sender, events) = mpsc::channel();
    let machine = Machine::start(&config, sender).map_err(text)?;
    let started = Instant::now();
    let mut said = String::new();
    let message = "bale: not started: bale.toml: line 3: it wants a number from 1";
    while !said.contains(message) {
        let left = MACHINE_LIMIT.saturating_sub(started.elapsed());
        match events.recv_timeout(left) {
            Ok(Event::Serial(bytes)) => said.push_str(&String::from_utf8_lossy(&bytes)),
            Ok(Event::Input(_)) => {}
            Ok(Event::SerialEnd) | Err(_) => {
                return Err(format!("it does not say `{message}`:\n{said}"));
            }
        }
    }
    drop((machine, disk));
    Ok(())
}

/// Guests as plain files beside `bale.toml`, started by it and by hand: kernels from there and from
/// the bundle, descriptions that stand for one of the bundle's, name what is nowhere, or cannot be
/// read.
fn finds_plain_guests(bench: &Bench<'_>) -> Result<(), String> {
    let text = |error| format!("{error:#}");
    let of_bundle = [
        ("third", "memory = 32M\nkernel = kernel.img"),
        ("fourth", "memory = 8M\nkernel = kernel.img"),
    ];
    let bundle = described::bundle(bench, "plain", &of_bundle).map_err(text)?;
    let (_, image) = bench.built.guests.first().ok_or("no guest is built")?;
    let file = |path: &str, bytes: &[u8]| File { path: path.into(), bytes: bytes.to_vec() };
    let others = vec![
        file("first.vm", b"memory = 8M\nkernel = own.img\ninitrd = Initrd of my own"),
        file("own.img", &std::fs::read(image).map_err(|error| error.to_string())?),
        file("Initrd of my own", &[1; 777]),
        file("SECOND.VM", b"memory = 8M\nkernel = own.img"),
        file("third.vm", b"memory = 16M\nkernel = kernel.img"),
        file("nowhere.vm", b"memory = 8M\nkernel = nowhere.img\ninitrd = bale/kernel.elf"),
        file("wrong.vm", b"memory = 8M\nkernel = own.img\nnonsense"),
        file("folder.vm", b"memory = 8M\nkernel = bale"),
        file("taken.vm", b"memory = 8M\nkernel = pages"),
        file("a name of more than twenty-four.vm", b"memory = 8M\nkernel = own.img"),
        file("._first.vm", b"\0\x05\x16\x07"),
    ];
    let mut config = bench.config();
    config.initrd = Some(bundle.0.clone());
    let setup = SetupOptions { yes: true };
    let toml = board::config(&config.arguments, "guests = [\"first\"]\n").map_err(text)?;
    let disk = run::by_uefi_beside(&mut config, bench.built, Tables::Acpi, toml, others, &setup)
        .map_err(text)?;
    let commands = "vm wait 0\nvm run SECOND\nvm run third\nvm stats third --json\nvm run fourth\nvm start nowhere\nvm start wrong\nvm start folder\n\
                    vm list";
    let lines = bench.answers(&config, commands, 3)?;
    drop(disk);
    let off = lines.iter().filter(|line| line.ends_with("powered off")).count();
    let errors: Vec<_> =
        lines.iter().filter(|line| line.starts_with("error: ")).map(String::as_str).collect();
    let listed = lines
        .iter()
        .filter(|line| line.ends_with(" starts a machine that the bundle describes"))
        .count();
    let good = lines.iter().any(|line| line == "bale: 10 files of guests beside bale.toml")
        && ["bale", "pages"].iter().all(|name| {
            lines.iter().any(|line| line.starts_with(&format!("bale: {name} is left out")))
        })
        && off >= 4
        && errors
            == [
                "error: vm nowhere: the bundle has no file of the kernel's name",
                "error: vm wrong: its description: line 3: not a line of `key = value`",
                "error: vm folder: the bundle has no file of the kernel's name",
            ]
        && lines
            .iter()
            .any(|line| line.contains("\"guest\":\"third\"") && line.contains("\"memory_mib\":16"))
        && listed == 9;
    if good { Ok(()) } else { Err(format!("{off} {errors:?} {listed}\n{}", lines.join("\n"))) }
}

/// The report of a board: fenced for an issue, with every core and redistributor.
fn reports(bench: &Bench<'_>, config: &Config) -> Result<Vec<String>, String> {
    let (lines, status) = bench.script(config, "board report")?;
    let said = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count() as u64;
    let fenced = said("```text") == 1 && lines.iter().any(|line| line == "```");
    let cores = u64::from(config.cores);
    let listed: Vec<String> = (0..cores).map(|core| core.to_string()).collect();
    let level = format!("CurrentEL          {:#018x} cores {}", 8, listed.join(" "));
    let whole = [said("GICR 0x") == cores, said(&level) == 1, said("HCR_EL2 at entry ") == 1]
        .into_iter()
        .chain(
            ["PSCI version: 1.", "SMCCC version: 1.", "GICD 0x8000000: ", "UART 0x9000000, "]
                .map(|start| said(start) == 1),
        )
        .all(|good| good);
    if status == 0 && fenced && whole { Ok(lines) } else { Err(lines.join("\n")) }
}

/// With what the loader saw of the firmware.
fn reports_firmware(bench: &Bench<'_>, config: &Config) -> Result<(), String> {
    let lines = reports(bench, config)?;
    let by_acpi = matches!(config.start, Start::Uefi { acpi: true, .. });
    let tables = if by_acpi { "acpi: SPCR at " } else { "firmware: device tree there" };
    let cleaned = ["last instructions", "kernel", "tree", "bundle"]
        .map(|name| format!("loader: {name} at 0x"));
    let is_cleaned = |start: &String| {
        lines
            .iter()
            .any(|line| line.starts_with(start) && line.ends_with(" bytes, cleaned to memory"))
    };
    if !cleaned.iter().all(is_cleaned) {
        return Err(format!("it does not name what runs with caches off:\n{}", lines.join("\n")));
    }
    let wanted =
        ["firmware: EDK II ", "firmware: SecureBoot 0", "firmware: HCR_EL2 0x", "efi: 0x", tables];
    match wanted.iter().find(|start| !lines.iter().any(|line| line.starts_with(**start))) {
        None => Ok(()),
        Some(missing) => Err(format!("it does not say `{missing}`:\n{}", lines.join("\n"))),
    }
}
