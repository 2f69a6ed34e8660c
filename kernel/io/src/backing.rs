//! The disk behind the store: a virtio block device with memory-mapped registers, in blocks of a
//! page.
//!
//! A swap device that may write back gets a region of it; what lies there means nothing once the
//! region is given back, and slots say which blocks hold a page, so no guest reads another one's.
//! One request is under way at a time, from a buffer that stays with the driver; whoever waits
//! sleeps until the interrupt. A disk that does not answer in [`PATIENCE_US`] may write to that
//! buffer whenever it likes, so it is never used again.

mod memory;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use bale_core::device_tree::{Machine, VirtioPlace};
use bale_swap::{Backing, Blocks, IoError, PAGE_SIZE};
use heapless::Vec;
use spin::Once;
use virtio_drivers::device::blk::{BlkReq, BlkResp, SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};

use self::memory::DiskMemory;
use bale_memory::frames;
use bale_rt::clock;
use bale_rt::sync::{Lock, Mutex, MutexGuard, Semaphore};

/// A disk that takes longer for a page is taken for dead.
const PATIENCE_US: u64 = 10_000_000;
/// Regions of the disk at most.
const REGIONS: usize = 64;
/// Sectors of a page.
const SECTORS: usize = PAGE_SIZE / SECTOR_SIZE;
/// Register: why the device interrupts; and the one that takes this back (Virtual I/O Device 1.2,
/// 4.2.2).
const INTERRUPT_STATUS: u64 = 0x60;
const INTERRUPT_ACK: u64 = 0x64;

/// A disk.
pub struct Disk {
    blocks: usize,
    driver: Mutex<Driver>,
    /// Regions in use, by their first blocks.
    regions: Lock<Vec<Region, REGIONS>>,
}

struct Driver {
    device: VirtIOBlk<DiskMemory, MmioTransport<'static>>,
    request: BlkReq,
    response: BlkResp,
    page: &'static mut [u8; PAGE_SIZE],
    dead: bool,
}

static DISK: Once<Disk> = Once::new();
/// Address of its registers, for the interrupt; 0 without a disk.
static REGISTERS: AtomicU64 = AtomicU64::new(0);
static INTERRUPTED: Semaphore = Semaphore::new(0, 1);

/// Looks for a disk that can be written; the number of its interrupt.
pub fn find(machine: &Machine) -> Option<u32> {
    machine.virtio.iter().find_map(|place| {
        let disk = open(place)?;
        REGISTERS.store(place.registers.base, Ordering::Relaxed);
        DISK.call_once(|| disk);
        Some(place.interrupt)
    })
}

fn open(place: &VirtioPlace) -> Option<Disk> {
    let header = NonNull::new(place.registers.base as *mut VirtIOHeader)?;
    let size = usize::try_from(place.registers.size).ok()?;
    // SAFETY: the tables name a place for a virtio device here, which is mapped as device memory
    // and used by nobody else.
    let transport = unsafe { MmioTransport::new(header, size) }.ok()?;
    if transport.device_type() != DeviceType::Block {
        return None;
    }
    let device = match VirtIOBlk::new(transport) {
        Ok(device) if !device.readonly() => device,
        Ok(_) => return None,
        Err(_) => {
            defmt::warn!("the disk at {=u64:#x} does not start", place.registers.base);
            return None;
        }
    };
    let sectors = usize::try_from(device.capacity()).ok()?;
    let page = frames::allocate_static(1)?.first_chunk_mut()?;
    let driver = Driver {
        device,
        request: BlkReq::default(),
        response: BlkResp::default(),
        page,
        dead: false,
    };
    Some(Disk {
        blocks: sectors / SECTORS,
        driver: Mutex::new(driver),
        regions: Lock::new(Vec::new()),
    })
}

/// The disk, if the machine has one.
pub fn disk() -> Option<&'static Disk> {
    DISK.get()
}

