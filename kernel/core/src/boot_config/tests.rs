//! Files as users write them.

use proptest::prelude::*;

use super::{BootConfig, Problem, parse};
use crate::device_tree::{Conduit, Cpu, Gic, LeftOut, Machine, Range, Timer, Uart};

#[test]
fn what_is_said_is_read() {
    let text = "# a board\n arguments = \"exec log=defmt\"\r\n\nconsole = [ 0x040d_0000, 330, ] # UART2\ncores = 4\n\
                guests = ['linux', \"other\"]\ncommands = [\n  \"board report\", # at first\n  \"vm start \\\"linux\\\"\",\n]\n";
    let config = parse(text.as_bytes()).expect("good");
    assert_eq!(config.arguments, "exec log=defmt");
    assert_eq!(config.console, Some(Uart { base: 0x040d_0000, interrupt: 330 }));
    assert_eq!(config.cores, Some(4));
    assert_eq!(config.guests.as_deref().map(|guests| guests.len()), Some(2));
    assert_eq!(config.commands, "board report\nvm start \"linux\"\n");
    assert_eq!(parse(b"").expect("empty"), BootConfig::default());
    assert_eq!(parse(b"guests = []").expect("none").guests.map(|guests| guests.len()), Some(0));
}

#[test]
fn the_file_of_the_boards_page_is_good() {
    let page = include_str!("../../../../boards/radxa-o6/README.md");
    let (_, rest) = page.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let config = parse(example.as_bytes()).expect("good");
    assert!(config.console.is_some() && config.cores.is_some() && config.guests.is_some());
    assert!(!config.arguments.is_empty() && !config.commands.is_empty());
}

/// The line and the problem of a file.
fn wrong(text: &str) -> (usize, Problem) {
    let error = parse(text.as_bytes()).expect_err(text);
    assert!(!format!("{error}").is_empty());
    (error.line, error.problem)
}

#[test]
fn what_is_wrong_is_said_by_line() {
    assert_eq!(parse(b"\n\xff").expect_err("no text").line, 2);
    for (text, at) in
        [("\nhello", 2), ("arguments = x", 1), ("cores = 4 5", 1), ("\ncommands = [\"a\"\n", 2)]
    {
        let (line, problem) = wrong(text);
        assert!(matches!(problem, Problem::Syntax(_)), "{text}: {problem:?}");
        assert_eq!(line, at, "{text}");
    }
    for text in ["\nconsoles = 1", "\n[console]", "\n[[guests]]", "\nconsole.base = 3"] {
        assert_eq!(wrong(text), (2, Problem::Unknown), "{text}");
    }
    assert_eq!(wrong("cores = 1\ncores = 2"), (2, Problem::Twice));
    for text in [
        "arguments = 5",
        "arguments = [\"a\"]",
        "cores = 0",
        "cores = -1",
        "cores = 1.5",
        "cores = \"4\"",
        "cores = true",
        "console = 0x9000000",
        "console = [0x9000000]",
        "console = [0x9000001, 33]",
        "console = [0x9000000, 31]",
        "console = [0x9000000, 33, 34]",
        "console = [\"0x9000000\", 33]",
        "console = { base = 0x9000000 }",
        "guests = \"linux\"",
        "guests = [\"two words\"]",
        "guests = [[\"linux\"]]",
        "commands = \"mem\"",
        "commands = [\"a\\nb\"]",
        "commands = [1]",
    ] {
        let (line, problem) = wrong(text);
        assert!(line == 1 && matches!(problem, Problem::Wants(_)), "{text}: {problem:?}");
    }
}

#[test]
fn what_is_too_long_is_said() {
    let commands = |count: usize| {
        format!("\ncommands = [{}]", format!("\"{}\",", "x".repeat(60)).repeat(count))
    };
    for text in [
        format!("\narguments = \"{}\"", "x".repeat(249)),
        format!("\nguests = [\"{}\"]", "x".repeat(25)),
        "\nguests = [\"a\", \"b\", \"c\", \"d\", \"e\"]".into(),
        commands(9),
        // 488 bytes of commands, and 33 to start the guests.
        commands(8) + "\nguests = [\"a\", \"b\", \"c\"]",
        "\n".repeat(2000),
    ] {
        let (line, problem) = wrong(&text);
        assert!(line > 1 && matches!(problem, Problem::TooMuch(_)), "{problem:?}");
    }
    assert!(parse(commands(8).as_bytes()).is_ok());
}

fn machine() -> Machine {
    let range = Range { base: 0x0e01_0000, size: 0x1_0000 };
    Machine {
        model: "".try_into().expect("short"),
        emulated: false,
        memory: heapless::Vec::new(),
        reserved: heapless::Vec::new(),
        cpus: [0, 0x100, 0x200, 0xa00, 0xb00]
            .into_iter()
            .map(|affinity| Cpu { affinity })
            .collect(),
        gic: Gic { distributor: range, redistributors: [range].into_iter().collect() },
        uart: Uart { base: 0x0900_0000, interrupt: 33 },
        timer: Timer { physical: 30, virtual_timer: 27, hypervisor_physical: 26 },
        psci: Conduit::Smc,
        bootargs: "of the tables".try_into().expect("short"),
        initrd: None,
        virtio: heapless::Vec::new(),
        clock: None,
        started: None,
        firmware: None,
        kept: None,
        commands: heapless::String::new(),
        left_out: LeftOut::default(),
    }
}

fn applied(text: &str) -> Machine {
    let mut machine = machine();
    parse(text.as_bytes()).expect("good").apply(&mut machine, 0xa00);
    machine
}

#[test]
fn the_machine_is_as_the_file_says() {
    let untouched = applied("");
    assert_eq!(Machine { bootargs: heapless::String::new(), ..machine() }, untouched);
    let affinities = |cores: usize| {
        let machine = applied(&format!("cores = {cores}"));
        machine.cpus.iter().map(|cpu| cpu.affinity).collect::<Vec<_>>()
    };
    assert_eq!(affinities(1), [0xa00]);
    assert_eq!(affinities(3), [0, 0x100, 0xa00]);
    assert_eq!(affinities(5).len(), 5);
    assert_eq!(affinities(99).len(), 5);
    let changed = applied(
        "commands = [\"mem\"]\nguests = [\"linux\"]\nconsole = [0x40d0000, 330]\narguments = 'exec'",
    );
    assert_eq!(changed.commands, "vm start linux\nmem\n");
    assert_eq!(changed.bootargs, "exec noguest");
    assert_eq!(changed.uart, Uart { base: 0x040d_0000, interrupt: 330 });
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_text_of_these_words_is_answered(
        words in prop::collection::vec(prop::sample::select(vec![
            "cores", "console", "commands", "guests", "=", "[", "]", "{", "}", ",", "\n", "1", "0x10", "\"a\"", "'", "\"", ".", "#", " ", "[[",
        ]), 0..40),
    ) {
        let _ = parse(words.concat().as_bytes());
    }
}
