//! Machines that share a core get time by their shares, whatever they do; and what the kernel has
//! to do for itself goes on beside them.

use bale_abi::mode;
use bale_core::fair_share::SHARES;
use bale_core::vm_description::CpuLimit;
use bale_reclaim::{compactor, pool};
use bale_rt::clock::Patience;
use bale_rt::task::{self, groups};
use bale_rt::{clock, cores};
use bale_vmm as vm;
use zsmalloc::Handle;

use super::scheduling::eventually;
use super::{Failure, Verdict, ensure, failure};

/// A stretch: long enough for some hundred turns.
const WATCHED_US: u64 = 600_000;
/// Stretches after which it does not become right any more.
const STRETCHES: usize = 8;
/// Ticks until a machine has begun, at the latest.
const BEGUN_US: u64 = 20_000_000;
/// Spinning time of the crowd between two rests: less than a turn, so that it is seldom seen ready.
const SHORT_US: u64 = 1_500;

/// A crowd and a machine with one spinning virtual CPU, on the same core.
struct Pair {
    core: usize,
    crowd: usize,
    single: usize,
}

impl Pair {
    fn start(spin_us: u64) -> Result<Self, Failure> {
        let core = cores::last_online();
        let start = |mode, steps| {
            vm::start("swapper", mode, core, 7, steps)
                .map_err(|error| failure(format_args!("{error}")))
        };
        let pair =
            Self { core, crowd: start(mode::CROWD, spin_us)?, single: start(mode::ENDLESS, 0)? };
        let mut patience = Patience::of_us(BEGUN_US);
        let crowd_runs = || vm::vcpus(pair.crowd).all(|(_, exits)| exits > 0);
        while !crowd_runs() || groups::used(pair.single, core) == 0 {
            if patience.is_over() {
                pair.end()?;
                return Err(failure(format_args!("the machines did not begin")));
            }
            task::sleep_us(1_000);
        }
        Ok(pair)
    }

    fn used(&self) -> [u64; 2] {
        [self.crowd, self.single].map(|index| groups::used(index, self.core))
    }

    /// Percent of the core's time from now on that the crowd takes, and the single one.
    fn percent(&self) -> [u64; 2] {
        let (begun, before) = (clock::now(), self.used());
        task::sleep_us(WATCHED_US);
        let (after, passed) = (self.used(), clock::now() - begun);
        core::array::from_fn(|place| (after[place] - before[place]) * 100 / passed)
    }

    /// Fails unless the parts of the core's time become so. A host that stops an emulated core at
    /// the end of a stretch makes that stretch look wrong, one after the other it does not.
    fn comes_to(&self, what: &str, so: impl Fn(u64, u64) -> bool) -> Verdict {
        let mut last = [0; 2];
        for _ in 0..STRETCHES {
            last = self.percent();
            if so(last[0], last[1]) {
                return Ok(());
            }
        }
        let [crowd, single] = last;
        Err(failure(format_args!("{crowd} % for eight, {single} % for one: {what}")))
    }

    fn end(self) -> Verdict {
        for index in [self.crowd, self.single] {
            ensure!(vm::kill(index), "vm {index} does not run");
            let _ = vm::wait(index);
        }
        Ok(())
    }
}

/// Eight virtual CPUs of one machine beside one of another.
pub(super) fn machines_get_equal_time() -> Verdict {
    let pair = Pair::start(0)?;
    let equal = pair.comes_to("not equal", |crowd, single| {
        crowd.abs_diff(single) <= 10 && crowd + single >= 70
    });
    pair.end()?;
    equal
}

/// Eight that rest often, and so are first in line when they wake.
pub(super) fn rests_win_nothing() -> Verdict {
    let pair = Pair::start(SHORT_US)?;
    let kept = pair.comes_to("rests win", |crowd, single| single + 10 >= crowd && single >= 30);
    pair.end()?;
    kept
}

pub(super) fn shares_and_limits_hold() -> Verdict {
    let pair = Pair::start(0)?;
    let held = shares_and_limits(&pair);
    pair.end()?;
    held
}

fn shares_and_limits(pair: &Pair) -> Verdict {
    ensure!(vm::set_shares(pair.single, 3 * SHARES), "it does not run");
    pair.comes_to("100 shares to 300", |crowd, single| {
        single.abs_diff(3 * crowd) <= 24 && crowd + single >= 70
    })?;
    let limit = CpuLimit { budget_us: 5_000, period_us: 50_000 };
    ensure!(vm::set_cpu_limit(pair.single, Some(limit)), "it does not run");
    pair.comes_to("the one has 10 %", |crowd, single| single <= 12 && crowd >= 60)?;
    ensure!(vm::set_cpu_limit(pair.single, None), "it does not run");
    pair.comes_to("the limit is gone", |_, single| single >= 60)
}

/// Objects that leave many zspages part-filled.
const OBJECTS: usize = 4_000;
const SIZE: usize = 600;

/// The compactor gives pages back though guests want its core all the time.
pub(super) fn housekeeping_goes_on() -> Verdict {
    let Some(core) = task::summaries().find(|task| task.name == "compact").map(|task| task.core)
    else {
        return Err(failure(format_args!("there is no compactor")));
    };
    let index = vm::start("swapper", mode::ENDLESS, core, 7, 0)
        .map_err(|error| failure(format_args!("{error}")))?;
    let runs = eventually(|| vm::vcpus(index).all(|(_, exits)| exits > 0));
    let pool = pool::pool();
    let mut kept: heapless::Vec<Handle, { OBJECTS / 8 }> = heapless::Vec::new();
    for number in 0..OBJECTS {
        let handle = pool.malloc(SIZE).map_err(|error| failure(format_args!("{error:?}")))?;
        // Nobody else has the handles.
        if number % 8 != 0 {
            pool.free(handle).map_err(|error| failure(format_args!("{error:?}")))?;
        } else if kept.push(handle).is_err() {
            return Err(failure(format_args!("too many objects")));
        }
    }
    let before = pool.compactable_pages();
    compactor::call();
    let done = eventually(|| pool.compactable_pages() * 8 <= pool.pages());
    let freed = kept.into_iter().all(|handle| pool.free(handle).is_ok());
    ensure!(vm::kill(index), "it does not run");
    let _ = vm::wait(index);
    ensure!(runs && freed, "the machine did not begin, or an object was lost");
    ensure!(done, "of {before} pages {} could be given back still", pool.compactable_pages());
    Ok(())
}
