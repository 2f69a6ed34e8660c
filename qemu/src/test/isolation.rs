//! What a machine sees of those before it: nothing.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Bench;
use super::described;
use super::report::{Case, Outcome};

/// Memory of the machine, of which the guest looks at all but the first 6 MiB. There is not room
/// for two of them: each has most of its frames from the one before.
const MIB: u64 = 96;

/// The cases.
pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    vec![Case {
        name: "isolation::memory_is_zero".into(),
        run: Box::new(move || Outcome::of(memory_is_zero(bench).map_err(|why| format!("{why:#}")))),
    }]
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
