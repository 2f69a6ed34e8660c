//! Cases, run side by side, and what became of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// After so long a silence it is said what is being waited for.
const SILENCE: Duration = Duration::from_secs(20);

/// What became of a case; one case may stand for several tests of another tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

/// A finished case: its counts, and what to show if something failed.
pub(super) struct Outcome {
    pub(super) counts: Counts,
    pub(super) detail: String,
}

impl Outcome {
    /// One test.
    pub(super) fn of(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => {
                Self { counts: Counts { passed: 1, ..Counts::default() }, detail: String::new() }
            }
            Err(detail) => Self { counts: Counts { failed: 1, ..Counts::default() }, detail },
        }
    }
}

impl Outcome {
    /// One test that cannot be run here, and why.
    pub(super) fn skipped(why: &str) -> Self {
        Self { counts: Counts { skipped: 1, ..Counts::default() }, detail: why.to_owned() }
    }
}

/// Something to run.
pub(super) struct Case<'a> {
    pub(super) name: String,
    pub(super) run: Box<dyn Fn() -> Outcome + Send + Sync + 'a>,
}

/// The sum.
#[derive(Default)]
pub(super) struct Report {
    total: Counts,
    /// Names of the cases that failed, each with the first line of why.
    failed: Vec<(String, String)>,
}

/// Cases that run now, in the order in which they began.
#[derive(Default)]
struct Running(Mutex<Vec<(usize, Instant)>>);

impl Running {
    fn begin(&self, index: usize) {
        if let Ok(mut running) = self.0.lock() {
            running.push((index, Instant::now()));
        }
    }

    fn end(&self, index: usize) {
        if let Ok(mut running) = self.0.lock() {
            running.retain(|(other, _)| *other != index);
        }
    }

    /// What is waited for.
    fn line(&self, cases: &[Case<'_>]) -> String {
        let running = self.0.lock().map(|running| running.clone()).unwrap_or_default();
        let names: Vec<_> = running
            .iter()
            .filter_map(|(index, since)| {
                Some(format!("{} ({} s)", cases.get(*index)?.name, since.elapsed().as_secs()))
            })
            .collect();
        names.join(", ")
    }
}

impl Report {
    /// Runs the cases, this many at a time, and prints a line for each.
    pub(super) fn run(&mut self, cases: Vec<Case<'_>>, jobs: usize) {
        let next = AtomicUsize::new(0);
        let whole = Mutex::new(std::mem::take(self));
        let running = Running::default();
        let (over, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            for _ in 0..jobs {
                let over = over.clone();
                let (next, cases, running, whole) = (&next, &cases, &running, &whole);
                scope.spawn(move || {
                    loop {
                        // Relaxed: the counter hands out indexes and orders nothing else.
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(index) else { return };
                        let started = Instant::now();
                        running.begin(index);
                        let outcome = (case.run)();
                        running.end(index);
                        let Ok(mut whole) = whole.lock() else { return };
                        whole.add(case, &outcome);
                        show(case, &outcome, started.elapsed().as_secs_f64());
                        // A listener stays until the last of us is gone.
                        let _ = over.send(());
                    }
                });
            }
            drop(over);
            loop {
                match ended.recv_timeout(SILENCE) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("bale: running: {}", running.line(&cases))
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        });
        *self = whole.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    }

    fn add(&mut self, case: &Case<'_>, outcome: &Outcome) {
        self.total.passed += outcome.counts.passed;
        self.total.failed += outcome.counts.failed;
        self.total.skipped += outcome.counts.skipped;
        if outcome.counts.failed > 0 {
            let why = outcome.detail.lines().next().unwrap_or_default().to_owned();
            self.failed.push((case.name.clone(), why));
        }
    }

    /// Each failed case once more, for the last lines: its own may be far above.
    pub(super) fn failures(&self) -> Vec<String> {
        let line = |(name, why): &(String, String)| match why.as_str() {
            "" => format!("FAILED {name}"),
            why => format!("FAILED {name}: {why}"),
        };
        self.failed.iter().map(line).collect()
    }

    /// Whether something ran and nothing failed.
    pub(super) fn good(&self) -> bool {
        self.total.failed == 0 && self.total.passed > 0
    }

    /// The closing line.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.total.passed, self.total.failed, self.total.skipped
        )
    }
}

fn show(case: &Case<'_>, outcome: &Outcome, seconds: f64) {
    let counts = &outcome.counts;
    if counts.failed == 0 && counts.passed == 0 && counts.skipped > 0 {
        println!("test {} ... skipped: {}", case.name, outcome.detail);
    } else if counts.failed == 0 {
        let many =
            if counts.passed > 1 { format!("{} tests, ", counts.passed) } else { String::new() };
        println!("test {} ... ok ({many}{seconds:.1} s)", case.name);
    } else {
        println!("test {} ... FAILED ({} failed, {seconds:.1} s)", case.name, counts.failed);
        outcome.detail.lines().for_each(|line| println!("    {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{Case, Counts, Outcome, Report};

    fn case(name: &str, result: Result<(), String>) -> Case<'static> {
        Case { name: name.into(), run: Box::new(move || Outcome::of(result.clone())) }
    }

    #[test]
    fn every_case_counts_once_and_one_failure_is_a_failure() {
        let mut report = Report::default();
        report.run((0..20).map(|n| case(&n.to_string(), Ok(()))).collect(), 4);
        assert!(report.good());
        report.run(vec![case("bad", Err("why".into()))], 2);
        assert!(!report.good());
        assert_eq!(report.summary(), "20 passed, 1 failed, 0 skipped");
        assert_eq!(report.total, Counts { passed: 20, failed: 1, skipped: 0 });
        report.run(vec![case("worse", Err("first line\nsecond line".into()))], 1);
        assert_eq!(report.failures(), ["FAILED bad: why", "FAILED worse: first line"]);
    }

    #[test]
    fn what_is_skipped_counts_as_skipped() {
        let mut report = Report::default();
        let run = Box::new(|| Outcome::skipped("no package"));
        report.run(vec![Case { name: "skip".into(), run }], 1);
        assert_eq!(report.summary(), "0 passed, 0 failed, 1 skipped");
        assert!(!report.good(), "nothing ran");
    }

    #[test]
    fn nothing_run_is_not_good() {
        assert!(!Report::default().good());
    }
}
