use super::super::report::Report;
use super::super::{Mode, Run, status};
use super::{Better, judge, parse};

const FILE: &str = r#"
[malloc]
unit = "instructions/op"
better = "lower"
goal = 120
budget = 118.4

[density-full]
better = "higher"
goal = 98.5
"#;

fn run(mode: Mode, cores: u32, rows: &[(&str, f64, &str)]) -> Run {
    let mut lines = vec![format!(
        r#"{{"report":"bench","board":"b","cores":{cores},"cpu":"c","counter":"instructions"}}"#
    )];
    lines.extend(rows.iter().map(|(name, value, unit)| {
        format!(r#"{{"suite":"allocator","name":"{name}","value":{value},"unit":"{unit}"}}"#)
    }));
    Run { mode, report: Report::parse(lines.iter().map(String::as_str)).expect("good lines") }
}

#[test]
fn the_workspace_has_good_goals() {
    let goals = super::load().expect("good files");
    let limit = |name: &str| {
        let goal = goals.iter().find(|goal| goal.name == name).unwrap_or_else(|| panic!("{name}"));
        (goal.better, goal.goal)
    };
    assert_eq!(limit("malloc"), (Better::Lower, 120.0));
    assert_eq!(limit("locks-per-drained"), (Better::Lower, 0.05));
    assert_eq!(limit("density-full"), (Better::Higher, 98.5));
    assert_eq!(limit("switch"), (Better::Lower, 150.0));
    assert_eq!(goals.iter().filter(|goal| goal.suite == "allocator").count(), 27);
    let host = |suite| goals.iter().filter(|goal| goal.host && goal.suite == suite).count();
    assert_eq!(host("allocator"), 4);
    assert_eq!(host("codecs"), 7);
    assert_eq!(goals.iter().filter(|goal| goal.host).count(), 4 + 7);
}

#[test]
fn bad_files_are_refused() {
    for (text, why) in [
        ("", "no goals"),
        ("malloc = 3", "not a table"),
        ("[a]\nbetter = \"less\"\ngoal = 1", "`better`"),
        ("[a]\nbetter = \"lower\"", "no goal"),
        ("[a]\nbetter = \"lower\"\ngoal = \"1\"", "not a number"),
        ("[a]\nbetter = \"lower\"\ngoal = 1\nbudgte = 2", "budgte is not known"),
        ("[a]\nbetter = \"lower\"\ngoal = 1\nplace = \"moon\"", "`place`"),
        ("[a]\nbetter = \"lower\"\ngoal = 1\ncores = -1", "`cores`"),
        ("[a\n", "TOML"),
    ] {
        let error = format!("{:#}", parse("allocator", text).expect_err(text));
        assert!(error.contains(why), "{error} does not say {why}");
    }
}

#[test]
fn goals_in_instructions_are_not_of_machines_that_count_none() {
    let goals = parse("allocator", FILE).expect("a good file");
    let mut runs = [run(Mode::Emulated, 4, &[("density-full", 99.0, "%")])];
    assert_eq!(judge(&goals, &runs).len(), 2, "a machine that counts misses what it leaves out");
    for counter in ["none", "cycles"] {
        runs[0].report.header.insert("counter".into(), counter.into());
        let names: Vec<_> =
            judge(&goals, &runs).iter().map(|verdict| verdict.goal.name.as_str()).collect();
        assert_eq!(names, ["density-full"], "{counter}");
    }
}

#[test]
fn goals_and_budgets_are_limits_from_the_right_side() {
    let goals = parse("allocator", FILE).expect("a good file");
    let judged = |malloc: f64, density: f64| {
        let rows = [("malloc", malloc, "instructions/op"), ("density-full", density, "%")];
        let runs = [run(Mode::Counted, 1, &rows)];
        let verdicts = judge(&goals, &runs);
        let flags: Vec<_> =
            verdicts.iter().map(|verdict| (verdict.met(), verdict.over_budget())).collect();
        [flags[0], flags[1]]
    };
    assert_eq!(judged(120.0, 98.5), [(true, true), (true, false)]);
    assert_eq!(judged(118.4, 98.4), [(true, false), (false, false)]);
    assert_eq!(judged(120.1, 100.0), [(false, true), (true, false)]);
}

#[test]
fn a_run_over_budget_fails_where_all_goals_are_met_too() {
    let goals = parse("allocator", FILE).expect("a good file");
    for (malloc, expected) in [(118.4, 0), (119.0, 1), (121.0, 1)] {
        let rows = [("malloc", malloc, "instructions/op"), ("density-full", 99.0, "%")];
        let runs = [run(Mode::Counted, 1, &rows)];
        assert_eq!(status(&judge(&goals, &runs)), expected, "{malloc}");
    }
}

#[test]
fn what_was_not_measured_is_not_met() {
    let goals = parse("allocator", FILE).expect("a good file");
    let runs = [run(Mode::Counted, 1, &[("malloc", 1.0, "ns/op"), ("other", 1.0, "%")])];
    let verdicts = judge(&goals, &runs);
    assert!(verdicts.iter().all(|verdict| verdict.value.is_none() && !verdict.met()));
    assert_eq!(verdicts[0].to_string(), "malloc: not measured, goal <= 120");
}

#[test]
fn one_core_counts_and_otherwise_the_worst() {
    let goals = parse("allocator", FILE).expect("a good file");
    let many = |cores, density| run(Mode::Emulated, cores, &[("density-full", density, "%")]);
    let verdicts = |runs: &[Run]| {
        let verdicts = judge(&goals, runs);
        (verdicts[1].value, verdicts[1].exact)
    };
    let one = run(Mode::Counted, 1, &[("density-full", 99.0, "%")]);
    assert_eq!(verdicts(&[many(4, 97.0), one]), (Some(99.0), true));
    assert_eq!(verdicts(&[many(2, 98.0), many(4, 97.0), many(8, 99.0)]), (Some(97.0), false));
    let board = run(Mode::Serial, 1, &[("density-full", 98.0, "%")]);
    assert_eq!(verdicts(&[board]), (Some(98.0), false), "a board's figures make no budgets");
}

#[test]
fn another_suite_has_no_goals() {
    let goals = parse("allocator", FILE).expect("a good file");
    let mut other = run(Mode::Counted, 1, &[("malloc", 1.0, "instructions/op")]);
    other.report.rows.iter_mut().for_each(|row| row.suite = "ladder".into());
    assert!(judge(&goals, &[other]).is_empty());
}
