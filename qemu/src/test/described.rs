//! Machines from descriptions: one that restarts itself, and descriptions that no machine can be
//! made from.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Bench;
use super::dialogue::ensure;
use super::linux::Removed;
use super::report::{Case, Outcome};
use crate::machine::Config;
use crate::{bundle, pages};

/// The kernel of a description that works: our own guest, which turns itself off or restarts.
const KERNEL: &str = "kernel.img";
/// A kernel that is none, and an initial RAM disk that is larger than the machines here.
const BROKEN: &str = "broken.img";
const LARGE: &str = "large.cpio";
const LARGE_BYTES: usize = 16 << 20;

/// Pages that a held machine may have beyond its limit at the moment it is looked at: what has come
/// back, and not yet sent another out.
const ON_THEIR_WAY: u64 = 64;

/// Descriptions by name, and what `vm start` says of them.
const WRONG: [(&str, &str, &str); 9] = [
    (
        "a-name-of-more-than-24-letters",
        "memory = 8M\nkernel = kernel.img",
        "a machine's name has 24 letters at most",
    ),
    (
        "nokernel",
        "memory = 8M\nkernel = nothing.img",
        "the bundle has no file of the kernel's name",
    ),
    ("broken", "memory = 8M\nkernel = broken.img", "the image cannot be started: "),
    (
        "noinitrd",
        "memory = 8M\nkernel = kernel.img\ninitrd = nothing.cpio",
        "the bundle has no file of the initrd's name",
    ),
    (
        "large",
        "memory = 16M\nkernel = kernel.img\ninitrd = large.cpio",
        "the initrd does not fit into the guest's memory beside its kernel",
    ),
    ("tight", "memory = 2M\nkernel = kernel.img", "the image does not fit into the guest's memory"),
    ("nomemory", "memory = 4G\nkernel = kernel.img", "not enough free memory; `mem` shows it"),
    (
        "novcpus",
        "memory = 8M\nvcpus = 0\nkernel = kernel.img",
        "its description: line 2: vcpus must be 1 to 8",
    ),
    (
        "nocore",
        "memory = 8M\nkernel = kernel.img\ncores = 99",
        "there is no such core online; `cores` shows them",
    ),
];

/// The cases.
pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    let case = |name: &str, run: fn(&Bench<'_>) -> Result<(), String>| Case {
        name: format!("described::{name}"),
        run: Box::new(move || Outcome::of(run(bench))),
    };
    vec![
        case("refused", refused),
        case("restarts", restarts),
        case("limited", limited),
        case("held", held),
        case("starved", starved),
        case("held_beside_another", held_beside_another),
        case("disk_makes_room", disk_makes_room),
        case("greedy_neighbour", greedy_neighbour),
        case("reserved", reserved),
        case("ends_in_a_request", ends_in_a_request),
        case("told", told),
        case("power", power),
        case("pause", pause),
    ]
}

/// A bundle with our own guests, these descriptions and what they name.
pub(super) fn bundle(
    bench: &Bench<'_>,
    name: &str,
    descriptions: &[(&str, &str)],
) -> Result<Removed> {
    let guests: Vec<_> =
        bench.built.guests.iter().map(|(name, image)| (*name, image.as_path())).collect();
    let (_, image) = guests.first().context("no guest is built")?;
    let mut files = vec![
        (KERNEL.to_owned(), std::fs::read(image)?),
        (BROKEN.to_owned(), vec![0x5a; 4096]),
        (LARGE.to_owned(), vec![0; LARGE_BYTES]),
    ];
    files.extend(
        descriptions.iter().map(|(name, text)| (format!("{name}.vm"), text.as_bytes().to_vec())),
    );
    let out = Removed(crate::workspace::own_folder()?.join(format!("test-{name}.tar")));
    bundle::write(&out.0, &guests, Some(&bundle::read_pages(&pages::kept()?)?), &files)?;
    Ok(out)
}

/// A machine with such a bundle, which goes with the first value.
pub(super) fn described(
    bench: &Bench<'_>,
    name: &str,
    descriptions: &[(&str, &str)],
) -> Result<(Removed, Config), String> {
    let bundle = bundle(bench, name, descriptions).map_err(|why| format!("{why:#}"))?;
    let mut config = bench.config();
    config.initrd = Some(bundle.0.clone());
    Ok((bundle, config))
}

