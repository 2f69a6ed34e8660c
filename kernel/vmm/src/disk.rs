//! A machine's swap disk: a virtio block device whose blocks are slots of the compressed store.
//!
//! Whoever notifies a queue serves it, in its own task with interrupts unmasked; a second virtual
//! CPU that notifies the same one meanwhile leaves a mark and goes on. Queues are served side by
//! side; a part of a block is written while nobody else writes. A request may be as long as the
//! disk, so whoever serves it looks behind each block whether it is to go on: a pause and the
//! machine's end are heard there too. Locks: a server before the registers; the registers are held
//! for a look at the rings only, which may have to be brought back into memory first.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bale_core::gate::Gate;
use bale_core::guest_tree::DISK_SLOT;
use bale_core::turn::Turn;
use bale_core::virtio::block::{self, BLOCK, BlockStore, QUEUES, StoreError};
use bale_core::virtio::legacy::vacant;
use bale_core::virtio::mmio::{Effect, Refused, Registers};
use bale_core::virtio::queue::Chain;
use bale_core::vm_description::VmDescription;
use bale_swap::{Codec, Scratch, Setup};
use heapless::Vec;

use super::medium::{Medium, WorkingMemory};
use super::memory::{GuestMemory, RESERVE};
use super::store::{self, Store};
use super::{Slot, StartError, SwapCache, reserve};
use bale_io::backing::{self, Region};
use bale_memory::PAGE_SIZE;
use bale_rt::sync::{IN_ORDER, Mutex};
use bale_rt::{task, trace};

/// Percent of its quota below which a store accepts pages again, once it was full.
const ACCEPT: u8 = 90;
/// Between two looks at whether others have left the disk's blocks or a queue.
const PATIENCE_US: u64 = 100;
/// Between two looks at whether a machine that stands still goes on.
const STILL_US: u64 = 5_000;

/// A disk: slots of the store.
pub(super) struct Disk {
    medium: Medium,
    store: Store,
    /// Of the disk behind it, if there is one.
    region: Option<Region>,
}

/// What a queue is served with.
struct Server {
    store: Store,
    work: WorkingMemory,
    /// The block of which a part is written.
    block: &'static mut [u8; BLOCK],
    /// The request at hand.
    chain: &'static mut Chain,
}

impl Disk {
    /// A disk of so many slots, in front of this region if there is one, and a server for each of
    /// its queues.
    fn new(
        slots: usize,
        checksum: bool,
        setup: Setup,
        region: Option<Region>,
    ) -> Result<(Self, [Server; QUEUES]), StartError> {
        let (medium, (place, servers)) = Medium::new(slots, checksum, setup, |arena| {
            let place = arena.place(None::<SwapCache>)?;
            let mut servers = Vec::<_, QUEUES>::new();
            for _ in 0..QUEUES {
                let block = arena.place([0; BLOCK])?;
                let server = (WorkingMemory::place(arena)?, block, arena.place(Chain::default())?);
                servers.push(server).ok()?;
            }
            Some((place, servers.into_array::<QUEUES>().ok()?))
        })?;
        // The region has a block for each slot, so it is not refused.
        *place = region.and_then(|region| SwapCache::new(medium.device, region, ACCEPT).ok());
        let store = place.as_ref().map_or(Store::alone(medium.device), Store::backed);
        let servers = servers.map(|(work, block, chain)| Server { store, work, block, chain });
        Ok((Self { medium, store, region }, servers))
    }

    /// Gives up what the disk holds; how many slots held something. Its memory stays until
    /// [`Disk::release`], for those who look at its figures.
    pub(super) fn empty(&self) -> usize {
        self.medium.empty()
    }

    /// Gives its memory back.
    pub(super) fn release(self) {
        self.store.give_up_reserve();
        self.medium.release();
        give_back(self.region);
    }
}

fn give_back(region: Option<Region>) {
    if let (Some(disk), Some(region)) = (backing::disk(), region) {
        disk.give(region);
    }
}

/// The store of one request.
struct Request<'a> {
    store: Store,
    scratch: &'a mut Scratch,
    block: &'a mut [u8; BLOCK],
    slot: &'a Slot,
}

fn wait_a_little() {
    task::sleep_us(PATIENCE_US);
}

