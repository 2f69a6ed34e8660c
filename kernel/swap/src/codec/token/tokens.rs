//! What each code means, as the decoder looks it up, and which code a token has, as the encoder
//! does. Both tables are made from one list when this is compiled.

/// What a match's distance is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A distance in words, in one byte.
    Words,
    /// The last distance.
    Last,
    /// A distance in bytes, in two bytes.
    Far,
    /// A distance in bytes, in one byte.
    Near,
    /// No source: zeros.
    Zeros,
}

pub(super) const KINDS: [Kind; 5] = [Kind::Words, Kind::Last, Kind::Far, Kind::Near, Kind::Zeros];

impl Kind {
    /// Bytes that a distance takes.
    pub(super) const fn distance_bytes(self) -> usize {
        match self {
            Self::Words | Self::Near => 1,
            Self::Last | Self::Zeros => 0,
            Self::Far => 2,
        }
    }

    /// Shortest match.
    pub(super) const fn least(self) -> usize {
        match self {
            Self::Far => 5,
            _ => 4,
        }
    }

    /// Lengths of a match behind `literals` literals that have a code of their own. Memory is made
    /// of words of eight bytes: most tokens end where a word ends.
    const fn lengths(self, literals: usize) -> &'static [u8] {
        match (self, literals) {
            (Self::Words, 0) => &[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 24, 28, 32],
            (Self::Words, 1) => &[4, 5, 6, 7, 8, 15, 16, 23, 24, 31],
            (Self::Words, 2) => &[4, 5, 6, 7, 8, 14, 16, 22, 30],
            (Self::Words, 3) => &[4, 5, 6, 7, 8, 13, 21, 29],
            (Self::Last, 1) => &[4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17, 23, 24, 31],
            (Self::Last, 2) => &[4, 5, 6, 7, 8, 10, 14, 15, 22, 23, 30],
            (Self::Last, 3) => &[4, 5, 6, 7, 8, 13, 21, 29],
            (Self::Last, 4) => &[4, 5, 6, 7, 8, 12, 20, 28],
            (Self::Far, 0) => &[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 24],
            (Self::Far, 1) => &[5, 6, 7, 8, 9, 10, 11, 12, 15, 16],
            (Self::Far, 2) => &[5, 6, 7, 8, 9, 10, 14],
            (Self::Far, 3) => &[5, 6, 7, 8, 9, 10, 13],
            (Self::Far, 4) => &[4, 5, 6, 7, 8, 9, 12],
            (Self::Far, 5) => &[5, 6, 7, 8],
            (Self::Near, 0) => &[4, 5, 6, 7, 8, 9, 10, 12],
            (Self::Near, 1) => &[4, 5, 6, 7, 8, 9, 10],
            (Self::Near, 2) => &[4, 5, 6, 7, 8],
            (Self::Near, 3) => &[4, 5, 6, 7],
            (Self::Zeros, 0) => &[4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 24, 32],
            (Self::Zeros, 1) => &[4, 5, 6, 7, 8, 15],
            (Self::Zeros, 2) => &[4, 5, 6, 14],
            (Self::Zeros, 3) => &[4, 5, 13],
            (Self::Zeros, 4) => &[4, 12],
            _ => &[],
        }
    }

    /// Literals that a token can hold at most.
    pub(super) const fn most_literals(self) -> usize {
        let mut most = 0;
        let mut literals = 1;
        while literals < LITERALS {
            if !self.lengths(literals).is_empty() {
                most = literals;
            }
            literals += 1;
        }
        most
    }
}

/// One more than a token's literals.
const LITERALS: usize = 6;
/// Longest token that is decoded in one piece.
pub(super) const PIECE: usize = 32;
/// A length that is not decoded in one piece.
pub(super) const LONG: u8 = 255;

/// How a token goes on that is not decoded in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    /// Not at all: its length is known.
    Known(u8),
    /// A byte tells its length, from this one on.
    Byte(u8),
    /// Literals, as many as this.
    Run(u8),
    /// Literals, whose number a byte tells.
    RunByte,
    /// A short pattern, repeated.
    Pattern,
}

/// What a code means.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Token {
    /// Which bits of the operands, turned to the right by `turn`, are a new distance.
    pub(super) mask: u16,
    pub(super) turn: u8,
    /// Which of [`SHARES`] the first word is made of.
    pub(super) share: u8,
    /// Bytes of the page, or [`LONG`].
    pub(super) total: u8,
    /// Bytes of operands.
    pub(super) used: u8,
}

/// Tokens, and codes of matches by kind, literals and length, and of those whose length is in a
/// byte.
pub(super) struct Tables {
    tokens: [Token; 256],
    more: [More; 256],
    codes: [u8; CODES],
    long: [[u8; 8]; 8],
    runs: u8,
}

/// Places of the table of codes: kind, literals, and length less one.
const CODES: usize = 8 << 8;

