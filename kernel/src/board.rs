//! A board's page of facts: what must be known before, or instead of, what the firmware's tables say.

/// Facts of one board. Everything else is discovered.
#[derive(Debug)]
pub struct Board {
    /// As printed.
    pub name: &'static str,
    /// PL011 that firmware has set up: the voice before the tables are read.
    pub early_uart: u64,
    /// Least memory Bale starts with, in bytes.
    pub least_memory: u64,
}
