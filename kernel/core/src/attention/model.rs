//! Interleavings, checked by loom: `RUSTFLAGS="--cfg bale_loom" cargo test -p bale-core --lib
//! model`.

use loom::sync::Arc;
use loom::thread;

use super::{AtomicBool, Attention, Ordering, Whereabouts, fence};

/// A virtual CPU, what there is for it to see, and how it comes to its core.
struct Machine {
    attention: Attention,
    // Relaxed, while the kernel's are behind a lock or more than that: less is enough.
    books: AtomicBool,
    end: AtomicBool,
    trace: AtomicBool,
}

type Ask = fn(&Attention) -> Whereabouts;

/// What a virtual CPU has seen.
#[derive(Default)]
struct Seen {
    books: bool,
    end: bool,
    trace: bool,
}

impl Machine {
    fn new() -> Arc<Self> {
        let [books, end, trace] = [(); 3].map(|()| AtomicBool::new(false));
        Arc::new(Self { attention: Attention::new(), books, end, trace })
    }

    /// A turn up to the guest, where it stays.
    fn turn(&self, seen: &mut Seen) {
        self.attention.enter();
        if self.attention.take() {
            if self.attention.take_aside() {
                seen.end |= self.end.load(Ordering::Relaxed);
                seen.trace |= self.trace.load(Ordering::Relaxed);
            }
            seen.books |= self.books.load(Ordering::Relaxed);
        }
    }

    /// The first turn on a core.
    fn come(&self, take_books: fn(&Attention), seen: &mut Seen) {
        self.attention.enter();
        take_books(&self.attention);
        seen.books |= self.books.load(Ordering::Relaxed);
        self.turn(seen);
    }
}

/// Changes something and asks for a look at it; whether that makes the virtual CPU look.
fn change(machine: &Machine, what: fn(&Machine) -> &AtomicBool, ask: Ask) -> bool {
    what(machine).store(true, Ordering::Relaxed);
    ask(&machine.attention) != Whereabouts::Underway
}

/// One that asks looks for the virtual CPU before it can be seen to have asked.
fn without_fence(attention: &Attention) -> Whereabouts {
    attention.ask_with(Attention::remind_of_books, || ())
}

/// One that asks hides from the virtual CPU who asked before.
fn by_a_store(attention: &Attention) -> Whereabouts {
    attention.ask_with(
        |attention| attention.asked.store(true, Ordering::Release),
        || fence(Ordering::SeqCst),
    )
}

/// It goes to rest, unless the books have changed; then the thread that changes them has to wake
/// it.
fn rest(ask: Ask) {
    loom::model(move || {
        let machine = Machine::new();
        let other = thread::spawn({
            let machine = machine.clone();
            move || change(&machine, |machine| &machine.books, ask)
        });
        let awake = !machine.attention.may_rest();
        let woken = other.join().expect("no panic");
        let seen = machine.attention.take() && machine.books.load(Ordering::Relaxed);
        assert!(seen && (awake || woken), "missed");
    });
}

/// It comes to a core and enters the guest, while two others change something, the second one what
/// is beside the books.
fn enter(take_books: fn(&Attention), what: fn(&Machine) -> &AtomicBool, ask: Ask) {
    let mut model = loom::model::Builder::new();
    // All interleavings were not through after ten minutes; with two preemptions, what is broken
    // below is found.
    model.preemption_bound = Some(2);
    model.check(move || {
        let machine = Machine::new();
        let others =
            [(what, ask), (|machine: &Machine| &machine.end, Attention::ask_for_all as Ask)];
        let others = others.map(|(what, ask): (fn(&Machine) -> &AtomicBool, Ask)| {
            let machine = machine.clone();
            thread::spawn(move || change(&machine, what, ask))
        });
        let mut seen = Seen::default();
        machine.come(take_books, &mut seen);
        let brought_out = others.map(|other| other.join().expect("no panic")).contains(&true);
        if brought_out {
            machine.turn(&mut seen);
        }
        let first = what(&machine);
        let seen_first = if core::ptr::eq(first, &machine.trace) { seen.trace } else { seen.books };
        assert!(seen.end && seen_first, "missed");
    });
}

#[test]
fn who_rests_is_woken() {
    rest(Attention::ask_for_books);
}

#[test]
fn who_enters_sees_the_books_and_what_is_beside_them() {
    enter(Attention::take_books, |machine| &machine.books, Attention::ask_for_books);
}

#[test]
fn who_enters_sees_two_things_beside_the_books() {
    enter(Attention::take_books, |machine| &machine.trace, Attention::ask_for_all);
}

/// Broken on purpose, here and below.
#[test]
#[should_panic(expected = "missed")]
fn who_rests_would_not_be_woken() {
    rest(without_fence);
}

#[test]
#[should_panic(expected = "missed")]
fn who_enters_would_not_be_brought_out() {
    enter(Attention::take_books, |machine| &machine.books, without_fence);
}

#[test]
#[should_panic(expected = "missed")]
fn who_asked_before_would_be_hidden() {
    enter(Attention::take_books, |machine| &machine.books, by_a_store);
}

/// Everything counts as seen, but the books alone are looked at.
#[test]
#[should_panic(expected = "missed")]
fn what_is_beside_the_books_would_be_taken_for_seen() {
    let everything = |attention: &Attention| {
        attention.take();
    };
    enter(everything, |machine| &machine.books, Attention::ask_for_books);
}

#[test]
fn a_reminder_outlives_the_coming_to_a_core() {
    loom::model(|| {
        let attention = Attention::new();
        attention.remind();
        attention.enter();
        attention.take_books();
        assert!(attention.take() && attention.take_aside());
        // The books alone are looked at when it comes, so what else is to be done must not be asked
        // for with them.
        attention.remind_of_books();
        attention.enter();
        attention.take_books();
        assert!(!attention.take());
    });
}

/// It is to stand still, and once it was seen outside the guest something is done that no turn in
/// the guest may see: it does not enter any more.
fn stand_still(ask: fn(&Attention)) {
    loom::model(move || {
        let machine = Machine::new();
        let other = thread::spawn({
            let machine = machine.clone();
            move || {
                machine.end.store(true, Ordering::Relaxed);
                ask(&machine.attention);
                if !machine.attention.is_in_guest() {
                    machine.trace.store(true, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..2 {
            let attention = &machine.attention;
            attention.enter();
            let looks = attention.take() && attention.take_aside();
            if looks && machine.end.load(Ordering::Relaxed) {
                attention.leave();
                break;
            }
            assert!(!machine.trace.load(Ordering::Relaxed), "it is in the guest");
            attention.leave();
        }
        other.join().expect("no panic");
    });
}

#[test]
fn seen_outside_it_stays_there() {
    stand_still(|attention| {
        let _ = attention.ask_for_all();
    });
}

/// Broken on purpose: see [`without_fence`].
#[test]
#[should_panic(expected = "it is in the guest")]
fn seen_outside_too_early_it_could_enter() {
    stand_still(|attention| {
        attention.note_aside();
        let _ = without_fence(attention);
    });
}
