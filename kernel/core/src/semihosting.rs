//! Arm's semihosting calls (Semihosting for AArch32 and AArch64, version 3.0), as far as a machine
//! without files answers them: the console, the time, and the status that a program ends with.
//!
//! The architecture makes `HLT #0xf000` undefined at EL1, and nothing takes that to EL2. So a
//! guest's image has `HVC #0xf000` in its place, which `cargo bale guest run` writes there.

/// `HLT #0xf000`.
pub const HLT: u32 = 0xd45e_0000;
/// `HVC #0xf000`.
pub const HVC: u32 = 0xd41e_0002;

/// Bytes of a string or of a buffer that are written by one call at most.
pub const MOST_BYTES: u64 = 1 << 20;

/// Reason of SYS_EXIT for an ordinary end, ADP_Stopped_ApplicationExit; any other is an error.
const APPLICATION_EXIT: u64 = 0x2_0026;
/// The console, and the file that says what is offered.
const CONSOLE: u64 = 1;
const FEATURES: u64 = 4;
/// That file: its magic, and in one byte SYS_EXIT_EXTENDED; standard output and standard error are
/// one.
const FEATURE_BYTES: [u8; 5] = [b'S', b'H', b'F', b'B', 1];
/// Words of a block of parameters at most.
const WORDS: usize = 3;

/// What is to be done for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// This value in x0.
    Value(u64),
    /// Bytes from this address on go to the console, then the value in x0.
    Write {
        /// Address and length.
        from: (u64, u64),
        /// What x0 is afterwards.
        then: u64,
    },
    /// The same up to a NUL.
    WriteString(u64),
    /// These bytes go to the address, as many as there is room for; x0 is how many of the room are
    /// left.
    Read {
        /// Address and length.
        to: (u64, u64),
        /// What is read.
        bytes: &'static [u8],
    },
    /// Words of zeros at this address, so many, then 0.
    Zeros(u64, usize),
    /// What stands for a file's name is looked at: [`open`] has the answer.
    Open(u64, u64),
    /// Centiseconds since the start.
    Centiseconds,
    /// Seconds since 1970.
    Seconds,
    /// Nanoseconds since the start, to this address.
    Nanoseconds(u64),
    /// The machine ends with this status.
    Exit(u64),
}

/// -1: the call is not answered, or failed.
pub const FAILED: u64 = u64::MAX;

/// How many 64-bit words of parameters a call has at the address in x1.
pub const fn parameters(operation: u32) -> usize {
    match operation {
        0x01 | 0x05 | 0x06 => WORDS,
        0x0a | 0x15 | 0x18 | 0x20 => 2,
        0x02 | 0x08 | 0x09 | 0x0c | 0x16 => 1,
        _ => 0,
    }
}

/// What an operation (w0) with x1 and its parameters asks for.
pub fn request(operation: u32, x1: u64, words: [u64; WORDS]) -> Request {
    match operation {
        // SYS_OPEN.
        0x01 => Request::Open(words[0], words[2]),
        // SYS_CLOSE.
        0x02 => Request::Value(0),
        // SYS_WRITEC, SYS_WRITE0, SYS_WRITE.
        0x03 => Request::Write { from: (x1, 1), then: 0 },
        0x04 => Request::WriteString(x1),
        0x05 if words[0] == CONSOLE => {
            let length = words[2].min(MOST_BYTES);
            Request::Write { from: (words[1], length), then: words[2] - length }
        }
        0x05 => Request::Value(words[2]),
        // SYS_READ. Nothing is ever typed here: the end of the file.
        0x06 if words[0] == FEATURES => {
            Request::Read { to: (words[1], words[2]), bytes: &FEATURE_BYTES }
        }
        0x06 => Request::Value(words[2]),
        // SYS_ISERROR.
        0x08 => Request::Value((words[0] >> 63).wrapping_neg()),
        // SYS_ISTTY, SYS_SEEK, SYS_FLEN.
        0x09 => Request::Value((words[0] == CONSOLE).into()),
        0x0a if words[0] == FEATURES && words[1] == 0 => Request::Value(0),
        0x0c if words[0] == FEATURES => Request::Value(FEATURE_BYTES.len() as u64),
        // SYS_CLOCK, SYS_TIME, SYS_ERRNO.
        0x10 => Request::Centiseconds,
        0x11 => Request::Seconds,
        0x13 => Request::Value(0),
        // SYS_HEAPINFO: the program is to know it by itself.
        0x16 => Request::Zeros(words[0], 4),
        // SYS_EXIT, SYS_EXIT_EXTENDED.
        0x18 | 0x20 if words[0] == APPLICATION_EXIT => Request::Exit(words[1]),
        0x18 | 0x20 => Request::Exit(1),
        // SYS_ELAPSED, SYS_TICKFREQ.
        0x30 => Request::Nanoseconds(x1),
        0x31 => Request::Value(1_000_000_000),
        _ => Request::Value(FAILED),
    }
}

/// The handle of a file of this name: the console, or what says which extensions there are.
pub fn open(name: &[u8]) -> u64 {
    match name {
        b":tt" => CONSOLE,
        b":semihosting-features" => FEATURES,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_with_a_status() {
        assert_eq!(request(0x18, 0, [APPLICATION_EXIT, 7, 0]), Request::Exit(7));
        assert_eq!(request(0x20, 0, [APPLICATION_EXIT, 0, 0]), Request::Exit(0));
        assert_eq!(request(0x18, 0, [0x2_0023, 0, 0]), Request::Exit(1), "a run-time error");
    }

    #[test]
    fn the_console() {
        assert_eq!(request(0x03, 9, [0; 3]), Request::Write { from: (9, 1), then: 0 });
        assert_eq!(request(0x04, 9, [0; 3]), Request::WriteString(9));
        assert_eq!(request(0x05, 0, [1, 9, 5]), Request::Write { from: (9, 5), then: 0 });
        assert_eq!(
            request(0x05, 0, [8, 9, 5]),
            Request::Value(5),
            "no such handle: nothing is written"
        );
        assert_eq!(
            [open(b":tt"), open(b"/etc/passwd"), open(b":semihosting-features")],
            [1, FAILED, 4]
        );
        assert_eq!(
            (request(0x09, 0, [1, 0, 0]), request(0x09, 0, [4, 0, 0])),
            (Request::Value(1), Request::Value(0))
        );
    }

    #[test]
    fn instructions_differ_in_what_is_called() {
        // DDI 0487, C6.2: the immediate stands in bits 5 to 20 of both.
        assert_eq!([HLT, HVC].map(|instruction| instruction >> 5 & 0xffff), [0xf000; 2]);
    }

    proptest! {
        #[test]
        fn any_call(operation: u32, x1: u64, words: [u64; 3]) {
            prop_assert!(parameters(operation) <= WORDS);
            if let Request::Write { from: (_, length), then } = request(operation, x1, words) {
                prop_assert!(length <= MOST_BYTES && (then == 0 || then + length == words[2]));
            }
        }
    }
}
