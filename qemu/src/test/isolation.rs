//! What a machine sees of those before it: nothing; and that of each register it is known why.

use anyhow::{Context as _, Result, ensure};
use bale_core::guest_registers::known;
use serde_json::Value;

use super::Bench;
use super::described;
use super::report::{Case, Outcome};
use crate::toolchain;

/// Memory of the machine, of which the guest looks at all but the first 6 MiB. There is not room
/// for two of them: each has most of its frames from the one before.
const MIB: u64 = 96;

/// The cases.
pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    let mut cases = vec![Case {
        name: "isolation::memory_is_zero".into(),
        run: Box::new(move || Outcome::of(memory_is_zero(bench).map_err(|why| format!("{why:#}")))),
    }];
    for cpu in toolchain::cores(&CORES) {
        let run = move || registers_are_known(bench, cpu).map_err(|why| format!("{why:#}"));
        let name = format!("isolation::registers_on_{}", cpu.replace('-', "_"));
        cases.push(Case { name, run: Box::new(move || Outcome::of(run())) });
    }
    cases
}

/// Kinds of cores that differ in what they have; those that this QEMU knows are taken.
const CORES: [&str; 5] = ["cortex-a72", "cortex-a76", "neoverse-n1", "neoverse-n2", "max"];

/// Each encoding that a guest can read or write there is in the table, which says why nothing
/// passes by it.
fn registers_are_known(bench: &Bench<'_>, cpu: &str) -> Result<()> {
    let mut config = bench.config();
    config.cores = 2;
    config.extra = ["-cpu", cpu].map(String::from).to_vec();
    // The mode REGISTERS of the small guest, which lists them where it takes no looks.
    let lines =
        bench.answers(&config, "vm run --mode 20 --steps 0", 0).map_err(anyhow::Error::msg)?;
    let mut counts = [0; 4];
    let mut unknown = Vec::new();
    for line in lines.iter().filter_map(|line| line.strip_prefix("[vm0] reach ")) {
        let mut words = line.split(' ');
        let mut encoding = [0; 5];
        for field in &mut encoding {
            *field = u8::from_str_radix(words.next().context("five fields")?, 16)?;
        }
        match known(encoding) {
            Some(row) => counts[row.why as usize] += 1,
            None => unknown.push(line),
        }
    }
    ensure!(
        unknown.is_empty(),
        "a guest reaches what kernel/core/src/guest_registers.rs has not: {unknown:?}"
    );
    let [switched, trapped, constant, harmless] = counts;
    // Far fewer would mean that the guest did not look.
    ensure!(
        switched > 40 && trapped > 80 && constant >= 8 && harmless >= 2,
        "{counts:?}\n{}",
        lines.join("\n")
    );
    Ok(())
}

/// A machine that leaves something in every word of its memory, and the same again, in other places
/// of memory between others: none finds anything.
fn memory_is_zero(bench: &Bench<'_>) -> Result<()> {
    let zero = format!("memory = {MIB}M\nkernel = kernel.img\ncmdline = bale.zero={MIB}");
    let bundle = described::bundle(
        bench,
        "zero",
        &[("zero", &zero), ("small", "memory = 8M\nkernel = kernel.img")],
    )?;
    let mut config = bench.config();
    config.initrd = Some(bundle.0.clone());
    config.cores = 2;
    config.memory = "176M".into();
    let commands = "mem --json\nvm run zero\nvm run zero\nvm run small\nvm run\nvm run zero";
    let lines = bench.answers(&config, commands, 0).map_err(anyhow::Error::msg)?;
    let text = lines.join("\n");
    let memory = lines.iter().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let free = memory.and_then(|memory| memory["free_frames"].as_u64());
    ensure!(free.is_some_and(|free| free < (2 * MIB) << 8), "there is room for two\n{text}");
    let good = lines.iter().filter(|line| line.ends_with("powered off")).count();
    ensure!(good == 4, "{good} good ends\n{text}");
    Ok(())
}
