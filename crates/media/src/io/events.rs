//! The way of [`Event`]s out of the worker threads: one queue, one notifier thread.
//!
//! Workers push without ever calling foreign code. The notifier calls the wake-up once for a batch:
//! after a wake-up it stays quiet until the queue was taken.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::api::Event;

/// A queue of events that wakes its reader once per batch.
#[derive(Debug, Default)]
pub struct EventQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    /// The reader was woken and has not taken the events yet.
    notified: bool,
    closed: bool,
}

impl EventQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while pushing to a Vec leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends events; wakes the notifier when the reader does not know yet.
    pub fn push(&self, events: impl IntoIterator<Item = Event>) {
        let mut state = self.lock();
        state.events.extend(events);
        if !state.events.is_empty() && !state.notified {
            self.changed.notify_one();
        }
    }

    /// Everything queued, in order.
    pub fn take(&self) -> Vec<Event> {
        let mut state = self.lock();
        state.notified = false;
        std::mem::take(&mut state.events)
    }

    /// Nobody takes from it any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ends [`EventQueue::notify_until_closed`].
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The notifier thread's body: calls `wake` once per batch until the queue is closed.
    pub(super) fn notify_until_closed(&self, wake: &dyn Fn()) {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            if !state.events.is_empty() && !state.notified {
                state.notified = true;
                drop(state);
                wake();
                state = self.lock();
                continue;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;
    use crate::api::ParticipantId;

    #[test]
    fn wakes_once_until_the_events_are_taken() {
        let queue = Arc::new(EventQueue::default());
        let (wakes, woken) = mpsc::channel();
        let notifier = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.notify_until_closed(&|| wakes.send(()).unwrap())
        });
        queue.push([Event::DataReady(ParticipantId(1))]);
        woken.recv().unwrap();
        queue.push([Event::DataReady(ParticipantId(2))]);
        assert!(woken.try_recv().is_err());
        assert_eq!(queue.take().len(), 2);
        queue.push([Event::DataReady(ParticipantId(3))]);
        woken.recv().unwrap();
        queue.close();
        notifier.join().unwrap();
    }
}