/// Each wrong description gives one clear line, twice, and leaves nothing: more of them than there
/// are places for machines, and then a good one runs.
fn refused(bench: &Bench<'_>) -> Result<(), String> {
    let mut descriptions: Vec<_> = WRONG.iter().map(|(name, text, _)| (*name, *text)).collect();
    descriptions.push(("good", "memory = 8M\nkernel = kernel.img"));
    let starts: Vec<_> = WRONG.iter().map(|(name, ..)| format!("vm start {name}")).collect();
    let starts = starts.join("\n");
    let command = format!("{starts}\n{starts}\nvm list\nvm run good");
    let (_kept, config) = described(bench, "refused", &descriptions)?;
    let lines = bench.answers(&config, &command, 2 * WRONG.len())?;
    let text = || lines.join("\n");
    for (name, _, why) in WRONG {
        let line = format!("error: vm {name}: {why}");
        let said = lines.iter().filter(|said| said.starts_with(&line)).count();
        if said != 2 {
            return Err(format!("{said} times instead of 2: {line}\n{}", text()));
        }
    }
    let good =
        lines.iter().any(|line| line.starts_with("vm 0 on core") && line.ends_with("powered off"));
    let listed = lines
        .iter()
        .any(|line| WRONG.iter().any(|(name, ..)| line.split_whitespace().nth(2) == Some(name)));
    match (good, listed) {
        (true, false) => Ok(()),
        (false, _) => Err(format!("the good one did not run in the first place\n{}", text())),
        (_, true) => Err(format!("a machine was left behind\n{}", text())),
    }
}

/// A guest that restarts itself does so again and again, until it is stopped; the memory is there
/// for the next.
fn restarts(bench: &Bench<'_>) -> Result<(), String> {
    let descriptions = [
        (
            "again",
            "memory = 32M\nvcpus = 2\nkernel = kernel.img\nswap = 4M\nrestart_window = 0\ncmdline = bale.reset",
        ),
        (
            "loop",
            "memory = 8M\nkernel = kernel.img\nrestarts = 3\nrestart_window = 3600\ncmdline = bale.reset",
        ),
        ("once", "memory = 8M\nkernel = kernel.img\nrestarts = 0\ncmdline = bale.reset"),
        ("good", "memory = 32M\nkernel = kernel.img"),
    ];
    let (_kept, config) = described(bench, "restarts", &descriptions)?;
    bench.talk(&config, |machine| {
        machine.ask("vm start again")?;
        machine.until("vm stats 0", |stats| number(stats, "restarts") >= 2)?;
        machine.ask("vm kill 0")?;
        machine.until_said("vm 0 killed")?;
        // Those that may do so a few times only are stopped, and nobody need wait for that to be
        // told.
        for (name, restarts, why) in [
            ("loop", 3, "stopped: asked for a restart after 3 within 3600 s"),
            ("once", 0, "stopped: asked for a restart after 0 within 300 s"),
        ] {
            machine.ask(&format!("vm start {name}"))?;
            let stats = machine.until(&format!("vm stats {name}"), is_over)?;
            ensure(
                number(&stats, "restarts") == restarts,
                "not as often as its description allows",
            )?;
            ensure(
                stats["state"].as_str().is_some_and(|state| state.starts_with(why)),
                "it was not stopped",
            )?;
            machine.until_said(&format!("vm 0 {why}"))?;
        }
        for _ in 0..2 {
            let said = machine.ask("vm run good")?;
            ensure(
                said.iter().any(|line| line.ends_with("powered off")),
                "the good one did not run",
            )?;
        }
        Ok(())
    })
}

/// A machine with a tenth of a core is stopped again and again, and comes to its end all the same;
/// what its description says of the cores is shown.
fn limited(bench: &Bench<'_>) -> Result<(), String> {
    let slow = [(
        "slow",
        "memory = 16M\nkernel = kernel.img\nshares = 250\ncpu_limit = 5000/50000\ncmdline = bale.fill",
    )];
    let (_kept, config) = described(bench, "limited", &slow)?;
    bench.talk(&config, |machine| {
        machine.ask("vm start slow")?;
        let stats = machine.until("vm stats 0", |stats| number(stats, "times_limited") >= 5)?;
        ensure(stats["state"] == "running", "it ended before it was limited often")?;
        ensure(
            number(&stats, "shares") == 250 && number(&stats, "cpu_limit_us") == 5_000,
            "its shares and its limit are not those of its description",
        )?;
        machine.ask("vm set slow cpu_limit none")?;
        machine.ask("vm wait 0")?;
        let stats = machine.figures("vm stats 0")?;
        ensure(stats["state"] == "exited with status 0", "it did not end well")?;
        machine.nothing_is_left()
    })
}

