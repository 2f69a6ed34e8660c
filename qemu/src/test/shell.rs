//! The kernel's shell at a terminal: what is typed, pasted, stopped and paged; its tables and its
//! JSON.

mod figures;
mod measuring;
mod parting;
mod store;
mod typed;
mod words;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use super::Bench;
use super::report::{Case, Outcome};

pub(super) fn cases<'a>(bench: &'a Bench<'_>) -> Vec<Case<'a>> {
    let case = |name: &str, test: fn(&Bench<'_>) -> Result<()>| Case {
        name: format!("shell::{name}"),
        run: Box::new(move || Outcome::of(test(bench).map_err(|error| format!("{error:#}")))),
    };
    vec![
        case("figures_as_json", figures::as_json),
        case("text_fits_80_columns", figures::text_fits),
        case("errors_fit_80_columns", figures::errors_fit),
        case("long_work_says_how_far_it_is", store::long_work),
        case("a_script_stops_a_benchmark", measuring::script_stops),
        case("bad_arguments_get_a_line", bad_arguments),
        case("a_hung_core_keeps_nobody", hung_core),
        case("any_core_may_be_off", without_a_core),
        case("bench_counts_cycles", measuring::cycles),
        case("bench_takes_pages_mix_and_cores", measuring::options),
        case("bandwidth_is_of_memory", measuring::bandwidth),
        case("progress_is_drawn_for_people_alone", measuring::progress),
        case("ctrl_c_stops_a_benchmark", measuring::ctrl_c_stops),
        case("a_paste_of_10_kb", typed::paste),
        case("a_line_with_lost_bytes_is_not_run", typed::lost),
        case("a_line_with_doubled_bytes_is_not_run", typed::doubled),
        case("tab_completes_words", typed::completion),
        case("tab_completes_machines", typed::machines),
        case("long_text_stops_behind_a_screen", typed::paged),
        case("the_terminal_says_how_high_it_is", typed::height),
        case("watch_draws_until_a_key", typed::watch),
        case("a_key_leaves_a_console", typed::console),
        case("words_of_other_systems", words::familiar),
        case("slips_are_told", words::slips),
        case("a_line_is_remembered_or_refused_whole", words::typed),
        case("what_was_is_told_afterwards", words::afterwards),
        case("last_words_outlive_a_warm_reboot", parting::last_words),
        case("last_words_outlive_firmware_and_loader", parting::last_words_by_uefi),
        case("last_words_outlive_a_move_of_the_kernel", parting::last_words_from_elsewhere),
    ]
}

/// Runs commands of which so many are refused; the lines that came.
fn run(bench: &Bench<'_>, commands: &str, refused: usize) -> Result<Vec<String>> {
    let mut config = bench.config();
    config.cores = 4;
    bench.answers(&config, commands, refused).map_err(|why| anyhow!(why))
}

/// A core that takes no interrupts neither goes nor keeps the shell: each command says so in a
/// line.
fn hung_core(bench: &Bench<'_>) -> Result<()> {
    let mut config = bench.config();
    config.cores = 3;
    let script = "crash hang\ncore offline 2\ncores --json\ncore offline 1\nbench run burst --cores 2 --pages 64\n\
                  bench run burst --pages 64\nbench run ladder --cores 1 --pages 64";
    let lines = bench.answers(&config, script, 4).map_err(|why| anyhow!(why))?;
    let said = |text: &str| {
        lines.iter().filter(|line| line.starts_with("error: ") && line.contains(text)).count()
    };
    ensure!(said("core 2: it takes no interrupts") == 1, "{lines:?}");
    ensure!(said("core 2 takes no interrupts") == 3, "{lines:?}");
    ensure!(lines.iter().any(|line| line.contains("core 1 is off")), "{lines:?}");
    let cores: Value =
        lines.iter().find_map(|line| serde_json::from_str(line).ok()).context("no JSON")?;
    ensure!(cores["cores"].as_array().is_some_and(|rows| rows[2]["state"] != "off"), "{cores}");
    Ok(())
}

