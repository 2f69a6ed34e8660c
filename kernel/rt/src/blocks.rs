//! Blocks of memory for tasks: frames are joined to blocks by one task at a time.

use crate::sync::Mutex;
use bale_memory::frames::{self, Block};

static JOINING: Mutex<()> = Mutex::new(());

/// A block with undefined content; see [`frames::allocate_block`]. In a task that may wait.
pub fn allocate_block() -> Option<Block> {
    frames::allocate_block(|| JOINING.lock().ok())
}
