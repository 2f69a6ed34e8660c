//! A machine from its description in the bundle: memory, kernel, initial RAM disk and device tree
//! in place.
//!
//! Where each of them goes is [`GuestLayout`]'s to say.

use core::sync::atomic::Ordering;

use bale_core::core_kind::CoreKind;
use bale_core::guest_image::GuestImage;
use bale_core::guest_layout::{GuestLayout, LayoutError};
use bale_core::guest_tree::{CONSOLE_SLOT, DISK_SLOT, FIRMWARE, GuestTree, RAM, TEST_SLOT};
use bale_core::vm_description::{Console, LONGEST_NAME, VmDescription};

use super::memory::GuestMemory;
use super::{Kind, SLOTS, StartError, abandon, launch, offered, reserve, sharing};
use bale_io::bundle;
use bale_rt::cores::{self, MAX_CORES};
use bale_rt::{clock, random, task};

/// Bytes of a device tree at most.
const TREE: usize = 8192;
/// How often a restart looks whether the tasks have left.
const LEAVING_US: u64 = 1_000;

/// All that a machine is made of, but for memory.
struct Plan {
    description: VmDescription,
    kernel: &'static [u8],
    initrd: Option<&'static [u8]>,
    layout: GuestLayout,
}

impl Plan {
    /// From the bundle's description of this name.
    fn read(name: &str) -> Result<Self, StartError> {
        let text = bundle::description(name).ok_or(StartError::NoSuchGuest)?;
        let description = VmDescription::parse(text).map_err(StartError::Description)?;
        let kernel = bundle::file(&description.kernel).ok_or(StartError::NoKernel)?;
        let initrd = match &description.initrd {
            Some(name) => Some(bundle::file(name).ok_or(StartError::NoInitrd)?),
            None => None,
        };
        let length = initrd.map(|content| content.len() as u64);
        let layout = GuestLayout::new(description.memory, kernel, description.raw, length)
            .map_err(StartError::Layout)?;
        if description.raw.is_none()
            && let Some(granule) = GuestImage::parse(kernel).ok().and_then(|image| image.granule)
            && !offered::offers(granule)
        {
            // It would find out by itself, before it can say so, and stop without a word.
            return Err(StartError::NoGranule(granule));
        }
        Ok(Self { description, kernel, initrd, layout })
    }

    /// Gives the machine in a slot its disk and its memory, and starts it.
    fn launch(&self, index: usize) -> Result<usize, StartError> {
        let store = SLOTS[index].devices.disk.plug_described(&self.description)?;
        SLOTS[index].devices.port.plug(self.description.console == Console::Virtio);
        SLOTS[index].console.set_rate(self.description.console_rate);
        sharing::set(index, self.description.shares, self.description.cpu_limit);
        SLOTS[index].status.lock().restart_limit =
            (self.description.restarts, self.description.restart_window);
        SLOTS[index].devices.flash.plug(self.layout.kernel == FIRMWARE);
        SLOTS[index].pmu.store(self.description.pmu, Ordering::Relaxed);
        SLOTS[index].devices.test.plug(self.description.testdev, self.description.semihosting);
        let memory = fill(index, &self.description, &self.layout, self.kernel, self.initrd)?;
        // Others find it from here on.
        SLOTS[index].status.lock().store = store;
        launch(index, memory, self.layout.entry, self.layout.tree)
    }
}

/// Starts the machine with this name, as the bundle describes it; the number of its slot.
///
/// # Errors
/// See [`StartError`]; nothing is left half-started.
pub fn start_described(name: &str) -> Result<usize, StartError> {
    // What is cut would be another one's name, or none.
    if name.len() > LONGEST_NAME {
        return Err(StartError::NameTooLong);
    }
    let plan = Plan::read(name)?;
    let cores = choose_cores(&plan.description)?;
    let index =
        reserve(name, &cores, plan.description.memory, Kind::Full).ok_or(StartError::TooMany)?;
    plan.launch(index).map_err(|error| abandon(index, error))
}

/// Whether a machine of this name can be started anew: it has a description.
pub(super) fn is_described(name: &str) -> bool {
    bundle::description(name).is_some()
}

