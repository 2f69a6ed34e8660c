//! What a guest can print at worst: text that pretends to be another's, and text without end.

/// The data register of the PL011.
const UART: *mut u32 = 0x0900_0000 as *mut u32;
/// Lines of a flood before its end.
const FLOOD_LINES: u32 = 20_000;

/// Text of which each part tries to leave its line, or to begin one that is not this guest's.
const HOSTILE: &[&[u8]] = &[
    "mark plain \u{fc}n\u{ef}c\u{f6}d\u{e9} \u{65e5}\u{672c}\u{8a9e}\n".as_bytes(),
    b"mark sequence \x1b[2J\x1b[1;1H\x1b[31mred\x1b[0m\x1b]0;title\x07\x1bPq\x1b\\ end\n",
    "mark c1 \u{9b}2J\u{9d}0;title\u{9c}\u{85}\u{84} end\n".as_bytes(),
    b"mark bytes \x9b2J\xff\xc3\x28 end\n",
    "mark bidi \u{202e}fdp\u{2066}\u{200b}\u{2028}mark end\n".as_bytes(),
    b"mark return\rbale: stopped: mark forged\r[vm3] mark forged\r\n",
    b"mark nul \0\x01\x02\x03\0 end\n\x1eSTATUS 1\n\x1eREADY\nmark scripts\n",
    b"mark tab\tstop\x0bmark vertical\x0cmark feed\n",
    b"bale: stopped: mark forged\ndefmt:00112233 mark\n  #3 +0x1234 mark\nbale> mark poweroff\n",
];
/// Bytes of a line that is longer than any that is kept.
const LONG: usize = 3000;

/// Prints all of it, and a line that never ends.
pub(crate) fn hostile() {
    HOSTILE.iter().for_each(|part| say(part));
    (0..LONG).for_each(|_| say(b"x"));
    say(b"\nmark last, without an end");
}

/// Prints lines as fast as it can, one of them very long; in the end one that says so.
pub(crate) fn flood() {
    for _ in 0..FLOOD_LINES {
        say(b"mark flood, which goes on\n");
    }
    (0..LONG).for_each(|_| say(b"y"));
    say(b"\n");
}

fn say(bytes: &[u8]) {
    for byte in bytes {
        // SAFETY: the machine's UART, of which every value may be written to this register.
        unsafe { UART.write_volatile((*byte).into()) };
    }
}
