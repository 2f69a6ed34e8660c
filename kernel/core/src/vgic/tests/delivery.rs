//! What a guest is given, when and how often.

use super::*;

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
        lists[vcpu].values[..lists[vcpu].used]
            .iter()
            .map(|value| interrupt(*value))
            .collect::<Vec<_>>()
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