#[expect(clippy::cast_possible_truncation, reason = "the queue's side has checked the block")]
impl BlockStore for Request<'_> {
    fn blocks(&self) -> u64 {
        self.store.slots() as u64
    }

    fn read(&mut self, block: u64, into: &mut [u8; BLOCK]) -> Result<(), StoreError> {
        self.store.read(block as usize, into, self.scratch).map_err(|_| StoreError)
    }

    fn write(&mut self, block: u64, from: &[u8; BLOCK]) -> Result<(), StoreError> {
        let write = || self.store.write(block as usize, from, self.scratch).map_err(|_| StoreError);
        self.slot.devices.disk.writers.beside_others(wait_a_little, write)
    }

    fn write_part(
        &mut self,
        block: u64,
        bytes: Range<usize>,
        from: &[u8; BLOCK],
    ) -> Result<(), StoreError> {
        let bay = &self.slot.devices.disk;
        let _one_at_a_time = bay.part_writer.lock().expect(IN_ORDER);
        let error = |_| StoreError;
        bay.writers.alone(wait_a_little, || {
            self.store.read(block as usize, self.block, self.scratch).map_err(error)?;
            self.block[bytes.clone()].copy_from_slice(&from[bytes]);
            self.store.write(block as usize, self.block, self.scratch).map_err(error)
        })
    }

    fn release(&mut self, first: u64, count: u64) {
        let release = || self.store.release(first as usize, count as usize);
        // Refused only beyond the end, which was checked.
        trace::released(
            self.slot.devices.disk.writers.beside_others(wait_a_little, release).unwrap_or(0),
        );
    }

    fn goes_on(&mut self) -> bool {
        self.slot.stand_by();
        // Relaxed, both: who ends or resets waits until this is noticed; nothing is handed over by
        // it.
        !self.slot.stop.load(Ordering::Relaxed)
            && self.slot.devices.disk.resetting.load(Ordering::Relaxed) == 0
    }
}

/// Where a machine's disk is plugged in.
pub(super) struct DiskBay {
    registers: Mutex<Registers<QUEUES>>,
    disk: spin::Mutex<Option<Disk>>,
    /// By queue: who serves it, and with what.
    turns: [Turn; QUEUES],
    servers: [spin::Mutex<Option<Server>>; QUEUES],
    /// Whole blocks are written beside other writes, a part of one alone.
    writers: Gate,
    part_writer: Mutex<()>,
    /// Virtual CPUs that have reset the device and wait for the queues.
    resetting: AtomicU32,
    /// The driver broke a rule, and has not reset the device since.
    broken: AtomicBool,
    /// Blocks of the disk; 0 without one.
    blocks: AtomicU64,
}

impl DiskBay {
    pub(super) const fn new() -> Self {
        Self {
            registers: Mutex::new(Registers::new(block::DEVICE, block::FEATURES)),
            disk: spin::Mutex::new(None),
            turns: [const { Turn::new() }; QUEUES],
            servers: [const { spin::Mutex::new(None) }; QUEUES],
            writers: Gate::new(),
            part_writer: Mutex::new(()),
            resetting: AtomicU32::new(0),
            broken: AtomicBool::new(false),
            blocks: AtomicU64::new(0),
        }
    }

    /// Empty, and as out of reset.
    pub(super) fn reset(&self) {
        *self.registers.lock().expect(IN_ORDER) = Registers::new(block::DEVICE, block::FEATURES);
        self.blocks.store(0, Ordering::Relaxed);
        self.broken.store(false, Ordering::Relaxed);
    }