/// A guest that knows nothing is held to less than half of what it fills, and finds every byte;
/// then nothing is left of what was stored.
fn held(bench: &Bench<'_>) -> Result<(), String> {
    let fill = [("fill", "memory = 16M\nkernel = kernel.img\ncmdline = bale.fill")];
    let commands = "vm set fill memory 8M\nvm start fill\nvm set fill memory 1M\nvm set fill memory 6M\nvm wait 0\nvm stats 0\nvm set fill memory 8M\n\
                    drain flush; pool";
    let (_kept, config) = described(bench, "held", &fill)?;
    let lines = bench.answers(&config, commands, 3)?;
    let number = |label: &str| {
        let value =
            lines.iter().find_map(|line| line.strip_prefix(label)?.split_whitespace().next());
        value.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
    };
    let good = lines.iter().any(|line| line.ends_with("exited with status 0"))
        && lines.iter().any(|line| line.contains("it can be held to 4 to 16 MiB"))
        // Ten MiB that are filled time and again do not fit into six.
        && number("put out") > 4_000
        && number("brought back") > 4_000
        && lines.iter().any(|line| line.split_whitespace().take(2).eq(["objects", "0"]));
    ensure(good, &lines.join("\n"))
}

/// A guest that is held to less than it has, and the disk to which it writes all of it, while every
/// free frame is taken away for some seconds: both wait and go on, and every byte is there.
fn starved(bench: &Bench<'_>) -> Result<(), String> {
    let disk = [("disk", "memory = 16M\nkernel = kernel.img\nswap = 16M\ncmdline = bale.disk")];
    let (_kept, config) = described(bench, "starved", &disk)?;
    bench.talk(&config, |machine| {
        machine.ask_all(&["vm start disk", "vm set disk memory 6M"])?;
        let held = machine.until("vm stats 0", |stats| {
            is_over(stats) || number(stats, "brought_back_pages") > 500
        })?;
        ensure(held["state"] == "running", "it was hardly held")?;
        machine.ask_all(&["crash memory 2", "watch -n 1 --count 2 mem", "crash memory 1"])?;
        let least = machine.figures("mem")?["least_free_frames"].as_u64();
        ensure(least == Some(0), "there were frames left")?;
        machine.ask("vm wait 0")?;
        let stats = machine.figures("vm stats 0")?;
        ensure(
            stats["state"] == "exited with status 0" && stats["broken_devices"] == 0,
            "it did not end well",
        )?;
        machine.nothing_is_left()
    })
}

/// A guest that makes no exits is held to less than it has, on a core that another one never
/// leaves: each of its turns begins with a load of its registers, over which it is not forgotten
/// that more is to be put out.
fn held_beside_another(bench: &Bench<'_>) -> Result<(), String> {
    let rest = [("rest", "memory = 16M\nkernel = kernel.img\ncmdline = bale.rest")];
    let (_kept, mut config) = described(bench, "beside", &rest)?;
    config.cores = 1;
    bench.talk(&config, |machine| {
        machine.ask_all(&["vm start rest", "vm start --mode 5", "vm set rest memory 6M"])?;
        let stats = machine.until("vm stats rest", |stats| {
            is_over(stats) || (1..=6 << 8).contains(&number(stats, "resident_pages"))
        })?;
        ensure(stats["state"] == "running", "it has never come down to its limit")?;
        machine.ask_all(&["vm wait 0", "vm kill 1"])?;
        ensure(
            machine.figures("vm stats 0")?["state"] == "exited with status 0",
            "it has lost bytes",
        )?;
        machine.nothing_is_left()
    })
}

/// Requests as long as the disk, over more memory than the machine is held to: its only virtual CPU
/// serves them, and puts one or two pages out for each that it brings back, also while every free
/// frame is taken away. No limit is passed by more than what is on its way, and every byte is
/// there.
fn disk_makes_room(bench: &Bench<'_>) -> Result<(), String> {
    let long = [("long", "memory = 16M\nkernel = kernel.img\nswap = 32M\ncmdline = bale.long")];
    let (_kept, config) = described(bench, "room", &long)?;
    bench.talk(&config, |machine| {
        machine.ask_all(&["vm start long", "vm set long memory 6M"])?;
        let within = |stats: &Value| {
            number(stats, "made_room_pages") > 0
                && number(stats, "resident_pages")
                    <= (number(stats, "held_mib") << 8) + ON_THEIR_WAY
        };
        // Behind the write, which would be refused without a free frame.
        machine.until("swap", |swap| number(&swap["swap"][0], "reads") > 0)?;
        let before = machine.until("vm stats 0", |stats| is_over(stats) || within(stats))?;
        ensure(before["state"] == "running", "it has never come down to its limit")?;
        machine.ask("crash memory 2")?;
        let starved = machine.figures("vm stats 0")?;
        machine.ask("vm wait 0")?;
        let made_room = |stats| number(stats, "made_room_pages");
        ensure(made_room(&starved) > made_room(&before), "no room was made without a free frame")?;
        let after = machine.figures("vm stats 0")?;
        ensure(
            after["state"] == "exited with status 0" && after["broken_devices"] == 0,
            "it did not end well",
        )?;
        machine.nothing_is_left()
    })
}

