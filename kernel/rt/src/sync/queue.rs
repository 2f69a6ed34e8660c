//! A message queue: places and messages are counted by a semaphore each.

use heapless::Deque;

use super::{Lock, Semaphore};

/// Messages in the order in which they were sent, `N` at most.
pub struct Queue<T, const N: usize> {
    places: Semaphore,
    messages: Semaphore,
    /// Never holds more than what `places` has let in.
    list: Lock<Deque<T, N>>,
}

impl<T, const N: usize> Queue<T, N> {
    /// An empty queue.
    pub const fn new() -> Self {
        let limit = N as u32;
        Self {
            places: Semaphore::new(limit, limit),
            messages: Semaphore::new(0, limit),
            list: Lock::new(Deque::new()),
        }
    }

    /// Sends a message; waits for a place.
    ///
    /// # Panics
    /// If it would have to wait where nothing may: in an interrupt handler, under a lock, in an
    /// idle task.
    pub fn send(&self, message: T) {
        self.places.take();
        self.put(message);
    }

    /// Sends a message if there is a place. From any context.
    ///
    /// # Errors
    /// The message, if the queue is full.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        if !self.places.try_take() {
            return Err(message);
        }
        self.put(message);
        Ok(())
    }

    fn put(&self, message: T) {
        // The place that was taken is in the list, and the message counted once.
        let _ = self.list.lock().push_back(message);
        let _ = self.messages.give();
    }

    /// The oldest message; waits for one.
    ///
    /// # Panics
    /// As [`Queue::send`].
    pub fn receive(&self) -> T {
        loop {
            self.messages.take();
            if let Some(message) = self.get() {
                return message;
            }
        }
    }

    /// As [`Queue::receive`], but not beyond `deadline` of the clock.
    ///
    /// # Panics
    /// As [`Queue::send`].
    pub fn receive_until(&self, deadline: u64) -> Option<T> {
        if self.messages.take_until(deadline) { self.get() } else { None }
    }

    /// The oldest message, if there is one. From any context.
    pub fn try_receive(&self) -> Option<T> {
        if self.messages.try_take() { self.get() } else { None }
    }

    fn get(&self) -> Option<T> {
        let message = self.list.lock().pop_front();
        let _ = self.places.give();
        message
    }
}

impl<T, const N: usize> Default for Queue<T, N> {
    fn default() -> Self {
        Self::new()
    }
}
