use super::*;
use proptest::prelude::*;

/// Lines of a text, and the one that has begun.
fn lines(text: &[u8], width: usize) -> Vec<std::string::String> {
    let mut guest = GuestText::<64>::new();
    let mut out = Vec::new();
    for byte in text {
        guest.put(*byte, width, &mut |line| out.push(line.to_owned()));
    }
    guest.flush(width, &mut |line| out.push(line.to_owned()));
    out
}

fn of(text: &str) -> Vec<std::string::String> {
    lines(text.as_bytes(), usize::MAX)
}

#[test]
fn utf8_passes_whole() {
    for text in
        ["ünïcödé", "日本語 🚀", "Ελληνικά", "עברית العربية", "█▓▒░ ├──", "1️⃣ ❤️", "e\u{301}"]
    {
        assert_eq!(of(&format!("{text}\n")), [text]);
    }
}

#[test]
fn what_is_no_utf8_leaves_a_mark() {
    for bytes in
        [&b"a\xffb"[..], b"a\x9bb", b"a\xc3b", b"a\xf0\x9f\x9ab", b"a\xc0\x80b", b"a\xed\xa0\x80b"]
    {
        assert_eq!(
            lines(bytes, usize::MAX),
            [std::string::String::from_utf8_lossy(bytes)],
            "{bytes:x?}"
        );
    }
    assert_eq!(lines(b"end\xf0\x9f", usize::MAX), ["end\u{fffd}"]);
}

#[test]
fn sequences_are_taken_out_whole() {
    for (text, plain) in [
        ("\x1b[0;32m  OK  \x1b[0m]", "  OK  ]"),
        ("a\x1b[2J\x1b[H\x1b[1;1Hb", "ab"),
        ("a\x1b]0;a title\x07b", "ab"),
        ("a\x1b]52;c;cm0K\x1b\\b", "ab"),
        ("a\u{9b}2Jb\u{9d}0;x\u{9c}c", "abc"),
        ("a\x1bPq#0\x1b\\b\x1b_x\x1b\\c\x1b^x\x1b\\d\x1bXx\x1b\\e", "abcde"),
        ("a\x1b(Bb\x1b#8c\x1b=d\x1bMe", "abcde"),
        ("a\x1b[31\x18b\x1b[31\x1ac", "abc"),
        ("a\x1b\x1b[31mb", "ab"),
        ("a\x1b[3\u{e4}b", "a\u{e4}b"),
        ("a\u{84}\u{85}b", "a\u{fffd}\u{fffd}b"),
        ("a\x07\0\x0e\x0f\x1e\x7fb", "ab"),
    ] {
        assert_eq!(of(text), [plain], "{text:?}");
    }
    assert_eq!(
        of("a\x1b]0;never ended\nb\x1b[\nc"),
        ["a", "b", "c"],
        "a sequence ends with its line"
    );
}

#[test]
fn a_line_is_what_a_row_shows() {
    assert_eq!(of("a\nb\r\nc\r\r\nd"), ["a", "b", "c", "d"]);
    assert_eq!(of("a\n\nb\r\n\r\nc"), ["a", "", "b", "", "c"]);
    assert_eq!(of("10%\r20%\rvm 1 on core 3\n"), ["10%", "20%", "vm 1 on core 3"]);
    assert_eq!(of("a\r\x1b[K\nb"), ["a", "b"]);
    assert_eq!(of("a\x0bb\x0cc"), ["a", "b", "c"]);
    assert_eq!(of("a\tb\t\tc"), ["a       b               c"]);
    assert_eq!(of("pass\x08 \x08word\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08x"), ["x"]);
}

#[test]
fn tricks_leave_a_mark() {
    for character in [
        "\u{202e}",
        "\u{2066}",
        "\u{200b}",
        "\u{200d}",
        "\u{feff}",
        "\u{2028}",
        "\u{2029}",
        "\u{e0041}",
    ] {
        assert_eq!(of(&format!("a{character}b")), ["a\u{fffd}b"], "{character:?}");
    }
}

