//! Random numbers: none comes twice, and what they are made of was there.

use super::{Verdict, ensure};
use bale_core::entropy::Found;
use bale_io::println;
use bale_rt::random;

pub(super) fn no_number_comes_twice() -> Verdict {
    let mut numbers = [[0; 8]; 64];
    for pair in numbers.chunks_mut(2) {
        random::fill(pair.as_flattened_mut());
    }
    // The host holds this one against another boot's. It says nothing about any other.
    println!("drawn {:016x}", u64::from_le_bytes(numbers[0]));
    numbers.sort_unstable();
    let same = numbers.array_windows().find(|[one, next]| one == next);
    ensure!(same.is_none(), "{same:x?}");
    let ones: u32 = numbers.as_flattened().iter().map(|byte| byte.count_ones()).sum();
    // Of 4096 bits, half: seven times the standard deviation is allowed.
    ensure!((1824..=2272).contains(&ones), "{ones} bits are set");
    let found = random::found().unwrap_or_default();
    ensure!(Found::is_enough(found), "too little was gathered: {found:?}");
    Ok(())
}
