//! Machines of several shapes that must work, and broken ones that must say so: one clear message, no hang.

use std::fs;
use std::time::Duration;

use super::Bench;
use super::report::{Case, Outcome};
use crate::machine::{Config, Start};
use crate::script::Failure;
use crate::workspace;

/// Long enough for a message, short enough to notice a hang.
const MESSAGE_LIMIT: Duration = Duration::from_secs(20);

/// Every case; the good shapes `repeat` times each.
pub(super) fn cases<'a>(bench: &'a Bench<'_>, repeat: u32) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    for cores in [1, 2, 4, 12] {
        for round in 1..=repeat {
            let name = format!("boot::swaps_on_{cores}_cores::{round}");
            cases.push(Case { name, run: Box::new(move || Outcome::of(swaps(bench, cores))) });
        }
    }
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
            config.start = Start::Loader(image.clone(), 0x4020_0000);
        }
    });
    bad("memory_of_64_mib", &["MiB"], |config| config.memory = "64M".into());
    bad("gicv2", &["GIC"], |config| {
        config.gic = 2;
        config.cores = 8;
    });
    bad("no_virtualization", &["EL1", "virtualization=on"], |config| config.virtualization = false);
    for (name, content, word) in
        [("missing", None, "cannot read"), ("empty", Some(0), "is empty"), ("cut", Some(4095), "4095 bytes")]
    {
        let run = move || Outcome::of(refuses_pages(name, content, word));
        cases.push(Case { name: format!("bad_input::pages_{name}"), run: Box::new(run) });
    }
    cases
}

/// The whole way: guest, swap, verify, exit, drain; checked by the kernel's own test on a machine of this shape.
fn swaps(bench: &Bench<'_>, cores: u32) -> Result<(), String> {
    let mut config = bench.config();
    config.cores = cores;
    let test = "guests::exit_releases_everything";
    let (lines, status) = bench.script(&config, &format!("selftest guests::swaps_and_verifies {test}"))?;
    let ok = lines.iter().any(|line| *line == format!("test {test} ... ok"));
    if status == 0 && ok { Ok(()) } else { Err(lines.join("\n")) }
}

fn stops(bench: &Bench<'_>, config: &Config, words: &[&str]) -> Result<(), String> {
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
