//! A benchmark: its name, what it takes, where it says something.

use super::options::Takes;
use super::{BenchError, Report};

/// Where a benchmark says something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On one core, where instructions or cycles are counted.
    Counted,
    /// Anywhere.
    Anywhere,
}

/// A benchmark.
pub(super) struct Bench {
    pub(super) suite: &'static str,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) place: Place,
    pub(super) takes: Takes,
    pub(super) run: fn(&mut Report) -> Result<(), BenchError<'static>>,
}
