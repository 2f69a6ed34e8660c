//! The literals of a block.

use super::{huffman::Code, number};

/// Fewest literals of four streams.
const FOUR_STREAMS: usize = 6;

/// Reads the literals; how many, and what is behind them. `None` if there are more than there is
/// room.
#[expect(clippy::cast_possible_truncation, reason = "20 bits at most")]
pub(super) fn read<'b>(
    mut bytes: &'b [u8],
    out: &mut [u8],
    code: &mut Code,
) -> Option<(usize, &'b [u8])> {
    let (kind, format) = (bytes.first()? & 3, bytes.first()? >> 2 & 3);
    if kind < 2 {
        let (size, shift) = match format {
            1 => (2, 4),
            3 => (3, 4),
            _ => (1, 3),
        };
        let count = (number(&mut bytes, size)? >> shift) as usize;
        let out = out.get_mut(..count)?;
        let rest = if kind == 0 {
            let (raw, rest) = bytes.split_at_checked(count)?;
            out.copy_from_slice(raw);
            rest
        } else {
            let (byte, rest) = bytes.split_first()?;
            out.fill(*byte);
            rest
        };
        return Some((count, rest));
    }
    let (size, bits) = match format {
        2 => (4, 14),
        3 => (5, 18),
        _ => (3, 10),
    };
    let head = number(&mut bytes, size)? >> 4;
    let mask = (1 << bits) - 1;
    let (count, coded) = ((head & mask) as usize, (head >> bits & mask) as usize);
    let out = out.get_mut(..count)?;
    let (mut streams, rest) = bytes.split_at_checked(coded)?;
    if kind == 2 {
        streams = code.read(streams)?;
    }
    if format == 0 {
        code.decode(streams, out)?;
        return (count > 0).then_some((count, rest));
    }
    if count < FOUR_STREAMS {
        return None;
    }
    let sizes = [number(&mut streams, 2)?, number(&mut streams, 2)?, number(&mut streams, 2)?];
    let part = count.div_ceil(4);
    let mut out = out;
    for size in sizes {
        let (stream, behind) = streams.split_at_checked(size as usize)?;
        let (place, left) = out.split_at_mut_checked(part)?;
        code.decode(stream, place)?;
        (streams, out) = (behind, left);
    }
    code.decode(streams, out)?;
    Some((count, rest))
}
