//! What Bale's own loader writes into a device tree beside what firmware does.

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use heapless::String;

use super::error::MachineError;
use super::{COMMANDS, Range};

/// The firmware's report, commands for the shell, and the time at the start.
type HandedOver = (Option<Range>, String<COMMANDS>, Option<u64>);

/// What only Bale's own loader says.
pub(super) fn handed_over(root: FdtNode<'_>) -> Result<HandedOver, MachineError> {
    let property = |name| root.child("chosen")?.property(name);
    let firmware = match property("bale,firmware") {
        None => None,
        Some(property) => {
            Some(pair(property.value()).ok_or(MachineError::Malformed("bale,firmware"))?)
        }
    };
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
    Ok((firmware, commands, started))
}

/// An address and a size of two cells each, which do not wrap.
fn pair(value: &[u8]) -> Option<Range> {
    let (base, size) = value.split_first_chunk()?;
    let (base, size) = (u64::from_be_bytes(*base), u64::from_be_bytes(size.try_into().ok()?));
    base.checked_add(size).map(|_| Range { base, size })
}