/// A machine without a quota writes more to its disk than there is memory, until that refuses it;
/// one that is held beside it goes on meanwhile, and finds every byte.
fn greedy_neighbour(bench: &Bench<'_>) -> Result<(), String> {
    let guests = [
        ("greedy", "memory = 16M\nkernel = kernel.img\nswap = 256M\ncmdline = bale.long"),
        ("fill", "memory = 16M\nkernel = kernel.img\ncmdline = bale.fill"),
    ];
    let (_kept, mut config) = described(bench, "greedy", &guests)?;
    config.cores = 2;
    config.memory = "176M".into();
    bench.talk(&config, |machine| {
        machine.ask_all(&["vm start fill", "vm set fill memory 6M", "vm start greedy"])?;
        machine.ask_all(&["vm wait fill", "vm wait greedy"])?;
        let [fill, greedy] =
            [machine.figures("vm stats fill")?, machine.figures("vm stats greedy")?];
        // What the disk has refused is not there when it is read.
        ensure(greedy["state"] == "exited with status 103", "the greedy one was refused nothing")?;
        ensure(fill["state"] == "exited with status 0", "the held one has lost bytes")?;
        ensure(number(&fill, "put_out_pages") > 4_000, "the held one was hardly held")?;
        // So close it came, and no closer.
        let least = machine.figures("mem")?["least_free_frames"].as_u64();
        ensure(
            least.is_some_and(|least| (1..=256).contains(&least)),
            "there was more memory than it asked for, or none at all",
        )?;
        machine.nothing_is_left()
    })
}

/// A machine fills the pool with what does not compress until its writes are refused, and goes on
/// with it; none of its neighbour's writes within a reserve is refused, first ones and
/// replacements. A second such reserve is refused, and the first is there for others once its
/// machine has ended.
fn reserved(bench: &Bench<'_>) -> Result<(), String> {
    const VICTIM: &str =
        "memory = 16M\nkernel = kernel.img\nswap = 16M\nreserve = 12M\ncmdline = bale.disk";
    let guests = [
        ("victim", VICTIM),
        ("second", VICTIM),
        ("hoard", "memory = 16M\nkernel = kernel.img\nswap = 512M\ncmdline = bale.hoard"),
    ];
    let (_kept, mut config) = described(bench, "reserved", &guests)?;
    config.cores = 2;
    config.memory = "176M".into();
    bench.talk(&config, |machine| {
        machine.ask_all(&["vm start victim", "vm pause victim", "vm start hoard"])?;
        let refused = |swap: &Value| number(swap, "failed_writes");
        machine.until("swap hoard", |swap| refused(swap) > 0)?;
        let lines = machine.refused("vm start second")?;
        ensure(
            lines.iter().any(|line| line.contains("not enough free memory for its reserve")),
            "a reserve was promised twice",
        )?;
        machine.ask("vm resume victim")?;
        machine.until("swap victim", |swap| number(swap, "writes") > 3 * 2_560)?;
        ensure(refused(&machine.figures("swap victim")?) == 0, "a write was refused")?;
        machine.ask_all(&["vm wait victim", "vm kill hoard"])?;
        let stats = machine.figures("vm stats victim")?;
        ensure(stats["state"] == "exited with status 0", "it has lost bytes")?;
        machine.ask_all(&["vm start second", "vm wait second"])?;
        machine.nothing_is_left()
    })
}