/// The disk's interrupt.
pub fn on_interrupt() {
    let registers = REGISTERS.load(Ordering::Relaxed);
    // SAFETY: registers of the disk, mapped as device memory; nobody else reads this one.
    let status = unsafe { ((registers + INTERRUPT_STATUS) as *const u32).read_volatile() };
    // SAFETY: as above; nobody else writes this one.
    unsafe { ((registers + INTERRUPT_ACK) as *mut u32).write_volatile(status) };
    // Refused: nobody has come to the last one yet, who will look at the ring all the same.
    let _ = INTERRUPTED.give();
}

/// A run of blocks of the disk, of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    first: usize,
    blocks: usize,
}

impl Disk {
    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Takes a region of so many blocks; `None` if no gap is that long.
    pub fn take(&self, blocks: usize) -> Option<Region> {
        let mut regions = self.regions.lock();
        let mut first = 0;
        let mut at = 0;
        for region in regions.iter() {
            if region.first - first >= blocks {
                break;
            }
            first = region.first + region.blocks;
            at += 1;
        }
        if self.blocks - first < blocks {
            return None;
        }
        let region = Region { first, blocks };
        regions.insert(at, region).ok()?;
        Some(region)
    }

    /// Gives a region back.
    pub fn give(&self, region: Region) {
        self.regions.lock().retain(|known| *known != region);
    }

    /// Blocks in regions.
    pub fn taken(&self) -> usize {
        self.regions.lock().iter().map(|region| region.blocks).sum()
    }
}

impl Backing for Region {
    fn blocks(&self) -> usize {
        self.blocks
    }

    fn exclusive<R>(&self, work: impl FnOnce(&mut dyn Blocks) -> R) -> R {
        // A lock that cannot be had (a wait without end) is a disk that cannot be used.
        let driver = disk().and_then(|disk| disk.driver.lock().ok());
        work(&mut Window { region: *self, driver })
    }
}

/// A region, while nobody else uses the disk.
struct Window {
    region: Region,
    driver: Option<MutexGuard<'static, Driver>>,
}

impl Window {
    fn at(&mut self, block: usize) -> Result<(&mut Driver, usize), IoError> {
        let driver = self.driver.as_mut().filter(|driver| !driver.dead).ok_or(IoError)?;
        if block >= self.region.blocks {
            return Err(IoError);
        }
        Ok((driver, (self.region.first + block) * SECTORS))
    }
}

impl Blocks for Window {
    fn read(&mut self, block: usize, into: &mut [u8; PAGE_SIZE]) -> Result<(), IoError> {
        let (driver, sector) = self.at(block)?;
        let Driver { device, request, response, page, .. } = driver;
        // SAFETY: the buffers stay where they are, and are not touched before `completed` has seen
        // the request come back.
        let token = unsafe { device.read_blocks_nb(sector, request, *page, response) }
            .map_err(|_| IoError)?;
        driver.completed(token)?;
        let Driver { device, request, response, page, .. } = driver;
        // SAFETY: the buffers of the request that has come back.
        unsafe { device.complete_read_blocks(token, request, *page, response) }
            .map_err(|_| IoError)?;
        *into = **page;
        Ok(())
    }

    fn write(&mut self, block: usize, from: &[u8; PAGE_SIZE]) -> Result<(), IoError> {
        let (driver, sector) = self.at(block)?;
        let Driver { device, request, response, page, .. } = driver;
        **page = *from;
        // SAFETY: as in `read`.
        let token = unsafe { device.write_blocks_nb(sector, request, *page, response) }
            .map_err(|_| IoError)?;
        driver.completed(token)?;
        let Driver { device, request, response, page, .. } = driver;
        // SAFETY: the buffers of the request that has come back.
        unsafe { device.complete_write_blocks(token, request, *page, response) }
            .map_err(|_| IoError)
    }
}

impl Driver {
    /// Waits until the request has come back.
    fn completed(&mut self, token: u16) -> Result<(), IoError> {
        let deadline = clock::now() + clock::from_us(PATIENCE_US);
        loop {
            match self.device.peek_used() {
                Some(used) if used == token => return Ok(()),
                Some(_) => break,
                // An interrupt of an earlier request may be left over: the ring decides.
                None if INTERRUPTED.take_until(deadline) => {}
                None => break,
            }
        }
        defmt::error!("the disk does not answer; it is not used any more");
        self.dead = true;
        Err(IoError)
    }
}
