use super::super::report::Report;
use super::super::{Mode, Run, compare, goals, sample};
use super::{WIDTH, changes, closing, number, put, table};

fn goals_of(text: &str) -> Vec<goals::Goal> {
    goals::parse("allocator", text).expect("good goals")
}

#[test]
fn each_figure_stands_beside_its_goal_and_budget() {
    let goals = goals_of(
        "[malloc]\nbetter = \"lower\"\ngoal = 120\nbudget = 118.4\n[free]\nbetter = \"lower\"\ngoal = 90\nbudget = 97\n\
         [pair]\nbetter = \"lower\"\ngoal = 100\n",
    );
    let runs = sample::runs();
    let lines = table(&runs, &goals::judge(&goals, &runs));
    for line in [
        "  figure                  value     goal  budget unit",
        "  malloc                  118.4   <= 120   118.4 instructions/op met",
        "  free                     97.6    <= 90      97 instructions/op OVER BUDGET",
        "  pair                    184.2   <= 100         instructions/op missed",
        "  push                     11.9                  instructions/op",
        "  ladder, instructions/op:",
        "    cores producer    drain",
        "        4     11.9     67.3",
        "  push-latency                   1       32       64      256     4096     8000",
    ] {
        assert!(lines.iter().any(|other| other == line), "{line}\nis not in\n{}", lines.join("\n"));
    }
}

#[test]
fn no_line_is_wider_than_the_screen() {
    let long = "a-figure-with-a-name-that-somebody-made-far-too-long-".repeat(3);
    let header = r#"{"report":"bench","board":"b","cores":2,"cpu":"c","counter":"i"}"#;
    let columns: Vec<String> = (0..12).map(|n| format!("\"column-{n}\":123456.789")).collect();
    let rows = [
        format!(r#"{{"suite":"allocator","name":"{long}","value":1,"unit":"instructions/op"}}"#),
        r#"{"suite":"allocator","name":"malloc","value":123456789012.5,"unit":"some long unit/op"}"#
            .to_owned(),
        format!(r#"{{"suite":"ladder","name":"x","columns":{{{}}},"unit":"u"}}"#, columns.join(",")),
        format!(r#"{{"suite":"a","name":"{long}","histogram":[[100000000000,2]],"unit":"ns"}}"#),
    ];
    let report =
        Report::parse([header].into_iter().chain(rows.iter().map(String::as_str))).expect("good");
    let mut runs = sample::runs();
    runs.push(Run { mode: Mode::Emulated, report });
    let goals = goals_of("[malloc]\nbetter = \"lower\"\ngoal = 120\n");
    let verdicts = goals::judge(&goals, &runs);
    let mut lines = table(&runs, &verdicts);
    lines.extend(changes(&compare::compare(&sample::runs(), &runs, &goals)));
    lines.extend(closing(&verdicts));
    for line in &lines {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
    let whole: String = lines.iter().map(|line| line.trim()).collect();
    assert!(whole.contains(&long), "nothing is cut");
    assert!(whole.contains("column-11"));
}

#[test]
fn the_last_line_counts_the_goals() {
    let goals = goals_of(
        "[malloc]\nbetter = \"lower\"\ngoal = 120\n[free]\nbetter = \"lower\"\ngoal = 90\nbudget = 97\n\
         [absent]\nbetter = \"higher\"\ngoal = 1\n",
    );
    let runs = sample::runs();
    assert_eq!(
        closing(&goals::judge(&goals, &runs)),
        [
            "goal missed: free: 97.6, goal <= 90; worse than its budget 97",
            "goal missed: absent: not measured, goal >= 1",
            "bench: 1 of 3 goals met, 2 missed, 1 budget exceeded",
        ]
    );
    assert_eq!(closing(&goals::judge(&goals[..1], &runs)), ["bench: all 1 goals met"]);
    assert_eq!(closing(&[]), ["bench: no goals are about these figures"]);
}

#[test]
fn changes_are_in_per_cent_and_the_worse_are_marked() {
    let before = sample::runs();
    let mut now = before.clone();
    now[0].report.rows[0].data = super::Data::Value(236.8);
    let lines = changes(&compare::compare(&before, &now, &[]));
    let malloc =
        lines.iter().find(|line| line.trim_start().starts_with("malloc ")).expect("malloc");
    assert_eq!(lines.len(), 3, "what did not change is left out: {lines:?}");
    assert!(
        malloc.contains("118.4") && malloc.contains("236.8") && malloc.ends_with("+100.00 % WORSE")
    );
    assert!(
        lines.last().is_some_and(|line| line.contains("values: 1 worse by more than 1 %")),
        "{lines:?}"
    );
}

#[test]
fn numbers_are_short() {
    for (value, text) in [
        (0.0, "0"),
        (12.0, "12"),
        (118.4, "118.4"),
        (98.45, "98.45"),
        (0.05, "0.05"),
        (100.0, "100"),
    ] {
        assert_eq!(number(value), text);
    }
}

#[test]
fn a_cell_without_room_starts_a_line() {
    let mut out = Vec::new();
    put(&mut out, 2, &["x".repeat(60), "y".repeat(30), "z".into()]);
    assert_eq!(out, [format!("  {}", "x".repeat(60)), format!("      {} z", "y".repeat(30))]);
}

#[test]
fn long_names_of_columns_are_broken_and_figures_named_once() {
    let header = r#"{"report":"bench","board":"b","cores":4,"cpu":"c","counter":"i"}"#;
    let row = |cores| {
        format!(
            r#"{{"suite":"ladder","name":"runs","cores":{cores},"columns":{{"work":7.5,"synchronous_percent":75.2}},"unit":"ns"}}"#
        )
    };
    let rows = [row(1), row(4)];
    let report =
        Report::parse([header].into_iter().chain(rows.iter().map(String::as_str))).expect("good");
    let lines = table(&[Run { mode: Mode::Emulated, report }], &[]);
    assert_eq!(
        lines[1..],
        [
            "  ladder, ns:",
            "                   synchronous",
            "    cores     work     percent",
            "  runs",
            "        1      7.5        75.2",
            "        4      7.5        75.2",
            "",
        ]
    );
}
