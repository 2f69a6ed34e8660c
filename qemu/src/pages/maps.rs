//! Which pages of a process are private, anonymous and there (proc(5): maps and pagemap).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

use super::PAGE;

/// Addresses of the pages, lowest first.
pub(super) fn anonymous_pages(process: i32) -> Result<Vec<u64>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))
        .context("the process's memory map cannot be read")?;
    let pagemap = File::open(format!("/proc/{process}/pagemap"))
        .context("the process's page map cannot be read")?;
    let mut pages = Vec::new();
    for (start, end) in maps.lines().filter_map(anonymous_range) {
        for address in (start..end).step_by(PAGE) {
            let mut entry = [0; 8];
            if pagemap.read_exact_at(&mut entry, address / PAGE as u64 * 8).is_ok()
                && holds_own_page(u64::from_le_bytes(entry))
            {
                pages.push(address);
            }
        }
    }
    Ok(pages)
}

/// Start and end of a mapping that is private, writable and backed by no file.
fn anonymous_range(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let inode = words.nth(2)?;
    let name = words.next().unwrap_or("");
    let anonymous = inode == "0"
        && (name.is_empty() || name == "[heap]" || name == "[stack]" || name.starts_with("[anon"));
    (anonymous && permissions.starts_with("rw") && permissions.ends_with('p'))
        .then(|| Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?)))?
}

/// A page in memory (bit 63) or in swap (62) that is no file's page (61).
fn holds_own_page(entry: u64) -> bool {
    entry >> 62 != 0 && entry & 1 << 61 == 0
}

#[cfg(test)]
mod tests {
    use super::{anonymous_range, holds_own_page};

    #[test]
    fn only_private_anonymous_memory_counts() {
        assert_eq!(
            anonymous_range("55550000-55560000 rw-p 00000000 00:00 0 [heap]"),
            Some((0x5555_0000, 0x5556_0000))
        );
        assert_eq!(anonymous_range("7f00-8f00 rw-p 00000000 00:00 0"), Some((0x7f00, 0x8f00)));
        for line in [
            "1000-2000 r--p 00000000 00:00 0",
            "1000-2000 rw-s 00000000 00:00 0",
            "1000-2000 rw-p 00000000 08:01 77 /usr/lib/libc.so.6",
            "1000-2000 rw-p 00000000 00:00 0 [vvar]",
            "nonsense",
        ] {
            assert_eq!(anonymous_range(line), None, "{line}");
        }
    }

    #[test]
    fn present_or_swapped_and_no_file() {
        assert!(holds_own_page(1 << 63));
        assert!(holds_own_page(1 << 62));
        assert!(!holds_own_page(0));
        assert!(!holds_own_page(1 << 63 | 1 << 61));
    }
}
