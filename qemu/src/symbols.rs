//! Functions and lines for the addresses of a backtrace.

use std::sync::Mutex;

use addr2line::{Context, gimli};
use anyhow::Result;
use object::{Object, ObjectSection};

type Reader = gimli::EndianSlice<'static, gimli::RunTimeEndian>;

/// The kernel's debug information.
pub(crate) struct Symbols {
    /// Parses units when they are first asked for, hence the lock.
    context: Mutex<Context<Reader>>,
}

impl Symbols {
    /// Reads the debug information of an ELF.
    pub(crate) fn from_elf(elf: &'static [u8]) -> Result<Self> {
        let file = object::File::parse(elf)?;
        let section = |id: gimli::SectionId| -> Result<Reader, gimli::Error> {
            let data = file
                .section_by_name(id.name())
                .and_then(|section| section.data().ok())
                .unwrap_or(&[]);
            Ok(gimli::EndianSlice::new(data, gimli::RunTimeEndian::Little))
        };
        Ok(Self { context: Mutex::new(Context::from_dwarf(gimli::Dwarf::load(section)?)?) })
    }

    /// A line of a backtrace (` #3 +0x1234`, relative to the image), with what lies at that address
    /// behind it. No answer for any other line.
    pub(crate) fn explain(&self, line: &str) -> Option<String> {
        let address = backtrace_address(line)?;
        let mut out = line.trim_end().to_owned();
        let context = self.context.lock().ok()?;
        let mut frames = context.find_frames(address).skip_all_loads().ok()?;
        let mut first = true;
        // Inlined functions first, innermost at the top.
        while let Ok(Some(frame)) = frames.next() {
            let name = frame
                .function
                .as_ref()
                .and_then(|function| function.demangle().ok().map(|name| name.into_owned()));
            let place = frame.location.map_or_else(String::new, |location| {
                format!(" at {}:{}", location.file.unwrap_or("?"), location.line.unwrap_or(0))
            });
            out.push_str(if first { "  " } else { "\n      inlined in " });
            out.push_str(name.as_deref().unwrap_or("?"));
            out.push_str(&place);
            first = false;
        }
        (!first).then_some(out)
    }
}

/// Offset in the image that a backtrace line names.
fn backtrace_address(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    words.next()?.strip_prefix('#')?.parse::<u32>().ok()?;
    u64::from_str_radix(words.next()?.strip_prefix("+0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::backtrace_address;

    #[test]
    fn only_backtrace_lines_have_an_address() {
        assert_eq!(backtrace_address("  #0 +0x1234\r"), Some(0x1234));
        assert_eq!(backtrace_address("#12 +0xffff0"), Some(0xffff0));
        for line in ["", "#0 0x4000", "# +0x10", "0 +0x10", "#x +0x10", "#1 +0xzz", "bale> #0"] {
            assert_eq!(backtrace_address(line), None, "{line}");
        }
    }
}
