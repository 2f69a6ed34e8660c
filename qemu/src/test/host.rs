//! Tests on the host: cargo's own, and the models of interleavings.

use std::process::{Command, Stdio};

use super::report::{Case, Counts, Outcome};
use crate::workspace;

/// All that `cargo test` runs, and the model checker.
pub(super) fn cases() -> Vec<Case<'static>> {
    let mut cases = vec![
        case("host", || cargo(&["test", "--no-fail-fast"], "")),
        // The allocator and the store also as they are used: optimised, without debug assertions.
        case("host-release", || {
            cargo(
                &[
                    "test",
                    "--no-fail-fast",
                    "--release",
                    "--tests",
                    "-p",
                    "zsmalloc",
                    "-p",
                    "bale-swap",
                ],
                "",
            )
        }),
    ];
    // Interleavings of ring, wake-up, help, cells and teardown; then the wake-up with its fences
    // taken out, which the same tests expect to fail. Then who serves a device, and how a virtual
    // CPU is made to look at something.
    for (name, package, profile, flags) in [
        ("model", "zsmalloc", "release", "--cfg zs_loom"),
        ("model-broken", "zsmalloc", "release", "--cfg zs_loom --cfg zs_break_wake_fence"),
        // A small one, which takes less time than its optimiser.
        ("model-turn", "bale-core", "dev", "--cfg bale_loom"),
    ] {
        cases.push(case(name, move || {
            cargo(&["test", "--profile", profile, "-p", package, "--lib", "model"], flags)
        }));
    }
    cases
}

fn case(name: &str, command: impl Fn() -> Command + Send + Sync + 'static) -> Case<'static> {
    Case { name: name.into(), run: Box::new(move || run(&mut command())) }
}

fn cargo(arguments: &[&str], flags: &str) -> Command {
    let mut command = workspace::command("cargo");
    command.args(arguments).env("CARGO_TERM_COLOR", "never");
    if !flags.is_empty() {
        // A folder of its own: other flags would build everything anew at each change.
        command
            .env("RUSTFLAGS", flags)
            .env("CARGO_TARGET_DIR", workspace::target_folder().join("model"));
    }
    command
}

fn run(command: &mut Command) -> Outcome {
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => return Outcome::of(Err(format!("cargo does not start: {error}"))),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut counts = count(&text);
    if output.status.success() && counts.failed == 0 && counts.passed > 0 {
        return Outcome { counts, detail: String::new() };
    }
    // A test that does not compile, or that takes its process with it, leaves no count of its own.
    counts.failed = counts.failed.max(1);
    let failures = text.lines().filter(|line| line.contains("FAILED") || line.contains("panicked"));
    let errors = String::from_utf8_lossy(&output.stderr);
    let errors = errors.lines().filter(|line| !line.trim_start().starts_with("Compiling"));
    let detail: Vec<&str> = failures.chain(errors).take(60).collect();
    Outcome { counts, detail: detail.join("\n") }
}

/// The sum of the lines `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn count(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("test result: ")) {
        let mut words = line.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let Ok(number) = word.parse::<u64>() else { continue };
            match words.peek().map(|word| word.trim_end_matches(';')) {
                Some("passed") => counts.passed += number,
                Some("failed") => counts.failed += number,
                Some("ignored") => counts.skipped += number,
                _ => {}
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{Counts, count};

    #[test]
    fn results_of_several_binaries_add_up() {
        let text = "running 3 tests\n...\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                    test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.0s\n";
        assert_eq!(count(text), Counts { passed: 5, failed: 4, skipped: 1 });
        assert_eq!(count("error: could not compile"), Counts::default());
    }
}