/// Cores that are online need not be the first.
fn without_a_core(bench: &Bench<'_>) -> Result<()> {
    let tests = [
        "locking::no_wake_up_is_lost_to_interrupts",
        "framing::no_frame_has_two_owners",
        "framing::cores_take_from_each_other",
        "framing::frames_become_blocks_again",
        "deferring::all_comes_back",
        "deferring::free_on_another_core",
        "scheduling::equals_share_a_core",
        "scheduling::sleepers_wake_in_order",
        "scheduling::no_wake_up_is_lost",
        "scheduling::stacks_are_reused",
        "guests::swaps_and_verifies",
    ];
    let script = format!(
        "core offline 1\nselftest {}\nbench run burst --cores 1,3 --pages 2000\nbench run ladder --cores 3 --pages 500\n\
         vm run\ncore offline 3\nselftest {}\ntasks --json\nbench run burst --cores 3",
        tests.join(" "),
        tests[0]
    );
    let lines = run(bench, &script, 1)?;
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("FAILED") || line.starts_with("error: "))
        .collect();
    ensure!(
        failed.len() == 1 && failed[0].contains("--cores is 1 to 2"),
        "{failed:?}:\n{}",
        lines.join("\n")
    );
    let tasks = lines.iter().find(|line| line.contains("\"tasks\"")).context("no tasks")?;
    ensure!(!["burst", "ladder", "framer"].iter().any(|name| tasks.contains(name)), "{tasks}");
    Ok(())
}

/// Each gets one line that begins with `error: `, and the shell goes on.
fn bad_arguments(bench: &Bench<'_>) -> Result<()> {
    let bad = [
        "nonsense",
        "help nonsense",
        "help a b",
        "cores all",
        "cores --json x",
        "core",
        "core offline",
        "core offline x",
        "core offline 0",
        "core offline 99",
        "core online 1",
        "core online 1 --json",
        "core nonsense 1",
        "board",
        "board report x",
        "board --json",
        "irq x",
        "irq 9999",
        "irq 1 2",
        "tasks x",
        "mem x",
        "pool x",
        "pool compact x",
        "pool compact --json x",
        "swap 99",
        "swap x",
        "swap 0 --json",
        "swap x slots --json",
        "drain x",
        "drain flush x",
        "vm x",
        "vm stop",
        "vm stop 99",
        "vm stop x",
        "vm stats 3",
        "vm start nobody",
        "vm start --mode 999",
        "vm start --core 99",
        "vm start --seed",
        "vm wait 3",
        "vm set 0 memory x",
        "vm stop --json",
        "vm pause 0 --json",
        "vm console 0 --json",
        "vm set 0 memory 8M --json",
        "log x",
        "trace x",
        "watch",
        "watch -n 0 pool",
        "watch -n x pool",
        "watch pool",
        "watch --count 1 watch pool",
        "watch --count 1 nonsense",
        "page",
        "page 1",
        "page 99999",
        "selftest nonsense",
        "bench run nonsense",
        "bench run malloc --cores 0",
        "bench run malloc --cores 99",
        "bench run malloc --seed x",
        "bench run --nonsense",
        "bench list x",
        "bench list --json x",
        "bench run malloc --pages",
        "bench run malloc --pages x",
        "bench run malloc --pages 63",
        "bench run malloc --pages 1000000",
        "bench run density-2000 --pages 1000",
        "bench run rtos --pages 1000",
        "bench run page --mix nonsense",
        "bench run malloc --mix zeros",
        "bench run malloc --cores 2",
        "bench run ladder --cores 1,,2",
        "bench run ladder --cores 1,5",
        "bench run ladder --cores 4 --pages 262144",
        "crash",
        "crash x",
        "crash panic x",
        "crash hang x",
        "crash hang 4",
        "crash hang 18446744073709551615",
        "crash hang 1 2",
        "crash memory 0",
        "reboot x",
        "poweroff x",
        "\"open",
        "a b c d e f g h i j k l m n o p q",
        "pool 18446744073709551616",
        "vm wait 18446744073709551616",
    ];
    run(bench, &bad.join("\n"), bad.len()).map(drop)
}