    /// Whether the device waits for its driver to reset it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Plugs in the disk that a description asks for, if any.
    pub(super) fn plug_described(
        &self,
        description: &VmDescription,
    ) -> Result<Option<Store>, StartError> {
        let slots =
            usize::try_from(description.swap).map_err(|_| StartError::SwapTooLarge)? / PAGE_SIZE;
        let codec = |name| Codec::from_name(name).ok_or(StartError::NoCodec);
        let mut setup = store::setup(codec(&description.codec)?);
        setup.second = description.second.as_deref().map(codec).transpose()?;
        setup.quota_pages = description.quota.map_or(setup.quota_pages, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX) / PAGE_SIZE
        });
        setup.reserve_pages = (description.reserve / PAGE_SIZE as u64) as usize;
        let left = RESERVE as usize / PAGE_SIZE;
        if setup.reserve_pages != 0 && !reserve::can_reserve(setup.reserve_pages, left) {
            return Err(StartError::NoReserve);
        }
        let region = if description.backing && slots != 0 {
            let disk = backing::disk().ok_or(StartError::NoDisk)?;
            Some(disk.take(slots).ok_or(StartError::DiskFull)?)
        } else {
            None
        };
        self.plug_with(slots, description.checksum, setup, region)
            .inspect_err(|_| give_back(region))
    }

    /// Plugs in a disk of so many slots, if any.
    pub(super) fn plug(
        &self,
        slots: usize,
        checksum: bool,
        setup: Setup,
    ) -> Result<Option<Store>, StartError> {
        self.plug_with(slots, checksum, setup, None)
    }

    fn plug_with(
        &self,
        slots: usize,
        checksum: bool,
        setup: Setup,
        region: Option<Region>,
    ) -> Result<Option<Store>, StartError> {
        if slots == 0 {
            return Ok(None);
        }
        let (disk, servers) = Disk::new(slots, checksum, setup, region)?;
        let store = disk.store;
        self.blocks.store(slots as u64, Ordering::Relaxed);
        *self.disk.lock() = Some(disk);
        for (place, server) in self.servers.iter().zip(servers) {
            *place.lock() = Some(server);
        }
        Ok(Some(store))
    }

    /// Takes the disk out, whose queues nobody serves any more.
    pub(super) fn unplug(&self) -> Option<Disk> {
        for place in &self.servers {
            *place.lock() = None;
        }
        self.disk.lock().take()
    }
}

impl Slot {
    /// An access to the disk's registers.
    pub(super) fn access_disk(
        &self,
        offset: u64,
        width: u8,
        write: Option<u64>,
        memory: Option<&GuestMemory>,
    ) -> Result<u64, Refused> {
        let bay = &self.devices.disk;
        let blocks = bay.blocks.load(Ordering::Relaxed);
        if blocks == 0 {
            return Ok(vacant(offset));
        }
        let config = block::config(blocks);
        let (value, effect) =
            self.with_disk_registers(|registers| registers.access(offset, width, write, &config))?;
        match (effect, memory) {
            (Effect::Notify(queue), Some(memory)) => bay.turns[queue].serve(|| {
                // Nobody else has it: this is our turn.
                if let Some(server) = bay.servers[queue].lock().as_mut() {
                    self.serve_chains(queue, server, memory);
                }
            }),
            // Whoever serves a queue notices that it is reset, and ends after the block at hand.
            (Effect::Reset, _) => {
                bay.resetting.fetch_add(1, Ordering::Relaxed);
                bay.turns.iter().for_each(|turn| turn.wait(wait_a_little));
                bay.resetting.fetch_sub(1, Ordering::Relaxed);
                bay.broken.store(false, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(value)
    }

    fn with_disk_registers<R>(&self, f: impl FnOnce(&mut Registers<QUEUES>) -> R) -> R {
        self.with_virtio(&self.devices.disk.registers, DISK_SLOT, f)
    }

    /// Waits while the machine stands still.
    #[inline]
    pub(super) fn stand_by(&self) {
        while self.paused.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed) {
            task::sleep_us(STILL_US);
        }
    }

    /// A device needs a reset: counted once until it gets one, and said the first time, so that no
    /// driver fills the log.
    #[cold]
    pub(super) fn note_broken(&self, noted: &AtomicBool, device: &str) {
        // Relaxed: whoever comes first counts it.
        if !noted.swap(true, Ordering::Relaxed)
            && self.broken_devices.fetch_add(1, Ordering::Relaxed) == 0
        {
            defmt::warn!(
                "vm {}: the {} needs a reset: its driver broke a rule",
                self.number() as u32,
                device
            );
        }
    }

    /// Serves chain after chain until there is none, or the machine is to end. What became of one
    /// is told as the next one is fetched.
    fn serve_chains(&self, queue: usize, server: &mut Server, memory: &GuestMemory) {
        let Server { store, work: WorkingMemory { scratch, page }, block, chain } = server;
        let mut served = None;
        loop {
            self.stand_by();
            let ends = self.stop.load(Ordering::Relaxed);
            let mut broken = false;
            let found = self.with_disk_registers(|registers| {
                if let Some(served) = served.take() {
                    registers.tell(queue, memory, chain, served);
                }
                let found = !ends && registers.fetch(queue, memory, chain);
                broken = !found && registers.needs_reset();
                found
            });
            if !found {
                if broken {
                    self.note_broken(&self.devices.disk.broken, "disk");
                }
                return;
            }
            let mut request = Request { store: *store, scratch, block, slot: self };
            served = Some(block::serve(chain, memory, &mut request, page));
        }
    }
}
