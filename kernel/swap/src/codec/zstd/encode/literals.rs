//! Literals: as they are, one many times, or in a Huffman code.

use super::huffman::Code;

/// Literals that one stream may have.
const ONE_STREAM: usize = 1023;
/// Bytes that say how long each of four streams but the last is.
const JUMPS: usize = 6;

/// Writes the literals; how many bytes they are. `None` if there is no room. In a frame of its own,
/// since stacks are short where this runs.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "13 bits")]
pub(super) fn write(literals: &[u8], out: &mut [u8]) -> Option<usize> {
    let count = literals.len();
    let (first, same) = match literals.split_first() {
        Some((first, rest)) => (*first, rest.iter().all(|byte| byte == first)),
        None => (0, false),
    };
    // A code where it is shorter than the bytes, which have a head too.
    if !same && let Some(length) = coded(literals, out) {
        return Some(length);
    }
    let kind = u32::from(same && count > 1);
    let (head, size) = match count {
        0..32 => (kind | (count as u32) << 3, 1),
        32..4096 => (kind | 1 << 2 | (count as u32) << 4, 2),
        _ => (kind | 3 << 2 | (count as u32) << 4, 3),
    };
    let (place, out) = out.split_at_mut_checked(size)?;
    place.copy_from_slice(&head.to_le_bytes()[..size]);
    if kind == 1 {
        *out.first_mut()? = first;
        return Some(size + 1);
    }
    out.get_mut(..count)?.copy_from_slice(literals);
    Some(size + count)
}

/// Writes the literals in a code of theirs; `None` if that is not shorter.
#[expect(clippy::cast_possible_truncation, reason = "14 bits at most")]
fn coded(literals: &[u8], out: &mut [u8]) -> Option<usize> {
    let count = literals.len();
    let one = count <= ONE_STREAM;
    let size = if one { 3 } else { 4 };
    // What the bytes themselves would take.
    let limit = (count + if count < 32 { 1 } else { 2 }).min(out.len());
    let (head, out) = out.get_mut(..limit)?.split_at_mut_checked(size)?;
    let code = Code::new(literals)?;
    let mut at = code.describe(out)?;
    if one {
        at += code.encode(literals, out.get_mut(at..)?)?;
    } else {
        let mut jumps = [0; JUMPS];
        let start = at;
        at += JUMPS;
        for (index, part) in literals.chunks(count.div_ceil(4)).enumerate() {
            let length = code.encode(part, out.get_mut(at..)?)?;
            at += length;
            if let Some(jump) = jumps.as_chunks_mut::<2>().0.get_mut(index) {
                *jump = (length as u16).to_le_bytes();
            }
        }
        out.get_mut(start..start + JUMPS)?.copy_from_slice(&jumps);
    }
    let (format, bits) = if one { (0, 10) } else { (2, 14) };
    let fields = 2 | format << 2 | (count as u32) << 4 | (at as u32) << (4 + bits);
    head.copy_from_slice(&fields.to_le_bytes()[..size]);
    Some(size + at)
}
