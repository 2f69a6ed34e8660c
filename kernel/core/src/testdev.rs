//! The status that a test suite ends with, as QEMU's character device `testdev` reads it (its
//! chardev/testdev.c): white space, a decimal number, white space, a letter. `q` ends the machine
//! with the number for status; other letters mean nothing.

/// Reads a stream of bytes.
#[derive(Debug, Default, Clone, Copy)]
pub struct Packets {
    number: u32,
    /// A digit came.
    begun: bool,
    /// White space came behind the number.
    over: bool,
}

impl Packets {
    /// At the beginning of a packet.
    pub const fn new() -> Self {
        Self { number: 0, begun: false, over: false }
    }

    /// A byte from the guest; the status, if it ends with this byte.
    pub fn push(&mut self, byte: u8) -> Option<u32> {
        match byte {
            b'0'..=b'9' if !self.over => {
                self.begun = true;
                // What is too large wraps, as there.
                self.number = self.number.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
                None
            }
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                self.over = self.begun;
                None
            }
            _ => {
                let Self { number, .. } = core::mem::take(self);
                (byte == b'q').then_some(number)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<u32> {
        let mut packets = Packets::new();
        text.iter().filter_map(|byte| packets.push(*byte)).collect()
    }

    #[test]
    fn as_qemu_reads_them() {
        assert_eq!(all(b"0q"), [0]);
        assert_eq!(all(b" \n12q3 q"), [12, 3]);
        assert_eq!(all(b"q"), [0]);
        assert_eq!(all(b"7x8q"), [8]);
        // A digit behind the white space is the letter.
        assert_eq!(all(b"1 2q"), [0]);
        assert_eq!(all(b"login: 4"), []);
        assert_eq!(all(b"4294967297q"), [1]);
    }
}
