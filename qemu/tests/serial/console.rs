//! `cargo bale console` against the same board.

use std::fs::{self, File};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use rustix::termios::{LocalModes, tcgetattr};

use crate::board::{Answer, Board, tool, typed};

/// A file of this test's own, which is not there yet.
fn fresh(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("bale-console-{}-{name}", std::process::id()));
    // Left by an earlier process of this number, if at all.
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn commands_go_out_and_answers_come_back_and_are_saved() {
    let save = fresh("session");
    let name = save.display().to_string();
    let answers = || {
        vec![Answer {
            text: "twelve cores\n\0\x05\u{7f}\0behind the frame\n".into(),
            end: "bale> ",
        }]
    };
    for round in 1..=2 {
        let board = Board::new(answers());
        let output = typed(
            &["console", board.path(), "--save", &name, "--timeout", "10", "--baud", "230400"],
            "cores\n",
        );
        let settings = tcgetattr(board.line()).expect("settings");
        assert_eq!(settings.output_speed(), 230_400);
        assert!(!settings.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON));
        assert_eq!(board.finish(), ["cores"]);
        assert_eq!(output.status, Some(0), "{output:?}");
        assert!(output.text.starts_with("twelve cores\n"), "{output:?}");
        assert!(
            output.text.contains("a log frame of 2 bytes") && !output.text.contains('\0'),
            "{output:?}"
        );
        assert!(output.text.ends_with("behind the frame\nbale> "), "{output:?}");
        // Every byte as it came, behind those of the session before.
        let whole = "twelve cores\r\n\0\x05\u{7f}\0behind the frame\r\nbale> ".repeat(round);
        assert_eq!(fs::read_to_string(&save).expect("saved"), whole);
    }
    fs::remove_file(&save).expect("it was read above");
}

#[test]
fn an_input_that_ends_is_answered_and_left() {
    let board = Board::new(vec![Answer { text: "yes\n".into(), end: "" }]);
    let output = typed(&["console", board.path()], "there?\n");
    board.finish();
    assert_eq!((output.status, output.text.as_str()), (Some(0), "yes\n"), "{}", output.errors);
}

/// The status is 1 and the message says why.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = tool(&[&["console"], arguments].concat());
    assert_eq!(output.status, Some(1), "{output:?}");
    for word in words {
        assert!(output.errors.contains(word), "{} does not say {word}", output.errors);
    }
}

#[test]
fn what_cannot_be_used_is_said() {
    refused(&["/dev/null"], &["/dev/null", "not a serial line"]);
    refused(&["/dev/ttyUSB-none"], &["/dev/ttyUSB-none", "no such device"]);
    let board = Board::new(Vec::new());
    refused(
        &[board.path(), "--save", "/nonexistent/session"],
        &["cannot save the session to /nonexistent/session"],
    );
    refused(&[board.path(), "--elf", "/nonexistent/kernel"], &["/nonexistent/kernel"]);
    let other = File::open(board.path()).expect("a second user of the line");
    flock(&other, FlockOperation::LockExclusive).expect("its lock");
    refused(&[board.path()], &["another program uses it"]);
    drop(other);
    board.finish();
}
