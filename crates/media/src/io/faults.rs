//! What a panic may end: one turn of a thread's loop, not the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bell::Bell;

/// Turns that may fault one after the other before the thread gives up.
const IN_A_ROW: u32 = 16;

pub(super) struct Faults {
    /// Whose, for the log.
    thread: &'static str,
    /// The thread's own.
    bell: Bell,
    in_a_row: u32,
}

impl Faults {
    pub(super) fn of(thread: &'static str, bell: Bell) -> Self {
        Self {
            thread,
            bell,
            in_a_row: 0,
        }
    }

    /// Runs a turn that says whether there shall be another; false also when each one faults. After a fault there
    /// is another at once: what was queued for this one has rung already, and nobody rings for it again.
    pub(super) fn guard(&mut self, turn: impl FnOnce() -> bool) -> bool {
        if let Ok(more) = catch_unwind(AssertUnwindSafe(turn)) {
            self.in_a_row = 0;
            return more;
        }
        self.in_a_row += 1;
        log::error!("a fault in the {} ended one turn of its loop", self.thread);
        if self.in_a_row >= IN_A_ROW {
            log::error!("the {} faults at every turn and stops", self.thread);
            return false;
        }
        self.bell.answer();
        self.bell.ring();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;
    use crate::io::bell::{Mailbox, WAKE};

    #[test]
    fn what_was_queued_behind_a_fault_is_done_without_another_bell() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let bell = Bell::new(&poll).unwrap();
        let (mailbox, queue) = Mailbox::new(4, &bell);
        let mut faults = Faults::of("test", bell.clone());
        mailbox.put("faulty");
        mailbox.put("sound");
        let mut done = Vec::new();
        while done.is_empty() {
            poll.poll(&mut events, Some(Duration::from_secs(5)))
                .unwrap();
            assert!(events.iter().any(|it| it.token() == WAKE), "asleep");
            assert!(faults.guard(|| {
                bell.answer();
                while let Ok(item) = queue.try_recv() {
                    assert_ne!(item, "faulty");
                    done.push(item);
                }
                true
            }));
        }
        assert_eq!(done, ["sound"]);
    }

    #[test]
    fn a_thread_that_faults_at_every_turn_stops() {
        let poll = Poll::new().unwrap();
        let mut faults = Faults::of("test", Bell::new(&poll).unwrap());
        let survived = (0..100).take_while(|_| faults.guard(|| panic!("again")));
        assert_eq!(survived.count(), 15);
    }
}
