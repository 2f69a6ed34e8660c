//! The objects against plain models, and every interleaving of a few tasks.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const FEW: usize = 6;

fn ignore(_task: usize, _priority: u8) {}

/// Priorities from first principles: own or of any that waits, directly or not.
fn expected(base: &[u8], waits_for: &[Option<usize>], task: usize) -> u8 {
    (0..base.len())
        .filter(|&from| {
            let mut at = Some(from);
            while let Some(now) = at.filter(|now| *now != task) {
                at = waits_for[now];
            }
            at == Some(task)
        })
        .map(|from| base[from])
        .max()
        .expect("itself at least")
}

proptest! {
    /// Any sequence of locks, unlocks, cancels and changes of priority on four mutexes keeps every
    /// task at the highest priority that reaches it, wakes the best waiter, and never lets a cycle
    /// come about.
    #[test]
    fn inheritance_is_what_it_should_be(calls in proptest::collection::vec((0u8..4, 0usize..FEW, 0usize..4, 0u8..32), 0..200)) {
        let mut priorities = Priorities::new();
        let mut applied = [0u8; TASKS];
        let mut mutexes = [const { Mutex::new() }; 4];
        let mut owner: [Option<usize>; 4] = [None; 4];
        let mut queue: [VecDeque<usize>; 4] = Default::default();
        let mut base = [1u8; FEW];
        (0..FEW).for_each(|task| priorities.begin(task, 1));
        applied[..FEW].fill(1);
        for (call, task, at, value) in calls {
            let waiting = queue.iter().position(|queue| queue.contains(&task));
            let mut apply = |task: usize, priority: u8| applied[task] = priority;
            match call {
                0 if waiting.is_none() => {
                    if mutexes[at].take(task) {
                        prop_assert_eq!(owner[at], None);
                        owner[at] = Some(task);
                    } else {
                        let mut next = owner[at];
                        while let Some(now) = next.filter(|now| *now != task) {
                            next = queue.iter().position(|queue| queue.contains(&now)).and_then(|at| owner[at]);
                        }
                        let result = mutexes[at].wait(task, &mut priorities, &mut apply);
                        if next == Some(task) {
                            prop_assert_eq!(result, Err(LockError::Deadlock));
                        } else {
                            prop_assert_eq!(result, Ok(()));
                            queue[at].push_back(task);
                        }
                    }
                }
                1 if owner[at] == Some(task) && waiting.is_none() => {
                    if mutexes[at].has_waiters() {
                        let next = mutexes[at].hand_over(&mut priorities, &mut apply);
                        let waits_for = links(&queue, &owner);
                        // The first of the highest; the links are those before the hand-over.
                        let best = queue[at].iter().rev().copied().max_by_key(|task| expected(&base, &waits_for, *task));
                        prop_assert_eq!(next, best);
                        queue[at].retain(|task| Some(*task) != best);
                        owner[at] = best;
                    } else {
                        prop_assert!(queue[at].is_empty());
                        mutexes[at].release();
                        owner[at] = None;
                    }
                }
                2 => {
                    let was = mutexes[at].cancel(task, &mut priorities, &mut apply);
                    prop_assert_eq!(was, queue[at].contains(&task));
                    queue[at].retain(|other| *other != task);
                }
                3 => {
                    base[task] = value;
                    priorities.set_base(task, value, &mut apply);
                }
                _ => {}
            }
            let waits_for = links(&queue, &owner);
            for task in 0..FEW {
                let wanted = expected(&base, &waits_for, task);
                prop_assert_eq!(priorities.effective(task), wanted);
                prop_assert_eq!(applied[task].max(base[task]), wanted);
            }
        }
    }

    /// A semaphore against a count and a list.
    #[test]
    fn semaphore_counts(calls in proptest::collection::vec((0u8..3, 0usize..FEW), 0..200), limit in 1u32..4) {
        let mut priorities = Priorities::new();
        let mut semaphore = Semaphore::new(0, limit);
        let mut count = 0;
        let mut waiters: VecDeque<usize> = VecDeque::new();
        for (task, priority) in (0..FEW).zip([0, 0, 1, 1, 2, 2]) {
            priorities.begin(task, priority);
        }
        for (call, task) in calls {
            match call {
                0 if !waiters.contains(&task) => {
                    let taken = semaphore.take();
                    prop_assert_eq!(taken, count > 0);
                    if taken {
                        count -= 1;
                    } else {
                        semaphore.wait(task, &mut priorities);
                        waiters.push_back(task);
                    }
                }
                1 => {
                    let best = waiters.iter().rev().copied().max_by_key(|task| task / 2);
                    let wanted = match best {
                        Some(best) => Ok(Some(best)),
                        None if count < limit => Ok(None),
                        None => Err(Overflow),
                    };
                    prop_assert_eq!(semaphore.give(&priorities), wanted);
                    if wanted == Ok(None) {
                        count += 1;
                    }
                    waiters.retain(|task| Some(*task) != best);
                }
                _ => {
                    let was = waiters.contains(&task);
                    prop_assert_eq!(semaphore.cancel(task), was);
                    waiters.retain(|other| *other != task);
                }
            }
            prop_assert_eq!(semaphore.has_waiters(), !waiters.is_empty());
            prop_assert!((0..FEW).all(|task| semaphore.waits(task) == waiters.contains(&task)));
            prop_assert_eq!(semaphore.count(), count);
        }
    }

    /// Nobody is left waiting for flags that are all there, and nobody is served without them; of
    /// equals the one that waits longest comes first.
    #[test]
    fn events_serve_exactly_whom_they_must(calls in proptest::collection::vec((0u8..3, 0usize..FEW, 1u32..16, any::<bool>(), any::<bool>()), 0..100)) {
        let mut events = Events::new();
        let mut priorities = Priorities::new();
        let mut arrived = VecDeque::new();
        let mut waiting: [Option<Wanted>; FEW] = [None; FEW];
        for (call, task, flags, all, clear) in calls {
            match call {
                0 if waiting[task].is_none() => {
                    let wanted = Wanted { flags, all, clear };
                    let before = events.flags();
                    match events.take(wanted) {
                        Some(found) => {
                            prop_assert_eq!(found, before & flags);
                            prop_assert_eq!(events.flags(), if clear { before & !found } else { before });
                        }
                        None => {
                            events.wait(task, wanted, &mut priorities);
                            arrived.retain(|other| *other != task);
                            arrived.push_back(task);
                            waiting[task] = Some(wanted);
                        }
                    }
                }
                1 => {
                    let now = events.flags() | flags;
                    let served = events.set(flags);
                    let first = arrived.iter().copied().find(|task| served.contains(*task));
                    prop_assert_eq!(priorities.best(served), first);
                    let mut left = now;
                    for (task, wanted) in waiting.iter_mut().enumerate() {
                        let Some(want) = *wanted else { continue };
                        let found = now & want.flags;
                        let enough = if want.all { found == want.flags } else { found != 0 };
                        prop_assert_eq!(served.contains(task), enough);
                        prop_assert_eq!(events.served(task), enough.then_some(found));
                        if enough {
                            *wanted = None;
                            left &= if want.clear { !found } else { u32::MAX };
                        }
                    }
                    prop_assert_eq!(events.flags(), left);
                }
                _ => {
                    prop_assert_eq!(events.cancel(task), waiting[task].take().is_some());
                }
            }
        }
    }
}

