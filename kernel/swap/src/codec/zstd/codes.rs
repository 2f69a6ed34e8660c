//! The codes that a sequence consists of: which values each begins, and how its code is distributed
//! unless a block says otherwise.

/// One of a sequence's three numbers.
pub(super) struct Kind {
    /// Codes there are.
    pub(super) symbols: usize,
    /// Bits of the largest table.
    pub(super) longest: u32,
    /// The table that needs no description, and its bits.
    pub(super) predefined: (&'static [i16], u32),
}

/// How many literals come before the match.
pub(super) const LITERALS: Kind = Kind {
    symbols: 36,
    longest: 9,
    predefined: (
        &[
            4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1,
            1, 1, 1, -1, -1, -1, -1,
        ],
        6,
    ),
};

/// How long the match is.
pub(super) const MATCHES: Kind = Kind {
    symbols: 53,
    longest: 9,
    predefined: (
        &[
            1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
        ],
        6,
    ),
};

/// How far back it is, or which earlier distance it repeats.
pub(super) const OFFSETS: Kind = Kind {
    symbols: 32,
    longest: 8,
    predefined: (
        &[
            1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1,
            -1,
        ],
        5,
    ),
};

/// Symbols of the kind that has most.
pub(super) const SYMBOLS: usize = MATCHES.symbols;

const SHORTEST_MATCH: usize = 3;

/// First value and extra bits of the code for a number of literals.
#[expect(clippy::cast_possible_truncation, reason = "few bits")]
pub(super) const fn literals_of(code: usize) -> (usize, u32) {
    match code {
        0..16 => (code, 0),
        16..20 => (16 + (code - 16) * 2, 1),
        20..22 => (24 + (code - 20) * 4, 2),
        22..24 => (32 + (code - 22) * 8, 3),
        24 => (48, 4),
        _ => (1 << (code - 19), code as u32 - 19),
    }
}

/// First length and extra bits of the code for a match.
#[expect(clippy::cast_possible_truncation, reason = "few bits")]
pub(super) const fn match_of(code: usize) -> (usize, u32) {
    let (base, extra) = match code {
        0..32 => (code, 0),
        32..36 => (32 + (code - 32) * 2, 1),
        36..38 => (40 + (code - 36) * 4, 2),
        38..40 => (48 + (code - 38) * 8, 3),
        40..42 => (64 + (code - 40) * 16, 4),
        42 => (96, 5),
        _ => (1 << (code - 36), code as u32 - 36),
    };
    (base + SHORTEST_MATCH, extra)
}