#[test]
fn long_lines_are_cut_to_rows() {
    assert_eq!(of(&"x".repeat(130)), ["x".repeat(64), "x".repeat(64), "x".repeat(2)]);
    assert_eq!(
        lines("x".repeat(50).as_bytes(), 20),
        ["x".repeat(20), "x".repeat(20), "x".repeat(10)]
    );
    assert_eq!(
        lines("é".repeat(25).as_bytes(), 20),
        ["é".repeat(10), "é".repeat(10), "é".repeat(5)]
    );
    assert_eq!(
        lines(format!("{}\nb", "x".repeat(20)).as_bytes(), 20),
        ["x".repeat(20), "b".to_owned()]
    );
}

#[test]
fn what_was_begun_is_taken_once() {
    let mut guest = GuestText::<64>::new();
    let mut none = |line: &str| panic!("{line}");
    b"login: \xe2\x82".iter().for_each(|byte| guest.put(*byte, usize::MAX, &mut none));
    assert_eq!(guest.take(), "login: ");
    guest.flush(80, &mut none);
}

const HZ: u64 = 62_500_000;

#[test]
fn a_burst_passes_and_what_never_ends_does_not() {
    let mut limit = RateLimit::new(1000);
    let burst = (0..).take_while(|_| limit.rule(92, 0, HZ) == Ruling::Print).count();
    assert_eq!(burst, 160, "16,000 bytes at once, 100 a line; the next was the first dropped");
    assert_eq!(limit.rule(92, HZ / 2, HZ), Ruling::Drop);
    assert_eq!(limit.rule(92, HZ, HZ), Ruling::PrintAfter(186));
    let more = (0..).take_while(|_| limit.rule(92, HZ, HZ) == Ruling::Print).count();
    assert_eq!(more, 9, "a second's worth");
    assert_eq!((limit.dropped(), limit.finish(), limit.finish()), (3 * 93, 93, 0));
}

#[test]
fn no_limit_drops_nothing() {
    for rate in [0, RateLimit::LARGEST + 1, u64::MAX] {
        let mut limit = RateLimit::new(rate);
        assert!((0..10_000).all(|_| limit.rule(usize::MAX, 0, u64::MAX) == Ruling::Print));
    }
}

#[test]
fn a_line_longer_than_a_second_passes_in_the_end() {
    let mut limit = RateLimit::new(10);
    let passed = (0..100u64).filter(|second| {
        matches!(limit.rule(500, second * HZ, HZ), Ruling::Print | Ruling::PrintAfter(_))
    });
    assert!(passed.count() > 1);
}

proptest! {
    /// Any bytes, cut anywhere: only plain characters, and no line longer than it may be.
    #[test]
    fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..400), width in 0usize..100) {
        for line in lines(&text, width) {
            prop_assert!(line.chars().all(is_plain), "{line:?}");
            prop_assert!(line.len() <= 64 && line.chars().map(columns).sum::<usize>() <= width.max(NARROWEST));
        }
    }

    /// Text without controls comes out as it went in, however it is cut into lines.
    #[test]
    fn any_plain_text(text in "\\PC{0,200}", width in 16usize..100) {
        let shown: std::string::String = lines(text.as_bytes(), width).concat();
        let expected: std::string::String =
            text.chars().map(|one| if is_plain(one) { one } else { '\u{fffd}' }).collect();
        prop_assert_eq!(shown, expected);
    }

    /// What is printed is never more than the burst and the rate allow, and what is dropped is
    /// counted.
    #[test]
    fn any_rate(
        rate in 1u64..100_000,
        calls in proptest::collection::vec((0usize..600, 0u64..HZ), 1..200),
    ) {
        let mut limit = RateLimit::new(rate);
        let (mut now, mut printed, mut dropped, mut said) = (0, 0u64, 0u64, 0u64);
        for (bytes, pause) in calls {
            now += pause;
            match limit.rule(bytes, now, HZ) {
                Ruling::Print => printed += bytes as u64,
                Ruling::PrintAfter(before) => {
                    printed += bytes as u64;
                    said += before;
                }
                Ruling::DropFirst | Ruling::Drop => dropped += bytes as u64 + 1,
            }
            // One line more, which is paid for with what there is.
            prop_assert!(printed <= rate * (BURST_SECONDS + now / HZ + 1) + 600);
        }
        prop_assert_eq!(limit.dropped(), dropped);
        prop_assert_eq!(said + limit.finish(), dropped);
    }
}

const BURST_SECONDS: u64 = 16;
