//! The codecs, chosen by name, one for each device.
//!
//! | name | format | for |
//! |---|---|---|
//! | `lz4` | LZ4's block format | pages that others are to read |
//! | `lz4hc:1` to `lz4hc:9` | the same, from a longer search | memory being dearer than time |
//! | `deflate:1` to `deflate:9` | DEFLATE without a head | the smallest pages that others can read |
//! | `zstd:1` to `zstd:9` | Zstandard without its magic number | the same, from tables of fractions of bits |
//! | `page` | our own, see its module | pages of memory |
//! | `token` | our own, see its module | pages of memory, and of text in it |
//!
//! A codec's encoder and decoder share nothing but the format; none allocates, and every decoder
//! takes any bytes.

mod bits;
mod bytes;
mod chains;
mod copy;
mod deflate;
mod lengths;
mod lz4;
mod page;
#[cfg(test)]
mod tests;
mod token;
mod zstd;

use core::fmt;

use crate::device::PAGE_SIZE;

/// Room for a page, and for a sequence more.
const OUTPUT: usize = PAGE_SIZE + 32;

/// How long a search goes on: 1 is the shortest, 9 the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// What a name without a level means.
    pub const DEFAULT: Self = Self(6);

    /// A level from 1 to 9.
    pub const fn new(level: u8) -> Option<Self> {
        if level >= 1 && level <= 9 { Some(Self(level)) } else { None }
    }

    /// Earlier positions that are looked at.
    const fn depth(self) -> usize {
        1 << self.0
    }
}

/// How a device's pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// `lz4`: LZ4's block format, searched fast.
    Lz4,
    /// `lz4hc`: LZ4's block format, searched long.
    Lz4Hc(Level),
    /// `page`: our own format for pages of memory.
    Page,
    /// `token`: our own format of tokens, for memory and text.
    Token,
    /// `deflate`: DEFLATE's format (RFC 1951).
    Deflate(Level),
    /// `zstd`: Zstandard's format (RFC 8878) without its magic number.
    Zstd(Level),
}

impl Codec {
    /// The codec of a name, with its level behind a colon if it has levels: `lz4`, `lz4hc`,
    /// `lz4hc:9`, `page`, `deflate:1`, `zstd:9`.
    pub fn from_name(name: &str) -> Option<Self> {
        let (name, level) = match name.split_once(':') {
            Some((name, level)) => (name, Some(Level::new(level.parse().ok()?)?)),
            None => (name, None),
        };
        match (name, level) {
            ("lz4", None) => Some(Self::Lz4),
            ("lz4hc", level) => Some(Self::Lz4Hc(level.unwrap_or(Level::DEFAULT))),
            ("page", None) => Some(Self::Page),
            ("token", None) => Some(Self::Token),
            ("deflate", level) => Some(Self::Deflate(level.unwrap_or(Level::DEFAULT))),
            ("zstd", level) => Some(Self::Zstd(level.unwrap_or(Level::DEFAULT))),
            _ => None,
        }
    }

    /// Compresses a page into the working memory's buffer; `None` if it does not get shorter.
    pub fn compress<'s>(
        self,
        page: &[u8; PAGE_SIZE],
        scratch: &'s mut Scratch,
    ) -> Option<&'s [u8]> {
        let Scratch { work, buffer } = scratch;
        let length = match self {
            Self::Lz4 => lz4::compress(page, &mut work.table, buffer, 0),
            Self::Lz4Hc(level) => lz4::compress_high(page, level, &mut work.chains, buffer),
            Self::Page => page::compress(page, &mut work.words, &mut work.table, buffer),
            Self::Token => token::compress(page, &mut work.tokens, buffer),
            Self::Deflate(level) => {
                deflate::compress(page, level, &mut work.chains, &mut work.encoder, buffer)
            }
            Self::Zstd(level) => {
                zstd::compress(page, level, &mut work.chains, &mut work.zstd_encoder, buffer)
            }
        };
        buffer.get(..length?)
    }

    /// Decompresses into a page; `None` if the bytes are not exactly one page. Any bytes are safe,
    /// and what the page holds after `None` is not said.
    pub fn decompress(
        self,
        bytes: &[u8],
        page: &mut [u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Option<()> {
        self.decompress_with(bytes, page, &mut scratch.work)
    }

    /// As [`Codec::decompress`], for bytes that lie in the working memory's buffer.
    pub(crate) fn decompress_with(
        self,
        bytes: &[u8],
        page: &mut [u8; PAGE_SIZE],
        work: &mut Work,
    ) -> Option<()> {
        match self {
            Self::Lz4 | Self::Lz4Hc(_) => lz4::decompress(bytes, page),
            Self::Page => page::decompress(bytes, page),
            Self::Token => token::decompress(bytes, page),
            Self::Deflate(_) => deflate::decompress(bytes, page, &mut work.decoder),
            Self::Zstd(_) => zstd::decompress(bytes, page, &mut work.zstd_decoder),
        }
    }

    /// Entry for tests with hostile bytes: whether they are a page.
    ///
    /// # Panics
    /// If what comes out depends on what the page held before.
    pub fn check(self, bytes: &[u8], scratch: &mut Scratch) -> bool {
        let mut pages = [[0x00; PAGE_SIZE], [0xff; PAGE_SIZE]];
        let [one, other] = pages.each_mut().map(|page| self.decompress(bytes, page, scratch));
        assert_eq!(one, other, "accepted or not, by what the page held");
        assert!(one.is_none() || pages[0] == pages[1], "bytes that nobody wrote");
        one.is_some()
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lz4 => f.write_str("lz4"),
            Self::Lz4Hc(Level(level)) => write!(f, "lz4hc:{level}"),
            Self::Page => f.write_str("page"),
            Self::Token => f.write_str("token"),
            Self::Deflate(Level(level)) => write!(f, "deflate:{level}"),
            Self::Zstd(Level(level)) => write!(f, "zstd:{level}"),
        }
    }
}

/// What the encoders search with, and what the decoders look up.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    table: lz4::Table,
    words: page::Tables,
    tokens: token::Tables,
    chains: chains::Chains,
    encoder: deflate::Encoder,
    decoder: deflate::Decoder,
    zstd_encoder: zstd::Encoder,
    zstd_decoder: zstd::Decoder,
}

/// One caller's working memory, for every codec: 63 KiB of tables and a compressed page.
#[derive(Clone, Copy)]
pub struct Scratch {
    pub(crate) work: Work,
    pub(crate) buffer: [u8; OUTPUT],
}

impl Scratch {
    /// Working memory in its first state.
    #[expect(
        clippy::new_without_default,
        reason = "some KiB are placed where they are wanted, not by habit"
    )]
    pub const fn new() -> Self {
        let work = Work {
            table: lz4::Table::new(),
            words: page::Tables::new(),
            tokens: token::Tables::new(),
            chains: chains::Chains::new(),
            encoder: deflate::Encoder::new(),
            decoder: deflate::Decoder::new(),
            zstd_encoder: zstd::Encoder::new(),
            zstd_decoder: zstd::Decoder::new(),
        };
        Self { work, buffer: [0; OUTPUT] }
    }
}
