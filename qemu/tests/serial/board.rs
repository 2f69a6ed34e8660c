//! A board played on a pseudo-terminal: it speaks the shell's protocol for scripts and gives
//! prepared answers.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What the board says to a command.
pub(crate) struct Answer {
    pub(crate) text: String,
    /// The marker behind it; none for a board that says nothing more.
    pub(crate) end: &'static str,
}

impl Answer {
    /// A command that succeeds.
    pub(crate) fn good(text: &str) -> Self {
        Self { text: text.into(), end: "\x1eSTATUS 0\r\n" }
    }
}

/// The board.
pub(crate) struct Board {
    path: PathBuf,
    /// Held open: the other side ends when the last user of this side closes it.
    line: File,
    thread: JoinHandle<Vec<String>>,
}

impl Board {
    /// A board that answers the first command with the first answer, and so on.
    pub(crate) fn new(answers: Vec<Answer>) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let path = PathBuf::from(name.into_string().expect("a name of plain characters"));
        let line = OpenOptions::new().read(true).write(true).open(&path).expect("the other side");
        let thread = thread::spawn(move || play(File::from(master), answers));
        Self { path, line, thread }
    }

    /// The tool's end of the line.
    pub(crate) fn path(&self) -> &str {
        self.path.to_str().expect("a name of plain characters")
    }

    /// The tool's end of the line, open: for its settings.
    pub(crate) fn line(&self) -> &File {
        &self.line
    }

    /// The commands that it was given.
    pub(crate) fn finish(self) -> Vec<String> {
        drop(self.line);
        self.thread.join().expect("the board")
    }
}

fn play(mut uart: File, answers: Vec<Answer>) -> Vec<String> {
    let mut answers = answers.into_iter();
    let (mut commands, mut line) = (Vec::new(), Vec::new());
    let mut byte = [0];
    while let Ok(1) = uart.read(&mut byte) {
        match byte[0] {
            0x03 => {
                line.clear();
                uart.write_all(b"\x1eSTATUS 1\r\n").expect("sent");
            }
            b'\n' => {
                commands
                    .push(String::from_utf8(core::mem::take(&mut line)).expect("plain characters"));
                if let Some(answer) = answers.next() {
                    let text = answer.text.replace('\n', "\r\n");
                    uart.write_all(text.as_bytes()).expect("sent");
                    uart.write_all(answer.end.as_bytes()).expect("sent");
                }
            }
            other => line.push(other),
        }
    }
    commands
}

/// What the tool did.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: Option<i32>,
    pub(crate) text: String,
    pub(crate) errors: String,
}

/// The tool with these arguments and nothing typed.
pub(crate) fn tool(arguments: &[&str]) -> Output {
    typed(arguments, "")
}

/// The tool with these arguments, and this as its input.
pub(crate) fn typed(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bale"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the tool starts");
    // A tool that refuses its arguments has gone before it reads.
    let _ = child.stdin.take().expect("an input").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the tool ends");
    Output {
        status: output.status.code(),
        text: String::from_utf8(output.stdout).expect("text"),
        errors: String::from_utf8(output.stderr).expect("text"),
    }
}

/// `bench` on this board.
pub(crate) fn bench(board: &Board, options: &[&str]) -> Output {
    let path = board.path();
    tool(&[&["bench", "--serial", path], options].concat())
}
