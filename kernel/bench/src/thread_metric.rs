//! The kernels of the Thread-Metric suite (Express Logic; kept with Eclipse ThreadX and Zephyr):
//! what the services that every RTOS has cost, each used as the suite uses it. The suite counts
//! rounds in 30 seconds of a board; here a fixed number of rounds is counted in instructions on one
//! core, everything included that runs meanwhile: loop, timer, scheduler.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bale_arch::counter;

use super::counting::overhead;
use super::report::Hundredths;
use super::workbench::Workbench;
use super::{BenchError, Report};
use bale_rt::sync::{Queue, Semaphore};
use bale_rt::{clock, cores, interrupts, task, test_interrupt};

type Result = core::result::Result<(), BenchError<'static>>;
type Entry = extern "C" fn(u64) -> !;

/// Rounds of each kernel.
const ROUNDS: u32 = 2_000;
/// Priority of the first of tasks that wake each other.
const LOWEST: u8 = 3;
/// Tasks of the cooperative and the preemptive kernel.
const TASKS: u32 = 5;
/// Words of a message: 16 bytes.
const MESSAGE: usize = 4;
/// Words of the array of the kernel without a service.
const WORDS: usize = 1024;
/// Bytes of the object of the memory kernel.
const OBJECT: usize = 128;
const LIMIT_US: u64 = 60_000_000;

/// Rounds that are left; the task that finds none gives `ENDED`.
static LEFT: AtomicU32 = AtomicU32::new(0);
static ENDED: Semaphore = Semaphore::new(0, TASKS);
/// The counter at the first round and behind the last.
static BEGAN: AtomicU32 = AtomicU32::new(0);
static OVER: AtomicU32 = AtomicU32::new(0);
/// Where the chain of the preemptive kernel goes on, a place for each task.
static CHAIN: [Semaphore; TASKS as usize] = [const { Semaphore::new(0, 1) }; TASKS as usize];
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// One more round to go? Both ends are put down.
fn another() -> bool {
    let left = LEFT.load(Ordering::Relaxed);
    if left == ROUNDS {
        BEGAN.store(counter::read(), Ordering::Relaxed);
    } else if left == 0 {
        // Only the first that finds none ends the count.
        let _ = OVER.compare_exchange(0, counter::read(), Ordering::Relaxed, Ordering::Relaxed);
        return false;
    }
    LEFT.store(left - 1, Ordering::Relaxed);
    true
}

fn end() -> ! {
    let _ = ENDED.give();
    task::exit()
}

/// Runs these tasks to their end and reports events a round.
fn measure(report: &Report, name: &str, tasks: &[(u8, Entry)]) -> Result {
    overhead().ok_or(BenchError::NoCounter)?;
    LEFT.store(ROUNDS, Ordering::Relaxed);
    OVER.store(0, Ordering::Relaxed);
    let core = cores::this_unpinned().index();
    for (index, &(priority, entry)) in tasks.iter().enumerate() {
        task::spawn("bench", core, priority, entry, index as u64)
            .map_err(|_| BenchError::NoTask)?;
    }
    let deadline = clock::now() + clock::from_us(LIMIT_US);
    if !tasks.iter().all(|_| ENDED.take_until(deadline)) {
        return Err(BenchError::Broken("a task of the benchmark did not end"));
    }
    let taken = OVER.load(Ordering::Relaxed).wrapping_sub(BEGAN.load(Ordering::Relaxed));
    let unit = report.units().per_operation;
    report.figure(name, Hundredths::ratio(taken.into(), ROUNDS.into()), unit, ROUNDS.into());
    Ok(())
}

/// Five tasks of one priority that yield in turn; a round is a yield.
pub(super) fn cooperative(report: &mut Report) -> Result {
    extern "C" fn yielding(_index: u64) -> ! {
        while another() {
            task::yield_now();
        }
        end()
    }
    measure(report, "tm-cooperative", &[(task::VCPU, yielding as Entry); TASKS as usize])
}

