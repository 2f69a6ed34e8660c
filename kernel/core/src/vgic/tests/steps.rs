//! Anything in any order.

use super::*;

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
        (vcpu.clone(), 0..16u64, 0..8u64, any::<bool>()).prop_map(|(from, sgi, list, all)| {
            Step::Send(from, sgi << 24 | list | u64::from(all) << 40)
        }),
        vcpu.clone().prop_map(Step::Sync),
        vcpu.clone().prop_map(Step::Take),
        vcpu.prop_map(Step::End),
        (any::<bool>(), prop_oneof![0x100..0x200u64, 0x400..0x460u64], any::<u32>()).prop_map(
            |(private, offset, value)| Step::Register(private, offset & !3, value.into())
        ),
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
