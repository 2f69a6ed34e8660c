//! The road from the first Rust line to the shell, for the boot core and for each further core.

use bale_arch::entry::image_base;
use bale_arch::{counter, identity, mask, mmu};
use bale_core::device_tree::{LeftOut, Machine};
use bale_core::entropy::Found;
use bale_core::{core_kind, device_tree};
use heapless::Vec;

use crate::board::{App, Board, Extras};
use crate::{early, mapping};
use bale_io::{backing, bundle, console, fault, last_words, log, println};
use bale_memory::image_sections;
use bale_monitor::{report, shell};
use bale_reclaim::{compactor, drain, pool};
use bale_rt::cores::{Core, MAX_CORES};
use bale_rt::hooks::Hooks;
use bale_rt::interrupts::Controller;
use bale_rt::platform::{self, Image};
use bale_rt::{
    clock, cores, hooks, hotplug, idle, interrupts, power, random, task, test_interrupt, watchdog,
};
use bale_vmm as vm;

/// What the layers above the executive do at its turning points.
static HOOKS: Hooks = Hooks {
    may_rest: drain::is_quiet,
    core_leaves: drain::leave,
    core_left: pool::retire_core,
    core_joins: drain::join,
    machine_stops: console::drain_output,
    trace_begins: vm::kick_all,
    limit_group: vm::limit,
    say: console::say,
};

/// Bytes of the device tree that are looked at, at most.
const LARGEST_DEVICE_TREE: usize = 2 << 20;
const DEVICE_TREE_MAGIC: u32 = 0xd00d_feed;

/// The boot core entered at another exception level.
pub fn wrong_exception_level(board: &Board, level: u64) -> ! {
    match level {
        3 => early::stop(
            board,
            &[
                "entered at EL3; Bale runs at EL2. Start it without secure=on, or as an arm64 Image, which QEMU enters at EL2.",
            ],
            false,
        ),
        _ => early::stop(
            board,
            &[
                "entered at EL1; Bale is a hypervisor and needs EL2. Under QEMU add -M virt,virtualization=on.",
            ],
            true,
        ),
    }
}

/// The boot core, at EL2 with the MMU off.
pub fn boot_core(board: &'static Board, device_tree: u64, extras: &'static Extras) -> ! {
    let app = extras.app;
    clock::start();
    let found = identity::hypervisor_control();
    let counts = mmu::initialise_controls();
    let device_tree = check_device_tree(board, device_tree);
    let image = (image_base(), image_sections()[4].end - image_base());
    // SAFETY: first and only use, on the boot core; the magic number says that there is memory at
    // the device tree.
    if let Err(error) = unsafe { early::map(image, (device_tree.0, device_tree.1 as u64)) } {
        early::stop_for(
            board,
            format_args!("image at {:#x}, device tree at {:#x}: {error}", image.0, device_tree.0),
        );
    }
    // SAFETY: the early map covers the device tree, and its size was checked; nothing refers to it
    // yet.
    random::gather(unsafe {
        core::slice::from_raw_parts_mut(device_tree.0 as *mut u8, device_tree.1)
    });
    // SAFETY: as above; from here on it is only read.
    let bytes = unsafe { core::slice::from_raw_parts(device_tree.0 as *const u8, device_tree.1) };
    // Before the rest of the tree is read: what is wrong with it is to be said on a UART that is
    // there.
    match device_tree::console(bytes) {
        Ok(uart) => {
            if let Some(uart) = early::speak_on(uart) {
                // SAFETY: the tree names a PL011 here, mapped as device memory now; a panic before
                // the real map is told on it.
                unsafe { console::initialise(uart) };
            }
        }
        Err(_) => early::speak_on_own(board),
    }
    let machine = read_machine(board, bytes);
    power::set_conduit(machine.psci);
    platform::set_image(Image {
        board: board.name,
        build: crate::BUILD,
        version: env!("CARGO_PKG_VERSION"),
    });
    hooks::register(&HOOKS);

    let total: u64 = machine.memory.iter().map(|range| range.size).sum();
    if total < board.least_memory {
        let (found, least) = (total >> 20, board.least_memory >> 20);
        early::stop_for(
            board,
            format_args!("{found} MiB of memory; Bale needs at least {least} MiB (QEMU: -m 128M)"),
        );
    }
    mapping::keep_last_words(machine, device_tree);
    let tables = mapping::enable(board, machine, device_tree);

    let affinities = core_order(machine);
    cores::name(&affinities);
    cores::claim(0);
    last_words::find();
    // SAFETY: the tables name a PL011 here, mapped as device memory by `enable_map`.
    unsafe { console::initialise(machine.uart.base) };
    mapping::add_memory(machine, device_tree, tables);
    say_what_is_left_out(machine, affinities.len());
    if !random::found().is_some_and(Found::is_enough) {
        println!(
            "bale: random numbers can be guessed: cores and firmware have none, and no jitter"
        );
    }
    read_clock(machine);
    start_interrupts(board, machine, app);
    report::record(0, found);
    task::start();
    task::adopt_idle(cores::this_unpinned());
    if counts {
        counter::start();
    }
    cores::set_online();
    mask::unmask_serror();
    mask::unmask();
    hotplug::start_all();
    rehearse_kinds(machine);

    if let Err(error) = bundle::find(machine) {
        early::stop_for(board, format_args!("the boot bundle (initrd): {error}"));
    }
    if let Err(error) = pool::initialise() {
        early::stop_for(board, format_args!("the pool could not be made: {error:?}"));
    }
    vm::prepare();
    task::share::start();
    drain::start();
    compactor::start();
    watchdog::start(watchdog_seconds());
    if backing::disk().is_some() {
        vm::writeback::start();
    }
    let arguments = machine.bootargs.as_str();
    log::set_streaming(arguments.split_whitespace().any(|word| word == "log=defmt"));
    start_task("log", task::HOUSEKEEPING, log::task);
    platform::set_boot_us(clock::uptime_us());
    defmt::info!("{} cores online after {=u64} us", cores::online() as u32, clock::uptime_us());
    if let Some(app) = app
        && let Err(error) = (app.start)()
    {
        println!("bale: {} does not start: {error:?}", app.name);
    }
    console::enable_input();
    shell::add_commands(extras.commands);
    start_task("shell", task::SHELL, shell::task);
    idle::run()
}

