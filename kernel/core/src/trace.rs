//! What the kernel's trace holds: events of one core, and the line in which the shell gives one to
//! the host.
//!
//! A line is `CORE TICKS KIND NUMBER NAME`, all numbers decimal; the name is the rest of the line.
//! The first line of a dump is `trace FREQUENCY NOW`: ticks a second, and when the trace was
//! stopped.

use core::fmt;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An interrupt was acknowledged: its INTID and who handles it.
    InterruptIn,
    /// Its handler is done.
    InterruptOut,
    /// A task runs from here on: its index and name.
    Switch,
    /// A task was made ready, perhaps for another core: its index and name.
    Wake,
    /// A guest gave slots of the store back: how many held something.
    Release,
    /// A deferred free passed the watermark of this core's ring: how many were pending.
    Enqueue,
    /// The drain begins a slice: how many are pending.
    DrainBegin,
    /// The slice is over: how many it freed.
    DrainEnd,
    /// A guest runs: number of its machine.
    GuestEnter,
    /// It came out again.
    GuestExit,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::InterruptIn,
        Self::InterruptOut,
        Self::Switch,
        Self::Wake,
        Self::Release,
        Self::Enqueue,
        Self::DrainBegin,
        Self::DrainEnd,
        Self::GuestEnter,
        Self::GuestExit,
    ];

    /// Its word in a line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::InterruptIn => "interrupt-in",
            Self::InterruptOut => "interrupt-out",
            Self::Switch => "switch",
            Self::Wake => "wake",
            Self::Release => "release",
            Self::Enqueue => "enqueue",
            Self::DrainBegin => "drain-begin",
            Self::DrainEnd => "drain-end",
            Self::GuestEnter => "guest-enter",
            Self::GuestExit => "guest-exit",
        }
    }
}

/// One event of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Ticks of the counter that all cores share.
    pub at: u64,
    /// What happened.
    pub kind: Kind,
    /// See [`Kind`].
    pub number: u32,
    /// Of the task or the interrupt; empty where the kind says all.
    pub name: &'a str,
}

/// An event and the core it belongs to, as a line of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a>(pub usize, pub Event<'a>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(core, Event { at, kind, number, name }) = self;
        write!(f, "{core} {at} {} {number} {name}", kind.word())
    }
}

impl<'a> Line<'a> {
    /// Reads a line; `None` if it is none.
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.trim_end().splitn(5, ' ');
        let core = parts.next()?.parse().ok()?;
        let at = parts.next()?.parse().ok()?;
        let word = parts.next()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let number = parts.next()?.parse().ok()?;
        Some(Self(core, Event { at, kind, number, name: parts.next().unwrap_or("") }))
    }
}

/// The first line of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Ticks a second.
    pub frequency: u64,
    /// When the trace was stopped.
    pub stopped: u64,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trace {} {}", self.frequency, self.stopped)
    }
}

impl Head {
    /// Reads the line; `None` if it is another, or names no frequency.
    pub fn parse(line: &str) -> Option<Self> {
        let (frequency, stopped) = line.trim_end().strip_prefix("trace ")?.split_once(' ')?;
        let head = Self { frequency: frequency.parse().ok()?, stopped: stopped.parse().ok()? };
        (head.frequency > 0).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn lines_read_back() {
        for kind in Kind::ALL {
            for name in ["", "drain", "guest timer"] {
                let line = Line(11, Event { at: u64::MAX, kind, number: 7, name });
                assert_eq!(Line::parse(&line.to_string()), Some(line), "{line}");
            }
        }
        let head = Head { frequency: 62_500_000, stopped: 12 };
        assert_eq!(Head::parse(&head.to_string()), Some(head));
    }

    #[test]
    fn other_text_is_no_line() {
        for line in [
            "",
            "0",
            "0 1",
            "0 1 switch",
            "0 1 jump 2 x",
            "0 x switch 2 idle",
            "-1 1 switch 2 idle",
        ] {
            assert_eq!(Line::parse(line), None, "{line}");
        }
        for line in ["", "trace", "trace 1", "trace 0 1", "trace x 1", "0 1 switch 2 idle"] {
            assert_eq!(Head::parse(line), None, "{line}");
        }
    }
}