fn links(queue: &[VecDeque<usize>; 4], owner: &[Option<usize>; 4]) -> [Option<usize>; FEW] {
    core::array::from_fn(|task| {
        queue.iter().position(|queue| queue.contains(&task)).and_then(|at| owner[at])
    })
}

#[test]
fn a_chain_is_bounded() {
    let mut priorities = Priorities::new();
    let mut mutexes: [Mutex; LONGEST_CHAIN + 1] = Default::default();
    for (task, mutex) in mutexes.iter_mut().enumerate() {
        assert!(mutex.take(task));
    }
    // Task n + 1 waits for task n.
    for (task, mutex) in mutexes.iter_mut().enumerate().take(LONGEST_CHAIN) {
        assert_eq!(mutex.wait(task + 1, &mut priorities, &mut ignore), Ok(()));
    }
    let last = &mut mutexes[LONGEST_CHAIN];
    assert_eq!(last.wait(20, &mut priorities, &mut ignore), Err(LockError::ChainTooLong));
    assert_eq!(last.wait(0, &mut priorities, &mut ignore), Err(LockError::Deadlock));
    assert!(!last.has_waiters());
}

/// One step of a task in the exhaustive search below.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    /// About to take, give up being impossible.
    Start,
    /// In the set; about to park.
    Waiting,
    /// In the kernel's park, without a token.
    Parked,
    /// Woken; about to look.
    Woken,
    Done,
}

