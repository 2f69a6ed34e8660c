//! What guests are offered of the cores: the identification registers, as far as all cores have
//! what they show.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::branches;
use bale_arch::{pmu, vcpu as hardware};
use bale_core::guest_debug::{Counts, DebugRegisters};
use bale_core::guest_image::Granule;
use bale_core::guest_pmu::{MOST_COUNTERS, Offered};
use bale_core::psci::Mitigations;
use bale_core::system_registers::{DFR0_PLACE as DFR0, SHOWN, common, identification, without_pmu};

/// What all cores offer, in the order of [`SHOWN`]; written by each core as it comes up.
static OFFERED: [AtomicU64; SHOWN.len()] = [const { AtomicU64::new(NOT_YET) }; SHOWN.len()];
/// No core has been asked: a value that no register has.
const NOT_YET: u64 = u64::MAX;

/// Event counters that every core has for guests, and what each of them counts; 0 of cores without
/// PMUv3.
static COUNTERS: AtomicUsize = AtomicUsize::new(MOST_COUNTERS);
static EVENTS: [AtomicU64; 2] = [const { AtomicU64::new(u64::MAX) }; 2];

/// `ID_AA64PFR0_EL1`.
const PFR0: (u8, u8) = (4, 0);
/// `ID_AA64PFR1_EL1`.
const PFR1: (u8, u8) = (4, 1);
/// `ID_AA64ISAR2_EL1`.
const ISAR2: (u8, u8) = (6, 2);
/// `ID_AA64MMFR0_EL1`.
const MMFR0: (u8, u8) = (7, 0);
/// `ID_AA64MMFR1_EL1`.
const MMFR1: (u8, u8) = (7, 1);
/// `ID_AA64MMFR2_EL1`.
const MMFR2: (u8, u8) = (7, 2);

/// Takes this core's identification registers into what is offered to guests. Once on each core.
pub fn learn_identification() {
    branches::begin();
    for (place, (crm, op2)) in OFFERED.iter().zip(SHOWN) {
        let here = hardware::identification(crm, op2);
        // Whoever comes second sees the first one's value: nothing is lost between two cores.
        let _ = place.fetch_update(Ordering::AcqRel, Ordering::Acquire, |known| {
            Some(if known == NOT_YET { here } else { common(crm, op2, known, here) })
        });
    }
    // As the guest would see it alone: no field of another kind of PMU.
    let (crm, op2) = DFR0;
    let here = identification(crm, op2, hardware::identification(crm, op2));
    let counters = if here == without_pmu(here) { 0 } else { pmu::event_counters() };
    // Relaxed: a machine is started once every core that it may run on is online.
    COUNTERS.fetch_min(counters, Ordering::Relaxed);
    if counters > 0 {
        for (all, here) in EVENTS.iter().zip(pmu::common_events()) {
            all.fetch_and(here, Ordering::Relaxed);
        }
    }
}

/// What all cores have, shown to guests or not.
fn common_to_all(register: (u8, u8)) -> u64 {
    let place = SHOWN.iter().position(|shown| *shown == register);
    place.map_or(0, |place| OFFERED[place].load(Ordering::Acquire))
}

/// What a guest reads in an identification register.
pub(super) fn register(crm: u8, op2: u8) -> u64 {
    let value = identification(crm, op2, common_to_all((crm, op2)));
    if (crm, op2) == DFR0 && performance_monitors().is_none() { without_pmu(value) } else { value }
}

/// Performance monitors that guests are offered; `None` where a core has none.
pub(super) fn performance_monitors() -> Option<Offered> {
    let counters = COUNTERS.load(Ordering::Relaxed);
    let events = EVENTS.each_ref().map(|events| events.load(Ordering::Relaxed));
    (counters > 0).then_some(Offered { counters, events })
}

/// Break- and watchpoints that guests are offered, and those that this core has.
pub(super) fn debug_registers() -> DebugRegisters {
    let (crm, op2) = DFR0;
    DebugRegisters::new(
        Counts::of(common_to_all(DFR0)),
        Counts::of(hardware::identification(crm, op2)),
    )
}

/// What every core has against what it speculates.
pub(super) fn mitigations() -> Mitigations {
    let [pfr0, pfr1, isar2, mmfr1] = [PFR0, PFR1, ISAR2, MMFR1].map(common_to_all);
    Mitigations::new(pfr0, pfr1, isar2, mmfr1)
}

/// Whether every core has FEAT_S2FWB.
pub(super) fn has_forced_write_back() -> bool {
    common_to_all(MMFR2) >> 40 & 0xf != 0
}

/// Whether guests find pages of this size on every core.
pub(super) fn offers(granule: Granule) -> bool {
    granule.is_offered(register(MMFR0.0, MMFR0.1))
}

/// Whether every core has FEAT_PAN.
pub(super) fn has_pan() -> bool {
    register(MMFR1.0, MMFR1.1) >> 20 & 0xf != 0
}
