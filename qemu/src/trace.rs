//! `cargo bale trace`: boots, runs commands while the kernel traces, and keeps what each core did
//! as a picture.

mod chrome;

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::build;
use crate::cli::{Commands, TraceOptions};
use crate::log::Decoder;
use crate::machine::Config;
use crate::run::Bundle;
use crate::script::{Failure, Line, Session};
use crate::{bench, setup};
use chrome::Dump;

/// Boots, traces, writes the file; the status is the first of the commands' that is not 0.
pub(crate) fn run(options: &TraceOptions) -> Result<u8> {
    setup::qemu(&options.setup)?;
    let built = build::build(&options.setup)?;
    let decoder = Decoder::from_elf(&built.elf)?;
    let bundle = Bundle::make(&built, None)?;
    let mut config = Config::new(built.image.clone());
    config.cores = options.cores;
    config.memory.clone_from(&options.memory);
    config.initrd = Some(bundle.path().to_owned());
    config.arguments = "log=defmt exec".into();
    if options.count {
        ensure!(options.cores == 1, "--count counts on one core; give --cores 1");
        config.extra.extend(bench::collect::COUNTED.map(str::to_owned));
    }
    let limit = Duration::from_secs(options.timeout);
    let (lines, status) = record(&config, &decoder, limit, &options.exec)
        .map_err(|failure| anyhow!("{failure}"))
        .context("the machine did not come to its end")?;
    let dump = Dump::parse(lines.iter().map(String::as_str))?;
    let out = &options.out;
    let text = serde_json::to_string(&dump.chrome())?;
    std::fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))?;
    let (events, cores) = (dump.events(), dump.cores());
    eprintln!(
        "bale: {events} events of {cores} cores in {}; ui.perfetto.dev opens it",
        out.display()
    );
    Ok(status)
}

/// The lines of the dump, and the commands' status.
fn record(
    config: &Config,
    decoder: &Decoder,
    limit: Duration,
    commands: &Commands,
) -> Result<(Vec<String>, u8), Failure> {
    let kept = std::cell::RefCell::new(None::<Vec<String>>);
    let mut show = |line: &Line| match (line, kept.borrow_mut().as_mut()) {
        (Line::Text(text), Some(kept)) => kept.push(text.clone()),
        (Line::Text(text), None) => println!("{text}"),
        (Line::Log(text), _) => eprintln!("{text}"),
    };
    let mut session = Session::start(config, Some(decoder), limit, &mut show)?;
    let mut first_bad = 0u8;
    first_bad = first_bad.max(session.command("trace on")?);
    // As in a line of the shell, nothing is run behind a command that failed; what was traced until
    // then is shown.
    for command in commands.lines() {
        if first_bad != 0 {
            break;
        }
        first_bad = session.command(command)?;
    }
    session.command("trace off")?;
    *kept.borrow_mut() = Some(Vec::new());
    let status = session.command("trace dump")?;
    session.power_off()?;
    let lines = kept.take().unwrap_or_default();
    Ok((lines, if first_bad == 0 { status } else { first_bad }))
}
