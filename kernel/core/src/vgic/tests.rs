#![expect(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

use super::{
    DISTRIBUTOR_SIZE, INTERRUPTS, Lists, MAX_VCPUS, REDISTRIBUTOR_SIZE, Refused, VIRTUAL_TIMER, Vgic,
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
            assert_eq!(vgic.redistributor(frame + IPRIORITYR + 4 * at, 4, Some(0x8080_8080)), Ok(0));
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

#[test]
fn an_edge_is_taken_once() {
    let mut vgic = ready(1);
    let mut core = Interface::new(4);
    vgic.pulse(40);
    assert_eq!(vgic.take_attention(), 1);
    core.sync(&mut vgic, 0);
    assert_eq!(core.take(), Some(40));
    core.sync(&mut vgic, 0);
    assert_eq!(core.take(), None);
    // A second edge while the first is active is taken after its end, without another exit.
    vgic.pulse(40);
    core.sync(&mut vgic, 0);
    assert_eq!(core.end(), Some(40));
    assert_eq!(core.take(), Some(40));
    core.end();
    core.sync(&mut vgic, 0);
    assert_eq!(core.take(), None);
}

#[test]
fn a_level_comes_back_until_the_line_falls() {
    let mut vgic = ready(1);
    write(&mut vgic, ICFGR + 8, 0);
    let mut core = Interface::new(4);
    vgic.set_line(33, true);
    for _ in 0..3 {
        core.sync(&mut vgic, 0);
        assert_eq!(core.lists.values[0] >> 41 & 1, 1, "its end asks for maintenance");
        assert_eq!(core.take(), Some(33));
        core.end();
    }
    core.sync(&mut vgic, 0);
    vgic.set_line(33, false);
    core.sync(&mut vgic, 0);
    assert_eq!(core.take(), None);
}

#[test]
fn priorities_decide_and_actives_end_outside_of_the_registers() {
    let mut vgic = ready(1);
    let mut core = Interface::new(2);
    let count = 12u8;
    for step in 0..count {
        // Each more urgent than the one before, and each preempts it.
        let number = 40 + u32::from(step);
        let urgent = 0xf0 - 8 * step;
        assert_eq!(vgic.distributor(IPRIORITYR + u64::from(number), 1, Some(urgent.into())), Ok(0));
        vgic.pulse(number);
        core.sync(&mut vgic, 0);
        assert!(core.lists.used <= 2);
        assert_eq!(core.take(), Some(number));
    }
    for step in (0..count).rev() {
        assert_eq!(core.end(), Some(40 + u32::from(step)));
        core.sync(&mut vgic, 0);
    }
    assert_eq!((core.lists.used, core.ended), (0, 0));
}

#[test]
fn more_pending_than_registers_asks_for_maintenance() {
    let mut vgic = ready(1);
    let mut lists = Lists::new(4);
    for number in 40..45 {
        vgic.pulse(number);
    }
    assert!(vgic.fill(0, &mut lists).no_pending);
    assert_eq!(lists.used, 4);
    let mut core = Interface { lists, running: Vec::new(), ended: 0 };
    let mut taken = Vec::new();
    while let Some(number) = core.take() {
        taken.push(number);
        core.end();
        core.sync(&mut vgic, 0);
    }
    assert_eq!(taken, [40, 41, 42, 43, 44]);
}

#[test]
fn sgis_reach_whom_they_name() {
    let mut vgic = ready(4);
    let mut lists = [const { Lists::new(4) }; 4];
    // SGI 5 to 1 and 3; SGI 6 to all others; SGI 7 to an affinity that nobody has.
    vgic.send(0, 5 << 24 | 0b1010, true);
    assert_eq!(vgic.take_attention(), 0b1010);
    vgic.send(2, 6 << 24 | 1 << 40, true);
    assert_eq!(vgic.take_attention(), 0b1011);
    for nobody in [1 << 16, 1 << 32, 1 << 44, 1 << 48] {
        vgic.send(0, 7 << 24 | 0b1111 | nobody, true);
    }
    vgic.send(0, 8 << 24 | 0xfff0, true);
    vgic.send(0, 9 << 24 | 1, false);
    assert_eq!(vgic.take_attention(), 0);
    let mut got = |vcpu: usize| {
        vgic.fill(vcpu, &mut lists[vcpu]);
        lists[vcpu].values[..lists[vcpu].used].iter().map(|value| interrupt(*value)).collect::<Vec<_>>()
    };
    assert_eq!([got(0), got(1), got(2), got(3)], [vec![6], vec![5, 6], vec![], vec![5, 6]]);
}

#[test]
fn the_timer_is_linked_until_the_guest_ends_it() {
    let mut vgic = ready(2);
    let mut core = Interface::new(4);
    vgic.fire_timer(1);
    assert_eq!(vgic.take_attention(), 2);
    core.sync(&mut vgic, 1);
    let linked = 1 << 61 | u64::from(VIRTUAL_TIMER) << 32;
    assert_eq!(core.lists.values[0] & (0x1fff << 32 | 1 << 61), linked);
    assert_eq!(core.take(), Some(VIRTUAL_TIMER));
    core.sync(&mut vgic, 1);
    core.end();
    core.sync(&mut vgic, 1);
    assert!(!vgic.unlink_timer(1) && !vgic.take_release(1), "the hardware ended it");
    // A guest that throws it away has to have it ended for it.
    vgic.fire_timer(1);
    let clear = REDISTRIBUTOR_SIZE + SGI_FRAME + 0x280;
    assert_eq!(vgic.redistributor(clear, 4, Some(1 << VIRTUAL_TIMER)), Ok(0));
    assert!(vgic.take_release(1) && !vgic.unlink_timer(1));
}

#[test]
fn a_timer_leaves_its_core_and_comes_back() {
    let mut vgic = ready(1);
    let mut core = Interface::new(4);
    vgic.fire_timer(0);
    core.sync(&mut vgic, 0);
    // Pending: it fires again.
    vgic.fold(0, &mut core.lists, 0);
    assert!(vgic.unlink_timer(0));
    core.sync(&mut vgic, 0);
    assert_eq!(core.lists.used, 0);
    // Active: the link alone comes back, and the guest's end of interrupt reaches the hardware.
    vgic.fire_timer(0);
    core.sync(&mut vgic, 0);
    assert_eq!(core.take(), Some(VIRTUAL_TIMER));
    vgic.fold(0, &mut core.lists, 0);
    assert!(vgic.unlink_timer(0));
    vgic.fire_timer(0);
    core.sync(&mut vgic, 0);
    assert_eq!(core.lists.values[0] >> 61, 0b101, "active and linked");
    core.end();
    core.sync(&mut vgic, 0);
    assert_eq!(core.take(), None);
    assert!(!vgic.unlink_timer(0));
    // Its line fell before the guest took it.
    vgic.fire_timer(0);
    vgic.drop_timer(0);
    assert!(vgic.take_release(0));
    core.sync(&mut vgic, 0);
    assert_eq!(core.lists.used, 0);
}

#[test]
fn a_disabled_or_ungrouped_interrupt_waits() {
    let mut vgic = ready(1);
    let mut core = Interface::new(4);
    write(&mut vgic, ICENABLER + 4, 1 << 8);
    vgic.pulse(40);
    core.sync(&mut vgic, 0);
    assert_eq!(core.take(), None);
    assert_eq!(vgic.distributor(ISPENDR + 4, 4, None), Ok(1 << 8));
    write(&mut vgic, ISENABLER + 4, 1 << 8);
    write(&mut vgic, 0, 1);
    core.sync(&mut vgic, 0);
    assert_eq!(core.take(), None, "group 1 is off");
    assert!(!core.pending_below(0xff));
    write(&mut vgic, 0, 2);
    assert_eq!(vgic.take_attention(), 1);
    core.sync(&mut vgic, 0);
    assert!(core.pending_below(0xf0) && !core.pending_below(0x80));
    assert_eq!(core.take(), Some(40));
}

#[test]
fn a_timer_that_the_guest_has_ended_fires_again_in_its_register() {
    let mut vgic = ready(1);
    let mut core = Interface::new(4);
    assert_eq!(core.lists.timer_again(|_| 0), None, "it is in none");
    vgic.send(0, 1 | 3 << 24, true);
    vgic.fire_timer(0);
    core.sync(&mut vgic, 0);
    let filled = core.lists.values;
    let at = filled.iter().position(|value| interrupt(*value) == VIRTUAL_TIMER).unwrap();
    assert_eq!(core.lists.timer_again(|at| filled[at]), None, "it is pending still");
    assert_eq!(core.lists.timer_again(|at| filled[at] ^ 3 << 62), None, "the guest handles it");
    assert_eq!(core.lists.timer_again(|_| 0), Some((at, filled[at])));
    // Taken into the books it is what a timer is that fired once more.
    core.sync(&mut vgic, 0);
    assert_eq!(core.lists.used, 2);
}

#[test]
fn routing_moves_what_is_pending() {
    let mut vgic = ready(3);
    let (mut first, mut third) = (Interface::new(4), Interface::new(4));
    vgic.pulse(50);
    first.sync(&mut vgic, 0);
    assert_eq!(vgic.distributor(0x6000 + 8 * 50, 8, Some(2)), Ok(0));
    assert_eq!(vgic.distributor(0x6000 + 8 * 50, 8, None), Ok(2));
    // It is in the first one's registers still, and nowhere twice.
    third.sync(&mut vgic, 2);
    assert_eq!(third.lists.used, 0);
    assert_eq!(vgic.take_attention() & 1, 1);
    first.sync(&mut vgic, 0);
    assert_eq!(first.lists.used, 0);
    assert_eq!(vgic.take_attention(), 0b100);
    third.sync(&mut vgic, 2);
    assert_eq!(third.take(), Some(50));
    // An affinity that nobody has.
    assert_eq!(vgic.distributor(0x6000 + 8 * 50, 8, Some(1 << 32)), Ok(0));
    vgic.pulse(50);
    third.end();
    third.sync(&mut vgic, 2);
    assert_eq!(third.take(), None);
}

/// Each offset in each width: nothing panics, and what is refused is what the layout says.
#[test]
fn every_offset_and_width() {
    let mut vgic = ready(2);
    for write in [None, Some(0), Some(u64::MAX)] {
        for width in [1u8, 2, 4, 8] {
            for offset in 0..DISTRIBUTOR_SIZE {
                let aligned = offset % u64::from(width) == 0;
                let allowed = match offset {
                    0x400..0x800 => matches!(width, 1 | 4),
                    0x6100..0x8000 => matches!(width, 4 | 8),
                    _ => width == 4,
                };
                let result = vgic.distributor(offset, width, write);
                // Priorities beyond the last interrupt ignore every width.
                let reserved = matches!(offset, 0x400..0x420 | 0x460..0x800) && aligned;
                assert_eq!(result.is_ok(), reserved || aligned && allowed, "{offset:#x} {width}");
            }
            for offset in 0..REDISTRIBUTOR_SIZE {
                let aligned = offset % u64::from(width) == 0;
                let allowed = match offset {
                    0x8..0x10 => matches!(width, 4 | 8),
                    0x1_0400..0x1_0420 => matches!(width, 1 | 4),
                    _ => width == 4,
                };
                let result = vgic.redistributor(REDISTRIBUTOR_SIZE + offset, width, write);
                let reserved = matches!(offset, 0x1_0420..0x1_0800) && aligned;
                assert_eq!(result.is_ok(), reserved || aligned && allowed, "{offset:#x} {width}");
            }
        }
    }
    for width in [0, 3, 5, 16, 255] {
        assert_eq!(vgic.distributor(0, width, None), Err(Refused));
    }
    assert_eq!(vgic.redistributor(2 * REDISTRIBUTOR_SIZE, 4, None), Err(Refused));
    assert_eq!(vgic.redistributor(u64::MAX, 1, None), Err(Refused));
}

#[test]
fn what_linux_reads_at_boot() {
    let mut vgic = Vgic::new(4);
    assert_eq!(vgic.distributor(0xffe8, 4, None), Ok(0x3b));
    assert_eq!(vgic.distributor(4, 4, None).map(|typer| typer & 31), Ok(2));
    write(&mut vgic, 0, 0x13);
    assert_eq!(vgic.distributor(0, 4, None), Ok(0x53));
    for vcpu in 0..4 {
        let typer = vgic.redistributor(vcpu * REDISTRIBUTOR_SIZE + 8, 8, None);
        assert_eq!(typer, Ok(vcpu << 32 | vcpu << 8 | if vcpu == 3 { 1 << 4 } else { 0 }));
        let waker = vcpu * REDISTRIBUTOR_SIZE + 0x14;
        assert_eq!(vgic.redistributor(waker, 4, None), Ok(6));
        assert_eq!(vgic.redistributor(waker, 4, Some(0)), Ok(0));
        assert_eq!(vgic.redistributor(waker, 4, None), Ok(0));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pulse(u32),
    Send(usize, u64),
    Sync(usize),
    Take(usize),
    End(usize),
    Register(bool, u64, u64),
    Route(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let vcpu = 0..3usize;
    prop_oneof![
        (32..INTERRUPTS).prop_map(Step::Pulse),
        (vcpu.clone(), 0..16u64, 0..8u64, any::<bool>())
            .prop_map(|(from, sgi, list, all)| { Step::Send(from, sgi << 24 | list | u64::from(all) << 40) }),
        vcpu.clone().prop_map(Step::Sync),
        vcpu.clone().prop_map(Step::Take),
        vcpu.prop_map(Step::End),
        (any::<bool>(), prop_oneof![0x100..0x200u64, 0x400..0x460u64], any::<u32>())
            .prop_map(|(private, offset, value)| Step::Register(private, offset & !3, value.into())),
        (32..96u64, 0..3u64).prop_map(|(number, to)| Step::Route(number, to)),
    ]
}

proptest! {
    /// Whatever happens in between: no edge is lost, none is taken more often than it
    /// came, no interrupt is in two list registers, and
    /// nothing stays active for ever.
    #[test]
    fn no_edge_is_lost(count in 1..6usize, steps in proptest::collection::vec(step(), 1..200)) {
        let mut vgic = ready(3);
        let mut cores = [Interface::new(count), Interface::new(count), Interface::new(count)];
        // By core for private ones; shared ones under core 0.
        let mut owed = std::collections::BTreeSet::new();
        let mut raised = std::collections::BTreeMap::new();
        let key = |core: usize, number: u32| (if number < 32 { core } else { 0 }, number);
        for step in steps {
            match step {
                Step::Pulse(number) => {
                    vgic.pulse(number);
                    owed.insert(key(0, number));
                    *raised.entry(key(0, number)).or_insert(0) += 1;
                }
                Step::Send(from, value) => {
                    vgic.send(from, value, true);
                    for to in 0..3 {
                        let named = if value >> 40 & 1 == 1 { to != from } else { value >> to & 1 == 1 };
                        if named {
                            let key = key(to, (value >> 24 & 15) as u32);
                            owed.insert(key);
                            *raised.entry(key).or_insert(0) += 1;
                        }
                    }
                }
                Step::Sync(core) => cores[core].sync(&mut vgic, core),
                Step::Take(core) => {
                    if let Some(number) = cores[core].take() {
                        owed.remove(&key(core, number));
                        let left = raised.entry(key(core, number)).or_insert(0);
                        prop_assert!(*left > 0, "{} was taken too often", number);
                        *left -= 1;
                    }
                }
                Step::End(core) => drop(cores[core].end()),
                Step::Register(private, offset, value) => {
                    // The access comes from the first core, which folds before.
                    cores[0].sync(&mut vgic, 0);
                    if private {
                        prop_assert_eq!(vgic.redistributor(SGI_FRAME + offset % 0x20, 4, Some(value)), Ok(0));
                    } else {
                        prop_assert_eq!(vgic.distributor(offset, 4, Some(value)), Ok(0));
                    }
                }
                Step::Route(number, to) => {
                    prop_assert_eq!(vgic.distributor(0x6000 + 8 * number, 8, Some(to)), Ok(0));
                }
            }
            let mut listed = std::collections::BTreeSet::new();
            for (core, interface) in cores.iter().enumerate() {
                prop_assert!(interface.lists.used <= count);
                for value in &interface.lists.values[..interface.lists.used] {
                    if value >> 62 != 0 {
                        prop_assert!(listed.insert(key(core, interrupt(*value))), "listed twice");
                    }
                }
            }
        }
        let mut all = ready_again(vgic);
        for _ in 0..500 {
            for (core, interface) in cores.iter_mut().enumerate() {
                interface.sync(&mut all, core);
                if let Some(number) = interface.take() {
                    owed.remove(&key(core, number));
                        let left = raised.entry(key(core, number)).or_insert(0);
                        prop_assert!(*left > 0, "{} was taken too often", number);
                        *left -= 1;
                }
                interface.end();
            }
        }
        prop_assert!(owed.is_empty(), "never taken: {:?}", owed);
        for (core, interface) in cores.iter_mut().enumerate() {
            interface.sync(&mut all, core);
            prop_assert_eq!(interface.lists.used, 0);
        }
    }

    /// Registers hold what is written to them.
    #[test]
    fn enables_and_priorities_read_back(writes in proptest::collection::vec((32..96u64, any::<bool>(), any::<u8>()), 1..100)) {
        let mut vgic = Vgic::new(MAX_VCPUS);
        let mut model = [(false, 0u8); 96];
        for (number, enable, priority) in writes {
            let offset = if enable { ISENABLER } else { ICENABLER } + number / 32 * 4;
            write(&mut vgic, offset, 1 << (number % 32));
            prop_assert_eq!(vgic.distributor(IPRIORITYR + number, 1, Some(priority.into())), Ok(0));
            model[number as usize] = (enable, priority & 0xf8);
        }
        for (number, (enabled, priority)) in model.iter().enumerate().skip(32) {
            let word = vgic.distributor(ISENABLER + number as u64 / 32 * 4, 4, None).unwrap();
            prop_assert_eq!(word >> (number % 32) & 1 == 1, *enabled);
            prop_assert_eq!(vgic.distributor(IPRIORITYR + number as u64, 1, None), Ok(u64::from(*priority)));
        }
    }
}

/// The same books with everything enabled.
fn ready_again(mut vgic: Vgic) -> Vgic {
    for word in 1..3 {
        write(&mut vgic, ISENABLER + 4 * word, 0xffff_ffff);
    }
    for vcpu in 0..3 {
        let frame = vcpu * REDISTRIBUTOR_SIZE + SGI_FRAME;
        assert_eq!(vgic.redistributor(frame + ISENABLER, 4, Some(0xffff_ffff)), Ok(0));
    }
    vgic
}
