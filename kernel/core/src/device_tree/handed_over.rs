//! What Bale's own loader writes into a device tree beside what firmware does.

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use heapless::String;

use super::error::MachineError;
use super::{COMMANDS, Range};

/// What it says.
#[derive(Default)]
pub(super) struct HandedOver {
    /// The firmware's report.
    pub(super) firmware: Option<Range>,
    /// Room for last words.
    pub(super) kept: Option<Range>,
    /// Commands for the shell.
    pub(super) commands: String<COMMANDS>,
    /// The time at the start.
    pub(super) started: Option<u64>,
}

/// What only Bale's own loader says.
pub(super) fn handed_over(root: FdtNode<'_>) -> Result<HandedOver, MachineError> {
    let property = |name| root.child("chosen")?.property(name);
    let range = |name| match property(name) {
        None => Ok(None),
        Some(property) => pair(property.value()).map(Some).ok_or(MachineError::Malformed(name)),
    };
    let (firmware, kept) = (range("bale,firmware")?, range("bale,kept")?);
    let mut commands = String::new();
    if let Some(property) = property("bale,commands") {
        let text =
            property.value_as::<&str>().map_err(|_| MachineError::Malformed("bale,commands"))?;
        commands.push_str(text).map_err(|_| MachineError::TooMany("bytes of commands"))?;
    }
    let started = match property("bale,started") {
        None => None,
        Some(property) => {
            let value =
                property.value().try_into().map_err(|_| MachineError::Malformed("bale,started"))?;
            Some(u64::from_be_bytes(value))
        }
    };
    Ok(HandedOver { firmware, kept, commands, started })
}

/// An address and a size of two cells each, which do not wrap.
fn pair(value: &[u8]) -> Option<Range> {
    let (base, size) = value.split_first_chunk()?;
    let (base, size) = (u64::from_be_bytes(*base), u64::from_be_bytes(size.try_into().ok()?));
    base.checked_add(size).map(|_| Range { base, size })
}
