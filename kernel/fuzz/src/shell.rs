//! The shell's line: every byte that can come over a serial line.

use bale_core::shell::{Event, LineEditor, commands, number, words};

const LINE: usize = 64;

pub(crate) fn run(bytes: &[u8]) {
    let mut editor: LineEditor<LINE, 4> = LineEditor::new("> ");
    let mut screen = String::new();
    for byte in bytes {
        let event = editor.feed(*byte, &mut screen);
        assert!(editor.line().len() <= LINE);
        if event == Event::Complete {
            editor.complete(["pool", "poweroff", "\u{e4}rger"].into_iter(), &mut screen);
            editor.redraw(&mut screen);
        }
        if event == Event::Line {
            split(editor.line());
        }
        screen.clear();
    }
    split(&String::from_utf8_lossy(bytes));
}

fn split(line: &str) {
    for command in commands(line) {
        assert!(line.contains(command));
        let Ok(words) = words(command) else { continue };
        for word in words {
            assert!(command.contains(word));
            // A word may or may not be a number.
            let _ = number(word);
        }
    }
}
