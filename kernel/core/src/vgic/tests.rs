//! The interrupt controller, with a core's virtual interface played by a model of it.

#![expect(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

mod delivery;
mod registers;
mod steps;

use super::{
    DISTRIBUTOR_SIZE, INTERRUPTS, Lists, MAX_VCPUS, REDISTRIBUTOR_SIZE, Refused, VIRTUAL_TIMER,
    Vgic,
};
use proptest::prelude::*;

const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const ISPENDR: u64 = 0x200;
const IPRIORITYR: u64 = 0x400;
const ICFGR: u64 = 0xc00;
const SGI_FRAME: u64 = 0x1_0000;

fn write(vgic: &mut Vgic, offset: u64, value: u64) {
    assert_eq!(vgic.distributor(offset, 4, Some(value)), Ok(0), "{offset:#x}");
}

/// Everything enabled, in group 1, shared interrupts edge-triggered and of priority 0x80.
fn ready(vcpus: usize) -> Vgic {
    let mut vgic = Vgic::new(vcpus);
    write(&mut vgic, 0, 3);
    for word in 1..u64::from(INTERRUPTS) / 32 {
        write(&mut vgic, 0x80 + 4 * word, 0xffff_ffff);
        write(&mut vgic, ISENABLER + 4 * word, 0xffff_ffff);
        write(&mut vgic, ICFGR + 8 * word, 0xaaaa_aaaa);
        write(&mut vgic, ICFGR + 8 * word + 4, 0xaaaa_aaaa);
        for at in 0..8 {
            write(&mut vgic, IPRIORITYR + 32 * word + 4 * at, 0x8080_8080);
        }
    }
    for vcpu in 0..vcpus as u64 {
        let frame = vcpu * REDISTRIBUTOR_SIZE + SGI_FRAME;
        for (offset, value) in [(0x80, 0xffff_ffff), (ISENABLER, 0xffff_ffff)] {
            assert_eq!(vgic.redistributor(frame + offset, 4, Some(value)), Ok(0));
        }
        for at in 0..8 {
            assert_eq!(
                vgic.redistributor(frame + IPRIORITYR + 4 * at, 4, Some(0x8080_8080)),
                Ok(0)
            );
        }
    }
    vgic.take_attention();
    vgic
}

/// A core's virtual interface: what the hardware does with list registers.
struct Interface {
    lists: Lists,
    /// Interrupts that the guest took and has not ended, with their priorities.
    running: Vec<(u32, u8)>,
    ended: u32,
}

fn interrupt(value: u64) -> u32 {
    value as u32
}

fn priority(value: u64) -> u8 {
    (value >> 48) as u8
}

impl Interface {
    fn new(count: usize) -> Self {
        Self { lists: Lists::new(count), running: Vec::new(), ended: 0 }
    }

    fn sync(&mut self, vgic: &mut Vgic, vcpu: usize) {
        vgic.fold(vcpu, &mut self.lists, core::mem::take(&mut self.ended));
        vgic.fill(vcpu, &mut self.lists);
    }

    fn pending_below(&self, mask: u8) -> bool {
        self.lists.any_pending(mask, |at| self.lists.values[at])
    }

    /// The guest acknowledges the most urgent interrupt, if its priority preempts what runs.
    fn take(&mut self) -> Option<u32> {
        let used = self.lists.used;
        let pending = self.lists.values[..used].iter_mut().filter(|value| **value >> 62 & 1 == 1);
        let value = pending.min_by_key(|value| priority(**value))?;
        if self.running.last().is_some_and(|(_, running)| priority(*value) >= *running) {
            return None;
        }
        *value = *value & !(3 << 62) | 1 << 63;
        self.running.push((interrupt(*value), priority(*value)));
        Some(interrupt(*value))
    }

    /// The guest ends what it took last.
    fn end(&mut self) -> Option<u32> {
        let (ended, _) = self.running.pop()?;
        let used = self.lists.used;
        let listed = self.lists.values[..used]
            .iter_mut()
            .find(|value| interrupt(**value) == ended && **value >> 63 == 1);
        match listed {
            Some(value) => *value &= !(1 << 63),
            None => self.ended += 1,
        }
        Some(ended)
    }
}
