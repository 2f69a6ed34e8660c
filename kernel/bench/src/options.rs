//! How benchmarks are to be run, and which of them take what.

use core::fmt;
use core::ops::RangeInclusive;

use bale_arch::counter::Event;

/// How many objects or pages a benchmark may be told to work on: below, some have nothing to
/// measure; above, handles have no room.
pub const PAGES: RangeInclusive<u64> = 64..=262_144;

/// How to run, and what to print.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Objects or pages, instead of a benchmark's own number; from each core where several take
    /// part.
    pub pages: Option<usize>,
    /// What the store's pages hold.
    pub mix: Mix,
    /// How many cores take part where several do, instead of a benchmark's own choice.
    pub cores: Option<CoreCounts>,
    /// Seed of sizes, orders and made pages.
    pub seed: u64,
    /// What is counted.
    pub event: Event,
    /// JSON lines instead of text.
    pub json: bool,
}

impl Options {
    /// The option that a benchmark cannot be run with, if there is one.
    pub(super) fn refused_by(&self, takes: Takes) -> Option<&'static str> {
        match self {
            Self { pages: Some(_), .. } if !takes.pages => Some("--pages"),
            Self { event: Event::Cycles, .. } if !takes.cycles => Some("--cycles"),
            Self { mix, .. } if !takes.mix && *mix != Mix::Bundle => Some("--mix"),
            _ => None,
        }
    }

    /// The option that would change nothing about a benchmark, which runs on one core.
    pub(super) fn idle_for(&self, takes: Takes) -> Option<&'static str> {
        (self.cores.is_some() && !takes.cores).then_some("--cores")
    }
}

/// What counts are called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    pub(super) plain: &'static str,
    pub(super) per_operation: &'static str,
    pub(super) per_page: &'static str,
}

impl Units {
    pub(super) const fn of(event: Event) -> Self {
        match event {
            Event::Instructions => Self {
                plain: "instructions",
                per_operation: "instructions/op",
                per_page: "instructions/page",
            },
            Event::Cycles => {
                Self { plain: "cycles", per_operation: "cycles/op", per_page: "cycles/page" }
            }
        }
    }
}

/// What a benchmark can be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takes {
    pub(super) pages: bool,
    pub(super) mix: bool,
    pub(super) cores: bool,
    pub(super) cycles: bool,
}

/// Behind what a benchmark is, in the list.
impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = [
            (self.pages, "pages"),
            (self.mix, "mix"),
            (self.cores, "cores"),
            (self.cycles, "cycles"),
        ];
        let mut before = " [";
        for (_, option) in options.iter().filter(|(takes, _)| *takes) {
            write!(f, "{before}{option}")?;
            before = " ";
        }
        f.write_str(if before == " " { "]" } else { "" })
    }
}

/// What pages hold. The bundle's come from processes of the host; the others are made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Pages of the boot bundle.
    Bundle,
    /// Zeros: the store keeps them in their slots.
    Zeros,
    /// Random bytes, which no codec makes shorter.
    Random,
    /// Random bytes in the first half of each page, zeros behind them.
    Half,
}

impl Mix {
    /// All, by their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("bundle", Self::Bundle),
        ("zeros", Self::Zeros),
        ("random", Self::Random),
        ("half", Self::Half),
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, mix)| *mix)
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mix)| *mix == self).map_or("", |(name, _)| name)
    }
}

/// Numbers of cores, each below 32: a benchmark runs once with each.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoreCounts(u32);

impl CoreCounts {
    /// Adds one.
    pub fn add(&mut self, count: usize) {
        self.0 |= 1 << count;
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..32).filter(move |count| self.0 & 1 << count != 0)
    }
}

impl FromIterator<usize> for CoreCounts {
    fn from_iter<I: IntoIterator<Item = usize>>(counts: I) -> Self {
        let mut all = Self::default();
        counts.into_iter().for_each(|count| all.add(count));
        all
    }
}
