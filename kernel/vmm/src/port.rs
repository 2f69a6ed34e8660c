//! A machine's virtio console, which has the terminal instead of the UART where the description
//! says so.
//!
//! What the guest transmits is passed on by whoever notifies the device, in its own task with
//! interrupts unmasked. What is typed waits here until the guest has room for it; a virtual CPU
//! puts it there, since a page of a held machine may have to be waited for: the shell, which could
//! end the machine, must not. Locks: the transmitter before the registers, the registers before
//! what was typed.

use core::sync::atomic::{AtomicBool, Ordering};

use bale_core::guest_tree::CONSOLE_SLOT;
use bale_core::turn::Turn;
use bale_core::virtio::console::{self, PIECE, QUEUES, RECEIVE, TRANSMIT};
use bale_core::virtio::legacy::vacant;
use bale_core::virtio::mmio::{Effect, Refused, Registers};
use bale_core::virtio::queue::Chain;
use heapless::{Deque, Vec};

use super::Slot;
use super::memory::GuestMemory;
use bale_rt::sync::{IN_ORDER, Lock, Mutex};
use bale_rt::task;

/// Between two looks at whether nobody transmits any more.
const PATIENCE_US: u64 = 100;
/// Typed bytes that are copied with interrupts masked.
const AT_ONCE: usize = 32;

/// Where a machine's console is plugged in.
pub(super) struct Port {
    registers: Mutex<Registers<QUEUES>>,
    plugged: AtomicBool,
    transmitter: Turn,
    typed: Lock<Deque<u8, PIECE>>,
    /// Something was typed that no virtual CPU has looked at.
    arrived: AtomicBool,
    /// The driver broke a rule, and has not reset the device since.
    broken: AtomicBool,
}

impl Port {
    pub(super) const fn new() -> Self {
        Self {
            registers: Mutex::new(Registers::new(console::DEVICE, console::FEATURES)),
            plugged: AtomicBool::new(false),
            transmitter: Turn::new(),
            typed: Lock::new(Deque::new()),
            arrived: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }
    }

    /// Without a console, and as out of reset.
    pub(super) fn reset(&self) {
        *self.registers.lock().expect(IN_ORDER) =
            Registers::new(console::DEVICE, console::FEATURES);
        self.plugged.store(false, Ordering::Relaxed);
        self.typed.lock().clear();
        self.arrived.store(false, Ordering::Relaxed);
        self.broken.store(false, Ordering::Relaxed);
    }

    /// Plugs the console in, if there is to be one. No virtual CPU runs.
    pub(super) fn plug(&self, wanted: bool) {
        self.plugged.store(wanted, Ordering::Relaxed);
    }

    /// Whether the device waits for its driver to reset it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Whether a virtual CPU is to look at what was typed.
    pub(super) fn has_arrivals(&self) -> bool {
        // Acquire: pairs with the release in `type_in`.
        self.arrived.load(Ordering::Acquire)
    }

    /// Whether there is a console.
    pub(super) fn is_plugged(&self) -> bool {
        self.plugged.load(Ordering::Relaxed)
    }
}

impl Slot {
    /// An access to the console's registers.
    pub(super) fn access_port(
        &self,
        offset: u64,
        width: u8,
        write: Option<u64>,
        memory: Option<&GuestMemory>,
    ) -> Result<u64, Refused> {
        let port = &self.devices.port;
        if !port.is_plugged() {
            return Ok(vacant(offset));
        }
        // Its configuration (5.3.4) is all of features that are not offered: zeros.
        let (value, effect) =
            self.with_port(|registers| registers.access(offset, width, write, &[]))?;
        match (effect, memory) {
            (Effect::Notify(TRANSMIT), Some(memory)) => {
                port.transmitter.serve(|| self.transmit(memory))
            }
            (Effect::Notify(_), Some(memory)) => self.receive(memory),
            // Whoever passes a chain on does not go on with it.
            (Effect::Reset, _) => {
                let pause = || task::sleep_us(PATIENCE_US);
                port.transmitter.wait(pause);
                port.broken.store(false, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(value)
    }

    /// A byte for the console. A full queue loses it, as on a wire.
    pub(super) fn type_in(&self, byte: u8) {
        let port = &self.devices.port;
        let _ = port.typed.lock().push_back(byte);
        // Release: pairs with the acquires of the looks; the byte is there.
        port.arrived.store(true, Ordering::Release);
        self.kick_all();
    }

    /// Whether another byte finds room.
    pub(super) fn has_room(&self) -> bool {
        !self.devices.port.typed.lock().is_full()
    }

    /// From a virtual CPU that was made to look: what was typed goes to the guest, unless another
    /// one sees to it.
    pub(super) fn take_arrivals(&self, memory: &GuestMemory) {
        // Acquire: pairs with the release in `type_in`.
        if self.devices.port.arrived.swap(false, Ordering::Acquire) {
            self.receive(memory);
        }
    }

    fn with_port<R>(&self, f: impl FnOnce(&mut Registers<QUEUES>) -> R) -> R {
        self.with_virtio(&self.devices.port.registers, CONSOLE_SLOT, f)
    }

    /// Passes on what waits in the queue, or as much of it as comes before the machine's end or the
    /// device's reset.
    #[inline(never)]
    fn transmit(&self, memory: &GuestMemory) {
        let number = self.number();
        let mut chain = Chain::default();
        let mut served = None;
        loop {
            self.stand_by();
            let ends = self.stop.load(Ordering::Relaxed);
            let mut broken = false;
            let found = self.with_port(|registers| {
                if let Some(served) = served.take() {
                    registers.tell(TRANSMIT, memory, &chain, served);
                }
                let found = !ends && registers.fetch(TRANSMIT, memory, &mut chain);
                broken = !found && registers.needs_reset();
                found
            });
            if !found {
                if broken {
                    self.note_broken(&self.devices.port.broken, "console");
                }
                return;
            }
            served = Some(console::transmit(&chain, memory, |bytes| {
                // A chain may be a megabyte long: a pause and an end are heard behind each piece of
                // it.
                self.stand_by();
                self.console.put(number, bytes);
                !self.stop.load(Ordering::Relaxed)
                    && self.with_port(|registers| registers.is_live(TRANSMIT))
            }));
        }
    }

    /// Gives the guest what was typed, as far as it has room. Each chain takes a byte at least, or
    /// is the last.
    #[inline(never)]
    fn receive(&self, memory: &GuestMemory) {
        let typed = &self.devices.port.typed;
        let mut chain = Chain::default();
        self.with_port(|registers| {
            loop {
                // Only who holds the registers takes bytes out.
                let bytes: Vec<u8, AT_ONCE> = typed.lock().iter().take(AT_ONCE).copied().collect();
                if bytes.is_empty() || !registers.fetch(RECEIVE, memory, &mut chain) {
                    if registers.needs_reset() {
                        self.note_broken(&self.devices.port.broken, "console");
                    }
                    return;
                }
                let served = console::receive(&chain, memory, &bytes);
                for _ in 0..served.unwrap_or(0) {
                    typed.lock().pop_front();
                }
                registers.tell(RECEIVE, memory, &chain, served);
            }
        });
    }
}