/// Five tasks, each more urgent than the one before, which it wakes and is preempted by; a round
/// goes through all.
pub(super) fn preemptive(report: &mut Report) -> Result {
    extern "C" fn waking(index: u64) -> ! {
        let index = index as usize;
        loop {
            if index == 0 {
                if !another() {
                    break;
                }
            } else {
                CHAIN[index].take();
            }
            if let Some(next) = CHAIN.get(index + 1) {
                let _ = next.give();
            }
            if index != 0 && LEFT.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
        end()
    }
    let tasks = core::array::from_fn::<_, { TASKS as usize }, _>(|index| {
        (LOWEST + index as u8, waking as Entry)
    });
    measure(report, "tm-preemptive", &tasks)
}

/// An interrupt whose handler gives a semaphore, which the task that raised it takes.
pub(super) fn interrupt(report: &mut Report) -> Result {
    extern "C" fn raising(_index: u64) -> ! {
        let core = cores::this_unpinned().index();
        while another() {
            interrupts::raise(core, interrupts::TEST);
            test_interrupt::ARRIVED.take();
        }
        end()
    }
    while test_interrupt::ARRIVED.try_take() {}
    measure(report, "tm-interrupt", &[(task::VCPU, raising as Entry)])
}

/// An interrupt whose handler wakes a more urgent task, which preempts the one that raised it.
pub(super) fn interrupt_preemption(report: &mut Report) -> Result {
    extern "C" fn urgent(_index: u64) -> ! {
        for _ in 0..ROUNDS {
            test_interrupt::ARRIVED.take();
            TAKEN.fetch_add(1, Ordering::Relaxed);
        }
        end()
    }
    extern "C" fn raising(_index: u64) -> ! {
        let core = cores::this_unpinned().index();
        let mut taken = TAKEN.load(Ordering::Relaxed);
        while another() {
            interrupts::raise(core, interrupts::TEST);
            taken += 1;
            // The interrupt is taken a few instructions behind its raising.
            while TAKEN.load(Ordering::Relaxed) != taken {
                core::hint::spin_loop();
            }
        }
        end()
    }
    while test_interrupt::ARRIVED.try_take() {}
    TAKEN.store(0, Ordering::Relaxed);
    measure(
        report,
        "tm-interrupt-preemption",
        &[(task::DRAIN, urgent as Entry), (task::VCPU, raising as Entry)],
    )
}

/// A message of 16 bytes sent to a queue and received from it by the same task.
pub(super) fn message(report: &mut Report) -> Result {
    static QUEUE: Queue<[u32; MESSAGE], 10> = Queue::new();
    extern "C" fn sending(_index: u64) -> ! {
        while another() {
            QUEUE.send(core::hint::black_box([LEFT.load(Ordering::Relaxed); MESSAGE]));
            core::hint::black_box(QUEUE.receive());
        }
        end()
    }
    measure(report, "tm-message", &[(task::VCPU, sending as Entry)])
}

/// No service at all: sums over an array, against which the rounds of the others are held where
/// cores differ.
pub(super) fn basic(report: &mut Report) -> Result {
    extern "C" fn computing(_index: u64) -> ! {
        let mut words = [0u32; WORDS];
        let mut turn = 0u32;
        while another() {
            for word in &mut words {
                *word ^= word.wrapping_add(turn);
                turn = turn.wrapping_add(1);
            }
            core::hint::black_box(&mut words);
        }
        end()
    }
    measure(report, "tm-basic", &[(task::VCPU, computing as Entry)])
}

/// A semaphore taken and given by one task.
pub(super) fn synchronization(report: &mut Report) -> Result {
    static FREE: Semaphore = Semaphore::new(1, 1);
    extern "C" fn taking(_index: u64) -> ! {
        while another() {
            FREE.take();
            let _ = FREE.give();
        }
        end()
    }
    measure(report, "tm-synchronization", &[(task::VCPU, taking as Entry)])
}

/// An object of 128 bytes taken from the pool and freed.
pub(super) fn memory(report: &mut Report) -> Result {
    let bench = Workbench::new(report, 1)?;
    overhead().ok_or(BenchError::NoCounter)?;
    let mut taken = 0;
    for _ in 0..ROUNDS {
        let (events, outcome) =
            bench.count(|| bench.pool.malloc(OBJECT).and_then(|handle| bench.pool.free(handle)));
        outcome?;
        taken += events;
    }
    let unit = report.units().per_operation;
    report.figure("tm-memory", Hundredths::ratio(taken, ROUNDS.into()), unit, ROUNDS.into());
    Ok(())
}
