//! Headers of a tar archive (IEEE Std 1003.1, `pax`, ustar interchange format): what a boot loader
//! puts plain files in front of the boot bundle with.

/// Archives are made of blocks: a header, the file's bytes, zeros up to the next block.
pub const BLOCK: usize = 512;
/// Zeros at the end of an archive.
pub const END: usize = 2 * BLOCK;

/// Where each field begins; it ends where the next one does. Those that are left out are zeros.
const MODE: usize = 100;
const USER: usize = 108;
const GROUP: usize = 116;
const SIZE: usize = 124;
const TIME: usize = 136;
const SUM: usize = 148;
const TYPE: usize = 156;
const MAGIC: usize = 257;

/// Bytes that a file of this size takes behind its header.
pub const fn padded(size: usize) -> usize {
    size.next_multiple_of(BLOCK)
}

/// The header of a regular file; `None` if the format has no room for the name or the size.
pub fn header(name: &str, size: usize) -> Option<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    if name.is_empty() || name.len() > MODE || name.contains('\0') {
        return None;
    }
    block[..name.len()].copy_from_slice(name.as_bytes());
    octal(&mut block[MODE..USER], 0o644)?;
    octal(&mut block[USER..GROUP], 0)?;
    octal(&mut block[GROUP..SIZE], 0)?;
    octal(&mut block[SIZE..TIME], size)?;
    octal(&mut block[TIME..SUM], 0)?;
    block[TYPE] = b'0';
    block[MAGIC..MAGIC + 8].copy_from_slice(b"ustar\x0000");
    // The sum counts its own field as blanks, and ends with one.
    block[SUM..TYPE].fill(b' ');
    let sum = block.iter().map(|byte| usize::from(*byte)).sum();
    octal(&mut block[SUM..TYPE - 1], sum)?;
    Some(block)
}

/// A number in octal digits that fill a field, and a zero behind them; `None` if it has more.
fn octal(field: &mut [u8], mut number: usize) -> Option<()> {
    let (end, digits) = field.split_last_mut()?;
    *end = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b"01234567"[number % 8];
        number /= 8;
    }
    (number == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar_no_std::TarArchiveRef;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (name, bytes) in files {
            archive.extend(header(name, bytes.len()).expect("fits"));
            archive.extend(*bytes);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
            assert_eq!(archive.len() % BLOCK, 0);
        }
        archive.resize(archive.len() + END, 0);
        archive
    }

    /// By the reader that the kernel has.
    #[test]
    fn reads_back() {
        let long = "n".repeat(100);
        let files: [(&str, &[u8]); 4] =
            [("linux.vm", b"memory = 8M"), ("empty", b""), (&long, &[7; 512]), ("more", &[9; 513])];
        let bytes = archive(&files);
        let read = TarArchiveRef::new(&bytes).expect("an archive");
        let found: Vec<_> = read
            .entries()
            .map(|entry| (entry.filename().as_str().expect("text").to_owned(), entry.data()))
            .collect();
        let wanted: Vec<_> = files.iter().map(|(name, data)| ((*name).to_owned(), *data)).collect();
        assert_eq!(found, wanted);
    }

    /// In front of another archive, what comes first of a name is found first.
    #[test]
    fn goes_before_another() {
        let bundle = archive(&[("a.vm", b"theirs"), ("b", b"b")]);
        let mut bytes = archive(&[("a.vm", b"ours")]);
        bytes.truncate(bytes.len() - END);
        bytes.extend(bundle);
        let read = TarArchiveRef::new(&bytes).expect("an archive");
        let data: Vec<_> = read.entries().map(|entry| entry.data()).collect();
        assert_eq!(data, [b"ours".as_slice(), b"theirs", b"b"]);
    }

    #[test]
    fn refuses_what_has_no_room() {
        assert!(header(&"n".repeat(101), 0).is_none());
        assert!(header("", 0).is_none() && header("a\0b", 0).is_none());
        assert!(header("a", (1 << 33) - 1).is_some() && header("a", 1 << 33).is_none());
    }
}
