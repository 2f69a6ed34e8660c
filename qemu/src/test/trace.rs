//! `cargo bale trace` as a user calls it: a guest runs, and what its core did is in the file.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::report::{Case, Outcome};
use crate::workspace;

pub(super) fn cases() -> Vec<Case<'static>> {
    let run = || Outcome::of(guests_run().map_err(|error| format!("{error:#}")));
    vec![Case { name: "trace::a_guests_run_as_a_picture".into(), run: Box::new(run) }]
}

fn guests_run() -> Result<()> {
    let file = workspace::own_folder()?.join(format!("trace-{}.json", std::process::id()));
    let mut tool = workspace::command(std::env::current_exe()?);
    tool.args(["trace", "--cores", "2", "--timeout", "240", "--exec", "vm run", "-o"])
        .arg(&file)
        .stdin(Stdio::null());
    let output = tool.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}:\n{said}", output.status);
    let text = fs::read_to_string(&file)?;
    fs::remove_file(&file)?;
    let picture: Value = serde_json::from_str(&text)?;
    let events = picture["traceEvents"].as_array().context("no events")?;

    // The core that the guest ran on. Another may have done so much that its part of this is
    // written over.
    let guest =
        events.iter().find(|event| event["cat"] == "guest").context("no turn of a guest")?;
    let here: Vec<_> = events.iter().filter(|event| event["tid"] == guest["tid"]).collect();
    for (phase, category, name) in [
        ("M", "", "thread_name"),
        ("X", "guest", "vm 0"),
        ("X", "task", "vcpu"),
        ("X", "task", "drain"),
        ("X", "drain", "drain slice"),
        ("i", "release", "release"),
        ("i", "wake", "wake drain"),
    ] {
        let is = |event: &&&Value| {
            event["ph"] == phase
                && event["name"] == name
                && event["cat"].as_str().unwrap_or("") == category
        };
        let found = here.iter().filter(is);
        ensure!(found.clone().count() > 0, "nothing is called {name}");
        if phase == "X" {
            let lasts = |event: &&Value| event["dur"].as_f64().is_some_and(|length| length >= 0.0);
            ensure!(found.copied().all(|event| lasts(&event)), "a slice of {name} has no length");
        }
    }
    ensure!(here.iter().any(|event| event["cat"] == "interrupt"), "no interrupt");
    // What was given back, and what the slices that came to their end have freed.
    let sum = |name: &str, figure: &str| -> u64 {
        let named = here.iter().filter(|event| event["name"] == name);
        named.filter_map(|event| event["args"][figure].as_u64()).sum()
    };
    let (slots, freed) = (sum("release", "slots"), sum("drain slice", "freed"));
    ensure!(slots > 0 && freed > 0, "{slots} slots were released, {freed} objects freed");
    Ok(())
}