pub(super) const RUN_BYTE: u8 = 254;
pub(super) const PATTERN: u8 = 255;
/// Shortest literals that are a run.
pub(super) const RUN: usize = 9;
/// A pattern's shortest length.
pub(super) const PATTERN_LEAST: usize = 4;

const fn low(bytes: usize) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

/// What the first word takes of its source, and of the operands: matches behind 0 to 5 literals,
/// then zeros behind 0 to 8 literals.
pub(super) static SHARES: [[u64; 2]; 16] = {
    let mut shares = [[0; 2]; 16];
    let mut literals = 0;
    while literals < LITERALS {
        shares[literals] = [!low(literals), low(literals)];
        literals += 1;
    }
    literals = 0;
    while literals <= 8 {
        shares[LITERALS + literals] = [0, low(literals)];
        literals += 1;
    }
    shares
};

#[expect(
    clippy::cast_possible_truncation,
    reason = "codes, and what they count, fit a byte: checked below"
)]
const fn tables() -> Tables {
    let none = Token { mask: 0, turn: 0, share: LITERALS as u8, total: LONG, used: 0 };
    let mut tables = Tables {
        tokens: [none; 256],
        more: [More::Pattern; 256],
        codes: [0; CODES],
        long: [[0; 8]; 8],
        runs: 0,
    };
    // Code 0 is one literal, so that 0 in the tables of codes says that there is none.
    let mut code = 0;
    let mut literals = 1;
    while literals <= 8 {
        let share = (LITERALS + literals) as u8;
        tables.tokens[code] = Token { share, total: literals as u8, used: literals as u8, ..none };
        tables.more[code] = More::Known(literals as u8);
        code += 1;
        literals += 1;
    }
    let mut kind = 0;
    while kind < KINDS.len() {
        literals = 0;
        while literals < LITERALS {
            let lengths = KINDS[kind].lengths(literals);
            if !lengths.is_empty() {
                code = matches(&mut tables, code, KINDS[kind], literals, lengths);
            }
            literals += 1;
        }
        kind += 1;
    }
    tables.runs = code as u8;
    assert!(code < RUN_BYTE as usize);
    while code < RUN_BYTE as usize {
        tables.more[code] = More::Run((RUN + code - tables.runs as usize) as u8);
        code += 1;
    }
    tables.more[RUN_BYTE as usize] = More::RunByte;
    tables
}

/// Adds the codes of matches of one kind behind so many literals.
#[expect(clippy::cast_possible_truncation, reason = "codes, and what they count, fit a byte")]
const fn matches(
    tables: &mut Tables,
    mut code: usize,
    kind: Kind,
    literals: usize,
    lengths: &[u8],
) -> usize {
    let (mask, turn) = match kind {
        // A byte of words, as a distance in bytes.
        Kind::Words => (0x7f8, (61 + 8 * literals) % 64),
        Kind::Far => (0xfff, 8 * literals),
        Kind::Near => (0xff, 8 * literals),
        Kind::Last | Kind::Zeros => (0, 0),
    };
    let zeros = matches!(kind, Kind::Zeros);
    let share = if zeros { LITERALS + literals } else { literals } as u8;
    let used = (literals + kind.distance_bytes()) as u8;
    let token = Token { mask, turn: turn as u8, share, total: LONG, used };
    let row = (kind as usize) << 8 | literals << 5;
    let mut index = 0;
    while index < lengths.len() {
        let length = lengths[index] as usize;
        let total = literals + length;
        // Zeros in one piece are those of the first word.
        let piece = total <= if zeros { 8 } else { PIECE };
        tables.tokens[code] = Token { total: if piece { total as u8 } else { LONG }, ..token };
        tables.more[code] = More::Known(total as u8);
        tables.codes[row | (length - 1)] = code as u8;
        code += 1;
        index += 1;
    }
    tables.tokens[code] = token;
    tables.more[code] = More::Byte((literals + kind.least()) as u8);
    tables.long[kind as usize][literals] = code as u8;
    code + 1
}

const TABLES: Tables = tables();
pub(super) static TOKENS: [Token; 256] = TABLES.tokens;
pub(super) static MORE: [More; 256] = TABLES.more;
static MATCHES: [u8; CODES] = TABLES.codes;
static LONG_MATCHES: [[u8; 8]; 8] = TABLES.long;
/// Code of the shortest run of literals.
pub(super) const RUNS: u8 = TABLES.runs;

/// Code of a match of up to 32 bytes behind up to 7 literals; 0 if it has none.
#[inline(always)]
pub(super) fn match_code(kind: Kind, literals: usize, length: usize) -> u8 {
    MATCHES[(kind as usize) << 8 | (literals & 7) << 5 | (length.wrapping_sub(1) & 31)]
}

/// Code of a match whose length is in a byte; 0 if there is none with so many literals.
#[inline(always)]
pub(super) fn long_code(kind: Kind, literals: usize) -> u8 {
    LONG_MATCHES[kind as usize][literals & 7]
}