/// Every interleaving of two takers, one of which may give up at any time, and an interrupt handler
/// that gives twice: nobody sleeps while something is there for it, and nothing is lost. The steps
/// are those of the kernel's semaphore, each under the object's lock, and the kernel's park and
/// unpark with their remembered wake-up.
#[test]
fn no_interleaving_loses_a_wake_up() {
    #[derive(Clone, PartialEq, Eq, Hash, Debug)]
    struct World {
        count: u32,
        waiting: u64,
        at: [At; 2],
        notified: [bool; 2],
        /// Given under the lock, the wake-up still to come.
        to_wake: Vec<usize>,
        gives: u32,
        got: [bool; 2],
        gave_up: bool,
    }
    let start = World {
        count: 0,
        waiting: 0,
        at: [At::Start; 2],
        notified: [false; 2],
        to_wake: Vec::new(),
        gives: 0,
        got: [false; 2],
        gave_up: false,
    };
    // The real object is made anew from the world for each step, so the search can branch.
    fn object(world: &World) -> (Semaphore, Priorities) {
        let mut priorities = Priorities::new();
        let mut semaphore = Semaphore::new(world.count, 2);
        (0..2)
            .filter(|task| world.waiting >> task & 1 == 1)
            .for_each(|task| semaphore.wait(task, &mut priorities));
        (semaphore, priorities)
    }
    fn keep(world: &mut World, semaphore: &Semaphore) {
        world.count = semaphore.count();
        world.waiting = (0..2).map(|task| u64::from(semaphore.waits(task)) << task).sum();
    }
    let mut seen = std::collections::HashSet::new();
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        let mut next = Vec::new();
        for task in 0..2 {
            let mut world = world.clone();
            let (mut semaphore, mut priorities) = object(&world);
            match world.at[task] {
                At::Start => {
                    if semaphore.take() {
                        world.got[task] = true;
                        world.at[task] = At::Done;
                    } else {
                        semaphore.wait(task, &mut priorities);
                        world.at[task] = At::Waiting;
                    }
                }
                At::Waiting if world.notified[task] => {
                    world.notified[task] = false;
                    world.at[task] = At::Woken;
                }
                At::Waiting => world.at[task] = At::Parked,
                At::Woken if semaphore.waits(task) => world.at[task] = At::Waiting,
                At::Woken => {
                    world.got[task] = true;
                    world.at[task] = At::Done;
                }
                At::Parked | At::Done => continue,
            }
            keep(&mut world, &semaphore);
            next.push(world);
        }
        // Task 1 runs into its time limit.
        if matches!(world.at[1], At::Parked | At::Woken) {
            let mut world = world.clone();
            let (mut semaphore, _) = object(&world);
            if semaphore.cancel(1) {
                world.gave_up = true;
            } else {
                world.got[1] = true;
            }
            world.at[1] = At::Done;
            keep(&mut world, &semaphore);
            next.push(world);
        }
        if world.gives < 2 {
            let mut world = world.clone();
            let (mut semaphore, priorities) = object(&world);
            if let Some(task) = semaphore.give(&priorities).expect("below the limit") {
                world.to_wake.push(task);
            }
            world.gives += 1;
            keep(&mut world, &semaphore);
            next.push(world);
        }
        for index in 0..world.to_wake.len() {
            let mut world = world.clone();
            let task = world.to_wake.remove(index);
            match world.at[task] {
                At::Parked => world.at[task] = At::Woken,
                At::Done => {}
                _ => world.notified[task] = true,
            }
            next.push(world);
        }
        if next.is_empty() {
            let got: u32 = world.got.iter().map(|got| u32::from(*got)).sum();
            assert_eq!(world.at, [At::Done; 2], "a task sleeps for ever: {world:?}");
            assert_eq!(got + u32::from(world.gave_up), 2, "{world:?}");
            assert_eq!(got + world.count, 2, "one was lost or doubled: {world:?}");
        }
        open.extend(next);
    }
    assert!(seen.len() > 100, "the search went nowhere: {} states", seen.len());
}
