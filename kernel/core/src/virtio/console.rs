//! A console of one port (5.3): what the guest transmits, and what it receives.

use super::Broken;
use super::cursor::Cursor;
use super::mmio::{EVENT_IDX, INDIRECT_DESC};
use super::queue::Chain;
use crate::guest_ram::GuestRam;

/// The device number (5.3.1).
pub const DEVICE: u32 = 3;
/// What is offered: the rings' two. No size in columns and rows, no further ports, no emergency
/// write.
pub const FEATURES: u64 = INDIRECT_DESC | EVENT_IDX;
/// The queue of bytes to the guest (5.3.2).
pub const RECEIVE: usize = 0;
/// The queue of bytes from the guest.
pub const TRANSMIT: usize = 1;
/// Queues.
pub const QUEUES: usize = 2;
/// Bytes that a chain may transmit, so that one is done with in bounded time; Linux's driver stays
/// below 32 KiB.
pub const MOST_BYTES: u64 = 1 << 20;
/// Bytes that are copied at a time.
pub const PIECE: usize = 256;

/// Gives what a chain transmits to `put`, up to [`PIECE`] bytes at a time, as long as that says to
/// go on; how many bytes of the chain were written: none.
///
/// # Errors
/// A buffer is to be written, lies where there is no memory, or they are too long.
pub fn transmit(
    chain: &Chain,
    ram: &impl GuestRam,
    mut put: impl FnMut(&[u8]) -> bool,
) -> Result<u32, Broken> {
    if chain.readable != chain.segments.len() {
        return Err(Broken::Direction);
    }
    let mut from = Cursor::new(&chain.segments);
    let mut left = usize::try_from(from.left().min(MOST_BYTES + 1)).map_err(|_| Broken::Request)?;
    if left as u64 > MOST_BYTES {
        return Err(Broken::Request);
    }
    let mut piece = [0; PIECE];
    while left != 0 {
        let here = &mut piece[..left.min(PIECE)];
        from.take(ram, here)?;
        if !put(here) {
            break;
        }
        left -= here.len();
    }
    Ok(0)
}

/// Puts bytes, at least one, into a chain, as many as find room; how many.
///
/// # Errors
/// A buffer is to be read, lies where there is no memory, or there is no room at all.
pub fn receive(chain: &Chain, ram: &impl GuestRam, bytes: &[u8]) -> Result<u32, Broken> {
    if chain.readable != 0 {
        return Err(Broken::Direction);
    }
    let mut to = Cursor::new(&chain.segments);
    let room = usize::try_from(to.left()).unwrap_or(usize::MAX);
    let here = bytes.get(..room).unwrap_or(bytes);
    if here.is_empty() {
        return Err(Broken::Request);
    }
    to.give(ram, here)?;
    u32::try_from(here.len()).map_err(|_| Broken::Request)
}
