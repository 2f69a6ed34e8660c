//! The example application, as `cargo bale run --app` boots it: its tasks keep their rhythm, a
//! release that it misses on purpose is counted, its device's interrupt arrives.

use serde_json::Value;

use super::Bench;
use super::dialogue::ensure;
use super::report::{Case, Outcome};
use crate::build;
use crate::cli::SetupOptions;
use crate::log::Decoder;
use crate::machine::Config;
use crate::workspace;

const APP: &str = "kernel/examples/control_loop";

pub(super) fn cases<'a>(setup: &'a SetupOptions) -> Vec<Case<'a>> {
    let run = || Outcome::of(control_loop(setup));
    vec![Case { name: "app::control_loop_keeps_its_rhythm".into(), run: Box::new(run) }]
}

fn control_loop(setup: &SetupOptions) -> Result<(), String> {
    let built = build::build_app(setup, &workspace::root().join(APP))
        .map_err(|error| format!("{error:#}"))?;
    let decoder = Decoder::from_elf(&built.elf).map_err(|error| format!("{error:#}"))?;
    let mut config = Config::new(built.image.clone());
    config.cores = 2;
    config.arguments = "exec noguest".into();
    let bench = Bench { built: &built, bundle: Default::default(), decoder: &decoder };
    bench.talk(&config, |shell| {
        // One step in a thousand overruns, so the first comes after five seconds of the machine's
        // time.
        let tasks =
            shell.until("tasks", |tasks| task(tasks, "control")["overruns"].as_u64() > Some(0))?;
        ensure(task(&tasks, "sample")["period_us"] == 1_000, "sample has another period")?;
        ensure(task(&tasks, "control")["period_us"] == 5_000, "control has another period")?;
        let stack = task(&tasks, "control")["stack_bytes"].as_u64();
        ensure(
            stack.is_some_and(|bytes| (64..16_384).contains(&bytes)),
            "control's stack is not measured",
        )?;
        shell.until("irq", |irq| {
            let sources = irq["sources"].as_array();
            let alarm =
                sources.and_then(|all| all.iter().find(|source| source["name"] == "rtc alarm"));
            alarm.is_some_and(|alarm| alarm["taken"].as_u64() > Some(0))
        })?;
        shell.until_said("control-loop: step ").map(drop)
    })
}

/// What is said of the task with this name.
fn task<'v>(tasks: &'v Value, name: &str) -> &'v Value {
    let all = tasks["tasks"].as_array();
    all.and_then(|all| all.iter().find(|task| task["name"] == name)).unwrap_or(&Value::Null)
}
