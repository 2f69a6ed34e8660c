//! The interrupt controller under its guest, its devices, and processors that do with list
//! registers what hardware may.

use arbitrary::{Result, Unstructured};
use bale_core::vgic::{Lists, MAX_VCPUS, VIRTUAL_TIMER, Vgic};

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const HARDWARE: u64 = 1 << 61;
const FIRST_SHARED: u32 = 32;

pub(crate) fn run(bytes: &[u8]) {
    // Ends where the input does.
    let _ = run_machine(&mut Unstructured::new(bytes));
}

struct Machine {
    vgic: Vgic,
    lists: Vec<Lists>,
    /// Which virtual CPUs run, so that their list registers are with the hardware.
    running: [bool; MAX_VCPUS],
}

fn run_machine(input: &mut Unstructured<'_>) -> Result<()> {
    let vcpus = input.int_in_range(1..=MAX_VCPUS)?;
    let count = input.int_in_range(1..=16usize)?;
    let lists = vec![Lists::new(count); vcpus];
    let mut machine = Machine { vgic: Vgic::new(vcpus), lists, running: [false; MAX_VCPUS] };
    while !input.is_empty() {
        let vcpu = input.choose_index(vcpus)?;
        match input.int_in_range(0..=8u8)? {
            0 => machine.enter(vcpu),
            1 => machine.leave(vcpu, input.int_in_range(0..=3)?),
            2 => machine.progress(vcpu, input.arbitrary()?, input.arbitrary()?),
            3 => machine.vgic.set_line(input.arbitrary::<u8>()?.into(), input.arbitrary()?),
            4 => machine.vgic.pulse(input.arbitrary::<u8>()?.into()),
            5 => {
                machine.leave(vcpu, 0);
                machine.vgic.fire_timer(vcpu);
            }
            6 => {
                machine.leave(vcpu, 0);
                machine.vgic.drop_timer(vcpu);
                let _ = machine.vgic.take_release(vcpu);
            }
            // A guest's own access comes with an exit.
            7 => {
                machine.leave(vcpu, 0);
                machine.vgic.send(vcpu, input.arbitrary()?, input.arbitrary()?);
            }
            _ => {
                machine.leave(vcpu, 0);
                let (offset, width, write): (u32, u8, Option<u64>) = input.arbitrary()?;
                // Refused or not: the guest gets an abort for it then.
                let _ = if offset & 1 << 31 == 0 {
                    machine.vgic.distributor((offset & 0xffff).into(), width, write)
                } else {
                    machine.vgic.redistributor((offset & 0x1f_ffff).into(), width, write)
                };
            }
        }
        machine.kick();
    }
    Ok(())
}

impl Machine {
    fn enter(&mut self, vcpu: usize) {
        if self.running[vcpu] {
            return;
        }
        let lists = &mut self.lists[vcpu];
        self.vgic.fill(vcpu, lists);
        assert!(
            lists.used <= lists.count && lists.values[lists.used..].iter().all(|value| *value == 0)
        );
        let mut seen = [false; 1024];
        for value in &lists.values[..lists.used] {
            let interrupt = (value & 0x3ff) as u32;
            assert!(!core::mem::replace(&mut seen[interrupt as usize], true), "{interrupt} twice");
            assert!(value & (PENDING | ACTIVE) != 0, "an entry without a state");
            let linked = value & HARDWARE != 0;
            assert!(!linked || interrupt == VIRTUAL_TIMER, "{interrupt} is linked to hardware");
            assert!(
                !linked || value & (PENDING | ACTIVE) != PENDING | ACTIVE,
                "linked, pending and active"
            );
        }
        self.running[vcpu] = true;
        self.no_interrupt_is_active_twice();
    }

    fn leave(&mut self, vcpu: usize, ended: u32) {
        if core::mem::take(&mut self.running[vcpu]) {
            self.vgic.fold(vcpu, &mut self.lists[vcpu], ended);
        }
    }

    /// The guest takes an interrupt, or ends one, which the hardware notes in the list register.
    fn progress(&mut self, vcpu: usize, place: u8, end: bool) {
        if !self.running[vcpu] {
            return;
        }
        let lists = &mut self.lists[vcpu];
        let Some(value) = lists.values[..lists.used].get_mut(usize::from(place)) else { return };
        if end && *value & ACTIVE != 0 {
            *value &= !ACTIVE;
        } else if !end && *value & (PENDING | ACTIVE) == PENDING {
            *value = *value & !PENDING | ACTIVE;
        }
    }

    /// Whoever has to look again does so.
    fn kick(&mut self) {
        let attention = self.vgic.take_attention();
        for vcpu in 0..self.lists.len() {
            if attention >> vcpu & 1 == 1 && self.running[vcpu] {
                self.leave(vcpu, 0);
                self.enter(vcpu);
            }
        }
    }

    /// A shared interrupt is active at one virtual CPU at most.
    fn no_interrupt_is_active_twice(&self) {
        let mut active = [false; 1024];
        for (lists, _) in self.lists.iter().zip(self.running).filter(|(_, running)| *running) {
            for value in lists.values[..lists.used].iter().filter(|value| *value & ACTIVE != 0) {
                let interrupt = (value & 0x3ff) as u32;
                let before = core::mem::replace(&mut active[interrupt as usize], true);
                assert!(
                    interrupt < FIRST_SHARED || !before,
                    "{interrupt} is active at two virtual CPUs"
                );
            }
        }
    }
}
