//! How a virtual CPU is made to look at what others have changed, wherever it is.
//!
//! Who has changed something asks, and then looks where the virtual CPU is; the virtual CPU says
//! where it is going, and then looks whether it was asked. Between store and look stands a full
//! fence on either side, so that one of the two sees the other: a virtual CPU that goes into the
//! guest or to rest with something unseen is brought out, or woken.
//!
//! What is asked for is taken back by an exchange and asked for by one, so that whoever takes it
//! sees what every one of those before had changed.

#[cfg(all(test, bale_loom))]
mod model;

#[cfg(not(bale_loom))]
use core::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(bale_loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};

/// Where a virtual CPU was when something was asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// On its way somewhere: it looks before it arrives.
    Underway,
    /// In the guest, or about to be: an interrupt brings it out.
    Guest,
    /// Parked, or about to be: somebody has to wake it.
    Parked,
}

/// What is asked of a virtual CPU, and where it is.
#[derive(Debug)]
pub struct Attention {
    /// Something changed that it must look at before it enters the guest again: the books of
    /// interrupts, if nothing else.
    asked: AtomicBool,
    /// Something else than the books did: an end, a pause, a trace.
    aside: AtomicBool,
    in_guest: AtomicBool,
    parked: AtomicBool,
}

impl Attention {
    /// Nothing is asked for, and it is nowhere.
    #[cfg(not(bale_loom))]
    pub const fn new() -> Self {
        Self {
            asked: AtomicBool::new(false),
            aside: AtomicBool::new(false),
            in_guest: AtomicBool::new(false),
            parked: AtomicBool::new(false),
        }
    }

    #[cfg(bale_loom)]
    fn new() -> Self {
        let [asked, aside, in_guest, parked] = [(); 4].map(|()| AtomicBool::new(false));
        Self { asked, aside, in_guest, parked }
    }

    /// Asks for a look at the books, which the caller has changed; what it has to do about it.
    #[inline(always)]
    pub fn ask_for_books(&self) -> Whereabouts {
        self.ask_with(Self::remind_of_books, || fence(Ordering::SeqCst))
    }

    /// Asks for a look at everything.
    pub fn ask_for_all(&self) -> Whereabouts {
        self.note_aside();
        self.ask_for_books()
    }

    #[inline(always)]
    fn ask_with(&self, ask: impl Fn(&Self), fence: impl Fn()) -> Whereabouts {
        ask(self);
        // Partner: the fences in `enter` and `may_rest`.
        fence();
        // Acquire: pairs with the release in `may_rest`, so that the caller knows whom to wake.
        if self.parked.load(Ordering::Acquire) {
            Whereabouts::Parked
        } else if self.in_guest.load(Ordering::Relaxed) {
            Whereabouts::Guest
        } else {
            Whereabouts::Underway
        }
    }

    /// Asks for another look at the books, on the virtual CPU's own core, where it is neither in
    /// the guest nor parked or will come out by itself. Coming to a core is one, too: what else
    /// there is to do is asked for with [`Self::remind`].
    #[inline(always)]
    pub fn remind_of_books(&self) {
        // Release: pairs with the acquire in `take`, whoever else asks between.
        self.asked.swap(true, Ordering::Release);
    }

    /// Asks for another look at everything, on the virtual CPU's own core.
    pub fn remind(&self) {
        self.note_aside();
        self.remind_of_books();
    }

    /// Before the books are asked for: who takes those finds it.
    fn note_aside(&self) {
        // Release: pairs with the acquire in `take_aside`, which may come before that of the books
        // is asked for.
        self.aside.swap(true, Ordering::Release);
    }

    /// The virtual CPU is about to enter the guest, and takes what is asked for between this and
    /// the guest.
    #[inline(always)]
    pub fn enter(&self) {
        self.in_guest.store(true, Ordering::Relaxed);
        // Partner: the fence in `ask_with`.
        fence(Ordering::SeqCst);
    }

    /// It has left the guest, or does not enter it.
    #[inline(always)]
    pub fn leave(&self) {
        self.in_guest.store(false, Ordering::Relaxed);
    }

    /// Whether it is in the guest, or about to look whether it may enter. Once this has said no
    /// after somebody asked, it does not enter before it has looked at what was asked.
    pub fn is_in_guest(&self) -> bool {
        // Relaxed: the fences in `ask_with` and `enter` order the two. Of what the guest did before
        // nothing is read here.
        self.in_guest.load(Ordering::Relaxed)
    }

    /// Calls `park` unless something is asked for already; the caller takes that. What is beside
    /// the books is asked for afterwards, whether that or a deadline ended the rest.
    #[inline(always)]
    pub fn rest(&self, park: impl FnOnce()) {
        if self.may_rest() {
            park();
        }
        self.parked.store(false, Ordering::Relaxed);
        self.remind_of_aside();
    }

    /// Nothing is asked for. From here on, each who asks wakes the virtual CPU.
    #[inline(always)]
    fn may_rest(&self) -> bool {
        // Release: pairs with the acquire in `ask_with`.
        self.parked.store(true, Ordering::Release);
        // Partner: the fence in `ask_with`.
        fence(Ordering::SeqCst);
        !self.is_asked()
    }

    /// Whether something is asked for.
    #[inline(always)]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether something is asked for, which the virtual CPU looks at from here on: at the books,
    /// and at everything if [`Self::take_aside`] says so.
    #[inline(always)]
    pub fn take(&self) -> bool {
        // Acquire: pairs with the release of each who asked.
        self.is_asked() && self.asked.swap(false, Ordering::Acquire)
    }

    /// After [`Self::take`]: whether there is more to look at than the books.
    pub fn take_aside(&self) -> bool {
        // Acquire: pairs with the release of each who noted it.
        self.aside.load(Ordering::Relaxed) && self.aside.swap(false, Ordering::Acquire)
    }

    /// The books are looked at from here on, and nothing else: it stays asked for.
    #[inline(always)]
    pub fn take_books(&self) {
        self.take();
        self.remind_of_aside();
    }

    /// What is beside the books, and was not taken together with them, is asked for again.
    #[inline(always)]
    pub fn remind_of_aside(&self) {
        if self.aside.load(Ordering::Relaxed) {
            self.remind_of_books();
        }
    }
}

#[cfg(not(bale_loom))]
impl Default for Attention {
    fn default() -> Self {
        Self::new()
    }
}
