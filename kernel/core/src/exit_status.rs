//! The status that `cargo bale guest run` ends with: a guest's own, or what became of one that gave
//! none. The upper ones are those of timeout(1).

/// The guest did not end within the time.
pub const TIMED_OUT: u8 = 124;
/// Bale, or the tool on the host, could not run it.
pub const FAILED: u8 = 125;
/// The guest was stopped for what it did.
pub const STOPPED: u8 = 126;
/// What a guest's own status comes to: the lower 8 bits, which are all that a process has, but
/// never 0 for a failure. It may be one of the above too; the error output tells them apart.
pub const fn of_guest(status: u64) -> u8 {
    match status.to_le_bytes()[0] {
        0 if status != 0 => 0xff,
        low => low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stays_one() {
        assert_eq!(
            [0, 1, 255, 256, 257, u64::MAX, 1 << 63].map(of_guest),
            [0, 1, 255, 255, 1, 255, 255]
        );
    }
}
