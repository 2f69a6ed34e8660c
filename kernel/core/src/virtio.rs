//! Devices of a guest behind virtio-mmio (Virtual I/O Device 1.2, chapters 2, 4.2, 5.2 and 5.3):
//! what a driver may do to them, and what it gets for it.
//!
//! The guest is not trusted. A descriptor is copied once and then checked; addresses are the
//! guest's and every access to them is checked by [`GuestRam`](crate::guest_ram::GuestRam); work is
//! bounded by the size of the queue. What breaks the rules marks the device as needing a reset, as
//! the standard says, and nothing else happens.
//!
//! | module | subject |
//! |---|---|
//! | [`mmio`] | the register file: status, features, one queue's addresses, interrupts, configuration |
//! | [`legacy`] | the same of the interface before version 1, for a device of test suites |
//! | [`queue`] | the split ring: chains of buffers taken from it, and given back |
//! | [`block`] | block requests over a store of 4096-byte blocks |
//! | [`console`] | a console of one port |

pub mod block;
pub mod console;
mod cursor;
pub mod legacy;
pub mod mmio;
pub mod queue;

use crate::guest_ram::{GuestRam, OutOfRam};

/// The driver broke a rule after which the device cannot go on: it needs a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A ring or a descriptor lies where the guest has no memory.
    OutOfRam,
    /// The available index is further on than the ring is long.
    Index,
    /// A descriptor's index is not in its table.
    Descriptor,
    /// A chain is longer than [`queue::MOST_SEGMENTS`], or a loop.
    TooLong,
    /// A table of descriptors is empty, cut, nested, or goes on behind its end; or was not
    /// negotiated.
    Indirect,
    /// A buffer to read comes behind one to write.
    Order,
    /// A request has no whole header, or no room for its status; a console's is empty, or longer
    /// than [`console::MOST_BYTES`].
    Request,
    /// A queue that goes one way has a buffer for the other.
    Direction,
}

impl From<OutOfRam> for Broken {
    fn from(_: OutOfRam) -> Self {
        Self::OutOfRam
    }
}

fn read_u16(ram: &impl GuestRam, address: u64) -> Result<u16, OutOfRam> {
    let mut bytes = [0; 2];
    ram.read(address, &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

fn write_u16(ram: &impl GuestRam, address: u64, value: u16) -> Result<(), OutOfRam> {
    ram.write(address, &value.to_le_bytes())
}

#[cfg(test)]
mod tests;
