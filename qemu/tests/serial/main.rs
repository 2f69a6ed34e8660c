//! `cargo bale bench --serial` and `cargo bale console` against a board that is played by the test,
//! on a pseudo-terminal.

mod board;
mod console;

use std::fs;
use std::path::PathBuf;

use board::{Answer, Board, bench};

const ONE: &str = include_str!("../bench/allocator-1.txt");
const FOUR: &str = include_str!("../bench/allocator-4.txt");

/// A file of this test's own.
fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("bale-serial-{}-{name}", std::process::id()))
}

#[test]
fn a_board_takes_the_place_of_qemu() {
    let (json, csv) = (file("now.json"), file("now.csv"));
    let plots = file("plots");
    let paths =
        [json.display().to_string(), csv.display().to_string(), plots.display().to_string()];
    let board = Board::new(vec![Answer::good(ONE), Answer::good(FOUR)]);
    let output = bench(
        &board,
        &[
            "allocator",
            "--cores",
            "4,1",
            "--seed",
            "7",
            "--json",
            &paths[0],
            "--csv",
            &paths[1],
            "--plots",
            &paths[2],
        ],
    );
    let heard = board.finish();
    assert_eq!(
        heard,
        [
            "bench run allocator --json --cores 1 --seed 7",
            "bench run allocator --json --cores 4 --seed 7"
        ]
    );
    // The sample misses two goals: free and density-full.
    assert_eq!(output.status, Some(1), "{output:?}");
    let last: Vec<&str> = output.text.lines().rev().take(3).collect();
    assert_eq!(last[0], "bench: 19 of 21 goals met, 2 missed");
    assert_eq!(last[1], "goal missed: density-full: 98.45, goal >= 98.5");
    assert_eq!(last[2], "goal missed: free: 97.6, goal <= 90");
    assert!(output.text.lines().all(|line| line.chars().count() <= 80), "{}", output.text);
    assert!(
        output.errors.contains("allocator: 8000 objects"),
        "ordinary output is shown: {}",
        output.errors
    );

    let saved = fs::read_to_string(&json).expect("the JSON was written");
    assert!(saved.contains(r#""pages":50912"#) && saved.contains(r#""mode":"serial""#));
    let table = fs::read_to_string(&csv).expect("the CSV was written");
    assert!(
        table.contains("serial,1,allocator,malloc,1,,118.4,instructions/op,8000,120,"),
        "{table}"
    );
    assert!(
        fs::read_to_string(plots.join("ladder-ladder-instructions_op.svg"))
            .expect("a plot")
            .contains("<svg")
    );

    // The same board, one figure worse: against what was saved.
    let worse = ONE.replace(r#""value":118.4"#, r#""value":119.9"#);
    let board = Board::new(vec![Answer::good(&worse)]);
    let output = bench(&board, &["--cores", "1", "--compare", &paths[0]]);
    board.finish();
    let malloc = output.text.lines().find(|line| line.contains("malloc") && line.contains("WORSE"));
    assert!(
        malloc.is_some_and(|line| line.contains("118.4") && line.contains("+1.27 %")),
        "{}",
        output.text
    );
    assert_eq!(output.text.matches("WORSE").count(), 1, "{}", output.text);

    for path in [json, csv] {
        fs::remove_file(path).expect("it was read above");
    }
    fs::remove_dir_all(plots).expect("it was read above");
}

#[test]
fn the_status_is_0_when_all_goals_are_met() {
    let good = ONE
        .replace(r#""value":97.6"#, r#""value":89.9"#)
        .replace(r#""value":98.45"#, r#""value":98.5"#);
    let board = Board::new(vec![Answer::good(&good)]);
    let output = bench(&board, &["--cores", "1"]);
    board.finish();
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(output.text.ends_with("bench: all 20 goals met\n"), "{}", output.text);
}

/// The status is 2 and the message says why.
fn fails(answer: Answer, options: &[&str], words: &[&str]) {
    let board = Board::new(vec![answer]);
    let output = bench(&board, &[&["--cores", "1"], options].concat());
    board.finish();
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(output.text.is_empty(), "no table of half a run: {}", output.text);
    for word in words {
        assert!(output.errors.contains(word), "{} does not say {word}", output.errors);
    }
}

#[test]
fn a_malformed_line_is_a_failure() {
    let cut = ONE.replace(r#","n":8000}"#, "");
    fails(Answer::good(&cut), &[], &["malformed line of the report", r#""name":"malloc""#]);
}

#[test]
fn a_command_that_fails_is_a_failure() {
    let answer =
        Answer { text: "error: there is no benchmark run\n".into(), end: "\x1eSTATUS 1\r\n" };
    fails(
        answer,
        &[],
        &["`bench run allocator --json --cores 1 --seed 1` failed", "there is no benchmark run"],
    );
}

#[test]
fn a_board_that_stops_is_a_failure() {
    let answer = Answer { text: "\x1ebale: stopped: panic\n".into(), end: "" };
    fails(answer, &[], &["the machine stopped: panic"]);
}

#[test]
fn a_silent_board_is_given_up() {
    fails(Answer { text: String::new(), end: "" }, &["--timeout", "2"], &["time limit of 2 s"]);
}

#[test]
fn another_number_of_cores_is_a_failure() {
    fails(Answer::good(FOUR), &[], &["reports 4 cores, not 1"]);
}

#[test]
fn what_is_no_serial_line_is_refused() {
    let output = board::tool(&["bench", "--serial", "/dev/null"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(output.errors.contains("/dev/null: it is not a serial line"), "{}", output.errors);
}
