//! A guest's bytes on the serial line, beside text for people and frames of the log.
//!
//! Where a machine serves one guest alone (boot argument `guest=NAME`), whoever listens gets the
//! guest's bytes as they are: they go out in frames of their own, which begin with SOH and end with
//! EOT. Those two, NUL, which begins a frame of the log, and DLE itself have DLE in front and are
//! told apart by a bit. Text holds none of the four.

/// SOH: a frame begins.
pub const START: u8 = 0x01;
/// EOT: it ends.
pub const END: u8 = 0x04;
/// DLE: the next byte stands for another one.
const ESCAPE: u8 = 0x10;
/// What that differs by.
const FLIPPED: u8 = 0x40;

/// Writes bytes as one frame: at most `2 * bytes.len() + 2` calls of `put`.
pub fn encode(bytes: &[u8], mut put: impl FnMut(u8)) {
    put(START);
    for &byte in bytes {
        if matches!(byte, 0 | START | END | ESCAPE) {
            put(ESCAPE);
            put(byte ^ FLIPPED);
        } else {
            put(byte);
        }
    }
    put(END);
}

/// Bytes of a frame made plain again.
#[derive(Debug, Default, Clone, Copy)]
pub struct Decoder {
    escaped: bool,
}

impl Decoder {
    /// What a byte between [`START`] and [`END`] stands for, if it does so by itself.
    pub fn push(&mut self, byte: u8) -> Option<u8> {
        if core::mem::take(&mut self.escaped) {
            return Some(byte ^ FLIPPED);
        }
        self.escaped = byte == ESCAPE;
        (!self.escaped).then_some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0..0x12u8], 0..200)) {
            let mut frame = Vec::new();
            encode(&bytes, |byte| frame.push(byte));
            prop_assert!(frame.len() <= 2 * bytes.len() + 2);
            let inner = &frame[1..frame.len() - 1];
            prop_assert_eq!((frame[0], frame[frame.len() - 1]), (START, END));
            prop_assert!(inner.iter().all(|byte| !matches!(*byte, 0 | START | END)));
            let mut decoder = Decoder::default();
            let plain: Vec<u8> = inner.iter().filter_map(|byte| decoder.push(*byte)).collect();
            prop_assert_eq!(plain, bytes);
        }
    }
}
