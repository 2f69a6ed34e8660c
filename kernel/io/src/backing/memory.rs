//! Memory that the driver shares with the disk. EL2's map is the identity, and the device sees what
//! the caches hold.

use core::ptr::NonNull;

use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use bale_memory::PAGE_SIZE;
use bale_memory::frames::{self, Frame};

/// The frame allocator, for the driver.
pub(super) struct DiskMemory;

// SAFETY: `dma_alloc` gives out whole zeroed frames that nobody else has; addresses are the same
// for the device and for us.
unsafe impl Hal for DiskMemory {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match frames::allocate_static(pages) {
            Some(bytes) => {
                let start = NonNull::from(bytes).cast::<u8>();
                (start.as_ptr() as u64, start)
            }
            // Address 0 says that there is no memory.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(address: PhysAddr, _pointer: NonNull<u8>, pages: usize) -> i32 {
        frames::release((0..pages as u64).map(|page| {
            // SAFETY: `dma_alloc` took these frames out of the allocator, and the driver gives them
            // back.
            unsafe { Frame::from_address(address + page * PAGE_SIZE as u64) }
        }));
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _size: usize) -> NonNull<u8> {
        // Only for devices on PCI, of which there is none here; right for them too.
        NonNull::new(address as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as u64
    }

    unsafe fn unshare(_address: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}
