//! Interleavings, checked by loom: `RUSTFLAGS="--cfg bale_loom" cargo test -p bale-core --lib
//! model`.

use loom::sync::Arc;
use loom::thread;

use super::{ENTRY, Ordering, Power};

type TurnOn = fn(&Power, usize, u64, u64) -> bool;

/// Two turn a third one on while it goes off: each success is a life of its own, with the entry of
/// whoever had it.
fn turn_on_at_once(turn_on: TurnOn) {
    loom::model(move || {
        let power = Arc::new(Power::new());
        assert!(power.turn_on(0, 1, 1));
        let callers = [10u64, 20].map(|entry| {
            let power = Arc::clone(&power);
            thread::spawn(move || u64::from(turn_on(&power, 0, entry, entry + 1)))
        });
        let mut lives = 0;
        for _ in 0..3 {
            if let Some((entry, context)) = power.take(0) {
                let whole = matches!((entry, context), (1, 1) | (10, 11) | (20, 21));
                assert!(whole, "an entry of nobody's");
                lives += 1;
                power.turn_off(0);
            }
        }
        let asked: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        lives += u64::from(power.take(0).is_some());
        assert_eq!(lives, 1 + asked, "a success without a life");
    });
}

#[test]
fn each_success_is_a_life() {
    turn_on_at_once(Power::turn_on);
}

/// Broken on purpose: looks whether it is off, and turns it on in another step.
#[test]
#[should_panic(expected = "a success without a life")]
fn two_steps_would_let_two_succeed() {
    turn_on_at_once(|power, number, entry, context| {
        let off = power.word.load(Ordering::Acquire) >> number & 1 == 0;
        off && {
            power.word.fetch_or(1 << number, Ordering::Acquire);
            power.entries[number][0].store(entry, Ordering::Relaxed);
            power.entries[number][1].store(context, Ordering::Relaxed);
            power.word.fetch_or(1 << (ENTRY + number as u32), Ordering::Release);
            true
        }
    });
}

/// Broken on purpose: says that the entry is there before it is whole.
#[test]
#[should_panic(expected = "an entry of nobody's")]
fn an_entry_said_too_early_would_be_another_ones() {
    turn_on_at_once(|power, number, entry, context| {
        let off = power.word.fetch_or(1 << number, Ordering::Acquire) >> number & 1 == 0;
        if off {
            power.word.fetch_or(1 << (ENTRY + number as u32), Ordering::Release);
            power.entries[number][0].store(entry, Ordering::Relaxed);
            power.entries[number][1].store(context, Ordering::Relaxed);
        }
        off
    });
}

/// One goes off while the other turns it on and goes off as well: nobody is told to be the last
/// while one is coming.
#[test]
fn nobody_is_the_last_while_one_comes() {
    loom::model(|| {
        let power = Arc::new(Power::new());
        assert!(power.turn_on(0, 1, 1) && power.turn_on(1, 1, 1));
        assert!(power.take(0).is_some() && power.take(1).is_some());
        let other = {
            let power = Arc::clone(&power);
            thread::spawn(move || (power.turn_on(0, 2, 2), power.turn_off(1)))
        };
        let last = power.turn_off(0);
        let (came, other_last) = other.join().unwrap();
        assert_eq!(came, power.take(0).is_some());
        assert!(!came || !last && !other_last, "the machine would end while one comes");
        assert!(came || last != other_last);
    });
}
