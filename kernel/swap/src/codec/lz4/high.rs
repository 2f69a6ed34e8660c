//! The long search: the longest of many matches, put off as long as the next byte has a longer one.

use super::{LAST_LITERALS, MATCH_LIMIT, MIN_MATCH, output::Output};
use crate::{
    codec::{Level, OUTPUT, chains::Chains},
    device::PAGE_SIZE,
};

/// Compresses a page; its length, or `None` if it does not become shorter than a page by anything.
pub(crate) fn compress(
    page: &[u8; PAGE_SIZE],
    level: Level,
    chains: &mut Chains,
    output: &mut [u8; OUTPUT],
) -> Option<usize> {
    const END: usize = PAGE_SIZE - LAST_LITERALS;
    let depth = level.depth();
    chains.clear();
    let mut out = Output { bytes: output, at: 0 };
    let (mut literals, mut at) = (0, 0);
    while at <= PAGE_SIZE - MATCH_LIMIT {
        let mut found = chains.longest(page, at, END, depth);
        if found.length == 0 {
            at += 1;
            continue;
        }
        while at < PAGE_SIZE - MATCH_LIMIT {
            let next = chains.longest(page, at + 1, END, depth);
            if next.length <= found.length {
                break;
            }
            at += 1;
            found = next;
        }
        while at > literals && found.from > 0 && page[at - 1] == page[found.from - 1] {
            at -= 1;
            found.from -= 1;
            found.length += 1;
        }
        out.sequence(page, literals, at, at - found.from, found.length - MIN_MATCH)?;
        at += found.length;
        literals = at;
    }
    out.literals(page, literals, PAGE_SIZE, 0)?;
    (out.at < PAGE_SIZE).then_some(out.at)
}
