//! The boot bundle, read as the kernel reads it.

use tar_no_std::TarArchiveRef;

pub(crate) fn run(bytes: &[u8]) {
    let Ok(archive) = TarArchiveRef::new(bytes) else { return };
    let whole = bytes.as_ptr_range();
    for entry in archive.entries() {
        // A name that is no text is no file that anybody asks for.
        let _ = entry.filename().as_str();
        let data = entry.data().as_ptr_range();
        assert!(entry.data().is_empty() || (whole.start <= data.start && data.end <= whole.end));
    }
}
