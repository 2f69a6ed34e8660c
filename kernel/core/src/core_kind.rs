//! Kinds of cores on machines that have more than one: which are meant for speed, which for
//! economy.
//!
//! The kind comes from MIDR_EL1 (DDI 0487, D19.2): implementer and part number.

use heapless::Vec;

use crate::vm_description::{Wrong, core_list};

/// What a core is meant for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CoreKind {
    /// Speed, or not known.
    #[default]
    Fast,
    /// Economy: the small cores of Arm's pairs.
    Small,
}

/// Implementer: Arm.
const ARM: u64 = 0x41;
/// Part numbers of Arm's small cores: Cortex-A34, A53, A35, A55, A510, A520 (their technical
/// reference manuals, MIDR_EL1).
const SMALL: [u64; 6] = [0xd02, 0xd03, 0xd04, 0xd05, 0xd46, 0xd80];

impl CoreKind {
    /// From a core's MIDR_EL1.
    pub fn from_midr(midr: u64) -> Self {
        if midr >> 24 & 0xff == ARM && SMALL.contains(&(midr >> 4 & 0xfff)) {
            Self::Small
        } else {
            Self::Fast
        }
    }
}

/// Cores by index that the boot arguments call small (`small=8-11`), so that placement can be
/// rehearsed where all are of one kind.
///
/// # Errors
/// The value is no list.
pub fn called_small(arguments: &str) -> Result<Vec<u8, 16>, Wrong> {
    let value = arguments.split_whitespace().find_map(|word| word.strip_prefix("small="));
    value.map_or(Ok(Vec::new()), core_list)
}

/// Where what belongs to a core is done that need not be done on it: on small cores in turn, if
/// there are any beside fast ones; at home otherwise. The cores that are online are given by kind,
/// in the order of their indexes.
pub fn helper_of(core: usize, online: impl Iterator<Item = (usize, CoreKind)> + Clone) -> usize {
    let small =
        || online.clone().filter(|(_, kind)| *kind == CoreKind::Small).map(|(index, _)| index);
    let fast =
        || online.clone().filter(|(_, kind)| *kind == CoreKind::Fast).map(|(index, _)| index);
    let Some(place) = fast().position(|index| index == core) else { return core };
    let count = small().count();
    small().nth(place % count.max(1)).unwrap_or(core)
}

#[cfg(test)]
mod tests {
    use super::*;
    use CoreKind::{Fast, Small};

    #[test]
    fn the_orion_o6_has_both() {
        assert_eq!(CoreKind::from_midr(0x410f_d801), Small, "Cortex-A520 r0p1");
        assert_eq!(CoreKind::from_midr(0x410f_d811), Fast, "Cortex-A720 r0p1");
        assert_eq!(CoreKind::from_midr(0x410f_d083), Fast, "Cortex-A72, QEMU's");
        assert_eq!(CoreKind::from_midr(0x510f_d801), Fast, "another maker's number");
    }

    #[test]
    fn small_cores_help_fast_ones_in_turn() {
        let kinds = [Fast, Small, Fast, Small, Fast];
        let online = kinds.into_iter().enumerate();
        let helpers: std::vec::Vec<usize> =
            (0..5).map(|core| helper_of(core, online.clone())).collect();
        assert_eq!(helpers, [1, 1, 3, 3, 1]);
    }

    #[test]
    fn cores_of_one_kind_help_themselves() {
        for kind in [Fast, Small] {
            let online = (0..4).map(|index| (index, kind));
            assert!((0..4).all(|core| helper_of(core, online.clone()) == core));
        }
    }

    #[test]
    fn a_rehearsal_is_asked_for() {
        assert_eq!(called_small("exec small=1,3-4 noguest").expect("a list").as_slice(), [1, 3, 4]);
        assert!(called_small("exec").expect("none").is_empty());
        assert_eq!(called_small("small=x"), Err(Wrong::Cores));
    }
}