/// A task that starts the machine in a slot anew, once the tasks of its last life have left their
/// stacks.
pub(super) extern "C" fn restart(argument: u64) -> ! {
    let index = argument as usize;
    let slot = &SLOTS[index];
    while slot.has_tasks() {
        task::sleep_us(LEAVING_US);
    }
    let name = slot.status.lock().summary.guest.clone();
    slot.renew(None);
    let started = Plan::read(&name).and_then(|plan| plan.launch(index));
    if let Err(error) = started {
        defmt::warn!("vm {} does not start again", index as u32);
        bale_io::println!("vm {index} does not start again: {error}");
        let _ = abandon(index, error);
        super::settle(index, super::Reason::Reset);
    }
    task::exit()
}

/// Cores for guests that name none: the fast ones, without the first, which is left to the shell
/// and its like.
fn fast_cores() -> heapless::Vec<usize, MAX_CORES> {
    let others = cores::all().iter().skip(1).filter(|core| core.online());
    let fast = others.clone().filter(|core| core.kind() == CoreKind::Fast);
    let fast: heapless::Vec<usize, MAX_CORES> = fast.map(cores::Core::index).collect();
    if fast.is_empty() { others.map(cores::Core::index).collect() } else { fast }
}

/// A core for each virtual CPU.
fn choose_cores(
    description: &VmDescription,
) -> Result<heapless::Vec<usize, { bale_core::vgic::MAX_VCPUS }>, StartError> {
    let mut free = fast_cores();
    if free.is_empty() {
        let _ = free.push(0);
    }
    (0..description.vcpus)
        .map(|number| {
            let core = match description.cores.len() {
                0 => free[number % free.len()],
                listed => usize::from(description.cores[number % listed]),
            };
            cores::all()
                .get(core)
                .filter(|core| core.online())
                .map(|_| core)
                .ok_or(StartError::NoSuchCore)
        })
        .collect()
}

/// A frame of its own: the tree is a large part of a stack.
#[inline(never)]
fn fill(
    index: usize,
    description: &VmDescription,
    layout: &GuestLayout,
    kernel: &[u8],
    initrd: Option<&[u8]>,
) -> Result<GuestMemory, StartError> {
    let mut memory = GuestMemory::zeroed(index, RAM, description.memory)?;
    let firmware = layout.kernel == FIRMWARE;
    if firmware && let Err(error) = memory.add_firmware(kernel) {
        memory.release();
        return Err(error);
    }
    let slots = [
        (DISK_SLOT, description.swap != 0),
        (CONSOLE_SLOT, description.console == Console::Virtio),
        (TEST_SLOT, description.testdev),
    ];
    let virtio: heapless::Vec<u32, 3> =
        slots.into_iter().filter_map(|(slot, there)| there.then_some(slot)).collect();
    let tree = GuestTree {
        memory: description.memory,
        vcpus: description.vcpus as u32,
        command_line: &description.command_line,
        initrd: layout.initrd,
        flash: firmware,
        pmu: description.pmu && offered::performance_monitors().is_some(),
        clock: clock::of_day().is_some(),
        virtio: &virtio,
        seed: seed(),
    };
    let mut bytes = [0; TREE];
    let placed = tree
        .write(&mut bytes)
        .map_err(|_| ())
        .and_then(|length| {
            let mut places = [Some(layout.tree), layout.copy].into_iter().flatten();
            places.try_for_each(|place| memory.place(place, &bytes[..length]).map_err(|_| ()))
        })
        .and_then(|()| {
            if firmware { Ok(()) } else { memory.place(layout.kernel, kernel).map_err(|_| ()) }
        })
        .and_then(|()| match (layout.initrd, initrd) {
            (Some((start, _)), Some(content)) => memory.place(start, content).map_err(|_| ()),
            _ => Ok(()),
        });
    if placed.is_err() {
        // The layout fits, so this cannot happen; what was taken goes back all the same.
        memory.release();
        return Err(StartError::Layout(LayoutError::ImageTooLarge));
    }
    // The frames may have held other code.
    bale_arch::mmu::invalidate_instruction_caches();
    Ok(memory)
}

/// Random bytes, which nobody else has.
fn seed() -> [u8; 64] {
    let mut bytes = [0; 64];
    random::fill(&mut bytes);
    bytes
}
