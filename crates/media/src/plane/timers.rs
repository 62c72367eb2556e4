//! Deadlines of everything in a plane, in one heap.
//!
//! Entries are never removed: their owner knows when its own deadline is, and takes one that fires too
//! early as a reason to arm again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::api::{ParticipantId, RoomId};

/// Whose deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Transport, send queue and feedback of a connection.
    Connection(usize),
    /// Sender report of a subscription.
    Report(usize),
    /// Dynacast of a source.
    Dynacast(usize),
    Speakers(RoomId),
    Quality(RoomId),
    Data(RoomId),
    Liveness(ParticipantId),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64, Timer)>>,
    /// Timers of one instant fire in the order they were armed.
    order: u64,
}

impl Timers {
    pub(super) fn arm(&mut self, at: Instant, timer: Timer) {
        self.order += 1;
        self.heap.push(Reverse((at, self.order, timer)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// A timer that is due, and when it was due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, _, timer))| (at, timer))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fires_in_order_of_time_then_of_arming() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.arm(start + Duration::from_secs(2), Timer::Connection(1));
        timers.arm(start + Duration::from_secs(1), Timer::Connection(3));
        timers.arm(start + Duration::from_secs(1), Timer::Connection(2));
        assert_eq!(timers.pop(start), None);
        let later = start + Duration::from_secs(2);
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop(later))
            .map(|(_, timer)| timer)
            .collect();
        assert_eq!(
            fired,
            [
                Timer::Connection(3),
                Timer::Connection(2),
                Timer::Connection(1)
            ]
        );
    }
}
