//! Time, and waking tasks at a time.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_arch::timer;

/// Ticks of the counter at boot: log timestamps and uptime start here.
static START: AtomicU64 = AtomicU64::new(0);

/// Seconds from 1970 to the boot; 0 if nobody knows.
static BOOT_SECONDS: AtomicU64 = AtomicU64::new(0);

/// The machine's clock says that it is so many seconds after the beginning of 1970, UTC. Once, at
/// boot.
pub fn set_of_day(seconds: u64) {
    BOOT_SECONDS.store(seconds.saturating_sub(uptime_us() / 1_000_000), Ordering::Relaxed);
}

/// Seconds since the beginning of 1970, UTC, if the machine has a clock that knows.
pub fn of_day() -> Option<u64> {
    match BOOT_SECONDS.load(Ordering::Relaxed) {
        0 => None,
        boot => Some(boot + uptime_us() / 1_000_000),
    }
}

/// Takes the moment of boot.
pub fn start() {
    START.store(timer::now(), Ordering::Relaxed);
}

/// Ticks now.
#[inline]
pub fn now() -> u64 {
    timer::now()
}

/// Microseconds since boot.
pub fn uptime_us() -> u64 {
    to_us(now().saturating_sub(START.load(Ordering::Relaxed)))
}

/// For how long something is waited for that should not take long.
///
/// Of what passes between two looks, [`Patience::STEP_US`] count at most: a machine that stands
/// still as a whole for a moment, or whose cores wait for a busy host, holds that against nobody.
/// But it ends by the clock too, after [`Patience::STRETCH`] times as long and
/// [`Patience::GRACE_US`] more, however seldom somebody looks.
pub struct Patience {
    left: u64,
    looked: u64,
    end: u64,
}

impl Patience {
    /// What counts of the time between two looks, at most.
    const STEP_US: u64 = 1_000;
    /// Times as long that it lasts by the clock.
    const STRETCH: u64 = 3;
    /// What is added to that.
    const GRACE_US: u64 = 10_000_000;

    /// From now on, for so many microseconds.
    pub fn of_us(us: u64) -> Self {
        let looked = now();
        let longest = us.saturating_mul(Self::STRETCH).saturating_add(Self::GRACE_US);
        Self { left: from_us(us), looked, end: looked.saturating_add(from_us(longest)) }
    }

    /// A look: whether it is over.
    pub fn is_over(&mut self) -> bool {
        let now = now();
        let passed = (now - self.looked).min(from_us(Self::STEP_US));
        self.looked = now;
        self.left = self.left.saturating_sub(passed);
        self.left == 0 || now >= self.end
    }
}

/// Ticks in a second.
pub fn frequency() -> u64 {
    timer::frequency()
}

/// Ticks in so many microseconds.
pub fn from_us(us: u64) -> u64 {
    (u128::from(us) * u128::from(timer::frequency()) / 1_000_000) as u64
}

/// Microseconds in so many ticks.
pub fn to_us(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000 / u128::from(timer::frequency().max(1))) as u64
}