/// Reads the tables, in a frame of its own: what they tell is large, and goes over the stack more
/// than once.
#[inline(never)]
fn read_machine(board: &'static Board, tree: &[u8]) -> &'static Machine {
    match Machine::from_dtb(tree) {
        Ok(machine) => platform::set_machine(machine),
        Err(error) => early::stop_for(board, format_args!("{error}")),
    }
}

/// A further core, on its idle task's stack with the final map on.
pub fn further_core(index: u64) -> ! {
    let found = identity::hypervisor_control();
    let counts = mmu::initialise_controls();
    cores::claim(index as usize);
    let Some(machine) = platform::machine() else { mask::halt() };
    vm::learn_identification();
    if let Err(error) = interrupts::initialise_core(&private_interrupts(machine)) {
        println!("bale: core {index} stays off: {error:?}");
        mask::halt();
    }
    report::record(index as usize, found);
    task::adopt_idle(cores::this_unpinned());
    if counts {
        counter::start();
    }
    cores::set_online();
    mask::unmask_serror();
    idle::run()
}

/// Takes the time of the day from the machine's PL031: its data register, seconds since 1970 (DDI
/// 0224, 3.3.1).
fn read_clock(machine: &Machine) {
    if let Some(clock) = &machine.clock {
        // SAFETY: the tables name a PL031 here, mapped as device memory by `enable_map`; reading
        // has no effect.
        clock::set_of_day(u64::from(unsafe { (clock.base as *const u32).read_volatile() }));
    } else if let Some(seconds) = machine.started {
        clock::set_of_day(seconds);
    }
}

/// Cores that the boot arguments call small count as small ones.
fn rehearse_kinds(machine: &Machine) {
    match core_kind::called_small(&machine.bootargs) {
        Ok(small) => {
            small
                .iter()
                .filter_map(|index| cores::all().get(usize::from(*index)))
                .for_each(Core::call_small);
        }
        Err(wrong) => println!("bale: boot argument small=: {wrong}"),
    }
}

/// The limit of the watchdog, in seconds, as the boot argument `watchdog=` says it.
fn watchdog_seconds() -> u64 {
    match platform::argument("watchdog").map(str::parse) {
        None => watchdog::LIMIT,
        Some(Ok(seconds)) if seconds <= watchdog::LONGEST => seconds,
        Some(_) => {
            let (most, limit) = (watchdog::LONGEST, watchdog::LIMIT);
            println!(
                "bale: boot argument watchdog= takes 0 to {most} seconds; it stays at {limit}"
            );
            limit
        }
    }
}

fn start_task(name: &'static str, priority: u8, entry: extern "C" fn(u64) -> !) {
    assert!(task::spawn(name, 0, priority, entry, 0).is_ok(), "no room for the {name} task");
}

/// Address and length of the device tree, or a stop that says that there is none.
fn check_device_tree(board: &Board, address: u64) -> (u64, usize) {
    let none = "no device tree: x0 must hold its address (QEMU: start the flat Image with -kernel)";
    if address == 0 || !address.is_multiple_of(8) {
        early::stop(board, &[none], false);
    }
    // SAFETY: an aligned word; with the MMU off a wrong address reads as whatever the bus answers.
    let magic = unsafe { (address as *const u32).read_volatile() };
    // SAFETY: as above.
    let size = unsafe { ((address + 4) as *const u32).read_volatile() };
    let size = u32::from_be(size) as usize;
    if u32::from_be(magic) != DEVICE_TREE_MAGIC || size > LARGEST_DEVICE_TREE {
        early::stop(board, &[none], false);
    }
    (address, size)
}

/// What the tables name and Bale has no room for, with its number: nothing is left out silently.
fn say_what_is_left_out(machine: &Machine, cores: usize) {
    let named = machine.cpus.len() + machine.left_out.cores as usize;
    if named > cores {
        println!(
            "bale: {} of {named} cores stay off: there is room for {MAX_CORES}",
            named - cores
        );
    }
    let others = LeftOut { cores: 0, ..machine.left_out };
    if others.is_any() {
        println!("bale: the tables name more than there is room for; left out: {others}");
    }
}

/// Affinities in the order of core indexes: the boot core first, then as the tables list them.
fn core_order(machine: &Machine) -> Vec<u64, MAX_CORES> {
    let mut order = Vec::new();
    // Cores beyond MAX_CORES stay off, which `say_what_is_left_out` says.
    let _ = order.push(mask::affinity());
    for cpu in machine.cpus.iter().filter(|cpu| cpu.affinity != mask::affinity()) {
        let _ = order.push(cpu.affinity);
    }
    order
}

/// PPIs that each core handles.
fn private_interrupts(machine: &Machine) -> [u32; 5] {
    let timer = &machine.timer;
    [
        timer.hypervisor_physical,
        timer.physical,
        interrupts::VIRTUAL_TIMER,
        interrupts::MAINTENANCE,
        interrupts::COUNTER_OVERFLOW,
    ]
}

fn start_interrupts(board: &Board, machine: &Machine, app: Option<&App>) {
    let controller = Controller {
        distributor: machine.gic.distributor.base,
        redistributors: machine.gic.redistributors.iter().map(|region| region.base).collect(),
    };
    vm::learn_identification();
    let timer = machine.timer.hypervisor_physical;
    let uart = machine.uart.interrupt;
    let mut sources: Vec<(u32, &'static str, fn()), 16> = Vec::new();
    let mut handles = |id: u32, name: &'static str, handler: fn()| {
        assert!(
            sources.push((id, name, handler)).is_ok(),
            "more interrupt sources than the table holds"
        );
    };
    handles(interrupts::RESCHEDULE, "reschedule", task::on_reschedule);
    handles(interrupts::DRAIN, "drain", drain::on_interrupt);
    handles(interrupts::STOP, "stop", fault::on_stop);
    handles(interrupts::TEST, "test", test_interrupt::on_interrupt);
    handles(interrupts::WATCHDOG, "watchdog", watchdog::on_interrupt);
    handles(timer, "timer", task::on_timer);
    handles(interrupts::VIRTUAL_TIMER, "guest timer", vm::on_virtual_timer);
    handles(machine.timer.physical, "guest physical timer", vm::on_physical_timer);
    handles(interrupts::COUNTER_OVERFLOW, "guest counters", vm::on_counter_overflow);
    handles(interrupts::MAINTENANCE, "guest maintenance", vm::on_maintenance);
    handles(uart, "uart", console::on_interrupt);
    let own = app.map_or(&[][..], |app| app.interrupts);
    own.iter().for_each(|&(id, name, handler)| handles(id, name, handler));
    let disk = backing::find(machine);
    if let Some(disk) = disk {
        handles(disk, "disk", backing::on_interrupt);
    }
    interrupts::initialise(controller, &sources);
    let ready = interrupts::initialise_core(&private_interrupts(machine))
        .and_then(|()| interrupts::enable_shared(uart, mask::affinity()))
        .and_then(|()| {
            disk.map_or(Ok(()), |disk| interrupts::enable_shared(disk, mask::affinity()))
        })
        .and_then(|()| {
            own.iter().try_for_each(|(id, ..)| interrupts::enable_shared(*id, mask::affinity()))
        });
    if let Err(error) = ready {
        early::stop_for(
            board,
            format_args!(
                "the GIC at {:#x} cannot be used: {error:?}",
                machine.gic.distributor.base
            ),
        );
    }
}