/// A machine stands still, goes on and ends in the midst of a request as long as its disk, which
/// its codec makes take a minute or so.
fn ends_in_a_request(bench: &Bench<'_>) -> Result<(), String> {
    const BLOCKS: u64 = 25 * 2560;
    let long = [(
        "long",
        "memory = 16M\nkernel = kernel.img\nswap = 256M\ncodec = zstd:9\ncmdline = bale.long",
    )];
    let (_kept, config) = described(bench, "request", &long)?;
    let writes = |swap: &Value| number(&swap["swap"][0], "writes");
    bench.talk(&config, |machine| {
        machine.ask("vm start long")?;
        machine.until("swap", |swap| writes(swap) > 0)?;
        machine.ask("vm pause long")?;
        // It does so once its virtual CPU has seen it.
        let mut last = 0;
        let still = machine.until("swap", |swap| {
            let before = std::mem::replace(&mut last, writes(swap));
            std::thread::sleep(Duration::from_secs(1));
            before == last
        })?;
        ensure(writes(&still) < BLOCKS, "it has not stood still in the midst of it")?;
        ensure(machine.figures("vm stats 0")?["state"] == "paused", "it is not paused")?;
        machine.ask("vm resume long")?;
        machine.until("swap", |swap| writes(swap) > writes(&still))?;
        machine.ask("vm kill long")?;
        machine.until_said("vm 0 killed")?;
        machine.ask("vm start long")?;
        machine.until("swap", |swap| writes(swap) > 0)?;
        machine.ask_all(&["vm stop long", "vm wait long"])?;
        let told = machine.until_said("vm 0 has stopped, ")?;
        let released = told.split_whitespace().nth(4).and_then(|slots| slots.parse::<u64>().ok());
        ensure(
            released.is_some_and(|slots| (1..BLOCKS).contains(&slots)),
            "it has not ended in the midst of it",
        )?;
        machine.nothing_is_left()
    })
}

/// The end of a machine is told while guests that never rest keep all cores busy.
fn told(bench: &Bench<'_>) -> Result<(), String> {
    let mut config = bench.config();
    config.cores = 2;
    bench.talk(&config, |machine| {
        for core in [0, 1, 1] {
            machine.ask(&format!("vm start --mode 5 --core {core}"))?;
        }
        machine.ask("vm stop 2")?;
        machine.until_said("vm 2 has stopped")?;
        machine.ask_all(&["vm kill 0", "vm kill 1"])
    })
}

/// All virtual CPUs turn one another on and themselves off at once, eight over several cores and
/// four that share one: each success is a life, and who is told anything else is told that the
/// other one is on.
fn power(bench: &Bench<'_>) -> Result<(), String> {
    let guests = [
        ("eight", "memory = 16M\nvcpus = 8\nkernel = kernel.img\ncmdline = bale.power"),
        ("four", "memory = 16M\nvcpus = 4\ncores = 1\nkernel = kernel.img\ncmdline = bale.power"),
    ];
    let (_kept, config) = described(bench, "power", &guests)?;
    bench.talk(&config, |machine| {
        machine.ask_all(&["vm start eight", "vm start four", "vm wait 0", "vm wait 1"])?;
        for name in ["eight", "four"] {
            let stats = machine.figures(&format!("vm stats {name}"))?;
            ensure(
                stats["state"] == "exited with status 0",
                &format!("{name}: {}", stats["state"]),
            )?;
        }
        Ok(())
    })
}

/// A machine that prints stands still and goes on: no line comes meanwhile, and none is lost.
fn pause(bench: &Bench<'_>) -> Result<(), String> {
    let flood = "memory = 8M\nkernel = kernel.img\nconsole_rate = 0\ncmdline = bale.flood";
    let (_kept, config) = described(bench, "pause", &[("flood", flood)])?;
    const LINE: &str = "[vm0] mark flood, which goes on";
    let lines = |said: &[String]| said.iter().filter(|line| *line == LINE).count();
    bench.talk(&config, |machine| {
        machine.ask("vm start flood")?;
        machine.until_said(LINE)?;
        machine.ask("vm pause flood")?;
        // What was on its way comes with these.
        machine.ask_all(&["watch -n 1 --count 2 mem", "mem"])?;
        let still = machine.ask("watch -n 1 --count 3 mem")?;
        ensure(lines(&still) == 0, "it prints while it stands still")?;
        ensure(
            machine.figures("vm stats 0")?["state"] == "paused",
            "it has not stood still in the midst of it",
        )?;
        machine.ask_all(&["vm resume flood", "vm wait flood"])?;
        let all = machine.count_said(LINE);
        ensure(all == 20_000, &format!("{all} lines instead of 20000"))
    })
}

/// The machine runs no more.
fn is_over(stats: &Value) -> bool {
    stats["state"] != "running"
}

fn number(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or(0)
}
